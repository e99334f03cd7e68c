"""What may be said after what has been said: the flows of `docs/spec/verification.md` (V10, V11) as one fold over a log.

Who signed is not the question here, only whether the log's story holds: every intent has one outcome, nothing is called while
it is held, statements change what was in force, and every decision names the policy that was.
"""

from collections.abc import Mapping
from typing import NamedTuple

from .codes import Finding
from .decision import ClaimState, Status
from .digest import Digest
from .envelope import Record
from .errors import EvidenceError
from .ijson import Json
from .receipt import Kind, Receipt
from .statement import Change, Statement, StatementKind

KERNEL = "kernel"  # the principal of sessions for what is not a call's


def statement_of(receipt: Receipt) -> Statement | None:
    """The person's statement inside a receipt of that kind; raises `EvidenceError` for what is no statement."""
    return Statement.from_record(Record.from_json(receipt.body["statement"])) if receipt.kind is Kind.STATEMENT else None


class Intent(NamedTuple):
    """An ALLOW that was dispatched, by what later receipts may say about it."""

    place: int  # in the log
    session: str
    principal: str | None
    tool: Json
    args: Json
    key: Json
    reserved: Mapping[str, Json]


class Flows:
    """The state of a log's story. `append` takes the receipts in log order; after a fault it goes on as if it were none."""

    def __init__(self, catalog_of: Mapping[Digest, Digest]) -> None:
        self.policy: Digest | None = None
        self.catalog: Digest | None = None
        self.open: dict[Digest, int] = {}  # intents without an outcome -> their place in the log
        self.unknown: dict[Digest, int] = {}  # intents whose outcome is UNKNOWN, and no LATE one came
        self._catalog_of = catalog_of  # policy -> the catalogue that its manifest names
        self._intents: dict[Digest, Intent] = {}
        self._statuses: dict[Digest, Status] = {}
        self._principals: dict[str, str] = {}
        self._holds: dict[str, set[Digest]] = {}  # tool -> holds that were not released
        self._drifted: set[str] = set()  # tools that broke their contract and are not held yet
        self._nonces: set[str] = set()

    def append(self, receipt: Receipt) -> None:
        """Raises `EvidenceError`: FLOW_INVALID, ORPHAN_OUTCOME, DOUBLE_OUTCOME, APPROVAL_INVALID, APPROVAL_REUSED."""
        statement = statement_of(receipt)
        if statement is not None:
            self._statement(statement)
        match receipt.kind:
            case Kind.SESSION:
                self._session(receipt)
            case Kind.DECISION:
                self._decision(receipt)
            case Kind.OUTCOME:
                self._outcome(receipt)
            case Kind.HOLD:
                tool = str(receipt.body["tool"])
                self._holds.setdefault(tool, set()).add(receipt.leaf)
                self._drifted.discard(tool)
            case Kind.RECOVERY:
                if receipt.body["open"] != len(self.open):
                    raise _flow(f"counts {receipt.body['open']} open intents where there are {len(self.open)}")

    def _session(self, receipt: Receipt) -> None:
        if receipt.body["event"] == "end":
            return
        self._principals.setdefault(receipt.session, str(receipt.body["principal"]))
        self._in_force(receipt.body["policy"])
        if receipt.body["catalog"] != self.catalog:
            raise _flow("names another catalogue than the one in force")

    def _decision(self, receipt: Receipt) -> None:
        body = receipt.body
        if receipt.is_intent:
            reserved = body.get("reserved", {})
            self._intents[receipt.leaf] = Intent(
                receipt.index,
                receipt.session,
                self._principals.get(receipt.session),
                body["tool"],
                body["args_hash"],
                body.get("key"),
                reserved if isinstance(reserved, dict) else {},
            )
            self.open[receipt.leaf] = receipt.index
        self._in_force(body["policy"])
        facts = body["facts"]
        tool = str(body.get("tool", ""))
        if isinstance(facts, dict):
            if "hold" in facts and facts["hold"] not in self._holds.get(tool, ()):
                raise _flow("reads a hold that is not in force on its tool")
            self._claim(facts.get("claim"), tool)
        if receipt.is_intent and (self._holds.get(tool) or tool in self._drifted):
            raise _flow("allows a call while its tool is held")
        if receipt.is_intent and self.policy is None:
            raise _flow("allows a call before any policy was in force")
        if receipt.repeats is not None:
            self._repeat(receipt, receipt.repeats)

    def _in_force(self, policy: Json) -> None:
        if policy != self.policy:
            raise _flow("names another policy than the one in force")

    def _claim(self, claim: Json, tool: str) -> None:
        """The fact that a call with this key was allowed before is one that the log itself shows."""
        if not isinstance(claim, dict):
            return
        first = Digest(str(claim["decision"]))
        status = self._statuses.get(first)
        state = ClaimState.DONE if status is not None else ClaimState.OPEN
        if status is Status.UNKNOWN:
            state = ClaimState.UNKNOWN
        if first not in self._intents or self._intents[first].tool != tool or claim["state"] != state:
            raise _flow("reads a claim that the log does not show")

    def _repeat(self, receipt: Receipt, repeats: Digest) -> None:
        first = self._intents.get(repeats)
        if first is None:
            raise _flow("repeats what is no earlier intent")
        body = receipt.body
        if (body["tool"], body["args_hash"]) != (first.tool, first.args):
            raise _flow("repeats a call of another tool or with other arguments")
        if first.key is None or body.get("key") != first.key or self._principals.get(receipt.session) != first.principal:
            raise _flow("repeats a call with another key or of another principal")
        if self._statuses.get(repeats, Status.UNKNOWN) is Status.UNKNOWN:
            raise _flow("repeats a call whose outcome is not known")

    def _outcome(self, receipt: Receipt) -> None:
        body = receipt.body
        decision = Digest(str(body["decision"]))
        intent = self._intents.get(decision)
        if intent is None:
            raise EvidenceError(Finding.ORPHAN_OUTCOME, f"is the outcome of `{decision}`, which is no intent before it")
        status = Status(str(body["status"]))
        earlier = self._statuses.get(decision)
        if earlier is not None and not (earlier is Status.UNKNOWN and status is Status.LATE and decision in self.unknown):
            raise EvidenceError(Finding.DOUBLE_OUTCOME, f"is a second outcome of `{decision}`")
        self.open.pop(decision, None)
        self.unknown.pop(decision, None)
        self._statuses.setdefault(decision, status)
        if earlier is None and status is Status.UNKNOWN:
            self.unknown[decision] = intent.place
        if status is Status.DRIFT and not self._holds.get(str(intent.tool)):
            self._drifted.add(str(intent.tool))
        if earlier is None and status is Status.LATE:
            raise _flow("is late where nothing was recorded before")
        if decision not in receipt.parents:
            raise _flow("does not have its decision among its parents")
        if receipt.session != intent.session and self._principals.get(receipt.session) != KERNEL:
            raise _flow("is told in a session that is neither its decision's nor the kernel's")
        self._spent(body.get("spent", {}), intent)

    def _spent(self, spent: Json, intent: Intent) -> None:
        for name, count in spent.items() if isinstance(spent, dict) else ():
            reserved = intent.reserved.get(name)
            if not isinstance(reserved, int) or not isinstance(count, int) or count > reserved:
                raise _flow("spends more than its decision reserved")

    def _statement(self, statement: Statement) -> None:
        reused = statement.nonce in self._nonces
        self._nonces.add(statement.nonce)
        if statement.kind is StatementKind.RELEASE:
            known = statement.hold in self._holds.get(str(statement.tool), ())
            self._holds.get(str(statement.tool), set()).discard(Digest(str(statement.hold)))
            if not known and not reused:
                raise _approval("releases what is not a hold in force on that tool")
        elif statement.policy is not None and statement.catalog is not None:
            self._changed(statement, statement.policy, statement.catalog, reused)
        if reused:
            raise EvidenceError(Finding.APPROVAL_REUSED, "carries a nonce that the log took before")

    def _changed(self, statement: Statement, policy: Change, catalog: Change, reused: bool) -> None:
        before = (self.policy, self.catalog)
        self.policy, self.catalog = policy.after, catalog.after
        if reused:
            return
        if (policy.before, catalog.before) != before:
            raise _approval("was signed for another policy or catalogue than the one in force")
        if statement.kind is StatementKind.ACTIVATION and catalog.before not in (None, catalog.after):
            raise _approval("activates a policy and changes the catalogue, which only a pin does")
        if self._catalog_of.get(policy.after, catalog.after) != catalog.after:  # one that is not here is a finding of V2
            raise _approval("brings into force a policy that is bound to another catalogue")


def _flow(detail: str) -> EvidenceError:
    return EvidenceError(Finding.FLOW_INVALID, detail)


def _approval(detail: str) -> EvidenceError:
    return EvidenceError(Finding.APPROVAL_INVALID, detail)
