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
from weakref import WeakSet

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

FORMAT = 3  # PRAGMA user_version; another one is refused, never guessed at
APPLICATION = 0x48454C4D  # "HELM", PRAGMA application_id
SQLITE = sqlite3.sqlite_version
CACHE_KIB = 16_384  # resident memory stays within the promised bound
BUSY_S = 5  # how long SQLite tries again for what another connection holds
FOLD_TRIES = 2  # of so long each: a reader ends, or somebody must end it

_SCHEMA = """
CREATE TABLE receipts (idx INTEGER PRIMARY KEY, session BLOB NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL,
                       leaf BLOB NOT NULL, line BLOB NOT NULL);
CREATE UNIQUE INDEX receipts_session ON receipts (session, seq);
CREATE INDEX receipts_standing ON receipts (idx) WHERE kind IN ('hold', 'statement', 'asked', 'lapse');
CREATE INDEX receipts_unasked ON receipts (idx) WHERE kind = 'unasked';
CREATE TABLE attachments (idx INTEGER NOT NULL, slot INTEGER NOT NULL, subject BLOB NOT NULL, content BLOB NOT NULL,
                          PRIMARY KEY (idx, slot)) WITHOUT ROWID;
CREATE TABLE intents (idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL, tool TEXT NOT NULL, principal TEXT NOT NULL, key BLOB,
                      subject BLOB NOT NULL, reserved TEXT NOT NULL);
CREATE TABLE claims (principal TEXT NOT NULL, tool TEXT NOT NULL, key BLOB NOT NULL, idx INTEGER NOT NULL, leaf BLOB NOT NULL,
                     key_hash BLOB NOT NULL, state TEXT NOT NULL, outcome INTEGER,
                     PRIMARY KEY (principal, tool, key)) WITHOUT ROWID;
CREATE INDEX claims_leaf ON claims (leaf);
CREATE TABLE holds (tool TEXT PRIMARY KEY, leaf BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE budgets (name TEXT NOT NULL, window TEXT NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (name, window)) WITHOUT ROWID;
CREATE TABLE statements (nonce TEXT PRIMARY KEY, idx INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (digest BLOB PRIMARY KEY, name TEXT NOT NULL, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE log (one INTEGER PRIMARY KEY CHECK (one = 1), origin TEXT NOT NULL, policy BLOB, catalog BLOB,
                  frontier BLOB NOT NULL, checkpoint BLOB NOT NULL, clean INTEGER NOT NULL, mark BLOB NOT NULL);
"""


_STANDING = next(row for row in _SCHEMA.split("\n") if "receipts_standing" in row).replace("INDEX", "INDEX IF NOT EXISTS", 1)


class Lock:
    """An exclusive `flock` beside the store: the kernel drops it by itself when its process dies, however it dies."""

    def __init__(self, path: Path, *, make: bool = True) -> None:
        """Without `make` nothing is written: where there is no lock nobody ever opened the store, and none is taken."""
        how = os.O_RDWR | os.O_CREAT if make else os.O_RDONLY
        self._fd = -1
        _HELD.add(self)
        try:
            self._fd = os.open(path, how | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as e:
            if isinstance(e, FileNotFoundError) and not make:
                return
            detail = f"no lock can be taken at `{path}`: {e.strerror}"
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint="helm-ai-kernel init") from None
        if _file(self._fd) in _PARENTS:
            self._close()
            raise OutsideError(
                Reason.ERR_STORE_LOCKED,
                f"the store in `{path.parent}` was open in the process that this one is a fork of",
                hint="start that process instead of forking it (multiprocessing: `spawn`), or fork before the store is opened",
            )
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._close()
            raise OutsideError(
                Reason.ERR_STORE_LOCKED,
                f"another process writes to the store in `{path.parent}`",
                hint="end the other helm-ai-kernel process, or give this one its own --home",
            ) from None

    def release(self) -> None:
        if self._fd >= 0:
            with suppress(OSError):  # then closing it must do
                fcntl.flock(self._fd, fcntl.LOCK_UN)  # closing alone would leave it to a child that is being forked
            self._close()

    def leave(self) -> None:
        """In a forked child, which shares the lock: held open it would outlive the parent, unlocked it would be so for both."""
        if self._fd >= 0:
            _PARENTS.add(_file(self._fd))
            self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        os.close(fd)


_HELD: "WeakSet[Lock]" = WeakSet()
_PARENTS: set[tuple[int, int]] = set()  # what was open here before a fork: SQLite must not open it again (howtocorrupt §2.6)


