"""What may be said after what has been said: the flows of `docs/spec/verification.md` (V10, V11) as one fold over a log.

Who signed is not the question here, only whether the log's story holds: every intent has one outcome, an idempotency key is
dispatched once, nothing is called while it is held, statements change what was in force, and every decision names the policy
that was. Which process of the kernel says it, and when, is `process.py`.
"""

from collections.abc import Mapping
from typing import NamedTuple

from . import digest as hashes
from .approvals import Approvals, InForce, concerns
from .causes import Outcomes
from .chain import Index
from .clock import Clock
from .codes import Finding, Reason
from .decision import ClaimState, Status, Verdict
from .digest import Digest
from .envelope import Record
from .errors import EvidenceError
from .events import KeyEntry
from .ijson import Json
from .receipt import EffectBy, Kind, Receipt
from .registry import Registry
from .statement import Change, Statement, StatementKind

_NONE, _OPEN = 0, 1
_NO_TIME = Clock(0, "0" * 32, 0)  # of a statement from which no time counts
_NUMBERS = {status: number for number, status in enumerate(Status, 2)}  # of an intent that has its outcome

DRIFTS = (Reason.ERR_CONNECTOR_CONTRACT_DRIFT, Reason.ERR_MCP_SCHEMA_DRIFT)  # the reasons of outcomes that hold their tool


def statement_of(receipt: Receipt) -> Statement | None:
    """The person's statement inside a receipt of that kind; raises `EvidenceError` for what is no statement."""
    return Statement.from_record(Record.from_json(receipt.body["statement"])) if receipt.kind is Kind.STATEMENT else None


class Intent(NamedTuple):
    """An ALLOW that was dispatched, or that the client acts on, and may have an outcome yet."""

    place: int  # in the log
    tool: str
    reserved: Mapping[str, Json]
    principal: str


class Claim(NamedTuple):
    """The ALLOW that claimed an idempotency key, by what later decisions may say about it. There may be very many."""

    place: int
    principal: str | None
    tool: str
    args: bytes
    intent: bytes  # its leaf
    is_offer: bool


