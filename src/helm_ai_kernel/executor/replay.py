"""Every decision of a pack, made again from what the pack holds: a verdict that its policy does not yield cannot hide.

Nothing is remembered and nothing is asked: the boundary is rebuilt from the policy that persons' statements put in force, the
request from its attachments, the facts from the receipt. What was withheld is said, never guessed: `docs/spec/replay.md`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from helm_ai_kernel.guardian.bundle import Bundle
from helm_ai_kernel.guardian.policy import Policy
from helm_ai_kernel.pep.catalog import EMPTY, Catalog
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.call import Admitted, Call
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.decision import Decision, Facts, Verdict
from helm_ai_kernel.tcb.digest import PREFIX, Digest
from helm_ai_kernel.tcb.envelope import Record
from helm_ai_kernel.tcb.errors import EvidenceError, Refused
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.ijson import BYTES_MAX, Json, parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.pack import RECEIPTS, lines
from helm_ai_kernel.tcb.receipt import Kind, Receipt
from helm_ai_kernel.tcb.statement import Statement

from .boundary import Boundary

SALT_BYTES = 32
ARGS_BYTES_MAX = 1 << 24  # canonical arguments can be longer than the request was: `1e15` is written with 16 digits

InForce = tuple[Digest | None, Digest | None]  # policy and catalogue


@dataclass(frozen=True, slots=True)
class Difference:
    """A decision says `recorded` in `field`; what it was made from gives `derived`. None: nothing is said."""

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
    differs: tuple[Difference, ...]  # REPLAY_DIFFERS, each
    not_replayable: tuple[int, ...]  # NOT_REPLAYABLE: log indexes of decisions that were made from something that is not there

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
            "differs": [difference.to_json() for difference in self.differs],
            "not_replayable": [{"code": Finding.NOT_REPLAYABLE.value, "index": index} for index in self.not_replayable],
        }


def replay(files: Mapping[str, bytes]) -> ReplayReport:
    """`files` are the entries of a pack; raises `EvidenceError` where its receipts are none. Checks no signature and no chain."""
    receipts = [Receipt.from_bytes(line, index) for index, line in enumerate(lines(files[RECEIPTS]))]
    log = _Log(_Evidence(files))
    for receipt in receipts:
        log.take(receipt)
    differs = [*log.differs, *_shared(receipts)]
    return ReplayReport(log.decisions, tuple(sorted(differs, key=lambda one: one.index)), tuple(log.not_replayable))


class _Evidence:
    """What the pack holds beside the receipts, each piece under the digest that names it."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._boundaries: dict[InForce, Boundary] = {}
        self._policies: dict[str, dict[str, bytes]] = {}
        for name, content in files.items():
            if name.startswith("policy/"):
                _, policy, file = name.split("/", 2)
                self._policies.setdefault(policy, {})[file] = content

    def attachment(self, name: Digest) -> bytes:
        held = self._held(f"attachments/{name.removeprefix(PREFIX)}", name)
        return held[SALT_BYTES:]

    def boundary(self, in_force: InForce) -> Boundary:
        if in_force not in self._boundaries:
            self._boundaries[in_force] = self._rebuilt(*in_force)
        return self._boundaries[in_force]

    def _rebuilt(self, policy: Digest | None, catalog: Digest | None) -> Boundary:
        try:
            held = None if catalog is None else self._held(f"catalog/{catalog.removeprefix(PREFIX)}.json", catalog)
            tools = EMPTY if held is None else Catalog.from_bytes(held)
            if policy is None:
                return Boundary(tools, None)
            files = dict(self._policies.get(policy.removeprefix(PREFIX), {}))
            manifest = files.pop("manifest.json", None)
            if manifest is None:
                raise EvidenceError(Finding.NOT_REPLAYABLE, f"the policy `{policy}` is not in the pack")
            if hashes.digest(manifest) != policy:
                raise EvidenceError(Finding.REPLAY_DIFFERS, f"what is there is not the policy `{policy}`")
            return Boundary(tools, Policy.from_bundle(Bundle.from_bytes(manifest, files), tools))
        except Refused as refused:
            raise EvidenceError(Finding.REPLAY_DIFFERS, f"no policy or catalogue: {refused.detail}") from None

    def _held(self, entry: str, name: Digest) -> bytes:
        held = self._files.get(entry)
        if held is None:
            raise EvidenceError(Finding.NOT_REPLAYABLE, f"`{entry}` is not in the pack")
        if hashes.digest(held) != name:
            raise EvidenceError(Finding.REPLAY_DIFFERS, f"`{entry}` has another digest than its name says")
        return held


