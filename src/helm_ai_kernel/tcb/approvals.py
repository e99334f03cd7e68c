"""What waits for people and what they said, as one fold over a log: held calls and grants (`docs/spec/approval.md`).

The kernel asks it before it takes a statement or decides a held call, and a verifier asks it again of every receipt: there is
one set of rules. Which rule of the policy held a call, and whether a grant fits its arguments, is for a replay to say.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .ceremony import Act, Ceremony, Held, Requirement, Voice, confirmation, intent
from .clock import Clock
from .codes import Finding, Reason
from .decision import Granted, Verdict
from .digest import Digest
from .errors import EvidenceError
from .events import KeyEntry
from .grant import Grant
from .ijson import Json
from .receipt import EffectBy, Receipt
from .statement import Statement, StatementKind

InForce = Callable[[str], bool]  # key id -> whether it is in force where the receipt in question stands

_SAYS = frozenset({
    Reason.ERR_APPROVAL_PENDING_TIMELOCK, Reason.ERR_APPROVAL_DENIED, Reason.ERR_APPROVAL_EXPIRED, Reason.ERR_CLOCK_UNTRUSTED,
})  # fmt: skip


@dataclass(slots=True)
class Approvals:
    """Open ceremonies and grants. A group of the writer works on a copy of its own."""

    held: dict[Digest, Ceremony] = field(default_factory=dict)  # by the leaf of the ESCALATE, in the order of the log
    ended: dict[Digest, Reason] = field(default_factory=dict)  # how each of the others ended
    grants: dict[Digest, Grant] = field(default_factory=dict)  # by the leaf of the statement

    def copy(self) -> "Approvals":
        return Approvals(dict(self.held), dict(self.ended), dict(self.grants))

    def begin(self, receipt: Receipt, principal: str, *, disputed: bool = False) -> Ceremony:
        """The ESCALATE of a call that is held from now on. `disputed`: it was held before, and somebody disputed it then."""
        body = receipt.body
        requires = Requirement.from_json(body["requires"])
        tool, pin, args = str(body["tool"]), Digest(str(body["pin"])), Digest(str(body["args_hash"]))
        deployment = receipt.log.rpartition("/")[0]
        named = intent(deployment, principal, tool, pin, args, requires)
        at = _clock(body)
        made = Ceremony(
            receipt.leaf, receipt.index, named, principal, tool, pin, args, requires, at,
            disputed=disputed, by_client=body["effect_by"] == EffectBy.CLIENT,
        )  # fmt: skip
        self.held[receipt.leaf] = made
        return made

    def end(self, call: Digest, how: Reason) -> None:
        if self.held.pop(call, None) is not None:
            self.ended[call] = how

    def refusal(
        self, said: Statement, signers: Sequence[KeyEntry], leaf: Digest, clock: Clock, in_force: InForce
    ) -> tuple[Reason, str] | None:
        """Why this statement may not be taken now, if it may not. Of other kinds of statements nothing is said here."""
        match said.kind:
            case StatementKind.APPROVAL | StatementKind.OVERRIDE:
                return self._about(said, signers, leaf, clock, in_force)
            case StatementKind.GRANT if said.allows is not None:
                if said.allows.principal.lower() in {entry.principal.lower() for entry in signers}:
                    return Reason.ERR_APPROVAL_SELF, f"`{said.allows.principal}` may not grant calls to itself"
            case StatementKind.REVOCATION if said.grant not in self.grants:
                return Reason.ERR_APPROVAL_INTENT_MISMATCH, f"there is no grant `{said.grant}` in force"
        return None

    def take(self, said: Statement, signers: Sequence[KeyEntry], leaf: Digest, clock: Clock) -> None:
        """A statement that `refusal` had nothing against takes effect."""
        if said.act is not None and said.call is not None:
            self.held[said.call] = self.held[said.call].next(said.act, _voice(signers, leaf, clock))
        elif said.allows is not None and said.tool is not None:
            people = tuple((entry.key.id, entry.principal) for entry in signers)
            self.grants[leaf] = Grant(leaf, said.tool, said.allows, people, clock, said.allows.calls)
        elif said.grant is not None:
            self.grants.pop(said.grant, None)

    def decided(self, receipt: Receipt, principal: str, in_force: InForce) -> None:
        """A decision in whose making an approval had a part; raises `EvidenceError` where it could not have been made so."""
        try:
            self.judge(receipt, principal, in_force)
        finally:
            self.follow(receipt, principal)

    def follow(self, receipt: Receipt, principal: str) -> None:
        """The state after a decision, whatever is wrong with it."""
        body, facts = receipt.body, _facts(receipt.body)
        held = facts.get("approval")
        call = Digest(str(held["call"])) if isinstance(held, dict) else None
        before = None if call is None else self.held.get(call)
        if call is not None and before is not None:
            if receipt.goes:  # whatever it relies on: what the held call waited for has happened
                self.end(call, Reason.ERR_APPROVAL_CONSUMED)
            elif "requires" in body:
                self.end(call, Reason.ERR_APPROVAL_INTENT_MISMATCH)
            elif receipt.reason is Reason.ERR_APPROVAL_EXPIRED:
                self.end(call, Reason.ERR_APPROVAL_EXPIRED)
        relies = body.get("relies")
        if isinstance(relies, list) and len(relies) == 1 and (grant := self.grants.get(Digest(str(relies[0])))) is not None:
            self.grants[grant.statement] = grant.used()
        if "requires" in body:
            self.begin(receipt, principal, disputed=before is not None and before.disputed)

    def lapse(self, receipt: Receipt, in_force: InForce) -> None:
        """Nobody answered in time, or nobody used the answer; raises `EvidenceError` where the time was not over."""
        call = Digest(str(receipt.body["call"]))
        ceremony = self.held.get(call)
        self.end(call, Reason.ERR_APPROVAL_EXPIRED)
        if ceremony is None:
            raise _invalid("ends a held call that is not open")
        if not ceremony.read(in_force).expired(Clock.from_json(receipt.body["clock"])):
            raise _invalid("ends a held call before its time is over")

    def _about(
        self, said: Statement, signers: Sequence[KeyEntry], leaf: Digest, clock: Clock, in_force: InForce
    ) -> tuple[Reason, str] | None:
        ceremony = self.held.get(said.call or Digest(""))
        if ceremony is None:
            how = self.ended.get(said.call or Digest(""), Reason.ERR_APPROVAL_INTENT_MISMATCH)
            return how, f"no call is held any more by `{said.call}`"
        if said.intent != ceremony.intent:
            return Reason.ERR_APPROVAL_INTENT_MISMATCH, "what was signed for is another call than the one that is held"
        voice = _voice(signers, leaf, clock)
        if said.act is None:
            return Reason.ERR_APPROVAL_INTENT_MISMATCH, "it says nothing of the call"
        answer = confirmation(ceremony.intent, said.nonce, voice.key, said.act)
        if said.act is not Act.OVERRIDE and said.confirmation != answer:
            return Reason.ERR_APPROVAL_CHALLENGE, "the confirmation is not the answer to this challenge by this key"
        if ceremony.read(in_force).expired(clock):
            return Reason.ERR_APPROVAL_EXPIRED, "nobody approved this call in time"
        if said.act in (Act.APPROVE, Act.OVERRIDE) and clock.since(ceremony.at) is None:
            return Reason.ERR_CLOCK_UNTRUSTED, "a clock went back behind the time at which this call was held"
        return ceremony.refusal(said.act, voice, in_force)

    def judge(self, receipt: Receipt, principal: str, in_force: InForce) -> None:
        """Raises `EvidenceError` where such a decision could not have been made."""
        body, facts = receipt.body, _facts(receipt.body)
        now, ceremony = _clock(body), self._read(receipt, facts, principal, in_force)
        held = None if ceremony is None else ceremony.read(in_force)
        if "requires" in body:
            _check_begun(Requirement.from_json(body["requires"]), held, now, principal)
            return
        if held is not None:
            concluded = held.conclude(now)
            if (receipt.reason in _SAYS or receipt.verdict is Verdict.ESCALATE) and receipt.reason is not concluded:
                raise _invalid(f"says {receipt.reason.value} of a held call of which {concluded.value} is true")
        elif receipt.reason in _SAYS:
            raise _invalid(f"says {receipt.reason.value} of a call that is not held")
        granted = self._granted(receipt, facts, principal, in_force)
        if not receipt.goes:
            return
        relies = body.get("relies")
        if held is None and relies is None:
            return
        if held is not None and relies == _said(facts["approval"]):
            _check_concluded(held.conclude(now))
        elif granted is None or relies != [granted.statement]:
            raise _invalid("rests on what is neither the approval of this call nor a grant for it")
        elif granted.over(now):
            raise _invalid("rests on a grant whose calls or whose time are over")
        elif held is not None:
            _check_granted(held, granted.read(in_force), now)

    def _read(self, receipt: Receipt, facts: Mapping[str, Json], principal: str, in_force: InForce) -> Ceremony | None:
        held, body = facts.get("approval"), receipt.body
        if not isinstance(held, dict):
            return None
        call = Digest(str(held["call"]))
        ceremony = self.held.get(call)
        if ceremony is None:
            reused = self.ended.get(call) is Reason.ERR_APPROVAL_CONSUMED
            raise EvidenceError(
                Finding.APPROVAL_REUSED if reused else Finding.APPROVAL_INVALID, "reads a held call that is held no more"
            )
        if (principal, body["tool"], body.get("pin")) != (ceremony.principal, ceremony.tool, ceremony.pin):
            raise _invalid("reads a held call of another principal, of another tool or under another pin")
        if (body["effect_by"] == EffectBy.CLIENT) is not ceremony.by_client:
            raise _invalid("reads a held call that somebody else would act on")
        if "requires" not in body and body["args_hash"] != ceremony.args:
            raise _invalid("reads a held call with other arguments")
        if held != ceremony.read(in_force).to_json():
            raise _invalid("reads of a held call otherwise than the log shows")
        return ceremony

    def _granted(self, receipt: Receipt, facts: Mapping[str, Json], principal: str, in_force: InForce) -> Grant | None:
        said, body = facts.get("grant"), receipt.body
        if not isinstance(said, dict):
            return None
        grant = self.grants.get(Digest(str(said["statement"])))
        if grant is None or not grant.is_for(principal, str(body["tool"]), Digest(str(body.get("pin")))):
            raise _invalid("reads a grant that is not in force for this principal, tool and pin")
        read = grant.read(in_force)
        if read is None or said != read.to_json():
            raise _invalid("reads of a grant otherwise than the log shows")
        return grant


def held_call(receipt: Receipt) -> tuple[Digest, int] | None:
    """The held call that an ESCALATE is or waits for, and the Unix time in ms at which silence ends it."""
    if receipt.verdict is not Verdict.ESCALATE or receipt.body["effect_by"] == EffectBy.NONE:
        return None
    if "requires" in receipt.body:
        requires = Requirement.from_json(receipt.body["requires"])
        return receipt.leaf, _clock(receipt.body).wall_ms + requires.expires_ms
    held = Held.from_json(_facts(receipt.body)["approval"])
    waits_ms = held.requires.expires_ms + (held.requires.timelock_ms if held.since else 0)
    return held.call, (held.since or held.at).wall_ms + waits_ms


def concerns(receipt: Receipt) -> bool:
    """Whether an approval had a part in this decision."""
    if receipt.body["effect_by"] == EffectBy.NONE:
        return False
    facts = receipt.body["facts"]
    read = isinstance(facts, dict) and ("approval" in facts or "grant" in facts)
    return read or "requires" in receipt.body or "relies" in receipt.body or receipt.reason in _SAYS


def moves(body: Mapping[str, Json]) -> bool:
    """Whether a decision changes what is held or granted, and does not only read it."""
    if body["effect_by"] == EffectBy.NONE:
        return False
    return "requires" in body or "relies" in body or body["reason"] == Reason.ERR_APPROVAL_EXPIRED


_OVER = (Reason.ERR_APPROVAL_EXPIRED, Reason.ERR_APPROVAL_DENIED)


def _check_begun(requires: Requirement, before: Held | None, now: Clock, principal: str) -> None:
    if principal not in requires.not_by:
        raise _invalid("holds a call that its own principal could approve")
    if before is None:
        return
    if before.conclude(now) in _OVER:
        raise _invalid("holds a call again that a person denied, or that nobody approved in time")
    if not requires.covers(before.requires) or requires == before.requires:
        raise _invalid("holds a call again without asking for more")


def _check_granted(held: Held, granted: Granted | None, now: Clock) -> None:
    """A grant for what is held already: it must do what that waits for, and nobody may have said no."""
    if held.disputed or held.conclude(now) in _OVER:
        raise _invalid("allows by a grant what a person denied or disputed, or what expired")
    if granted is None or not granted.suffices(held.requires, now):
        raise _invalid("allows a held call by a grant that is not the approval that it waits for")


def _check_concluded(reason: Reason) -> None:
    if reason is Reason.ERR_APPROVAL_PENDING_TIMELOCK:
        raise EvidenceError(Finding.TIMELOCK_SHORT, "is dispatched before the timelock of its approval is over")
    if reason is not Reason.OK:
        raise _invalid(f"is dispatched where {reason.value} is true of its approval")


def _facts(body: Mapping[str, Json]) -> Mapping[str, Json]:
    facts = body["facts"]
    return facts if isinstance(facts, dict) else {}


def _said(held: Json) -> Json:
    return held.get("statements", []) if isinstance(held, dict) else None


def _clock(body: Mapping[str, Json]) -> Clock:
    return Clock.from_json(_facts(body)["clock"])


def _voice(signers: Sequence[KeyEntry], leaf: Digest, clock: Clock) -> Voice:
    first, *others = signers
    return Voice(first.key.id, first.principal, leaf, clock, tuple((entry.key.id, entry.principal) for entry in others))


def _invalid(detail: str) -> EvidenceError:
    return EvidenceError(Finding.APPROVAL_INVALID, detail)