class Flows:
    """The state of a log's story. `append` takes the receipts in log order; after a fault it goes on as if it were none.

    `index_of` is the place of each leaf. What is settled for good takes a byte of memory, and a claimed key some more.
    """

    def __init__(self, catalog_of: Mapping[Digest, Digest], index_of: Index) -> None:
        self.registry: Registry | None = None  # None: who said something about a held call cannot be told
        self.policy: Digest | None = None
        self.catalog: Digest | None = None
        self.open: dict[Digest, Intent] = {}  # without an outcome
        self.offered: dict[Digest, Intent] = {}  # what the client acts on, and no report of it: no gap
        self.unknown: dict[Digest, Intent] = {}  # whose outcome is UNKNOWN, and no LATE one came
        self._catalog_of = catalog_of  # policy -> the catalogue that its manifest names
        self._index_of = index_of
        self._outcomes = Outcomes(index_of)
        self._intents = bytearray()  # by place: 0 neither intent nor offer, 1 one without outcome, else its first status
        self._keys: dict[bytes, Claim] = {}  # idempotency key, as receipts name it -> the intent that claimed it
        self._principals: dict[str, str] = {}
        self._approvals = Approvals()
        self._holds: dict[str, set[Digest]] = {}  # tool -> holds that were not released
        self._freezes: dict[str, set[Digest]] = {}  # scope -> freezes that were not released
        self._drifted: dict[str, tuple[Json, Json]] = {}  # tools to hold next -> the outcome that is the cause, its reason
        self._nonces: set[str] = set()
        self._erased: set[Json] = set()  # subjects whose key was destroyed

    def append(self, receipt: Receipt) -> None:
        """Raises `EvidenceError`: a finding of V10 or V11."""
        statement = statement_of(receipt)
        if statement is not None:
            self._statement(receipt, statement)
        match receipt.kind:
            case Kind.SESSION:
                self._session(receipt)
            case Kind.DECISION:
                self._decision(receipt)
            case Kind.OUTCOME:
                self._outcome(receipt)
            case Kind.HOLD:
                self._hold(receipt)
            case Kind.LAPSE:
                self._lapse(receipt)
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
        body, tool = receipt.body, str(receipt.body.get("tool", ""))
        key = hashes.raw(Digest(str(body["key"]))) if "key" in body else None
        first = None if key is None else self._keys.get(key)
        concerned, principal = concerns(receipt), self._principals.get(receipt.session, "")
        if receipt.goes:
            self._go(receipt, tool, principal)
            if key is not None:
                args, own = hashes.raw(Digest(str(body["args_hash"]))), hashes.raw(receipt.leaf)
                claim = Claim(receipt.index, self._principals.get(receipt.session), tool, args, own, receipt.is_offer)
                self._keys.setdefault(key, claim)
        try:
            self._in_force(body["policy"])
            self._stops(receipt, tool)
            self._claim(receipt, first)
            self._outcomes.check(receipt, principal)
            if concerned:
                self._approval(receipt, principal)
            if body.get("subject") in self._erased:
                raise _flow("is about a subject that was erased before")
            if receipt.verdict is not Verdict.DENY and self.policy is None:
                raise _flow("does not deny a call before any policy was in force")
        finally:
            if concerned:
                self._approvals.follow(receipt, principal)

    def _stops(self, receipt: Receipt, tool: str) -> None:
        """What stops a call is read as it is, and stops it; a repeat, too: holds are asked before keys."""
        facts, denied = receipt.body["facts"], receipt.verdict is Verdict.DENY
        read = facts if isinstance(facts, dict) else {}
        if "hold" in read and read["hold"] not in self._holds.get(tool, ()):
            raise _flow("reads a hold that is not in force on its tool")
        stopped = scopes(self._principals.get(receipt.session, ""), receipt.session, tool)
        frozen = [leaf for scope in stopped for leaf in self._freezes.get(scope, ())]
        if "frozen" in read and read["frozen"] not in frozen:
            raise _flow("reads a freeze that does not stop this call")
        if not denied and frozen:
            raise _flow("does not deny a call that a freeze stops")
        if not denied and (self._holds.get(tool) or tool in self._drifted):
            raise _flow("does not deny a call while its tool is held")

    def _approval(self, receipt: Receipt, principal: str) -> None:
        """What people said of the call; without a registry nobody can say who they are."""
        if self.registry is None:
            return
        self._approvals.judge(receipt, principal, self._counts(receipt))
        facts = receipt.body["facts"]
        read = facts.get("approval") if isinstance(facts, dict) else None
        named = {read["call"]} if isinstance(read, dict) else set()
        relies = receipt.body.get("relies", [])
        if not named | set(relies if isinstance(relies, list) else ()) <= set(receipt.parents):
            raise _flow("does not have the held call, or what it relies on, among its parents")

    def _lapse(self, receipt: Receipt) -> None:
        if self.registry is None:
            self._approvals.end(Digest(str(receipt.body["call"])), Reason.ERR_APPROVAL_EXPIRED)
            return
        self._approvals.lapse(receipt, self._counts(receipt))
        if receipt.body["call"] not in receipt.parents:
            raise _flow("does not have the held call among its parents")

    def _counts(self, receipt: Receipt) -> InForce:
        """Whether a key is in force where the receipt stands."""
        return _nobody if self.registry is None else self.registry.in_force_at(receipt.trust.size)

    def _go(self, receipt: Receipt, tool: str, principal: str) -> None:
        reserved = receipt.body.get("reserved")
        gone = Intent(receipt.index, tool, reserved if isinstance(reserved, dict) else {}, principal)
        (self.offered if receipt.is_offer else self.open)[receipt.leaf] = gone
        if self._status(receipt.leaf) == _NONE:
            self._intents.extend(bytes(receipt.index + 1 - len(self._intents)))
            self._intents[receipt.index] = _OPEN

    def _status(self, decision: Digest) -> int:
        """0 for what is no call that goes before this, 1 for one without outcome, else the number of its first status."""
        place = self._index_of.get(decision)
        return self._intents[place] if place is not None and place < len(self._intents) else _NONE

    def _in_force(self, policy: Json) -> None:
        if policy != self.policy:
            raise _flow("names another policy than the one in force")

    def _claim(self, receipt: Receipt, first: Claim | None) -> None:
        """A decision reads the claim on its key exactly as the log shows it, and nothing is dispatched under it again.

        `first` is the intent that claimed the key before: one hash is one key, of one principal, for one tool.
        """
        facts = receipt.body["facts"]
        claim = facts.get("claim") if isinstance(facts, dict) else None
        read = (claim["decision"], claim["state"]) if isinstance(claim, dict) else None
        if first is None:
            if read is not None:
                raise _flow("reads a claim that the log does not show")
            if receipt.repeats is not None:
                raise _flow("repeats what is no earlier call with its key")
            return
        leaf, state = hashes.text(first.intent), _state(self._intents[first.place])
        if (self._principals.get(receipt.session), receipt.body["tool"]) != (first.principal, first.tool):
            raise _flow("names its key as that of another principal or tool")
        if read != (leaf, state):
            raise _flow("reads another claim on its key than the log shows")
        if receipt.goes:
            raise _flow("lets a call go whose key was claimed before")
        done = {"decision": leaf, "same_args": True, "state": ClaimState.DONE.value}
        if receipt.repeats is not None and (receipt.repeats != leaf or claim != done):
            raise _flow("repeats what is not the first call with its key and arguments, or has no known outcome")
        if receipt.repeats is not None and receipt.body["args_hash"] != hashes.text(first.args):
            raise _flow("repeats a call with other arguments")
        if receipt.repeats is not None and (receipt.body["effect_by"] == EffectBy.CLIENT) is not first.is_offer:
            raise _flow("repeats a call that somebody else acts on")

    def _outcome(self, receipt: Receipt) -> None:
        body = receipt.body
        decision = Digest(str(body["decision"]))
        place, before = self._index_of.get(decision), self._status(decision)
        if place is None or before == _NONE:
            raise EvidenceError(Finding.ORPHAN_OUTCOME, f"is the outcome of `{decision}`, which is no intent or offer before it")
        status, late, offer = Status(str(body["status"])), self.unknown.pop(decision, None), self.offered.pop(decision, None)
        if before != _OPEN and (late is None or status is not Status.LATE):
            if late is not None:
                self.unknown[decision] = late
            raise EvidenceError(Finding.DOUBLE_OUTCOME, f"is a second outcome of `{decision}`")
        intent = offer or self.open.pop(decision, late)
        if intent is None:
            raise ValueError("an intent without outcome is open")
        if before == _OPEN:
            self._intents[place] = _NUMBERS[status]
            if status is Status.UNKNOWN and offer is None:
                self.unknown[decision] = intent
        self._outcomes.tell(receipt, intent.principal)
        if receipt.reason in DRIFTS and status is not Status.REPORTED and not self._holds.get(intent.tool):
            self._drifted[intent.tool] = (receipt.leaf, receipt.reason)
        if (status is Status.REPORTED) is not (offer is not None):
            raise _flow("is reported, of a call that we dispatch, or is another outcome of what the client acts on")
        if before == _OPEN and status is Status.LATE:
            raise _flow("is late where nothing was recorded before")
        if decision not in receipt.parents:
            raise _flow("does not have its decision among its parents")
        if body.get("spent", {}) != _spent(status, intent.reserved):
            raise _flow("spends otherwise than its decision reserved")

    def _hold(self, receipt: Receipt) -> None:
        frozen = "scope" in receipt.body
        name, stops = str(receipt.body["scope" if frozen else "tool"]), self._freezes if frozen else self._holds
        held = bool(stops.get(name))
        stops.setdefault(name, set()).add(receipt.leaf)
        if frozen and held:
            raise _flow("freezes what is frozen already")
        if frozen:
            return
        drift = self._drifted.pop(name, None)
        if "cause" not in receipt.body:
            if held or drift is not None:
                raise _flow("holds by itself what is held already, or has drifted in a call")
        elif drift != (receipt.body["cause"], receipt.reason):
            raise _flow("holds a tool for no drift of its own with that reason, or for one that was held before")

    def _statement(self, receipt: Receipt, statement: Statement) -> None:
        reused = statement.nonce in self._nonces
        self._nonces.add(statement.nonce)
        if statement.kind is StatementKind.RELEASE:
            stops = self._freezes if statement.tool is None else self._holds
            held = stops.get(str(statement.scope if statement.tool is None else statement.tool), set())
            known = statement.hold in held
            held.discard(Digest(str(statement.hold)))
            if not known and not reused:
                raise _approval("releases what is not a hold in force on that")
        elif statement.kind is StatementKind.ERASURE:
            again = statement.subject in self._erased
            self._erased.add(statement.subject)
            if again and not reused:
                raise _approval("erases a subject that was erased before")
        elif statement.policy is not None and statement.catalog is not None:
            self._changed(statement, statement.policy, statement.catalog, reused)
        elif not reused and self.registry is not None:
            self._said(receipt, statement, self.registry)
        if reused:
            raise EvidenceError(Finding.APPROVAL_REUSED, "carries a nonce that the log took before")

    def _said(self, receipt: Receipt, statement: Statement, registry: Registry) -> None:
        """A person's word on a held call, or a grant. Whoever may not speak is a finding of its own, and is not heard."""
        signers = _known(registry, statement)
        if not signers:
            return
        clock = Clock.from_json(receipt.body["clock"]) if "clock" in receipt.body else _NO_TIME
        refusal = self._approvals.refusal(statement, signers, receipt.leaf, clock, self._counts(receipt))
        if refusal is not None:
            reused = refusal[0] is Reason.ERR_APPROVAL_CONSUMED
            raise EvidenceError(Finding.APPROVAL_REUSED if reused else Finding.APPROVAL_INVALID, refusal[1])
        self._approvals.take(statement, signers, receipt.leaf, clock)
        named = statement.call or statement.grant
        if named is not None and named not in receipt.parents:
            raise _flow("does not have what it is about among its parents")

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


