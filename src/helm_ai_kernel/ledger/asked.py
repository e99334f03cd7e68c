"""What waits for people, as the single writer reads and changes it: held calls, grants, freezes (`docs/spec/approval.md`)."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from helm_ai_kernel.guardian.fit import fits
from helm_ai_kernel.tcb.approvals import concerns
from helm_ai_kernel.tcb.call import Call
from helm_ai_kernel.tcb.ceremony import Ceremony, Held
from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Granted
from helm_ai_kernel.tcb.digest import SALT_BYTES, Digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.flows import scopes
from helm_ai_kernel.tcb.ijson import BYTES_MAX, Json
from helm_ai_kernel.tcb.receipt import Kind, Receipt
from helm_ai_kernel.tcb.statement import Statement

from .transaction import ARGS, Session, Transaction
from .vault import Subject

HELD_MAX = 64  # calls of one principal that wait at once: more than a person looks at, and what a retry is compared with
HELD_BYTES_MAX = 4 << 20  # of their arguments, together: each retry reads them again, and who lists what waits is told all
CHALLENGE_MS = 300_000  # to look at one call and sign
CHALLENGES_MAX = 1024  # outstanding at once; one more takes the place of the oldest


def held(tx: Transaction, principal: str, call: Call, about: Subject, by_client: bool) -> tuple[Held | None, bytes]:
    """The held call that this one is, byte for byte and by who would act on it, and its arguments with their salt."""
    mine = (principal, call.tool, call.pin, by_client)
    for ceremony in tx.approvals.held.values():
        if mine == (ceremony.principal, ceremony.tool, ceremony.pin, ceremony.by_client):
            kept = tx.attachment(ceremony.index, ARGS)
            content = None if kept is None or kept.subject != about.id else kept.content
            if content is not None and content[SALT_BYTES:] == call.args:
                return ceremony.read(in_force(tx)), content
    return None, b""


def crowded(tx: Transaction, principal: str) -> bool:
    """Whether one more call of theirs would be too much to look at."""
    mine = [ceremony.index for ceremony in tx.approvals.held.values() if ceremony.principal == principal]
    if len(mine) * BYTES_MAX < HELD_BYTES_MAX:
        return False
    return len(mine) >= HELD_MAX or sum(tx.attached_bytes(index, ARGS) for index in mine) >= HELD_BYTES_MAX


def granted(tx: Transaction, principal: str, call: Call) -> Granted | None:
    """The oldest grant that covers the call."""
    for grant in tx.approvals.grants.values():
        if grant.is_for(principal, call.tool, call.pin) and not grant.over(tx.moment.clock) and fits(grant.allows, call.view):
            read = grant.read(in_force(tx))
            if read is not None:
                return read
    return None


def frozen(tx: Transaction, session: Session, tool: str) -> Digest | None:
    """The freeze that stops this call, the widest first."""
    if not tx.holds:
        return None
    found = (tx.holds.get(scope) for scope in scopes(session.principal, session.id, tool))
    return next((leaf for leaf in found if leaf is not None), None)


def moved(tx: Transaction, decision: Receipt, session: Session) -> Receipt:
    """After a decision: a call is held, goes on, or is over; a grant has a call less."""
    if concerns(decision):
        tx.change_approvals().follow(decision, session.principal)
    return decision


def lapse(tx: Transaction) -> int:
    """Say of every held call whose time is over that nobody answered; how many there were."""
    if tx.kernel is None:
        return 0
    over = [one for one in tx.approvals.held.values() if one.read(in_force(tx)).expired(tx.moment.clock)]
    for ceremony in over:
        reason = Reason.ERR_APPROVAL_EXPIRED
        content: dict[str, Json] = {"call": ceremony.call, "clock": tx.moment.clock.to_json(), "reason": reason.value}
        tx.append(tx.kernel, Kind.LAPSE, content, (ceremony.call,))
        tx.change_approvals().end(ceremony.call, reason)
    return len(over)


def in_force(tx: Transaction) -> Callable[[str], bool]:
    return tx.ink.registry.in_force_at(tx.ink.registry.size)


@dataclass(slots=True)
class Challenges:
    """Nonces that were given to approvers: each for one key and one call, once, for a short time. A restart forgets them."""

    _given: dict[tuple[Digest, str], tuple[str, Clock]] = field(default_factory=dict)

    def give(self, ceremony: Ceremony, key: str, now: Clock) -> str:
        """A new one; the one before for that key and call works no more."""
        self._given.pop((ceremony.call, key), None)
        while len(self._given) >= CHALLENGES_MAX:
            del self._given[next(iter(self._given))]
        nonce = os.urandom(16).hex()
        self._given[ceremony.call, key] = nonce, now
        return nonce

    def take(self, said: Statement, now: Clock) -> None:
        """Use it up; raises `Refused(ERR_APPROVAL_CHALLENGE)` where the statement does not answer one that is good now."""
        nonce, given = self._given.pop((said.call or Digest(""), said.signers[0]), ("", now))
        passed = now.since(given)
        if nonce != said.nonce or passed is None or passed.perhaps_ms > CHALLENGE_MS:
            detail = "the statement does not answer a challenge that is good now"
            raise Refused(Reason.ERR_APPROVAL_CHALLENGE, detail, hint="helm-ai-kernel approvals list")
