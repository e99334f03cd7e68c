"""Every flow vector through the real ledger: what is on the disk afterwards, and what a start finds after a kill."""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from executor.desk import RELEASED, Desk, answered, boundary, budgets, earlier, request, vectors, work
from executor.memory import MemoryHost, MemoryLog, summary
from executor.memory import run as driven
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.executor.replay import replay
from helm_ai_kernel.guardian.budget import Budget, Per
from helm_ai_kernel.ledger.ledger import Ledger
from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.call import Call
from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Verdict
from helm_ai_kernel.tcb.findings import Exit
from ledger.home import Home, LedgerHost, check_whole, home, started

ids = [vector["flow"] for vector in vectors()]
DONE = '"done"'


async def world(here: Home, given: Mapping[str, Any]) -> LedgerHost:
    """A ledger in the state that a vector begins in, reached by real calls."""
    ledger = await started(here, boundary(), budgets=budgets(given))
    host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
    for done in earlier(given, host):
        await done
    host.desk = Desk(given.get("reply", '"done"'))
    return host


async def flow(here: Home, vector: Mapping[str, Any], images: Path) -> Answer:
    """Make the call, and keep an image of the disk from before every step."""
    host = await world(here, vector["given"])
    start = len(here.receipts())
    taken: list[tuple[str, int]] = []

    async def before(step: str) -> None:
        here.image(images / step)
        taken.append((step, len(host.desk.effects)))

    host.before = before
    answer = await work(vector["given"], host)
    assert here.summary(start) == vector["receipts"]
    assert len(host.desk.effects) == vector["effects"]
    assert not list(host.ledger.open_intents())
    assert taken == [(crash["before"], crash["effects"]) for crash in vector["crashes"]]
    for crash in vector["crashes"]:
        await killed(Home(images / crash["before"], here.registry, here.origin), start, crash)
    await host.ledger.close()
    return answer


async def killed(image: Home, start: int, crash: Mapping[str, Any]) -> None:
    assert image.summary(start) == crash["log"]
    ledger = await started(image, boundary())
    assert image.summary(start + len(crash["log"])) == crash["recovered"]
    assert not list(ledger.open_intents())
    check_whole(image, ledger.checkpoint)
    ledger.abandon()


@pytest.mark.parametrize("vector", vectors(), ids=ids)
def test_every_flow_and_every_kill_leave_what_the_vector_says(vector: Mapping[str, Any], tmp_path: Path) -> None:
    here = home(tmp_path / "home")
    (tmp_path / "images").mkdir()
    answer = asyncio.run(flow(here, vector, tmp_path / "images"))
    assert answer.verdict == vector["answer"]
    outcome = answered(vector)
    assert (None if answer.outcome is None else summary(answer.outcome)) == outcome
    assert answer.output == (b'"done"' if outcome in RELEASED else None)
    assert here.ended == []
    check_whole(here)


RETRIED = {
    "commit": (Reason.OK, 1),
    "dispatch": (Reason.ERR_OUTCOME_UNKNOWN, 0),
    "settle": (Reason.ERR_OUTCOME_UNKNOWN, 0),
    "answer": (Reason.REPEATED, 0),
}


def test_a_retry_after_a_kill_is_a_new_call_or_unknown_or_the_first_outcome(tmp_path: Path) -> None:
    raw = request({"tool": "desk/echo", "arguments": {"text": "a"}, "key": "k1"})
    here = home(tmp_path / "home")

    async def first() -> None:
        host = await world(here, {})

        async def before(step: str) -> None:
            here.image(tmp_path / step)

        host.before = before
        await execute(raw, boundary(), host)
        host.ledger.abandon()

    async def retry(image: Home) -> tuple[Reason, int]:
        host = await world(image, {})
        answer = await execute(raw, boundary(), host)
        assert (answer.output is None) == (answer.verdict is Verdict.DENY)
        await host.ledger.close()
        return answer.reason, len(host.desk.effects)

    asyncio.run(first())
    for step, expected in RETRIED.items():
        assert asyncio.run(retry(Home(tmp_path / step, here.registry, here.origin))) == expected


LATE = {
    DONE: ["outcome LATE"],
    "failed": ["outcome LATE ERR_CONNECTOR_FAILED"],
    "7": ["outcome LATE ERR_CONNECTOR_CONTRACT_DRIFT", "hold ERR_CONNECTOR_CONTRACT_DRIFT"],
    "changed": ["outcome LATE ERR_MCP_SCHEMA_DRIFT", "hold ERR_MCP_SCHEMA_DRIFT"],
}


