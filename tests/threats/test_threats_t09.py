"""T9 (3), receipt store tampering: whatever is changed in the file behind the kernel's back is found."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.ledger.fsck import fsck
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from threats.governed import in_force, made

CALL = b'{"tool":"python/note","arguments":{"text":"again"},"idempotency_key":"k"}'
LAST = "(SELECT max(idx) FROM receipts)"
TOUCHED = {
    "a receipt edited": f"UPDATE receipts SET line = CAST(replace(line, 'OK', 'KO') AS BLOB) WHERE idx < {LAST}",
    "a receipt and its leaf edited": "UPDATE receipts SET line = CAST(line || ' ' AS BLOB), leaf = zeroblob(32) WHERE idx = 2",
    "a receipt in the middle deleted": "DELETE FROM receipts WHERE idx = 3",
    "the last receipt deleted": f"DELETE FROM receipts WHERE idx = {LAST}",
    "a receipt repeated": "UPDATE receipts SET line = (SELECT line FROM receipts b WHERE b.idx = 2) WHERE idx = 3",
    "a policy file edited": "UPDATE documents SET content = CAST(content || ' ' AS BLOB) WHERE name = 'file'",
    "a claim reopened": "UPDATE claims SET state = 'open', outcome = NULL",
    "a hold invented": "INSERT INTO holds VALUES ('python/note', zeroblob(32))",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kernel that worked and was closed."""
    folder = made(tmp_path_factory.mktemp("t09"))
    with in_force(folder) as governed:
        for number in range(4):
            governed.send(b'{"tool":"python/note","arguments":{"text":"%d"},"idempotency_key":"k%d"}' % (number, number))
    return folder


def damage(folder: Path) -> list[str]:
    return [item.where for item in fsck(folder / "home/store", Subjects(folder / "home/keys/subjects"))[1]]


def test_an_untouched_store_has_no_damage(folder: Path) -> None:
    assert damage(folder) == []


@pytest.mark.parametrize("touch", TOUCHED)
def test_a_store_that_was_touched_is_found(folder: Path, tmp_path: Path, touch: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    with closing(sqlite3.connect(copy / "home/store/ledger.db")) as conn:
        assert conn.execute(TOUCHED[touch]).rowcount > 0
        conn.commit()
    assert damage(copy) != []


def moved(path: Path) -> None:
    path.rename(path.with_suffix(".away"))


def replaced(path: Path) -> None:
    shutil.copyfile(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").replace(path)


def linked(path: Path) -> None:
    moved(path)
    path.symlink_to(path.with_suffix(".away"))


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DEEDS: dict[str, Callable[[Path], None]] = {
    "deleted": Path.unlink,
    "moved": moved,
    "replaced": replaced,
    "linked": linked,
    "a pipe": piped,
}


def goes_on_after(folder: Path, deed: Callable[[Path], None]) -> None:
    """A kernel works, something happens to its store, and it is asked again; ends as the kernel does."""
    with in_force(made(folder)) as governed:
        assert governed.send(CALL).reason is Reason.OK

        async def scrubbed(runtime: Runtime) -> None:
            assert runtime.ledger.scrubbed is not None
            await runtime.ledger.scrubbed

        governed.kernel.run(scrubbed)  # which finds it only behind the next start
        deed(folder / "home/store")
        for call in (CALL, CALL.replace(b"again", b"more")):
            with pytest.raises(OutsideError, match="ERR_SEALED"):
                governed.send(call)
        assert governed.effects == [("note", "again")]


@pytest.mark.parametrize("touch", TOUCHED)
def test_a_store_that_is_touched_while_the_kernel_runs_executes_nothing_more(tmp_path: Path, touch: str) -> None:  # 9.19
    def deed(store: Path) -> None:
        with closing(sqlite3.connect(store / "ledger.db")) as conn:
            assert conn.execute(TOUCHED[touch]).rowcount > 0
            conn.commit()

    with pytest.raises(OutsideError, match="ERR_SEALED"):
        goes_on_after(tmp_path, deed)
    assert damage(tmp_path) != []


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("name", ["ledger.db", "ledger.db-wal"])
def test_a_file_that_is_taken_away_while_the_kernel_runs_is_missed(tmp_path: Path, name: str, deed: str) -> None:  # 9.19
    with pytest.raises(OutsideError, match="ERR_SEALED"):
        goes_on_after(tmp_path, lambda store: DEEDS[deed](store / name))
