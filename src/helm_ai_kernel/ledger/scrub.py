"""Behind a start that checked only the tail: every stored line is hashed again and folded to the root that was signed, and the
tables to what the lines say.

It reads through a connection of its own, beside the running kernel, a part at a time: each part and the tables beside it in one
snapshot, the last part and the sums in one. Between the parts the writer can fold its WAL back, and the event loop has the
interpreter for itself. Damage seals: a log that is not the signed one any more must not grow.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

from helm_ai_kernel.tcb.merkle import Frontier, leaf_hash

from . import store
from .derived import FIRST, RECEIPTS, Comparison
from .vault import Vault

PART = 32  # receipts: about 1.5 ms of work, for which the event loop may have to wait
REST_S = 0.002  # between two parts: calls go before, and a million receipts take two minutes


def scrub(database: Path, vault: Vault, signed: Frontier, stop: Event) -> str:
    """What is wrong with the first `signed.size` receipts or with the tables; empty where nothing is, or `stop` was set.

    Raises `OutsideError` where they cannot be read.
    """
    conn = store.connect(database, read_only=True)
    try:
        with store.outside():
            return _Scrub(conn, vault, signed).run(stop)
    finally:
        conn.close()


class _Scrub:
    def __init__(self, conn: sqlite3.Connection, vault: Vault, signed: Frontier) -> None:
        self._conn = conn
        self._signed = signed
        self._frontier = Frontier()
        self._tables = Comparison(conn, vault)
        self._next = FIRST

    def run(self, stop: Event) -> str:
        while not stop.is_set():
            self._conn.execute("BEGIN")
            rows = self._conn.execute(RECEIPTS + " LIMIT ?", (self._next, PART)).fetchall()
            last = len(rows) < PART
            damage = next(self._part(rows, last), "")
            self._conn.execute("COMMIT")
            if damage or last:
                return damage or next(map(": ".join, self._tables.lost()), "")
            stop.wait(REST_S)
        return ""

    def _part(self, rows: list[Any], last: bool) -> Iterator[str]:
        for row in rows:
            yield from self._signed_for(row[0], row[-1])
            yield from map(": ".join, self._tables.add(*row))
            self._next = row[0] + 1
        if last:
            if self._frontier.size < self._signed.size:
                yield f"{self._frontier.size} receipts are there, {self._signed.size} were signed"
            yield from map(": ".join, self._tables.end())

    def _signed_for(self, index: int, line: object) -> Iterator[str]:
        """The tree, up to the size that was signed; what is appended meanwhile is the writer's."""
        if index >= self._signed.size:
            return
        if index != self._frontier.size or not isinstance(line, bytes):
            yield f"receipt {self._frontier.size} is missing or has another form than it was written in"
            return
        self._frontier = self._frontier.append(leaf_hash(line))
        if self._frontier.size == self._signed.size and self._frontier != self._signed:
            yield f"the first {self._signed.size} receipts are not the ones that were signed"
