"""The logs that the mutants are made of, and every key that had a part in them."""

from collections.abc import Mapping

from helm_ai_kernel.tcb import checkpoint
from helm_ai_kernel.tcb import registry as trust_registry
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Status, Verdict
from helm_ai_kernel.tcb.events import End
from helm_ai_kernel.tcb.interim import Interim
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.merkle import leaf_hash
from packs import AT, Body, Deployment, Log, key, short, story
from verifier.ceremonies import KEYS, asked


def busy() -> Log:
    """Two processes with sessions side by side: late answers, two drifts and their holds, keys, a second policy."""
    log = Log(Deployment("busy"))
    log.start_kernel()
    one, two = log.start(), log.start("other")
    log.deny(one, Reason.ERR_POLICY_NOT_READY)
    log.activate()
    claim = log.allow(one, more={"key": log.attach(b"k"), "reserved": {"calls": 1, "more": 2}})
    lost = log.allow(two, more={"reserved": {"calls": 1}})
    log.settle(
        one, claim.leaf, Status.FAILED, more={"reason": Reason.ERR_CONNECTOR_FAILED.value, "spent": {"calls": 0, "more": 0}}
    )
    log.repeat(one, claim)
    log.settle(two, lost.leaf, Status.UNKNOWN, more={"spent": {"calls": 1}})
    log.activate(b"forbid(principal, action, resource);", tools=("add",))
    log.settle(two, lost.leaf, Status.LATE)
    drifting = [log.allow(one, tool="demo/sum").leaf for _ in range(2)]
    drifts = [log.settle(one, intent, Status.DRIFT).leaf for intent in drifting]
    hold = log.hold(drifts[-1], "demo/sum")
    log.deny(two, Reason.ERR_TOOL_HALTED)
    log.end(two)
    log.release(hold.leaf, "demo/sum")
    open_one = log.allow(one, more={"key": log.attach(b"k2")})
    log.start_kernel()
    log.recover(1)
    log.settle(log.kernel, open_one.leaf, Status.UNKNOWN)
    three = log.start()
    log.settle(three, log.allow(three).leaf)
    log.end(three)
    log.end(log.kernel)
    return log


def offered() -> Log:
    """Clients that act, and report or do not; keys, approvals and a grant of both sides; calls that go on; a crash."""
    log, client = Log(Deployment("offered")), {"effect_by": "client"}
    log.start_kernel()
    log.activate()
    one, two = log.start(), log.start("other", "mcp-http")
    asked = log.allow(one)
    question = log.offer(one, more={"key": log.attach(b"k"), "reserved": {"calls": 1}})
    answer = log.settle(one, question.leaf, Status.REPORTED, more={"spent": {"calls": 1}})
    log.repeat(one, question)
    interim = Interim().next(b"one").next(b"two").to_json()
    first = log.settle(one, asked.leaf, more={"interim": interim})
    went = log.decide(one, Verdict.ALLOW, more={"deadline_ms": 1}, parents=[first.leaf, answer.leaf])
    log.settle(one, went.leaf)
    theirs = log.offer(two)
    log.settle(two, theirs.leaf, Status.REPORTED, change=_broken)
    log.decide(two, Verdict.DENY, Reason.ERR_POLICY_DENY, more=client)
    held = log.escalate(one, more=client)
    again = log.escalate(one, more={"args_hash": held.body["args_hash"]})
    log.approve(held)
    log.approve(again)
    log.resume(one, held, more=client)
    log.settle(one, log.resume(one, again).leaf)
    grant = log.grant(calls=2)
    log.use(one, grant, more=client)
    log.settle(one, log.use(one, grant).leaf)
    log.end(two)
    lost = log.allow(one)
    log.start_kernel()
    log.recover(1)
    unknown = log.settle(log.kernel, lost.leaf, Status.UNKNOWN)
    three = log.start()
    log.offer(three, parents=[unknown.leaf])
    return log


def _broken(body: Body) -> None:
    del body["contract"]
    body["reason"] = Reason.ERR_CONNECTOR_CONTRACT_DRIFT.value


