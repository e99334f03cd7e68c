"""The registry's fold: every event that the roots did not rightly make is refused, and then nothing has changed."""

import base64
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora import corpus
from helm_ai_kernel.tcb import registry
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.digest import digest, leaf
from helm_ai_kernel.tcb.envelope import seal
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.keys import FORBIDDEN, Purpose, SecretKey, Signer
from helm_ai_kernel.tcb.registry import EVENTS_MAX, Registry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "spec" / "registry.md"
AT = "2026-01-02T03:04:05.678Z"
NONCE = "0123456789abcdef" * 2
LOG = "helm.local/0123456789abcdef/fedcba9876543210"


def secret(number: int, purpose: Purpose) -> SecretKey:
    return SecretKey.from_seed(bytes([number] * 32), purpose)


ADA, BOB, EVE, SPARE = (secret(n, Purpose.ROOT) for n in range(4))
ROOTS = [(ADA, "ada"), (BOB, "bob"), (EVE, "eve"), (SPARE, "Ada")]  # the last is a second key of the first person
START = Registry.replay([registry.genesis(ROOTS, threshold=2, at=AT, nonce=NONCE)])
NEW = secret(10, Purpose.EXECUTION)


def event(reg: Registry, new: Signer, signers: Sequence[Signer], /, **change: Json) -> bytes:
    """An `add` as anyone could write it: `change` replaces fields of the body, or of the key where it has such a field."""
    key: dict[str, Json] = {"scheme": "ed25519", "public": base64.b64encode(new.public.raw).decode(), "principal": "kernel"}
    key |= {"purpose": new.public.purpose.value, "log": LOG if new.public.purpose.value in ("execution", "log") else None}
    body: dict[str, Json] = {"v": 1, "kind": "trust", "event": "add", "seq": reg.size, "prev": reg.head, "at": AT}
    body["key"] = key | {name: value for name, value in change.items() if name in key}
    body |= {name: value for name, value in change.items() if name not in key}
    return seal(body, signers).line


def founding(roots: Sequence[tuple[SecretKey, str]], signers: Sequence[Signer], /, **change: Json) -> bytes:
    items: dict[str, Json] = {}
    for root, principal in roots:
        public = base64.b64encode(root.public.raw).decode()
        items[public] = {"scheme": "ed25519", "public": public, "principal": principal}
    body: dict[str, Json] = {"v": 1, "kind": "trust", "event": "genesis", "seq": 0, "prev": None, "at": AT}
    body |= {"deployment": None, "nonce": NONCE, "threshold": 1, "roots": [items[public] for public in sorted(items)]}
    return seal(body | change, signers).line


def finding(check: Callable[[], object]) -> Finding | None:
    try:
        check()
    except EvidenceError as error:
        return error.finding
    return None


def folded(line: bytes, reg: Registry = START) -> Finding | None:
    return finding(lambda: reg.fold(line))


def replayed(*lines: bytes) -> Finding | None:
    return finding(lambda: Registry.replay(lines))


def resigned(line: bytes, change: Callable[[Any], object]) -> bytes:
    """The same line with a change outside what was signed, or inside it without a new signature; canonical either way."""
    value = json.loads(line)
    change(value)
    return canonical(value)


# -- what is admitted


def test_a_genesis_names_its_deployment_and_its_roots() -> None:
    (line,) = START.lines
    assert START.genesis == digest(canonical(json.loads(line)["body"]))
    assert START.deployment == "helm.local/" + START.genesis.removeprefix("sha256:")[:16]
    assert (START.size, START.head, START.threshold) == (1, leaf(line), 2)
    assert {entry.key for entry in START.keys.values()} == {root.public for root, _ in ROOTS}
    assert all(entry.since == 1 and entry.log is None for entry in START.keys.values())
    named = Registry.replay([registry.genesis(ROOTS, threshold=3, at=AT, nonce=NONCE, deployment="acme.example/prod")])
    assert named.deployment == "acme.example/prod" and named.genesis != START.genesis


