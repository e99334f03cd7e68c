"""A decision and everything that it was made from: from receipt, policy, catalogue and attachment anyone decides again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from . import fields
from .codes import Reason
from .digest import Digest
from .ijson import Json


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


@dataclass(frozen=True, slots=True)
class Clock:
    wall_ms: int  # Unix time, UTC
    boot: str  # boot id, 32 hex digits
    boot_ms: int  # since that boot


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

    def to_json(self) -> dict[str, Json]:
        out: dict[str, Json] = {"clock": {"boot": self.clock.boot, "boot_ms": self.clock.boot_ms, "wall_ms": self.clock.wall_ms}}
        if self.hold is not None:
            out["hold"] = self.hold
        if self.claim is not None:
            out["claim"] = {
                "decision": self.claim.decision,
                "same_args": self.claim.same_args,
                "state": self.claim.state.value,
            }
        if self.budget:
            out["budget"] = dict(self.budget)
        return out

    @classmethod
    def from_json(cls, value: Json, *, principal: str, door: str, policy: Digest | None) -> "Facts":
        """The inverse of `to_json`; raises `EvidenceError` where the value could not have come from it."""
        body = fields.exact(value, {"clock"}, {"hold", "claim", "budget"})
        clock = fields.exact(body["clock"], {"boot", "boot_ms", "wall_ms"})
        claim = None
        if "claim" in body:
            inner = fields.exact(body["claim"], {"decision", "same_args", "state"})
            claim = Claim(
                fields.digest(inner, "decision"),
                fields.one_of(inner, "state", ClaimState),
                fields.typed(inner, "same_args", bool),
            )
        budget: dict[str, int] = {}
        if "budget" in body:
            left = fields.typed(body, "budget", dict)
            budget = {name: fields.count(left, name) for name in left}
            if not budget:
                raise fields.wrong("an empty `budget` is left out")
        return cls(
            principal=principal,
            door=door,
            policy=policy,
            clock=Clock(fields.count(clock, "wall_ms"), fields.hex32(clock, "boot"), fields.count(clock, "boot_ms")),
            hold=fields.digest(body, "hold") if "hold" in body else None,
            claim=claim,
            budget=budget,
        )


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


class Status(StrEnum):
    """How a dispatched call ended."""

    OK = "OK"
    FAILED = "FAILED"  # the connector proves that nothing was applied
    DRIFT = "DRIFT"  # the output broke the pinned contract and was withheld
    UNKNOWN = "UNKNOWN"  # it may have been applied
    LATE = "LATE"  # an answer that came after UNKNOWN was recorded


class Contract(StrEnum):
    SCHEMA = "schema"
    SHAPE = "shape"


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