def _file(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _forked() -> None:
    for lock in tuple(_HELD):
        lock.leave()


os.register_at_fork(after_in_child=_forked)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open an existing store and assert what durability rests on; raises `OutsideError`."""
    _check_regular(path)
    with outside():
        conn = _open(path, "mode=ro" if read_only else "mode=rw")
        try:
            _configure(conn, read_only)
            _check_ours(conn, "wal")
            if not read_only:
                conn.execute(_STANDING)  # an index that is gone costs time, and no more
        except BaseException:
            conn.close()
            raise
    return conn


def connect_unwritten(path: Path) -> sqlite3.Connection:
    """For whoever holds the lock and writes nothing, on a disk that cannot be written too: raises `OutsideError`.

    SQLite's own read-only mode makes files beside a database with a WAL. Where nobody else writes it needs no locks, and then
    no such files: with a WAL, its index is kept in memory; without one, the file is all there is.
    """
    _check_regular(path)
    wal = path.with_name(path.name + "-wal")
    with outside():
        left = wal.exists() and wal.stat().st_size > 0
        conn = _open(path, "mode=ro&vfs=unix-none" if left else "mode=ro&immutable=1")
        try:
            conn.execute("PRAGMA locking_mode=EXCLUSIVE")
            _configure(conn, read_only=True)
            _check_ours(conn, "wal" if left else "delete")  # the latter is what SQLite says of every immutable file
            if not _marked_wal(path):
                raise _not_ours("another journal mode than `wal`")
        except BaseException:
            conn.close()
            raise
    return conn


def open_alone(path: Path) -> sqlite3.Connection:
    """For whoever holds the lock and lets nobody read meanwhile: in this mode nothing is shared, nor left beside the file."""
    _check_regular(path)
    conn = _open(path, "mode=rw")
    conn.execute("PRAGMA locking_mode=EXCLUSIVE")
    return conn


def snapshot(path: Path, copy: Path) -> None:
    """The store as of one moment, beside a running kernel or without one, in a new file. Raises `OutsideError`."""
    os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(connect(path, read_only=True)) as conn, outside(), closing(sqlite3.connect(copy)) as into:
        conn.backup(into)  # in one step: every page is of the moment at which it began


def create(path: Path, *, origin: str, frontier: bytes, checkpoint: bytes, mark: bytes) -> None:
    """Write a new, empty store; refuses to overwrite one. `mark` tells whose keys it is kept under."""
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
        conn.execute("INSERT INTO log VALUES (1, ?, NULL, NULL, ?, ?, 1, ?)", (origin, frontier, checkpoint, mark))
        conn.execute("COMMIT")


def fold(conn: sqlite3.Connection) -> None:
    """Write what an earlier process left in the WAL into the file, synced, and begin the WAL anew.

    Where that process ended because a sync failed, its pages are in memory only and count as written (fsyncgate): nothing that
    is appended behind them would be durable. Who reads in the middle of the WAL keeps it from being begun anew: then, after
    `FOLD_TRIES`, raises `OutsideError(ERR_STORE_LOCKED)`.
    """
    with outside():
        for _ in range(FOLD_TRIES):
            busy, _pages, _folded = conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy:
                return
    raise OutsideError(
        Reason.ERR_STORE_LOCKED,
        "another process is in the middle of reading what the last kernel left, and a new one cannot begin behind it",
        hint="wait until the other process has read (an export, a listing) or end it, then start again",
    )


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


def _check_regular(path: Path) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        raise OutsideError(
            Reason.ERR_EVIDENCE_UNAVAILABLE, f"there is no store at `{path}`", hint="helm-ai-kernel init"
        ) from None
    if not stat.S_ISREG(mode):
        raise OutsideError(Reason.ERR_STORE_CORRUPT, f"`{path}` is not a regular file", hint="restore it from a backup")


def _open(path: Path, flags: str) -> sqlite3.Connection:
    where = f"{path.absolute().as_uri()}?{flags}"
    return sqlite3.connect(where, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_S)


def _marked_wal(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(20)[18:] == b"\x02\x02"  # read and write version of the file format


def _configure(conn: sqlite3.Connection, read_only: bool) -> None:
    conn.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    if read_only:
        return
    conn.execute("PRAGMA synchronous=FULL")
    conn.execute("PRAGMA trusted_schema=OFF")
    conn.execute("PRAGMA wal_autocheckpoint=0")  # ours: an error there must not look like a failed commit
    if (found := conn.execute("PRAGMA synchronous").fetchone()[0]) != 2:
        raise _not_ours(f"synchronous `{found}`, not `2`")


def _check_ours(conn: sqlite3.Connection, journal_mode: str) -> None:
    """The format, and no table, index, trigger or view but ours: a trigger could undo what is written. An index may be gone."""
    for name, value in {"application_id": APPLICATION, "user_version": FORMAT, "journal_mode": journal_mode}.items():
        found = conn.execute(f"PRAGMA {name}").fetchone()[0]
        if name == "user_version" and found > FORMAT:
            detail = f"the store has format {found}, and this version of helm-ai-kernel reads format {FORMAT}"
            hint = "use the version that wrote the store, or a newer one"
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint=hint)
        if found != value:
            raise _not_ours(f"{name} `{found}`, not `{value}`")
    ours = {statement.strip() for statement in _SCHEMA.split(";")} - {""}
    there = {row[0] for row in conn.execute("SELECT sql FROM sqlite_master")}
    for strange in sorted(there - ours, key=str) + sorted(sql for sql in ours - there if sql.startswith("CREATE TABLE")):
        raise _not_ours(f"other tables, indexes or triggers than we make: `{' '.join(str(strange).split())[:80]}`")


def _not_ours(what: str) -> OutsideError:
    return OutsideError(Reason.ERR_STORE_CORRUPT, f"the store has {what}", hint="helm-ai-kernel fsck")