@pytest.mark.parametrize("reply", LATE)
def test_a_late_answer_is_recorded_holds_a_tool_that_drifted_and_changes_no_answer(tmp_path: Path, reply: str) -> None:
    given = {"tool": "desk/echo", "arguments": {"text": "a"}, "key": "k1"}
    raw, here, log = request(given), home(tmp_path / "home"), MemoryLog()

    async def told() -> bytes:
        log.activate(boundary())
        host = await world(here, {"reply": "unknown"})
        pure = MemoryHost(log, log.session("agent", "python"), Desk("unknown"))
        call = boundary().admit(raw)
        assert isinstance(call, Call)
        first, again = await execute(raw, boundary(), host), driven(execute(raw, boundary(), pure))
        start, since = len(here.receipts()), len(log.receipts)
        late = boundary().judge(call, Desk(reply).do("echo", call.args))
        await host.ledger.late(host.session, first.decision, late)
        log.late(pure.session, again.decision, late)
        assert here.summary(start) == log.summary(since) == LATE[reply]
        held = len(LATE[reply]) == 2
        for answer in (await execute(raw, boundary(), host), driven(execute(raw, boundary(), pure))):
            assert answer.reason is (Reason.ERR_TOOL_HALTED if held else Reason.ERR_OUTCOME_UNKNOWN) and answer.output is None
        assert len(host.desk.effects) == 1
        await host.ledger.close()
        return host.ledger.checkpoint

    evidence = here.pack(asyncio.run(told()), boundary())
    log.end()
    assert [said(r.body) for r in check_whole(here)] == [said(r.body) for r in log.receipts]
    report = verify(evidence, Question(genesis=here.registry.genesis))
    assert report.exit is Exit.VALID, report.to_text()


BUDGETS = (Budget("day", 3, Per.DAY, ("desk/echo",)), Budget("session", 5, Per.SESSION), Budget("total", 8, Per.TOTAL))
CALLS = st.fixed_dictionaries(
    {
        "tool": st.sampled_from(
            ["desk/echo", "desk/echo", "desk/keyed", "desk/keyed", "desk/wipe", "desk/forbidden", "desk/none"]
        ),
        "arguments": st.sampled_from([{"text": "a"}, {"text": "a"}, {"text": "b"}, {"text": 1}]),
    },
    optional={"key": st.sampled_from(["k", "k", "l"])},
)
ECHO = {"tool": "desk/echo", "arguments": {"text": "a"}, "key": "k"}
REPLIES = st.sampled_from([DONE, DONE, DONE, "failed", "unknown", "7", "changed"])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.one_of(st.tuples(CALLS, REPLIES), st.sampled_from(["restart", "session"])), min_size=4, max_size=24))
@example([(ECHO, "failed"), (ECHO, DONE), ({**ECHO, "arguments": {"text": "b"}}, DONE), "restart", (ECHO, DONE)])
@example([(ECHO, "unknown"), (ECHO, DONE), ({**ECHO, "arguments": {"text": "b"}}, DONE), "session", (ECHO, DONE)])
def test_ledger_and_memory_log_agree_on_any_sequence_of_calls(tmp_path: Path, events: list[Any]) -> None:
    """Two stores that share no line of code give every call the same verdict, facts, reservation and outcome.

    And what the ledger wrote is valid for the checklist, and every decision in it is reached again.
    """
    here = home(Path(tempfile.mkdtemp(dir=tmp_path)))
    log = MemoryLog(BUDGETS)

    async def both() -> bytes:
        log.activate(boundary())
        ledger = await started(here, boundary(), budgets=BUDGETS)
        real, pure = await sessions(ledger, log)
        for event in events:
            if event == "restart":
                await ledger.close()
                log.end()
                ledger = await started(here, boundary(), budgets=BUDGETS)
                log.begin()
            if isinstance(event, str):
                real, pure = await sessions(ledger, log)
                continue
            given, reply = event
            real.desk.reply = pure.desk.reply = reply
            answers = [await execute(request(given), boundary(), real), driven(execute(request(given), boundary(), pure))]
            assert answers[0].reason == answers[1].reason and answers[0].output == answers[1].output
        await ledger.close()
        return ledger.checkpoint

    evidence = here.pack(asyncio.run(both()), boundary())
    log.end()
    assert [said(r.body) for r in check_whole(here)] == [said(r.body) for r in log.receipts]
    report = verify(evidence, Question(genesis=here.registry.genesis))
    assert report.exit is Exit.VALID, report.to_text()
    assert replay(pack.read(evidence)).exit is Exit.VALID


async def sessions(ledger: Ledger, log: MemoryLog) -> tuple[LedgerHost, MemoryHost]:
    desk = Desk()
    return LedgerHost(ledger, await ledger.session("agent", "python", None), desk), MemoryHost(
        log, log.session("agent", "python"), Desk()
    )


VOLATILE = {
    "at",
    "build",
    "prev",
    "session",
    "parents",
    "decision",
    "cause",
    "facts",
    "args_hash",
    "raw_hash",
    "output_hash",
    "key",
}
VOLATILE |= {"deadline_ms", "repeats", "statement", "root", "client"}


def said(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a receipt says apart from names, hashes and times; of the facts, those about the store."""
    facts = body.get("facts", {})
    claim = {name: value for name, value in facts.get("claim", {}).items() if name != "decision"}
    there = sorted(body.keys() & VOLATILE)
    return {name: value for name, value in body.items() if name not in VOLATILE} | {
        "budget": facts.get("budget"),
        "claim": claim,
        "held": "hold" in facts,
        "there": there,
    }
