"""`fsck` says what it cannot check and why, tells all that is wrong, and leaves every byte and every name as it was."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from executor.desk import Desk, boundary, request
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.ledger import store, trustlog
from helm_ai_kernel.ledger.fsck import fsck
from helm_ai_kernel.ledger.ledger import LOCK, TRUST
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from ledger.home import Home, LedgerHost, home, started

TESTS = Path(__file__).resolve().parent.parent


def closed(folder: Path) -> Home:
    """The file alone."""
    here = used(folder)
    asyncio.run(closes(here))
    return here


async def closes(here: Home) -> None:
    await (await started(here, boundary())).close()


def used(folder: Path) -> Home:
    """Killed: what was written last is in the WAL only."""
    here = home(folder / "first")
    trustlog.create(here.folder / TRUST, here.registry)

    async def main() -> Home:
        ledger = await started(here, boundary())
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
        await execute(request({"tool": "desk/echo", "arguments": {"text": "a"}, "key": "a"}), boundary(), host)
        image = here.image(folder / "home")
        for name in (TRUST, LOCK):
            shutil.copy(here.folder / name, image.folder)
        ledger.abandon()
        assert image.database.with_name(image.database.name + "-wal").stat().st_size
        return image

    return asyncio.run(main())


def read(folder: Path) -> Home:
    """Killed, and read since: there is an index of the WAL too."""
    here = used(folder)
    with Reader(here.folder) as reader:
        assert reader.size
    return here


def restored(folder: Path) -> Home:
    """From a backup: nobody ever took a lock here."""
    here = closed(folder)
    (here.folder / LOCK).unlink()
    return here


STATES = [closed, used, read, restored]


def state(folder: Path) -> dict[str, object]:
    files = {path.name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode) for path in folder.iterdir()}
    return files | {".": folder.stat().st_mtime_ns}


@pytest.mark.parametrize("made", STATES)
def test_nothing_is_written_neither_into_a_file_nor_beside_it(tmp_path: Path, made: Callable[[Path], Home]) -> None:
    here = made(tmp_path)
    before = state(here.folder)
    count, damage = fsck(here.folder, here.vault)
    assert count >= 5 and damage == []
    assert state(here.folder) == before
    here.spoil("DELETE FROM claims")
    before = state(here.folder)
    assert {damage.where for damage in fsck(here.folder, here.vault)[1]} == {"claims"}
    assert state(here.folder) == before


@pytest.mark.parametrize("made", STATES)
def test_a_disk_that_cannot_be_written_is_checked_all_the_same(tmp_path: Path, made: Callable[[Path], Home]) -> None:
    here = made(tmp_path)
    mount = f"mount --bind {here.folder} {here.folder} && mount -o remount,bind,ro {here.folder}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("no private mounts here: run as root, or allow user namespaces")
    imports = "from pathlib import Path; from helm_ai_kernel.ledger.fsck import fsck, fsck_ended; "
    imports += "from helm_ai_kernel.credentials.subjects import Subjects; "
    folder, keys = f"Path({str(here.folder)!r})", f"Path({str(here.keys)!r})"
    check = f"{imports}print(fsck({folder}, Subjects({keys})), *fsck_ended({folder}))"
    probe = f'touch {here.folder}/x && exit 9; exec "$0" -c "$1"'
    command = ["unshare", "-rm", "sh", "-c", f"{mount}; {probe}", sys.executable, check]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{fsck(here.folder, here.vault)}\n"), done.stderr
    assert done.stdout.endswith(", [])\n")


def test_a_store_that_is_locked_absent_or_newer_is_said_and_is_no_damage(tmp_path: Path) -> None:
    here = closed(tmp_path)

    def refused() -> tuple[Reason, str]:
        before = state(here.folder)
        with pytest.raises(OutsideError) as error:
            fsck(here.folder, here.vault)
        assert state(here.folder) == before and error.value.hint
        return error.value.reason, error.value.detail

    lock = store.Lock(here.folder / LOCK)
    assert refused() == (Reason.ERR_STORE_LOCKED, f"another process writes to the store in `{here.folder}`")
    lock.release()
    with closing(sqlite3.connect(here.database)) as conn:
        conn.execute(f"PRAGMA user_version={store.FORMAT + 1}")
    newer = f"the store has format {store.FORMAT + 1}, and this version of helm-ai-kernel reads format {store.FORMAT}"
    assert refused() == (Reason.ERR_EVIDENCE_UNAVAILABLE, newer)
    here.database.unlink()
    assert refused() == (Reason.ERR_EVIDENCE_UNAVAILABLE, f"there is no store at `{here.database}`")
    shutil.rmtree(here.folder)
    here.folder.mkdir()
    assert refused() == (Reason.ERR_EVIDENCE_UNAVAILABLE, f"there is no store at `{here.database}`")


def test_while_fsck_looks_no_kernel_starts(tmp_path: Path) -> None:
    here = closed(tmp_path)
    lock = store.Lock(here.folder / LOCK, make=False)
    with pytest.raises(OutsideError) as error:
        here.open()
    assert error.value.reason is Reason.ERR_STORE_LOCKED
    lock.release()
    here.open().abandon()


def test_one_damage_does_not_hide_another(tmp_path: Path) -> None:
    here = closed(tmp_path)
    here.spoil("UPDATE log SET frontier='frontier', policy=NULL")
    here.spoil("UPDATE receipts SET line=CAST('[]' AS BLOB) WHERE idx=2")
    here.spoil("DELETE FROM claims")
    here.spoil("UPDATE documents SET content=zeroblob(9) WHERE name='catalog'")
    (here.folder / TRUST).write_bytes(b"{}\n")
    found = {damage.where for damage in fsck(here.folder, here.vault)[1]}
    assert found >= {"log", "receipt 2", "claims", "documents", "evidence"}


@pytest.mark.parametrize(
    "spoil",
    [
        "DELETE FROM log",
        "DROP TABLE log",
        "PRAGMA journal_mode=DELETE",
        "PRAGMA application_id=0",
        "CREATE TRIGGER more AFTER INSERT ON holds BEGIN DELETE FROM holds; END",
    ],
)
def test_a_store_without_its_form_is_damaged(tmp_path: Path, spoil: str) -> None:
    here = closed(tmp_path)
    with closing(sqlite3.connect(here.database)) as conn:
        conn.execute(spoil)
        conn.commit()
    assert fsck(here.folder, here.vault)[1] != []


def test_bytes_that_are_no_database_are_damaged_wherever_they_are(tmp_path: Path) -> None:
    here = closed(tmp_path)
    whole = here.database.read_bytes()
    for at in range(0, len(whole), 4096):
        here.database.write_bytes(whole[:at] + b"\xff" * 4096 + whole[at + 4096 :])
        assert fsck(here.folder, here.vault)[1] != [], at
    here.database.write_bytes(b"")
    assert fsck(here.folder, here.vault)[1] != []
    here.database.unlink()
    os.symlink(here.folder / TRUST, here.database)
    assert fsck(here.folder, here.vault)[1] != []
