"""Whether somebody else touches the store while the kernel has it open: asked at the beginning of every group of writes.

SQLite tells every connection whether another one has committed, or folded the WAL; that the file and its WAL are still those that
were opened, the directory tells. What is changed inside the file past SQLite is found behind the next start (`scrub.py`).
"""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

Identity = tuple[int, int] | None


class Watch:
    """Of one connection that writes; nobody else does, because whoever would needs the lock."""

    def __init__(self, conn: sqlite3.Connection, database: Path) -> None:
        """From before anything is read for good."""
        self._conn = conn
        self._paths = (database, database.with_name(database.name + "-wal"))
        self._version = self._now()
        self._files = self._there()  # behind the first reading, with which the WAL is there

    def begin_again(self) -> None:
        """Behind a write that found the disk full: SQLite has thrown away what it knew, as if somebody else had written."""
        self._version = self._now()

    def changed(self) -> str:
        """What was done to it since; nothing, mostly. Inside a transaction."""
        if self._there() != self._files:
            return "the store's file, or its write-ahead log, is not the one that was opened: it was moved, replaced or deleted"
        if self._now() != self._version:
            return "another process wrote to the store, or folded its write-ahead log, while this kernel runs"
        return ""

    def _now(self) -> int:
        return int(self._conn.execute("PRAGMA data_version").fetchone()[0])

    def _there(self) -> Sequence[Identity]:
        return [_identity(path) for path in self._paths]


def _identity(path: Path) -> Identity:
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return status.st_dev, status.st_ino
