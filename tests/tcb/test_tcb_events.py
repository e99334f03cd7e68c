"""Rotation, revocation, threshold: who must sign what, what may not happen, and from when to when a key counts."""

import base64
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb import registry
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.envelope import seal
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.events import End, KeyEntry
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.registry import Registry, new_threshold, revocation, rotation
from models import registry_model

AT = "2026-01-02T03:04:05.678Z"
BEFORE, STOLEN, LATER = (f"2026-01-02T03:04:0{second}.000Z" for second in (1, 2, 3))
LOG, OTHER_LOG = "helm.local/0123456789abcdef/fedcba9876543210", "helm.local/0123456789abcdef/0000000000000000"
INVALID, REVOKED, UNKNOWN = Finding.REGISTRY_INVALID, Finding.KEY_REVOKED, Finding.KEY_UNKNOWN
UNANCHORED = Finding.KEY_COMPROMISED_UNANCHORED


def secret(number: int, purpose: Purpose) -> SecretKey:
    return SecretKey.from_seed(bytes([number] * 32), purpose)


ADA, BOB, EVE, SPARE = (secret(n, Purpose.ROOT) for n in range(4))
EXECUTION, TREE, PERSON = (secret(n, p) for n, p in enumerate((Purpose.EXECUTION, Purpose.LOG, Purpose.APPROVAL), 10))
MACHINE = (Purpose.EXECUTION, Purpose.LOG)


def started(*roots: tuple[SecretKey, str], threshold: int = 1) -> Registry:
    """These roots, and one key for each thing that a kernel signs: size 4."""
    known = Registry.replay([registry.genesis(roots, threshold=threshold, at=AT, nonce="0" * 32)])
    for key in (EXECUTION, TREE, PERSON):
        log = LOG if key.public.purpose in MACHINE else None
        known = known.fold(registry.add(known, key, "kernel" if log else "ada", log, at=AT, roots=[root for root, _ in roots]))
    return known


ONE = started((ADA, "ada"))
TWO = started((ADA, "ada"), (BOB, "bob"), (EVE, "eve"), threshold=2)


def finding(check: Callable[[], object]) -> Finding | None:
    try:
        check()
    except EvidenceError as error:
        return error.finding
    return None


def signed(body: dict[str, Json], *signers: SecretKey) -> bytes:
    return seal(dict(body), signers).line


def folded(known: Registry, body: dict[str, Json], *signers: SecretKey) -> Finding | None:
    return finding(lambda: known.fold(signed(body, *signers)))


def rotated(known: Registry, old: SecretKey, new: SecretKey, *signers: SecretKey) -> Registry:
    return known.fold(signed(rotation(known, new.public, known.keys[old.public.id], at=AT), *(signers or (ADA,)), new))


def revoked(known: Registry, key: SecretKey, reason: End, *signers: SecretKey, since: str | None = None) -> Registry:
    return known.fold(signed(revocation(known, key.public.id, reason, at=AT, since=since), *(signers or (ADA,))))


def judged(known: Registry, key: SecretKey, size: int, cosigned: str | None = None) -> Finding | None:
    return finding(lambda: known.key(key.public.id, at_size=size, cosigned=cosigned))


# -- 8.3: from when to when


@pytest.mark.parametrize("old", [EXECUTION, TREE, PERSON, ADA], ids=lambda key: key.public.purpose)
def test_a_rotation_changes_who_may_sign_exactly_at_its_size(old: SecretKey) -> None:
    new = secret(20, old.public.purpose)
    after = rotated(ONE, old, new)
    for _ in range(2):  # what follows changes nothing of it
        r = ONE.size + 1  # the size of the registry behind the rotation
        assert [judged(after, old, size) for size in (r - 1, r)] == [None, REVOKED]
        assert [judged(after, new, size) for size in (r - 1, r)] == [UNKNOWN, None]
        after = after.fold(registry.add(after, secret(30 + after.size, Purpose.WITNESS), "w", None, at=AT, roots=roots_of(after)))
        assert [judged(after, old, size) for size in (r - 1, r, r + 1)] == [None, REVOKED, REVOKED]
        assert [judged(after, new, size) for size in (r - 1, r, r + 1)] == [UNKNOWN, None, None]
    assert after.key(new.public.id, at_size=r).principal == ONE.keys[old.public.id].principal
    assert new.public.id in after.in_force(old.public.purpose) and old.public.id not in after.in_force(old.public.purpose)


