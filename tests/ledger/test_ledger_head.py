"""The stored checkpoint: one group behind while calls come, up to the last receipt as soon as none do, and after a crash."""

import asyncio
from pathlib import Path

import pytest

from executor.desk import Desk, boundary, request
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.ledger import trustlog
from helm_ai_kernel.ledger.export import whole
from helm_ai_kernel.ledger.ledger import TRUST
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb import checklist
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Contract, Outcome, Status
from ledger.home import Home, LedgerHost, home, started

ECHO = request({"tool": "desk/echo", "arguments": {"text": "a"}})


def signed(here: Home) -> tuple[int, int]:
    """How many receipts the stored checkpoint covers, and how many there are."""
    with Reader(here.folder) as reader:
        return Checkpoint.from_bytes(reader.checkpoint).size, reader.size


def test_beside_an_idle_kernel_an_export_has_the_last_outcome(tmp_path: Path) -> None:
    here = home(tmp_path / "home")
    trustlog.create(here.folder / TRUST, here.registry)

    async def main() -> int:
        ledger = await started(here, boundary())
        await execute(ECHO, boundary(), LedgerHost(ledger, await ledger.session("agent", "python", None), Desk()))
        while len(set(signed(here))) > 1:  # noqa: ASYNC110  (what is waited for is on the disk, not in this loop)
            await asyncio.sleep(0)
        with Reader(here.folder, vault=here.vault) as reader:
            report = checklist.verify(
                b"".join(whole(reader)), checklist.Question(genesis=here.registry.genesis, known_heads=[ledger.checkpoint])
            )
        await ledger.close()
        return int(report.exit)

    assert asyncio.run(main()) == 0


def test_opening_and_letting_go_signs_for_what_a_dead_process_had_committed(tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    async def main() -> Home:
        ledger = await started(here, boundary())
        await execute(ECHO, boundary(), LedgerHost(ledger, await ledger.session("agent", "python", None), Desk()))
        image = here.image(tmp_path / "killed")
        await ledger.close()
        return image

    killed = asyncio.run(main())
    covered, there = signed(killed)
    assert covered < there
    killed.open().abandon()
    assert signed(killed) == (there, there)

    async def restart() -> bool:
        ledger = killed.open()
        clean = await ledger.begin("test")
        ledger.abandon()
        return clean

    assert asyncio.run(restart()) is False, "letting go does not make a crash look like a clean end"


def test_a_late_answer_that_breaks_the_contract_holds_the_tool(tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    async def main() -> list[str]:
        ledger = await started(here, boundary())
        session = await ledger.session("agent", "python", None)
        admitted = boundary().admit(ECHO)
        intent = await ledger.commit(session, admitted, boundary().decide)
        await ledger.settle(session, intent, Outcome(Status.UNKNOWN, 1, reason=Reason.ERR_OUTCOME_UNKNOWN, sub="timeout"))
        drift = Outcome(Status.DRIFT, 2, output=b"7", reason=Reason.ERR_CONNECTOR_CONTRACT_DRIFT)
        late = await ledger.late(session, intent, drift)
        again = await ledger.commit(session, admitted, boundary().decide)
        await ledger.close()
        return [str(late.status), str(again.reason)]

    assert asyncio.run(main()) == ["LATE", "ERR_TOOL_HALTED"]


def test_a_late_answer_to_an_intent_that_is_still_open_is_its_outcome(tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    async def main() -> tuple[Status | None, list[str]]:
        ledger = await started(here, boundary())
        session = await ledger.session("agent", "python", None)
        intent = await ledger.commit(session, boundary().admit(ECHO), boundary().decide)
        outcome = await ledger.late(session, intent, Outcome(Status.OK, 2, output=b'"a"', contract=Contract.SCHEMA))
        left = [str(leaf) for leaf in ledger.open_intents()]
        await ledger.close()
        return outcome.status, left

    assert asyncio.run(main()) == (Status.OK, [])


@pytest.mark.parametrize("turns", range(1, 6))
def test_a_start_that_is_interrupted_anywhere_leaves_a_log_that_verifies(tmp_path: Path, turns: int) -> None:
    here = home(tmp_path / "home")

    async def main() -> int:
        await (await started(here, boundary())).close()
        ledger = here.open()
        beginning = asyncio.create_task(ledger.begin("test"))
        for _ in range(turns):
            await asyncio.sleep(0)
        beginning.cancel()
        await asyncio.gather(beginning, return_exceptions=True)
        ledger.abandon()
        ledger = await started(here, boundary())
        await ledger.session("agent", "python", None)
        await ledger.close()
        report = checklist.verify(here.pack(ledger.checkpoint, boundary()), checklist.Question(genesis=here.registry.genesis))
        return int(report.exit)

    assert asyncio.run(main()) == 0
