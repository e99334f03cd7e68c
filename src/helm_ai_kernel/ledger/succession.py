"""Where a log ends and another goes on in its place: the old store is kept beside the new one, whole, and written no more.

What is to take the place is built beside it and then renamed to `next`: from that moment on the change will happen. `finish`
makes it, step by step, and whoever opens the store next makes what a crash left of it. At every moment there is a whole store.
"""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from shlex import quote

from helm_ai_kernel.disk import durable
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.registry import Registry

from . import store
from .ledger import DATABASE, TRUST
from .mirror import file_name
from .standing import signed_for

NEXT, BEFORE, KEYS = "next", "before", "keys"
WITNESSED = "witnessed"  # notes that witnesses cosigned; they are of one log
_ENDED = 0o400  # of a database that is evidence


def ended(folder: Path, origin: str) -> Path:
    """Where the store in `folder` keeps the one of a log that ended here."""
    return folder / BEFORE / file_name(origin)


def all_ended(folder: Path) -> list[Path]:
    """The same of every log that ended here."""
    return sorted(path.parent for path in (folder / BEFORE).glob(f"*/{DATABASE}"))


def erased(folder: Path, registry: Registry) -> set[bytes]:
    """The subjects that a log says are erased which ended here: their keys must be gone as if it went on.

    For whoever holds the lock. Raises `OutsideError` where one of these logs does not say.
    """
    found = set[bytes]()
    for kept in all_ended(folder):
        try:
            with store.outside(), closing(store.connect_unwritten(kept / DATABASE)) as conn:
                found |= signed_for(conn, registry).erased
        except OutsideError as e:
            detail = f"nobody knows who was erased in the log that is kept in `{kept}`: {e.detail}"
            hint = f"put it back from a backup, or: mv {quote(str(kept))} {quote(str(folder.parent))}"
            raise OutsideError(e.reason, detail, hint=hint) from None
    return found


def finish(folder: Path, keys: Path) -> None:
    """What is left of a change to a new log; nothing, mostly. The caller holds the lock. Raises `OutsideError`."""
    staged = folder / NEXT
    if not staged.is_dir():
        return
    if (staged / DATABASE).exists():
        _keep(folder)
        for path in keys.glob("*.next"):  # the keys that the old log was to have: none of the new one's
            path.unlink()
        if (staged / TRUST).exists():  # the longer registry serves both logs: first
            os.replace(staged / TRUST, folder / TRUST)
        os.replace(staged / DATABASE, folder / DATABASE)
        durable.sync_directory(folder)
    for path in (staged / KEYS).iterdir() if (staged / KEYS).is_dir() else ():
        os.replace(path, keys / path.name)
    durable.sync_directory(keys)
    shutil.rmtree(staged)
    durable.sync_directory(folder)


def fold(database: Path) -> None:
    """Into one file, with nothing beside it; raises `OutsideError(ERR_STORE_LOCKED)` where somebody reads it."""
    with store.outside(), closing(store.open_alone(database)) as conn:
        try:
            conn.execute("BEGIN IMMEDIATE")
            conn.execute("COMMIT")
            busy = conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.OperationalError as e:
            if getattr(e, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            busy = 1
    beside = database.with_name(database.name + "-wal")
    if busy or (beside.exists() and beside.stat().st_size):
        detail = f"another process reads `{database}`, which is about to be kept as it is"
        raise OutsideError(Reason.ERR_STORE_LOCKED, detail, hint="wait until it has read (an export, a listing), then try again")
    for name in ("-wal", "-shm"):
        database.with_name(database.name + name).unlink(missing_ok=True)


def _keep(folder: Path) -> None:
    """The store of the log that ends here gets its second name, from which it is read from now on."""
    database = folder / DATABASE
    with closing(store.connect_unwritten(database)) as conn:
        origin = str(conn.execute("SELECT origin FROM log").fetchone()[0])
    kept = ended(folder, origin)
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (kept / DATABASE).exists():
        fold(database)
        os.link(database, kept / DATABASE)
    elif not database.samefile(kept / DATABASE):
        detail = f"`{kept}` holds another store of the same log, and nothing is overwritten"
        raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint=f"ls -l {quote(str(kept))}")
    (kept / DATABASE).chmod(_ENDED)
    for note in (folder / WITNESSED).glob("*.txt"):
        os.replace(note, kept / note.name)
    for path in (kept, kept.parent, folder):
        durable.sync_directory(path)
