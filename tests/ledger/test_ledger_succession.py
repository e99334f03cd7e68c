"""The change from a log that ended to a new one, interrupted at every step of it: the next start makes the rest."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executor.trust import LOG, trust
from helm_ai_kernel.ledger import ledger, store, succession, trustlog
from helm_ai_kernel.ledger.ledger import DATABASE, TRUST
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.ledger.vault import NoKeys
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

NEW = "helm.local/elsewhere/0123456789abcdef"
CALLS = [
    (os, "replace"),
    (os, "rename"),
    (os, "link"),
    (os, "chmod"),
    (os, "unlink"),
    (os, "rmdir"),
    (os, "mkdir"),
    (os, "fsync"),
]


class Killed(BaseException):
    pass


def staged(folder: Path) -> str:
    """A store, and beside it what is to take its place; the origin of the old log."""
    registry, origin = trust()
    for where, name in ((folder / "store", origin), (folder / "store" / succession.NEXT, NEW)):
        where.mkdir(parents=True)
        ledger.create(where, origin=name, log_key=LOG, vault=NoKeys())
        trustlog.create(where / TRUST, registry)
    (folder / "store" / succession.WITNESSED).mkdir()
    (folder / "store" / succession.WITNESSED / "3.txt").write_bytes(b"a note")
    for keys, content in ((folder / "keys", b"old"), (folder / "store" / succession.NEXT / succession.KEYS, b"new")):
        keys.mkdir()
        for name in ("execution", "log"):
            (keys / name).write_bytes(content)
    (folder / "keys/execution.next").write_bytes(b"that of the old log was to have")
    return origin


def changed(folder: Path, origin: str) -> None:
    home = folder / "store"
    with Reader(home) as reader:
        assert reader.origin == NEW
    with Reader.of_ended(home, origin, NoKeys()) as reader:
        assert reader.origin == origin and reader.size == 0
    assert {path.name: path.read_bytes() for path in (folder / "keys").iterdir()} == {"execution": b"new", "log": b"new"}
    kept = succession.ended(home, origin)
    assert (kept / "3.txt").read_bytes() == b"a note"
    names = {path.name for path in home.iterdir() if not path.name.endswith(("-shm", "-wal"))}
    assert names == {DATABASE, TRUST, succession.BEFORE, succession.WITNESSED}


def finish(folder: Path) -> None:
    succession.finish(folder / "store", folder / "keys")


def killed_at(number: int, monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> bool:
    """Whether there is so late a step."""
    left = [number]

    def step(call: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return call(*args, **kwargs)

        return counted

    with monkeypatch.context() as patch:
        for module, name in CALLS:
            patch.setattr(module, name, step(getattr(module, name)))
        try:
            work()
        except Killed:
            return True
    return False


def test_what_was_interrupted_anywhere_is_made_by_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin, number = staged(tmp_path / "template"), 0
    while True:
        folder = Path(shutil.copytree(tmp_path / "template", tmp_path / str(number)))
        killed = killed_at(number, monkeypatch, lambda folder=folder: finish(folder))  # type: ignore[misc]
        with Reader(folder / "store") as reader:  # at every moment there is a whole store
            assert reader.origin in (origin, NEW)
        finish(folder)
        changed(folder, origin)
        if not killed:
            break
        number += 1
    assert number > 12


def test_a_key_that_waits_for_the_new_log_outlives_what_a_crash_left_of_the_change(tmp_path: Path) -> None:
    staged(tmp_path)
    finish(tmp_path)
    (tmp_path / "store" / succession.NEXT / succession.KEYS).mkdir(parents=True)  # all but its end was made before
    waiting = tmp_path / "keys/log.next"
    waiting.write_bytes(b"that of the new log, which the roots sign for")
    finish(tmp_path)
    assert waiting.exists() and not (tmp_path / "store" / succession.NEXT).exists()


def test_without_anything_that_waits_nothing_is_changed(tmp_path: Path) -> None:
    origin = staged(tmp_path)
    shutil.rmtree(tmp_path / "store" / succession.NEXT)
    finish(tmp_path)
    with Reader(tmp_path / "store") as reader:
        assert reader.origin == origin


def test_another_store_of_the_same_log_is_never_overwritten(tmp_path: Path) -> None:
    origin = staged(tmp_path)
    kept = succession.ended(tmp_path / "store", origin)
    kept.mkdir(parents=True)
    ledger.create(kept, origin=origin, log_key=LOG, vault=NoKeys())
    before = (kept / DATABASE).read_bytes()
    with pytest.raises(OutsideError, match="nothing is overwritten"):
        finish(tmp_path)
    assert (kept / DATABASE).read_bytes() == before


def test_a_store_that_is_read_is_not_taken_away_from_under_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUSY_S", 0.01)
    origin = staged(tmp_path)
    with Reader(tmp_path / "store"):
        with pytest.raises(OutsideError) as error:
            finish(tmp_path)
        assert error.value.reason is Reason.ERR_STORE_LOCKED
    finish(tmp_path)
    changed(tmp_path, origin)


def test_a_snapshot_is_whole_while_the_store_is_written(tmp_path: Path) -> None:
    """Every page of it is of one moment, with what is still in the write-ahead log, and nothing else is made or changed."""
    origin = staged(tmp_path)
    conn = store.connect(tmp_path / "store" / DATABASE)
    conn.execute("INSERT INTO holds VALUES ('a/b', x'00')")
    conn.execute("BEGIN IMMEDIATE")
    conn.execute("INSERT INTO holds VALUES ('not/committed', x'00')")
    (tmp_path / "copy").mkdir()
    store.snapshot(tmp_path / "store" / DATABASE, tmp_path / "copy" / DATABASE)
    conn.execute("ROLLBACK")
    conn.close()
    with Reader(tmp_path / "copy") as reader:
        assert (reader.origin, list(reader.holds())) == (origin, ["a/b"])
