"""What clients act on, in the real ledger: claimed and used up once, told once and by its own, and nothing owed after a crash."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from executor.desk import Desk, boundary, replied, request
from executor.trust import trust
from helm_ai_kernel.executor.execute import execute, offer, report
from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.executor.replay import replay
from helm_ai_kernel.guardian.budget import Budget
from helm_ai_kernel.ledger import jobs
from helm_ai_kernel.ledger.caused import CAUSES_MAX, Cause
from helm_ai_kernel.ledger.fsck import fsck
from helm_ai_kernel.ledger.ledger import Ledger
from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.call import Call
from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Status
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.receipt import Receipt
from ledger.home import Home, LedgerHost, check_whole, home, started

ECHO = request({"tool": "desk/echo", "arguments": {"text": "a"}})
KEYED = request({"tool": "desk/echo", "arguments": {"text": "a"}, "key": "k"})
CALL = boundary().admit(ECHO)
World = Callable[[Ledger, Callable[[str], Awaitable[LedgerHost]]], Awaitable[None]]


def lived(tmp_path: Path, body: World, *budgets: Budget) -> Home:
    """A process in which that happens, from its start to its end; what it leaves is whole, valid and follows again."""
    here = home(tmp_path / "home")

    async def main() -> bytes:
        ledger = await started(here, boundary(), budgets=budgets)

        async def host(principal: str) -> LedgerHost:
            return LedgerHost(ledger, await ledger.session(principal, "mcp", None), Desk())

        await body(ledger, host)
        await ledger.close()
        return ledger.checkpoint

    evidence = here.pack(asyncio.run(main()), boundary())
    check_whole(here)
    unharmed(here)
    found = verify(evidence, Question(genesis=here.registry.genesis, require_resolved=True))
    assert found.exit is Exit.VALID, found.to_text()
    assert replay(pack.read(evidence)).exit is Exit.VALID
    return here


def unharmed(here: Home) -> None:
    """Every table says what the receipts do."""
    (here.folder / "trust.jsonl").write_bytes(b"".join(line + b"\n" for line in here.registry.lines))
    assert fsck(here.folder, here.vault)[1] == []


async def offered(host: LedgerHost, raw: bytes = ECHO) -> Receipt:
    answer = await offer(raw, boundary(), host)
    assert answer.decision.is_offer and answer.outcome is None
    return answer.decision


def told(host: LedgerHost, decision: Receipt, word: str = '"done"') -> "Awaitable[Answer]":
    assert isinstance(CALL, Call)
    return report(CALL, decision, replied(word), boundary(), host)


def cause(answer: Answer) -> Cause:
    assert answer.outcome is not None
    return Cause(answer.outcome.index, answer.outcome.leaf)


def test_a_report_is_told_once_also_where_two_race(tmp_path: Path) -> None:
    async def body(ledger: Ledger, host: Any) -> None:
        ann = await host("ann")
        decision = await offered(ann)
        told_twice = await asyncio.gather(*(told(ann, decision) for _ in range(4)), return_exceptions=True)
        answers = [one for one in told_twice if isinstance(one, Answer)]
        refused = [one for one in told_twice if isinstance(one, Refused)]
        assert (len(answers), len(refused)) == (1, 3) and answers[0].output == b'"done"'
        assert not ledger.writer.state.offered

    lived(tmp_path, body)


def test_nobody_reports_a_call_of_another_or_one_that_is_none(tmp_path: Path) -> None:
    async def body(ledger: Ledger, host: Any) -> None:
        ann, bob = await host("ann"), await host("bob")
        mine = await offered(ann)
        with pytest.raises(Refused):
            await told(bob, mine)
        denied = await offer(request({"tool": "desk/forbidden", "arguments": {"text": "a"}}), boundary(), ann)
        dispatched = await execute(ECHO, boundary(), ann)
        for none in (denied.decision, dispatched.decision):
            with pytest.raises(Refused):
                await told(ann, none)
        with pytest.raises(OutsideError):
            await ledger.settle(ann.session, mine, boundary().judge(CALL, replied('"done"')))  # type: ignore[arg-type]
        assert (await told(ann, mine)).output == b'"done"', "what was refused used nothing up"

    lived(tmp_path, body)


def test_an_intent_that_is_open_is_reported_by_nobody(tmp_path: Path) -> None:
    async def body(ledger: Ledger, host: Any) -> None:
        ann = await host("ann")

        async def before(step: str) -> None:
            if step == "settle":
                (intent,) = ledger.writer.state.open.values()
                opened = next(one for one in here.receipts() if one.leaf == intent.leaf)
                reported = boundary().reported(CALL, replied('"forged"'))  # type: ignore[arg-type]
                with pytest.raises(Refused):
                    await ledger.report(ann.session, opened, reported)
                with pytest.raises(OutsideError):
                    await ledger.settle(ann.session, opened, reported)

        ann.before = before
        here = Home(tmp_path / "home", *trust())
        assert (await execute(ECHO, boundary(), ann)).output == b'"done"'

    lived(tmp_path, body)


def test_what_is_reported_behind_the_end_of_its_session_is_told_in_the_kernels_and_goes_on(tmp_path: Path) -> None:
    async def body(ledger: Ledger, host: Any) -> None:
        ann, bob = await host("ann"), await host("bob")
        decision = await offered(ann)
        await ledger.end_session(ann.session, "idle")
        answer = await told(ann, decision)
        assert answer.outcome is not None and ledger.writer.kernel is not None
        assert answer.outcome.session == ledger.writer.kernel.id
        bob.causes = (cause(answer),)
        with pytest.raises(Refused):
            await execute(ECHO, boundary(), bob)
        again = await host("ann")
        again.causes = (cause(answer),)
        assert (await execute(ECHO, boundary(), again)).decision.parents == (answer.outcome.leaf,)

    lived(tmp_path, body)


def test_a_call_names_as_causes_only_outcomes_of_its_own_principal(tmp_path: Path) -> None:
    async def body(ledger: Ledger, host: Any) -> None:
        ann, bob = await host("ann"), await host("bob")
        mine, theirs = await told(ann, await offered(ann)), await told(bob, await offered(bob))
        decision = await offered(ann)
        wrong = [
            cause(theirs),
            Cause(decision.index, decision.leaf),  # no outcome
            Cause(cause(mine).index, cause(theirs).leaf),  # another leaf
            Cause(cause(mine).index + 1, cause(mine).leaf),
            Cause(10**6, cause(mine).leaf),
            Cause(-1, cause(mine).leaf),
        ]
        size = ledger.writer.state.frontier.size
        for one in wrong:
            ann.causes = (cause(mine), one)
            for act in (execute, offer):
                with pytest.raises(Refused) as no:
                    await act(ECHO, boundary(), ann)
                assert no.value.reason is Reason.ERR_UPSTREAM_SHAPE
        ann.causes = (cause(mine),) * (CAUSES_MAX + 1)
        with pytest.raises(Refused):
            await execute(ECHO, boundary(), ann)
        assert ledger.writer.state.frontier.size == size and ann.desk.effects == [], "a refusal writes and dispatches nothing"
        ann.causes = (cause(mine), cause(mine))
        assert (await execute(ECHO, boundary(), ann)).decision.parents == (cause(mine).leaf,)
        for raw in (b"{", request({"tool": "desk/none"}), request({"tool": "desk/forbidden", "arguments": {"text": "a"}})):
            assert (await execute(raw, boundary(), ann)).decision.parents == (cause(mine).leaf,), "a denial says it, too"

    lived(tmp_path, body)


def test_a_key_is_one_call_whoever_acts_on_it(tmp_path: Path) -> None:
    async def body(ledger: Ledger, host: Any) -> None:
        ann = await host("ann")
        together = await asyncio.gather(*(act(KEYED, boundary(), ann) for act in (offer, execute, offer, execute)))
        assert [answer.decision.goes for answer in together] == [True, False, False, False] and ann.desk.effects == []
        other = (Reason.ERR_IDEMPOTENCY_MISMATCH, None)
        assert (together[1].reason, together[1].output) == (together[3].reason, together[3].output) == other
        assert together[2].reason is Reason.ERR_IDEMPOTENCY_IN_FLIGHT
        await told(ann, together[0].decision, '"told"')
        again = [await act(KEYED, boundary(), ann) for act in (offer, execute)]
        assert (again[0].reason, again[0].output) == (Reason.REPEATED, b'"told"') and again[0].outcome is not None
        assert (again[1].reason, again[1].output) == other and ann.desk.effects == []

    lived(tmp_path, body)


def test_a_budget_is_used_up_by_whoever_acts(tmp_path: Path) -> None:
    async def body(ledger: Ledger, host: Any) -> None:
        ann = await host("ann")
        first = await offered(ann)
        await told(ann, first, "failed")
        assert (await execute(ECHO, boundary(), ann)).output == b'"done"'
        for act in (execute, offer):
            assert (await act(ECHO, boundary(), ann)).reason is Reason.ERR_BUDGET_EXHAUSTED

    lived(tmp_path, body, Budget("two", 2))


def test_a_process_that_dies_owes_no_report_and_the_next_one_takes_none(tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    async def first() -> Receipt:
        ledger = await started(here, boundary())
        ann = LedgerHost(ledger, await ledger.session("ann", "mcp", None), Desk())
        await offered(ann)
        decision = await offered(ann, KEYED)
        ledger.abandon()
        return decision

    async def second(decision: Receipt) -> bytes:
        size = len(here.receipts())
        ledger = await started(here, boundary())
        assert here.summary(size) == ["session start", "recovery"]
        ann = LedgerHost(ledger, await ledger.session("ann", "mcp", None), Desk())
        with pytest.raises(Refused):
            await told(ann, decision)
        assert (await offer(KEYED, boundary(), ann)).reason is Reason.ERR_IDEMPOTENCY_IN_FLIGHT
        assert (await execute(KEYED, boundary(), ann)).reason is Reason.ERR_IDEMPOTENCY_MISMATCH
        await ledger.close()
        unharmed(here)
        return ledger.checkpoint

    evidence = here.pack(asyncio.run(second(asyncio.run(first()))), boundary())
    found = verify(evidence, Question(genesis=here.registry.genesis, require_resolved=True))
    assert found.exit is Exit.VALID, found.to_text()


def test_of_too_many_unreported_calls_of_one_principal_the_oldest_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "OFFERED_MAX", 2)

    async def body(ledger: Ledger, host: Any) -> None:
        ann, bob = await host("ann"), await host("bob")
        theirs = await offered(bob)
        mine = [await offered(ann) for _ in range(3)]
        with pytest.raises(Refused):
            await told(ann, mine[0])
        for host_, decision in ((ann, mine[1]), (ann, mine[2]), (bob, theirs)):
            answer = await told(host_, decision)
            assert answer.outcome is not None and answer.outcome.status is Status.REPORTED

    lived(tmp_path, body)
