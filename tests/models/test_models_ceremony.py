"""The verifier's fold and a model that was written from the page agree, whatever people, clocks and kernels do to held calls.

Behind each dispatch that both accept stand the sentences that no clock and no key may break, asked of what really happened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Verdict
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.events import End
from helm_ai_kernel.tcb.flows import Flows
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.tcb.statement import StatementKind
from models import ceremony_model as model
from packs import TOOL, WALL_MS, Body, Deployment, Log, key, seed

PEOPLE = {"ada": "ada", "bob": "bob", "bob again": "Bob", "eve": "eve", "himself": "Agent"}  # key -> whose it is
KEYS = {name: key(name, Purpose.APPROVAL) for name in PEOPLE}
ROOTS = {"rita": key("rita", Purpose.ROOT), "rolf": key("rolf", Purpose.ROOT), "his root": key("his root", Purpose.ROOT)}
OWNERS = {**PEOPLE, "rita": "rita", "rolf": "rolf", "his root": "AGENT"}
SECRETS = {**KEYS, **ROOTS}
PIN = digest(TOOL.encode())
VERDICTS = {model.REQUIRED: Verdict.ESCALATE, model.PENDING: Verdict.ESCALATE}
MS = st.sampled_from([0, 1, 9, 10, 11, 50, 99, 100, 101, 1000])
GIVERS = st.sampled_from([["ada"], ["bob"], ["ada", "bob again"], ["eve", "bob"]])
RARE = st.sampled_from([False, False, False, True])
WHO, PLACE = st.sampled_from(sorted(PEOPLE)), st.integers(0, 9)


def deployed() -> Deployment:
    made = Deployment()
    for name, secret in SECRETS.items():
        made.enrol(secret, OWNERS[name])
    return made


DEPLOYED = deployed()


@dataclass
class Truth:
    """What really happened to one held call, by a time that nobody can change."""

    requires: Mapping[str, Any]
    client: bool  # who would act
    said: list[tuple[int, int, str, tuple[str, ...]]] = field(default_factory=list)  # time, boot, word, keys: what was heard
    dispatched: int = 0

    def heard(self, *words: str) -> bool:
        return any(word in words for _, _, word, _ in self.said)

    def quorum(self, ended: set[str]) -> tuple[int, int] | None:
        """When the people who approve it now were enough, and in which boot."""
        standing: list[tuple[int, int, str]] = []
        for at, boot, word, (name, *_) in self.said:
            if word == "approve":
                standing.append((at, boot, name))
            elif word == "dispute":
                standing.clear()
            elif word == "withdraw":
                standing = [one for one in standing if one[2] != name]
        standing = [one for one in standing if one[2] not in ended]
        people = {OWNERS[name].lower() for _, _, name in standing}
        assert not people & {one.lower() for one in self.requires["not_by"]} and len(people) == len(standing)
        needed = self.requires["approvers"]
        return standing[needed - 1][:2] if len(standing) >= needed else None

    def overridden(self, ended: set[str]) -> bool:
        return any(word == "override" and not ended & set(names) for _, _, word, names in self.said)


class Ceremonies(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.log = Log(Deployment())
        self.log.deployment.registry = DEPLOYED.registry
        self.index: dict[Digest, int] = {}
        self.flows = Flows({}, self.index)
        self.world = model.World(self.log.deployment.registry.deployment)
        self.log.start_kernel()
        self.log.activate()
        self.sessions = [self.log.start(), self.log.start(), self.log.start("other-agent")]
        self.true_ms = self.booted = self.boot = self.wall = self.drawn = 0
        self.calls: list[Receipt] = []
        self.truth: dict[str, Truth] = {}
        self.grants: list[tuple[Receipt, tuple[str, ...], int, int]] = []  # with who gave it, when, and how often
        self.uses: dict[str, int] = {}
        self.read: list[tuple[str, dict[str, Any]]] = []  # what was once read of a call
        self.ended: set[str] = set()  # names of keys
        self.client = False  # whether it is the client that acts now
        for receipt in self.log.receipts:
            assert self.told(receipt) is None

    # what happens

    def told(self, receipt: Receipt) -> str | None:
        self.flows.registry = self.log.deployment.registry
        self.index[receipt.leaf] = receipt.index
        try:
            self.flows.append(receipt)
        except EvidenceError as error:
            return error.finding.value
        return None

    @property
    def clock(self) -> Clock:
        boot = seed(f"boot {self.boot}").hex()[:32]
        return Clock(WALL_MS + self.true_ms + self.wall, boot, self.true_ms - self.booted)

    def moment(self) -> model.Clock:
        return self.clock.wall_ms, self.clock.boot, self.clock.boot_ms

    def decide(
        self, session: str, verdict: Verdict, reason: str, facts: Body, more: Body, args: Digest | None = None
    ) -> str | None:
        said: Body = {"clock": self.clock.to_json(), **facts}
        more = {**more, "effect_by": "client"} if self.client else more
        call = facts.get("approval", {}).get("call")  # type: ignore[union-attr]
        parents = [*([call] if call else []), *more.get("relies", [])]  # type: ignore[misc]
        made = self.log.decide(
            session, verdict, Reason(reason), args=args, more=more, parents=parents,  # type: ignore[arg-type]
            change=lambda body: body.update(facts=said),
        )  # fmt: skip
        expected = self.world.decides(made.leaf, made.body, self.log.principals[session])
        assert self.told(made) == expected, (verdict, reason, facts, more)
        if "requires" in more:
            self.calls.append(made)
            self.truth[made.leaf] = Truth(more["requires"], self.client)  # type: ignore[arg-type]
        return expected

    def ids(self, *names: str) -> dict[str, str]:
        return {SECRETS[name].public.id: OWNERS[name] for name in names}

    def pick(self, place: int) -> Receipt:
        """Mostly one that is held yet."""
        held = [call for call in self.calls if call.leaf in self.world.held]
        calls = held if held and place < 9 else self.calls
        return calls[place % len(calls)]

    @rule()
    def the_other_acts(self) -> None:
        self.client = not self.client

    @rule(ms=MS)
    def time_passes(self, ms: int) -> None:
        self.true_ms += ms

    @rule(ms=st.sampled_from([-5000, -100, -1, 1, 100, 5000]))
    def somebody_sets_the_wall_clock(self, ms: int) -> None:
        self.wall += ms

    @rule(ms=st.sampled_from([0, 5, 200]))
    def the_machine_boots_again(self, ms: int) -> None:
        self.true_ms += ms
        self.booted, self.boot = self.true_ms, self.boot + 1

    @precondition(lambda self: len(self.ended) < 3)
    @rule(name=st.sampled_from(sorted({*PEOPLE, "rita"})))
    def a_key_ends(self, name: str) -> None:
        if name not in self.ended:
            self.log.deployment.revoke(SECRETS[name], End.SUPERSEDED)
            self.ended.add(name)
            self.world.ended.add(SECRETS[name].public.id)

    @precondition(lambda self: len(self.world.held) < 2)
    @rule(
        approvers=st.sampled_from([1, 1, 2, 3]), timelock_ms=st.sampled_from([0, 10, 100]),
        expires_ms=st.sampled_from([50, 100_000, 100_000, 100_000]),
        more=st.sampled_from([(), (), ("eve",)]),
    )  # fmt: skip
    def a_call_is_held(self, approvers: int, timelock_ms: int, expires_ms: int, more: Sequence[str]) -> None:
        requires: Body = {"approvers": approvers, "timelock_ms": timelock_ms, "expires_ms": expires_ms}
        requires["not_by"] = ["agent", *more]
        self.decide(self.sessions[0], Verdict.ESCALATE, model.REQUIRED, {}, {"requires": requires})

    # what people say

    def say(self, kind: StatementKind, content: Body, names: Sequence[str], call: Receipt, nonce: str) -> None:
        signers: list[SecretKey] = [SECRETS[name] for name in names]
        made = self.log.state(kind, content, signers=signers, nonce=nonce, clock=self.clock, parents=[call.leaf])
        expected = self.world.says(made.leaf, {**content, "nonce": nonce}, self.ids(*names), self.moment())
        assert self.told(made) == expected, (kind, content)
        if expected is None:
            word = str(content.get("decision", "override"))
            self.truth[call.leaf].said.append((self.true_ms, self.boot, word, tuple(names)))

    def nonce(self) -> str:
        self.drawn += 1
        return f"{self.drawn:032x}"

    @precondition(lambda self: self.calls)
    @rule(place=PLACE, name=WHO, word=st.sampled_from(["approve"] * 4 + ["deny", "dispute", "withdraw"]),
          flaw=st.sampled_from([""] * 8 + ["intent", "confirmation", "nonce"]))  # fmt: skip
    def a_person_speaks(self, place: int, name: str, word: str, flaw: str) -> None:
        call, nonce = self.pick(place), self.nonce() if flaw != "nonce" or not self.drawn else f"{self.drawn:032x}"
        principal = self.log.principals[call.session]
        meant = self.world.intent(
            (principal, TOOL, PIN), str(call.body["args_hash"]), call.body["requires"]  # type: ignore[arg-type]
        )  # fmt: skip
        meant = digest(b"another") if flaw == "intent" else meant
        asked = {"decision": word, "intent": meant, "key": KEYS[name].public.id, "nonce": nonce}
        answer: str = digest(b"another") if flaw == "confirmation" else model.hashed("approval-confirm", asked)
        content: Body = {"call": call.leaf, "intent": meant, "decision": word, "confirmation": answer}
        self.say(StatementKind.APPROVAL, content, [name], call, nonce)

    @precondition(lambda self: self.world.held)
    @rule(place=st.integers(0, 8), names=st.permutations(["ada", "bob", "eve"]), ms=st.sampled_from([0, 1, 10]), later=MS)
    def all_of_them_approve(self, place: int, names: list[str], ms: int, later: int) -> None:
        """And the caller comes back some time later."""
        for name in names:
            self.a_person_speaks(place, name, "approve", "")
            self.true_ms += ms
        self.true_ms += later
        self.another_acts_in_their_place(place, 0)
        self.the_same_call_comes_again(place, 0)

    @precondition(lambda self: self.calls)
    @rule(place=PLACE, names=st.lists(st.sampled_from(sorted(ROOTS)), min_size=1, max_size=2, unique=True), rare=RARE)
    def roots_override(self, place: int, names: list[str], rare: bool) -> None:
        call = self.pick(place)
        if rare:
            about, args = ("agent", TOOL, PIN), str(call.body["args_hash"])
            content: Body = {"call": call.leaf, "intent": self.world.intent(about, args, call.body["requires"])}  # type: ignore[arg-type]
            self.say(StatementKind.OVERRIDE, content, names, call, self.nonce())

    @precondition(lambda self: len(self.grants) < 3)
    @rule(names=GIVERS, calls=st.integers(1, 2), lasts_ms=st.sampled_from([100, 10_000]))
    def people_grant(self, names: list[str], calls: int, lasts_ms: int) -> None:
        nonce, signers = self.nonce(), [KEYS[name] for name in names]
        made = self.log.grant(*signers, calls=calls, lasts_ms=lasts_ms, clock=self.clock, nonce=nonce)
        assert self.told(made) is None
        self.world.nonces.add(nonce)
        about, keys = ("agent", TOOL, str(PIN)), self.ids(*names)
        self.world.grants[made.leaf] = model.Grant(made.leaf, about, keys, self.moment(), calls, lasts_ms)
        self.grants.append((made, tuple(names), self.true_ms, calls))

    # what the kernel does, as it must

    @precondition(lambda self: self.world.held)
    @rule(place=PLACE, session=st.integers(0, 1))
    def the_same_call_comes_again(self, place: int, session: int) -> None:
        leaf = sorted(self.world.held)[place % len(self.world.held)]
        held = self.world.held[leaf]
        self.client = held.acts == "client"
        read, true = held.read(self.world.ended), held.true(self.moment(), self.world.ended)
        self.read.append((leaf, read))
        if true == model.OK:
            self.dispatch(session, leaf, read)
            return
        verdict = VERDICTS.get(true, Verdict.DENY)
        assert self.decide(self.sessions[session], verdict, true, {"approval": read}, {}, Digest(held.args)) is None

    def dispatch(self, session: int, leaf: str, read: dict[str, Any], args: Digest | None = None) -> str | None:
        call = next(one for one in self.calls if one.leaf == leaf)
        more: Body = {"deadline_ms": 1} | ({"relies": read["statements"]} if "statements" in read else {})
        taken = args or Digest(str(call.body["args_hash"]))
        found = self.decide(self.sessions[session], Verdict.ALLOW, model.OK, {"approval": read}, more, taken)
        if found is None:
            self.went(self.truth[leaf])
        return found

    def went(self, truth: Truth) -> None:
        """What must be true of a dispatch that rests on what people said of it."""
        truth.dispatched += 1
        assert truth.dispatched == 1 and truth.client is self.client
        assert not truth.heard("deny")
        if truth.overridden(self.ended):
            return
        quorum = truth.quorum(self.ended)
        assert quorum is not None
        since, boot = quorum
        assert self.true_ms - since >= truth.requires["timelock_ms"]
        if boot == self.boot:
            assert self.true_ms - since <= truth.requires["timelock_ms"] + truth.requires["expires_ms"]

    # what a kernel does that breaks its word

    @precondition(lambda self: self.calls)
    @rule(place=PLACE, session=st.integers(0, 2), args=st.sampled_from([None, None, digest(b"others")]), rare=RARE)
    def it_dispatches_at_once(self, place: int, session: int, args: Digest | None, rare: bool) -> None:
        call = self.pick(place)
        if rare and call.leaf in self.world.held:
            self.dispatch(session, call.leaf, self.world.held[call.leaf].read(self.world.ended), args)

    @precondition(lambda self: self.world.held)
    @rule(place=PLACE, session=st.integers(0, 1))
    def another_acts_in_their_place(self, place: int, session: int) -> None:
        """What people approved for one is read for the other."""
        leaf = sorted(self.world.held)[place % len(self.world.held)]
        held = self.world.held[leaf]
        self.client = held.acts != "client"
        verdict, reason, read = Verdict.ESCALATE, model.REQUIRED, held.read(self.world.ended)
        assert self.decide(self.sessions[session], verdict, reason, {"approval": read}, {}, Digest(held.args)) is not None

    @precondition(lambda self: self.read)
    @rule(place=PLACE, session=st.integers(0, 1), rare=RARE)
    def it_dispatches_by_what_it_read_before(self, place: int, session: int, rare: bool) -> None:
        if rare:
            self.dispatch(session, *self.read[-1 - place % len(self.read)])

    @precondition(lambda self: self.world.held)
    @rule(place=PLACE, reason=st.sampled_from([model.REQUIRED, model.PENDING, model.DENIED, model.UNTRUSTED]))
    def it_says_whatever_it_likes(self, place: int, reason: str) -> None:
        leaf = sorted(self.world.held)[place % len(self.world.held)]
        held, verdict = self.world.held[leaf], VERDICTS.get(reason, Verdict.DENY)
        self.decide(self.sessions[0], verdict, reason, {"approval": held.read(self.world.ended)}, {}, Digest(held.args))

    @precondition(lambda self: self.world.held)
    @rule(place=PLACE, approvers=st.integers(1, 3), expires_ms=st.sampled_from([1000, 100_000]), more=st.booleans(), rare=RARE)
    def it_holds_a_call_again(self, place: int, approvers: int, expires_ms: int, more: bool, rare: bool) -> None:
        if not rare:
            return
        leaf = sorted(self.world.held)[place % len(self.world.held)]
        held = self.world.held[leaf]
        requires: Body = {**held.requires, "approvers": approvers, "expires_ms": expires_ms}
        requires |= {"not_by": sorted({*held.requires["not_by"], "bob"})} if more else {}
        facts: Body = {"approval": held.read(self.world.ended)}
        self.decide(self.sessions[0], Verdict.ESCALATE, model.REQUIRED, facts, {"requires": requires})

    @precondition(lambda self: self.calls)
    @rule(place=PLACE, rare=RARE)
    def it_says_that_nobody_answered(self, place: int, rare: bool) -> None:
        call = self.pick(place)
        truly = self.world.held.get(call.leaf)
        over = truly is not None and truly.true(self.moment(), self.world.ended) == model.EXPIRED
        if not over and not rare:
            return
        expected = self.world.lapses(call.leaf, self.moment())
        assert self.told(self.log.lapse(call, clock=self.clock)) == expected and over == (expected is None)

    @precondition(lambda self: self.grants)
    @rule(place=PLACE, of_a_held_one=st.booleans(), session=st.integers(0, 2))
    def it_dispatches_by_a_grant(self, place: int, of_a_held_one: bool, session: int) -> None:
        given, names, since, calls = self.grants[-1 - place % len(self.grants)]
        grant = self.world.grants[given.leaf]
        read = grant.read(self.world.ended)
        facts: Body = {"grant": {**read, "left": max(read["left"], 1), "by": read["by"] or ["nobody"]}}
        args, leaf = None, ""
        if of_a_held_one and self.world.held:
            leaf = sorted(self.world.held)[place % len(self.world.held)]
            args, facts["approval"] = Digest(self.world.held[leaf].args), self.world.held[leaf].read(self.world.ended)
        more: Body = {"relies": [given.leaf], "deadline_ms": 1}
        if self.decide(self.sessions[session], Verdict.ALLOW, model.OK, facts, more, args) is not None:
            self.uses[given.leaf] = self.uses.get(given.leaf, 0) + 1
            return
        self.uses[given.leaf] = self.uses.get(given.leaf, 0) + 1
        assert self.uses[given.leaf] <= calls and session < 2
        if leaf:
            truth = self.truth[leaf]
            truth.dispatched += 1
            people = {OWNERS[name].lower() for name in names if name not in self.ended}
            assert truth.dispatched == 1 and truth.client is self.client and not truth.heard("deny", "dispute")
            assert len(people - {one.lower() for one in truth.requires["not_by"]}) >= truth.requires["approvers"]
            assert self.true_ms - since >= truth.requires["timelock_ms"]


TestCeremonies = Ceremonies.TestCase
TestCeremonies.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