def _nobody(key: str) -> bool:
    return False


def scopes(principal: str, session: str, tool: str) -> tuple[str, ...]:
    """What a freeze may be of, to stop this call."""
    return "all", f"server:{tool.partition('/')[0]}", f"agent:{principal}", f"session:{session}"


def _known(registry: Registry, statement: Statement) -> tuple[KeyEntry, ...]:
    """Who signed, where the registry knows all of them; whether they may is `statement.authorise`'s to say."""
    found = [registry.keys.get(id) for id in statement.signers]
    return tuple(entry for entry in found if entry is not None) if all(found) else ()


def _state(number: int) -> ClaimState:
    """What a claim says of the outcome that its call has so far."""
    if number == _OPEN:
        return ClaimState.OPEN
    return ClaimState.UNKNOWN if number == _NUMBERS[Status.UNKNOWN] else ClaimState.DONE


def _spent(status: Status, reserved: Mapping[str, Json]) -> Mapping[str, Json]:
    """All that was reserved, or each budget's part back where nothing was applied; a late answer comes after that was told."""
    if status is Status.LATE:
        return {}
    return dict.fromkeys(reserved, 0) if status is Status.FAILED else reserved


def _flow(detail: str) -> EvidenceError:
    return EvidenceError(Finding.FLOW_INVALID, detail)


def _approval(detail: str) -> EvidenceError:
    return EvidenceError(Finding.APPROVAL_INVALID, detail)