def roots_of(known: Registry) -> list[SecretKey]:
    every = [*(secret(n, Purpose.ROOT) for n in (0, 1, 2, 3, 20))]
    return [root for root in every if root.public.id in known.in_force(Purpose.ROOT)]


def test_a_key_that_is_not_at_hand_yet_is_unknown_and_not_revoked() -> None:
    after = rotated(ONE, EXECUTION, secret(20, Purpose.EXECUTION))
    assert judged(ONE, EXECUTION, ONE.size + 1) is UNKNOWN  # an event that is not at hand could be a revocation
    assert judged(after, EXECUTION, after.size + 1) is UNKNOWN


# -- 8.4, 8.5: three reasons, three anchors, three places


@pytest.mark.parametrize("reason", End)
@pytest.mark.parametrize("cosigned", [None, BEFORE, STOLEN, LATER])
def test_what_a_revoked_key_signed_before_counts_by_the_reason_of_its_end(reason: End, cosigned: str | None) -> None:
    since = STOLEN if reason is End.COMPROMISE else None
    after = revoked(ONE, PERSON, reason, since=since)
    r = after.size
    after = after.fold(registry.add(after, secret(20, Purpose.APPROVAL), "ada", None, at=AT, roots=[ADA]))
    stays = reason is not End.COMPROMISE or cosigned == BEFORE
    expected = None if stays else UNANCHORED
    assert [judged(after, PERSON, size, cosigned) for size in (r - 1, r, r + 1)] == [expected, REVOKED, REVOKED]
    assert judged(after, PERSON, ONE.size - 1, cosigned) is UNKNOWN  # before it was added
    assert judged(ONE, PERSON, r - 1, cosigned) is None  # as of that size it was nobody's concern


def test_a_key_can_turn_out_to_be_stolen_after_its_end_but_only_once() -> None:
    new = secret(20, Purpose.EXECUTION)
    after = rotated(ONE, EXECUTION, new)
    known = revoked(after, EXECUTION, End.COMPROMISE, since=STOLEN)
    assert judged(known, EXECUTION, 4) is UNANCHORED and judged(known, EXECUTION, 5) is REVOKED
    assert judged(known, EXECUTION, 4, BEFORE) is None
    assert judged(known, new, 6) is None
    for reason, since in ((End.COMPROMISE, BEFORE), (End.SUPERSEDED, None), (End.CESSATION, None)):
        assert folded(known, revocation(known, EXECUTION.public.id, reason, at=AT, since=since), ADA) is INVALID
    assert folded(after, revocation(after, EXECUTION.public.id, End.CESSATION, at=AT), ADA) is INVALID  # it is over already


@pytest.mark.parametrize("reason", [*(end.value for end in End), "whim", None, 7])
@pytest.mark.parametrize("since", [None, STOLEN, "2026-01-02", 5])
def test_a_compromise_says_since_when_and_nothing_else_does(reason: Json, since: Json) -> None:
    body = revocation(ONE, PERSON.public.id, End.SUPERSEDED, at=AT) | {"reason": reason, "since": since}
    right = reason in [*End] and (since == STOLEN if reason == End.COMPROMISE else since is None)
    found = folded(ONE, body, ADA)
    assert (found is None) == right
    if reason == "whim" and since in (None, STOLEN):
        assert found is Finding.UNSUPPORTED


# -- 8.8: nothing may shut the registry, or the kernel, for good


@pytest.mark.parametrize("key", [EXECUTION, TREE], ids=lambda key: key.public.purpose)
@pytest.mark.parametrize("reason", End)
def test_the_last_key_of_a_machine_is_not_revoked(key: SecretKey, reason: End) -> None:
    since = STOLEN if reason is End.COMPROMISE else None
    assert folded(ONE, revocation(ONE, key.public.id, reason, at=AT, since=since), ADA) is INVALID
    second = secret(20, key.public.purpose)
    more = ONE.fold(registry.add(ONE, second, "kernel", LOG, at=AT, roots=[ADA]))
    left = revoked(more, key, reason, since=since)
    assert folded(left, revocation(left, second.public.id, reason, at=AT, since=since), ADA) is INVALID


