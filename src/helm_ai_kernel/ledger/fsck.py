"""Rebuild everything on disk from the receipts and compare: they are the truth, every other table is derived from them.

All that is wrong is told, not only the first: a part that cannot be read at all is one damage, and the others are looked at.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import BinaryIO, NamedTuple

from helm_ai_kernel.tcb import checklist
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError, Refused
from helm_ai_kernel.tcb.merkle import Frontier, leaf_hash

from . import store, trustlog
from .derived import differences
from .export import whole
from .ledger import DATABASE, LOCK, TRUST
from .opening import check_vault
from .reader import Reader
from .signer import stored
from .standing import Difference
from .succession import BEFORE, all_ended, ended
from .vault import Vault


class Damage(NamedTuple):
    """One thing on disk that is not what the receipts say."""

    where: str
    detail: str


def fsck(folder: Path, vault: Vault | None, *, ended_in: Path | None = None) -> tuple[int, list[Damage]]:
    """How many receipts are there, and what is wrong; an empty list is a clean store. Holds the lock, and writes nothing.

    `vault` None: the keys of subjects are not here (a backup has none), and what they encrypt is not opened. `ended_in`: the
    store of the log that went on in the place of this one.

    Raises `OutsideError` where nothing can be said: a kernel is running, there is no store, or it is of a newer format.
    """
    lock = store.Lock(folder / LOCK, make=False)
    try:
        conn = store.connect_unwritten(folder / DATABASE)
        try:
            return _checked(folder, conn, vault, ended_in)
        finally:
            conn.close()
    except OutsideError as e:
        if e.reason is not Reason.ERR_STORE_CORRUPT:
            raise
        return 0, [Damage("store", str(e))]
    finally:
        lock.release()


def fsck_ended(folder: Path) -> Iterator[Damage]:
    """The same of the logs that ended here, whose contents are not opened: this log may have erased some of them."""
    there = list(all_ended(folder))
    current = _origin(folder) if there else ""
    for kept in there:
        where = f"{BEFORE}/{kept.name}"
        _, damage = fsck(kept, None, ended_in=folder)
        yield from (Damage(f"{where}: {item.where}", item.detail) for item in damage)
        if not damage:
            with Reader.at_ended(kept, folder) as reader:
                if reader.origin == current or ended(folder, reader.origin) != kept:
                    yield Damage(where, f"this is no place for the log `{reader.origin}`")


def _origin(folder: Path) -> str:
    lock = store.Lock(folder / LOCK, make=False)
    try:
        with closing(store.connect_unwritten(folder / DATABASE)) as conn:
            return str(conn.execute("SELECT origin FROM log").fetchone()[0])
    finally:
        lock.release()


def _checked(folder: Path, conn: sqlite3.Connection, vault: Vault | None, ended_in: Path | None) -> tuple[int, list[Damage]]:
    with store.outside():
        conn.execute("BEGIN")
    parts = {
        "sqlite": _sqlite(conn),
        "log": _tree((ended_in or folder) / TRUST, conn, vault),
        "store": differences(conn, vault),
        "evidence": _evidence(folder, conn, vault, ended_in),
    }
    damage = [item for where, part in parts.items() for item in _told(where, part)]
    return _count(conn), damage


def _told(where: str, part: Iterator[Difference]) -> Iterator[Damage]:
    try:
        for difference in part:
            yield Damage(*difference)
    except (EvidenceError, OutsideError, Refused) as e:
        yield Damage(where, str(e))
    except (TypeError, ValueError, LookupError, AttributeError, sqlite3.Error) as e:  # of another form than we wrote
        yield Damage(where, f"cannot be read: {e}")


def _sqlite(conn: sqlite3.Connection) -> Iterator[Difference]:
    for (line,) in conn.execute("PRAGMA integrity_check"):
        if line != "ok":
            yield "sqlite", str(line)


def _tree(registry: Path, conn: sqlite3.Connection, vault: Vault | None) -> Iterator[Difference]:
    """The stored frontier, and the checkpoint that was signed for it; and whose keys all is kept under."""
    ((one, origin, peaks, note),) = conn.execute("SELECT one, origin, frontier, checkpoint FROM log").fetchall()
    signed = Frontier.from_bytes(bytes(peaks))
    stored(trustlog.load(registry).log_keys(origin), origin, signed, bytes(note))
    if vault is not None:
        check_vault(conn, vault, origin)
    if one != 1:
        yield "log", f"its row is numbered {one}"
    frontier = Frontier()
    for (line,) in conn.execute("SELECT line FROM receipts ORDER BY idx LIMIT ?", (signed.size,)):
        frontier = frontier.append(leaf_hash(line))
    if signed != frontier:
        yield "log", f"the signed tree of size {signed.size} is not that of the receipts"


def _evidence(folder: Path, conn: sqlite3.Connection, vault: Vault | None, ended_in: Path | None) -> Iterator[Difference]:
    """The verifier's own checklist over the whole log; an open intent is no damage, it waits for the next start."""
    reader = Reader(folder, conn, ended_in=ended_in, vault=vault)
    try:
        with TemporaryFile(prefix="helm-fsck-") as file:  # without a name; nothing is written in the store, or beside it
            file.writelines(whole(reader, attachments=vault is not None))
            report = checklist.verify(_Written(file), checklist.Question(genesis=reader.trust().genesis))
    except OSError as e:
        detail = f"the pack of the log cannot be written in `{gettempdir()}`: {(e.strerror or '').lower()}"
        raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint="TMPDIR=DIR helm-ai-kernel fsck") from None
    for finding in report.findings:
        if finding.code not in ("OPEN_INTENT", "KEY_COMPROMISED_UNANCHORED"):  # a theft damages no file
            yield finding.where, f"{finding.code}: {finding.detail}"


class _Written:
    """A pack in a file that is ours."""

    def __init__(self, file: BinaryIO) -> None:
        self.size = file.tell()
        self._file = file

    def read(self, at: int, count: int) -> bytes:
        self._file.seek(at)
        return self._file.read(count)


def _count(conn: sqlite3.Connection) -> int:
    try:
        return int(conn.execute("SELECT count(*) FROM receipts").fetchone()[0])
    except sqlite3.Error:
        return 0
