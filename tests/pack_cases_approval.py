"""Cases about what waits for people: held calls, approvals, overrides, grants, freezes, lapses (V10, V11).

An insider with the kernel's keys wrote what is wrong; what people sign, they sign themselves, with their own keys.
"""

from collections.abc import Callable

from helm_ai_kernel.tcb import pack, registry
from helm_ai_kernel.tcb.ceremony import Act, Held, Requirement, State, confirmation, intent
from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.decision import Status, Verdict
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.envelope import seal
from helm_ai_kernel.tcb.events import End
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.keys import Purpose
from helm_ai_kernel.tcb.receipt import Receipt
from pack_case import Made, case, of
from pack_cases_log import begun, sets
from packs import AT, TOOL, Body, Deployment, Log, after, key, relined, repack

HOUR = 3_600_000  # for so long a call waits, unless it is said otherwise
ADA, BOB, BOBS_OTHER = (key(name, Purpose.APPROVAL) for name in ("ada", "bob", "bob again"))
RITA = key("rita", Purpose.ROOT)
INVALID = Exit.INVALID


def team(threshold: int = 1, principal: str = "agent") -> tuple[Log, str]:
    """A log with a policy in force and an agent's session; `olga`, `ada` and `bob`, who has two keys, may approve.

    There are two roots, `olga` and `rita`.
    """
    deployment = Deployment()
    for secret, person in ((ADA, "ada"), (BOB, "bob"), (BOBS_OTHER, "Bob"), (RITA, "rita")):
        deployment.enrol(secret, person)
    if threshold > 1:
        body = registry.new_threshold(deployment.registry, threshold, at=AT)
        deployment.sign(body, deployment.root, RITA)
    log = Log(deployment)
    log.start_kernel()
    log.activate()
    return log, log.start(principal)


def asked(**asks: int) -> tuple[Log, str, Receipt]:
    """A call that waits for a person (`olga`)."""
    log, agent = begun()
    return log, agent, log.escalate(agent, **asks)


def approved(**asks: int) -> tuple[Log, str, Receipt]:
    log, agent, call = asked(**asks)
    log.approve(call)
    return log, agent, call


def done(log: Log, agent: str, intent: Receipt) -> Made:
    """The log with the outcome of what was dispatched."""
    log.settle(agent, intent.leaf)
    return of(log)


def remade(log: Log, change: Callable[[Body], object]) -> Made:
    """The last receipt as no kernel of this version can write it."""
    body: Body = {**log.receipts[-1].body}
    change(body)
    return of(log, relined(log, [*log.lines[:-1], seal(body, [log.deployment.execution]).line]))


def restart(log: Log) -> str:
    """Everything ended, another process began; returns an agent's session."""
    ended = {receipt.session for receipt in log.receipts if receipt.body.get("event") == "end"}
    for session in sorted(log.principals.keys() - ended - {log.kernel}):
        log.end(session)
    log.end(log.kernel)
    log.start_kernel()
    return log.start()


# VALID: people answer


@case(Exit.VALID)
def approval_of_two() -> Made:
    """A call waits for two people; a retry after the first waits on, the one after the second goes."""
    log, agent = team()
    call = log.escalate(agent, approvers=2)
    log.approve(call, ADA)
    log.poll(agent, call)
    log.approve(call, BOB)
    return done(log, agent, log.resume(agent, call))


@case(Exit.VALID)
def approval_after_its_timelock() -> Made:
    """The dispatch comes in the millisecond in which the timelock is over; the one before it still waits."""
    log, agent, call = approved(timelock_ms=60_000)
    log.poll(agent, call, clock=after(59_999))
    return done(log, agent, log.resume(agent, call, clock=after(60_000)))


@case(Exit.VALID)
def approval_in_its_last_millisecond() -> Made:
    """A person approves in the last millisecond, and the call goes in the last one of the approval."""
    log, agent, call = asked(expires_ms=1000, timelock_ms=500)
    log.approve(call, clock=after(1000))
    return done(log, agent, log.resume(agent, call, clock=after(2500)))


@case(Exit.VALID)
def approval_over_a_restart() -> Made:
    """A call is approved, the machine boots again, and another session of the same agent takes the call up."""
    log, _, call = approved(timelock_ms=60_000)
    agent = restart(log)
    log.poll(agent, call, clock=after(70_000, boot="next", boot_ms=58_999))
    return done(log, agent, log.resume(agent, call, clock=after(71_001, boot="next", boot_ms=59_000)))


@case(Exit.VALID)
def approval_disputed_and_given_again() -> Made:
    """One of two people disputes what both approved; nothing goes until both have answered a new challenge."""
    log, agent = team()
    call = log.escalate(agent, approvers=2)
    for said, by in ((Act.APPROVE, ADA), (Act.APPROVE, BOB), (Act.DISPUTE, ADA), (Act.APPROVE, BOB)):
        log.say(said, call, by)
    log.poll(agent, call)
    log.approve(call, ADA)
    return done(log, agent, log.resume(agent, call))


@case(Exit.VALID)
def approval_withdrawn() -> Made:
    """A person takes their approval back, and gives it again; the timelock runs from then."""
    log, agent, call = approved(timelock_ms=1000)
    log.say(Act.WITHDRAW, call, clock=after(900))
    log.poll(agent, call, clock=after(1500))
    log.approve(call, clock=after(2000))
    return done(log, agent, log.resume(agent, call, clock=after(3000)))


@case(Exit.VALID)
def approval_of_more_than_are_needed() -> Made:
    """Three approve where two are needed; the first of them withdraws, and the call rests on the other two."""
    log, agent = team()
    call = log.escalate(agent, approvers=2)
    for by in (ADA, BOB, log.deployment.approval):
        log.approve(call, by)
    log.say(Act.WITHDRAW, call, ADA)
    return done(log, agent, log.resume(agent, call))


@case(Exit.VALID)
def denied_by_the_requester() -> Made:
    """A person whose approval would not count denies their own agent's call; a retry hears it, and the call lapses."""
    log, agent = team(principal="ada")
    call = log.escalate(agent)
    log.say(Act.DENY, call, ADA)
    log.poll(agent, call, verdict=Verdict.DENY)
    log.lapse(call, clock=after(HOUR + 1))
    return of(log)


@case(Exit.VALID)
def approval_of_a_key_that_ended() -> Made:
    """Of two who approved one has a new key: the old one counts no more, and the same person approves with the new one."""
    log, _ = team()
    agent = log.start()
    call = log.escalate(agent, approvers=2)
    log.approve(call, ADA)
    log.approve(call, BOB)
    new = key("ada's next", Purpose.APPROVAL)
    log.deployment.rotate(ADA, new)
    agent = restart(log)
    log.poll(agent, call)
    log.approve(call, new)
    return done(log, agent, log.resume(agent, call))


