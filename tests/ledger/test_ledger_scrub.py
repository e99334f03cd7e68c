"""A start checks the tail at once, and everything behind it and every table in the background; damage seals."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from executor.desk import Desk, boundary, request
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.guardian.budget import Budget, Per
from helm_ai_kernel.ledger import store, trustlog
from helm_ai_kernel.ledger.fsck import fsck
from helm_ai_kernel.ledger.ledger import TRUST
from helm_ai_kernel.ledger.scrub import PART
from helm_ai_kernel.ledger.standing import STANDING, check_standing
from helm_ai_kernel.ledger.transaction import OUTPUT
from helm_ai_kernel.ledger.vault import place
from helm_ai_kernel.ledger.watch import Watch
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.merkle import leaf_hash
from ledger.home import Home, LedgerHost, home, started

BUDGETS = [Budget("in-all", 10_000, Per.TOTAL)]


def used(folder: Path, reply: str = '"done"') -> Home:
    """A home that was used and closed: keyed calls, so that claims and attachments are there."""
    here = home(folder)
    trustlog.create(folder / TRUST, here.registry)

    async def main() -> None:
        ledger = await started(here, boundary(), budgets=BUDGETS)
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk(reply))
        for key in ("a", "b", "c"):
            raw = request({"tool": "desk/echo", "arguments": {"text": "a"}, "key": key})
            await execute(raw, boundary(), host)
        await ledger.close()

    asyncio.run(main())
    return here


async def after_the_scrub(here: Home) -> Reason:
    """What a caller is told who comes when the scrub behind a start is done."""
    try:
        ledger = here.open()
    except OutsideError as error:
        return error.reason
    try:
        await ledger.begin("test")
        assert ledger.scrubbed is not None
        await ledger.scrubbed
        await ledger.session("agent", "python", None)
        return Reason.OK
    except OutsideError as error:
        return error.reason
    finally:
        ledger.abandon()


def test_an_edited_old_receipt_seals_the_kernel_in_the_background(tmp_path: Path) -> None:
    here = used(tmp_path / "home")
    here.spoil("UPDATE receipts SET line=CAST(replace(line, 'desk', 'risk') AS BLOB) WHERE idx=3")
    assert asyncio.run(after_the_scrub(here)) is Reason.ERR_SEALED


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM claims WHERE key=mark('b')",
        "UPDATE claims SET state='open', outcome=NULL WHERE key=mark('b')",
        "DELETE FROM budgets",
        "UPDATE budgets SET used=used-1",
        "DELETE FROM attachments WHERE slot=2 AND idx=(SELECT outcome FROM claims WHERE key=mark('b'))",
        "UPDATE receipts SET kind='late' WHERE idx=4",
    ],
)
def test_a_table_that_was_edited_between_two_starts_seals_the_kernel_in_the_background(tmp_path: Path, change: str) -> None:
    here = used(tmp_path / "home")
    assert asyncio.run(after_the_scrub(here)) is Reason.OK
    here.spoil(change)
    assert asyncio.run(after_the_scrub(here)) is Reason.ERR_SEALED


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM holds",
        "UPDATE holds SET tool='desk/wipe'",
        "UPDATE holds SET leaf=zeroblob(32)",
        "INSERT INTO holds VALUES ('desk/wipe', zeroblob(32))",
        "DELETE FROM statements",
        "UPDATE log SET policy=(SELECT digest FROM documents WHERE name='file' LIMIT 1)",
        "UPDATE log SET catalog=NULL",
        "UPDATE receipts SET line=CAST('{}' AS BLOB) WHERE kind='hold'",
        "UPDATE receipts SET line=CAST(replace(line, 'desk/echo', 'desk/wipe') AS BLOB) WHERE kind='hold'",
    ],
)
def test_what_stands_is_what_its_receipts_say_before_the_first_call(tmp_path: Path, change: str) -> None:
    here = used(tmp_path / "home", reply="7")  # which breaks the contract: the tool is held
    with closing(store.connect(here.database)) as conn:
        check_standing(conn, here.registry)
        here.spoil(change)
        with pytest.raises(OutsideError) as error:
            check_standing(conn, here.registry)
    assert error.value.reason is Reason.ERR_STORE_CORRUPT
    assert asyncio.run(after_the_scrub(here)) is Reason.ERR_STORE_CORRUPT


def test_what_stands_is_read_from_few_receipts_of_many(tmp_path: Path) -> None:
    here = used(tmp_path / "home")
    with closing(store.connect(here.database, read_only=True)) as conn:
        ((*_, plan),) = conn.execute("EXPLAIN QUERY PLAN " + STANDING)
    assert "USING INDEX receipts_standing" in plan


def test_a_log_of_many_parts_is_scrubbed_beside_callers_and_found_whole_or_not(tmp_path: Path) -> None:
    here = used(tmp_path / "home")

    async def many(count: int) -> Reason:
        """What a caller is told behind so many calls, which were made while the scrub was under way."""
        ledger = await started(here, boundary(), budgets=BUDGETS)
        assert ledger.scrubbed is not None
        try:
            host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
            for number in range(count):
                raw = request({"tool": "desk/echo", "arguments": {"text": "a"}, "key": f"{count} {number}"})
                await execute(raw, boundary(), host)
            await ledger.scrubbed
            return (await execute(raw, boundary(), host)).reason
        except OutsideError as error:
            return error.reason
        finally:
            ledger.abandon()

    for count in (3 * PART, PART, 2):
        assert asyncio.run(many(count)) is Reason.REPEATED
    here.spoil("DELETE FROM claims WHERE key=mark(?)", f"{PART} 5")
    assert asyncio.run(many(1)) is Reason.ERR_SEALED


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("claims", "DELETE FROM claims WHERE key=mark('a')"),
        ("claims", "UPDATE claims SET state='open' WHERE key=mark('a')"),
        ("claims", "UPDATE claims SET key=mark('z') WHERE key=mark('a')"),
        ("claims", "UPDATE claims SET principal='eve' WHERE key=mark('a')"),
        ("claims", "UPDATE claims SET tool='desk/wipe' WHERE key=mark('a')"),
        ("attachments", "UPDATE attachments SET content=zeroblob(40) WHERE slot=2 AND idx=(SELECT min(outcome) FROM claims)"),
        ("attachments", "INSERT INTO attachments VALUES (0, 0, zeroblob(16), zeroblob(40))"),
        ("statements", "INSERT INTO statements VALUES ('0', 1)"),
        ("budgets", "INSERT INTO budgets VALUES ('day', 'total', 3)"),
        ("budgets", "INSERT INTO budgets VALUES ('in-all', 'day 2020-01-01', 0)"),
        ("holds", "INSERT INTO holds VALUES ('desk/echo', zeroblob(32))"),
        ("intents", "INSERT INTO intents VALUES (99, zeroblob(32), 'desk/echo', 'agent', NULL, zeroblob(16), '')"),
        ("receipt 3", "UPDATE receipts SET line='text' WHERE idx=3"),
    ],
)  # fmt: skip
def test_fsck_names_the_table_that_was_touched(tmp_path: Path, table: str, change: str) -> None:
    here = used(tmp_path / "home")
    assert fsck(here.folder, here.vault)[1] == []
    here.spoil(change)
    assert table in {damage.where for damage in fsck(here.folder, here.vault)[1]}


def test_use_that_was_moved_to_where_it_cannot_have_been_is_found_though_the_sum_is_right(tmp_path: Path) -> None:
    here = used(tmp_path / "home")
    with closing(sqlite3.connect(here.database)) as conn:
        ((total,),) = conn.execute("SELECT used FROM budgets").fetchall()
    here.spoil("UPDATE budgets SET used=used-2")
    here.spoil("INSERT INTO budgets VALUES ('in-all', 'day 2020-01-01', 2)")
    assert {damage.where for damage in fsck(here.folder, here.vault)[1]} == {"budgets"}
    here.spoil("UPDATE budgets SET used=? WHERE window='total'", total + 2)
    here.spoil("UPDATE budgets SET used=-2 WHERE window<>'total'")
    assert {damage.where for damage in fsck(here.folder, here.vault)[1]} == {"budgets"}


FORGED = b"0" * 32 + b'"forged"'


@pytest.fixture
def past_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the bytes of the file were changed: SQLite tells the kernel of nothing."""
    monkeypatch.setattr(Watch, "changed", lambda _: "")


