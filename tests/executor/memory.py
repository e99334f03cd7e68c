"""A kernel's log and host in memory: real receipts, signatures, checkpoints and packs; no disk, no clock, no chance.

Each step of the host gives control away once before it does anything, so that whoever drives the coroutine by hand can drop it
there (a crash) or let another one go first (a race). The facts are read, decided on and written in one uninterrupted piece.
"""

import types
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from executor.desk import Desk
from executor.trust import APPROVAL, AT, EXECUTION, LOG, trust
from helm_ai_kernel.executor.boundary import Boundary
from helm_ai_kernel.executor.host import Answer, Decide, Reply
from helm_ai_kernel.guardian.budget import Budget
from helm_ai_kernel.ledger.asked import HELD_MAX
from helm_ai_kernel.tcb import checkpoint, merkle, pack, statement
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.approvals import Approvals, concerns
from helm_ai_kernel.tcb.call import Admitted, Call, Refusal
from helm_ai_kernel.tcb.ceremony import Held as Waits
from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Claim, ClaimState, Decision, Facts, Outcome, Status, Verdict
from helm_ai_kernel.tcb.digest import SALT_BYTES, Digest
from helm_ai_kernel.tcb.envelope import seal
from helm_ai_kernel.tcb.flows import DRIFTS
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.receipt import EffectBy, Kind, Receipt
from helm_ai_kernel.tcb.statement import StatementKind

BOOT = "b0" * 16
T = TypeVar("T")


@types.coroutine
def step(name: str) -> Generator[str, None, None]:
    yield name


def run(work: Coroutine[Any, Any, T]) -> T:
    """Drive to the end, without an event loop."""
    while True:
        try:
            work.send(None)
        except StopIteration as end:
            result: T = end.value
            return result


@dataclass(frozen=True)
class Session:
    id: str
    principal: str
    door: str


@dataclass
class Held:
    """An idempotency key and the ALLOW that claimed it."""

    decision: Receipt
    args: bytes
    outcome: Receipt | None = None
    state: ClaimState = ClaimState.OPEN


@dataclass
class Intent:
    receipt: Receipt
    tool: str
    claim: Held | None
    windows: dict[str, str]