@case(Exit.VALID)
def denied_because_a_clock_went_back() -> Made:
    """The wall clock is behind the approval: nobody knows whether its time is over, and the call is denied for now."""
    log, agent, call = approved(timelock_ms=1000)
    log.poll(agent, call, Reason.ERR_CLOCK_UNTRUSTED, clock=after(5000, wall_ms=-1), verdict=Verdict.DENY)
    return done(log, agent, log.resume(agent, call, clock=after(6000)))


# VALID: nobody answers, or more is asked for


@case(Exit.VALID)
def lapsed() -> Made:
    """Nobody answers; the kernel says so, and the same call waits anew."""
    log, agent, call = asked()
    log.lapse(call, clock=after(HOUR + 1))
    log.escalate(agent, clock=after(HOUR + 2))
    return of(log)


@case(Exit.VALID)
def lapsed_on_one_clock() -> Made:
    """The boot clock says that the time is over, and the wall clock went back: silence is a deny."""
    log, _, call = asked()
    log.lapse(call, clock=after(HOUR + 1, wall_ms=-86_400_000))
    return of(log)


@case(Exit.VALID)
def expired_at_the_retry() -> Made:
    """Nobody used the approval in time: the retry hears that, the call is held no more, and the next one waits anew."""
    log, agent, call = approved()
    log.poll(agent, call, clock=after(HOUR + 1), verdict=Verdict.DENY)
    log.escalate(agent, clock=after(HOUR + 2))
    return of(log)


@case(Exit.VALID)
def asked_for_more() -> Made:
    """A stricter policy comes into force while a call is approved: it is held again for two people, who approve."""
    log, agent = team()
    call = log.escalate(agent)
    log.approve(call, ADA)
    again = log.escalate(agent, approvers=2, before=log.held(call))
    log.approve(again, ADA)
    log.approve(again, BOB)
    return done(log, agent, log.resume(agent, again))


@case(Exit.VALID)
def denied_for_another_reason_while_held() -> Made:
    """A held call meets a policy that forbids it: that ends nothing, and the approval still waits."""
    log, agent, call = approved()
    log.poll(agent, call, Reason.ERR_POLICY_DENY, verdict=Verdict.DENY)
    return done(log, agent, log.resume(agent, call))


# VALID: roots and grants


@case(Exit.VALID)
def overridden() -> Made:
    """Two roots let a call go on that waits for three people and a day."""
    log, agent = team(threshold=2)
    call = log.escalate(agent, approvers=3, timelock_ms=86_400_000)
    log.override(call, log.deployment.root, RITA)
    return done(log, agent, log.resume(agent, call))


@case(Exit.VALID)
def overridden_and_denied() -> Made:
    """A person denies what the roots let go on: deny wins."""
    log, agent, call = asked()
    log.override(call)
    log.say(Act.DENY, call)
    log.poll(agent, call, verdict=Verdict.DENY)
    return of(log)


@case(Exit.VALID)
def grant_used() -> Made:
    """Two calls are approved beforehand; both go, and the third waits."""
    log, agent = begun()
    given = log.grant(calls=2)
    for _ in range(2):
        log.settle(agent, log.use(agent, given).leaf)
    log.escalate(agent)
    return of(log)


@case(Exit.VALID)
def grant_revoked() -> Made:
    """A grant is revoked before it was used up; the next call waits."""
    log, agent = begun()
    given = log.grant(calls=5)
    log.settle(agent, log.use(agent, given, clock=after(HOUR)).leaf)
    log.revoke(given)
    log.escalate(agent)
    return of(log)


@case(Exit.VALID)
def grant_of_two() -> Made:
    """Two people give a grant together; it does what a call waits for that is held for two and a minute."""
    log, agent = team()
    given = log.grant(ADA, BOB)
    call = log.escalate(agent, approvers=2, timelock_ms=60_000)
    went = log.resume(agent, call, grant=log.granted(given), relies=[given.leaf], clock=after(60_000))
    return done(log, agent, went)


@case(Exit.VALID)
def grant_read_and_not_used() -> Made:
    """A decision reads a grant and denies for another reason: no call of it is used."""
    log, agent = begun()
    given = log.grant(calls=1)
    log.deny(agent, Reason.ERR_BUDGET_EXHAUSTED, grant=log.granted(given))
    return done(log, agent, log.use(agent, given))


# VALID: freezes, gaps


@case(Exit.VALID)
def frozen_and_released() -> Made:
    """Everything, a server, an agent and a session are frozen, a call is denied in each, and people release them."""
    log, agent = begun()
    for scope in ("all", "server:demo", "agent:agent", f"session:{agent}"):
        freeze = log.freeze(scope)
        log.deny(agent, Reason.ERR_FROZEN, frozen=freeze.leaf)
        log.thaw(freeze)
    return done(log, agent, log.allow(agent))


@case(Exit.VALID)
def frozen_others() -> Made:
    """Another server, agent and session are frozen; the call goes."""
    log, agent = begun()
    for scope in ("server:dem", "agent:Agent", f"session:{log.kernel}"):
        log.freeze(scope)
    return done(log, agent, log.allow(agent))


@case(Exit.VALID)
def approved_in_a_freeze() -> Made:
    """A person approves while everything is frozen; the call goes when a person has released that."""
    log, agent, call = asked()
    freeze = log.freeze()
    log.approve(call)
    log.deny(agent, Reason.ERR_FROZEN, frozen=freeze.leaf)
    log.thaw(freeze)
    return done(log, agent, log.resume(agent, call))


@case(Exit.VALID)
def gap() -> Made:
    """Refusals that were only counted."""
    log, _ = begun()
    log.gap(ERR_UPSTREAM_SHAPE=1000, ERR_JSON_NOT_IJSON=3)
    return of(log)


# another call than the one that was approved


@case(INVALID, Finding.APPROVAL_INVALID)
def resumed_with_other_arguments() -> Made:
    """The approved call goes with other arguments."""
    log, agent, call = approved()
    return done(log, agent, log.resume(agent, call, args=log.attach(b'{"a":1000,"b":2}')))


@case(INVALID, Finding.APPROVAL_INVALID)
def polled_with_other_arguments() -> Made:
    """A call with other arguments is told that it waits as the held one does."""
    log, agent, call = asked()
    log.poll(agent, call, args=log.attach(b'{"a":1000,"b":2}'))
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def resumed_by_another_tool() -> Made:
    """Another tool is called with what was approved."""
    log, agent, call = approved()
    return done(log, agent, log.resume(agent, call, tool="demo/sum", more={"pin": call.body["pin"]}))


@case(INVALID, Finding.APPROVAL_INVALID)
def resumed_under_another_pin() -> Made:
    """The tool was pinned anew between approval and dispatch."""
    log, agent, call = approved()
    return done(log, agent, log.resume(agent, call, more={"pin": digest(b"another")}))


@case(INVALID, Finding.APPROVAL_INVALID)
def resumed_by_another_principal() -> Made:
    """Another agent takes up what was approved."""
    log, _, call = approved()
    other = log.start("other-agent")
    return done(log, other, log.resume(other, call))


