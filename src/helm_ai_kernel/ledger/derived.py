"""What the store's tables must say, folded from the receipts alone: `fsck` compares, and nothing trusts a table more."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.decision import ClaimState, Status
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.envelope import Record
from helm_ai_kernel.tcb.receipt import Kind, Receipt
from helm_ai_kernel.tcb.statement import Statement

from .transaction import ARGS, KEY, OUTPUT

_NAMED = {ARGS: ("args_hash", "raw_hash"), KEY: ("key",), OUTPUT: ("output_hash",)}


@dataclass(slots=True)
class Derived:
    """The fold. `add` takes receipts in log order."""

    intents: dict[Digest, int] = field(default_factory=dict)  # without an outcome
    claims: dict[Digest, ClaimState] = field(default_factory=dict)  # intents that hold an idempotency key
    holds: dict[str, Digest] = field(default_factory=dict)
    used: Counter[str] = field(default_factory=Counter)  # calls of each budget, over all its windows
    nonces: set[str] = field(default_factory=set)
    _reserved: dict[Digest, tuple[str, ...]] = field(default_factory=dict)

    def add(self, receipt: Receipt) -> None:
        match receipt.kind:
            case Kind.DECISION if receipt.is_intent:
                self.intents[receipt.leaf] = receipt.index
                reserved = receipt.body.get("reserved")
                self._reserved[receipt.leaf] = tuple(reserved) if isinstance(reserved, dict) else ()
                self.used.update(self._reserved[receipt.leaf])
                if "key" in receipt.body:
                    self.claims[receipt.leaf] = ClaimState.OPEN
            case Kind.OUTCOME if receipt.status is not Status.LATE:
                self._outcome(receipt, Digest(str(receipt.body["decision"])))
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
            self.used.subtract(self._reserved.get(decision, ()))


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
    for index, slot, content in conn.execute("SELECT idx, slot, content FROM attachments"):
        body = {} if index not in by_index else by_index[index].body
        if hashes.digest(bytes(content)) not in [body.get(name) for name in _NAMED.get(slot, ())]:
            yield "attachments", f"what is kept beside receipt {index} is not what it names"