@dataclass
class MemoryLog:
    """The log of one kernel, over any number of its processes."""

    budgets: tuple[Budget, ...] = ()
    receipts: list[Receipt] = field(default_factory=list)
    attachments: dict[Digest, bytes] = field(default_factory=dict)  # salt and content
    claims: dict[tuple[str, str, str], Held] = field(default_factory=dict)
    intents: dict[Digest, Intent] = field(default_factory=dict)
    offers: dict[Digest, Intent] = field(default_factory=dict)  # of this process
    holds: dict[str, Digest] = field(default_factory=dict)
    used: dict[tuple[str, str], int] = field(default_factory=dict)
    in_force: list[Boundary] = field(default_factory=list)
    sessions: dict[str, Session] = field(default_factory=dict)
    approvals: Approvals = field(default_factory=Approvals)

    def __post_init__(self) -> None:
        self.registry, self.origin = trust()
        self._heads: dict[str, Receipt] = {}
        self._count = 0
        self.begin()

    @property
    def policy(self) -> Digest | None:
        return self.in_force[-1].policy.digest if self.in_force and self.in_force[-1].policy else None

    @property
    def catalog(self) -> Digest | None:
        return self.in_force[-1].catalog.digest if self.in_force else None

    def begin(self) -> bool:
        """A process starts; whether the one before it ended its sessions."""
        clean = not self.sessions
        self.sessions.clear()
        self.offers.clear()
        self.kernel = self.session("kernel", "kernel")
        return clean

    def session(self, principal: str, door: str) -> Session:
        session = Session(self._fresh("session")[:16].hex(), principal, door)
        self.sessions[session.id] = session
        start: dict[str, Json] = {"event": "start", "principal": principal, "door": door, "client": None}
        self.append(session, Kind.SESSION, {**start, "policy": self.policy, "catalog": self.catalog})
        return session

    def end(self) -> None:
        for session in sorted(self.sessions.values(), key=lambda session: session is self.kernel):
            count = self._heads[session.id].seq + 1
            self.append(session, Kind.SESSION, {"event": "end", "count": count, "reason": "closed"})
        self.sessions.clear()

    def activate(self, boundary: Boundary) -> Receipt:
        """A person pins the catalogue and activates the policy of `boundary`."""
        content: dict[str, Json] = {"policy": {"from": self.policy}, "catalog": {"from": self.catalog}}
        self.in_force.append(boundary)
        content["policy"] |= {"to": self.policy}  # type: ignore[operator]
        content["catalog"] |= {"to": self.catalog}  # type: ignore[operator]
        nonce = self._fresh("nonce")[:16].hex()
        signed = statement.sign(StatementKind.PIN, content, log=self.origin, at=AT, nonce=nonce, signers=[APPROVAL])
        return self.append(self.kernel, Kind.STATEMENT, {"statement": signed.record.to_json()})

    def append(self, session: Session, kind: Kind, content: dict[str, Json], parents: Sequence[Digest] = ()) -> Receipt:
        head = self._heads.get(session.id)
        body: dict[str, Json] = {
            "v": 1,
            "kind": kind.value,
            "log": self.origin,
            "session": session.id,
            "seq": 0 if head is None else head.seq + 1,
            "prev": self.registry.head if head is None else head.leaf,
            "at": AT,
            "parents": list(parents),
            "trust": {"size": self.registry.size, "head": self.registry.head},
            "build": {"version": "memory"},
            **content,
        }
        receipt = Receipt.from_bytes(seal(body, [EXECUTION]).line, len(self.receipts))
        self.receipts.append(receipt)
        self._heads[session.id] = receipt
        return receipt

    def keep(self, content: bytes) -> Digest:
        salt = self._fresh("salt")
        name = hashes.attachment_name(salt, content)
        self.attachments[name] = salt + content
        return name

    def decide(
        self, session: Session, admitted: Admitted, rule: Decide, by: EffectBy = EffectBy.KERNEL, causes: Sequence[Digest] = ()
    ) -> Receipt:
        facts, claim, windows = self._facts(session, admitted, by)
        decision = rule(admitted, facts)
        content: dict[str, Json] = {"verdict": decision.verdict.value, "reason": decision.reason.value, "effect_by": by.value}
        content |= {"facts": facts.to_json(), "policy": facts.policy} | ({"sub": decision.sub} if decision.sub else {})
        if isinstance(admitted, Refusal) and (admitted.args is None or admitted.tool is None):
            return self.append(session, Kind.DECISION, content | {"raw_hash": self.keep(admitted.raw)}, causes)
        content |= {"tool": admitted.tool, "pin": admitted.pin, "effect": admitted.effect and admitted.effect.value}
        content |= {"rules": list(decision.rules), "repeats": decision.repeats}
        content |= {"requires": decision.requires and decision.requires.to_json()}
        known = claim.decision.body if claim is not None else {}
        if isinstance(admitted, Call) and admitted.key is not None:
            content["key"] = known.get("key") or self.keep(admitted.key.encode())
        again = decision.repeats is not None
        waits = facts.approval is not None and decision.requires is None
        over = None if facts.approval is None else self.approvals.held[facts.approval.call]
        content["args_hash"] = known["args_hash"] if again else over.args if waits and over else self.keep(admitted.args or b"")
        goes = isinstance(admitted, Call) and decision.verdict is Verdict.ALLOW and not again
        if goes:
            content |= {"reserved": dict(decision.reserve), "relies": list(decision.relies)}
        if goes and by is EffectBy.KERNEL:
            content["deadline_ms"] = facts.clock.wall_ms + admitted.wall_ms  # type: ignore[union-attr]
        content = {name: value for name, value in content.items() if value not in (None, [], {}) or name == "policy"}
        named = (decision.repeats, over and over.call, *decision.relies, *causes)
        receipt = self.append(session, Kind.DECISION, content, [cause for cause in named if cause])
        if concerns(receipt):
            self.approvals.follow(receipt, session.principal)
        if goes and isinstance(admitted, Call):
            self._open(session, admitted, receipt, {name: windows[name] for name in decision.reserve})
        return receipt

    def report(self, session: Session, decision: Digest, outcome: Outcome) -> Receipt:
        """What a client says of a call that it acted on."""
        offer = self.offers[decision]
        assert self._of(offer.receipt) == session.principal
        del self.offers[decision]
        receipt = self._told(session, decision, outcome, dict.fromkeys(offer.windows, 1))
        if offer.claim is not None:
            offer.claim.outcome, offer.claim.state = receipt, ClaimState.DONE
        return receipt

    def settle(self, session: Session, decision: Digest, outcome: Outcome) -> Receipt:
        intent = self.intents.pop(decision)
        failed = outcome.status is Status.FAILED
        for item in intent.windows.items():
            self.used[item] -= failed
        receipt = self._told(session, decision, outcome, dict.fromkeys(intent.windows, int(not failed)))
        if intent.claim is not None:
            intent.claim.outcome = receipt
            intent.claim.state = ClaimState.UNKNOWN if outcome.status is Status.UNKNOWN else ClaimState.DONE
        self._hold(intent.tool, receipt, outcome.reason)
        return receipt

    def late(self, session: Session, intent: Receipt, outcome: Outcome) -> Receipt:
        """An answer after the UNKNOWN."""
        receipt = self._told(session, intent.leaf, replace(outcome, status=Status.LATE), {})
        self._hold(str(intent.body["tool"]), receipt, outcome.reason)
        return receipt

    def _hold(self, tool: str, cause: Receipt, reason: Reason) -> None:
        if reason in DRIFTS and tool not in self.holds:
            said: dict[str, Json] = {"tool": tool, "cause": cause.leaf, "reason": reason.value}
            self.holds[tool] = self.append(self.kernel, Kind.HOLD, said, (cause.leaf,)).leaf

    def _told(self, session: Session, decision: Digest, outcome: Outcome, spent: dict[str, Json]) -> Receipt:
        content: dict[str, Json] = {"decision": decision, "status": outcome.status.value, "ms": outcome.ms}
        content |= {"contract": outcome.contract and outcome.contract.value, "sub": outcome.sub}
        content |= {"reason": None if outcome.reason is Reason.OK else outcome.reason.value}
        content |= {"spent": spent, "tool_error": outcome.tool_error or None}
        content |= {"truncated": outcome.truncated or None, "interim": outcome.interim and outcome.interim.to_json()}
        content["output_hash"] = None if outcome.output is None else self.keep(outcome.output)
        said = {name: value for name, value in content.items() if value not in (None, "", {})}
        return self.append(session, Kind.OUTCOME, said, (decision,))

    def checkpoint(self) -> bytes:
        leaves = [hashes.raw(receipt.leaf) for receipt in self.receipts]
        return checkpoint.sign(self.origin, len(leaves), merkle.root(leaves), LOG).note

    def pack(self) -> bytes:
        policies = {p.digest: {**p.files, "manifest.json": p.manifest} for p in (b.policy for b in self.in_force) if p}
        catalogs = {b.catalog.digest: b.catalog.document for b in self.in_force}
        held = [receipt.line for receipt in self.receipts]
        return pack.build(held, self.checkpoint(), self.registry.lines, policies, catalogs, self.attachments)

    def open_intents(self) -> Iterable[Digest]:
        return list(self.intents)

    async def recovered(self, open_count: int) -> None:
        await step("recovered")
        root = hashes.text(merkle.root([hashes.raw(receipt.leaf) for receipt in self.receipts]))
        self.append(self.kernel, Kind.RECOVERY, {"size": len(self.receipts), "root": root, "open": open_count})

    async def conclude(self, decision: Digest, outcome: Outcome) -> None:
        await step("conclude")
        self.settle(self.kernel, decision, outcome)

    def summary(self, since: int = 0) -> list[str]:
        return [summary(receipt) for receipt in self.receipts[since:]]

    def _of(self, receipt: Receipt) -> Json:
        """Whose it is."""
        return next(one.body["principal"] for one in self.receipts if one.session == receipt.session)

    def _facts(self, session: Session, admitted: Admitted, by: EffectBy) -> tuple[Facts, Held | None, dict[str, str]]:
        clock = Clock(1_800_000_000_000 + len(self.receipts), BOOT, 1000 + len(self.receipts))
        if isinstance(admitted, Refusal):
            return Facts(session.principal, session.door, self.policy, clock), None, {}
        held = None if admitted.key is None else self.claims.get((session.principal, admitted.tool, admitted.key))
        same = held is not None and held.args == admitted.args and held.decision.is_offer is (by is EffectBy.CLIENT)
        claim = None if held is None else Claim(held.decision.leaf, held.state, same)
        covering = [budget for budget in self.budgets if budget.covers(session.principal, admitted.tool)]
        windows = {budget.name: budget.window(session.id, clock.wall_ms) for budget in covering}
        left = {budget.name: budget.left(self.used.get((budget.name, windows[budget.name]), 0)) for budget in covering}
        hold = self.holds.get(admitted.tool)
        waiting = None if held is not None else self._waiting(session, admitted, by)
        crowded = sum(one.principal == session.principal for one in self.approvals.held.values()) >= HELD_MAX
        facts = Facts(session.principal, session.door, self.policy, clock, hold, claim, left, approval=waiting, crowded=crowded)
        return facts, held, windows

    def _waiting(self, session: Session, call: Call, by: EffectBy) -> Waits | None:
        """The held call that this one is."""
        same = (session.principal, call.tool, call.pin, call.args, by is EffectBy.CLIENT)
        for one in self.approvals.held.values():
            if (one.principal, one.tool, one.pin, self.attachments[one.args][SALT_BYTES:], one.by_client) == same:
                return one.read(self.registry.in_force_at(self.registry.size))
        return None

    def _open(self, session: Session, call: Call, receipt: Receipt, windows: dict[str, str]) -> None:
        for item in windows.items():
            self.used[item] = self.used.get(item, 0) + 1
        claim = None if call.key is None else Held(receipt, call.args)
        if claim is not None and call.key is not None:
            self.claims[session.principal, call.tool, call.key] = claim
        waits = self.offers if receipt.is_offer else self.intents
        waits[receipt.leaf] = Intent(receipt, call.tool, claim, windows)

    def _fresh(self, what: str) -> bytes:
        """32 bytes that occur once; the same in every run."""
        self._count += 1
        return hashes.sha256(f"{what} {self._count}".encode())