def meant(field: str, other: object) -> Made:
    """A person signs for a call that differs in one thing from the one that is held."""
    log, _, call = asked()
    held = log.ceremony(call)
    said: dict[str, object] = {"deployment": log.deployment.registry.deployment, "principal": "agent", "tool": TOOL}
    said |= {"pin": held.pin, "args": held.args, "requires": held.requires, field: other}
    log.approve(call, intent=intent(**said))  # type: ignore[arg-type]
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def intent_of_other_arguments() -> Made:
    """An approval was signed for other arguments."""
    return meant("args", digest(b"another"))


@case(INVALID, Finding.APPROVAL_INVALID)
def intent_of_another_tool() -> Made:
    """An approval was signed for another tool."""
    return meant("tool", "demo/sum")


@case(INVALID, Finding.APPROVAL_INVALID)
def intent_of_another_pin() -> Made:
    """An approval was signed for another definition of the tool."""
    return meant("pin", digest(b"another"))


@case(INVALID, Finding.APPROVAL_INVALID)
def intent_of_another_principal() -> Made:
    """An approval was signed for the call of another agent."""
    return meant("principal", "Agent")


@case(INVALID, Finding.APPROVAL_INVALID)
def intent_of_another_deployment() -> Made:
    """An approval was signed for another deployment."""
    return meant("deployment", "helm.local/0123456789abcdef")


@case(INVALID, Finding.APPROVAL_INVALID)
def intent_with_less_required() -> Made:
    """An approval was signed for a call that waits for less."""
    return meant("requires", Requirement(expires_ms=HOUR + 1, not_by=("agent",)))


@case(INVALID, Finding.APPROVAL_INVALID)
def approval_of_what_is_not_held() -> Made:
    """A person approves a call that was denied."""
    log, agent, call = asked()
    denied = log.deny(agent)
    log.say(Act.APPROVE, denied, intent=log.ceremony(call).intent)
    return of(log)


@case(INVALID, Finding.DOMAIN_MISMATCH)
def approval_for_another_log() -> Made:
    """An approval was signed for another log of the deployment."""
    log, _, call = asked()
    log.approve(call, log=f"{log.deployment.registry.deployment}/0123456789abcdef")
    return of(log)


# used up


@case(INVALID, Finding.APPROVAL_REUSED)
def approval_used_twice() -> Made:
    """An approved call is dispatched a second time."""
    log, agent, call = approved()
    held = log.held(call)
    log.settle(agent, log.resume(agent, call).leaf)
    return done(log, agent, log.resume(agent, call, held=held))


@case(INVALID, Finding.APPROVAL_REUSED)
def approval_used_by_two_sessions() -> Made:
    """Two sessions of one agent take up the same approval before either has its outcome."""
    log, agent, call = approved()
    held, other = log.held(call), log.start()
    first = log.resume(agent, call)
    log.settle(other, log.resume(other, call, held=held).leaf)
    return done(log, agent, first)


@case(INVALID, Finding.APPROVAL_REUSED)
def approval_used_although_it_was_unknown() -> Made:
    """The outcome of the approved call is UNKNOWN, and it is dispatched again."""
    log, agent, call = approved()
    held, first = log.held(call), log.resume(agent, call)
    log.start_kernel()
    log.recover(1)
    log.settle(log.kernel, first.leaf, Status.UNKNOWN)
    agent = log.start()
    return done(log, agent, log.resume(agent, call, held=held))


@case(INVALID, Finding.APPROVAL_REUSED)
def denied_after_the_dispatch() -> Made:
    """A person denies what was dispatched already, and the log takes it."""
    log, agent, call = approved()
    named = log.ceremony(call).intent
    log.settle(agent, log.resume(agent, call).leaf)
    log.say(Act.DENY, call, intent=named)
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def used_after_the_lapse() -> Made:
    """A call that lapsed is dispatched with the approval that it had."""
    log, agent, call = approved()
    held = log.held(call)
    log.lapse(call, clock=after(HOUR + 1))
    return done(log, agent, log.resume(agent, call, held=held, clock=after(10)))


@case(INVALID, Finding.APPROVAL_INVALID)
def used_after_more_was_asked_for() -> Made:
    """A call was held again for two people, and goes with the one approval of before."""
    log, agent, call = approved()
    held = log.held(call)
    log.escalate(agent, approvers=2, before=held)
    return done(log, agent, log.resume(agent, call, held=held))


@case(INVALID, Finding.APPROVAL_INVALID)
def relies_on_another_approval() -> Made:
    """A call that nobody approved goes because of the approval of another one."""
    log, agent, call = asked()
    other = log.escalate(agent)
    said = log.approve(other)
    return done(log, agent, log.resume(agent, call, relies=[said.leaf]))


@case(INVALID, Finding.APPROVAL_INVALID)
def relies_without_a_reading() -> Made:
    """A call rests on an approval, and its facts read no held call."""
    log, agent, call = asked()
    said = log.approve(call)
    more: Body = {"relies": [said.leaf]}
    return done(log, agent, log.allow(agent, more=more))


@case(INVALID, Finding.APPROVAL_INVALID)
def held_and_dispatched_without_an_approval() -> Made:
    """A call reads that it is held, and goes without resting on anything."""
    log, agent, call = approved()
    facts, args = {"approval": log.held(call)}, Digest(str(call.body["args_hash"]))
    more: Body = {"deadline_ms": 1}
    return done(log, agent, log.decide(agent, Verdict.ALLOW, args=args, facts=facts, more=more, parents=[call.leaf]))


@case(INVALID, Finding.FLOW_INVALID)
def resumed_without_its_causes() -> Made:
    """A dispatch names neither the held call nor the approval among its parents."""
    log, agent, call = approved()
    return done(log, agent, log.resume(agent, call, parents=[]))


@case(INVALID, Finding.FLOW_INVALID)
def approval_without_its_cause() -> Made:
    """The receipt of an approval does not name the held call among its parents."""
    log, agent, call = asked()
    log.approve(call, parents=[])
    return done(log, agent, log.resume(agent, call))


# who approves


@case(INVALID, Finding.KEY_ROLE)
def approval_by_a_root_key() -> Made:
    """A root key approves: it may put a policy into force, and may not do this."""
    log, agent, call = asked()
    log.approve(call, log.deployment.root)
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.KEY_ROLE)
def approval_by_the_kernel() -> Made:
    """The kernel's own key approves."""
    log, agent, call = asked()
    log.approve(call, log.deployment.execution)
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.KEY_UNKNOWN, Finding.APPROVAL_INVALID)
def approval_by_a_stranger() -> Made:
    """A key approves that is not in the registry, and the kernel believes it."""
    log, agent, call = asked()
    said = log.approve(call, key("stranger", Purpose.APPROVAL))
    held = log.held(call)
    believed = Held(call.leaf, held.at, held.requires, State.COMPLETE, after(), (said.leaf,))
    return done(log, agent, log.resume(agent, call, held=believed))


