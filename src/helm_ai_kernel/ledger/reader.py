"""Reading the store without writing to it: beside a running kernel, or after one. Nothing here is trusted by a verifier."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any

from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.approvals import Approvals
from helm_ai_kernel.tcb.bundle import PolicyManifest
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.receipt import SCOPE, Kind, Receipt
from helm_ai_kernel.tcb.registry import Registry

from . import store, succession, trustlog
from .ledger import DATABASE, TRUST
from .standing import MALFORMED, erasures, signed_for
from .transaction import ARGS, ASKED, UNASKED
from .vault import Vault, opened


class Reader:
    """One consistent view of a store, as of the moment it was opened."""

    def __init__(
        self, folder: Path, conn: sqlite3.Connection | None = None, *, ended_in: Path | None = None, vault: Vault | None = None
    ) -> None:
        """`conn`: one that is there already, in the transaction to read in. `vault` opens what is kept beside receipts.

        `ended_in`: the store of the log that went on in the place of this one, whose registry serves both.
        """
        self.witnessed = folder / succession.WITNESSED if ended_in is None else folder  # beside a log that ended: no folder
        self._trust = (ended_in or folder) / TRUST
        self._folder = folder
        self._vault = vault
        self._own = conn is None
        self._ended = ended_in is not None  # perhaps without the keys of its subjects
        self._gone: set[bytes] = set()  # subjects that the log says are erased
        self._conn = store.connect(folder / DATABASE, read_only=True) if conn is None else conn
        with store.outside():
            if not self._conn.in_transaction:
                self._conn.execute("BEGIN")
        row = self._row("SELECT origin, policy, catalog, checkpoint FROM log", ()) or ("", None, None, None)
        self.origin: str = row[0]
        self.policy, self.catalog = (None if raw is None else hashes.text(_blob(raw)) for raw in row[1:3])
        self.checkpoint = _blob(row[3])  # the newest one that is stored; a running kernel is one group ahead

    @classmethod
    def of_ended(cls, folder: Path, origin: str, vault: Vault) -> "Reader":
        """The store of a log that ended here; raises `OutsideError` where there is none. What `vault` cannot open is withheld."""
        kept = succession.ended(folder, origin)
        if (kept / DATABASE).exists():
            reader = cls.at_ended(kept, folder, vault)
            if reader.origin == origin:
                return reader
            reader.close()
        detail = f"no log `{origin}` ended here"
        raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint=f"ls {quote(str(folder / succession.BEFORE))}")

    @classmethod
    def of_all_ended(cls, folder: Path) -> Iterator["Reader"]:
        """Of every log that ended here, one after the other; without the keys of subjects."""
        for kept in succession.all_ended(folder):
            with cls.at_ended(kept, folder) as reader:
                yield reader

    @classmethod
    def at_ended(cls, kept: Path, folder: Path, vault: Vault | None = None) -> "Reader":
        """The store in `kept`, which is one of `succession.all_ended(folder)`."""
        return cls(kept, store.connect_unwritten(kept / DATABASE), ended_in=folder, vault=vault)

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

    def page(self, *, after: int, limit: int, session: str = "", kind: str = "") -> Iterator[Receipt]:
        """At most so many receipts behind that index, in log order; of one session and of one kind, where they are named."""
        sql, values = "SELECT idx, line FROM receipts WHERE idx > ?", list[object]([after])
        if session:
            sql, values = sql + " AND session = ?", [*values, bytes.fromhex(session)]
        if kind:
            kinds = (kind, ASKED, UNASKED) if kind == Kind.DECISION else (kind, kind, kind)
            sql, values = sql + " AND kind IN (?, ?, ?)", [*values, *kinds]
        for index, line in self._rows(sql + " ORDER BY idx LIMIT ?", (*values, limit)):
            yield Receipt.from_bytes(_blob(line), index)

    def leaves(self, start: int, end: int) -> Iterator[bytes]:
        """The leaf hashes of these receipts, in log order."""
        for row in self._rows("SELECT leaf FROM receipts WHERE idx >= ? AND idx < ? ORDER BY idx", (start, end)):
            yield _blob(row[0])

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

    def attachments(self, index: int) -> dict[int, bytes | None]:
        """What is kept beside a receipt, by slot: salt and content, None where they were erased. Raises `OutsideError`."""
        rows = self._rows("SELECT idx, slot, subject, content FROM attachments WHERE idx=? ORDER BY slot", (index,))
        return {row[1]: self._opened(row) for row in rows}

    def about(self) -> dict[bytes, tuple[int, int]]:
        """How many attachments are kept about each subject, and beside how many decisions; also about those who were erased."""
        sql = "SELECT subject, count(*), sum(slot=?) FROM attachments GROUP BY subject"
        return {_blob(row[0]): (row[1], row[2]) for row in self._rows(sql, (ARGS,))}

    def holds(self) -> dict[str, Digest]:
        """The tools that are held, each with the leaf hash of its hold."""
        return {tool: leaf for tool, leaf in self._held() if not SCOPE.match(tool)}

    def frozen(self) -> dict[str, Digest]:
        """The scopes that are frozen, each with the leaf hash of its hold."""
        return {scope: leaf for scope, leaf in self._held() if SCOPE.match(scope)}

    def approvals(self) -> Approvals:
        """What waits for people and what they granted, verified like at a start; raises `OutsideError`."""
        return signed_for(self._conn, self.trust()).approvals

    def unasked(self, newest: int) -> list[Receipt]:
        """The newest refusals of calls that would have waited for a person, had anybody been there; newest first."""
        rows = self._rows("SELECT idx, line FROM receipts WHERE kind = 'unasked' ORDER BY idx DESC LIMIT ?", (newest,))
        return [Receipt.from_bytes(_blob(line), index) for index, line in rows]

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

    def lines(self, start: int, end: int) -> Iterator[bytes]:
        """Receipts as they were signed, from `start` up to, and not with, `end`."""
        for row in self._rows("SELECT line FROM receipts WHERE idx >= ? AND idx < ? ORDER BY idx", (start, end)):
            yield _blob(row[0])

    def at(self, index: int) -> Receipt:
        row = self._row("SELECT line FROM receipts WHERE idx = ?", (index,))
        if row is None:
            raise OutsideError(Reason.ERR_STORE_CORRUPT, f"receipt {index} is missing", hint="helm-ai-kernel fsck")
        return Receipt.from_bytes(_blob(row[0]), index)

    def of_session(self, session: str) -> list[int]:
        """The places of its receipts."""
        rows = self._rows("SELECT idx FROM receipts WHERE session = ? ORDER BY seq", (bytes.fromhex(session),))
        return [int(row[0]) for row in rows]

    def outcomes(self, size: int) -> Iterator[tuple[int, bytes]]:
        """Place and line of each outcome among the first so many receipts."""
        for index, line in self._rows("SELECT idx, line FROM receipts WHERE kind = 'outcome' AND idx < ? ORDER BY idx", (size,)):
            yield index, _blob(line)

    def kept(self, start: int, end: int) -> Iterator[tuple[int, int, bytes]]:
        """Index, slot, and salt with content, of what is kept beside these receipts and was not erased."""
        sql = "SELECT idx, slot, subject, content FROM attachments WHERE idx >= ? AND idx < ? ORDER BY idx, slot"
        for row in self._rows(sql, (start, end)):
            content = self._opened(row)
            if content is not None:
                yield row[0], row[1], content

    def claimed(self, decision: Digest) -> int | None:
        """The place of the call that claimed an idempotency key."""
        row = self._row("SELECT idx FROM claims WHERE leaf = ?", (hashes.raw(decision),))
        return None if row is None else int(row[0])

    def trust(self) -> Registry:
        """The registry beside the store, or a longer one."""
        return trustlog.load(self._trust)

    def jsonl(self) -> Iterator[bytes]:
        """Every receipt as it was signed, one line each."""
        for row in self._rows("SELECT line FROM receipts ORDER BY idx", ()):
            yield _blob(row[0]) + b"\n"

    def _held(self) -> Iterator[tuple[str, Digest]]:
        for name, leaf in self._rows("SELECT tool, leaf FROM holds ORDER BY tool", ()):
            yield name, hashes.text(_blob(leaf))

    def _opened(self, row: Any) -> bytes | None:
        """Salt and content of such a row; None where its subject was erased. Raises `OutsideError` where they cannot be read."""
        if self._vault is None:
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, "this store was opened without the keys of its attachments")
        index, slot, subject, sealed = row[0], row[1], _blob(row[2]), _blob(row[3])
        content = opened(self._vault, self.origin, index, slot, subject, sealed) if sealed else None
        if content is None and not self._ended and not self._is_erased(subject):
            detail = f"the key of subject `{subject.hex()}` is not here, and nobody erased it"
            raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint="restore keys/ and store/ from the same backup")
        return content

    def _is_erased(self, subject: bytes) -> bool:
        """By now: a key may have been destroyed since this view began."""
        if subject not in self._gone:
            now = store.connect(self._folder / DATABASE, read_only=True) if self._own else self._conn
            try:
                self._gone = erasures(now)
            except MALFORMED as e:
                detail = f"a statement is damaged: {e}"
                raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint="helm-ai-kernel fsck") from None
            finally:
                if self._own:
                    now.close()
        return subject in self._gone

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