@pytest.mark.parametrize("purpose", Purpose)
def test_a_key_that_roots_and_itself_signed_is_known_from_then_on(purpose: Purpose) -> None:
    new = secret(10, purpose)
    log = LOG if purpose in (Purpose.EXECUTION, Purpose.LOG) else None
    line = registry.add(START, new, "kernel", log, at=AT, roots=[ADA, BOB])
    after = START.fold(line)
    assert after.lines == (*START.lines, line) and after.size == 2 and after.head == leaf(line)
    entry = after.key(new.public.id, at_size=2)
    assert (entry.key, entry.principal, entry.log, entry.since) == (new.public, "kernel", log, 2)
    for reg, size in ((after, 1), (after, 0), (after, 3), (START, 1), (START, 2)):
        assert finding(lambda reg=reg, size=size: reg.key(new.public.id, at_size=size)) is Finding.KEY_UNKNOWN
    assert after.key(ADA.public.id, at_size=1).principal == "ada"
    assert [after.head_at(size) for size in (1, 2)] == [START.head, after.head]
    for size in (-1, 0, 3):
        assert finding(lambda size=size: after.head_at(size)) is Finding.REGISTRY_INVALID


def test_a_registry_cannot_be_changed_in_place() -> None:
    before = dict(START.keys)
    after = START.fold(event(START, NEW, [ADA, BOB, NEW]))
    for reg in (START, after):
        with pytest.raises(TypeError):
            del reg.keys[ADA.public.id]  # type: ignore[attr-defined]
    assert dict(START.keys) == before and START.size == 1


# -- T8: manipulation


def test_a_key_without_the_threshold_is_not_added() -> None:  # 8.1
    outsider, known = secret(20, Purpose.ROOT), secret(21, Purpose.APPROVAL)
    after = START.fold(event(START, known, [ADA, BOB, known]))
    cases: list[tuple[list[Signer], Finding | None]] = [
        ([ADA, BOB, NEW], None),
        ([ADA, BOB, EVE, SPARE, NEW], None),
        ([ADA, NEW], Finding.REGISTRY_INVALID),  # one of two
        ([ADA, SPARE, NEW], Finding.REGISTRY_INVALID),  # two keys of one person
        ([NEW], Finding.REGISTRY_INVALID),
        ([ADA, outsider, NEW], Finding.REGISTRY_INVALID),
        ([ADA, BOB, outsider, NEW], Finding.REGISTRY_INVALID),
        ([ADA, known, NEW], Finding.REGISTRY_INVALID),  # known, and no root
        ([ADA, BOB, known, NEW], Finding.REGISTRY_INVALID),
        ([outsider, known, NEW], Finding.REGISTRY_INVALID),
    ]
    for signers, expected in cases:
        assert folded(event(after, NEW, signers), after) is expected


def test_an_old_event_cannot_be_replayed() -> None:  # 8.1
    line = event(START, NEW, [ADA, BOB, NEW])
    after = START.fold(line)
    assert folded(line, after) is Finding.REGISTRY_INVALID
    assert folded(START.lines[0], after) is Finding.REGISTRY_INVALID
    assert replayed(START.lines[0], START.lines[0]) is Finding.REGISTRY_INVALID


def test_a_key_without_proof_of_possession_is_not_added() -> None:  # 8.2
    assert folded(event(START, NEW, [ADA, BOB])) is Finding.REGISTRY_INVALID
    assert replayed(founding([(ADA, "ada"), (BOB, "bob")], [ADA])) is Finding.REGISTRY_INVALID
    borrowed = seal({"v": 1, "kind": "trust", "note": "something else that it signed"}, [NEW]).sigs[0][1]

    def graft(value: Any) -> None:
        (sig,) = (sig for sig in value["sigs"] if sig["key"] == NEW.public.id)
        sig["sig"] = base64.b64encode(borrowed).decode()

    assert folded(resigned(event(START, NEW, [ADA, BOB, NEW]), graft)) is Finding.SIG_INVALID


def test_two_events_in_one_place_are_a_fork() -> None:  # 8.7
    other = secret(11, Purpose.LOG)
    one, two = event(START, NEW, [ADA, BOB, NEW]), event(START, other, [ADA, BOB, other])
    assert folded(one) is None and folded(two) is None
    assert folded(two, START.fold(one)) is Finding.CHAIN_FORK
    assert replayed(START.lines[0], two, one) is Finding.CHAIN_FORK
    unsigned = resigned(two, lambda value: value["body"].update(at="2027-01-02T03:04:05.678Z"))
    assert folded(unsigned, START.fold(one)) is Finding.SIG_INVALID  # nobody is accused of a fork that they did not sign


