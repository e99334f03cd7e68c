"""What the store's tables must say, folded from the receipts alone: `fsck` and the scrub compare, and trust no table more.

The fold keeps what is open, never the log: open intents and sessions, holds, sums of budgets. What a settled call left in a table
is looked up and compared when its receipts pass, and a count at the end shows rows that no receipt made.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from helm_ai_kernel.guardian.budget import Budget, Per
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.bundle import PolicyManifest
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.decision import ClaimState, Status, Verdict
from helm_ai_kernel.tcb.digest import SALT_BYTES, Digest
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.tcb.merkle import leaf_hash
from helm_ai_kernel.tcb.process import KERNEL
from helm_ai_kernel.tcb.receipt import Kind, goes
from helm_ai_kernel.tcb.statement import Statement

from .standing import MALFORMED, Body, Difference, Standing, erasures, said
from .transaction import ARGS, KEY, OUTPUT, Kept, column
from .vault import NoKeys, Vault, place

RECEIPTS = "SELECT idx, session, seq, kind, leaf, line FROM receipts WHERE idx >= ? ORDER BY idx"
FIRST = -(1 << 63)  # the smallest index that a row can have; no receipt has one below 0


@dataclass(frozen=True, slots=True)
class Intent:
    """An intent or an offer that waits for its outcome, as the tables must have it."""

    place: int  # in the log
    tool: str
    principal: str | None
    key: bytes | None  # the mark of its idempotency key
    key_hash: bytes
    erased: bool  # with its key, which nobody can mark again
    subject: bytes
    windows: dict[str, frozenset[str]]  # each budget that it reserved from, with the windows that could be meant


class Comparison:
    """`add` takes the rows of `RECEIPTS` in order, with the tables as they were then or later; `end` compares what is left."""

    def __init__(self, conn: sqlite3.Connection, vault: Vault) -> None:
        self._conn = conn
        self._vault = vault
        self._origin: str = conn.execute("SELECT origin FROM log").fetchone()[0]
        self._size = 0
        self._standing = Standing()
        self._sessions: dict[str, str] = {}  # open ones of the newest process, each with its principal
        self._open: dict[bytes, Intent] = {}
        self._offered: dict[bytes, Intent] = {}  # what clients act on, and did not report
        self._used: Counter[str] = Counter()  # calls of each budget, over all its windows
        self._windows: Counter[tuple[str, str]] = Counter()  # the same, by each window that a budget could have
        self._brought: dict[Digest, str] = {}  # documents, each with the name under which a statement first brought it
        self._rows: Counter[str] = Counter()  # of the tables in which each row belongs to one receipt
        self._about: Counter[bytes] = Counter()  # attachments of each subject
        self._lost: set[bytes] = set()  # subjects whose key was not here

    def add(self, index: int, session: object, seq: object, kind: object, leaf: object, line: Any) -> Iterator[Difference]:
        where = f"receipt {index}"
        try:
            if index != self._size or not isinstance(line, bytes):
                yield where, f"stands where {self._size} is expected, or has another form than it was written in"
            self._size = index + 1
            body = said(line)
            expected = (bytes.fromhex(body["session"]), body["seq"], column(body), leaf_hash(line))
            if (session, seq, kind, leaf) != expected:
                yield where, "its session, number, kind or leaf hash is not that of the line"
            rows = self._conn.execute("SELECT slot, subject, content FROM attachments WHERE idx=?", (index,)).fetchall()
            kept: dict[int, Kept] = {}
            for slot, subject, sealed in rows:
                try:
                    kept[slot] = Kept(subject, self._opened(index, slot, subject, sealed))
                except EvidenceError as e:
                    yield "attachments", f"beside receipt {index}: {e.detail}"
                    kept[slot] = Kept(subject, None)
            yield from self._kept(index, body, kept)
            yield from self._fold(index, line, body, kept)
        except MALFORMED as e:
            yield where, f"is of another form than it was written in: {e}"

    def end(self) -> Iterator[Difference]:
        """In the snapshot in which the last row was read."""
        yield from self._standing.differences(self._conn)
        yield from self._intents()
        for leaf, intent in (self._open | self._offered).items():
            yield from self._claim(leaf, intent, ClaimState.OPEN, None)
        yield from self._budgets()
        for table in ("attachments", "claims", "documents"):
            if self._conn.execute(f"SELECT count(*) FROM {table}").fetchone() != (self._rows[table],):
                yield table, "there are rows that no receipt made"
        # Behind the last end of a session a process may be killed before it can mark that; then nobody is worse off for it.
        marks = (0,) if self._sessions else (0, 1) if self._size else (1,)
        if self._conn.execute("SELECT clean FROM log").fetchall() not in [[(mark,)] for mark in marks]:
            yield "log", "whether the last process ended cleanly is not what its sessions say"

    def lost(self) -> Iterator[Difference]:
        """Behind `end`, in a snapshot that began after it: a key that was destroyed meanwhile, the log says so by now."""
        for subject in sorted(self._lost - self._standing.erased and self._lost - erasures(self._conn)):
            yield "attachments", f"the key of subject `{subject.hex()}` is not here, and nobody erased it"

    def _opened(self, index: int, slot: int, subject: object, sealed: object) -> bytes | None:
        """Salt and content; None where the key is not here. Raises `EvidenceError` where one that is here does not open it."""
        if not isinstance(subject, bytes) or not isinstance(sealed, bytes):
            raise EvidenceError(Finding.REDACTION_MISMATCH, "a column has another type than was written")
        self._about[subject] += 1
        if subject in self._standing.erased:  # it came after the erasure, as only the rest of a call can
            if sealed:
                raise EvidenceError(Finding.REDACTION_MISMATCH, "something is kept under a key that was destroyed before")
            return None
        key = self._vault.of(subject)
        if key is None:
            self._lost.add(subject)
            return None
        return key.open(sealed, place(self._origin, index, slot))

    def _fold(self, index: int, line: bytes, body: Body, kept: dict[int, Kept]) -> Iterator[Difference]:
        match body["kind"]:
            case Kind.SESSION if body["event"] == "start":
                if body["principal"] == KERNEL:  # a process begins, and with it whatever was open before has ended
                    self._sessions.clear()
                    self._offered = {leaf: one for leaf, one in self._offered.items() if one.key_hash}  # its claim stays
                self._sessions[body["session"]] = body["principal"]
            case Kind.SESSION:
                self._sessions.pop(body["session"], None)
            case Kind.DECISION if goes(body):
                intent = self._intent(index, body, kept)
                (self._open if "deadline_ms" in body else self._offered)[leaf_hash(line)] = intent  # exactly an intent has one
                self._count(intent, 1)
                self._rows["claims"] += "key" in body
            case Kind.OUTCOME if body["status"] != Status.LATE:
                yield from self._outcome(index, body)
            case Kind.HOLD | Kind.STATEMENT:
                statement = self._standing.add(index, line, body)
                if statement is not None:
                    yield from self._documents(statement)
                    yield from self._erased(statement)

    def _kept(self, index: int, body: Body, kept: dict[int, Kept]) -> Iterator[Difference]:
        """What is named for the first time is kept beside the receipt that names it.

        Of what was denied perhaps nothing is: a large request is not kept then, and its receipt does not say how large it was.
        """
        named: dict[int, str] = {}
        arguments = body.get("args_hash", body.get("raw_hash"))
        read = "approval" in body.get("facts", ()) and "requires" not in body and not goes(body)
        taken_over = "repeats" in body or read  # a call that goes has its own copy of what was held
        if arguments is not None and not taken_over and (ARGS in kept or body["verdict"] != Verdict.DENY):
            named[ARGS] = arguments
        if "key" in body and "claim" not in body["facts"]:
            named[KEY] = body["key"]
        if "output_hash" in body:
            named[OUTPUT] = body["output_hash"]
        self._rows["attachments"] += len(kept)
        held = {slot: named.get(slot) if content is None else _digest(content) for slot, (_, content) in kept.items()}
        if named != held or not self._mine(body, {subject for subject, _ in kept.values()}):
            yield "attachments", f"what is kept beside receipt {index} is not what it names"

    def _mine(self, body: Body, subjects: set[bytes]) -> bool:
        """Whether this is about whom the receipt says, or of an outcome its decision."""
        if "subject" in body:
            return subjects <= {bytes.fromhex(body["subject"])}
        intent = self._waits(hashes.raw(body["decision"])) if body["kind"] == Kind.OUTCOME else None
        return len(subjects) <= 1 if intent is None else subjects <= {intent.subject}

    def _waits(self, leaf: bytes) -> Intent | None:
        return self._open.get(leaf) or self._offered.get(leaf)

    def _erased(self, statement: Statement) -> Iterator[Difference]:
        """The person who signed was shown how much is kept: what was moved under a destroyed key, or away from it, shows here."""
        if statement.subject is not None and self._about[bytes.fromhex(statement.subject)] != statement.count:
            yield "attachments", f"about subject `{statement.subject}` is not kept what its erasure counted"

    def _intent(self, index: int, body: Body, kept: dict[int, Kept]) -> Intent:
        subject, _ = kept.get(ARGS, Kept(b"", None))
        content = kept[KEY].content if "key" in body and KEY in kept else None
        key = None if content is None else self._vault.mark(content[SALT_BYTES:].decode())
        erased = KEY in kept and content is None
        wall_ms = body["facts"]["clock"]["wall_ms"]
        reserved, session = body.get("reserved", ()), body["session"]
        windows = {name: frozenset(Budget(name, 1, per).window(session, wall_ms) for per in Per) for name in reserved}
        key_hash = hashes.raw(body["key"]) if "key" in body else b""
        return Intent(index, body["tool"], self._sessions.get(body["session"]), key, key_hash, erased, subject, windows)

    def _outcome(self, index: int, body: Body) -> Iterator[Difference]:
        leaf = hashes.raw(body["decision"])
        intent = self._open.pop(leaf, None) or self._offered.pop(leaf, None)
        if intent is None:  # an orphan: the verifier's to find
            return
        if body["status"] == Status.FAILED:  # proven not applied: the reservation went back
            self._count(intent, -1)
        state = ClaimState.UNKNOWN if body["status"] == Status.UNKNOWN else ClaimState.DONE
        yield from self._claim(leaf, intent, state, index)

    def _claim(self, leaf: bytes, intent: Intent, state: ClaimState, outcome: int | None) -> Iterator[Difference]:
        sql = "SELECT key, principal, tool, idx, key_hash, state, outcome FROM claims WHERE leaf=?"
        rows = [row[1:] if intent.erased else row for row in self._conn.execute(sql, (leaf,))]
        claim = (intent.principal, intent.tool, intent.place, intent.key_hash, state.value, outcome)
        if rows != ([claim if intent.erased else (intent.key, *claim)] if intent.key_hash else []):
            yield "claims", f"the claim of receipt {intent.place} is not what it and its outcome say"

    def _count(self, intent: Intent, calls: int) -> None:
        """Under every window that a budget may have: how it is counted is configuration, and not in the receipts.

        Of the windows of sessions, which are many, only those that have a row: it was made with the first reservation.
        """
        sql = "SELECT 1 FROM budgets WHERE name=? AND window=?"
        for name, windows in intent.windows.items():
            self._used[name] += calls
            for window in windows:
                if not window.startswith("session ") or self._conn.execute(sql, (name, window)).fetchone():
                    self._windows[name, window] += calls

    def _budgets(self) -> Iterator[Difference]:
        used: Counter[str] = Counter()
        for name, window, count in self._conn.execute("SELECT name, window, used FROM budgets"):
            if (name, window) not in self._windows or type(count) is not int or not 0 <= count <= self._windows[name, window]:
                yield "budgets", f"`{name}` is not used so often in `{window}`"
            else:
                used[name] += count
        if used != self._used:  # compares a name that is missing like one with 0
            yield "budgets", "the budgets' use is not what the receipts reserved"

    def _intents(self) -> Iterator[Difference]:
        expected = {intent.place: (leaf, intent) for leaf, intent in self._open.items()}
        for index, *row, reserved in self._conn.execute("SELECT idx, leaf, tool, principal, subject, key, reserved FROM intents"):
            leaf, intent = expected.pop(index, (b"", None))
            if (
                intent is None
                or row != [leaf, intent.tool, intent.principal, intent.subject, intent.key]
                or not _reserves(intent, reserved)
            ):
                yield "intents", f"the open intent {index} is not what its receipt says"
        for index in expected:
            yield "intents", f"receipt {index} is an open intent, and is not among them"

    def _documents(self, statement: Statement) -> Iterator[Difference]:
        """A statement that changes what is in force brought its policy, the policy's files and its catalogue."""
        if statement.policy is None or statement.catalog is None:
            return
        policy, catalog = statement.policy.after, statement.catalog.after
        content = self._document(policy, "policy")
        files = {} if content is None else PolicyManifest.from_bytes(content).files
        wanted = dict.fromkeys(files.values(), "file") | {policy: "policy", catalog: "catalog"}
        for digest, name in wanted.items():  # one that an earlier statement brought keeps the name that it had there
            if self._document(digest, self._brought.setdefault(digest, name)) is None:
                yield "documents", f"the {name} `{digest}` is missing, or is not what was signed for"
        self._rows["documents"] = len(self._brought)

    def _document(self, digest: Digest, name: str) -> bytes | None:
        sql = "SELECT content FROM documents WHERE digest=? AND name=?"
        row = self._conn.execute(sql, (hashes.raw(digest), self._brought.get(digest, name))).fetchone()
        return None if row is None or _digest(row[0]) != digest else bytes(row[0])


def differences(conn: sqlite3.Connection, vault: Vault | None) -> Iterator[Difference]:
    """Everything, in the transaction that `conn` is in: where the tables are not what the receipts say, and how.

    `vault` None: what is kept beside receipts is not opened, and counted only.
    """
    comparison = Comparison(conn, vault or NoKeys())
    for row in conn.execute(RECEIPTS, (FIRST,)):
        yield from comparison.add(*row)
    yield from comparison.end()
    if vault is not None:
        yield from comparison.lost()


def _digest(content: object) -> Digest | None:
    return hashes.digest(content) if isinstance(content, bytes) else None


def _reserves(intent: Intent, reserved: Any) -> bool:
    """Whether the column names the budgets of the receipt, each with a window that its session and time can have."""
    try:
        windows: Any = parse(reserved.encode()) if reserved != "" else {}
        return windows.keys() == intent.windows.keys() and all(windows[name] in intent.windows[name] for name in windows)
    except MALFORMED:
        return False