def test_a_repeat_is_answered_only_with_an_outcome_that_the_kernel_signed(tmp_path: Path, past_sqlite: None) -> None:
    """Everything beside the signature is made to fit: content, line, leaf hash."""
    here = used(tmp_path / "home")

    async def main() -> Reason:
        ledger = await started(here, boundary())
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
        assert ledger.scrubbed is not None
        await ledger.scrubbed
        with closing(store.connect(here.database, read_only=True)) as conn:
            conn.create_function("mark", 1, here.vault.mark)
            ((index, line),) = conn.execute(
                "SELECT idx, line FROM receipts WHERE idx=(SELECT outcome FROM claims WHERE key=mark('a'))"
            ).fetchall()
        named = json.loads(line)["body"]["output_hash"].encode()
        forged = line.replace(named, hashes.digest(FORGED).encode())
        here.spoil("UPDATE receipts SET line=?, leaf=? WHERE idx=?", forged, leaf_hash(forged), index)
        sealed = here.vault.named("agent").seal(FORGED, place(here.origin, index, OUTPUT))
        here.spoil("UPDATE attachments SET content=? WHERE idx=? AND slot=2", sealed, index)
        try:
            with pytest.raises(OutsideError) as error:
                await execute(request({"tool": "desk/echo", "arguments": {"text": "a"}, "key": "a"}), boundary(), host)
            return error.value.reason
        finally:
            await ledger.close()

    assert asyncio.run(main()) is Reason.ERR_STORE_CORRUPT


