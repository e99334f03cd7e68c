"""What holds until somebody changes it: held tools, used statements, what is in force, whom nothing is kept about any more.

Compared before the first call.

A start takes these from the tables; what the tables must say is folded from the few receipts that change it, however long the
log is.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.approvals import Approvals
from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.envelope import LINE_BYTES_MAX, Record
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError, Refused
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.tcb.keys import PublicKey, Purpose
from helm_ai_kernel.tcb.merkle import leaf_hash
from helm_ai_kernel.tcb.receipt import Kind, Receipt
from helm_ai_kernel.tcb.registry import SEEN, Registry
from helm_ai_kernel.tcb.statement import Statement, authorise

# The few receipts by which people decide what is in force and a tool is stopped; the words are those of the index on them.
STANDING = "SELECT idx, line FROM receipts WHERE kind IN ('hold', 'statement', 'asked', 'lapse') ORDER BY idx"


Body = dict[str, Any]
Difference = tuple[str, str]  # the table or the receipt, and how
MALFORMED = (EvidenceError, Refused, LookupError, TypeError, ValueError, AttributeError)  # of a line that we did not write


@dataclass(slots=True)
class Standing:
    """What holds until somebody changes it: holds, used nonces, erased subjects, what waits for people, what is in force."""

    holds: dict[str, bytes] = field(default_factory=dict)
    nonces: dict[str, int] = field(default_factory=dict)
    policy: Digest | None = None
    catalog: Digest | None = None
    erased: set[bytes] = field(default_factory=set)
    approvals: Approvals = field(default_factory=Approvals)

    def add(self, index: int, line: bytes, body: Body) -> Statement | None:
        """A hold or a statement; what else stands here is `approvals`' own."""
        if body["kind"] == Kind.HOLD:
            self.holds[body["scope" if "scope" in body else "tool"]] = leaf_hash(line)
        if body["kind"] != Kind.STATEMENT:
            return None
        statement = Statement.from_record(Record.from_json(body["statement"]))
        self.nonces[statement.nonce] = index
        if statement.hold is not None:
            self.holds.pop(statement.tool or statement.scope or "", None)
        if statement.subject is not None:
            self.erased.add(bytes.fromhex(statement.subject))
        if statement.policy is not None:
            self.policy = statement.policy.after
        if statement.catalog is not None:
            self.catalog = statement.catalog.after
        return statement

    def heard(self, receipt: Receipt, statement: Statement, registry: Registry) -> None:
        """What a person said of a held call, or granted; raises `EvidenceError` where that could not be said then."""
        signers = authorise(statement, registry, receipt.trust.size, SEEN)  # a theft that was found later undoes nothing here
        clock = Clock.from_json(receipt.body["clock"]) if "clock" in receipt.body else Clock(0, "", 0)
        in_force = registry.in_force_at(receipt.trust.size)
        refusal = self.approvals.refusal(statement, signers, receipt.leaf, clock, in_force)
        if refusal is not None:
            raise EvidenceError(Finding.APPROVAL_INVALID, refusal[1])
        self.approvals.take(statement, signers, receipt.leaf, clock)

    def differences(self, conn: sqlite3.Connection) -> Iterator[Difference]:
        if dict(conn.execute("SELECT tool, leaf FROM holds").fetchall()) != self.holds:
            yield "holds", "the tools that are held are not the ones that the receipts hold"
        if dict(conn.execute("SELECT nonce, idx FROM statements").fetchall()) != self.nonces:
            yield "statements", "the statements that count as used are not the ones of the receipts"
        expected = tuple(None if named is None else hashes.raw(named) for named in (self.policy, self.catalog))
        if conn.execute("SELECT policy, catalog FROM log").fetchall() != [expected]:
            yield "log", "the policy or catalogue that is marked as in force is not the one that a person's statement put there"


def erasures(conn: sqlite3.Connection) -> set[bytes]:
    """The subjects that the log says are erased; raises `MALFORMED`."""
    standing = Standing()
    for index, line in conn.execute(STANDING):
        standing.add(index, line, said(line))
    return standing.erased


def check_standing(conn: sqlite3.Connection, registry: Registry) -> Standing:
    """Before the first call.

    Raises `OutsideError(ERR_STORE_CORRUPT)` where the tables say otherwise than the receipts: a hold that vanished would let its
    tool be called. A receipt that was hidden from `STANDING` is found by the scrub, which hashes every line.
    """
    standing = signed_for(conn, registry)
    for table, how in standing.differences(conn):
        raise _corrupt(f"{table}: {how}")
    return standing


def signed_for(conn: sqlite3.Connection, registry: Registry) -> Standing:
    """Reads the receipts of `STANDING` only, however long the log is, and verifies who signed them; raises `OutsideError`."""
    standing = Standing()
    principals: dict[str, str] = {}
    try:
        for index, line in conn.execute(STANDING):
            receipt = verified(line, registry)
            in_force = registry.in_force_at(receipt.trust.size)
            if receipt.kind is Kind.DECISION:
                if receipt.session not in principals:
                    principals[receipt.session] = principal_of(conn, receipt.session, registry)
                standing.approvals.decided(replace(receipt, index=index), principals[receipt.session], in_force)
                continue
            if receipt.kind is Kind.LAPSE:
                standing.approvals.lapse(receipt, in_force)
                continue
            statement = standing.add(index, line, dict(receipt.body))
            if statement is not None:
                standing.heard(receipt, statement, registry)
    except MALFORMED as e:
        raise _corrupt(f"receipt {index} is of another form than it was written in: {e}") from None
    return standing


def principal_of(conn: sqlite3.Connection, session: str, registry: Registry) -> str:
    """Whose session it is, from its start."""
    row = conn.execute("SELECT line FROM receipts WHERE session=? AND seq=0", (bytes.fromhex(session),)).fetchone()
    start = verified(row[0], registry)
    if start.session != session:
        raise EvidenceError(Finding.CHAIN_ORDER, "the start of a session is another one's")
    return str(start.body["principal"])


def verified(line: bytes, registry: Registry) -> Receipt:
    """A stored receipt that is about to be acted on: whatever the store says beside it, this process or one before it signed it.

    Raises `EvidenceError`.
    """
    record = Record.from_bytes(line)
    receipt = Receipt.from_record(record)

    def executor(id: str) -> PublicKey:
        entry = registry.key(id, at_size=receipt.trust.size, cosigned=SEEN)
        if entry.key.purpose is not Purpose.EXECUTION or entry.log != receipt.log:
            raise EvidenceError(Finding.KEY_ROLE, f"`{id}` signs no receipts of `{receipt.log}`")
        return entry.key

    if not record.sigs:
        raise EvidenceError(Finding.SIG_INVALID, "nobody signed it")
    record.verify(executor)
    return receipt


def said(line: bytes) -> Body:
    """The body of a stored line, which was checked when it was written; what it says is believed once its hash is."""
    value: Any = parse(line, bytes_max=LINE_BYTES_MAX)
    body: Body = value["body"]
    return body


def _corrupt(detail: str) -> OutsideError:
    return OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint="helm-ai-kernel fsck")