@case(INVALID, Finding.KEY_REVOKED, Finding.APPROVAL_INVALID)
def approval_by_a_revoked_key() -> Made:
    """A key approves that was revoked before, and the kernel believes it."""
    log, _ = team()
    log.deployment.revoke(ADA, End.CESSATION)
    agent = restart(log)
    call = log.escalate(agent)
    said = log.approve(call, ADA)
    held = log.held(call)
    believed = Held(call.leaf, held.at, held.requires, State.COMPLETE, after(), (said.leaf,))
    return done(log, agent, log.resume(agent, call, held=believed))


@case(INVALID, Finding.APPROVAL_INVALID)
def approver_revoked_before_the_dispatch() -> Made:
    """The key of the one who approved was revoked between approval and dispatch."""
    log, agent = team()
    call = log.escalate(agent)
    log.approve(call, ADA)
    held = log.held(call)
    log.deployment.revoke(ADA, End.SUPERSEDED)
    agent = restart(log)
    return done(log, agent, log.resume(agent, call, held=held))


@case(INVALID, Finding.KEY_COMPROMISED_UNANCHORED)
def approval_by_a_stolen_key() -> Made:
    """The key of the one who approved turns out to be stolen, long after the dispatch."""
    log, agent = team()
    call = log.escalate(agent)
    log.approve(call, ADA)
    log.settle(agent, log.resume(agent, call).leaf)
    log.deployment.revoke(ADA, End.COMPROMISE, "2026-01-01T00:00:00.000Z")
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def approval_by_the_requester() -> Made:
    """A person approves the call of their own agent, which has their name."""
    log, agent = team(principal="ada")
    call = log.escalate(agent)
    log.approve(call, ADA)
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.APPROVAL_INVALID)
def approval_by_the_requester_in_capitals() -> Made:
    """The same, and the agent's name is written otherwise."""
    log, agent = team(principal="ADA")
    call = log.escalate(agent)
    log.approve(call, ADA)
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.APPROVAL_INVALID)
def approval_by_who_may_not() -> Made:
    """A person approves whom the call excludes besides the requester."""
    log, agent = team()
    call = log.escalate(agent, requires=Requirement(not_by=("agent", "bob")))
    log.approve(call, BOB)
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.APPROVAL_REUSED, Finding.APPROVAL_INVALID)
def approval_of_one_person_twice() -> Made:
    """A call waits for two people, and one approves twice."""
    log, agent = team()
    call = log.escalate(agent, approvers=2)
    for _ in range(2):
        log.approve(call, ADA)
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.APPROVAL_REUSED, Finding.APPROVAL_INVALID)
def approval_of_one_person_with_two_keys() -> Made:
    """A call waits for two people, and one approves with two keys, whose names differ in letter case."""
    log, agent = team()
    call = log.escalate(agent, approvers=2)
    for by in (BOB, BOBS_OTHER):
        log.approve(call, by)
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.APPROVAL_INVALID)
def approval_of_one_where_two_are_needed() -> Made:
    """A call waits for two people, and goes when one approved."""
    log, agent = team()
    call = log.escalate(agent, approvers=2)
    log.approve(call, ADA)
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.APPROVAL_INVALID)
def approval_signed_by_two() -> Made:
    """Two people sign one approval: each speaks in their own."""
    log, agent = team()
    call = log.escalate(agent)
    nonce = "5b" * 16
    answer = confirmation(log.ceremony(call).intent, nonce, min(ADA.public.id, BOB.public.id), Act.APPROVE)
    log.approve(call, nonce=nonce, answer=answer, signers=[ADA, BOB])
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.APPROVAL_INVALID)
def held_and_anybody_could_approve() -> Made:
    """A call is held, and its own principal is not among those who may not approve it."""
    log, agent = begun()
    log.escalate(agent, requires=Requirement())
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def held_and_another_may_not_approve() -> Made:
    """A call is held, and excludes another principal in the place of its own."""
    log, agent = begun()
    log.escalate(agent, requires=Requirement(not_by=("other-agent",)))
    return of(log)


# the answer to a challenge


@case(INVALID, Finding.APPROVAL_INVALID)
def confirmation_of_another_challenge() -> Made:
    """A confirmation was worked out before the challenge came."""
    log, agent, call = asked()
    answer = confirmation(log.ceremony(call).intent, "00" * 16, log.deployment.approval.public.id, Act.APPROVE)
    log.approve(call, answer=answer)
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.APPROVAL_INVALID)
def confirmation_of_another_key() -> Made:
    """A confirmation is that of another person."""
    log, agent = team()
    call = log.escalate(agent)
    answer = confirmation(log.ceremony(call).intent, "5b" * 16, BOB.public.id, Act.APPROVE)
    log.approve(call, ADA, nonce="5b" * 16, answer=answer)
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.APPROVAL_INVALID)
def confirmation_of_a_denial() -> Made:
    """A confirmation is that of a denial, under an approval."""
    log, agent, call = asked()
    answer = confirmation(log.ceremony(call).intent, "5b" * 16, log.deployment.approval.public.id, Act.DENY)
    log.approve(call, nonce="5b" * 16, answer=answer)
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.PACK_MALFORMED)
def confirmation_missing() -> Made:
    """An approval has no confirmation."""
    log, _, call = asked()
    log.approve(call)
    return restated(log, lambda body: body.pop("confirmation"))


@case(INVALID, Finding.PACK_MALFORMED)
def approval_that_overrides() -> Made:
    """An approval says the word of an override."""
    log, _, call = asked()
    log.approve(call)
    return restated(log, sets(decision="override"))


@case(Exit.UNSUPPORTED, Finding.UNSUPPORTED)
def approval_of_an_unknown_word() -> Made:
    """An approval says a word of a later version."""
    log, _, call = asked()
    log.approve(call)
    return restated(log, sets(decision="delegate"))


@case(INVALID, Finding.APPROVAL_REUSED, Finding.APPROVAL_INVALID)
def challenge_answered_twice() -> Made:
    """Two people answer one challenge."""
    log, agent = team()
    call = log.escalate(agent, approvers=2)
    for by in (ADA, BOB):
        log.approve(call, by, nonce="5b" * 16)
    return done(log, agent, log.resume(agent, call))


def restated(log: Log, change: Callable[[Body], object]) -> Made:
    """The last statement as nobody can sign it with this version."""
    kept = log.receipts[-1].body["statement"]
    statement: Body = {**kept["body"]}  # type: ignore[call-overload,dict-item,index]
    change(statement)
    return remade(log, sets(statement=seal(statement, [log.deployment.approval]).to_json()))


# clocks


def too_early(wall_ms: int, boot_ms: int) -> Made:
    log, agent, call = approved(timelock_ms=60_000)
    return done(log, agent, log.resume(agent, call, clock=after(wall_ms=wall_ms, boot_ms=boot_ms)))


