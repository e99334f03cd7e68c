"""Every column of every table, as the schema lists them: changed in any row, `fsck` says so. So are rows that go or come."""

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from executor.desk import Desk, boundary, request
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.guardian.budget import Budget, Per
from helm_ai_kernel.ledger import store, trustlog
from helm_ai_kernel.ledger.fsck import fsck
from helm_ai_kernel.ledger.ledger import TRUST
from helm_ai_kernel.ledger.transaction import ARGS
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Outcome, Status
from ledger.home import Home, LedgerHost, home, started

BUDGETS = [Budget("by-day", 100, Per.DAY), Budget("by-session", 100, Per.SESSION), Budget("in-all", 100, Per.TOTAL)]
with closing(store.in_memory()) as empty:
    TABLES = [name for (name,) in empty.execute("SELECT name FROM sqlite_master WHERE type='table' ORDER BY name")]
    COLUMNS = [(table, row[1]) for table in TABLES for row in empty.execute(f"PRAGMA table_info({table})")]
    KEYS = {table: [row[1] for row in empty.execute(f"PRAGMA table_info({table})") if row[5]] for table in TABLES}


def call(text: str, key: str = "") -> bytes:
    return request({"tool": "desk/echo", "arguments": {"text": text}, **({"key": key} if key else {})})


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """What a process leaves that is killed in the middle of everything: no table is empty."""
    here = home(tmp_path_factory.mktemp("columns") / "home")
    trustlog.create(here.folder / TRUST, here.registry)

    async def main() -> Home:
        await (await started(here, boundary(), budgets=BUDGETS)).close()
        ledger = await started(here, boundary(), budgets=BUDGETS)
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
        await ledger.end_session(await ledger.session("guest", "python", None), "left")
        for raw in (
            call("a", "a"),
            call("a", "a"),
            call("b"),
            b"[]",
            request({"tool": "desk/forbidden", "arguments": {"text": "a"}}),
        ):
            await execute(raw, boundary(), host)
        for large in (b"[" + b" " * 70_000 + b"]", request({"tool": "desk/forbidden", "arguments": {"text": "a" * 70_000}})):
            await execute(large, boundary(), host)  # these are not kept
        host.desk.reply = "failed"
        await execute(call("f", "f"), boundary(), host)
        for key in ("open", "unknown", "late"):
            intent = await ledger.commit(host.session, boundary().admit(call(key, key)), boundary().decide)
            if key != "open":
                await ledger.settle(
                    host.session, intent, Outcome(Status.UNKNOWN, 1, reason=Reason.ERR_OUTCOME_UNKNOWN, sub="timeout")
                )
        await ledger.late(host.session, intent, Outcome(Status.OK, 2, output=b"7", reason=Reason.ERR_CONNECTOR_CONTRACT_DRIFT))
        await ledger.commit(host.session, boundary().admit(call("held", "held")), boundary().decide)
        image = here.image(here.folder.parent / "killed")
        shutil.copy(here.folder / TRUST, image.folder)
        ledger.abandon()
        image.open().abandon()  # the file alone is the store now, and all of it is signed for
        return image

    return asyncio.run(main())


def this(table: str) -> str:
    return " AND ".join(f"{name}=?" for name in KEYS[table])


def key(table: str, row: dict[str, object]) -> list[object]:
    return [row[name] for name in KEYS[table]]


def wheres(killed: Home, folder: Path, statement: str, *values: object) -> set[str]:
    """Where `fsck` finds damage when the statement was done to a copy."""
    folder.mkdir()
    for path in (killed.database, killed.folder / TRUST):
        shutil.copy(path, folder)
    with closing(sqlite3.connect(folder / killed.database.name)) as conn:
        conn.execute("PRAGMA ignore_check_constraints=ON")
        assert conn.execute(statement, values).rowcount == 1
        conn.commit()
    found = {damage.where.split()[0] for damage in fsck(folder, killed.vault)[1]}
    shutil.rmtree(folder)
    return found


