"""Held calls and grants as one fold: what the kernel asks before it takes a statement is what a verifier finds in the log.

What a whole log may say is in the vectors, and what may happen in any order in the model; here is what the fold says in words.
"""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.tcb.approvals import Approvals, moves
from helm_ai_kernel.tcb.ceremony import Act, State, confirmation
from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.decision import Status, Verdict
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.flows import scopes, statement_of
from helm_ai_kernel.tcb.grant import Grant
from helm_ai_kernel.tcb.receipt import Kind, Receipt
from helm_ai_kernel.tcb.statement import Allows, Statement, StatementKind, sign
from packs import AT, NOW, TOOL, Body, Log, after, short, story


def begun() -> tuple[Log, str, Receipt]:
    """A call that waits for a person, within an hour."""
    log = short()
    agent = log.start()
    return log, agent, log.escalate(agent)


def said(log: Log, kind: StatementKind, content: Body) -> Statement:
    signers = [log.deployment.root if kind is StatementKind.OVERRIDE else log.deployment.approval]
    return sign(kind, content, log=log.deployment.origin, at=AT, nonce="0c" * 16, signers=signers)


def everybody(key: str) -> bool:
    return True


def asks(log: Log, statement: Statement, clock: Clock = NOW, in_force: Callable[[str], bool] = everybody) -> Reason | None:
    signers = [log.deployment.registry.keys[id] for id in statement.signers]
    refused = log.approvals.refusal(statement, signers, Digest(""), clock, in_force)
    return None if refused is None else refused[0]


def word(log: Log, held: Receipt, act: Act = Act.APPROVE, **other: object) -> Statement:
    intent = log.ceremony(held).intent if held.leaf in log.approvals.held else digest(b"")
    answer = confirmation(intent, "0c" * 16, log.deployment.approval.public.id, act)
    content: Body = {"call": held.leaf, "intent": intent, "decision": act.value, "confirmation": answer}
    return said(log, StatementKind.APPROVAL, {**content, **other})  # type: ignore[dict-item]


# -- why a statement is not taken, in words that a person gets


def test_a_right_answer_is_taken() -> None:
    log, _, call = begun()
    assert asks(log, word(log, call)) is None
    assert asks(log, word(log, call), after(3_600_000)) is None


def test_each_refusal_has_its_reason() -> None:
    log, agent, call = begun()
    other = digest(b"another")
    assert asks(log, word(log, call, intent=other)) is Reason.ERR_APPROVAL_INTENT_MISMATCH
    assert asks(log, word(log, call, call=other)) is Reason.ERR_APPROVAL_INTENT_MISMATCH
    assert asks(log, word(log, call, confirmation=other)) is Reason.ERR_APPROVAL_CHALLENGE
    assert asks(log, word(log, call), after(3_600_001)) is Reason.ERR_APPROVAL_EXPIRED
    assert asks(log, word(log, call), after(10, wall_ms=-1)) is Reason.ERR_CLOCK_UNTRUSTED
    assert asks(log, word(log, call, Act.WITHDRAW)) is Reason.ERR_APPROVAL_INTENT_MISMATCH
    log.approve(call)
    assert asks(log, word(log, call)) is Reason.ERR_APPROVAL_CONSUMED
    log.resume(agent, call)
    assert asks(log, word(log, call)) is Reason.ERR_APPROVAL_CONSUMED


@pytest.mark.parametrize("act", [Act.DENY, Act.DISPUTE])
def test_a_no_is_heard_also_where_a_clock_went_back(act: Act) -> None:
    log, _, call = begun()
    assert asks(log, word(log, call, act), after(10, wall_ms=-1)) is None


def test_a_call_that_was_denied_hears_no_more() -> None:
    log, _, call = begun()
    log.say(Act.DENY, call)
    assert {asks(log, word(log, call, act)) for act in Act if act is not Act.OVERRIDE} == {Reason.ERR_APPROVAL_DENIED}


def test_the_requester_approves_nothing_of_their_own() -> None:
    log = short()
    agent = log.start("Olga")
    call = log.escalate(agent)
    assert asks(log, word(log, call)) is Reason.ERR_APPROVAL_SELF
    content: Body = {"principal": "OLGA", "tool": TOOL, "pin": digest(b"pin"), "where": {}, "calls": 1, "lasts_ms": 1}
    assert asks(log, said(log, StatementKind.GRANT, content)) is Reason.ERR_APPROVAL_SELF
    override: Body = {"call": call.leaf, "intent": log.ceremony(call).intent}
    assert asks(log, said(log, StatementKind.OVERRIDE, override)) is Reason.ERR_APPROVAL_SELF  # the root is olga's, too


def test_how_a_call_ended_is_what_a_late_answer_hears() -> None:
    for end, reason in ((Log.lapse, Reason.ERR_APPROVAL_EXPIRED), (superseded, Reason.ERR_APPROVAL_INTENT_MISMATCH)):
        log, _, call = begun()
        end(log, call, clock=after(3_600_001))  # type: ignore[operator]
        assert asks(log, word(log, call)) is reason


def superseded(log: Log, call: Receipt, clock: Clock) -> None:
    log.escalate(call.session, approvers=2, before=log.held(call))


def test_what_ended_once_ends_as_it_did() -> None:
    log, agent, call = begun()
    log.approve(call)
    log.resume(agent, call)
    log.approvals.end(call.leaf, Reason.ERR_APPROVAL_EXPIRED)
    assert log.approvals.ended == {call.leaf: Reason.ERR_APPROVAL_CONSUMED}


