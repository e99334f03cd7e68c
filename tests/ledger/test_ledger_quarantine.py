"""The kernel's own holds: once each, in force in the next decision and across restarts, until a person signs a release."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from executor.desk import Desk, boundary, request
from executor.trust import APPROVAL, AT
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.ledger.ledger import Ledger
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.statement import StatementKind, sign
from ledger.home import Home, LedgerHost, check_whole, home, started

ECHO = request({"tool": "desk/echo", "arguments": {"text": "a"}})
DRIFT = Reason.ERR_MCP_SCHEMA_DRIFT
NAMES = [("desk/echo", "tool", Reason.ERR_TOOL_HALTED), ("server:desk", "scope", Reason.ERR_FROZEN)]


def within(tmp_path: Path, work: Callable[[Home, Ledger], Awaitable[None]]) -> Home:
    here = home(tmp_path / "home")

    async def main() -> None:
        ledger = await started(here, boundary())
        await work(here, ledger)
        await ledger.close()
        check_whole(here, ledger.checkpoint)

    asyncio.run(main())
    return here


async def asked(ledger: Ledger) -> Reason:
    host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
    return (await execute(ECHO, boundary(), host)).reason


@pytest.mark.parametrize(("name", "what", "reason"), NAMES)
def test_what_the_kernel_saw_stops_the_next_call_until_a_person_releases_it(
    tmp_path: Path, name: str, what: str, reason: Reason
) -> None:  # fmt: skip
    async def work(here: Home, ledger: Ledger) -> None:
        hold = await ledger.quarantine(name, DRIFT, "changed", boundary().catalog.digest)
        assert hold is not None and hold.body[what] == name and (hold.body["reason"], hold.body["sub"]) == (DRIFT, "changed")
        assert await asked(ledger) is reason
        content = {what: name, "hold": hold.leaf}
        said = sign(StatementKind.RELEASE, content, log=here.origin, at=AT, nonce="cd" * 16, signers=[APPROVAL])
        await ledger.enact(said, {})
        assert await asked(ledger) is Reason.OK

    within(tmp_path, work)


@pytest.mark.parametrize(("name", "what", "reason"), NAMES)
def test_it_survives_a_restart(tmp_path: Path, name: str, what: str, reason: Reason) -> None:
    async def work(here: Home, ledger: Ledger) -> None:
        await ledger.quarantine(name, DRIFT, "changed", boundary().catalog.digest)

    here = within(tmp_path, work)

    async def again() -> None:
        ledger = here.open()
        await ledger.begin("test")
        assert await asked(ledger) is reason
        await ledger.close()

    asyncio.run(again())


def test_what_is_stopped_already_is_not_written_again_however_often_and_at_once(tmp_path: Path) -> None:
    async def work(here: Home, ledger: Ledger) -> None:
        catalog = boundary().catalog.digest
        first = await asyncio.gather(*(ledger.quarantine("desk/echo", DRIFT, "changed", catalog) for _ in range(50)))
        assert sum(receipt is not None for receipt in first) == 1
        before = len(here.receipts())
        for _ in range(50):
            assert await ledger.quarantine("desk/echo", DRIFT, "changed", catalog) is None
        await ledger.freeze("server:desk", "olga")
        assert await ledger.quarantine("server:desk", DRIFT, "instructions", catalog) is None
        assert len(here.receipts()) == before + 1

    within(tmp_path, work)


def test_what_was_compared_with_pins_that_are_no_more_in_force_counts_for_nothing(tmp_path: Path) -> None:
    async def work(here: Home, ledger: Ledger) -> None:
        assert await ledger.quarantine("desk/echo", DRIFT, "changed", digest(b"an earlier catalogue")) is None
        assert await asked(ledger) is Reason.OK

    within(tmp_path, work)


def test_a_tool_that_drifted_in_a_call_is_not_held_twice(tmp_path: Path) -> None:
    async def work(here: Home, ledger: Ledger) -> None:
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk("changed"))
        answer = await execute(ECHO, boundary(), host)
        assert answer.outcome is not None and answer.outcome.reason is DRIFT
        assert await ledger.quarantine("desk/echo", DRIFT, "changed", boundary().catalog.digest) is None

    within(tmp_path, work)
