"""One group of the single writer: what it has appended so far, not yet durable, visible to the jobs after it.

Nothing here commits. The writer throws the whole value away when the group fails, so that memory never runs ahead of the disk.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.approvals import Approvals, moves
from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Verdict
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.envelope import seal
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.keys import Signer
from helm_ai_kernel.tcb.merkle import Frontier, leaf_hash
from helm_ai_kernel.tcb.receipt import Kind, Receipt, Trust
from helm_ai_kernel.tcb.registry import Registry

from .vault import Subject, Vault, opened, place

ARGS, KEY, OUTPUT = 0, 1, 2  # attachment slots of a receipt
ASKED, UNASKED = "asked", "unasked"


def column(body: Mapping[str, Json]) -> str:
    """What the table says of a receipt's kind: its own, but for decisions that move what people were asked, or asked nobody."""
    kind = str(body["kind"])
    if kind != Kind.DECISION:
        return kind
    if body["reason"] == Reason.ERR_APPROVAL_REQUIRED and body["verdict"] == Verdict.DENY:
        return UNASKED
    return ASKED if moves(body) else kind


class Head(NamedTuple):
    """The last receipt of a session."""

    seq: int
    leaf: Digest


@dataclass(frozen=True, slots=True)
class Session:
    """A principal at a door, from its start receipt to its end; ids are ours and never reused."""

    id: str
    principal: str
    door: str


@dataclass(frozen=True, slots=True)
class Open:
    """An intent that waits for its outcome, or an offer that may be reported, and what that will settle."""

    leaf: Digest
    tool: str
    principal: str
    key: bytes | None  # the mark of its idempotency key
    subject: bytes  # whom it is about
    reserved: Mapping[str, str]  # budget -> the window in which a call was taken from it

    def to_row(self, index: int) -> tuple[int, bytes, str, str, bytes | None, bytes, str]:
        reserved = json.dumps(dict(self.reserved)) if self.reserved else ""
        return index, hashes.raw(self.leaf), self.tool, self.principal, self.key, self.subject, reserved

    @classmethod
    def from_row(cls, leaf: bytes, tool: str, principal: str, key: bytes | None, subject: bytes, reserved: str) -> "Open":
        return cls(hashes.text(leaf), tool, principal, key, subject, json.loads(reserved) if reserved else {})


@dataclass(frozen=True, slots=True)
class State:
    """What the log is at one moment: the same value that a fold over its receipts would give."""

    origin: str
    frontier: Frontier
    heads: Mapping[str, Head]  # open sessions
    policy: Digest | None
    catalog: Digest | None
    holds: Mapping[str, Digest] = field(default_factory=dict)  # tool, or scope of a freeze -> leaf of its hold
    open: Mapping[int, Open] = field(default_factory=dict)  # by log index, in its order
    offered: Mapping[int, Open] = field(default_factory=dict)  # what clients act on, and may report: of this process only
    approvals: Approvals = field(default_factory=Approvals)  # never changed: a group that does works on a copy


@dataclass(frozen=True, slots=True)
class Ink:
    """What every receipt of this process is written with."""

    execution: Signer
    registry: Registry
    version: str
    vault: Vault  # for what is kept beside them
    insecure: tuple[str, ...] = ()

    @property
    def trust(self) -> Trust:
        return Trust(self.registry.size, self.registry.head)


class Kept(NamedTuple):
    """What is kept beside a receipt, and whom it is about."""

    subject: bytes
    content: bytes | None  # with its salt; None: it was erased


class Moment(NamedTuple):
    """The time of a group, read once by the writer: `at` for people, `clock` for facts."""

    at: str
    clock: Clock


