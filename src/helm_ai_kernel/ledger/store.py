"""The SQLite file: opened under an exclusive lock, its durability asserted, its errors translated. No meaning lives here.

Every row is keyed by the log index, so that a log of a million receipts inserts as fast as an empty one.
"""

import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

FORMAT = 1  # PRAGMA user_version; another one is refused, never guessed at
APPLICATION = 0x48454C4D  # "HELM", PRAGMA application_id
SQLITE = sqlite3.sqlite_version
CACHE_KIB = 16_384  # resident memory stays within the promised bound

_SCHEMA = """
CREATE TABLE receipts (idx INTEGER PRIMARY KEY, session BLOB NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL,
                       leaf BLOB NOT NULL, line BLOB NOT NULL);
CREATE UNIQUE INDEX receipts_session ON receipts (session, seq);
CREATE TABLE attachments (idx INTEGER NOT NULL, slot INTEGER NOT NULL, content BLOB NOT NULL,
                          PRIMARY KEY (idx, slot)) WITHOUT ROWID;
CREATE TABLE intents (idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL, tool TEXT NOT NULL, principal TEXT NOT NULL, key TEXT,
                      reserved TEXT NOT NULL);
CREATE TABLE claims (principal TEXT NOT NULL, tool TEXT NOT NULL, key TEXT NOT NULL, idx INTEGER NOT NULL, leaf BLOB NOT NULL,
                     key_hash BLOB NOT NULL, state TEXT NOT NULL, outcome INTEGER,
                     PRIMARY KEY (principal, tool, key)) WITHOUT ROWID;
CREATE INDEX claims_leaf ON claims (leaf);
CREATE TABLE holds (tool TEXT PRIMARY KEY, leaf BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE budgets (name TEXT NOT NULL, window TEXT NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (name, window)) WITHOUT ROWID;
CREATE TABLE statements (nonce TEXT PRIMARY KEY, idx INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (digest BLOB PRIMARY KEY, name TEXT NOT NULL, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE log (one INTEGER PRIMARY KEY CHECK (one = 1), origin TEXT NOT NULL, policy BLOB, catalog BLOB,
                  frontier BLOB NOT NULL, checkpoint BLOB NOT NULL, clean INTEGER NOT NULL);
"""


class Lock:
    """An exclusive `flock` beside the store: the kernel drops it by itself when its process dies, however it dies."""

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as e:
            detail = f"no lock can be taken at `{path}`: {e.strerror}"
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint="helm-ai-kernel init") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise OutsideError(
                Reason.ERR_STORE_LOCKED,
                f"another process writes to the store in `{path.parent}`",
                hint="end the other helm-ai-kernel process, or give this one its own --home",
            ) from None

    def release(self) -> None:
        with suppress(OSError):  # then closing it must do
            fcntl.flock(self._fd, fcntl.LOCK_UN)  # closing alone would leave it to a forked child, which has the same open file
        os.close(self._fd)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open an existing store and assert what durability rests on; raises `OutsideError`."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        raise OutsideError(
            Reason.ERR_EVIDENCE_UNAVAILABLE, f"there is no store at `{path}`", hint="helm-ai-kernel init"
        ) from None
    if not stat.S_ISREG(mode):
        raise OutsideError(Reason.ERR_STORE_CORRUPT, f"`{path}` is not a regular file", hint="restore it from a backup")
    with outside():
        flags = "ro" if read_only else "rw"
        conn = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={flags}", uri=True, isolation_level=None, check_same_thread=False, timeout=5
        )
        try:
            _configure(conn, read_only)
        except BaseException:
            conn.close()
            raise
    return conn


def create(path: Path, *, origin: str, frontier: bytes, checkpoint: bytes) -> None:
    """Write a new, empty store; refuses to overwrite one."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.close(fd)
    with outside(), closing(sqlite3.connect(path, isolation_level=None)) as conn:
        if conn.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":  # SQLite says no more than that when it cannot
            hint = "take a local disk with space: helm-ai-kernel init --home DIR"
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, f"no write-ahead log can be kept beside `{path}`", hint=hint)
        conn.execute("PRAGMA synchronous=FULL")
        conn.execute("BEGIN IMMEDIATE")
        conn.execute(f"PRAGMA application_id={APPLICATION}")
        conn.execute(f"PRAGMA user_version={FORMAT}")
        for statement in _SCHEMA.split(";"):
            conn.execute(statement)
        conn.execute("INSERT INTO log VALUES (1, ?, NULL, NULL, ?, ?, 1)", (origin, frontier, checkpoint))
        conn.execute("COMMIT")


def fold(conn: sqlite3.Connection) -> None:
    """Write what an earlier process left in the WAL into the file, synced. Where that process ended because a sync failed, its
    pages are in memory only and count as written (fsyncgate): nothing that is appended behind them would be durable."""
    with outside():
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def in_memory() -> sqlite3.Connection:
    """The same tables without a disk, for timing what is not the disk."""
    conn = sqlite3.connect(":memory:", isolation_level=None)
    for statement in _SCHEMA.split(";"):
        conn.execute(statement)
    return conn


@contextmanager
def outside() -> Iterator[None]:
    """Translate what SQLite raises; a full disk is told apart, because there a rollback is known to be whole."""
    try:
        yield
    except sqlite3.DatabaseError as e:
        raise translated(e) from e


def translated(e: sqlite3.DatabaseError) -> OutsideError:
    code = getattr(e, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return OutsideError(Reason.ERR_EVIDENCE_FULL, "the disk is full", hint="free space on the store's disk")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return OutsideError(Reason.ERR_STORE_CORRUPT, f"the store is damaged: {e}", hint="helm-ai-kernel fsck")
    return OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, f"the store failed: {e}", hint="helm-ai-kernel fsck")


def _configure(conn: sqlite3.Connection, read_only: bool) -> None:
    conn.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    wanted = {"application_id": APPLICATION, "user_version": FORMAT, "journal_mode": "wal"}
    if not read_only:
        conn.execute("PRAGMA synchronous=FULL")
        conn.execute("PRAGMA trusted_schema=OFF")
        conn.execute("PRAGMA wal_autocheckpoint=0")  # ours: an error there must not look like a failed commit
        wanted["synchronous"] = 2
    for name, value in wanted.items():
        found = conn.execute(f"PRAGMA {name}").fetchone()[0]
        if found != value:
            raise OutsideError(
                Reason.ERR_STORE_CORRUPT, f"the store has {name} `{found}`, not `{value}`", hint="helm-ai-kernel fsck"
            )
