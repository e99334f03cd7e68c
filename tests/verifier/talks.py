"""Ceremonies as they come: a kernel that reads what the log shows, people who say anything, and clocks that go anywhere.

Mutants of one story mostly say what its later receipts contradict. Here each decision reads what is true where it stands, so
that what is asked behind that is reached, too: quorums, waits, grants, who may speak and who speaks twice.
"""

import copy
from dataclasses import dataclass, field
from random import Random

from helm_ai_kernel.tcb.ceremony import Act, Held, Requirement
from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Granted, Verdict
from helm_ai_kernel.tcb.keys import SecretKey
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.tcb.statement import Statement
from packs import Log, after, seed
from verifier.bases import secrets
from verifier.ceremonies import ADA, BOB, BOBS_OTHER, HOUR, NEXT, RITA, asked

STEPS_MAX = 14
WAITS = (0, 0, 1, 20, 1000)
PASSES = (*(0, 1, 19, 20, 21, 999, 1000, 1001) * 3, 60_000, HOUR, HOUR + 1, -5)


class Heedful(Log):
    """Its kernel takes only what it may take, so that what it reads is what a verifier reads."""

    def _take(self, statement: Statement, receipt: Receipt, clock: Clock) -> None:
        registry = self.deployment.registry
        known = [registry.keys[id] for id in statement.signers if id in registry.keys]
        in_force = registry.in_force_at(registry.size)
        if known and self.approvals.refusal(statement, known, receipt.leaf, clock, in_force) is None:
            self.approvals.take(statement, known, receipt.leaf, clock)


