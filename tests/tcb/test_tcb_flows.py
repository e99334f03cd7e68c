"""The story of a log as one fold. What it refuses is in the vectors; here is what it knows, and that it goes on after a fault."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.decision import Status, Verdict
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.flows import Flows, statement_of
from helm_ai_kernel.tcb.receipt import Kind, Receipt
from packs import TOOL, Log, short, story


def told(log: Log, receipts: list[Receipt] | None = None) -> tuple[Flows, list[Finding]]:
    """The state after these receipts, and the faults on the way."""
    receipts = log.receipts if receipts is None else receipts
    flows, found = Flows({}, {receipt.leaf: receipt.index for receipt in receipts}), []
    for receipt in receipts:
        try:
            flows.append(receipt)
        except EvidenceError as error:
            found.append(error.finding)
    return flows, found


def test_the_story_of_every_flow_holds_and_leaves_what_is_in_force() -> None:
    log = story()
    flows, found = told(log)
    assert (flows.policy, flows.catalog, flows.open, found) == (log.policy, log.catalog, {}, [])
    crashed = next(receipt for receipt in log.receipts if receipt.leaf in flows.unknown)
    assert [intent.place for intent in flows.unknown.values()] == [crashed.index] and crashed.is_intent


@settings(deadline=None)
@given(st.integers(0, len(story().receipts)))
def test_every_prefix_of_a_story_holds_and_has_its_open_intents(size: int) -> None:
    log = story()
    flows, found = told(log, log.receipts[:size])
    settled = {str(receipt.body["decision"]) for receipt in log.receipts[:size] if receipt.kind is Kind.OUTCOME}
    intents = {receipt.leaf for receipt in log.receipts[:size] if receipt.is_intent}
    assert found == [] and flows.open.keys() == intents - settled


def test_what_was_erased_stays_so_and_each_later_decision_about_it_is_a_fault() -> None:
    log, subject = short(), "5b" * 16
    agent = log.start()
    log.settle(agent, log.allow(agent, more={"subject": subject}).leaf)
    log.erase(subject, 2)
    assert told(log)[1] == []
    log.erase(subject, 0)
    log.settle(agent, log.allow(agent, more={"subject": subject}).leaf)
    log.settle(agent, log.allow(agent, more={"subject": "6b" * 16}).leaf)
    log.settle(agent, log.allow(agent).leaf)
    assert told(log)[1] == [Finding.APPROVAL_INVALID, Finding.FLOW_INVALID]


def test_a_decision_names_outcomes_of_its_own_principal_and_nobody_has_any() -> None:
    log = short()
    nobody, agent, other = "0e" * 16, log.start(), log.start("agent", "another door")
    theirs, mine = (log.settle(session, log.allow(session).leaf) for session in (nobody, agent))
    assert told(log)[1] == []
    for session, cause, found in (
        (other, mine, []),
        (other, theirs, [Finding.FLOW_INVALID]),
        (nobody, theirs, [Finding.FLOW_INVALID]),
        (nobody, mine, [Finding.FLOW_INVALID]),
        (other, log.receipts[0], [Finding.FLOW_INVALID]),
    ):
        before = len(told(log)[1])
        log.decide(session, Verdict.DENY, Reason.ERR_POLICY_DENY, parents=[cause.leaf])
        assert told(log)[1][before:] == found


def test_a_late_answer_resolves_what_was_unknown() -> None:
    log = short()
    agent = log.start()
    intent = log.allow(agent)
    log.settle(agent, intent.leaf, Status.UNKNOWN)
    assert told(log)[0].unknown.keys() == {intent.leaf}
    log.settle(agent, intent.leaf, Status.LATE)
    assert told(log)[0].unknown == {}


def test_one_fault_is_one_finding_and_the_story_goes_on() -> None:
    log = short()
    agent = log.start()
    hold = log.drift(agent)
    log.settle(agent, log.allow(agent).leaf)  # allowed while held
    log.release(hold.leaf)
    log.settle(agent, log.allow(agent).leaf)
    assert told(log)[1] == [Finding.FLOW_INVALID]


def test_a_tool_with_two_holds_is_held_until_both_are_released() -> None:
    log = short()
    agent = log.start()
    first = log.drift(agent)
    second = log.hold(first.leaf)  # a fault by itself: it is held already
    log.release(first.leaf)
    log.settle(agent, log.allow(agent).leaf)
    assert told(log)[1] == [Finding.FLOW_INVALID] * 2
    log.release(second.leaf)
    log.settle(agent, log.allow(agent).leaf)
    assert told(log)[1] == [Finding.FLOW_INVALID] * 2


def test_a_hold_on_one_tool_stops_no_other() -> None:
    log = short()
    agent = log.start()
    log.drift(agent, "demo/sum")
    log.settle(agent, log.allow(agent).leaf)
    assert told(log)[1] == []


@pytest.mark.parametrize("status", [Status.OK, Status.FAILED, Status.UNKNOWN])
@given(st.dictionaries(st.sampled_from(["day", "total"]), st.integers(0, 2)), st.integers(0, 2))
def test_an_outcome_spends_what_was_reserved_or_gives_all_of_it_back(status: Status, reserved: dict[str, int], unit: int) -> None:
    log = short()
    agent = log.start()
    intent = log.allow(agent, more={"reserved": dict(reserved)} if reserved else {})
    spent = {name: unit * count for name, count in reserved.items()}
    log.settle(agent, intent.leaf, status, more={"spent": spent} if reserved else {})
    due = dict.fromkeys(reserved, 0) if status is Status.FAILED else reserved
    assert (told(log)[1] == []) == (spent == due)


def test_a_key_that_was_dispatched_once_is_dispatched_never_again() -> None:
    """In whatever state the first call is, also after a restart."""
    for status in (None, *Status):
        log = short()
        agent = log.start()
        goes = log.offer if status is Status.REPORTED else log.allow
        first = goes(agent, more={"key": log.attach(b"key-1")})
        if status is Status.LATE:
            log.settle(agent, first.leaf, Status.UNKNOWN)
        if status is not None:
            log.settle(agent, first.leaf, status)
        assert told(log)[1] == []
        log.allow(log.start(), tool="demo/sum" if status is Status.DRIFT else TOOL, more={"key": first.body["key"]})
        assert told(log)[1] == [Finding.FLOW_INVALID]


def test_what_a_statement_changes_is_in_force_also_after_a_fault() -> None:
    log = short()
    nonce = "0" * 32
    log.activate(b"forbid(principal, action, resource);", nonce=nonce)
    log.activate(b"permit(principal, action, resource);", nonce=nonce)
    flows, found = told(log)
    assert found == [Finding.APPROVAL_REUSED] and flows.policy == log.policy


def test_only_a_statement_receipt_holds_a_statement() -> None:
    log = short()
    assert [statement_of(receipt) is not None for receipt in log.receipts] == [False, True, False, False, False, False]


def test_a_statement_of_an_unknown_kind_is_unsupported() -> None:
    log = short()
    inner = log.receipts[1].body["statement"]
    assert isinstance(inner, dict) and isinstance(inner["body"], dict)
    later = {**inner, "body": {**inner["body"], "kind": "wish"}}
    with pytest.raises(EvidenceError, match="UNSUPPORTED"):
        log.append(log.kernel, Kind.STATEMENT, {"statement": later})