def test_a_forged_statement_puts_nothing_into_force(tmp_path: Path) -> None:
    """Its effect, its leaf hash and what the table says are made to fit; whoever signed it signed something else."""
    here = used(tmp_path / "home")
    with closing(store.connect(here.database, read_only=True)) as conn:
        index, line = conn.execute("SELECT idx, line FROM receipts WHERE kind='statement' ORDER BY idx DESC LIMIT 1").fetchone()
        (policy,) = conn.execute("SELECT policy FROM log").fetchone()
    other = hashes.digest(b"another policy")
    forged = line.replace(hashes.text(policy).encode(), other.encode())
    assert forged != line
    here.spoil("UPDATE receipts SET line=?, leaf=? WHERE idx=?", forged, leaf_hash(forged), index)
    here.spoil("UPDATE log SET policy=?", hashes.raw(other))
    with closing(store.connect(here.database, read_only=True)) as conn, pytest.raises(OutsideError) as error:
        check_standing(conn, here.registry)
    assert error.value.reason is Reason.ERR_STORE_CORRUPT


def test_an_index_that_is_gone_is_made_again(tmp_path: Path) -> None:
    here = used(tmp_path / "home")
    with closing(sqlite3.connect(here.database)) as conn:
        conn.execute("DROP INDEX receipts_standing")
    assert asyncio.run(after_the_scrub(here)) is Reason.OK
    with closing(sqlite3.connect(here.database)) as conn:
        plan = conn.execute("EXPLAIN QUERY PLAN " + STANDING).fetchall()
    assert "receipts_standing" in str(plan)


def test_a_repeat_never_releases_an_output_that_was_changed_on_the_disk(tmp_path: Path, past_sqlite: None) -> None:
    here = used(tmp_path / "home")

    async def main() -> Reason:
        ledger = await started(here, boundary())
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
        raw = request({"tool": "desk/echo", "arguments": {"text": "a"}, "key": "a"})
        assert ledger.scrubbed is not None
        await ledger.scrubbed  # which would find it too
        sql = "UPDATE attachments SET content=zeroblob(40) WHERE slot=2 AND idx=(SELECT outcome FROM claims WHERE key=mark('a'))"
        here.spoil(sql)
        try:
            with pytest.raises(OutsideError) as error:
                await execute(raw, boundary(), host)
            return error.value.reason
        finally:
            await ledger.close()

    assert asyncio.run(main()) is Reason.ERR_STORE_CORRUPT
