"""Rebuild everything on disk from the receipts and compare: they are the truth, every other table is derived from them."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from helm_ai_kernel.tcb import checklist
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.merkle import Frontier
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.tcb.registry import Registry

from . import store, trustlog
from .derived import differences
from .ledger import DATABASE, LOCK, TRUST
from .reader import Reader
from .signer import stored


class Damage(NamedTuple):
    """One thing on disk that is not what the receipts say."""

    where: str
    detail: str


def fsck(folder: Path) -> tuple[int, list[Damage]]:
    """How many receipts were read, and what is wrong; an empty list is a clean store. Takes the lock, changes nothing."""
    lock = store.Lock(folder / LOCK)
    try:
        with Reader(folder) as reader:
            return reader.size, list(_damage(folder, reader))
    except (EvidenceError, OutsideError) as e:
        return 0, [Damage("store", str(e))]
    except (TypeError, ValueError, sqlite3.DatabaseError) as e:  # a row or column of another form than we wrote
        return 0, [Damage("store", f"cannot be read: {e}")]
    finally:
        lock.release()


def _damage(folder: Path, reader: Reader) -> Iterator[Damage]:
    conn = store.connect(folder / DATABASE, read_only=True)
    try:
        for (line,) in conn.execute("PRAGMA integrity_check"):
            if line != "ok":
                yield Damage("sqlite", str(line))
        receipts = list(reader.receipts())
        yield from _tree(conn, receipts, trustlog.load(folder / TRUST))
        yield from (Damage(*difference) for difference in differences(conn, receipts))
    finally:
        conn.close()
    yield from _evidence(folder, reader)


def _tree(conn: sqlite3.Connection, receipts: list[Receipt], registry: Registry) -> Iterator[Damage]:
    """Stored leaves, the stored frontier, and the checkpoint that was signed for it."""
    origin, peaks, note = conn.execute("SELECT origin, frontier, checkpoint FROM log").fetchone()
    signed = Frontier.from_bytes(bytes(peaks))
    stored(registry.log_keys(origin), origin, signed, bytes(note))
    frontier = Frontier()
    matches = signed == frontier
    for (leaf,), receipt in zip(conn.execute("SELECT leaf FROM receipts ORDER BY idx"), receipts, strict=True):
        if hashes.text(bytes(leaf)) != receipt.leaf or receipt.index != frontier.size:
            yield Damage(f"receipt {receipt.index}", "the stored leaf hash or index is not that of the line")
        frontier = frontier.append(hashes.raw(receipt.leaf))
        matches = matches or signed == frontier
    if not matches:
        yield Damage("log", f"the signed tree of size {signed.size} is not that of the receipts")


def _evidence(folder: Path, reader: Reader) -> Iterator[Damage]:
    """The verifier's own checklist over the whole log; an open intent is no damage, it waits for the next start."""
    genesis = trustlog.load(folder / TRUST).genesis
    report = checklist.verify(reader.export(), genesis=genesis, known_head=None)
    for finding in report.findings:
        if finding.code != "OPEN_INTENT":
            yield Damage(finding.where, f"{finding.code}: {finding.detail}")