@dataclass(slots=True)
class _Log:
    """The fold over the receipts: who is at which door, what is in force, and how each decision comes out again."""

    evidence: _Evidence
    decisions: int = 0
    differs: list[Difference] = field(default_factory=list)
    not_replayable: list[int] = field(default_factory=list)
    sessions: dict[str, tuple[str, str]] = field(default_factory=dict)  # principal, door
    in_force: list[InForce] = field(default_factory=lambda: [(None, None)])  # the newest last; nothing, before any statement

    def take(self, receipt: Receipt) -> None:
        body = receipt.body
        if receipt.kind is Kind.SESSION and body["event"] == "start":
            self.sessions.setdefault(receipt.session, (str(body["principal"]), str(body["door"])))
        elif receipt.kind is Kind.STATEMENT:
            statement = Statement.from_record(Record.from_json(body["statement"]))
            if statement.policy is not None and statement.catalog is not None:
                self.in_force.append((statement.policy.after, statement.catalog.after))
        elif receipt.kind is Kind.DECISION:
            self.decisions += 1
            try:
                self.differs += self._again(receipt)
            except EvidenceError as error:
                if error.finding is Finding.NOT_REPLAYABLE:
                    self.not_replayable.append(receipt.index)
                else:
                    self.differs.append(Difference(receipt.index, "evidence", None, str(error)))

    def _again(self, receipt: Receipt) -> list[Difference]:
        """How the decision differs from the one that the boundary in force gives.

        A call that was on its way while a statement came into force was admitted by the boundary before it. That one may have
        refused the call, and can never have allowed it.
        """
        now, policy = self.in_force[-1], receipt.body["policy"]
        if receipt.session not in self.sessions:
            return [Difference(receipt.index, "session", receipt.session, None)]
        if policy != now[0]:
            return [Difference(receipt.index, "policy", policy, now[0])]
        differs = self._under(receipt, now)
        if differs and receipt.verdict is Verdict.DENY:
            earlier = {before for before in self.in_force if before != now}
            if any(self._fits(receipt, before) for before in earlier):
                return []
        return differs

    def _fits(self, receipt: Receipt, in_force: InForce) -> bool:
        try:
            return not self._under(receipt, in_force)
        except EvidenceError:
            return False  # an earlier policy that is not there excuses nothing

    def _under(self, receipt: Receipt, in_force: InForce) -> list[Difference]:
        boundary = self.evidence.boundary(in_force)
        principal, door = self.sessions[receipt.session]
        facts = Facts.from_json(receipt.body["facts"], principal=principal, door=door, policy=self.in_force[-1][0])
        admitted = boundary.admit(self._request(receipt.body))
        derived = _said(admitted, boundary.decide(admitted, facts), facts)
        recorded = {name: value for name, value in receipt.body.items() if name in _SAID}
        if "args_hash" in receipt.body:
            recorded["args"] = hashes.digest(self._attachment(receipt.body, "args_hash"))
        names = sorted(recorded.keys() | derived.keys())
        pairs = [(name, recorded.get(name), derived.get(name)) for name in names]
        return [Difference(receipt.index, name, was, comes) for name, was, comes in pairs if was != comes]

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


_SAID = frozenset({"verdict", "reason", "sub", "rules", "reserved", "repeats", "tool", "pin", "effect", "deadline_ms"})


def _said(admitted: Admitted, decision: Decision, facts: Facts) -> dict[str, Json]:
    """What a receipt says of this decision, as far as it follows from it; what is not said is not in it."""
    reserved: dict[str, Json] = dict(decision.reserve)
    said: dict[str, Json] = {"verdict": decision.verdict.value, "reason": decision.reason.value}
    said |= {"sub": decision.sub, "rules": list(decision.rules), "reserved": reserved, "repeats": decision.repeats}
    if admitted.tool is not None and admitted.args is not None:
        said |= {"tool": admitted.tool, "args": hashes.digest(admitted.args), "pin": admitted.pin}
        said["effect"] = None if admitted.effect is None else admitted.effect.value
    if isinstance(admitted, Call) and decision.verdict is Verdict.ALLOW and decision.repeats is None:
        said["deadline_ms"] = facts.clock.wall_ms + admitted.wall_ms
    return {name: value for name, value in said.items() if value not in (None, "", [], {})}


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