@case(INVALID, Finding.TIMELOCK_SHORT)
def timelock_short_on_the_wall() -> Made:
    """A dispatch is a millisecond too early by the wall clock."""
    return too_early(59_999, 60_000)


@case(INVALID, Finding.TIMELOCK_SHORT)
def timelock_short_since_the_boot() -> Made:
    """A dispatch is a millisecond too early by the boot clock: somebody put the wall clock forward."""
    return too_early(60_000, 59_999)


@case(INVALID, Finding.TIMELOCK_SHORT)
def timelock_short_over_a_boot() -> Made:
    """The machine booted again in the window, and runs for less than it."""
    log, _, call = approved(timelock_ms=60_000)
    agent = restart(log)
    return done(log, agent, log.resume(agent, call, clock=after(90_000, boot="next", boot_ms=58_999)))


@case(INVALID, Finding.TIMELOCK_SHORT)
def timelock_of_the_first_approval() -> Made:
    """The timelock is counted from the first of two approvals, and not from the one with which they were enough."""
    log, agent = team()
    call = log.escalate(agent, approvers=2, timelock_ms=60_000)
    log.approve(call, ADA)
    log.approve(call, BOB, clock=after(30_000))
    return done(log, agent, log.resume(agent, call, clock=after(60_000)))


@case(INVALID, Finding.APPROVAL_INVALID)
def resumed_where_a_clock_went_back() -> Made:
    """The wall clock of a dispatch is behind that of the approval."""
    log, agent, call = approved()
    return done(log, agent, log.resume(agent, call, clock=after(10, wall_ms=-1)))


@case(INVALID, Finding.APPROVAL_INVALID)
def resumed_where_the_boot_clock_went_back() -> Made:
    """The boot clock of a dispatch is behind that of the approval, in one boot: a machine was restored."""
    log, agent, call = approved()
    return done(log, agent, log.resume(agent, call, clock=after(10, boot_ms=-1)))


@case(INVALID, Finding.APPROVAL_INVALID)
def resumed_too_late() -> Made:
    """An approval is used a millisecond after its time by the boot clock."""
    log, agent, call = approved(expires_ms=1000, timelock_ms=500)
    return done(log, agent, log.resume(agent, call, clock=after(1500, boot_ms=1501)))


@case(INVALID, Finding.APPROVAL_INVALID)
def approval_too_late() -> Made:
    """A person approves a millisecond after the call's time by the wall clock."""
    log, agent, call = asked()
    log.approve(call, clock=after(HOUR, wall_ms=HOUR + 1))
    return done(log, agent, log.resume(agent, call, clock=after(HOUR + 2)))


@case(INVALID, Finding.APPROVAL_INVALID)
def approval_where_a_clock_went_back() -> Made:
    """The wall clock was put back behind the time at which the call was held, and a person approves."""
    log, agent, call = asked()
    log.approve(call, clock=after(1000, wall_ms=-1))
    return done(log, agent, log.resume(agent, call, clock=after(2000)))


@case(INVALID, Finding.PACK_MALFORMED)
def approval_without_a_clock() -> Made:
    """The receipt of an approval does not say when the log took it."""
    log, _, call = asked()
    log.approve(call)
    return remade(log, lambda body: body.pop("clock"))


@case(INVALID, Finding.PACK_MALFORMED)
def pin_with_a_clock() -> Made:
    """The receipt of a statement from which no time counts has a clock."""
    log, _ = begun()
    log.activate(b"forbid(principal, action, resource);")
    return remade(log, sets(clock=after().to_json()))


# no


@case(INVALID, Finding.APPROVAL_INVALID)
def denied_and_dispatched() -> Made:
    """A person denied, another had approved, and the call goes."""
    log, agent = team()
    call = log.escalate(agent)
    log.approve(call, ADA)
    held = log.held(call)
    log.say(Act.DENY, call, BOB)
    return done(log, agent, log.resume(agent, call, held=held))


@case(INVALID, Finding.APPROVAL_INVALID)
def denied_read_and_dispatched() -> Made:
    """A call goes that reads of itself that it was denied."""
    log, agent, call = asked()
    log.say(Act.DENY, call)
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.APPROVAL_INVALID)
def approval_after_a_denial() -> Made:
    """A person approves what another denied: a denial is the end."""
    log, agent = team()
    call = log.escalate(agent)
    log.say(Act.DENY, call, ADA)
    log.approve(call, BOB)
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def override_of_a_denial() -> Made:
    """The roots let a call go on that a person denied."""
    log, _, call = asked()
    log.say(Act.DENY, call)
    log.override(call)
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def asked_again_after_a_denial() -> Made:
    """A call that was denied is held once more, because more is asked for."""
    log, agent, call = asked()
    log.say(Act.DENY, call)
    log.escalate(agent, approvers=2, before=log.held(call))
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def disputed_and_dispatched() -> Made:
    """A person disputed what was approved, and the call goes with the approval of before."""
    log, agent = team()
    call = log.escalate(agent)
    log.approve(call, ADA)
    held = log.held(call)
    log.say(Act.DISPUTE, call, BOB)
    return done(log, agent, log.resume(agent, call, held=held))


@case(INVALID, Finding.APPROVAL_INVALID)
def disputed_and_read_as_if_not() -> Made:
    """A call was disputed and approved anew, and a retry reads that nobody disputed it."""
    log, agent, call = approved()
    log.say(Act.DISPUTE, call)
    log.approve(call)
    held = log.held(call)
    undisputed = Held(held.call, held.at, held.requires, held.state, held.since, held.statements)
    return done(log, agent, log.resume(agent, call, held=undisputed))


@case(INVALID, Finding.APPROVAL_INVALID)
def withdrawn_and_dispatched() -> Made:
    """A person took their approval back, and the call goes with it."""
    log, agent, call = approved()
    held = log.held(call)
    log.say(Act.WITHDRAW, call)
    return done(log, agent, log.resume(agent, call, held=held))


@case(INVALID, Finding.APPROVAL_INVALID)
def withdrawn_by_another() -> Made:
    """A person takes back what another approved."""
    log, agent = team()
    call = log.escalate(agent)
    log.approve(call, ADA)
    log.say(Act.WITHDRAW, call, BOB)
    return of(log)


# what a decision says


