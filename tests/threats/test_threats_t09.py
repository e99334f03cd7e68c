"""T9 (3), receipt store tampering: whatever is changed in the file behind the kernel's back is found."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.ledger.fsck import fsck
from threats.governed import in_force, made

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