def test_a_raw_key_occurs_once_in_one_purpose() -> None:  # 8.9
    after = START.fold(event(START, NEW, [ADA, BOB, NEW]))
    for purpose in Purpose:
        again = secret(10, purpose)
        assert folded(event(after, again, [ADA, BOB, again]), after) is Finding.REGISTRY_INVALID
        root = secret(0, purpose)
        assert folded(event(after, root, [BOB, EVE, root]), after) is Finding.REGISTRY_INVALID


def test_a_key_id_that_is_not_the_thumbprint_is_refused() -> None:  # 8.9
    for wrong, finding in (
        ("ed25519:" + "0" * 64, Finding.REGISTRY_INVALID),
        (secret(10, Purpose.LOG).public.id, Finding.REGISTRY_INVALID),
        (NEW.public.id.upper(), Finding.SIG_INVALID),
        ("", Finding.SIG_INVALID),
    ):

        def rename(value: Any, wrong: str = wrong) -> None:
            names = [wrong if name == NEW.public.id else name for name in value["body"]["signers"]]
            value["body"]["signers"] = sorted(names)
            for sig in value["sigs"]:
                sig["key"] = wrong if sig["key"] == NEW.public.id else sig["key"]
            value["sigs"].sort(key=lambda sig: sig["key"])

        assert folded(resigned(event(START, NEW, [ADA, BOB, NEW]), rename)) is finding


def test_another_genesis_is_another_registry() -> None:  # 8.11
    own = [(secret(30, Purpose.ROOT), "ada"), (secret(31, Purpose.ROOT), "bob")]
    for line in (
        registry.genesis(own, threshold=2, at=AT, nonce=NONCE, deployment=START.deployment),
        registry.genesis(ROOTS, threshold=2, at=AT, nonce="f" * 32, deployment=START.deployment),
        registry.genesis(ROOTS, threshold=1, at=AT, nonce=NONCE),
    ):
        substitute = Registry.replay([line])
        assert substitute.genesis != START.genesis  # what a verifier pins
        roots = [root for root, _ in (own if own[0][0].public.id in substitute.keys else ROOTS)][:2]
        foreign = event(substitute, NEW, [*roots, NEW])
        assert folded(foreign, substitute) is None
        assert folded(foreign) is Finding.REGISTRY_INVALID


def test_events_cannot_be_reordered_dropped_or_numbered_anew() -> None:  # 8.12
    lines = list(START.lines)
    for number in range(10, 14):
        new = secret(number, Purpose.EXECUTION)
        lines.append(event(Registry.replay(lines), new, [ADA, BOB, new]))
    assert replayed(*lines) is None
    for place in range(len(lines) - 1):
        assert replayed(*lines[:place], *lines[place + 1 :]) is Finding.REGISTRY_INVALID
    for place in range(1, len(lines) - 1):
        swapped = [*lines[:place], lines[place + 1], lines[place], *lines[place + 2 :]]
        assert replayed(*swapped) is Finding.REGISTRY_INVALID
        assert replayed(*lines[: place + 1], *lines[place:]) is Finding.REGISTRY_INVALID
    assert replayed() is Finding.REGISTRY_INVALID
    for change, expected in (
        ({"seq": 2}, Finding.REGISTRY_INVALID),
        ({"seq": 2**53 - 1}, Finding.REGISTRY_INVALID),
        ({"seq": 0}, Finding.CHAIN_FORK),
        ({"seq": -1}, Finding.PACK_MALFORMED),
        ({"seq": True}, Finding.PACK_MALFORMED),
        ({"prev": None}, Finding.PACK_MALFORMED),
        ({"prev": START.genesis}, Finding.REGISTRY_INVALID),
        ({"prev": leaf(b"")}, Finding.REGISTRY_INVALID),
    ):
        assert folded(event(START, NEW, [ADA, BOB, NEW], **change)) is expected, change


@pytest.mark.parametrize("name", ["suspend", "ROTATE", "Add", "add ", "", None, 1, [], {"event": "add"}])
def test_an_unknown_event_is_unsupported_and_never_skipped(name: Json) -> None:  # 8.14
    line = event(START, NEW, [ADA, BOB, NEW], event=name)
    assert folded(line) is Finding.UNSUPPORTED
    assert replayed(*START.lines, line, event(START, NEW, [ADA, BOB, NEW])) is Finding.UNSUPPORTED


