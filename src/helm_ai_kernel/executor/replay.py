"""Every decision of a pack, made again from what the pack holds: a verdict that its policy does not yield cannot hide.

Nothing is remembered and nothing is asked: the boundary is rebuilt from the policy that persons' statements put in force, the
request from its attachments, the facts from the receipt. Outputs are judged again by the contract that was pinned. What was
withheld is said, never guessed: `docs/spec/replay.md`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from helm_ai_kernel.guardian.budget import DAY_MS
from helm_ai_kernel.guardian.fit import fits
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.call import Admitted, Call
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.contents import ARGS_BYTES_MAX
from helm_ai_kernel.tcb.decision import Contract, Facts, Status, Verdict
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.envelope import Record
from helm_ai_kernel.tcb.errors import EvidenceError, Refused
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.ijson import BYTES_MAX, Json, parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.pack import INCLUSION, RECEIPTS, lines
from helm_ai_kernel.tcb.process import KERNEL
from helm_ai_kernel.tcb.receipt import EffectBy, Kind, Receipt
from helm_ai_kernel.tcb.statement import Allows, Statement

from .evidence import Evidence, InForce
from .said import KEPT, SAID, claims_contract, kept, said


@dataclass(frozen=True, slots=True)
class Difference:
    """A decision or an outcome says `recorded` in `field`; what it was made from gives `derived`. None: nothing is said."""

    index: int
    field: str
    recorded: Json
    derived: Json

    def to_json(self) -> dict[str, Json]:
        code = Finding.REPLAY_DIFFERS.value
        return {"code": code, "index": self.index, "field": self.field, "recorded": self.recorded, "derived": self.derived}


@dataclass(frozen=True, slots=True)
class ReplayReport:
    decisions: int
    outcomes: int  # that say of an output whether it kept its contract
    differs: tuple[Difference, ...]  # REPLAY_DIFFERS, each
    not_replayable: tuple[int, ...]  # NOT_REPLAYABLE: log indexes of those that were made from something that is not there

    @property
    def exit(self) -> Exit:
        if self.differs:
            return Exit.INVALID
        return Exit.INCOMPLETE if self.not_replayable else Exit.VALID

    def to_json(self) -> dict[str, Json]:
        return {
            "verdict": self.exit.name,
            "exit": int(self.exit),
            "decisions": self.decisions,
            "outcomes": self.outcomes,
            "differs": [difference.to_json() for difference in self.differs],
            "not_replayable": [{"code": Finding.NOT_REPLAYABLE.value, "index": index} for index in self.not_replayable],
        }


def replay(files: Mapping[str, bytes]) -> ReplayReport:
    """`files` are the entries of a pack; raises `EvidenceError` where its receipts are none. Checks no signature and no chain."""
    if INCLUSION in files:
        raise EvidenceError(Finding.NOT_REPLAYABLE, "what was in force is told by the whole log, and this is a part of it")
    receipts = [Receipt.from_bytes(line, index) for index, line in enumerate(lines(files[RECEIPTS]))]
    log = _Log(Evidence(files))
    for receipt in receipts:
        log.take(receipt)
    differs = [*log.differs, *_shared(receipts)]
    differs.sort(key=lambda one: one.index)
    return ReplayReport(log.decisions, log.outcomes, tuple(differs), tuple(log.not_replayable))


class _Budgets:
    """What is left of each budget, as far as it follows: the decisions of one session on one day count in the same windows."""

    def __init__(self) -> None:
        self._most: dict[tuple[str, int, str], int] = {}  # session, day, budget -> what is left at most, less all given back
        self._back: Counter[str] = Counter()  # calls of each budget that were given back, in whatever window

    def read(self, receipt: Receipt) -> Iterator[Difference]:
        facts = Facts.from_json(receipt.body["facts"], principal="", door="", policy=None)
        more: dict[str, Json] = {}
        for name, left in facts.budget.items():
            window = (receipt.session, facts.clock.wall_ms // DAY_MS, name)
            most = self._most.get(window, left - self._back[name]) + self._back[name]
            if left > most:
                more[name] = most
            self._most[window] = left - (name in _reserved(receipt)) - self._back[name]
        if more:
            yield Difference(receipt.index, "budget", {name: facts.budget[name] for name in more}, more)

    def give_back(self, names: Iterable[str]) -> None:
        self._back.update(names)


@dataclass(frozen=True, slots=True)
class _Intent:
    """A call that went, by what its outcome is judged with."""

    tool: str
    in_force: InForce
    reserved: tuple[str, ...]


@dataclass(slots=True)
class _Log:
    """The fold over the receipts: who is at which door, what is in force, and how each decision comes out again."""

    evidence: Evidence
    decisions: int = 0
    outcomes: int = 0
    differs: list[Difference] = field(default_factory=list)
    not_replayable: list[int] = field(default_factory=list)
    sessions: dict[str, tuple[str, str]] = field(default_factory=dict)  # principal, door
    in_force: InForce = (None, None)  # nothing, before any statement
    before: InForce | None = None  # by which a call that is still on its way may have been admitted
    budgets: _Budgets = field(default_factory=_Budgets)
    claims: dict[tuple[str, str, bytes], Receipt] = field(
        default_factory=dict, repr=False
    )  # principal, tool, key -> the call that has it
    intents: dict[Digest, _Intent] = field(default_factory=dict)
    grants: dict[Digest, Allows] = field(default_factory=dict)

    def take(self, receipt: Receipt) -> None:
        body = receipt.body
        if receipt.kind is Kind.SESSION and body["event"] == "start":
            self.sessions.setdefault(receipt.session, (str(body["principal"]), str(body["door"])))
            if body["principal"] == KERNEL:
                self.before = None  # a process begins with what is in force
        elif receipt.kind is Kind.STATEMENT:
            statement = Statement.from_record(Record.from_json(body["statement"]))
            if statement.allows is not None:
                self.grants[receipt.leaf] = statement.allows
            if statement.policy is not None and statement.catalog is not None:
                after = (statement.policy.after, statement.catalog.after)
                if after != self.in_force:
                    self.before, self.in_force = self.in_force, after
        elif receipt.kind is Kind.DECISION:
            self.decisions += 1
            self.differs += [*self.budgets.read(receipt), *self._claimed(receipt)]
            self._judge(receipt, self._again)
            if receipt.goes:
                self.intents[receipt.leaf] = _Intent(str(body["tool"]), self.in_force, _reserved(receipt))
        elif receipt.kind is Kind.OUTCOME:
            self._outcome(receipt)

    def _judge(self, receipt: Receipt, look: Callable[[Receipt], list[Difference]]) -> None:
        try:
            self.differs += look(receipt)
        except EvidenceError as error:
            if error.finding is Finding.NOT_REPLAYABLE:
                self.not_replayable.append(receipt.index)
            else:
                self.differs.append(Difference(receipt.index, "evidence", None, str(error)))

    def _claimed(self, receipt: Receipt) -> Iterator[Difference]:
        """A key is claimed once and keeps the name that its claim gave it, whatever salt a later decision brings it under."""
        if "key" not in receipt.body or receipt.session not in self.sessions:
            return
        with suppress(EvidenceError):  # a key that is not there, or is another: that is said where the decision is made again
            content = self._attachment(receipt.body, "key")
            place = (self.sessions[receipt.session][0], str(receipt.body["tool"]), content)
            first = self.claims.get(place)
            if first is None:
                if receipt.goes:
                    self.claims[place] = receipt
            elif receipt.goes or receipt.body["key"] != first.body["key"]:
                yield Difference(receipt.index, "key", receipt.body["key"], first.index)

    def _outcome(self, receipt: Receipt) -> None:
        intent = self.intents.get(Digest(str(receipt.body["decision"])))
        if intent is None:
            return  # an orphan, which is a finding of verification
        if receipt.status is Status.FAILED:
            self.budgets.give_back(intent.reserved)
        if claims_contract(receipt):
            self.outcomes += 1
            self._judge(receipt, lambda receipt: self._kept(receipt, intent))

    def _kept(self, receipt: Receipt, intent: _Intent) -> list[Difference]:
        """How the outcome differs from the one that its output gives under the contract by which its call was admitted."""
        recorded = {name: value for name, value in receipt.body.items() if name in KEPT}
        derived = kept(None, b"")  # what was cut keeps no contract, whatever is left of it
        if "truncated" not in receipt.body:
            tool = self.evidence.boundary(intent.in_force).catalog.tools.get(intent.tool)
            asked = receipt.body.get("contract") == Contract.QUESTION
            derived = kept(tool, self._attachment(receipt.body, "output_hash"), asked=asked)
        if receipt.status in (Status.LATE, Status.REPORTED):  # when or from whom it came
            derived["status"] = receipt.status.value
        return _differences(receipt.index, recorded, derived)

    def _again(self, receipt: Receipt) -> list[Difference]:
        """How the decision differs from the one that the boundary in force gives.

        A call that was on its way while a statement came into force was admitted by the boundary before it. That one may have
        refused the call, and can never have allowed it. Calls are decided in the order in which they are admitted: behind a
        decision that only the boundary in force can give, nothing is excused by the one before.
        """
        policy = receipt.body["policy"]
        if receipt.verdict is not Verdict.DENY:
            self.before = None
        if receipt.session not in self.sessions:
            return [Difference(receipt.index, "session", receipt.session, None)]
        if policy != self.in_force[0]:
            return [Difference(receipt.index, "policy", policy, self.in_force[0])]
        differs = self._under(receipt, self.in_force)
        if self.before is not None and self._fits(receipt, self.before):
            return []
        if not differs:
            self.before = None
        return differs

    def _fits(self, receipt: Receipt, in_force: InForce) -> bool:
        try:
            return not self._under(receipt, in_force)
        except EvidenceError:
            return False  # a policy that is not there excuses nothing

    def _under(self, receipt: Receipt, in_force: InForce) -> list[Difference]:
        boundary = self.evidence.boundary(in_force)
        principal, door = self.sessions[receipt.session]
        facts = Facts.from_json(receipt.body["facts"], principal=principal, door=door, policy=self.in_force[0])
        admitted = boundary.admit(self._request(receipt.body))
        derived = said(admitted, boundary.decide(admitted, facts), facts, EffectBy(str(receipt.body["effect_by"])))
        recorded = {name: value for name, value in receipt.body.items() if name in SAID}
        if "args_hash" in receipt.body:
            recorded["args"] = hashes.digest(self._attachment(receipt.body, "args_hash"))
        return [*_differences(receipt.index, recorded, derived), *self._granted(receipt, admitted, facts)]

    def _granted(self, receipt: Receipt, admitted: Admitted, facts: Facts) -> Iterator[Difference]:
        """A grant that was read fits the arguments: who verifies the log alone cannot see them."""
        if facts.grant is None:
            return
        allows = self.grants.get(facts.grant.statement)
        if allows is None or not isinstance(admitted, Call) or not fits(allows, admitted.view):
            yield Difference(receipt.index, "grant", facts.grant.statement, None)

    def _request(self, body: Mapping[str, Json]) -> bytes:
        """The request as it came in; or, of an admitted one, a request that says the same."""
        if "raw_hash" in body:
            return self._attachment(body, "raw_hash")
        request: dict[str, Json] = {"tool": body["tool"]}
        try:
            request["arguments"] = parse(self._attachment(body, "args_hash"), bytes_max=ARGS_BYTES_MAX)
            if "key" in body:
                request["idempotency_key"] = self._attachment(body, "key").decode("utf-8", "surrogateescape")
            raw = canonical(request)
        except Refused as refused:
            raise EvidenceError(Finding.REPLAY_DIFFERS, f"the arguments or the key are not JSON: {refused.detail}") from None
        if len(raw) > BYTES_MAX:  # and the one that came in was not: nothing that says the same is admitted again
            raise EvidenceError(Finding.NOT_REPLAYABLE, "its canonical form is longer than any request")
        return raw

    def _attachment(self, body: Mapping[str, Json], name: str) -> bytes:
        return self.evidence.attachment(Digest(str(body[name])))


def _reserved(receipt: Receipt) -> tuple[str, ...]:
    """The budgets of which an intent takes one call."""
    reserved = receipt.body.get("reserved")
    return tuple(reserved) if isinstance(reserved, dict) else ()


def _shared(receipts: Sequence[Receipt]) -> Iterator[Difference]:
    """A receipt that occurs twice, or that two sessions go on from."""
    first: dict[Digest, Receipt] = {}
    for receipt in receipts:
        if first.setdefault(receipt.leaf, receipt) is not receipt:
            yield Difference(receipt.index, "index", receipt.index, first[receipt.leaf].index)
    for receipt in receipts:
        before = first.get(receipt.prev, receipt) if receipt.seq else receipt
        if before.session != receipt.session:
            yield Difference(receipt.index, "session", receipt.session, before.session)


def _differences(index: int, recorded: Mapping[str, Json], derived: Mapping[str, Json]) -> list[Difference]:
    pairs = [(name, recorded.get(name), derived.get(name)) for name in sorted(recorded.keys() | derived.keys())]
    return [Difference(index, name, was, comes) for name, was, comes in pairs if was != comes]
