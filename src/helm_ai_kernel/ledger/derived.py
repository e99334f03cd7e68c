"""What the store's tables must say, folded from the receipts alone: `fsck` and the scrub compare, and trust no table more.

The fold keeps what is open, never the log: open intents and sessions, holds, sums of budgets. What a settled call left in a table
is looked up and compared when its receipts pass, and a count at the end shows rows that no receipt made.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from helm_ai_kernel.guardian.budget import Budget, Per
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.bundle import PolicyManifest
from helm_ai_kernel.tcb.decision import ClaimState, Status, Verdict
from helm_ai_kernel.tcb.digest import SALT_BYTES, Digest
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.tcb.merkle import leaf_hash
from helm_ai_kernel.tcb.process import KERNEL
from helm_ai_kernel.tcb.receipt import Kind
from helm_ai_kernel.tcb.statement import Statement

from .standing import MALFORMED, Body, Difference, Standing, said
from .transaction import ARGS, KEY, OUTPUT

RECEIPTS = "SELECT idx, session, seq, kind, leaf, line FROM receipts WHERE idx >= ? ORDER BY idx"
FIRST = -(1 << 63)  # the smallest index that a row can have; no receipt has one below 0


@dataclass(frozen=True, slots=True)
class Intent:
    """An intent that waits for its outcome, as the tables must have it."""

    place: int  # in the log
    tool: str
    principal: str | None
    key: str | None = field(repr=False)
    key_hash: bytes
    windows: dict[str, frozenset[str]]  # each budget that it reserved from, with the windows that could be meant


class Comparison:
    """`add` takes the rows of `RECEIPTS` in order, with the tables as they were then or later; `end` compares what is left."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._size = 0
        self._standing = Standing()
        self._sessions: dict[str, str] = {}  # open ones of the newest process, each with its principal
        self._open: dict[bytes, Intent] = {}
        self._used: Counter[str] = Counter()  # calls of each budget, over all its windows
        self._windows: Counter[tuple[str, str]] = Counter()  # the same, by each window that a budget could have
        self._brought: dict[Digest, str] = {}  # documents, each with the name under which a statement first brought it
        self._rows: Counter[str] = Counter()  # of the tables in which each row belongs to one receipt

    def add(self, index: int, session: object, seq: object, kind: object, leaf: object, line: Any) -> Iterator[Difference]:
        where = f"receipt {index}"
        try:
            if index != self._size or not isinstance(line, bytes):
                yield where, f"stands where {self._size} is expected, or has another form than it was written in"
            self._size = index + 1
            body = said(line)
            expected = (bytes.fromhex(body["session"]), body["seq"], body["kind"], leaf_hash(line))
            if (session, seq, kind, leaf) != expected:
                yield where, "its session, number, kind or leaf hash is not that of the line"
            kept = dict(self._conn.execute("SELECT slot, content FROM attachments WHERE idx=?", (index,)).fetchall())
            yield from self._kept(index, body, kept)
            yield from self._fold(index, line, body, kept)
        except MALFORMED as e:
            yield where, f"is of another form than it was written in: {e}"

    def end(self) -> Iterator[Difference]:
        """In the snapshot in which the last row was read."""
        yield from self._standing.differences(self._conn)
        yield from self._intents()
        for leaf, intent in self._open.items():
            yield from self._claim(leaf, intent, ClaimState.OPEN, None)
        yield from self._budgets()
        for table in ("attachments", "claims", "documents"):
            if self._conn.execute(f"SELECT count(*) FROM {table}").fetchone() != (self._rows[table],):
                yield table, "there are rows that no receipt made"
        # Behind the last end of a session a process may be killed before it can mark that; then nobody is worse off for it.
        marks = (0,) if self._sessions else (0, 1) if self._size else (1,)
        if self._conn.execute("SELECT clean FROM log").fetchall() not in [[(mark,)] for mark in marks]:
            yield "log", "whether the last process ended cleanly is not what its sessions say"

    def _fold(self, index: int, line: bytes, body: Body, kept: dict[int, bytes]) -> Iterator[Difference]:
        match body["kind"]:
            case Kind.SESSION if body["event"] == "start":
                if body["principal"] == KERNEL:  # a process begins, and with it whatever was open before has ended
                    self._sessions.clear()
                self._sessions[body["session"]] = body["principal"]
            case Kind.SESSION:
                self._sessions.pop(body["session"], None)
            case Kind.DECISION if "deadline_ms" in body:  # exactly an intent has one
                self._open[leaf_hash(line)] = intent = self._intent(index, body, kept)
                self._count(intent, 1)
                self._rows["claims"] += "key" in body
            case Kind.OUTCOME if body["status"] != Status.LATE:
                yield from self._outcome(index, body)
            case Kind.HOLD | Kind.STATEMENT:
                statement = self._standing.add(index, line, body)
                if statement is not None:
                    yield from self._documents(statement)

    def _kept(self, index: int, body: Body, kept: dict[int, bytes]) -> Iterator[Difference]:
        """What is named for the first time is kept beside the receipt that names it.

        Of what was denied perhaps nothing is: a large request is not kept then, and its receipt does not say how large it was.
        """
        named: dict[int, str] = {}
        arguments = body.get("args_hash", body.get("raw_hash"))
        if arguments is not None and "repeats" not in body and (ARGS in kept or body["verdict"] != Verdict.DENY):
            named[ARGS] = arguments
        if "key" in body and "claim" not in body["facts"]:
            named[KEY] = body["key"]
        if "output_hash" in body:
            named[OUTPUT] = body["output_hash"]
        self._rows["attachments"] += len(kept)
        if named != {slot: _digest(content) for slot, content in kept.items()}:
            yield "attachments", f"what is kept beside receipt {index} is not what it names"

    def _intent(self, index: int, body: Body, kept: dict[int, bytes]) -> Intent:
        named = "key" in body
        key = kept[KEY][SALT_BYTES:].decode() if named and KEY in kept else None
        wall_ms = body["facts"]["clock"]["wall_ms"]
        reserved, session = body.get("reserved", ()), body["session"]
        windows = {name: frozenset(Budget(name, 1, per).window(session, wall_ms) for per in Per) for name in reserved}
        key_hash = hashes.raw(body["key"]) if named else b""
        return Intent(index, body["tool"], self._sessions.get(body["session"]), key, key_hash, windows)

    def _outcome(self, index: int, body: Body) -> Iterator[Difference]:
        leaf = hashes.raw(body["decision"])
        intent = self._open.pop(leaf, None)
        if intent is None:  # an orphan: the verifier's to find
            return
        if body["status"] == Status.FAILED:  # proven not applied: the reservation went back
            self._count(intent, -1)
        state = ClaimState.UNKNOWN if body["status"] == Status.UNKNOWN else ClaimState.DONE
        yield from self._claim(leaf, intent, state, index)

    def _claim(self, leaf: bytes, intent: Intent, state: ClaimState, outcome: int | None) -> Iterator[Difference]:
        rows = self._conn.execute("SELECT principal, tool, key, idx, key_hash, state, outcome FROM claims WHERE leaf=?", (leaf,))
        key = (intent.principal, intent.tool, intent.key, intent.place, intent.key_hash)
        if rows.fetchall() != ([(*key, state.value, outcome)] if intent.key_hash else []):
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
        for index, *row, reserved in self._conn.execute("SELECT idx, leaf, tool, principal, key, reserved FROM intents"):
            leaf, intent = expected.pop(index, (b"", None))
            if intent is None or row != [leaf, intent.tool, intent.principal, intent.key] or not _reserves(intent, reserved):
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


def differences(conn: sqlite3.Connection) -> Iterator[Difference]:
    """Everything, in the transaction that `conn` is in: where the tables are not what the receipts say, and how."""
    comparison = Comparison(conn)
    for row in conn.execute(RECEIPTS, (FIRST,)):
        yield from comparison.add(*row)
    yield from comparison.end()


def _digest(content: object) -> Digest | None:
    return hashes.digest(content) if isinstance(content, bytes) else None


def _reserves(intent: Intent, reserved: Any) -> bool:
    """Whether the column names the budgets of the receipt, each with a window that its session and time can have."""
    try:
        windows: Any = parse(reserved.encode()) if reserved != "" else {}
        return windows.keys() == intent.windows.keys() and all(windows[name] in intent.windows[name] for name in windows)
    except MALFORMED:
        return False