def test_unknown_kinds_versions_schemes_and_purposes_are_unsupported() -> None:  # 8.14
    for change in (
        {"kind": "receipt"},
        {"kind": "statement"},
        {"v": 2},
        {"scheme": "webauthn-es256"},
        {"scheme": ""},
        {"purpose": "admin"},
        {"purpose": "ROOT"},
    ):
        assert folded(event(START, NEW, [ADA, BOB, NEW], **change)) is Finding.UNSUPPORTED, change


def test_a_registry_has_a_bound_of_events_and_whoever_writes_keeps_it_too() -> None:
    last, full = (replace(START, lines=START.lines * size) for size in (EVENTS_MAX - 1, EVENTS_MAX))
    assert folded(event(last, NEW, [ADA, BOB, NEW]), last) is None
    assert folded(event(full, NEW, [ADA, BOB, NEW]), full) is Finding.REGISTRY_INVALID
    written = finding(lambda: registry.add(full, NEW, "kernel", LOG, at=AT, roots=[ADA, BOB]))
    assert written is Finding.REGISTRY_INVALID


# -- what may not stand in an event


def test_a_weak_key_is_not_added() -> None:
    for raw in sorted(FORBIDDEN):
        line = event(START, NEW, [ADA, BOB, NEW], public=base64.b64encode(raw).decode())
        assert folded(line) is Finding.KEY_WEAK
    torsion = {bytes.fromhex(v["key"]) for v in json.loads((corpus("ed25519") / "cctv.json").read_bytes())} - FORBIDDEN
    weak = {raw for raw in torsion if finding(lambda raw=raw: registry.PublicKey.register(raw, Purpose.LOG))}
    assert weak
    for raw in weak:
        line = event(START, NEW, [ADA, BOB, NEW], public=base64.b64encode(raw).decode())
        assert folded(line) is Finding.KEY_WEAK


def test_a_machines_key_names_its_log_and_no_other_key_does() -> None:
    for purpose in Purpose:
        new = secret(10, purpose)
        machine = purpose in (Purpose.EXECUTION, Purpose.LOG)
        for log in (None, LOG):
            refused = machine != (log is not None)
            found = folded(event(START, new, [ADA, BOB, new], log=log))
            assert found is (Finding.REGISTRY_INVALID if refused else None), (purpose, log)
    for log in ("", "a b", "a+b", "é", "a" * 257):
        assert folded(event(START, NEW, [ADA, BOB, NEW], log=log)) is Finding.REGISTRY_INVALID
    for log in (7, False, ["a"]):
        assert folded(event(START, NEW, [ADA, BOB, NEW], log=log)) is Finding.PACK_MALFORMED


@pytest.mark.parametrize("principal", ["", "a b", "ada\u200b", "\N{CYRILLIC SMALL LETTER A}da", "a\n", "a\x7f"])
def test_a_principal_is_visible_ascii(principal: str) -> None:
    assert folded(event(START, NEW, [ADA, BOB, NEW], principal=principal)) is Finding.REGISTRY_INVALID
    assert replayed(founding([(ADA, principal)], [ADA])) is Finding.REGISTRY_INVALID


def test_a_public_key_has_one_textual_form() -> None:
    text = base64.b64encode(NEW.public.raw).decode()
    unused_bits = text[:-2] + chr(ord(text[-2]) + 1) + "="
    for public in (unused_bits, text[:-1], text + "=", " " + text, text + "\n", NEW.public.raw.hex(), "", "é" * 44, 5, None):
        assert folded(event(START, NEW, [ADA, BOB, NEW], public=public)) in (Finding.PACK_MALFORMED, Finding.KEY_WEAK)