def test_no_event_leaves_fewer_root_principals_than_the_threshold() -> None:
    for known, key, signers in ((ONE, ADA, [ADA]), (started((ADA, "ada"), (BOB, "bob"), threshold=2), BOB, [ADA])):
        assert folded(known, revocation(known, key.public.id, End.CESSATION, at=AT), *signers) is INVALID
    left = revoked(TWO, EVE, End.CESSATION, ADA, BOB)
    lowered = left.fold(signed(new_threshold(left, 1, at=AT), ADA, BOB))
    assert folded(lowered, revocation(lowered, BOB.public.id, End.CESSATION, at=AT), ADA) is None
    assert folded(left, revocation(left, BOB.public.id, End.CESSATION, at=AT), ADA) is INVALID
    pair = started((ADA, "ada"), (SPARE, "ada"))
    assert revoked(pair, SPARE, End.COMPROMISE, ADA, since=STOLEN).in_force(Purpose.ROOT).keys() == {ADA.public.id}


@pytest.mark.parametrize(
    ("to", "signers", "expected"),
    [
        (1, [ADA, BOB], None),
        (2, [ADA, BOB], None),
        (3, [ADA, BOB, EVE], None),
        (3, [ADA, BOB], INVALID),  # raising it shows that as many can be brought together
        (1, [ADA], INVALID),  # lowering it needs those who are needed so far
        (4, [ADA, BOB, EVE], INVALID),
        (0, [ADA, BOB, EVE], INVALID),
        (-1, [ADA, BOB, EVE], Finding.PACK_MALFORMED),
        (True, [ADA, BOB, EVE], Finding.PACK_MALFORMED),
        (2**53 - 1, [ADA, BOB, EVE], INVALID),
        (None, [ADA, BOB, EVE], Finding.PACK_MALFORMED),
    ],
)
def test_a_threshold_is_changed_by_the_old_and_the_new_number_of_people(
    to: Json, signers: Sequence[SecretKey], expected: Finding | None
) -> None:
    body = new_threshold(TWO, 2, at=AT) | {"threshold": to}
    assert folded(TWO, body, *signers) is expected
    if expected is None:
        assert TWO.fold(signed(body, *signers)).threshold == to


# -- 8.1, 8.2, 8.9, 8.10: who signs, and what takes the place of what


@pytest.mark.parametrize(
    ("signers", "expected"),
    [
        ([ADA, BOB], None),
        ([ADA, BOB, EVE], None),
        ([ADA, EVE], None),
        ([BOB, EVE], None),  # the root that is lost need not sign
        ([ADA], INVALID),  # only the one that goes
        ([], INVALID),  # only the one that comes
        ([BOB], INVALID),
    ],
)
def test_a_root_is_rotated_by_the_roots_before_and_by_those_after(signers: list[SecretKey], expected: Finding | None) -> None:
    new = secret(20, Purpose.ROOT)
    body = rotation(TWO, new.public, TWO.keys[ADA.public.id], at=AT)
    assert folded(TWO, body, *signers, new) is expected
    assert folded(TWO, body, *(signers or [ADA])) is INVALID  # without the new one: no proof of possession
    if expected is None:
        after = TWO.fold(signed(body, *signers, new))
        old_guard = [ADA, BOB]
        assert folded(after, new_threshold(after, 1, at=AT), *old_guard) is INVALID  # the old one signs nothing any more
        assert folded(after, new_threshold(after, 1, at=AT), new, BOB) is None
        assert folded(TWO, body | {"seq": TWO.size + 1}, *signers, new) is INVALID  # skips a version
        again = INVALID if ADA in signers else Finding.CHAIN_FORK  # an equal version: who is root still signed two histories
        assert folded(after, body | {"prev": after.head}, *signers, new) is again


def test_the_only_root_is_rotated_by_itself_and_its_successor() -> None:
    new = secret(20, Purpose.ROOT)
    body = rotation(ONE, new.public, ONE.keys[ADA.public.id], at=AT)
    assert folded(ONE, body, ADA, new) is None
    assert folded(ONE, body, ADA) is INVALID  # signed by N only
    assert folded(ONE, body, new) is INVALID  # signed by N+1 only


def test_a_second_rotation_in_one_place_is_a_fork() -> None:  # 8.7
    new, other = secret(20, Purpose.APPROVAL), secret(21, Purpose.APPROVAL)
    person = ONE.keys[PERSON.public.id]
    one, two = (signed(rotation(ONE, key.public, person, at=AT), ADA, key) for key in (new, other))
    assert finding(lambda: ONE.fold(one).fold(two)) is Finding.CHAIN_FORK
    away = signed(revocation(ONE, PERSON.public.id, End.CESSATION, at=AT), ADA)
    assert finding(lambda: ONE.fold(away).fold(one)) is Finding.CHAIN_FORK