@dataclass
class MemoryHost:
    """One session's view of the log and of the desk."""

    log: MemoryLog
    session: Session
    desk: Desk
    causes: tuple[Digest, ...] = ()
    offered: Receipt | None = None

    async def commit(
        self, admitted: Admitted, decide: Callable[[Admitted, Facts], Decision], effect_by: EffectBy = EffectBy.KERNEL
    ) -> Receipt:
        await step("commit")
        receipt = self.log.decide(self.session, admitted, decide, effect_by, self.causes)
        self.offered = receipt if receipt.is_offer else self.offered
        return receipt

    async def dispatch(self, call: Call, intent: Receipt) -> Reply:
        await step("dispatch")
        return await self.desk.call(call.tool.partition("/")[2], call.args, key=call.key, wall_ms=call.wall_ms, output_bytes=4096)

    async def settle(self, intent: Receipt, outcome: Outcome) -> Receipt:
        await step("settle")
        return self.log.settle(self.session, intent.leaf, outcome)

    async def report(self, offer: Receipt, outcome: Outcome) -> Receipt:
        await step("report")
        return self.log.report(self.session, offer.leaf, outcome)

    async def answer(self, decision: Receipt, outcome: Receipt | None, output: bytes | None) -> Answer:
        await step("answer")
        if decision.repeats is not None:
            outcome = next(held.outcome for held in self.log.claims.values() if held.decision.leaf == decision.repeats)
            kept = outcome is not None and outcome.status in (Status.OK, Status.REPORTED) and "contract" in outcome.body
            output = self._content(outcome, "output_hash") if kept else None
        salt = self._content(outcome, "output_hash", salt=True) if output is not None else None
        args = self._content(decision, "args_hash", salt=True)
        assert decision.verdict is not None
        return Answer(
            decision.verdict, decision.reason, decision, outcome, output, salt, args, self.log.checkpoint(), decision.hint
        )

    def _content(self, receipt: Receipt | None, name: str, *, salt: bool = False) -> bytes | None:
        if receipt is None or name not in receipt.body:
            return None
        held = self.log.attachments[Digest(str(receipt.body[name]))]
        return held[:32] if salt else held[32:]


def summary(receipt: Receipt) -> str:
    """A receipt as `docs/spec/flows.md` writes it."""
    body = receipt.body
    said = [body.get("verdict"), body.get("status"), body.get("event")]
    reason = body.get("reason") if receipt.kind in (Kind.DECISION, Kind.OUTCOME, Kind.HOLD) else None
    return " ".join([receipt.kind.value, *(str(word) for word in (*said, reason) if word is not None)])
