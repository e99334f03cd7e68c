"""A log of everything that people can say of calls that wait: the ceremony of each kind, and its end, once or twice."""

from helm_ai_kernel.tcb import registry
from helm_ai_kernel.tcb.ceremony import Act
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Verdict
from helm_ai_kernel.tcb.keys import Purpose
from helm_ai_kernel.tcb.receipt import EffectBy
from packs import AT, Deployment, Log, after, ceremony, key

HOUR = 3_600_000  # for so long a call waits
ADA, BOB, BOBS_OTHER = (key(f"asked {name}", Purpose.APPROVAL) for name in ("ada", "bob", "bob again"))
RITA = key("asked rita", Purpose.ROOT)
NEXT = key("asked next", Purpose.APPROVAL)  # takes the place of `ada`'s
KEYS = (ADA, BOB, BOBS_OTHER, RITA, NEXT)


def asked() -> Log:
    """A team of four with two roots, of which an override needs both."""
    deployment = Deployment("asked")
    for secret, person in ((ADA, "ada"), (BOB, "bob"), (BOBS_OTHER, "Bob"), (RITA, "rita")):
        deployment.enrol(secret, person)
    deployment.sign(registry.new_threshold(deployment.registry, 2, at=AT), deployment.root, RITA)
    log = Log(deployment)
    log.start_kernel()
    log.activate()
    agent = log.start("agent")
    _by_two(log, agent)
    _by_the_roots(log, agent)
    _with_a_grant(log, agent)
    _in_a_freeze(log, agent)
    log.end(agent)
    log.end(log.kernel)
    entry = deployment.registry.keys[ADA.public.id]
    deployment.sign(registry.rotation(deployment.registry, NEXT.public, entry, at=AT), deployment.root, RITA, NEXT)
    log.start_kernel()
    agent = log.start("agent", "mcp-http")
    _never(log, agent)
    _others(log, agent)
    return log


def _by_two(log: Log, agent: str) -> None:
    """More and more is asked for; an approval is withdrawn, all are disputed, and at last two people approve."""
    small = log.escalate(agent, clock=after(10))
    log.approve(small, clock=after(20))
    args = {"args_hash": str(small.body["args_hash"])}
    call = log.escalate(agent, clock=after(30), before=log.held(small), approvers=2, timelock_ms=1000, more=args)
    log.poll(agent, call, clock=after(40))
    log.approve(call, ADA, clock=after(50))
    log.approve(call, BOB, clock=after(60))
    log.poll(agent, call, clock=after(70))
    log.say(Act.WITHDRAW, call, ADA, clock=after(80))
    log.say(Act.DISPUTE, call, BOBS_OTHER, clock=after(90))
    log.approve(call, BOBS_OTHER, clock=after(100))
    log.approve(call, clock=after(110))
    log.approve(call, ADA, clock=after(120))
    log.poll(agent, call, clock=after(1109))
    log.settle(agent, log.resume(agent, call, clock=after(1110)).leaf)


def _by_the_roots(log: Log, agent: str) -> None:
    call = log.escalate(agent, clock=after(2000), timelock_ms=HOUR)
    log.approve(call, clock=after(2010))
    log.override(call, log.deployment.root, RITA, clock=after(2020))
    log.settle(agent, log.resume(agent, call, clock=after(2030)).leaf)
    other = log.escalate(agent, clock=after(2040))
    log.override(other, log.deployment.root, RITA, clock=after(2050))
    log.say(Act.DENY, other, ADA, clock=after(2060))
    log.poll(agent, other, verdict=Verdict.DENY, clock=after(2070))


def _with_a_grant(log: Log, agent: str) -> None:
    grant = log.grant(ADA, BOB, calls=3, clock=after(3000))
    log.settle(agent, log.use(agent, grant, clock=after(3010)).leaf)
    call = log.escalate(agent, clock=after(3020), approvers=2, timelock_ms=20)
    went = log.resume(
        agent, call, clock=after(3030), grant=log.granted(grant), relies=[grant.leaf], parents=[call.leaf, grant.leaf]
    )
    log.settle(agent, went.leaf)
    log.decide(
        agent, Verdict.DENY, Reason.ERR_POLICY_DENY, facts={"clock": after(3040), "grant": log.granted(grant)}
    )  # read and not used
    log.revoke(grant)


def _in_a_freeze(log: Log, agent: str) -> None:
    call = log.escalate(agent, clock=after(4000))
    for scope in (f"session:{agent}", "all"):
        freeze = log.freeze(scope)
        log.deny(agent, Reason.ERR_FROZEN, frozen=freeze.leaf, clock=after(4010))
        log.approve(call, ADA if scope == "all" else BOB, clock=after(4020))
        log.thaw(freeze)
    other = log.freeze("agent:somebody")
    log.settle(agent, log.resume(agent, call, clock=after(4030)).leaf)
    log.thaw(other)
    log.freeze("server:elsewhere")


def _never(log: Log, agent: str) -> None:
    """Over a restart, with a key that ended meanwhile: nobody answers, or nobody uses the answer."""
    silent = log.escalate(agent, clock=after(5000))
    unused = log.escalate(agent, clock=after(5010), expires_ms=500)
    log.approve(unused, NEXT, clock=after(5500))
    log.poll(agent, unused, verdict=Verdict.DENY, clock=after(6001))
    log.lapse(silent, clock=after(5001 + HOUR))
    back = log.escalate(agent, clock=after(7000))
    log.approve(back, clock=after(7010))
    log.poll(agent, back, verdict=Verdict.DENY, clock=after(7020, boot_ms=7005))


def _others(log: Log, agent: str) -> None:
    """What no kernel dispatches, what was only counted, and who has nobody to ask."""
    asks = {"effect_by": EffectBy.NONE.value}
    log.decide(agent, Verdict.ALLOW, more=asks)
    log.decide(agent, Verdict.ESCALATE, Reason.ERR_APPROVAL_REQUIRED, more=asks)
    log.deny(agent, Reason.ERR_APPROVAL_REQUIRED, alone=True, not_by=("ada", "bob"))
    log.deny(agent, Reason.ERR_APPROVAL_REQUIRED, crowded=True)
    log.gap(ERR_RATE_LIMITED=1200, ERR_UPSTREAM_SHAPE=1)
    ceremony(log, agent)