@case(INVALID, Finding.APPROVAL_INVALID)
def told_to_wait_for_people_in_the_timelock() -> Made:
    """A retry is told that an approval is missing, and only the timelock runs."""
    log, agent, call = approved(timelock_ms=60_000)
    log.poll(agent, call, Reason.ERR_APPROVAL_REQUIRED)
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def told_to_wait_when_it_may_go() -> Made:
    """A retry is told to wait where nothing is missing any more."""
    log, agent, call = approved()
    log.poll(agent, call, Reason.ERR_APPROVAL_PENDING_TIMELOCK)
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def told_of_a_denial_that_nobody_said() -> Made:
    """A retry is told that a person denied the call, and nobody did."""
    log, agent, call = asked()
    log.poll(agent, call, Reason.ERR_APPROVAL_DENIED, verdict=Verdict.DENY)
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def told_of_silence_too_early() -> Made:
    """A retry is told that nobody approved in time, in the last millisecond of that time."""
    log, agent, call = asked()
    log.poll(agent, call, Reason.ERR_APPROVAL_EXPIRED, clock=after(HOUR), verdict=Verdict.DENY)
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def told_of_silence_without_a_held_call() -> Made:
    """A call that was never held is denied because nobody approved it in time."""
    log, agent = begun()
    log.deny(agent, Reason.ERR_APPROVAL_EXPIRED)
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def asked_again_for_the_same() -> Made:
    """A held call is held again for exactly what it waits for, and the approvals of before are lost."""
    log, agent, call = asked()
    log.escalate(agent, before=log.held(call))
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def asked_again_for_less() -> Made:
    """A held call is held again for less people, and longer."""
    log, agent, call = asked(approvers=2)
    log.escalate(agent, approvers=1, timelock_ms=60_000, before=log.held(call))
    return of(log)


@case(INVALID, Finding.PACK_MALFORMED)
def escalated_and_not_held() -> Made:
    """A call is escalated, and neither is it held nor was it before."""
    log, _, _ = asked()
    return remade(log, lambda body: body.pop("requires"))


@case(INVALID, Finding.PACK_MALFORMED)
def escalated_for_another_reason() -> Made:
    """A call is escalated because of what no person can answer."""
    log, _, _ = asked()
    return remade(log, sets(reason=Reason.ERR_POLICY_DENY.value))


@case(INVALID, Finding.PACK_MALFORMED)
def held_for_more_people_than_there_are() -> Made:
    """A call is held for seventeen people."""
    log, _, _ = asked()
    return remade(log, sets(requires={"approvers": 17, "expires_ms": HOUR, "not_by": ["agent"], "timelock_ms": 0}))


@case(INVALID, Finding.PACK_MALFORMED)
def denied_and_held() -> Made:
    """A call is denied, and waits for a person all the same."""
    log, _, _ = asked()
    return remade(log, sets(verdict="DENY"))


@case(INVALID, Finding.PACK_MALFORMED)
def unread_request_that_was_held() -> Made:
    """A request that could not be read is decided from a held call: nobody can know that it is that one."""
    log, agent, call = asked()
    log.deny_raw(agent)
    return remade(log, sets(facts=log.facts(approval=log.held(call))))


# overrides


@case(INVALID, Finding.APPROVAL_INVALID)
def override_below_the_threshold() -> Made:
    """One root signs an override where two have to."""
    log, agent = team(threshold=2)
    call = log.escalate(agent)
    log.override(call, RITA)
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.KEY_ROLE)
def override_by_an_approver() -> Made:
    """An approval key signs an override."""
    log, agent, call = asked()
    log.override(call, log.deployment.approval)
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.APPROVAL_INVALID)
def override_of_another_call() -> Made:
    """An override was signed for other arguments."""
    log, agent, call = asked()
    log.override(call, intent=log.ceremony(log.escalate(agent)).intent)
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.APPROVAL_INVALID)
def override_by_the_requester() -> Made:
    """A root overrides what the call of its own principal waits for: an override skips the quorum and the timelock only."""
    log, agent = team(principal="rita")
    call = log.escalate(agent)
    log.override(call, RITA)
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.APPROVAL_INVALID)
def override_by_the_requester_beside_another() -> Made:
    """Two roots override, and the second of them, by key id, has the name of the agent that called."""
    log, _ = team(threshold=2)
    roots = {log.deployment.root.public.id: "OLGA", RITA.public.id: "RITA"}
    agent = log.start(roots[max(roots)])
    call = log.escalate(agent)
    log.override(call, log.deployment.root, RITA)
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.APPROVAL_INVALID)
def override_too_late() -> Made:
    """The roots override when the time of the call is over."""
    log, _, call = asked()
    log.override(call, clock=after(HOUR + 1))
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def override_by_a_root_that_ended() -> Made:
    """Of two roots that signed an override the second, by key id, was replaced between it and the dispatch."""
    log, agent = team(threshold=2)
    call = log.escalate(agent)
    log.override(call, log.deployment.root, RITA)
    held = log.held(call)
    first, second = sorted((log.deployment.root, RITA), key=lambda root: root.public.id)
    third, new = key("a third root", Purpose.ROOT), key("a root again", Purpose.ROOT)
    added = registry.addition(log.deployment.registry, third.public, "rolf", None, at=AT)
    log.deployment.sign(added, first, second, third)
    trust = log.deployment.registry
    rotated = registry.rotation(trust, new.public, trust.keys[second.public.id], at=AT)
    log.deployment.sign(rotated, first, third, new)
    agent = restart(log)
    return done(log, agent, log.resume(agent, call, held=held))


@case(INVALID, Finding.APPROVAL_REUSED)
def dispute_of_an_override() -> Made:
    """A person disputes what the roots let go on: only a denial stops it."""
    log, agent, call = asked()
    log.override(call)
    held = log.held(call)
    log.say(Act.DISPUTE, call)
    return done(log, agent, log.resume(agent, call, held=held))


# grants


@case(INVALID, Finding.APPROVAL_INVALID)
def grant_for_another_tool() -> Made:
    """A grant for one tool is used for another."""
    log, agent = begun()
    return done(log, agent, log.use(agent, log.grant(tool="demo/sum", pin=digest(TOOL.encode()))))


@case(INVALID, Finding.APPROVAL_INVALID)
def grant_for_another_pin() -> Made:
    """A grant for one definition of a tool is used for another."""
    log, agent = begun()
    return done(log, agent, log.use(agent, log.grant(pin=digest(b"another"))))


@case(INVALID, Finding.APPROVAL_INVALID)
def grant_for_another_principal() -> Made:
    """A grant for one agent is used by another."""
    log, _ = begun()
    given, other = log.grant(), log.start("other-agent")
    return done(log, other, log.use(other, given))


@case(INVALID, Finding.APPROVAL_INVALID)
def grant_used_up() -> Made:
    """A grant of one call is used twice."""
    log, agent = begun()
    given = log.grant()
    read = log.granted(given)
    log.settle(agent, log.use(agent, given).leaf)
    return done(log, agent, log.use(agent, given, read=read))


@case(INVALID, Finding.APPROVAL_INVALID)
def grant_read_otherwise() -> Made:
    """A decision reads that more calls of a grant are left than there are."""
    log, agent = begun()
    given = log.grant(calls=2)
    read = log.granted(given)
    log.settle(agent, log.use(agent, given).leaf)
    return done(log, agent, log.use(agent, given, read=read))


@case(INVALID, Finding.APPROVAL_INVALID)
def grant_over() -> Made:
    """A grant is used a millisecond after its time, by the boot clock."""
    log, agent = begun()
    given = log.grant(lasts_ms=1000)
    return done(log, agent, log.use(agent, given, clock=after(1000, boot_ms=1001)))