def test_no_field_is_missing_unknown_or_of_another_type() -> None:
    line = event(START, NEW, [ADA, BOB, NEW])
    body = json.loads(line)["body"]
    assert folded(resigned(line, lambda value: value["body"].pop("kind"))) is Finding.PACK_MALFORMED
    for name in body.keys() - {"signers", "kind"}:
        without = {key: value for key, value in body.items() if key != name}
        assert folded(seal(without, [ADA, BOB, NEW]).line) in (Finding.PACK_MALFORMED, Finding.UNSUPPORTED)
        assert folded(event(START, NEW, [ADA, BOB, NEW], **{name: [1]})) is not None
    for name in body["key"]:
        key = {key: value for key, value in body["key"].items() if key != name}
        assert folded(seal(body | {"key": key}, [ADA, BOB, NEW]).line) is Finding.PACK_MALFORMED
        assert folded(event(START, NEW, [ADA, BOB, NEW], **{name: {}})) is Finding.PACK_MALFORMED
    assert folded(event(START, NEW, [ADA, BOB, NEW], extra=1)) is Finding.PACK_MALFORMED
    assert folded(seal(body | {"key": body["key"] | {"extra": 1}}, [ADA, BOB, NEW]).line) is Finding.PACK_MALFORMED
    assert folded(seal(body | {"at": "2026-01-02"}, [ADA, BOB, NEW]).line) is Finding.PACK_MALFORMED


def test_a_line_has_one_form() -> None:
    line = event(START, NEW, [ADA, BOB, NEW])
    for other in (line + b"\n", b" " + line, line.replace(b":", b": ", 1), b"", b"{}", b"[]", line[:-1], line + line):
        assert folded(other) in (Finding.NON_CANONICAL, Finding.PACK_MALFORMED)


def test_every_signature_of_an_event_counts() -> None:
    line = event(START, NEW, [ADA, BOB, EVE, NEW])
    for place in range(4):  # also one that the threshold does not need

        def break_one(value: Any, place: int = place) -> None:
            sigs = value["sigs"]
            sigs[place]["sig"] = sigs[place - 1]["sig"]

        assert folded(resigned(line, break_one)) is Finding.SIG_INVALID
    dropped = resigned(line, lambda value: value["sigs"].pop())
    assert folded(dropped) is Finding.SIG_INVALID
    twice = resigned(line, lambda value: value["sigs"].append(value["sigs"][-1]))
    assert folded(twice) is Finding.PACK_MALFORMED


# -- genesis


def test_a_genesis_whose_threshold_cannot_be_reached_is_refused() -> None:
    pair = [(ADA, "ada"), (SPARE, "ADA")]  # one person
    for roots, threshold, expected in (
        (pair, 1, None),
        (pair, 2, Finding.REGISTRY_INVALID),
        (ROOTS, 3, None),
        (ROOTS, 4, Finding.REGISTRY_INVALID),
        (ROOTS, 0, Finding.REGISTRY_INVALID),
        (ROOTS, -1, Finding.PACK_MALFORMED),
        (ROOTS, True, Finding.PACK_MALFORMED),
        (ROOTS, None, Finding.PACK_MALFORMED),
    ):
        assert replayed(founding(roots, [root for root, _ in roots], threshold=threshold)) is expected, threshold


def test_a_genesis_is_signed_by_all_its_roots_and_nobody_else() -> None:
    roots = [(ADA, "ada"), (BOB, "bob")]
    assert replayed(founding(roots, [ADA, BOB])) is None
    for signers in ([ADA], [BOB], [ADA, BOB, EVE], [ADA, EVE], [EVE]):
        assert replayed(founding(roots, signers)) is Finding.REGISTRY_INVALID
    forged = resigned(founding(roots, [ADA, BOB]), lambda value: value["body"].update(threshold=2))
    assert replayed(forged) is Finding.SIG_INVALID


def test_the_roots_of_a_genesis_stand_once_and_in_order() -> None:
    roots = json.loads(founding([(ADA, "ada"), (BOB, "bob")], [ADA, BOB]))["body"]["roots"]
    for listed in ([], roots[::-1], [roots[0], roots[0], roots[1]], [roots[0], roots[0] | {"principal": "x"}, roots[1]]):
        assert replayed(founding([], [ADA, BOB], roots=listed)) is Finding.REGISTRY_INVALID
    assert replayed(founding([], [ADA], roots=[roots[0] | {"purpose": "root"}])) is Finding.PACK_MALFORMED
    many = [(secret(n, Purpose.ROOT), "ada") for n in range(65)]
    assert replayed(founding(many, [root for root, _ in many[:64]])) is Finding.REGISTRY_INVALID