def rows(killed: Home, table: str) -> list[dict[str, object]]:
    with closing(sqlite3.connect(killed.database)) as conn:
        cursor = conn.execute(f"SELECT * FROM {table} ORDER BY {', '.join(KEYS[table])}")
        return [dict(zip([column[0] for column in cursor.description], row, strict=True)) for row in cursor]


def others(value: object) -> Iterator[object]:
    """Values that could be taken for this one, each in its own way."""
    match value:
        case None:
            yield from (7, "x", b"x" * 32)
        case int():
            yield from (value + 1000, -1, "x", b"x")
        case str():
            yield from (value + "x", value.swapcase(), "", value.encode())
        case bytes():
            yield from (value[:-1] + bytes([value[-1] ^ 1]), value[:-1], b"", value.hex())


def test_no_table_is_empty_and_the_store_is_whole(killed: Home) -> None:
    assert all(rows(killed, table) for table in TABLES)
    assert denied(killed) & kept(killed) and denied(killed) - kept(killed)
    assert fsck(killed.folder, killed.vault)[1] == []


def named(table: str) -> set[str]:
    """How `fsck` may name damage in that table."""
    return {"receipt", "log"} if table == "receipts" else {table}


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.whole)])
@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_a_change_of_any_column_is_found(killed: Home, tmp_path: Path, table: str, column: str, whole: bool) -> None:
    found = rows(killed, table)
    change = f"UPDATE {table} SET {column}=? WHERE {this(table)}"
    for number, row in enumerate(found if whole else found[:: max(1, len(found) - 1)]):
        values = [value for value in others(row[column]) if value != row[column]]
        if KEYS[table] == [column] and isinstance(row[column], int):  # in a row's number SQLite itself takes nothing else
            values = [value for value in values if isinstance(value, int)]
        for value in values if whole else [values[number % len(values)]]:
            where = wheres(killed, tmp_path / "copy", change, value, *key(table, row))
            assert where & named(table), f"{row[column]!r} became {value!r}: {where}"


@pytest.mark.parametrize("table", TABLES)
def test_a_row_that_is_gone_or_too_many_is_found(killed: Home, tmp_path: Path, table: str) -> None:
    found = rows(killed, table)
    for row in found:
        if table != "attachments" or not (row["slot"] == ARGS and row["idx"] in denied(killed)):
            gone = f"DELETE FROM {table} WHERE {this(table)}"
            assert wheres(killed, tmp_path / "copy", gone, *key(table, row)) & named(table), row
    for row in (found[0], found[-1]):
        more = row | {name: next(others(row[name])) for name in KEYS[table]}
        if table == "receipts":
            more["seq"] = 1000
        insert = f"INSERT INTO {table} VALUES ({','.join('?' * len(more))})"
        assert wheres(killed, tmp_path / "copy", insert, *more.values()) & named(table), more


def test_of_what_was_denied_the_arguments_may_be_gone_but_not_others(killed: Home, tmp_path: Path) -> None:
    """Large ones are not kept, and no receipt says how large they were."""
    one = f"idx=? AND slot={ARGS}"
    for index in sorted(denied(killed) & kept(killed)):
        assert wheres(killed, tmp_path / "copy", f"DELETE FROM attachments WHERE {one}", index) == set()
        changed = f"UPDATE attachments SET content=zeroblob(40) WHERE {one}"
        assert wheres(killed, tmp_path / "copy", changed, index) == {"attachments", "evidence"}


def kept(killed: Home) -> set[object]:
    """The receipts whose arguments are there."""
    return {row["idx"] for row in rows(killed, "attachments") if row["slot"] == ARGS}


def denied(killed: Home) -> set[object]:
    return {row["idx"] for row in rows(killed, "receipts") if b'"verdict":"DENY"' in bytes(row["line"])}  # type: ignore[call-overload]
