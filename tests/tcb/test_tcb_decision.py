"""The facts of a decision: what was written is what is read, and nothing that could not have been written is read."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.decision import Claim, ClaimState, Facts
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical

WHOLE = st.integers(0, 2**53 - 1)
DIGESTS = st.binary(max_size=4).map(digest)
CLOCKS = st.builds(Clock, WHOLE, st.binary(min_size=16, max_size=16).map(bytes.hex), WHOLE)
FACTS = st.builds(
    Facts,
    principal=st.text(max_size=8),
    door=st.text(max_size=8),
    policy=st.none() | DIGESTS,
    clock=CLOCKS,
    hold=st.none() | DIGESTS,
    claim=st.none() | st.builds(Claim, DIGESTS, st.sampled_from(ClaimState), st.booleans()),
    budget=st.dictionaries(st.text(max_size=8), WHOLE, max_size=3),
)
FULL = Facts(
    "agent",
    "library",
    digest(b"policy"),
    Clock(1_767_323_045_678, "b0" * 16, 1000),
    hold=digest(b"hold"),
    claim=Claim(digest(b"first"), ClaimState.DONE, True),
    budget={"daily": 3},
)


def read(value: Json) -> Facts:
    return Facts.from_json(value, principal=FULL.principal, door=FULL.door, policy=FULL.policy)


def finding(value: Json) -> Finding | None:
    try:
        read(value)
    except EvidenceError as error:
        return error.finding
    return None


@given(FACTS)
def test_facts_read_back_as_themselves(facts: Facts) -> None:
    value = parse(canonical(facts.to_json()))
    again = Facts.from_json(value, principal=facts.principal, door=facts.door, policy=facts.policy)
    assert again == facts and again.to_json() == value


@given(FACTS)
def test_what_is_not_so_is_not_said(facts: Facts) -> None:
    value = facts.to_json()
    assert value.keys() == {"clock"} | {name for name in ("hold", "claim", "budget") if getattr(facts, name)}


def test_principal_door_and_policy_are_not_said_twice() -> None:
    text = canonical(FULL.to_json()).decode()
    assert FULL.policy is not None
    assert not any(word in text for word in (FULL.principal, FULL.door, FULL.policy))


def holders(value: dict[str, Any]) -> list[dict[str, Any]]:
    return [value, value["clock"], value["claim"], value["budget"]]


def changed(holder: int, name: str, new: object) -> Json:
    value: Any = parse(canonical(FULL.to_json()))
    holders(value)[holder][name] = new
    return value


PLACES = [(n, name) for n, holder in enumerate(holders(FULL.to_json())) for name in holder]  # type: ignore[arg-type]


@pytest.mark.parametrize(("holder", "name"), PLACES, ids=str)
def test_a_fact_of_another_type_is_refused(holder: int, name: str) -> None:
    old = holders(FULL.to_json())[holder][name]  # type: ignore[arg-type]
    for new in (None, True, 1, 1.5, "x", [], {}, [old], {"x": old}):
        if type(new) is not type(old):
            assert finding(changed(holder, name, new)) is Finding.PACK_MALFORMED, new


def test_an_empty_fact_and_a_count_below_zero_are_refused() -> None:
    for holder, name in PLACES:
        if (holder, name) != (2, "state"):
            for new in ("", {}, [], -1):
                assert finding(changed(holder, name, new)) is Finding.PACK_MALFORMED


@pytest.mark.parametrize(("holder", "name"), PLACES, ids=str)
def test_a_fact_is_left_out_only_where_it_may_be(holder: int, name: str) -> None:
    value: Any = parse(canonical(FULL.to_json()))
    del holders(value)[holder][name]
    optional = (holder, name) in ((0, "hold"), (0, "claim"), (0, "budget"))
    assert finding(value) is (None if optional else Finding.PACK_MALFORMED)


def test_an_unknown_fact_is_refused() -> None:
    for holder in (0, 1, 2):
        assert finding(changed(holder, "extra", 1)) is Finding.PACK_MALFORMED
    assert finding(changed(3, "extra", 1)) is None  # another budget


def test_an_unknown_state_of_a_claim_is_unsupported() -> None:
    for state in ("", "DONE", "late"):
        assert finding(changed(2, "state", state)) is Finding.UNSUPPORTED


@pytest.mark.parametrize("value", [None, [], "clock", 1, {}, {"clock": {}}])
def test_facts_without_a_clock_are_none(value: Json) -> None:
    assert finding(value) is Finding.PACK_MALFORMED