@case(INVALID, Finding.APPROVAL_INVALID)
def grant_where_a_clock_went_back() -> Made:
    """A grant is used by a wall clock that is behind it: nobody knows its time."""
    log, agent = begun()
    given = log.grant()
    return done(log, agent, log.use(agent, given, clock=after(10, wall_ms=-1)))


@case(INVALID, Finding.APPROVAL_INVALID)
def grant_used_after_its_end() -> Made:
    """A grant is used that a person revoked."""
    log, agent = begun()
    given = log.grant()
    read = log.granted(given)
    log.revoke(given)
    return done(log, agent, log.use(agent, given, read=read))


@case(INVALID, Finding.APPROVAL_INVALID)
def grant_of_a_key_that_ended() -> Made:
    """The key that gave a grant was revoked before it is used."""
    log, _ = team()
    given = log.grant(ADA)
    read = log.granted(given)
    log.deployment.revoke(ADA, End.SUPERSEDED)
    agent = restart(log)
    return done(log, agent, log.use(agent, given, read=read))


@case(INVALID, Finding.APPROVAL_INVALID)
def grant_not_read() -> Made:
    """A call rests on a grant, and its facts read none."""
    log, agent = begun()
    given = log.grant()
    return done(log, agent, log.allow(agent, more={"relies": [given.leaf]}))


@case(INVALID, Finding.APPROVAL_INVALID)
def grant_to_oneself() -> Made:
    """A person grants calls to their own agent, whose name is written otherwise."""
    log, _ = team(principal="ADA")
    log.grant(ADA, principal="ADA")
    return of(log)


@case(INVALID, Finding.KEY_ROLE)
def grant_by_a_root() -> Made:
    """A root key gives a grant."""
    log, agent = begun()
    return done(log, agent, log.use(agent, log.grant(log.deployment.root)))


@case(INVALID, Finding.APPROVAL_INVALID)
def grant_of_one_where_two_are_needed() -> Made:
    """A call that waits for two people goes because of a grant of one."""
    log, agent = team()
    given = log.grant(ADA)
    call = log.escalate(agent, approvers=2)
    return done(log, agent, log.resume(agent, call, grant=log.granted(given), relies=[given.leaf]))


@case(INVALID, Finding.APPROVAL_INVALID)
def grant_of_who_may_not_approve() -> Made:
    """A call that excludes a person goes because of that person's grant."""
    log, agent = team()
    given = log.grant(BOB)
    call = log.escalate(agent, requires=Requirement(not_by=("agent", "bob")))
    return done(log, agent, log.resume(agent, call, grant=log.granted(given), relies=[given.leaf]))


@case(INVALID, Finding.APPROVAL_INVALID)
def grant_before_the_timelock() -> Made:
    """A call that waits a minute after its approval goes because of a grant that is younger."""
    log, agent = begun()
    call = log.escalate(agent, timelock_ms=60_000)
    given = log.grant(clock=after(1000))
    went = log.resume(agent, call, grant=log.granted(given), relies=[given.leaf], clock=after(60_999))
    return done(log, agent, went)


@case(INVALID, Finding.APPROVAL_INVALID)
def grant_for_what_was_denied() -> Made:
    """A call that a person denied goes because of a grant."""
    log, agent, call = asked()
    given = log.grant()
    log.say(Act.DENY, call)
    return done(log, agent, log.resume(agent, call, grant=log.granted(given), relies=[given.leaf]))


@case(INVALID, Finding.APPROVAL_INVALID)
def grant_for_what_was_disputed() -> Made:
    """A call that a person disputed goes because of a grant: somebody has to look at this one."""
    log, agent, call = asked()
    given = log.grant()
    log.say(Act.DISPUTE, call)
    return done(log, agent, log.resume(agent, call, grant=log.granted(given), relies=[given.leaf]))


@case(INVALID, Finding.APPROVAL_INVALID)
def grant_for_what_was_disputed_before_it_was_held_again() -> Made:
    """A call that a person disputed is held again because more is asked for, and goes because of a grant."""
    log, agent, call = asked()
    given = log.grant()
    log.say(Act.DISPUTE, call)
    again = log.escalate(agent, timelock_ms=1000, before=log.held(call))
    later = after(wall_ms=60_000, boot_ms=60_000)
    return done(log, agent, log.resume(agent, again, clock=later, grant=log.granted(given), relies=[given.leaf]))


@case(INVALID, Finding.APPROVAL_REUSED)
def approval_used_after_a_grant() -> Made:
    """A held call went because of a grant, is approved, and goes again."""
    log, agent, call = asked()
    given, named = log.grant(), log.ceremony(call).intent
    log.settle(agent, log.resume(agent, call, grant=log.granted(given), relies=[given.leaf]).leaf)
    log.say(Act.APPROVE, call, intent=named)
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def revocation_of_no_grant() -> Made:
    """A grant is revoked twice."""
    log, _ = begun()
    given = log.grant()
    log.revoke(given)
    log.revoke(given)
    return of(log)


@case(INVALID, Finding.PACK_MALFORMED)
def grant_of_two_conditions_in_one() -> Made:
    """A grant says two things of one argument."""
    log, _ = begun()
    log.grant()
    return restated(log, sets(where={"a": {"at_least": 1, "at_most": 2}}))


@case(INVALID, Finding.PACK_MALFORMED)
def grant_without_end() -> Made:
    """A grant is for no time at all."""
    log, _ = begun()
    log.grant()
    return restated(log, sets(lasts_ms=0))


# questions, which are no calls


@case(Exit.VALID)
def asked_what_would_be() -> Made:
    """Somebody asks what would be decided of a call that would go, of one that would wait, of one that waits: nothing moves."""
    log, agent, call = approved()
    question: Body = {"effect_by": "none"}
    log.decide(agent, Verdict.ALLOW, more=question)
    log.decide(agent, Verdict.ESCALATE, Reason.ERR_APPROVAL_REQUIRED, more=question)
    log.decide(agent, Verdict.ALLOW, more=question, facts={"approval": log.held(call)})
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.PACK_MALFORMED)
def question_that_is_held() -> Made:
    """A question holds a call that nobody made."""
    log, _, _ = asked()
    return remade(log, sets(effect_by="none"))


# freezes


def in_a_freeze(scope: str) -> Made:
    log, agent = begun()
    log.freeze(scope.format(agent))
    return done(log, agent, log.allow(agent))


@case(INVALID, Finding.FLOW_INVALID)
def dispatched_in_a_freeze() -> Made:
    """A call is dispatched while everything is frozen."""
    return in_a_freeze("all")


@case(INVALID, Finding.FLOW_INVALID)
def dispatched_in_a_freeze_of_its_server() -> Made:
    """A call is dispatched while its server is frozen."""
    return in_a_freeze("server:demo")


@case(INVALID, Finding.FLOW_INVALID)
def dispatched_in_a_freeze_of_its_agent() -> Made:
    """A call is dispatched while its agent is frozen."""
    return in_a_freeze("agent:agent")


