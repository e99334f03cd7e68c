"""A held call as one value: who may say what of it when, what that leads to, and what the clocks make of it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.tcb.ceremony import (
    APPROVERS_MAX,
    CONFIRM,
    EXPIRES_MS,
    INTENT,
    MAY,
    Act,
    Ceremony,
    Held,
    Requirement,
    State,
    Voice,
    confirmation,
    intent,
)
from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Granted
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.envelope import pae
from helm_ai_kernel.tcb.errors import EvidenceError
from packs import NOW, after

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs/spec/approval.md").read_text(encoding="utf-8")
CALL, INTENDED = digest(b"call"), digest(b"intent")
SELF = ("Boss", "agent")
Step = tuple[Act, str]


def everybody(key: str) -> bool:
    return True


def voice(who: str, clock: Clock = NOW, *, key: str = "", others: Sequence[tuple[str, str]] = ()) -> Voice:
    return Voice(key or f"key of {who}", who, digest(f"{who} {key} {clock}".encode()), clock, tuple(others))


def held(approvers: int = 1, timelock_ms: int = 0, expires_ms: int = 10_000) -> Ceremony:
    requires = Requirement(approvers, timelock_ms, expires_ms, SELF)
    return Ceremony(CALL, 0, INTENDED, "agent", "demo/add", digest(b"pin"), digest(b"args"), requires, NOW)


def after_all(ceremony: Ceremony, *steps: Step, clock: Clock = NOW) -> Ceremony:
    for act, who in steps:
        said = voice(who, clock)
        assert ceremony.refusal(act, said, everybody) is None, (act, who)
        ceremony = ceremony.next(act, said)
    return ceremony


IN_STATE: dict[State, Ceremony] = {
    State.WAITING: after_all(held(2), (Act.APPROVE, "ada")),
    State.COMPLETE: after_all(held(2), (Act.APPROVE, "ada"), (Act.APPROVE, "bob")),
    State.OVERRIDDEN: after_all(held(2), (Act.APPROVE, "ada"), (Act.OVERRIDE, "root")),
    State.DENIED: after_all(held(2), (Act.APPROVE, "ada"), (Act.DENY, "bob")),
}


def test_each_state_is_reached() -> None:
    assert {state: ceremony.read(everybody).state for state, ceremony in IN_STATE.items()} == {state: state for state in State}


@pytest.mark.parametrize("act", Act)
@pytest.mark.parametrize("state", State)
def test_what_may_be_said_in_a_state_is_the_table(state: State, act: Act) -> None:
    """By `ada`, who approved in each, so that she can withdraw; and by a fresh `eve` otherwise."""
    refused = IN_STATE[state].refusal(act, voice("ada" if act is Act.WITHDRAW else "eve"), everybody)
    assert (refused is None) == (act in MAY[state])
    if refused is not None:
        assert refused[0] is (Reason.ERR_APPROVAL_DENIED if state is State.DENIED else Reason.ERR_APPROVAL_CONSUMED)


def test_the_table_of_the_page_is_the_table_of_the_code() -> None:
    rows = re.findall(r"^\| `(denied|overridden|complete|waiting)` \|[^|]*\|([^|]*)\|", PAGE, re.MULTILINE)
    assert {State(state): frozenset(map(Act, re.findall(r"`(\w+)`", said))) for state, said in rows} == MAY


LEADS: list[tuple[int, tuple[Step, ...], State]] = [
    (1, (), State.WAITING),
    (1, ((Act.APPROVE, "ada"),), State.COMPLETE),
    (2, ((Act.APPROVE, "ada"),), State.WAITING),
    (2, ((Act.APPROVE, "ada"), (Act.APPROVE, "bob")), State.COMPLETE),
    (1, ((Act.APPROVE, "ada"), (Act.WITHDRAW, "ada")), State.WAITING),
    (1, ((Act.APPROVE, "ada"), (Act.DISPUTE, "bob")), State.WAITING),
    (1, ((Act.APPROVE, "ada"), (Act.DISPUTE, "ada"), (Act.APPROVE, "ada")), State.COMPLETE),
    (2, ((Act.APPROVE, "ada"), (Act.APPROVE, "bob"), (Act.APPROVE, "eve"), (Act.WITHDRAW, "ada")), State.COMPLETE),
    (1, ((Act.APPROVE, "ada"), (Act.DENY, "agent")), State.DENIED),
    (1, ((Act.OVERRIDE, "root"), (Act.DENY, "ada")), State.DENIED),
    (9, ((Act.OVERRIDE, "root"),), State.OVERRIDDEN),
]


@pytest.mark.parametrize(("approvers", "steps", "state"), LEADS)
def test_what_was_said_leads_to_a_state(approvers: int, steps: tuple[Step, ...], state: State) -> None:
    assert after_all(held(approvers), *steps).read(everybody).state is state


# -- who


@pytest.mark.parametrize("act", [Act.APPROVE, Act.OVERRIDE])
@pytest.mark.parametrize("name", ["agent", "Agent", "BOSS", "boss"])
def test_who_may_not_approve_does_neither_that_nor_an_override(act: Act, name: str) -> None:
    refused = held().refusal(act, voice(name), everybody)
    assert refused is not None and refused[0] is Reason.ERR_APPROVAL_SELF
    beside = held().refusal(Act.OVERRIDE, voice("root", others=[("another key", name)]), everybody)
    assert beside is not None and beside[0] is Reason.ERR_APPROVAL_SELF


@pytest.mark.parametrize("act", [Act.DENY, Act.DISPUTE])
def test_who_may_not_approve_may_say_no(act: Act) -> None:
    assert held().refusal(act, voice("agent"), everybody) is None


@pytest.mark.parametrize("again", [voice("ada"), voice("ada", key="her other"), voice("ADA", key="one more")])
def test_one_person_counts_once_whatever_the_key_and_the_spelling(again: Voice) -> None:
    ceremony = after_all(held(2), (Act.APPROVE, "ada"))
    refused = ceremony.refusal(Act.APPROVE, again, everybody)
    assert refused is not None and refused[0] is Reason.ERR_APPROVAL_CONSUMED


def test_only_the_key_that_approved_withdraws() -> None:
    ceremony = after_all(held(), (Act.APPROVE, "ada"))
    for other in (voice("bob"), voice("ada", key="her other")):
        refused = ceremony.refusal(Act.WITHDRAW, other, everybody)
        assert refused is not None and refused[0] is Reason.ERR_APPROVAL_INTENT_MISMATCH
    assert ceremony.refusal(Act.WITHDRAW, voice("ada"), everybody) is None


def test_sixteen_approve_and_no_more() -> None:
    ceremony = after_all(held(APPROVERS_MAX), *((Act.APPROVE, f"p{n}") for n in range(APPROVERS_MAX)))
    assert ceremony.read(everybody).state is State.COMPLETE
    refused = ceremony.refusal(Act.APPROVE, voice("one more"), everybody)
    assert refused is not None and refused[0] is Reason.ERR_APPROVAL_CONSUMED


def without(*keys: str) -> Callable[[str], bool]:
    return lambda key: key not in keys


def test_an_ended_key_counts_for_nothing_but_its_denial_stands() -> None:
    complete, ended = IN_STATE[State.COMPLETE], without("key of ada")
    assert (
        complete.read(ended).state is State.WAITING and complete.read(ended).statements == complete.read(everybody).statements[1:]
    )
    overridden = held(2).next(Act.OVERRIDE, voice("root", others=[("second key", "second")]))
    for key in ("key of root", "second key"):
        assert overridden.read(without(key)).state is State.WAITING
        assert overridden.refusal(Act.APPROVE, voice("ada"), without(key)) is None
    assert overridden.read(without("third key")).state is State.OVERRIDDEN
    assert IN_STATE[State.DENIED].read(lambda key: False).state is State.DENIED


def test_a_person_with_a_new_key_approves_anew() -> None:
    ceremony, ended = after_all(held(2), (Act.APPROVE, "ada"), (Act.APPROVE, "bob")), without("key of ada")
    new = voice("ada", after(5), key="her new")
    assert ceremony.refusal(Act.APPROVE, new, everybody) is not None and ceremony.refusal(Act.APPROVE, new, ended) is None
    read = ceremony.next(Act.APPROVE, new).read(ended)
    assert (read.state, read.since) == (State.COMPLETE, after(5)) and new.statement in read.statements


# -- when


def complete(timelock_ms: int = 1000, expires_ms: int = 5000) -> Held:
    return after_all(held(1, timelock_ms, expires_ms), (Act.APPROVE, "ada")).read(everybody)


EDGES = [(-1, Reason.ERR_APPROVAL_PENDING_TIMELOCK), (0, Reason.OK), (1, Reason.OK)]


@pytest.mark.parametrize(("edge", "reason"), EDGES)
@pytest.mark.parametrize("clocks", ["both", "wall", "boot", "another boot"])
def test_a_timelock_is_over_when_both_clocks_say_so(edge: int, reason: Reason, clocks: str) -> None:
    now = {
        "both": after(1000 + edge),
        "wall": after(wall_ms=1000 + edge, boot_ms=3000),
        "boot": after(wall_ms=3000, boot_ms=1000 + edge),
        "another boot": after(wall_ms=3000, boot_ms=edge, boot="next"),
    }[clocks]
    assert complete().conclude(now) is reason


@pytest.mark.parametrize("late", ["both", "wall", "boot", "the wall went back", "the boot went back"])
def test_silence_is_over_when_either_clock_says_so(late: str) -> None:
    def at(ms: int) -> Clock:
        back = -86_400_000
        walls = {"boot": 0, "the wall went back": back}
        boots = {"wall": 0, "the boot went back": back}
        return after(wall_ms=walls.get(late, ms), boot_ms=boots.get(late, ms))

    waiting = held(expires_ms=5000).read(everybody)
    assert (waiting.expired(at(5000)), waiting.expired(at(5001))) == (False, True)
    assert waiting.conclude(at(5001)) is Reason.ERR_APPROVAL_EXPIRED
    assert (complete().expired(at(6000)), complete().expired(at(6001))) == (False, True)


def test_a_denial_and_an_override_expire_too() -> None:
    denied = after_all(held(expires_ms=5000), (Act.DENY, "ada"))
    assert [denied.read(everybody).conclude(after(ms)) for ms in (5000, 5001)] == [
        Reason.ERR_APPROVAL_DENIED,
        Reason.ERR_APPROVAL_EXPIRED,
    ]
    overridden = after_all(held(2, 1000, 5000), (Act.OVERRIDE, "root"), clock=after(100)).read(everybody)
    assert [overridden.conclude(after(ms)) for ms in (100, 6100, 6101)] == [Reason.OK, Reason.OK, Reason.ERR_APPROVAL_EXPIRED]


@pytest.mark.parametrize("now", [after(10, wall_ms=-1), after(10, boot_ms=-1)])
def test_where_a_clock_went_back_nothing_is_dispatched_also_not_by_an_override(now: Clock) -> None:
    overridden = after_all(held(), (Act.OVERRIDE, "root")).read(everybody)
    assert complete(0).conclude(now) is overridden.conclude(now) is Reason.ERR_CLOCK_UNTRUSTED
    assert held().read(everybody).conclude(now) is Reason.ERR_APPROVAL_REQUIRED


def test_the_timelock_runs_from_the_approval_with_which_they_were_enough() -> None:
    ceremony = held(2, 1000)
    for ms, who in ((0, "ada"), (300, "bob"), (900, "eve")):
        ceremony = ceremony.next(Act.APPROVE, voice(who, after(ms)))
    assert ceremony.read(everybody).since == after(300)
    assert ceremony.next(Act.WITHDRAW, voice("bob")).read(everybody).since == after(900)


# -- what a decision reads


@pytest.mark.parametrize("state", State)
def test_what_is_read_of_a_held_call_reads_back_as_itself(state: State) -> None:
    read = IN_STATE[state].read(everybody)
    assert Held.from_json(read.to_json()) == read
    assert Held.from_json(replace(read, disputed=True).to_json()).disputed


def test_a_disputed_call_stays_one() -> None:
    ceremony = after_all(held(), (Act.APPROVE, "ada"), (Act.DISPUTE, "bob"), (Act.APPROVE, "ada"))
    assert ceremony.read(everybody).disputed and ceremony.read(everybody).conclude(NOW) is Reason.OK
    assert not IN_STATE[State.COMPLETE].read(everybody).disputed


# -- requirements

NAMES = st.lists(st.sampled_from(["agent", "ada", "bob", "Eve"]), unique=True).map(lambda names: tuple(sorted(names)))
REQUIREMENTS = st.builds(Requirement, st.integers(1, 16), st.integers(0, 3), st.integers(1, 3), NAMES)


@given(REQUIREMENTS, REQUIREMENTS, REQUIREMENTS)
def test_the_stricter_of_requirements_is_a_least_upper_bound(a: Requirement, b: Requirement, c: Requirement) -> None:
    assert a.stricter(b) == b.stricter(a) and a.stricter(a) == a
    assert a.stricter(b).stricter(c) == a.stricter(b.stricter(c))
    assert a.stricter(b).covers(a) and a.stricter(b).covers(b)
    assert c.covers(a.stricter(b)) == (c.covers(a) and c.covers(b))
    assert not (a.covers(b) and b.covers(a)) or a == b


@given(REQUIREMENTS)
def test_a_requirement_reads_back_as_itself(requires: Requirement) -> None:
    assert Requirement.from_json(requires.to_json()) == requires


def test_a_requirement_of_nothing_said_is_one_person_within_an_hour() -> None:
    assert Requirement().to_json() == {"approvers": 1, "expires_ms": EXPIRES_MS, "timelock_ms": 0}
    with pytest.raises(EvidenceError):
        Requirement.from_json({**Requirement().to_json(), "not_by": []})


PEOPLE = st.lists(st.sampled_from(["ada", "bob", "Eve", "agent"]), min_size=1, unique=True).map(lambda who: tuple(sorted(who)))


@given(PEOPLE, REQUIREMENTS, st.integers(0, 4), st.integers(0, 4))
def test_a_grant_does_what_as_many_approvals_would(by: tuple[str, ...], needed: Requirement, wall: int, boot: int) -> None:
    grant, now = Granted(digest(b"grant"), 1, NOW, by), after(wall_ms=wall, boot_ms=boot)
    people = {name for name in by if name.lower() not in {other.lower() for other in needed.not_by}}
    assert grant.suffices(needed, now) == (len(people) >= needed.approvers and min(wall, boot) >= needed.timelock_ms)
    assert not grant.suffices(needed, after(wall_ms=-1, boot_ms=9))


# -- what is signed for

CALLED = ("helm.local/0123456789abcdef", "agent", "demo/add", digest(b"pin"), digest(b"args"), Requirement(not_by=("agent",)))
OTHER = ("helm.local/0123456789abcdee", "Agent", "demo/adD", digest(b"pin2"), digest(b"args2"), Requirement(not_by=("Agent",)))


@given(st.sets(st.integers(0, 5)))
def test_an_intent_is_another_with_each_thing_in_it(changed: set[int]) -> None:
    mixed = [OTHER[n] if n in changed else CALLED[n] for n in range(6)]
    assert (intent(*mixed) == intent(*CALLED)) == (not changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("stricter", [
    Requirement(2, not_by=("agent",)), Requirement(timelock_ms=1, not_by=("agent",)),
    Requirement(expires_ms=1, not_by=("agent",)), Requirement(not_by=("ada", "agent")), Requirement(),
])  # fmt: skip
def test_an_intent_is_another_with_each_thing_that_is_required(stricter: Requirement) -> None:
    assert intent(*CALLED[:5], stricter) != intent(*CALLED)


def test_a_confirmation_is_another_with_each_thing_in_it() -> None:
    said = (INTENDED, "0c" * 16, "ed25519:" + "0" * 64, Act.APPROVE)
    others = (digest(b"other"), "0d" * 16, "ed25519:" + "1" * 64, Act.DENY)
    for at in range(4):
        assert confirmation(*(others[n] if n == at else said[n] for n in range(4))) != confirmation(*said)  # type: ignore[arg-type]
    assert len({confirmation(*said[:3], act) for act in Act}) == len(Act)


def test_the_bytes_of_the_page_are_those_that_are_hashed() -> None:
    shown = re.search(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert shown is not None
    for kind, line in zip((INTENT, CONFIRM), shown[1].splitlines(), strict=True):
        assert line.encode() == pae(kind, line.partition("{")[1].encode() + line.partition("{")[2].encode())
        assert digest(line.encode()) in PAGE