def test_a_rotation_replaces_like_with_like() -> None:
    entry = ONE.keys[EXECUTION.public.id]
    new = secret(20, Purpose.EXECUTION)
    body = rotation(ONE, new.public, entry, at=AT)
    key = dict(body["key"]) if isinstance(body["key"], dict) else {}
    assert folded(ONE, body, ADA, new) is None
    tree = secret(20, Purpose.LOG)
    for change, signer in (
        ({"key": key | {"principal": "Kernel"}}, new),
        ({"key": key | {"principal": "mallory"}}, new),
        ({"key": key | {"log": OTHER_LOG}}, new),
        ({"key": key | {"purpose": "log"}}, tree),
        ({"replaces": PERSON.public.id}, new),
        ({"replaces": new.public.id}, new),
        ({"replaces": "ed25519:" + "0" * 64}, new),
        ({"replaces": ""}, new),
    ):
        assert folded(ONE, body | change, ADA, signer) is INVALID, change
    gone = rotated(ONE, EXECUTION, new)
    third = secret(21, Purpose.EXECUTION)
    assert folded(gone, rotation(gone, third.public, entry, at=AT), ADA, third) is INVALID  # what is over is not replaced


def test_the_key_that_is_revoked_does_not_sign_its_revocation() -> None:
    body = revocation(TWO, EVE.public.id, End.COMPROMISE, at=AT, since=STOLEN)
    assert folded(TWO, body, ADA, BOB) is None
    for signers in ([ADA, EVE], [BOB, EVE], [ADA, BOB, EVE], [EVE], [ADA]):
        assert folded(TWO, body, *signers) is INVALID
    body = revocation(TWO, PERSON.public.id, End.CESSATION, at=AT)
    for signers in ([ADA, BOB, PERSON], [PERSON], [ADA, PERSON]):
        assert folded(TWO, body, *signers) is INVALID


def test_a_root_that_was_revoked_or_rotated_signs_no_event_any_more() -> None:  # 8.1
    new = secret(20, Purpose.ROOT)
    for after in (revoked(TWO, EVE, End.SUPERSEDED, ADA, BOB), rotated(TWO, EVE, new, ADA, BOB)):
        key = secret(21, Purpose.APPROVAL)
        for signers in ([ADA, EVE], [ADA, BOB, EVE]):
            assert folded(after, registry.addition(after, key.public, "ada", None, at=AT), *signers, key) is INVALID
        assert folded(after, registry.addition(after, key.public, "ada", None, at=AT), ADA, BOB, key) is None


def test_a_new_root_is_added_by_the_roots_before_it_and_counts_from_then_on() -> None:
    new = secret(20, Purpose.ROOT)
    body = registry.addition(TWO, new.public, "mia", None, at=AT)
    assert folded(TWO, body, ADA, BOB, new) is None
    for signers in ([ADA, new], [new], [ADA, BOB]):
        assert folded(TWO, body, *signers) is INVALID  # it counts for no threshold, and proves that it is held
    after = TWO.fold(signed(body, ADA, BOB, new))
    assert judged(after, new, 4) is UNKNOWN and judged(after, new, 5) is None
    assert folded(after, new_threshold(after, 1, at=AT), ADA, new) is None
    assert folded(TWO, new_threshold(TWO, 1, at=AT), ADA, new) is INVALID


@pytest.mark.parametrize("again", [Purpose.EXECUTION, Purpose.LOG, Purpose.APPROVAL, Purpose.ROOT])
def test_a_raw_key_never_comes_back(again: Purpose) -> None:  # 8.9
    gone = secret(20, Purpose.APPROVAL)
    more = ONE.fold(registry.add(ONE, gone, "ada", None, at=AT, roots=[ADA]))
    for after in (revoked(more, gone, End.CESSATION), rotated(more, gone, secret(21, Purpose.APPROVAL))):
        key = secret(20, again)
        log = LOG if again in MACHINE else None
        assert folded(after, registry.addition(after, key.public, "ada", log, at=AT), ADA, key) is INVALID
        entry = KeyEntry(PERSON.public, "ada", None, 1)
        back = rotation(after, secret(20, Purpose.APPROVAL).public, entry, at=AT)
        assert folded(after, back, ADA, secret(20, Purpose.APPROVAL)) is INVALID


