"""A person's statement: it says exactly one thing, and only a person's registered key makes it count."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb import registry
from helm_ai_kernel.tcb.ceremony import Act
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.envelope import Record, seal
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.receipt import Kind
from helm_ai_kernel.tcb.registry import Registry
from helm_ai_kernel.tcb.statement import Allows, Change, Statement, StatementKind, authorise, sign

AT = "2026-01-02T03:04:05.678Z"
NONCE = "0123456789abcdef" * 2
LOG = "helm.local/0123456789abcdef/fedcba9876543210"
OLD, NEW, HOLD = (digest(word) for word in (b"old", b"new", b"hold"))


def secret(number: int, purpose: Purpose) -> SecretKey:
    return SecretKey.from_seed(bytes([number] * 32), purpose)


ROOT = secret(0, Purpose.ROOT)
APPROVER, SECOND = secret(1, Purpose.APPROVAL), secret(2, Purpose.APPROVAL)
EXECUTION, TREE = secret(3, Purpose.EXECUTION), secret(4, Purpose.LOG)
WITNESS, RELEASER = secret(5, Purpose.WITNESS), secret(6, Purpose.RELEASE)
STRANGER = secret(7, Purpose.APPROVAL)
ADDED = [APPROVER, EXECUTION, TREE, WITNESS, RELEASER, SECOND]  # in this order, behind the root


def registered() -> Registry:
    known = Registry.replay([registry.genesis([(ROOT, "ada")], threshold=1, at=AT, nonce=NONCE)])
    for new in ADDED:
        log = LOG if new.public.purpose in (Purpose.EXECUTION, Purpose.LOG) else None
        known = known.fold(registry.add(known, new, "ada", log, at=AT, roots=[ROOT]))
    return known


REGISTRY = registered()
CHANGES: dict[str, Json] = {"policy": {"from": None, "to": NEW}, "catalog": {"from": OLD, "to": NEW}}
CONTENTS: dict[StatementKind, dict[str, Json]] = {
    StatementKind.ACTIVATION: CHANGES,
    StatementKind.PIN: CHANGES,
    StatementKind.RELEASE: {"tool": "demo/add", "hold": HOLD},
    StatementKind.ERASURE: {"subject": "5b" * 16, "count": 3},
    StatementKind.APPROVAL: {"call": HOLD, "intent": OLD, "decision": "approve", "confirmation": NEW},
    StatementKind.OVERRIDE: {"call": HOLD, "intent": OLD},
    StatementKind.GRANT: {
        "principal": "agent", "tool": "demo/add", "pin": OLD, "where": {"a": {"at_most": 5}}, "calls": 2, "lasts_ms": 3
    },
    StatementKind.REVOCATION: {"grant": HOLD},
}  # fmt: skip
# who may sign it, and how many
MAY_SIGN = {kind: {Purpose.APPROVAL, Purpose.ROOT} for kind in StatementKind} | {
    StatementKind.APPROVAL: {Purpose.APPROVAL}, StatementKind.GRANT: {Purpose.APPROVAL}, StatementKind.OVERRIDE: {Purpose.ROOT},
}  # fmt: skip


def signed(*signers: SecretKey, kind: StatementKind = StatementKind.PIN) -> Statement:
    return sign(kind, CONTENTS[kind], log=LOG, at=AT, nonce=NONCE, signers=signers or [APPROVER])


def finding(check: Callable[[], object]) -> Finding | None:
    try:
        check()
    except EvidenceError as error:
        return error.finding
    return None


def authorised(statement: Statement, size: int = REGISTRY.size, known: Registry = REGISTRY) -> Finding | None:
    return finding(lambda: authorise(statement, known, size))


def read(body: dict[str, Any]) -> Finding | None:
    return finding(lambda: Statement.from_record(seal(dict(body), [APPROVER])))


# -- what it says


@pytest.mark.parametrize("kind", StatementKind)
def test_a_statement_reads_back_as_what_was_signed(kind: StatementKind) -> None:
    statement = signed(APPROVER, SECOND, kind=kind)
    assert Statement.from_record(Record.from_bytes(statement.record.line)) == statement
    assert (statement.kind, statement.log, statement.at, statement.nonce) == (kind, LOG, AT, NONCE)
    if kind is StatementKind.RELEASE:
        assert (statement.tool, statement.hold, statement.policy, statement.catalog) == ("demo/add", HOLD, None, None)
    elif kind is StatementKind.ERASURE:
        assert (statement.subject, statement.count, statement.tool, statement.policy) == ("5b" * 16, 3, None, None)
    elif kind in (StatementKind.APPROVAL, StatementKind.OVERRIDE):
        act, answer = (Act.APPROVE, NEW) if kind is StatementKind.APPROVAL else (Act.OVERRIDE, None)
        assert (statement.call, statement.intent, statement.act, statement.confirmation) == (HOLD, OLD, act, answer)
    elif kind is StatementKind.GRANT:
        assert statement.tool == "demo/add" and statement.allows == Allows("agent", OLD, {"a": {"at_most": 5}}, 2, 3)
    elif kind is StatementKind.REVOCATION:
        assert (statement.grant, statement.call, statement.tool) == (HOLD, None, None)
    else:
        assert (statement.policy, statement.catalog) == (Change(None, NEW), Change(OLD, NEW))
        assert (statement.tool, statement.hold) == (None, None)


@given(st.none() | st.binary(max_size=3).map(digest), st.binary(max_size=3).map(digest))
def test_a_change_reads_back_as_itself(before: Any, after: Any) -> None:
    change = Change(before, after)
    assert Change.from_json(change.to_json()) == change


@pytest.mark.parametrize("kind", StatementKind)
def test_a_statement_has_exactly_its_fields(kind: StatementKind) -> None:
    body = signed(kind=kind).record.body
    for name in body.keys() - {"signers", "v", "kind"}:
        assert read({key: value for key, value in body.items() if key != name}) is Finding.PACK_MALFORMED
        for wrong in (None, True, 1, [], {}, {"from": OLD}, {"from": OLD, "to": None}, {"from": OLD, "to": NEW, "by": 1}):
            fits = (name in ("count", "calls", "lasts_ms") and wrong == 1 and wrong is not True) or (name, wrong) == ("where", {})
            expected = None if fits else Finding.PACK_MALFORMED
            assert read({**body, name: wrong}) is expected, (name, wrong)
    for name in ("extra", "session", "seq", "reason", *(key for content in CONTENTS.values() for key in content)):
        if name not in body:
            assert read({**body, name: HOLD}) is Finding.PACK_MALFORMED, (kind, name)
    for name, wrong in (("at", "now"), ("nonce", "0" * 31), ("nonce", "A" * 32), ("nonce", "")):
        assert read({**body, name: wrong}) is Finding.PACK_MALFORMED


def test_a_kind_that_is_no_statement_is_unsupported() -> None:
    body = signed().record.body
    for kind in ("wish", "Approval", "hold", "", "trust", "Pin", *(kind.value for kind in Kind)):
        assert read({**body, "kind": kind}) is Finding.UNSUPPORTED
    for version in (2, 0, True, "1", None):
        record = signed().record.to_json()
        line = canonical({**record, "body": {**body, "v": version}})
        assert finding(lambda line=line: Statement.from_record(Record.from_bytes(line))) is Finding.UNSUPPORTED


def test_a_release_names_a_tool_that_a_receipt_could_name() -> None:
    body = signed(kind=StatementKind.RELEASE).record.body
    assert read({**body, "tool": "t" * 256}) is None
    assert read({**body, "tool": "t" * 257}) is Finding.PACK_MALFORMED


def test_an_erasure_names_a_subject_by_its_id_and_counts_from_nothing() -> None:
    body = signed(kind=StatementKind.ERASURE).record.body
    assert read({**body, "count": 0}) is None
    for wrong in ({"count": -1}, {"count": 1.5}, {"subject": "5B" * 16}, {"subject": "5b" * 15}, {"subject": "customer-4711"}):
        assert read({**body, **wrong}) is Finding.PACK_MALFORMED, wrong


def test_a_release_is_of_a_tool_or_of_a_scope() -> None:
    body = {**signed(kind=StatementKind.RELEASE).record.body}
    del body["tool"]
    assert read({**body, "scope": "all"}) is None
    for wrong in (body, {**body, "scope": "all", "tool": "demo/add"}, {**body, "scope": "t" * 257}, {**body, "scope": None}):
        assert read(wrong) is Finding.PACK_MALFORMED


@pytest.mark.parametrize("act", Act)
def test_an_approval_says_one_of_four_words_and_never_that_of_an_override(act: Act) -> None:
    body = signed(kind=StatementKind.APPROVAL).record.body
    assert read({**body, "decision": act.value}) is (Finding.PACK_MALFORMED if act is Act.OVERRIDE else None)
    assert read({**body, "decision": act.value.upper()}) is Finding.UNSUPPORTED


@pytest.mark.parametrize("good", [
    {"any": True}, {"equals": None}, {"equals": [1]}, {"one_of": [1]}, {"one_of": ["x"] * 64}, {"at_most": -1.5}, {"at_least": 0},
    {"starts_with": "a"},
])  # fmt: skip
def test_a_grant_says_one_thing_of_an_argument(good: dict[str, Any]) -> None:
    body = signed(kind=StatementKind.GRANT).record.body
    assert read({**body, "where": {"a": good, "b": good}}) is None
    assert read({**body, "where": {str(n): good for n in range(65)}}) is Finding.PACK_MALFORMED


@pytest.mark.parametrize("bad", [
    {}, None, 1, [], "any", {"any": False}, {"any": 1}, {"one_of": []}, {"one_of": [1] * 65}, {"one_of": "x"}, {"at_most": True},
    {"at_most": "5"}, {"at_least": None}, {"starts_with": ""}, {"starts_with": 1}, {"at_least": 1, "at_most": 2},
])  # fmt: skip
def test_a_grant_says_nothing_else_of_it(bad: Any) -> None:
    body = signed(kind=StatementKind.GRANT).record.body
    assert read({**body, "where": {"a": bad}}) is Finding.PACK_MALFORMED


def test_a_condition_of_a_later_version_is_unsupported() -> None:
    body = signed(kind=StatementKind.GRANT).record.body
    assert read({**body, "where": {"a": {"matches": ".*"}}}) is Finding.UNSUPPORTED


@pytest.mark.parametrize(("field", "most"), [("calls", 1_000_000), ("lasts_ms", 31_622_400_000)])
def test_a_grant_is_for_some_calls_and_some_time(field: str, most: int) -> None:
    body = signed(kind=StatementKind.GRANT).record.body
    for value, fits in ((0, False), (1, True), (most, True), (most + 1, False), (-1, False), (1.5, False)):
        assert (read({**body, field: value}) is None) is fits, value


# -- whose word it is


@pytest.mark.parametrize("signer", [APPROVER, SECOND, ROOT], ids=["approver", "second", "root"])
@pytest.mark.parametrize("kind", StatementKind)
def test_a_persons_registered_key_makes_a_statement_count(kind: StatementKind, signer: SecretKey) -> None:
    assert authorised(signed(signer, kind=kind)) is (None if signer.public.purpose in MAY_SIGN[kind] else Finding.KEY_ROLE)


@pytest.mark.parametrize("signer", [EXECUTION, TREE, WITNESS, RELEASER], ids=lambda signer: signer.public.purpose.value)
def test_no_other_key_does_alone_or_beside_a_persons(signer: SecretKey) -> None:
    for kind in StatementKind:
        assert authorised(signed(signer, kind=kind)) is Finding.KEY_ROLE
        assert authorised(signed(signer, APPROVER, ROOT, kind=kind)) is Finding.KEY_ROLE


def test_one_person_speaks_in_an_approval() -> None:
    assert authorised(signed(APPROVER, kind=StatementKind.APPROVAL)) is None
    assert authorised(signed(APPROVER, SECOND, kind=StatementKind.APPROVAL)) is Finding.APPROVAL_INVALID
    assert authorised(signed(APPROVER, SECOND, kind=StatementKind.GRANT)) is None


def test_an_override_is_signed_by_a_threshold_of_root_principals_as_it_was_then() -> None:
    """Two keys of one person are one of them, also where their name is written otherwise."""
    again, other = secret(8, Purpose.ROOT), secret(9, Purpose.ROOT)
    known, sizes = REGISTRY, {}
    for new, principal in ((again, "ADA"), (other, "bob")):
        known = known.fold(registry.add(known, new, principal, None, at=AT, roots=[ROOT]))
    for threshold in (2, 1):
        record = seal(registry.new_threshold(known, threshold, at=AT), [ROOT, other])
        sizes[threshold], known = known.size, known.fold(record.line)
    before, high, low = sizes[2], sizes[1], known.size
    for who, counts in (([ROOT], 1), ([other], 1), ([ROOT, again], 1), ([ROOT, other], 2), ([ROOT, again, other], 2)):
        said = signed(*who, kind=StatementKind.OVERRIDE)
        for size, needed in ((before, 1), (high, 2), (low, 1)):
            assert authorised(said, size, known) is (None if counts >= needed else Finding.APPROVAL_INVALID), (size, counts)


def test_no_more_than_sixteen_sign() -> None:
    many, known = [secret(20 + n, Purpose.ROOT) for n in range(17)], REGISTRY
    for new in many:
        known = known.fold(registry.add(known, new, "ada", None, at=AT, roots=[ROOT]))
    for kind in (StatementKind.OVERRIDE, StatementKind.PIN):
        assert authorised(signed(*many[:16], kind=kind), known.size, known) is None
        assert authorised(signed(*many, kind=kind), known.size, known) is Finding.APPROVAL_INVALID


def test_an_unknown_key_does_not_alone_or_beside_a_known_one() -> None:
    assert authorised(signed(STRANGER)) is Finding.KEY_UNKNOWN
    assert authorised(signed(STRANGER, APPROVER)) is Finding.KEY_UNKNOWN


def test_the_raw_key_of_a_person_under_another_purpose_is_another_key() -> None:
    for purpose in set(Purpose) - {Purpose.APPROVAL}:
        assert authorised(signed(secret(1, purpose))) is Finding.KEY_UNKNOWN


def test_a_key_counts_from_the_registry_size_that_added_it() -> None:
    for place, signer in enumerate([ROOT, *ADDED], 1):
        if signer.public.purpose in (Purpose.ROOT, Purpose.APPROVAL):
            for size in range(REGISTRY.size + 2):
                expected = None if place <= size <= REGISTRY.size else Finding.KEY_UNKNOWN
                assert authorised(signed(signer), size) is expected, (place, size)


def test_a_size_that_the_registry_at_hand_does_not_reach_tells_nothing() -> None:
    """What is not at hand could be the event that took the key back."""
    shorter = Registry.replay(REGISTRY.lines[:2])
    assert authorised(signed(APPROVER), 2, shorter) is None
    assert authorised(signed(APPROVER), 3, shorter) is Finding.KEY_UNKNOWN


def altered(statement: Statement, change: Callable[[Any], object]) -> Finding | None:
    """How the statement fails after a change to its JSON, read and authorised again."""
    value = json.loads(statement.record.line)
    change(value)
    line = canonical(value)
    return finding(lambda: authorise(Statement.from_record(Record.from_bytes(line)), REGISTRY, REGISTRY.size))


@pytest.mark.parametrize("kind", StatementKind)
def test_whatever_is_changed_after_signing_breaks_the_signature(kind: StatementKind) -> None:
    new: dict[str, Json] = {"log": LOG + "0", "at": AT.replace("678", "679"), "nonce": "f" * 32, "tool": "demo/sub", "hold": OLD}
    new |= {"subject": "6b" * 16, "count": 4, "call": OLD, "intent": NEW, "decision": "deny", "confirmation": OLD, "grant": OLD}
    new |= {"principal": "other", "pin": NEW, "where": {}, "calls": 3, "lasts_ms": 4}
    new |= {"policy": {"from": None, "to": OLD}, "catalog": {"from": NEW, "to": NEW}}
    said = signed(ROOT if kind is StatementKind.OVERRIDE else APPROVER, kind=kind)
    for name in said.record.body.keys() & new.keys():
        assert altered(said, lambda value, name=name: value["body"].update({name: new[name]})) is Finding.SIG_INVALID


def test_a_pin_is_no_activation() -> None:
    """They have the same fields, and only a pin may change the catalogue."""
    for kind, other in ((StatementKind.PIN, "activation"), (StatementKind.ACTIVATION, "pin")):
        assert altered(signed(kind=kind), lambda value, other=other: value["body"].update(kind=other)) is Finding.SIG_INVALID


def test_every_signature_of_a_statement_counts() -> None:
    three = signed(APPROVER, SECOND, ROOT)
    assert authorised(three) is None
    for place in range(3):

        def swap(value: Any, place: int = place) -> None:
            value["sigs"][place]["sig"] = value["sigs"][place - 1]["sig"]

        assert altered(three, swap) is Finding.SIG_INVALID
    assert altered(three, lambda value: value["sigs"].pop()) is Finding.SIG_INVALID
    assert altered(three, lambda value: value["sigs"].clear()) is Finding.PACK_MALFORMED


def test_one_bit_of_a_signature_counts() -> None:
    statement = signed(APPROVER)
    ((key, sig),) = statement.record.sigs
    for bit in (0, 255, 256, 511):
        flipped = (int.from_bytes(sig, "little") ^ (1 << bit)).to_bytes(64, "little")
        broken = replace(statement, record=replace(statement.record, sigs=((key, flipped),)))
        assert authorised(broken) is Finding.SIG_INVALID


@settings(max_examples=60, deadline=None)
@given(st.sets(st.sampled_from(range(8)), min_size=1), st.integers(0, REGISTRY.size + 1))
def test_a_statement_counts_exactly_if_each_signer_was_a_registered_person_by_then(who: set[int], size: int) -> None:
    order = [ROOT, *ADDED, STRANGER]
    people = {0, 1, 6}  # in the registry from that size on: 1, 2 and 7
    counts = who <= people and max(who) < size <= REGISTRY.size
    assert (authorised(signed(*(order[n] for n in who)), size) is None) == counts
