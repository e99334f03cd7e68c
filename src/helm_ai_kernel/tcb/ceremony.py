"""The approval ceremony: what a held call waits for, who said what of it, and whether it may go on (`docs/spec/approval.md`).

A held call is one value. People's statements move it by the table below and nothing else does; a deny is final. What a decision
reads of it, and what it concludes from that and the clocks, is here too: the kernel and every verifier ask the same functions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from . import fields
from .clock import Clock
from .codes import Reason
from .digest import Digest, digest
from .envelope import pae
from .ijson import Json
from .jcs import canonical

INTENT, CONFIRM = "intent", "approval-confirm"  # payload kinds: a hash of one can never pass as one of the other
APPROVERS_MAX = 16  # more than any quorum that people keep
WAIT_MS_MAX = 366 * 86_400_000  # a timelock or a deadline of more than a year is a mistake
NAMES_MAX = 64
EXPIRES_MS = 3_600_000  # where no rule says otherwise


@dataclass(frozen=True, slots=True)
class Requirement:
    """What the rules that hold a call ask for, all of them together."""

    approvers: int = 1  # distinct keys of as many distinct principals
    timelock_ms: int = 0  # between the last approval that was needed and the dispatch
    expires_ms: int = EXPIRES_MS  # silence for so long is a deny
    not_by: tuple[str, ...] = ()  # principals whose approval does not count: the requester first of all

    def covers(self, other: "Requirement") -> bool:
        """At least as strict in every respect."""
        return self == self.stricter(other)

    def stricter(self, other: "Requirement") -> "Requirement":
        """The stricter of both, in each respect."""
        return Requirement(
            max(self.approvers, other.approvers),
            max(self.timelock_ms, other.timelock_ms),
            min(self.expires_ms, other.expires_ms),
            tuple(sorted({*self.not_by, *other.not_by})),
        )

    def to_json(self) -> dict[str, Json]:
        out: dict[str, Json] = {"approvers": self.approvers, "expires_ms": self.expires_ms, "timelock_ms": self.timelock_ms}
        return out | ({"not_by": list(self.not_by)} if self.not_by else {})

    @classmethod
    def from_json(cls, value: Json) -> "Requirement":
        body = fields.exact(value, {"approvers", "expires_ms", "timelock_ms"}, {"not_by"})
        approvers, timelock_ms, expires_ms = (fields.count(body, name) for name in ("approvers", "timelock_ms", "expires_ms"))
        not_by = fields.names(body, "not_by", NAMES_MAX) if "not_by" in body else ()
        if not 0 < approvers <= APPROVERS_MAX or not 0 < expires_ms <= WAIT_MS_MAX or timelock_ms > WAIT_MS_MAX:
            raise fields.wrong("no approver, or more approvers or time than anybody can wait for")
        return cls(approvers, timelock_ms, expires_ms, not_by)


class State(StrEnum):
    WAITING = "waiting"
    COMPLETE = "complete"  # enough approvals; the timelock runs, or is over
    OVERRIDDEN = "overridden"  # by a threshold of roots
    DENIED = "denied"


class Act(StrEnum):
    """What a statement says of a held call."""

    APPROVE = "approve"
    DENY = "deny"
    DISPUTE = "dispute"  # every approval so far is void: each must answer a new challenge
    WITHDRAW = "withdraw"  # one's own approval
    OVERRIDE = "override"


# What may be said in which state. Where it leads follows from who has approved: see `Ceremony.read`.
MAY: Mapping[State, frozenset[Act]] = MappingProxyType({
    State.WAITING: frozenset({Act.APPROVE, Act.DENY, Act.DISPUTE, Act.WITHDRAW, Act.OVERRIDE}),
    State.COMPLETE: frozenset({Act.APPROVE, Act.DENY, Act.DISPUTE, Act.WITHDRAW, Act.OVERRIDE}),
    State.OVERRIDDEN: frozenset({Act.DENY}),
    State.DENIED: frozenset(),
})  # fmt: skip
_NO_MORE = {State.OVERRIDDEN: Reason.ERR_APPROVAL_CONSUMED, State.DENIED: Reason.ERR_APPROVAL_DENIED}


class Voice(NamedTuple):
    """One statement about a held call: whose, and when the log took it."""

    key: str
    principal: str
    statement: Digest  # leaf of its receipt
    clock: Clock
    others: tuple[tuple[str, str], ...] = ()  # key and principal of everybody else who signed it: of an override, which many sign

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key, *(key for key, _ in self.others))

    @property
    def principals(self) -> tuple[str, ...]:
        return (self.principal, *(principal for _, principal in self.others))


@dataclass(frozen=True, slots=True)
class Held:
    """What a decision reads of a held call."""

    call: Digest  # leaf of the ESCALATE that began it
    at: Clock  # when that was decided
    requires: Requirement
    state: State
    since: Clock | None = None  # COMPLETE, OVERRIDDEN: when it became so
    statements: tuple[Digest, ...] = ()  # that made it so, as the log has them; of a WAITING one those that count already
    disputed: bool = False  # by anybody, ever: no grant lets it go on, only people who looked at this call

    def conclude(self, now: Clock) -> Reason:
        """OK: it may be dispatched. Else why not: by silence, by a deny, or not yet."""
        if self.expired(now):
            return Reason.ERR_APPROVAL_EXPIRED
        if self.state is State.DENIED:
            return Reason.ERR_APPROVAL_DENIED
        if self.since is None:
            return Reason.ERR_APPROVAL_REQUIRED
        passed = now.since(self.since)
        if passed is None:
            return Reason.ERR_CLOCK_UNTRUSTED
        waits = self.state is State.COMPLETE and passed.surely_ms < self.requires.timelock_ms
        return Reason.ERR_APPROVAL_PENDING_TIMELOCK if waits else Reason.OK

    def expired(self, now: Clock) -> bool:
        """On either clock, whatever the other one says: an approval that nobody used in time is silence, too."""
        wait = self.requires.expires_ms + (self.requires.timelock_ms if self.since else 0)
        return now.perhaps_ms(self.since or self.at) > wait

    def to_json(self) -> dict[str, Json]:
        out: dict[str, Json] = {"at": self.at.to_json(), "call": self.call, "requires": self.requires.to_json()}
        out["state"] = self.state.value
        if self.since is not None:
            out["since"] = self.since.to_json()
        if self.statements:
            out["statements"] = list(self.statements)
        return out | ({"disputed": True} if self.disputed else {})

    @classmethod
    def from_json(cls, value: Json) -> "Held":
        body = fields.exact(value, {"at", "call", "requires", "state"}, {"since", "statements", "disputed"})
        state = fields.one_of(body, "state", State)
        statements = fields.digests(body, "statements", APPROVERS_MAX) if "statements" in body else ()
        if ("since" in body) != (state in (State.COMPLETE, State.OVERRIDDEN)):
            raise fields.wrong("exactly what is complete is so since some time")
        if not statements and (state is not State.WAITING or "statements" in body):
            raise fields.wrong("an empty `statements` is left out, and nothing is decided without one")
        if "disputed" in body and body["disputed"] is not True:
            raise fields.wrong("a false `disputed` is left out")
        since = Clock.from_json(body["since"]) if "since" in body else None
        requires = Requirement.from_json(body["requires"])
        at, disputed = Clock.from_json(body["at"]), "disputed" in body
        return cls(fields.digest(body, "call"), at, requires, state, since, statements, disputed)


@dataclass(frozen=True, slots=True)
class Ceremony:
    """A held call from its ESCALATE to its end, which is a dispatch or a lapse."""

    call: Digest
    index: int  # of that receipt
    intent: Digest
    principal: str
    tool: str
    pin: Digest
    args: Digest  # name of the attachment: a retry takes it over
    requires: Requirement
    at: Clock
    approvals: tuple[Voice, ...] = ()  # in the order of the log
    denial: Voice | None = None
    override: Voice | None = None
    disputed: bool = False
    by_client: bool = False  # who would act on it: people approved that, so nobody else does

    def read(self, in_force: Callable[[str], bool]) -> Held:
        """As decisions read it; what was signed with a key that is in force no more counts for nothing, but a denial does."""
        if self.denial is not None:
            return self._held(State.DENIED, None, (self.denial,))
        if self.override is not None and all(map(in_force, self.override.keys)):
            return self._held(State.OVERRIDDEN, self.override.clock, (self.override,))
        counted = tuple(voice for voice in self.approvals if in_force(voice.key))
        if len(counted) < self.requires.approvers:
            return self._held(State.WAITING, None, counted)
        needed = counted[: self.requires.approvers]
        return self._held(State.COMPLETE, needed[-1].clock, needed)

    def refusal(self, act: Act, voice: Voice, in_force: Callable[[str], bool]) -> tuple[Reason, str] | None:
        """Why that cannot be said now by them, if it cannot. The first that is true."""
        state = self.read(in_force).state
        if act not in MAY[state]:
            return _NO_MORE[state], f"the call is {state.value} already"
        if act is Act.WITHDRAW and not any(v.key == voice.key for v in self.approvals):
            return Reason.ERR_APPROVAL_INTENT_MISMATCH, "this key approved nothing that could be withdrawn"
        if act not in (Act.APPROVE, Act.OVERRIDE):
            return None
        for principal in voice.principals:
            if principal.lower() in {name.lower() for name in self.requires.not_by}:
                return Reason.ERR_APPROVAL_SELF, f"`{principal}` may not approve this call"
        counted = [v for v in self.approvals if in_force(v.key)]
        if act is Act.APPROVE and any(v.principal.lower() == voice.principal.lower() for v in counted):
            return Reason.ERR_APPROVAL_CONSUMED, f"`{voice.principal}` has approved this call already"
        if act is Act.APPROVE and len(counted) >= APPROVERS_MAX:
            return Reason.ERR_APPROVAL_CONSUMED, f"{APPROVERS_MAX} people approved this call already"
        return None

    def next(self, act: Act, voice: Voice) -> "Ceremony":
        """After a statement that `refusal` had nothing against."""
        match act:
            case Act.APPROVE:
                return replace(self, approvals=(*self.approvals, voice))
            case Act.WITHDRAW:
                return replace(self, approvals=tuple(v for v in self.approvals if v.key != voice.key))
            case Act.DISPUTE:
                return replace(self, approvals=(), disputed=True)
            case Act.DENY:
                return replace(self, denial=voice)
            case Act.OVERRIDE:
                return replace(self, override=voice)

    def _held(self, state: State, since: Clock | None, voices: tuple[Voice, ...]) -> Held:
        said = tuple(voice.statement for voice in voices)
        return Held(self.call, self.at, self.requires, state, since, said, self.disputed)


def intent(deployment: str, principal: str, tool: str, pin: Digest, args: Digest, requires: Requirement) -> Digest:
    """What an approver signs for. Session and policy are recorded beside it, so that a retry is the same intent."""
    said: dict[str, Json] = {"args_hash": args, "deployment": deployment, "pin": pin, "principal": principal}
    said |= {"requires": requires.to_json(), "tool": tool}
    return digest(pae(INTENT, canonical(said)))


def confirmation(intent: Digest, nonce: str, key: str, act: Act) -> Digest:
    """What an approver works out by themselves, from the call that they saw and the challenge that they were given."""
    said: dict[str, Json] = {"decision": act.value, "intent": intent, "key": key, "nonce": nonce}
    return digest(pae(CONFIRM, canonical(said)))
