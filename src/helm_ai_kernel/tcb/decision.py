"""A decision and everything that it was made from: from receipt, policy, catalogue and attachment anyone decides again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from . import fields
from .ceremony import APPROVERS_MAX, NAMES_MAX, Held, Requirement
from .clock import Clock
from .codes import Reason
from .digest import Digest
from .ijson import Json
from .interim import Interim


class Verdict(StrEnum):
    ALLOW = "ALLOW"
    DENY = "DENY"
    ESCALATE = "ESCALATE"


class ClaimState(StrEnum):
    """What is known of the first call with an idempotency key."""

    OPEN = "open"  # its intent has no outcome yet
    DONE = "done"  # its outcome is durable
    UNKNOWN = "unknown"  # its outcome is UNKNOWN: never dispatched again by itself


@dataclass(frozen=True, slots=True)
class Claim:
    """The earlier ALLOW that holds a call's idempotency key."""

    decision: Digest  # leaf hash of that ALLOW
    state: ClaimState
    same_args: bool

    def to_json(self) -> dict[str, Json]:
        return {"decision": self.decision, "same_args": self.same_args, "state": self.state.value}

    @classmethod
    def from_json(cls, value: Json) -> "Claim":
        body = fields.exact(value, {"decision", "same_args", "state"})
        same = fields.typed(body, "same_args", bool)
        return cls(fields.digest(body, "decision"), fields.one_of(body, "state", ClaimState), same)


@dataclass(frozen=True, slots=True)
class Granted:
    """A grant that covers the call: a person's statement made beforehand that counts as the approval, so many times."""

    statement: Digest  # leaf of its receipt
    left: int  # calls, this one with them
    since: Clock  # when the log took it
    by: tuple[str, ...]  # the principals that signed it, whose keys are in force

    def suffices(self, needed: Requirement, now: Clock) -> bool:
        """It counts as the approval of those who signed it, given when the log took it."""
        excluded = {name.lower() for name in needed.not_by}
        people, passed = [name for name in self.by if name.lower() not in excluded], now.since(self.since)
        return len(people) >= needed.approvers and passed is not None and passed.surely_ms >= needed.timelock_ms

    def to_json(self) -> dict[str, Json]:
        return {"by": list(self.by), "left": self.left, "since": self.since.to_json(), "statement": self.statement}

    @classmethod
    def from_json(cls, value: Json) -> "Granted":
        body = fields.exact(value, {"by", "left", "since", "statement"})
        by, left = fields.names(body, "by", APPROVERS_MAX), fields.count(body, "left")
        if not left:
            raise fields.wrong("a grant without a call left")
        return cls(fields.digest(body, "statement"), left, Clock.from_json(body["since"]), by)


@dataclass(frozen=True, slots=True)
class Facts:
    """What `decide` reads besides the call. `principal` and `door` stand in the session's start, the rest in the decision."""

    principal: str
    door: str
    policy: Digest | None  # digest of the policy in force, None before the first activation
    clock: Clock
    hold: Digest | None = None  # leaf of the hold on this tool
    claim: Claim | None = None
    budget: Mapping[str, int] = field(default_factory=dict)  # calls left, of each budget that covers this call
    frozen: Digest | None = None  # leaf of the freeze that stops this call
    approval: Held | None = None  # the same call, as it was held before
    grant: Granted | None = None
    not_by: tuple[str, ...] = ()  # who may not approve, besides the principal itself
    alone: bool = False  # nobody is there to be asked
    crowded: bool = False  # so many calls wait for a person already that one more is not held

    def to_json(self) -> dict[str, Json]:
        out: dict[str, Json] = {"clock": self.clock.to_json()}
        if self.hold is not None:
            out["hold"] = self.hold
        if self.claim is not None:
            out["claim"] = self.claim.to_json()
        if self.budget:
            out["budget"] = dict(self.budget)
        if self.frozen is not None:
            out["frozen"] = self.frozen
        if self.approval is not None:
            out["approval"] = self.approval.to_json()
        if self.grant is not None:
            out["grant"] = self.grant.to_json()
        if self.not_by:
            out["not_by"] = list(self.not_by)
        return out | {name: True for name in _FLAGS if getattr(self, name)}

    @classmethod
    def from_json(cls, value: Json, *, principal: str, door: str, policy: Digest | None) -> "Facts":
        """The inverse of `to_json`; raises `EvidenceError` where the value could not have come from it."""
        body = fields.exact(value, {"clock"}, _FACTS)
        budget: dict[str, int] = {}
        if "budget" in body:
            left = fields.typed(body, "budget", dict)
            budget = {name: fields.count(left, name) for name in left}
            if not budget:
                raise fields.wrong("an empty `budget` is left out")
        not_by = fields.names(body, "not_by", NAMES_MAX) if "not_by" in body else ()
        if not all(body[name] is True for name in _FLAGS if name in body):
            raise fields.wrong("what is not so is left out")
        return cls(
            principal=principal,
            door=door,
            policy=policy,
            clock=Clock.from_json(body["clock"]),
            hold=fields.digest(body, "hold") if "hold" in body else None,
            claim=Claim.from_json(body["claim"]) if "claim" in body else None,
            budget=budget,
            frozen=fields.digest(body, "frozen") if "frozen" in body else None,
            approval=Held.from_json(body["approval"]) if "approval" in body else None,
            grant=Granted.from_json(body["grant"]) if "grant" in body else None,
            not_by=not_by,
            alone="alone" in body,
            crowded="crowded" in body,
        )


_FLAGS = ("alone", "crowded")
_FACTS = frozenset({"hold", "claim", "budget", "frozen", "approval", "grant", "not_by", *_FLAGS})


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, why, and what the ledger must do in the same transaction."""

    verdict: Verdict
    reason: Reason
    rules: tuple[str, ...] = ()  # ids of the policies that determined it, sorted
    sub: str = ""
    reserve: Mapping[str, int] = field(default_factory=dict)  # calls taken from each budget
    repeats: Digest | None = None  # answer with the outcome of this earlier decision
    hint: str = ""  # for the caller; not in the receipt
    requires: Requirement | None = None  # ESCALATE: hold the call until so much is approved
    relies: tuple[Digest, ...] = ()  # ALLOW: the statements without which it were none


class Status(StrEnum):
    """How a call ended."""

    OK = "OK"
    FAILED = "FAILED"  # the connector proves that nothing was applied
    DRIFT = "DRIFT"  # the output broke the pinned contract and was withheld
    UNKNOWN = "UNKNOWN"  # it may have been applied
    LATE = "LATE"  # an answer that came after UNKNOWN was recorded
    REPORTED = "REPORTED"  # what the client, which acted on the verdict, told of it


class Contract(StrEnum):
    SCHEMA = "schema"
    SHAPE = "shape"
    QUESTION = "question"  # a question to a caller who can be asked (MCP 2026-07-28), and no answer yet


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an intent. `output` are the connector's raw bytes: what is hashed is what is released (unless withheld)."""

    status: Status
    ms: int
    output: bytes | None = field(default=None, repr=False)
    contract: Contract | None = None
    reason: Reason = Reason.OK
    sub: str = ""
    tool_error: bool = False
    truncated: bool = False
    interim: Interim | None = None  # what was released before; None: nothing
