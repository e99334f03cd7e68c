"""Rebuild everything on disk from the receipts and compare: they are the truth, every other table is derived from them.

All that is wrong is told, not only the first: a part that cannot be read at all is one damage, and the others are looked at.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from helm_ai_kernel.tcb import checklist
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError, Refused
from helm_ai_kernel.tcb.merkle import Frontier, leaf_hash

from . import store, trustlog
from .derived import differences
from .ledger import DATABASE, LOCK, TRUST
from .reader import Reader
from .signer import stored
from .standing import Difference


class Damage(NamedTuple):
    """One thing on disk that is not what the receipts say."""

    where: str
    detail: str


def fsck(folder: Path) -> tuple[int, list[Damage]]:
    """How many receipts are there, and what is wrong; an empty list is a clean store. Holds the lock, and writes nothing.

    Raises `OutsideError` where nothing can be said: a kernel is running, there is no store, or it is of a newer format.
    """
    lock = store.Lock(folder / LOCK, make=False)
    try:
        conn = store.connect_unwritten(folder / DATABASE)
        try:
            return _checked(folder, conn)
        finally:
            conn.close()
    except OutsideError as e:
        if e.reason is not Reason.ERR_STORE_CORRUPT:
            raise
        return 0, [Damage("store", str(e))]
    finally:
        lock.release()


def _checked(folder: Path, conn: sqlite3.Connection) -> tuple[int, list[Damage]]:
    with store.outside():
        conn.execute("BEGIN")
    parts = {
        "sqlite": _sqlite(conn),
        "log": _tree(folder, conn),
        "store": differences(conn),
        "evidence": _evidence(folder, conn),
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


def _tree(folder: Path, conn: sqlite3.Connection) -> Iterator[Difference]:
    """The stored frontier, and the checkpoint that was signed for it."""
    ((one, origin, peaks, note),) = conn.execute("SELECT one, origin, frontier, checkpoint FROM log").fetchall()
    signed = Frontier.from_bytes(bytes(peaks))
    stored(trustlog.load(folder / TRUST).log_keys(origin), origin, signed, bytes(note))
    if one != 1:
        yield "log", f"its row is numbered {one}"
    frontier = Frontier()
    for (line,) in conn.execute("SELECT line FROM receipts ORDER BY idx LIMIT ?", (signed.size,)):
        frontier = frontier.append(leaf_hash(line))
    if signed != frontier:
        yield "log", f"the signed tree of size {signed.size} is not that of the receipts"


def _evidence(folder: Path, conn: sqlite3.Connection) -> Iterator[Difference]:
    """The verifier's own checklist over the whole log; an open intent is no damage, it waits for the next start."""
    genesis = trustlog.load(folder / TRUST).genesis
    report = checklist.verify(Reader(folder, conn).export(), checklist.Question(genesis=genesis))
    for finding in report.findings:
        if finding.code not in ("OPEN_INTENT", "KEY_COMPROMISED_UNANCHORED"):  # a theft damages no file
            yield finding.where, f"{finding.code}: {finding.detail}"


def _count(conn: sqlite3.Connection) -> int:
    try:
        return int(conn.execute("SELECT count(*) FROM receipts").fetchone()[0])
    except sqlite3.Error:
        return 0