@case(INVALID, Finding.FLOW_INVALID)
def dispatched_in_a_freeze_of_its_session() -> Made:
    """A call is dispatched while its session is frozen."""
    return in_a_freeze("session:{}")


@case(INVALID, Finding.FLOW_INVALID)
def approved_and_dispatched_in_a_freeze() -> Made:
    """An approved call is dispatched while everything is frozen."""
    log, agent, call = approved()
    log.freeze()
    return done(log, agent, log.resume(agent, call))


@case(INVALID, Finding.FLOW_INVALID)
def escalated_in_a_freeze() -> Made:
    """A person is asked about a call while everything is frozen."""
    log, agent = begun()
    log.freeze()
    log.escalate(agent)
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def freeze_that_does_not_stop_the_call() -> Made:
    """A call is denied because of a freeze of another server."""
    log, agent = begun()
    log.deny(agent, Reason.ERR_FROZEN, frozen=log.freeze("server:other").leaf)
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def freeze_read_as_a_hold() -> Made:
    """A tool has the name of a scope, and the freeze of that scope is read as a hold on the tool."""
    log, agent = begun()
    freeze = log.freeze("server:demo")
    log.decide(agent, Verdict.DENY, Reason.ERR_TOOL_HALTED, tool="server:demo", facts={"hold": freeze.leaf})
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def frozen_twice() -> Made:
    """What is frozen is frozen again."""
    log, _ = begun()
    log.freeze()
    log.freeze()
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def freeze_released_by_another_scope() -> Made:
    """A person releases a server, and names the freeze of everything."""
    log, _ = begun()
    log.thaw(log.freeze(), "server:demo")
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def freeze_released_as_a_tool() -> Made:
    """A release of a tool has the name of the scope, and names its freeze."""
    log, _ = begun()
    log.release(log.freeze().leaf, "all")
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def freeze_in_an_agents_session() -> Made:
    """A freeze is told in an agent's session."""
    log, agent = begun()
    log.freeze(session=agent)
    return of(log)


@case(INVALID, Finding.PACK_MALFORMED)
def freeze_of_nothing_known() -> Made:
    """A freeze is of a scope that does not exist."""
    log, _ = begun()
    log.freeze()
    return remade(log, sets(scope="tool:demo/add"))


# lapses and gaps


@case(INVALID, Finding.APPROVAL_INVALID)
def lapsed_too_early() -> Made:
    """A call lapses in the last millisecond of its time."""
    log, _, call = asked()
    log.lapse(call, clock=after(HOUR))
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def lapsed_in_the_time_of_its_approval() -> Made:
    """A call lapses an hour after it was held, and it was approved later than that would allow."""
    log, _, call = asked()
    log.approve(call, clock=after(1000))
    log.lapse(call, clock=after(HOUR + 1000))
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def lapsed_twice() -> Made:
    """A call lapses that is held no more."""
    log, _, call = asked()
    for _ in range(2):
        log.lapse(call, clock=after(HOUR + 1))
    return of(log)


@case(INVALID, Finding.APPROVAL_REUSED)
def read_after_its_dispatch() -> Made:
    """A retry of what was dispatched reads that it waits yet."""
    log, agent, call = approved()
    held = log.held(call)
    log.settle(agent, log.resume(agent, call).leaf)
    log.poll(agent, call, Reason.ERR_APPROVAL_REQUIRED, held=held)
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID, Finding.APPROVAL_REUSED)
def lapsed_after_its_dispatch() -> Made:
    """What was dispatched lapses, and is dispatched again: it ended when it went."""
    log, agent, call = approved()
    held = log.held(call)
    log.settle(agent, log.resume(agent, call).leaf)
    log.lapse(call, clock=after(HOUR + 1))
    return done(log, agent, log.resume(agent, call, held=held))


@case(INVALID, Finding.FLOW_INVALID)
def lapse_in_an_agents_session() -> Made:
    """A lapse is told in the session of the agent that called."""
    log, agent, call = asked()
    log.lapse(call, clock=after(HOUR + 1), session=agent)
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def lapse_without_its_cause() -> Made:
    """A lapse does not name the held call among its parents."""
    log, _, call = asked()
    log.lapse(call, clock=after(HOUR + 1), parents=[])
    return of(log)


@case(INVALID, Finding.PACK_MALFORMED)
def lapse_for_another_reason() -> Made:
    """A held call lapses because of a denial."""
    log, _, call = asked()
    log.lapse(call, clock=after(HOUR + 1))
    return remade(log, sets(reason=Reason.ERR_APPROVAL_DENIED.value))


@case(INVALID, Finding.FLOW_INVALID)
def approval_in_an_agents_session() -> Made:
    """An approval is told in the session of the agent that called."""
    log, agent, call = asked()
    log.kernel = agent
    log.approve(call)
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def gap_in_an_agents_session() -> Made:
    """A gap is told in an agent's session."""
    log, agent = begun()
    log.gap(session=agent)
    return of(log)


@case(INVALID, Finding.PACK_MALFORMED)
def gap_of_nothing() -> Made:
    """A gap counts no refusal."""
    log, _ = begun()
    log.gap()
    return remade(log, sets(counts={Reason.ERR_UPSTREAM_SHAPE.value: 0}))


@case(INVALID, Finding.PACK_MALFORMED)
def gap_of_calls_that_were_allowed() -> Made:
    """A gap counts what was no refusal."""
    log, _ = begun()
    log.gap()
    return remade(log, sets(counts={Reason.OK.value: 1}))


# what is not asked


@case(INVALID, Finding.REGISTRY_INVALID)
def approvals_without_a_registry() -> Made:
    """The registry has no genesis: who approved cannot be told, and nothing is found of a call that went too early."""
    log, agent, call = approved(timelock_ms=60_000)
    other = log.escalate(agent)
    log.settle(agent, log.resume(agent, call).leaf)
    log.lapse(other, clock=after(), parents=[])
    log.revoke(call)
    files = {**log.files(), pack.TRUST: b"".join(log.files()[pack.TRUST].splitlines(keepends=True)[1:])}
    return Made(repack(files), None)


@case(Exit.VALID)
def approval_in_a_part() -> Made:
    """A part holds the dispatch, and not what it relies on: nothing of that is asked."""
    log, agent, call = approved(timelock_ms=60_000)
    went = log.resume(agent, call, clock=after(60_000))
    log.settle(agent, went.leaf)
    return of(log, log.part(went.index))


# a story that goes wrong in two places


@case(INVALID, Finding.FLOW_INVALID, Finding.APPROVAL_REUSED)
def used_in_a_freeze_and_again() -> Made:
    """A call is dispatched in a freeze, and again behind it: what is wrong with the first does not make it undone."""
    log, agent, call = approved()
    held, freeze = log.held(call), log.freeze()
    log.settle(agent, log.resume(agent, call).leaf)
    log.thaw(freeze)
    return done(log, agent, log.resume(agent, call, held=held))