def test_of_other_statements_nothing_is_said() -> None:
    log = short()
    assert asks(log, said(log, StatementKind.RELEASE, {"scope": "all", "hold": digest(b"hold")})) is None
    assert asks(log, said(log, StatementKind.REVOCATION, {"grant": digest(b"grant")})) is Reason.ERR_APPROVAL_INTENT_MISMATCH


# -- the fold


def test_a_copy_is_one_of_its_own() -> None:
    log, _, call = begun()
    copy = log.approvals.copy()
    log.approve(call)
    log.grant()
    assert copy.held[call.leaf].read(everybody).state is State.WAITING and not copy.grants
    assert log.approvals.held[call.leaf].read(everybody).state is State.COMPLETE and log.approvals.grants


def folded(log: Log) -> Approvals:
    """Of the receipts alone that move something, as a start of the kernel reads them."""
    approvals, keys = Approvals(), log.deployment.registry.keys
    for receipt in log.receipts:
        in_force = log.deployment.registry.in_force_at(receipt.trust.size)
        statement = statement_of(receipt)
        if receipt.kind is Kind.DECISION and moves(receipt.body):
            approvals.decided(receipt, log.principals[receipt.session], in_force)
        elif receipt.kind is Kind.LAPSE:
            approvals.lapse(receipt, in_force)
        elif statement is not None:
            signers = [keys[id] for id in statement.signers]
            clock = Clock.from_json(receipt.body["clock"]) if "clock" in receipt.body else NOW
            assert approvals.refusal(statement, signers, receipt.leaf, clock, in_force) is None
            approvals.take(statement, signers, receipt.leaf, clock)
    return approvals


def test_a_start_reads_the_same_from_what_moves_as_the_process_before_it_knew() -> None:
    log = story()
    agent = log.start()
    given = log.grant(calls=3)
    log.settle(agent, log.use(agent, given).leaf)
    waits, goes, lapses, again = (log.escalate(agent, timelock_ms=60_000) for _ in range(4))
    log.approve(waits)
    log.poll(agent, waits)
    log.override(goes)
    log.settle(agent, log.resume(agent, goes).leaf)
    log.lapse(lapses, clock=after(3_600_001))
    log.escalate(agent, approvers=3, timelock_ms=60_000, before=log.held(again))
    log.poll(agent, waits, Reason.ERR_POLICY_DENY, verdict=Verdict.DENY)
    assert folded(log) == log.approvals and len(log.approvals.held) == 2


def test_a_repeat_ends_nothing_that_it_reads() -> None:
    log, agent, call = begun()
    first = log.allow(agent, more={"key": log.attach(b"key-1")})
    log.settle(agent, first.leaf, Status.OK)
    facts, more = {"approval": log.held(call)}, {"repeats": first.leaf, "key": first.body["key"]}
    log.decide(agent, Verdict.ALLOW, Reason.REPEATED, facts=facts, more=more, args=Digest(str(call.body["args_hash"])))
    assert call.leaf in log.approvals.held


def test_a_lapse_of_what_is_not_over_says_so_and_ends_it() -> None:
    log, _, call = begun()
    early = Log.lapse(log, call, clock=after(3_600_000))
    approvals = Approvals()
    approvals.begin(call, "agent")
    with pytest.raises(EvidenceError) as caught:
        approvals.lapse(early, everybody)
    assert caught.value.finding is Finding.APPROVAL_INVALID and not approvals.held


# -- grants

ALLOWS = Allows("agent", digest(b"pin"), {}, 2, 1000)
GRANT = Grant(digest(b"grant"), TOOL, ALLOWS, (("k1", "ada"), ("k2", "bob"), ("k3", "ADA")), NOW, 2)


def test_a_grant_is_for_one_principal_tool_and_pin() -> None:
    assert GRANT.is_for("agent", TOOL, digest(b"pin"))
    for other in (("Agent", TOOL, digest(b"pin")), ("agent", "demo/sum", digest(b"pin")), ("agent", TOOL, digest(b"other"))):
        assert not GRANT.is_for(*other)


@pytest.mark.parametrize(("clock", "over"), [
    (after(1000), False), (after(1001), True), (after(wall_ms=1001, boot_ms=0), True), (after(wall_ms=0, boot_ms=1001), True),
    (after(10, wall_ms=-1), True), (after(10, boot_ms=-1), True), (after(500, boot="next", boot_ms=0), False),
])  # fmt: skip
def test_a_grant_is_over_on_either_clock_and_where_one_went_back(clock: Clock, over: bool) -> None:
    assert GRANT.over(clock) is over


def test_a_grant_is_used_up_and_never_less_than_that() -> None:
    used = GRANT.used().used()
    assert not GRANT.used().over(NOW) and used.over(NOW) and used.used().left == 0


def test_a_grant_is_read_as_the_people_whose_keys_are_in_force() -> None:
    whole = GRANT.read(everybody)
    assert whole is not None and whole.by == ("ADA", "bob")  # of two spellings that of the last key
    alone = GRANT.read(lambda key: key == "k1")
    assert alone is not None and alone.by == ("ada",) and GRANT.read(lambda key: False) is None


# -- freezes


@given(st.text(max_size=5), st.text(max_size=5))
def test_a_call_is_in_four_scopes(principal: str, rest: str) -> None:
    assert scopes(principal, "5e" * 16, f"demo/{rest}") == ("all", "server:demo", f"agent:{principal}", "session:" + "5e" * 16)