def test_a_root_of_a_genesis_is_a_root_key_of_its_id() -> None:
    approval = secret(0, Purpose.APPROVAL)  # the same raw key as ada's, under the id of another purpose
    assert replayed(founding([(ADA, "ada")], [approval])) is Finding.REGISTRY_INVALID
    weak = [{"scheme": "ed25519", "public": base64.b64encode((1).to_bytes(32, "little")).decode(), "principal": "x"}]
    assert replayed(founding([], [ADA], roots=weak)) is Finding.KEY_WEAK
    with pytest.raises(EvidenceError, match="REGISTRY_INVALID"):
        registry.genesis([(approval, "ada")], threshold=1, at=AT, nonce=NONCE)


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 1},
        {"seq": None},
        {"prev": leaf(b"")},
        {"nonce": "0" * 31},
        {"nonce": "A" * 32},
        {"nonce": None},
        {"at": "now"},
        {"deployment": ""},
        {"deployment": "a b"},
        {"deployment": "a" * 201},
        {"deployment": 5},
        {"roots": {}},
        {"extra": 1},
        {"event": "add"},
    ],
)
def test_a_genesis_has_exactly_its_fields(change: dict[str, Json]) -> None:
    assert replayed(founding([(ADA, "ada")], [ADA], **change)) in (Finding.REGISTRY_INVALID, Finding.PACK_MALFORMED)


def test_nothing_is_written_that_would_not_be_read() -> None:
    for roots, principal, log in (
        ([ADA], "kernel", LOG),
        ([ADA, SPARE], "kernel", LOG),
        ([ADA, BOB], "kernel", None),
        ([ADA, BOB], "the kernel", LOG),
        ([ADA, BOB, NEW], "kernel", LOG),
    ):
        with pytest.raises(EvidenceError):
            registry.add(START, NEW, principal, log, at=AT, roots=roots)
    with pytest.raises(EvidenceError):
        registry.genesis([*ROOTS, ROOTS[0]], threshold=1, at=AT, nonce=NONCE)
    with pytest.raises(EvidenceError):
        registry.genesis(ROOTS, threshold=4, at=AT, nonce=NONCE)


# -- 8.13: replaying is folding, and both agree with a model

STEP = st.tuples(
    st.integers(10, 15),  # which key
    st.sampled_from([Purpose.EXECUTION, Purpose.LOG, Purpose.APPROVAL, Purpose.WITNESS]),
    st.sets(st.sampled_from([0, 1, 2, 3, 4])),  # which roots sign; 4 is no root
    st.booleans(),  # whether the key signs itself
    st.sampled_from([0, 0, 0, 0, 1, -1]),  # how far `seq` is off
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=12))
def test_replay_is_the_fold_of_the_accepted_events_and_agrees_with_a_model(
    steps: list[tuple[int, Purpose, set[int], bool, int]],
) -> None:
    people = ["ada", "bob", "eve", "ada"]
    reg, model = START, dict.fromkeys((root.public.raw for root, _ in ROOTS), 1)
    for number, purpose, roots, proven, off in steps:
        new = secret(number, purpose)
        signers: list[Signer] = [secret(n, Purpose.ROOT) for n in roots] + ([new] if proven else [])
        accepted = proven and off == 0 and 4 not in roots and len({people[n] for n in roots - {4}}) >= 2
        accepted = accepted and new.public.raw not in model
        if not signers:
            continue
        line = event(reg, new, signers, seq=reg.size + off)
        assert (folded(line, reg) is None) == accepted
        if accepted:
            reg = reg.fold(line)
            model[new.public.raw] = reg.size
    assert Registry.replay(reg.lines) == reg
    assert {entry.key.raw: entry.since for entry in reg.keys.values()} == model
    for size in range(1, reg.size + 1):
        assert Registry.replay(reg.lines[:size]).head == reg.head_at(size)


def test_the_example_of_the_page_is_true() -> None:
    text = PAGE.read_text(encoding="utf-8")
    (block,) = re.findall(r"```jsonl\n(.*?)```", text, re.DOTALL)
    reg = Registry.replay([line.encode() for line in block.splitlines()])
    assert reg.size == 4 and reg.genesis in text and reg.deployment in text
    old, new = (entry for entry in reg.keys.values() if entry.key.purpose is Purpose.EXECUTION)
    assert (old.since, old.until, new.since, new.until) == (2, 3, 3, None)
    assert old.stolen is not None and old.log is not None and old.log.startswith(reg.deployment + "/")
    assert [secret(n, Purpose.EXECUTION).public.id for n in (1, 2)] == [old.key.id, new.key.id]