SECOND, SECOND_LOG = key("second execution", Purpose.EXECUTION), key("second log", Purpose.LOG)
SECOND_APPROVAL, SECOND_ROOT = key("second approval", Purpose.APPROVAL), key("second root", Purpose.ROOT)
NEW = tuple(key("new", purpose) for purpose in Purpose)  # that no registry has yet
GONE = key("gone", Purpose.LOG)  # of a log that another one goes on from
SINCE = "2026-01-01T00:00:00.000Z"


def turned() -> Log:
    """Three processes, and between them keys that come and go: two roots, and each other key is the second of its purpose."""
    log = Log(Deployment("turned"))
    deployment = log.deployment
    _process(log)
    deployment.enrol(SECOND_ROOT, "ada")
    deployment.rotate(deployment.execution, SECOND)
    deployment.rotate(deployment.approval, SECOND_APPROVAL)
    deployment.execution, deployment.approval = SECOND, SECOND_APPROVAL
    _process(log)
    deployment.rotate(deployment.log, SECOND_LOG)
    deployment.log = SECOND_LOG
    deployment.enrol(key("lost", Purpose.APPROVAL), "olga")
    deployment.revoke(key("lost", Purpose.APPROVAL), End.COMPROMISE, SINCE)
    deployment.sign(trust_registry.new_threshold(deployment.registry, 2, at=AT), deployment.root, SECOND_ROOT)
    _process(log)
    return log


def _process(log: Log) -> None:
    log.start_kernel()
    log.activate(f"// {len(log.lines)}".encode())
    agent = log.start()
    log.settle(agent, log.allow(agent).leaf)
    log.end(agent)
    log.end(log.kernel)


def moved() -> Log:
    """It takes the place of another log, and erases what it kept for somebody."""
    log = Log(Deployment("moved"))
    origin = f"{log.deployment.registry.deployment}/gone"
    log.deployment.enrol(GONE, "kernel", origin)
    log.start_kernel()
    log.recover(0, heads=[checkpoint.sign(origin, size, leaf_hash(b""), GONE).note.decode() for size in (3, 7)])
    log.activate()
    agent, subject = log.start(), "5" * 32
    log.settle(agent, log.allow(agent, more={"subject": subject}).leaf, Status.UNKNOWN)
    log.erase(subject, 1)
    log.settle(agent, log.allow(agent, more={"subject": "6" * 32}).leaf)
    log.erase("6" * 32, 1)
    log.end(agent)
    return log


def stolen() -> Log:
    """Its first keys were replaced, and somebody else has had them since `SINCE`: what counts is who saw what before."""
    log = Log(Deployment("stolen"))
    deployment = log.deployment
    _process(log)
    for old, new in ((deployment.execution, SECOND), (deployment.approval, SECOND_APPROVAL), (deployment.log, SECOND_LOG)):
        deployment.rotate(old, new)
        deployment.revoke(old, End.COMPROMISE, SINCE)
    deployment.execution, deployment.approval, deployment.log = SECOND, SECOND_APPROVAL, SECOND_LOG
    _process(log)
    return log


def secrets(log: Log) -> dict[str, SecretKey]:
    """Every key that signed something in this log or its registry, and some that nobody knows, by id."""
    name, deployment = log.deployment.name, log.deployment
    first = (key(f"{name} {what}", Purpose(what)) for what in ("root", "approval", "execution", "log"))
    all_ = (
        *first,
        deployment.execution,
        SECOND,
        SECOND_LOG,
        SECOND_APPROVAL,
        SECOND_ROOT,
        key("lost", Purpose.APPROVAL),
        GONE,
        *NEW,
        *KEYS,
    )
    return {secret.public.id: secret for secret in all_}


BASES: Mapping[str, Log] = {
    "short": short(),
    "story": story(),
    "busy": busy(),
    "turned": turned(),
    "moved": moved(),
    "stolen": stolen(),
    "asked": asked(),
    "offered": offered(),
}
