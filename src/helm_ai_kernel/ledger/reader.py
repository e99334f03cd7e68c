"""Reading the store without writing to it: beside a running kernel, or after one. Nothing here is trusted by a verifier."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.bundle import PolicyManifest
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.receipt import Receipt

from . import store, succession, trustlog
from .ledger import DATABASE, TRUST


class Reader:
    """One consistent view of a store, as of the moment it was opened."""

    def __init__(self, folder: Path, conn: sqlite3.Connection | None = None, *, trust: Path | None = None) -> None:
        """`conn`: one that is there already, in the transaction to read in. `trust`: a registry elsewhere than in `folder`."""
        self._folder = folder
        self._trust = trust or folder / TRUST
        self._conn = store.connect(folder / DATABASE, read_only=True) if conn is None else conn
        with store.outside():
            if not self._conn.in_transaction:
                self._conn.execute("BEGIN")
        row = self._row("SELECT origin, policy, catalog, checkpoint FROM log", ()) or ("", None, None, None)
        self.origin: str = row[0]
        self.policy, self.catalog = (None if raw is None else hashes.text(_blob(raw)) for raw in row[1:3])
        self.checkpoint = _blob(row[3])  # the newest one that is stored; a running kernel is one group ahead

    @classmethod
    def of_ended(cls, folder: Path, origin: str) -> "Reader":
        """The store of a log that ended here; raises `OutsideError` where there is none."""
        kept = succession.ended(folder, origin)
        if not (kept / DATABASE).exists():
            detail = f"no log `{origin}` ended here"
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint=f"ls {folder / succession.BEFORE}")
        return cls(kept, store.connect_unwritten(kept / DATABASE), trust=folder / TRUST)

    def close(self) -> None:
        self._conn.close()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def size(self) -> int:
        return int(self._conn.execute("SELECT coalesce(max(idx), -1) + 1 FROM receipts").fetchone()[0])

    def receipts(self, *, start: int = 0, session: str = "", newest: int = 0) -> Iterator[Receipt]:
        """In log order; of one session, or of all; of those only the `newest` so many."""
        start = max(start, self.size - newest) if newest else start
        sql = "SELECT idx, line FROM receipts WHERE idx >= ? ORDER BY idx"
        values: tuple[object, ...] = (start,)
        if session:
            own = bytes.fromhex(session)
            sql = "SELECT idx, line FROM receipts WHERE session = ? AND seq > ? ORDER BY seq"
            last = self._conn.execute("SELECT coalesce(max(seq), -1) FROM receipts WHERE session = ?", (own,)).fetchone()[0]
            values = (own, last - newest if newest else -1)
        for index, line in self._rows(sql, values):
            yield Receipt.from_bytes(_blob(line), index)

    def find(self, name: str) -> Receipt:
        """By index, by leaf hash, or by the first digits of a leaf hash; raises `OutsideError` where that is not one receipt."""
        if name.isdecimal() and len(name) < 16:
            rows = self._rows("SELECT idx, line FROM receipts WHERE idx = ?", (int(name),))
        else:
            digits = name.removeprefix(hashes.PREFIX).lower()
            rows = self._rows("SELECT idx, line FROM receipts WHERE hex(leaf) LIKE ? LIMIT 2", (digits.replace("%", "") + "%",))
        found = [Receipt.from_bytes(_blob(line), index) for index, line in rows]
        if len(found) != 1:
            how = "no receipt" if not found else "more than one receipt"
            hint = "helm-ai-kernel receipts list"
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, f"{how} is named `{name}`", hint=hint)
        return found[0]

    def attachment(self, index: int, slot: int) -> bytes | None:
        """Salt and content."""
        row = self._row("SELECT content FROM attachments WHERE idx=? AND slot=?", (index, slot))
        return None if row is None else _blob(row[0])

    def holds(self) -> dict[str, Digest]:
        """The tools that are held, each with the leaf hash of its hold."""
        return {row[0]: hashes.text(_blob(row[1])) for row in self._rows("SELECT tool, leaf FROM holds ORDER BY tool", ())}

    def document(self, digest: Digest) -> bytes:
        row = self._row("SELECT content FROM documents WHERE digest=?", (hashes.raw(digest),))
        if row is None:
            raise OutsideError(Reason.ERR_STORE_CORRUPT, f"the document `{digest}` is missing", hint="helm-ai-kernel fsck")
        return _blob(row[0])

    def policy_files(self, digest: Digest) -> dict[str, bytes]:
        """The files of a policy, its `manifest.json` among them."""
        manifest = self.document(digest)
        try:
            files = PolicyManifest.from_bytes(manifest).files
        except EvidenceError as e:
            detail = f"the policy `{digest}` is damaged: {e.detail}"
            raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint="helm-ai-kernel fsck") from None
        return {"manifest.json": manifest, **{name: self.document(named) for name, named in files.items()}}

    def export(self, *, attachments: bool = True) -> bytes:
        """The evidence pack of the log up to the stored checkpoint, with or without contents (`docs/spec/pack.md`)."""
        size = Checkpoint.from_bytes(self.checkpoint).size
        lines = [_blob(row[0]) for row in self._rows("SELECT line FROM receipts WHERE idx < ? ORDER BY idx", (size,))]
        named = pack.Mentions()
        for line in lines:
            named.add(Receipt.from_bytes(line))
        rows = self._rows("SELECT content FROM attachments WHERE idx < ?", (size,))
        kept = {hashes.digest(_blob(row[0])): _blob(row[0]) for row in rows} if attachments else {}
        policies = {digest: self.policy_files(digest) for digest in named.policies}
        catalogs = {digest: self.document(digest) for digest in named.catalogs}
        trust = trustlog.load(self._trust).lines
        return pack.build(lines, self.checkpoint, trust, policies, catalogs, kept)

    def jsonl(self) -> Iterator[bytes]:
        """Every receipt as it was signed, one line each."""
        for row in self._rows("SELECT line FROM receipts ORDER BY idx", ()):
            yield _blob(row[0]) + b"\n"

    def _row(self, sql: str, values: tuple[object, ...]) -> Any:
        with store.outside():
            return self._conn.execute(sql, values).fetchone()

    def _rows(self, sql: str, values: tuple[object, ...]) -> Iterator[sqlite3.Row]:
        with store.outside():
            for row in self._conn.execute(sql, values):  # noqa: UP028  (it would close the cursor, perhaps after its connection)
                yield row


def _blob(value: object) -> bytes:
    """As we write every column of bytes; a damaged page, or somebody, can make something else of it."""
    if not isinstance(value, bytes):
        detail = f"the store holds a `{type(value).__name__}` where bytes were written"
        raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint="helm-ai-kernel fsck")
    return value
