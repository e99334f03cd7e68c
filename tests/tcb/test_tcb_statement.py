"""A person's statement: it says exactly one thing, and only a person's registered key makes it count."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb import registry
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.envelope import Record, seal
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.receipt import Kind
from helm_ai_kernel.tcb.registry import Registry
from helm_ai_kernel.tcb.statement import Change, Statement, StatementKind, authorise, sign

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
}


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
            expected = None if (name, wrong) == ("count", 1) and wrong is not True else Finding.PACK_MALFORMED
            assert read({**body, name: wrong}) is expected, (name, wrong)
    for name in ("extra", "session", "seq", "reason", *(key for content in CONTENTS.values() for key in content)):
        if name not in body:
            assert read({**body, name: HOLD}) is Finding.PACK_MALFORMED
    for name, wrong in (("at", "now"), ("nonce", "0" * 31), ("nonce", "A" * 32), ("nonce", "")):
        assert read({**body, name: wrong}) is Finding.PACK_MALFORMED


def test_a_kind_that_is_no_statement_is_unsupported() -> None:
    body = signed().record.body
    for kind in ("grant", "approval", "hold", "", "trust", "Pin", *(kind.value for kind in Kind)):
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


# -- whose word it is


@pytest.mark.parametrize("signer", [APPROVER, SECOND, ROOT], ids=["approver", "second", "root"])
@pytest.mark.parametrize("kind", StatementKind)
def test_a_persons_registered_key_makes_a_statement_count(kind: StatementKind, signer: SecretKey) -> None:
    assert authorised(signed(signer, kind=kind)) is None


@pytest.mark.parametrize("signer", [EXECUTION, TREE, WITNESS, RELEASER], ids=lambda signer: signer.public.purpose.value)
def test_no_other_key_does_alone_or_beside_a_persons(signer: SecretKey) -> None:
    for kind in StatementKind:
        assert authorised(signed(signer, kind=kind)) is Finding.KEY_ROLE
        assert authorised(signed(signer, APPROVER, ROOT, kind=kind)) is Finding.KEY_ROLE


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
    new |= {"subject": "6b" * 16, "count": 4}
    new |= {"policy": {"from": None, "to": OLD}, "catalog": {"from": NEW, "to": NEW}}
    for name in signed(kind=kind).record.body.keys() & new.keys():
        assert altered(signed(kind=kind), lambda value, name=name: value["body"].update({name: new[name]})) is Finding.SIG_INVALID


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