class Transaction:
    """The working copy of one group. Jobs read and append here."""

    def __init__(self, conn: sqlite3.Connection, state: State, ink: Ink, moment: Moment, kernel: Session | None) -> None:
        self.conn = conn
        self.ink = ink
        self.moment = moment
        self._kernel = kernel
        self.start = state
        self.index = state.frontier.size  # of the next receipt
        self.leaves: list[bytes] = []
        self.heads = dict(state.heads)
        self.policy = state.policy
        self.catalog = state.catalog
        self.holds = dict(state.holds)
        self.open = dict(state.open)
        self.offered = dict(state.offered)
        self.approvals = state.approvals
        self._trusted = ink.trust
        self._rows: list[tuple[int, bytes, int, str, bytes, bytes]] = []
        self._attachments: list[tuple[int, int, bytes, bytes]] = []
        self.erased: set[bytes] = set()  # subjects whose keys are destroyed when this group is durable
        self.salt = b""  # of the arguments or output that the next receipt names, for the caller
        self._trust: dict[str, Json] = {"head": self._trusted.head, "size": self._trusted.size}
        self._build: dict[str, Json] = {"version": ink.version}
        if ink.insecure:
            self._build["insecure"] = list(ink.insecure)

    def ended(self, frontier: Frontier) -> State:
        """The log after this group, whose tree is `frontier`."""
        standing = (self.heads, self.policy, self.catalog, self.holds, self.open, self.offered, self.approvals)
        return State(self.start.origin, frontier, *standing)

    @property
    def kernel(self) -> Session | None:
        """The kernel's own session, while it has one that has not ended."""
        return self._kernel if self._kernel is not None and self._kernel.id in self.heads else None

    def change_approvals(self) -> Approvals:
        """To be changed by the job that asks."""
        if self.approvals is self.start.approvals:
            self.approvals = self.start.approvals.copy()
        return self.approvals

    def append(
        self, session: Session, kind: Kind, content: dict[str, Json], parents: Sequence[Digest] = (), hint: str = ""
    ) -> Receipt:
        """Sign and append one receipt; durable only when the group is."""
        trust = self._trusted
        head = self.heads.get(session.id)
        seq, prev = (0, trust.head) if head is None else (head.seq + 1, head.leaf)
        body: dict[str, Json] = {
            "at": self.moment.at,
            "build": self._build,
            "kind": kind.value,
            "log": self.start.origin,
            "parents": list(parents),
            "prev": prev,
            "seq": seq,
            "session": session.id,
            "trust": self._trust,
            "v": 1,
            **content,
        }
        record = seal(body, (self.ink.execution,))
        raw = leaf_hash(record.line)
        leaf = hashes.text(raw)
        receipt = Receipt(
            kind,
            self.start.origin,
            session.id,
            seq,
            prev,
            tuple(parents),
            trust,
            body,
            record.line,
            leaf,
            self.index,
            hint,
            self.salt,
        )
        self.salt = b""
        self._rows.append((self.index, bytes.fromhex(session.id), seq, column(body), raw, record.line))
        self.leaves.append(raw)
        self.heads[session.id] = Head(seq, leaf)
        self.index += 1
        return receipt

    def subject(self, name: str) -> Subject:
        """Whom a call is about. Raises `OutsideError` where they are erased in this very group: the next one meets them anew."""
        found = self.ink.vault.named(name)
        if found.id in self.erased:
            detail = "what was kept about its subject is being erased"
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint="send the call again")
        return found

    def alive(self, id: bytes) -> Subject | None:
        """The subject with that id, unless its key is destroyed, or will be with this group."""
        return None if id in self.erased else self.ink.vault.of(id)

    def about(self, id: bytes) -> int:
        """How many attachments are kept about a subject. Looks at every row: only for what people ask."""
        (count,) = self.conn.execute("SELECT count(*) FROM attachments WHERE subject=?", (id,)).fetchone()
        return int(count) + sum(subject == id for _, _, subject, _ in self._attachments)

    def attach(self, slot: int, salt: bytes, content: bytes, about: bytes | Subject) -> Digest:
        """Keep `content` beside the receipt that is appended next; the name is what that receipt says.

        `about` is an id where the subject's key is gone: then it is written as it will be read, as nothing.
        """
        if isinstance(about, bytes):
            self._attachments.append((self.index, slot, about, b""))
        else:
            sealed = about.seal(salt + content, place(self.start.origin, self.index, slot))
            self._attachments.append((self.index, slot, about.id, sealed))
        if slot != KEY:
            self.salt = salt
        return hashes.attachment_name(salt, content)

    def forget(self) -> None:
        """Drop what was attached for a receipt that is not appended after all."""
        self._attachments = [kept for kept in self._attachments if kept[0] < self.index]
        self.salt = b""

    def attachment(self, index: int, slot: int) -> Kept | None:
        """What is kept there, also of this group; raises `OutsideError` where it is damaged."""
        mine = (row[2:] for row in self._attachments if row[:2] == (index, slot))
        sql = "SELECT subject, content FROM attachments WHERE idx=? AND slot=?"
        row = next(mine, None) or self.conn.execute(sql, (index, slot)).fetchone()
        if row is None:
            return None
        subject, sealed = (bytes(column) for column in row)
        content = None if subject in self.erased else opened(self.ink.vault, self.start.origin, index, slot, subject, sealed)
        return Kept(subject, content)

    def is_offer(self, index: int) -> bool:
        """Whether the call that went there, also in this group, is one that the client acts on."""
        mine = next((line for at, _, _, _, _, line in self._rows if at == index), None)
        row = (mine,) if mine is not None else self.conn.execute("SELECT line FROM receipts WHERE idx=?", (index,)).fetchone()
        return row is not None and Receipt.from_bytes(bytes(row[0])).is_offer

    def attached_bytes(self, index: int, slot: int) -> int:
        """How much is kept there, without reading it."""
        mine = next((len(row[3]) for row in self._attachments if row[:2] == (index, slot)), None)
        sql = "SELECT length(content) FROM attachments WHERE idx=? AND slot=?"
        row = (mine,) if mine is not None else self.conn.execute(sql, (index, slot)).fetchone()
        return 0 if row is None else int(row[0])

    def flush(self) -> int:
        """Hand the group's rows to SQLite and say how many bytes they are; the writer commits."""
        self.conn.executemany("INSERT INTO receipts VALUES (?,?,?,?,?,?)", self._rows)
        self.conn.executemany("INSERT INTO attachments VALUES (?,?,?,?)", self._attachments)
        before, after = self.start.open, self.open
        self.conn.executemany("DELETE FROM intents WHERE idx=?", [(index,) for index in before if index not in after])
        opened = [intent.to_row(index) for index, intent in after.items() if index not in before]
        self.conn.executemany("INSERT INTO intents VALUES (?,?,?,?,?,?,?)", opened)
        return sum(len(row[5]) for row in self._rows) + sum(len(row[3]) for row in self._attachments)
