"""Many callers at once: one dispatch for one key, unbroken chains, one tree, every answer under a checkpoint."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from executor.desk import Desk, boundary, request
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.executor.host import Answer, Reply
from helm_ai_kernel.guardian.budget import Budget
from helm_ai_kernel.ledger import writer
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Verdict
from ledger.home import Home, LedgerHost, check_salts, check_whole, home, started
from models.chain_model import tree_root

CALLERS = 64


@dataclass
class Gate(Desk):
    """Holds every dispatch until it is opened."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, name: str, args: bytes, *, key: str | None, wall_ms: int, output_bytes: int) -> Reply:
        reply = self.do(name, args)
        self.reached.set()
        await self.opened.wait()
        return reply


def keyed(text: str = "a", key: str = "k") -> bytes:
    return request({"tool": "desk/echo", "arguments": {"text": text}, "key": key})


def check_covered(here: Home, answers: list[Answer]) -> None:
    """The checkpoint of each answer is of the tree as it was, and covers what the answer names."""
    leaves = [hashes.raw(receipt.leaf) for receipt in here.receipts()]
    for answer in answers:
        signed = Checkpoint.from_bytes(answer.checkpoint)
        assert signed.root == tree_root(leaves[: signed.size])
        for receipt in (answer.decision, answer.outcome):
            assert receipt is None or (receipt.index < signed.size and leaves[receipt.index] == hashes.raw(receipt.leaf))


def test_64_callers_with_one_key_dispatch_once_and_leave_no_open_intent(tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    async def race() -> None:
        ledger = await started(here, boundary())
        desk = Gate()
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), desk)
        work = [asyncio.create_task(execute(keyed(), boundary(), host)) for _ in range(CALLERS)]
        pending = set(work)
        while len(pending) > 1:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            assert {task.result().reason for task in done} == {Reason.ERR_IDEMPOTENCY_IN_FLIGHT}
        assert len(list(ledger.open_intents())) == 1
        desk.opened.set()
        first = await pending.pop()
        assert (first.reason, first.output) == (Reason.OK, b'"done"')
        again = await asyncio.gather(*(execute(keyed(), boundary(), host) for _ in range(CALLERS)))
        assert {(answer.reason, answer.output) for answer in again} == {(Reason.REPEATED, b'"done"')}
        for answer in (first, *again):
            check_salts(answer, keyed())
        assert len(desk.effects) == 1 and not list(ledger.open_intents())
        check_covered(here, [first, *again, *(task.result() for task in work)])
        await ledger.close()
        check_whole(here, ledger.checkpoint)

    asyncio.run(race())
    assert here.ended == []


def test_one_key_belongs_to_one_principal_and_one_tool(tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    async def calls() -> None:
        ledger = await started(here, boundary())
        desk = Desk()
        for principal in ("ann", "bob"):
            host = LedgerHost(ledger, await ledger.session(principal, "python", None), desk)
            for tool in ("desk/echo", "desk/keyed"):
                raw = request({"tool": tool, "arguments": {"text": "a"}, "key": "k"})
                assert (await execute(raw, boundary(), host)).reason is Reason.OK
        assert len(desk.effects) == 4
        await ledger.close()

    asyncio.run(calls())


@pytest.mark.parametrize("inline_us", [0.0, 1e9], ids=["slow disk", "fast disk"])
def test_64_callers_on_8_sessions_leave_8_unbroken_chains_and_one_tree(
    inline_us: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where every commit runs in the writer's own thread."""
    monkeypatch.setattr(writer, "INLINE_US", inline_us)
    here = home(tmp_path / "home")

    async def crowd() -> list[Answer]:
        ledger = await started(here, boundary())
        desk = Desk()
        hosts = [LedgerHost(ledger, await ledger.session(f"agent-{n}", "python", None), desk) for n in range(8)]
        work = [execute(keyed(f"text {n}", f"k{n}"), boundary(), hosts[n % 8]) for n in range(CALLERS)]
        answers = list(await asyncio.gather(*work))
        check_whole(here, ledger.checkpoint)
        check_covered(here, answers)
        await ledger.close()
        return answers

    answers = asyncio.run(crowd())
    for n, answer in enumerate(answers):
        check_salts(answer, keyed(f"text {n}", f"k{n}"))
    assert all(answer.verdict is Verdict.ALLOW and answer.output == b'"done"' for answer in answers)
    receipts = check_whole(here)
    lengths = Counter(receipt.session for receipt in receipts)
    assert sorted(lengths.values()) == [3] + [18] * 8  # start, 8 decisions, 8 outcomes, end; the kernel's: start, pin, end
    assert [receipt.index for receipt in receipts] == list(range(len(receipts)))


def test_a_budget_of_ten_lets_ten_of_64_callers_through(tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    async def crowd() -> None:
        ledger = await started(here, boundary(), budgets=[Budget("ten", 10)])
        desk = Desk()
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), desk)
        raw = [request({"tool": "desk/echo", "arguments": {"text": str(n)}}) for n in range(CALLERS)]
        answers = await asyncio.gather(*(execute(one, boundary(), host) for one in raw))
        assert Counter(answer.reason for answer in answers) == {Reason.OK: 10, Reason.ERR_BUDGET_EXHAUSTED: 54}
        assert len(desk.effects) == 10
        await ledger.close()

    asyncio.run(crowd())


def test_a_caller_that_hangs_up_does_not_erase_its_outcome(tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    async def hang_up() -> None:
        ledger = await started(here, boundary())
        desk = Gate()
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), desk)
        task = asyncio.create_task(execute(keyed(), boundary(), host))

        async def caller() -> Answer:
            return await asyncio.shield(task)

        waiter = asyncio.create_task(caller())
        await desk.reached.wait()
        waiter.cancel()
        desk.opened.set()
        await task
        assert here.summary()[-2:] == ["decision ALLOW OK", "outcome OK"]
        await ledger.close()

    asyncio.run(hang_up())


def test_a_cancelled_commit_is_durable_and_the_others_of_its_group_are_answered(tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    async def cancel() -> None:
        ledger = await started(here, boundary())
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
        gone = asyncio.create_task(execute(keyed("a", "k1"), boundary(), host))
        stays = asyncio.create_task(execute(keyed("b", "k2"), boundary(), host))
        await asyncio.sleep(0)  # both are queued, neither is written
        gone.cancel()
        assert (await stays).reason is Reason.OK
        assert gone.cancelled() and len(list(ledger.open_intents())) == 1
        assert (await execute(keyed("a", "k1"), boundary(), host)).reason is Reason.ERR_IDEMPOTENCY_IN_FLIGHT
        ledger.abandon()
        ledger = await started(here, boundary())
        assert here.summary()[-3:] == ["session start", "recovery", "outcome UNKNOWN ERR_OUTCOME_UNKNOWN"]
        await ledger.close()
        check_whole(here, ledger.checkpoint)

    asyncio.run(cancel())
