"""A start checks the tail at once and everything behind it in the background; damage seals. `fsck` checks every table."""

import asyncio
from pathlib import Path

import pytest

from executor.desk import Desk, boundary, request
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.ledger import trustlog
from helm_ai_kernel.ledger.fsck import fsck
from helm_ai_kernel.ledger.ledger import TRUST
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from ledger.home import Home, LedgerHost, home, started


def used(folder: Path) -> Home:
    """A home that was used and closed: keyed calls, so that claims and attachments are there."""
    here = home(folder)
    trustlog.create(folder / TRUST, here.registry)

    async def main() -> None:
        ledger = await started(here, boundary())
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
        for key in ("a", "b", "c"):
            raw = request({"tool": "desk/echo", "arguments": {"text": "a"}, "key": key})
            await execute(raw, boundary(), host)
        await ledger.close()

    asyncio.run(main())
    return here


def test_an_edited_old_receipt_seals_the_kernel_in_the_background(tmp_path: Path) -> None:
    here = used(tmp_path / "home")
    here.spoil("UPDATE receipts SET line=replace(line, 'desk', 'risk') WHERE idx=4")

    async def main() -> Reason:
        ledger = here.open()
        await ledger.begin("test")
        assert ledger.scrubbed is not None
        await ledger.scrubbed
        try:
            with pytest.raises(OutsideError) as error:
                await ledger.session("agent", "python", None)
            return error.value.reason
        finally:
            ledger.abandon()

    assert asyncio.run(main()) is Reason.ERR_SEALED


def test_an_honest_log_is_scrubbed_and_goes_on(tmp_path: Path) -> None:
    here = used(tmp_path / "home")

    async def main() -> None:
        ledger = here.open()
        await ledger.begin("test")
        assert ledger.scrubbed is not None
        await ledger.scrubbed
        await ledger.session("agent", "python", None)
        await ledger.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("claims", "DELETE FROM claims WHERE key='a'"),
        ("claims", "UPDATE claims SET state='open' WHERE key='a'"),
        ("claims", "UPDATE claims SET key='z' WHERE key='a'"),
        ("claims", "UPDATE claims SET principal='eve' WHERE key='a'"),
        ("claims", "UPDATE claims SET tool='desk/wipe' WHERE key='a'"),
        ("attachments", "UPDATE attachments SET content=zeroblob(40) WHERE slot=2 AND idx=(SELECT min(outcome) FROM claims)"),
        ("attachments", "INSERT INTO attachments VALUES (0, 0, zeroblob(40))"),
        ("statements", "INSERT INTO statements VALUES ('0', 1)"),
        ("budgets", "INSERT INTO budgets VALUES ('day', 'total', 3)"),
        ("holds", "INSERT INTO holds VALUES ('desk/echo', zeroblob(32))"),
        ("intents", "INSERT INTO intents VALUES (99, zeroblob(32), 'desk/echo', 'agent', NULL, '')"),
        ("store", "UPDATE receipts SET line='text' WHERE idx=3"),
    ],
)  # fmt: skip
def test_fsck_names_the_table_that_was_touched(tmp_path: Path, table: str, change: str) -> None:
    here = used(tmp_path / "home")
    assert fsck(here.folder)[1] == []
    here.spoil(change)
    assert table in {damage.where for damage in fsck(here.folder)[1]}


def test_a_repeat_never_releases_an_output_that_was_changed_on_the_disk(tmp_path: Path) -> None:
    here = used(tmp_path / "home")
    sql = "UPDATE attachments SET content=zeroblob(40) WHERE slot=2 AND idx=(SELECT outcome FROM claims WHERE key='a')"
    here.spoil(sql)

    async def main() -> Reason:
        ledger = await started(here, boundary())
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
        raw = request({"tool": "desk/echo", "arguments": {"text": "a"}, "key": "a"})
        try:
            with pytest.raises(OutsideError) as error:
                await execute(raw, boundary(), host)
            return error.value.reason
        finally:
            await ledger.close()

    assert asyncio.run(main()) is Reason.ERR_STORE_CORRUPT