def test_events_have_exactly_their_fields() -> None:
    new = secret(20, Purpose.APPROVAL)
    bodies = [
        (rotation(ONE, new.public, ONE.keys[PERSON.public.id], at=AT), [ADA, new]),
        (revocation(ONE, PERSON.public.id, End.CESSATION, at=AT), [ADA]),
        (new_threshold(ONE, 1, at=AT), [ADA]),
    ]
    for body, signers in bodies:
        assert folded(ONE, body, *signers) is None
        assert folded(ONE, body | {"extra": 1}, *signers) is Finding.PACK_MALFORMED
        for name in body.keys() - {"kind"}:
            without = {key: value for key, value in body.items() if key != name}
            assert folded(ONE, without, *signers) in (Finding.PACK_MALFORMED, Finding.UNSUPPORTED), name
        for name in body.keys() - {"kind", "since"}:
            assert folded(ONE, body | {name: [1]}, *signers) in (Finding.PACK_MALFORMED, Finding.UNSUPPORTED), name


def test_nobody_is_revoked_who_was_never_there() -> None:
    for key in ("ed25519:" + "0" * 64, "", secret(99, Purpose.APPROVAL).public.id, PERSON.public.id.upper()):
        assert folded(ONE, revocation(ONE, key, End.CESSATION, at=AT), ADA) is INVALID


# -- 8.12, 8.13: order, and a fold that is the model's

KEYS = {n: ("ada", "bob", "Ada", "eve", "mia", "kernel")[n % 6] for n in range(12)}
PURPOSES = [Purpose.ROOT, Purpose.ROOT, Purpose.EXECUTION, Purpose.LOG, Purpose.APPROVAL]
step = st.fixed_dictionaries(
    {
        "event": st.sampled_from(["add", "rotate", "rotate", "revoke", "revoke", "threshold"]),
        "new": st.integers(4, 30),
        "old": st.integers(0, 12),
        "purpose": st.sampled_from(PURPOSES),
        "principal": st.sampled_from(["ada", "bob", "Ada", "eve", None, None, None]),
        "signers": st.sets(st.integers(0, 12), max_size=4) | st.none(),
        "proven": st.sampled_from([True, True, True, True, False]),
        "reason": st.sampled_from([*End]),
        "since": st.sampled_from([None, None, STOLEN]) | st.just("fits"),
        "threshold": st.integers(0, 4),
        "seq": st.sampled_from([0, 0, 0, 0, 0, 0, 1, -1]),
    }
)


class World:
    """A registry and its model, side by side; keys are numbered as they come."""

    def __init__(self) -> None:
        self.secrets = [secret(n, Purpose.ROOT) for n in range(3)]
        people = ["ada", "bob", "Ada"]
        roots = list(zip(self.secrets, people, strict=True))
        self.registry = Registry.replay([registry.genesis(roots, threshold=1, at=AT, nonce="0" * 32)])
        self.model = registry_model.begin([named(key, who) for key, who in roots], 1)

    def take(self, step: dict) -> None:
        """One event, as anyone could write it: the product and the model say the same of it."""
        known, what = self.registry, step["event"]
        old = self.secrets[step["old"] % len(self.secrets)]
        before = known.keys[old.public.id]
        rotates = what == "rotate"
        purpose = before.key.purpose if rotates and step["principal"] is None else step["purpose"]
        new = secret(step["new"], purpose) if what in ("add", "rotate") else None
        principal = step["principal"] or before.principal
        log = LOG if purpose in MACHINE else None
        reason, since = step["reason"], step["since"]
        if since == "fits":
            since = STOLEN if reason is End.COMPROMISE else None
        entry = KeyEntry(old.public, principal, log, 1)
        body, told = {
            "add": lambda: (registry.addition(known, new.public, principal, log, at=AT), {"key": named(new, principal)}),
            "rotate": lambda: (
                rotation(known, new.public, entry, at=AT),
                {"key": named(new, principal), "replaces": old.public.raw},
            ),
            "revoke": lambda: (
                revocation(known, old.public.id, reason, at=AT, since=since),
                {"key": old.public.raw, "reason": reason.value, "since": since},
            ),
            "threshold": lambda: (new_threshold(known, step["threshold"], at=AT), {"threshold": step["threshold"]}),
        }[what]()
        if step["signers"] is None:  # all that may
            away = {old.public.id} if what == "revoke" else set()
            signers = [key for key in self.secrets if key.public.id in known.in_force(Purpose.ROOT).keys() - away]
        else:
            signers = [self.secrets[n % len(self.secrets)] for n in step["signers"]]
        if new is not None and step["proven"]:
            signers.append(new)
        unique = list({key.public.id: key for key in signers}.values())
        if not unique:
            return
        body["seq"] = known.size + step["seq"]
        line = signed(body, *unique)
        event = {"event": what, "seq": body["seq"], "signers": [key.public.raw for key in unique], **told}
        accepted = registry_model.apply(self.model, event)
        found = finding(lambda: known.fold(line))
        assert (found is None) == accepted, (found, step)
        assert found in (None, INVALID, Finding.CHAIN_FORK)
        if accepted:
            self.registry = known.fold(line)
            if new is not None:
                self.secrets.append(new)


