"""What the client acts on, over a log in memory: once, whoever asks, with one approval, and its report goes to nobody else."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest

from executor.desk import Desk, boundary, replied, request
from executor.memory import MemoryHost, MemoryLog, run, summary
from helm_ai_kernel.executor.execute import execute, offer, report
from helm_ai_kernel.executor.host import Answer, Reply, ReplyKind
from helm_ai_kernel.executor.replay import replay
from helm_ai_kernel.guardian.budget import Budget
from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.call import Call
from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.decision import Contract, Status, Verdict
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.receipt import Receipt
from packs import edited

ECHO = {"tool": "desk/echo", "arguments": {"text": "a"}}
KEYED = {**ECHO, "key": "k"}


def world(*budgets: Budget) -> MemoryHost:
    log = MemoryLog(budgets)
    log.activate(boundary())
    return MemoryHost(log, log.session("agent", "mcp"), Desk())


def call(given: Mapping[str, Any]) -> Call:
    admitted = boundary().admit(request(given))
    assert isinstance(admitted, Call)
    return admitted


def told(host: MemoryHost, given: Mapping[str, Any], decision: Receipt, reply: Reply) -> Answer:
    return run(report(call(given), decision, reply, boundary(), host))


def valid(log: MemoryLog) -> None:
    log.end()
    found = verify(log.pack(), Question(genesis=log.registry.genesis, require_resolved=True))
    assert found.exit is Exit.VALID, found.to_text()
    assert replay(pack.read(log.pack())).exit is Exit.VALID


def test_an_offer_is_allowed_and_dispatches_nothing_and_its_report_goes_on_byte_for_byte() -> None:
    host = world(Budget("one", 1))
    first = run(offer(request(ECHO), boundary(), host))
    assert (first.verdict, first.outcome, first.output) == (Verdict.ALLOW, None, None)
    again = run(offer(request(ECHO), boundary(), host))
    assert again.reason is Reason.ERR_BUDGET_EXHAUSTED, "the offer reserved"
    answer = told(host, ECHO, first.decision, replied('"what it said"'))
    assert answer.output == b'"what it said"' and answer.outcome is not None
    assert answer.outcome.body["spent"] == {"one": 1} and host.desk.effects == []
    valid(host.log)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (replied("7"), Reason.ERR_CONNECTOR_CONTRACT_DRIFT),
        (Reply(ReplyKind.OUTPUT, 1, output=b'"' + b"x" * 4096 + b'"'), Reason.ERR_CONNECTOR_CONTRACT_DRIFT),
        (replied("failed"), Reason.ERR_CONNECTOR_FAILED),
        (replied("changed"), Reason.ERR_CONNECTOR_FAILED),
        (replied("unknown"), Reason.ERR_OUTCOME_UNKNOWN),
    ],
)
def test_what_a_client_tells_that_keeps_no_contract_goes_nowhere_and_stops_no_tool(reply: Reply, reason: Reason) -> None:
    host = world(Budget("two", 2))
    first = run(offer(request(ECHO), boundary(), host))
    answer = told(host, ECHO, first.decision, reply)
    assert answer.output is None and answer.outcome is not None
    assert (answer.outcome.status, answer.outcome.reason) == (Status.REPORTED, reason)
    assert answer.outcome.body["spent"] == {"two": 1}, "the client's word gives nothing back"
    assert run(execute(request(ECHO), boundary(), host)).output == b'"done"', "nothing is held"
    valid(host.log)


def test_a_report_is_judged_under_the_limit_of_its_call() -> None:
    outcome = boundary().reported(call(ECHO), Reply(ReplyKind.OUTPUT, 1, output=b'"' + b"x" * 5000 + b'"'))
    assert outcome.truncated and outcome.output is not None and len(outcome.output) == 4096 and outcome.contract is None
    kept = boundary().reported(call(ECHO), Reply(ReplyKind.OUTPUT, 1, output=b'"x"'))
    assert (kept.status, kept.contract, kept.reason) == (Status.REPORTED, Contract.SCHEMA, Reason.OK)


def test_a_key_is_one_call_whoever_acts_on_it() -> None:
    """In every order of a client's call and a kernel's under one key, reported or not: one of them goes, and once."""
    for kinds, reports in product(product((offer, execute), repeat=3), (True, False)):
        host = world()
        answers = []
        for kind in kinds:
            answers.append(run(kind(request(KEYED), boundary(), host)))
            if reports and answers[-1].decision.is_offer:
                told(host, KEYED, answers[-1].decision, replied('"done"'))
        gone = [answer for answer in answers if answer.decision.goes]
        assert gone == answers[:1] and len(host.desk.effects) == (kinds[0] is execute)
        for kind, answer in zip(kinds[1:], answers[1:], strict=True):
            if kind is not kinds[0]:
                assert answer.reason is Reason.ERR_IDEMPOTENCY_MISMATCH and answer.output is None
            elif kind is offer and not reports:
                assert answer.reason is Reason.ERR_IDEMPOTENCY_IN_FLIGHT
            else:
                assert answer.reason is Reason.REPEATED and answer.output == b'"done"'
        valid(host.log)


def test_a_restart_forgets_who_may_report_and_owes_nothing_for_it() -> None:
    host = world()
    first = run(offer(request(KEYED), boundary(), host))
    host.log.end()
    assert host.log.begin()
    host.session = host.log.session("agent", "mcp")
    with pytest.raises(KeyError):
        told(host, KEYED, first.decision, replied('"done"'))
    assert run(offer(request(KEYED), boundary(), host)).reason is Reason.ERR_IDEMPOTENCY_IN_FLIGHT
    valid(host.log)


def test_a_call_goes_on_because_of_answers_and_the_log_shows_which() -> None:
    host = world()
    asked = run(offer(request(ECHO), boundary(), host))
    answer = told(host, ECHO, asked.decision, replied('"yes"'))
    assert answer.outcome is not None
    host.causes = (answer.outcome.leaf,)
    went = run(execute(request(ECHO), boundary(), host))
    assert went.decision.parents == (answer.outcome.leaf,) and went.output == b'"done"'
    valid(host.log)


def test_a_replay_finds_what_a_client_did_not_report() -> None:
    host = world()
    first = run(offer(request(ECHO), boundary(), host))
    told(host, ECHO, first.decision, replied('"done"'))
    second = run(offer(request(ECHO), boundary(), host))
    told(host, ECHO, second.decision, replied("7"))
    host.log.end()
    said = {summary(receipt): receipt for receipt in host.log.receipts}
    kept, broke = said["outcome REPORTED"], said["outcome REPORTED ERR_CONNECTOR_CONTRACT_DRIFT"]
    drift = Reason.ERR_CONNECTOR_CONTRACT_DRIFT.value

    def better(body: dict[str, Any]) -> None:
        del body["reason"], body["sub"]
        body["contract"] = "schema"

    def worse(body: dict[str, Any]) -> None:
        del body["contract"]
        body["reason"] = drift

    def kernels(body: dict[str, Any]) -> None:
        body |= {"effect_by": "kernel", "deadline_ms": 1}

    for receipt, change, fields in (
        (broke, better, {"contract", "reason"}),
        (kept, worse, {"contract", "reason"}),
        (first.decision, kernels, {"deadline_ms"}),
    ):
        lines = [one.line for one in host.log.receipts]
        lines[receipt.index] = edited(lines[receipt.index], change)
        found = replay({**pack.read(host.log.pack()), pack.RECEIPTS: pack.joined(lines)})
        assert {(one.index, one.field) for one in found.differs} == {(receipt.index, field) for field in fields}
        assert found.differs[0].to_json()["code"] == Finding.REPLAY_DIFFERS.value
