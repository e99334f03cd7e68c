"""What the store's tables must say, folded from the receipts alone: `fsck` compares, and nothing trusts a table more."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from helm_ai_kernel.guardian.budget import Budget, Per
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.decision import ClaimState, Facts, Status
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.envelope import Record
from helm_ai_kernel.tcb.receipt import Kind, Receipt
from helm_ai_kernel.tcb.statement import Statement

from .transaction import ARGS, KEY, OUTPUT, SALT_BYTES

_NAMED = {ARGS: ("args_hash", "raw_hash"), KEY: ("key",), OUTPUT: ("output_hash",)}


@dataclass(slots=True)
class Derived:
    """The fold. `add` takes receipts in log order."""

    intents: dict[Digest, int] = field(default_factory=dict)  # without an outcome
    claims: dict[Digest, ClaimState] = field(default_factory=dict)  # intents that hold an idempotency key
    holds: dict[str, Digest] = field(default_factory=dict)
    used: Counter[str] = field(default_factory=Counter)  # calls of each budget, over all its windows
    windows: Counter[tuple[str, str]] = field(default_factory=Counter)  # the same, by each window that a budget could have
    principals: dict[str, str] = field(default_factory=dict)  # of sessions
    nonces: set[str] = field(default_factory=set)
    _decisions: dict[Digest, Receipt] = field(default_factory=dict)

    def add(self, receipt: Receipt) -> None:
        match receipt.kind:
            case Kind.DECISION if receipt.is_intent:
                self.intents[receipt.leaf] = receipt.index
                self._decisions[receipt.leaf] = receipt
                self._count(receipt, 1)
                if "key" in receipt.body:
                    self.claims[receipt.leaf] = ClaimState.OPEN
            case Kind.OUTCOME if receipt.status is not Status.LATE:
                self._outcome(receipt, Digest(str(receipt.body["decision"])))
            case Kind.SESSION if receipt.body["event"] == "start":
                self.principals[receipt.session] = str(receipt.body["principal"])
            case Kind.HOLD:
                self.holds[str(receipt.body["tool"])] = receipt.leaf
            case Kind.STATEMENT:
                statement = Statement.from_record(Record.from_json(receipt.body["statement"]))
                self.nonces.add(statement.nonce)
                if statement.tool is not None:
                    self.holds.pop(statement.tool, None)

    def _outcome(self, receipt: Receipt, decision: Digest) -> None:
        self.intents.pop(decision, None)
        if decision in self.claims:
            self.claims[decision] = ClaimState.UNKNOWN if receipt.status is Status.UNKNOWN else ClaimState.DONE
        if receipt.status is Status.FAILED:  # proven not applied: the reservation went back
            self._count(self._decisions[decision], -1)

    def _count(self, receipt: Receipt, calls: int) -> None:
        """Under every window that a budget may have: how it is counted is configuration, and not in the receipts."""
        reserved = receipt.body.get("reserved")
        facts = Facts.from_json(receipt.body["facts"], principal="", door="", policy=None)
        for name in reserved if isinstance(reserved, dict) else ():
            self.used[name] += calls
            for per in Per:
                self.windows[name, Budget(name, 1, per).window(receipt.session, facts.clock.wall_ms)] += calls


def _claims(conn: sqlite3.Connection, derived: Derived, by_index: dict[int, Receipt]) -> Iterator[tuple[str, str]]:
    """Each claim is on the tool, the principal and the key of its receipt; the key's attachment opens what that names."""
    sql = "SELECT c.idx, c.principal, c.tool, c.key, a.content FROM claims c LEFT JOIN attachments a ON a.idx=c.idx AND a.slot=?"
    for index, principal, tool, key, kept in conn.execute(sql, (KEY,)):
        receipt = by_index.get(index)
        named = None if receipt is None else receipt.body.get("key")
        salted = b"" if kept is None else bytes(kept)
        whose = None if receipt is None else (derived.principals.get(receipt.session), receipt.body.get("tool"))
        if whose != (principal, tool) or hashes.digest(salted) != named or salted[SALT_BYTES:] != key.encode():
            yield "claims", f"the claim at {index} is not on the principal, tool and key of its receipt"


def differences(conn: sqlite3.Connection, receipts: Iterable[Receipt]) -> Iterator[tuple[str, str]]:
    """Where the tables are not what the receipts say: the table, and how."""
    derived, by_index = Derived(), {}
    for receipt in receipts:
        derived.add(receipt)
        by_index[receipt.index] = receipt
    tables = (
        ("intents", "SELECT leaf, idx FROM intents", {hashes.raw(leaf): index for leaf, index in derived.intents.items()}),
        ("claims", "SELECT leaf, state FROM claims", {hashes.raw(leaf): state.value for leaf, state in derived.claims.items()}),
        ("holds", "SELECT tool, leaf FROM holds", {tool: hashes.raw(leaf) for tool, leaf in derived.holds.items()}),
        ("budgets", "SELECT name, sum(used) FROM budgets GROUP BY name", dict(derived.used)),
        ("statements", "SELECT nonce, 1 FROM statements", dict.fromkeys(derived.nonces, 1)),
    )
    for name, sql, expected in tables:
        if dict(conn.execute(sql).fetchall()) != expected:
            yield name, "the table is not what the receipts say"
    for name, window, used in conn.execute("SELECT name, window, used FROM budgets"):
        if used > derived.windows[name, window]:
            yield "budgets", f"`{name}` has more use than the receipts show"
    yield from _claims(conn, derived, by_index)
    for index, slot, content in conn.execute("SELECT idx, slot, content FROM attachments"):
        body = {} if index not in by_index else by_index[index].body
        if hashes.digest(bytes(content)) not in [body.get(name) for name in _NAMED.get(slot, ())]:
            yield "attachments", f"what is kept beside receipt {index} is not what it names"