@dataclass
class Talk:
    draw: Random
    log: Log
    agents: list[str] = field(default_factory=list)
    calls: list[tuple[str, Receipt, Held]] = field(default_factory=list)  # with what was read of them last
    grants: list[tuple[Receipt, Granted]] = field(default_factory=list)
    freezes: list[Receipt] = field(default_factory=list)
    wall: int = 0
    booted: int = 0
    boot: str = "boot"

    def clock(self) -> Clock:
        """A moment later, as both clocks say, or one of them, or another boot."""
        by, which = self.draw.choice(PASSES), self.draw.randrange(12)
        self.wall = max(self.wall + (by if which != 0 else 0), 0)
        self.booted = max(self.booted + (by if which != 1 else 0), 0)
        if which == 2:
            self.boot, self.booted = self.draw.choice(("boot", "another boot")), abs(by)
        return Clock(after(self.wall).wall_ms, seed(self.boot).hex()[:32], 1000 + self.booted)

    def someone(self) -> SecretKey:
        deployment = self.log.deployment
        return self.draw.choice((deployment.approval, ADA, BOB, BOBS_OTHER, NEXT, deployment.approval, ADA, BOB, RITA))

    def step(self) -> None:
        steps = [self.ask] * 2 + [self.grant, self.freeze]
        if self.calls:
            steps += [self.say] * 9 + [self.again] * 9 + [self.override, self.lapse, self.more]
        if self.grants:
            steps += [self.use] * 4 + [self.revoke]
        if self.freezes:
            steps += [self.thaw] * 2
        self.draw.choice(steps)()

    def ask(self) -> None:
        agent = self.draw.choice(self.agents)
        asks = {"approvers": self.draw.choice((1, 1, 2, 3)), "timelock_ms": self.draw.choice(WAITS)}
        call = self.log.escalate(agent, clock=self.clock(), expires_ms=self.draw.choice((HOUR, HOUR, 1000)), **asks)
        self.calls.append((agent, call, self.log.held(call)))

    def one(self) -> tuple[str, Receipt, Held, bool]:
        """A call, what it was when it was looked at last, and whether it is held yet: mostly that."""
        held = [at for at, (_, call, _) in enumerate(self.calls) if call.leaf in self.log.approvals.held]
        at = self.draw.choice(held) if held and self.draw.random() < 0.9 else self.draw.randrange(len(self.calls))
        agent, call, read = self.calls[at]
        is_held = call.leaf in self.log.approvals.held
        if is_held and self.draw.random() < 0.95:
            read = self.log.held(call)
            self.calls[at] = (agent, call, read)
        return agent, call, read, is_held

    def say(self) -> None:
        _, call, _, is_held = self.one()
        act = self.draw.choice((*(Act.APPROVE,) * 12, Act.DENY, Act.DISPUTE, Act.WITHDRAW))
        intent = None if is_held else call.leaf  # any digest does
        nonce = "0" * 32 if self.draw.random() < 0.04 else None
        self.log.say(act, call, self.someone(), clock=self.clock(), intent=intent, nonce=nonce)

    def override(self) -> None:
        _, call, _, is_held = self.one()
        roots = self.draw.choice(([self.log.deployment.root, RITA],) * 4 + ([RITA], [self.log.deployment.root, ADA]))
        self.log.override(call, *roots, clock=self.clock(), intent=None if is_held else call.leaf)

    def again(self) -> None:
        """The same call, and mostly what is true of it then."""
        agent, call, read, _ = self.one()
        clock = self.clock()
        reason = read.conclude(clock)
        if self.draw.random() < 0.12:
            reason = self.draw.choice((*_SAID, Reason.OK, Reason.OK))
        if reason is Reason.OK:
            relies = list(read.statements) or [call.leaf]
            self.log.settle(agent, self.log.resume(agent, call, clock=clock, held=read, relies=relies).leaf)
        else:
            waits = (Reason.ERR_APPROVAL_REQUIRED, Reason.ERR_APPROVAL_PENDING_TIMELOCK)
            verdict = Verdict.ESCALATE if reason in waits else Verdict.DENY
            self.log.poll(agent, call, reason, clock=clock, held=read, verdict=verdict)

    def lapse(self) -> None:
        _, call, _, _ = self.one()
        self.log.lapse(call, clock=self.clock())

    def more(self) -> None:
        agent, call, read, _ = self.one()
        asks = self.draw.choice((read.requires, read.requires.stricter(Requirement(3, 20, 1000))))
        more = {"args_hash": call.body["args_hash"]}
        held = self.log.escalate(agent, clock=self.clock(), before=read, requires=asks, more=more)
        self.calls.append((agent, held, self.log.held(held)))

    def grant(self) -> None:
        by = self.draw.sample((self.log.deployment.approval, ADA, BOB, BOBS_OTHER), self.draw.choice((1, 2)))
        whose, calls = self.draw.choice(("agent", "agent", "Olga")), self.draw.choice((1, 2, 3))
        made = self.log.grant(*by, principal=whose, calls=calls, lasts_ms=self.draw.choice((1000, HOUR)), clock=self.clock())
        registry, taken = self.log.deployment.registry, self.log.approvals.grants.get(made.leaf)
        if taken is not None and taken.read(registry.in_force_at(registry.size)) is not None:
            self.grants.append((made, self.log.granted(made)))

    def use(self) -> None:
        """By a call of its own, or for one that is held."""
        at = self.draw.randrange(len(self.grants))
        grant, read = self.grants[at]
        grants = self.log.approvals.grants
        if grant.leaf in grants and grants[grant.leaf].left:
            read = self.log.granted(grant)
            self.grants[at] = (grant, read)
        if self.calls and self.draw.random() < 0.6:
            agent, call, held, _ = self.one()
            named = [call.leaf, grant.leaf]
            went = self.log.resume(agent, call, clock=self.clock(), held=held, grant=read, relies=[grant.leaf], parents=named)
        else:
            agent = self.draw.choice(self.agents)
            went = self.log.use(agent, grant, clock=self.clock(), read=read)
        self.log.settle(agent, went.leaf)

    def revoke(self) -> None:
        self.log.revoke(self.draw.choice(self.grants)[0], self.someone())

    def freeze(self) -> None:
        if self.draw.random() < 0.5:
            scopes = ("server:demo", "agent:agent", f"session:{self.agents[0]}", "agent:Agent", "server:dem")
            self.freezes.append(self.log.freeze(self.draw.choice(scopes)))

    def thaw(self) -> None:
        self.log.thaw(self.freezes.pop() if self.draw.random() < 0.9 else self.freezes[0])


_SAID = (
    Reason.ERR_APPROVAL_REQUIRED,
    Reason.ERR_APPROVAL_PENDING_TIMELOCK,
    Reason.ERR_APPROVAL_DENIED,
    Reason.ERR_APPROVAL_EXPIRED,
    Reason.ERR_CLOCK_UNTRUSTED,
)
_TEAM = asked().deployment  # four people; `ada` has a second key, and her first one ended


def talk(draw: Random) -> Log:
    log = Heedful(copy.copy(_TEAM))
    assert ADA.public.id in secrets(log)
    log.start_kernel()
    log.activate()
    made = Talk(draw, log, [log.start("agent"), log.start("agent"), log.start("Olga")])
    for _ in range(draw.randrange(2, STEPS_MAX)):
        made.step()
    return log