def named(key: SecretKey, principal: str) -> dict:
    purpose = key.public.purpose
    log = LOG if purpose in MACHINE else None
    return {"name": key.public.raw, "purpose": purpose.value, "principal": principal, "log": log}


@settings(max_examples=250, deadline=None)
@given(st.lists(step, max_size=14))
def test_every_list_of_events_leads_to_the_registry_of_the_model_and_replays_to_itself(steps: list[dict]) -> None:
    world = World()
    for one in steps:
        world.take(one)
    known, model = world.registry, world.model
    assert Registry.replay(known.lines) == known
    assert (known.size, known.threshold) == (model.size, model.threshold)
    assert {entry.key.raw: entry.since for entry in known.keys.values()} == model.since
    assert {entry.key.raw: entry.until for entry in known.keys.values() if entry.until} == model.until
    assert {entry.key.raw: entry.stolen for entry in known.keys.values() if entry.stolen} == model.stolen
    for size in range(1, known.size + 1):
        valid = {e.key.raw for i, e in known.keys.items() if finding(lambda i=i, size=size: known.key(i, at_size=size)) is None}
        assert valid == model.at(size) - model.stolen.keys()
        assert Registry.replay(known.lines[:size]).head == known.head_at(size)


def test_the_model_is_asked_about_every_kind_of_event_and_takes_some_of_each() -> None:
    """Agreement alone could be two readers that refuse everything."""
    taken = []
    world = World()
    common = {"principal": None, "signers": None, "proven": True, "since": "fits", "reason": End.COMPROMISE, "seq": 0}
    for what, new, old, purpose, threshold in (
        ("add", 10, 0, Purpose.EXECUTION, 0),
        ("add", 11, 0, Purpose.ROOT, 0),
        ("rotate", 12, 3, Purpose.EXECUTION, 0),
        ("rotate", 13, 1, Purpose.ROOT, 0),
        ("revoke", 0, 3, Purpose.ROOT, 0),
        ("revoke", 0, 2, Purpose.ROOT, 0),
        ("threshold", 0, 0, Purpose.ROOT, 2),
        ("revoke", 0, 0, Purpose.ROOT, 0),
    ):
        size = world.registry.size
        world.take({"event": what, "new": new, "old": old, "purpose": purpose, "threshold": threshold, **common})
        taken += [what] if world.registry.size > size else []
    assert taken == ["add", "add", "rotate", "rotate", "revoke", "revoke", "threshold", "revoke"]


def test_events_of_every_kind_cannot_be_reordered_or_dropped() -> None:  # 8.12
    new = secret(20, Purpose.EXECUTION)
    after = revoked(rotated(ONE, EXECUTION, new), EXECUTION, End.COMPROMISE, since=STOLEN)
    after = after.fold(signed(new_threshold(after, 1, at=AT), ADA))
    lines = after.lines
    for place in range(len(lines) - 1):
        assert finding(lambda place=place: Registry.replay([*lines[:place], *lines[place + 1 :]])) is INVALID
    for place in range(1, len(lines) - 1):
        swapped = [*lines[:place], lines[place + 1], lines[place], *lines[place + 2 :]]
        assert finding(lambda swapped=swapped: Registry.replay(swapped)) is INVALID


def test_a_signature_of_an_event_is_not_one_for_another_event() -> None:
    body = revocation(ONE, PERSON.public.id, End.CESSATION, at=AT)
    line = signed(body, ADA)
    other = base64.b64encode(b"\0" * 64)
    assert finding(lambda: ONE.fold(line.replace(b'"reason":"cessation"', b'"reason":"superseded"'))) is Finding.SIG_INVALID
    assert finding(lambda: ONE.fold(line[: line.index(b'"sig":"') + 7] + other + b'"}]}')) is Finding.SIG_INVALID
