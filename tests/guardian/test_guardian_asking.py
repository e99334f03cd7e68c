"""May a held call go on? A table of what people said, and properties: the stricter wins, and nothing but their word allows."""

from dataclasses import replace

import pytest
from guardian_faces import CLOCK, decided, policy
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.guardian.asking import asking
from helm_ai_kernel.guardian.rules import parse
from helm_ai_kernel.tcb.ceremony import APPROVERS_MAX, NAMES_MAX, WAIT_MS_MAX, Held, Requirement, State
from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Facts, Granted, Verdict
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import Refused

HOUR = 3_600_000
CALL, OLGA, PAT, GRANT = (digest(text.encode()) for text in ("call", "olga", "pat", "grant"))
NOW = replace(CLOCK, boot_ms=10 * WAIT_MS_MAX)
ONE = Requirement(not_by=("ann",))


def ago(ms: int) -> Clock:
    return replace(NOW, wall_ms=NOW.wall_ms - ms, boot_ms=NOW.boot_ms - ms)


def held(requires: Requirement = ONE, state: State = State.COMPLETE, since: int | None = 1000, **more: object) -> Held:
    """A call of a minute ago; `since` ms ago it became so."""
    said = () if state is State.WAITING else (OLGA,)
    then = ago(since) if since is not None and state in (State.COMPLETE, State.OVERRIDDEN) else None
    return replace(Held(CALL, ago(60_000), requires, state, then, said), **more)  # type: ignore[arg-type]


def facts(**more: object) -> Facts:
    return Facts(**{"principal": "ann", "door": "library", "policy": None, "clock": NOW, **more})  # type: ignore[arg-type]


def granted(by: tuple[str, ...] = ("olga",), since: int = 5000) -> Granted:
    return Granted(GRANT, 3, ago(since), by)


WAITS = replace(ONE, timelock_ms=10_000)
TWO = replace(ONE, approvers=2)
ROWS: list[tuple[str, Facts, tuple[Requirement, ...], str]] = [
    ("nobody was asked yet", facts(), (Requirement(),), "ESCALATE ERR_APPROVAL_REQUIRED, holds"),
    ("nobody is there", facts(alone=True), (Requirement(),), "DENY ERR_APPROVAL_REQUIRED alone"),
    ("too many wait already", facts(crowded=True), (Requirement(),), "DENY ERR_APPROVAL_REQUIRED crowded"),
    ("it waits", facts(approval=held(state=State.WAITING)), (Requirement(),), "ESCALATE ERR_APPROVAL_REQUIRED"),
    ("it waits, also where many do", facts(approval=held(state=State.WAITING), crowded=True), (Requirement(),),
     "ESCALATE ERR_APPROVAL_REQUIRED"),
    ("it waits, and nobody is there any more", facts(approval=held(state=State.WAITING), alone=True), (Requirement(),),
     "DENY ERR_APPROVAL_REQUIRED alone"),
    ("approved", facts(approval=held()), (Requirement(),), "ALLOW OK by statements"),
    ("overridden before its timelock", facts(approval=held(WAITS, State.OVERRIDDEN)), (WAITS,), "ALLOW OK by statements"),
    ("approved, timelock runs", facts(approval=held(WAITS)), (WAITS,), "ESCALATE ERR_APPROVAL_PENDING_TIMELOCK"),
    ("approved, timelock over", facts(approval=held(WAITS, since=10_000)), (WAITS,), "ALLOW OK by statements"),
    ("denied", facts(approval=held(state=State.DENIED)), (Requirement(),), "DENY ERR_APPROVAL_DENIED"),
    ("denied, and no rule asks any more", facts(approval=held(state=State.DENIED)), (), "DENY ERR_APPROVAL_DENIED"),
    ("denied, in spite of a grant", facts(approval=held(state=State.DENIED), grant=granted()), (Requirement(),),
     "DENY ERR_APPROVAL_DENIED"),
    ("silence", facts(approval=held(replace(ONE, expires_ms=59_999), State.WAITING)), (Requirement(),),
     "DENY ERR_APPROVAL_EXPIRED"),
    ("an approval that nobody used", facts(approval=held(replace(ONE, expires_ms=999))), (Requirement(),),
     "DENY ERR_APPROVAL_EXPIRED"),
    ("a clock went back", facts(approval=held(since=-1)), (Requirement(),), "DENY ERR_CLOCK_UNTRUSTED"),
    ("no rule asks any more, and nobody said yes", facts(approval=held(state=State.WAITING)), (),
     "ESCALATE ERR_APPROVAL_REQUIRED"),
    ("no rule asks any more, and it is approved", facts(approval=held()), (), "ALLOW OK by statements"),
    ("more is asked for by now", facts(approval=held()), (TWO,), "ESCALATE ERR_APPROVAL_REQUIRED, holds"),
    ("its owner may not approve by now", facts(approval=held(), not_by=("olga",)), (Requirement(),),
     "ESCALATE ERR_APPROVAL_REQUIRED, holds"),
    ("a grant", facts(grant=granted()), (Requirement(),), "ALLOW OK by grant"),
    ("a grant as it waits", facts(approval=held(state=State.WAITING), grant=granted()), (Requirement(),), "ALLOW OK by grant"),
    ("a grant of one where two are asked for", facts(grant=granted()), (TWO,), "ESCALATE ERR_APPROVAL_REQUIRED, holds"),
    ("a grant of two", facts(grant=granted(("olga", "pat"))), (TWO,), "ALLOW OK by grant"),
    ("a grant of who asks", facts(grant=granted(("Ann",))), (Requirement(),), "ESCALATE ERR_APPROVAL_REQUIRED, holds"),
    ("a grant before its timelock", facts(grant=granted()), (WAITS,), "ESCALATE ERR_APPROVAL_REQUIRED, holds"),
    ("a grant, and a call that was disputed", facts(approval=held(state=State.WAITING, disputed=True), grant=granted()),
     (Requirement(),), "ESCALATE ERR_APPROVAL_REQUIRED"),
    ("disputed, and approved again", facts(approval=held(disputed=True)), (Requirement(),), "ALLOW OK by statements"),
]  # fmt: skip


@pytest.mark.parametrize(("known", "rules", "says"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_a_held_call_is_told(known: Facts, rules: tuple[Requirement, ...], says: str) -> None:
    got = asking(rules, known)
    words = [got.verdict.value, got.reason.value, *([got.sub] if got.sub else [])]
    relied = {(): "", (OLGA,): " by statements", (GRANT,): " by grant"}[got.relies]
    assert " ".join(words) + relied + (", holds" if got.requires else "") == says


REQUIREMENTS = st.builds(
    Requirement,
    st.integers(1, APPROVERS_MAX),
    st.sampled_from([0, 1, 60_000, HOUR]),
    st.sampled_from([1, 60_000, HOUR, 2 * HOUR]),
    st.sets(st.sampled_from(["ann", "bob", "eve"])).map(lambda names: tuple(sorted(names))),
)
CLOCKS = st.builds(
    lambda wall, boot: replace(NOW, wall_ms=NOW.wall_ms - wall, boot_ms=NOW.boot_ms - boot),
    st.integers(-10, 2 * HOUR), st.integers(-10, 2 * HOUR),
)  # fmt: skip


@st.composite
def helds(draw: st.DrawFn) -> Held:
    state = draw(st.sampled_from(State))
    since = draw(CLOCKS) if state in (State.COMPLETE, State.OVERRIDDEN) else None
    said = () if state is State.WAITING else (OLGA,)
    return Held(CALL, draw(CLOCKS), draw(REQUIREMENTS), state, since, said, draw(st.booleans()))


GRANTS = st.builds(Granted, st.just(GRANT), st.integers(1, 9), CLOCKS, st.sampled_from([("ann",), ("olga",), ("olga", "pat")]))
KNOWN = st.builds(
    facts, approval=st.none() | helds(), grant=st.none() | GRANTS, not_by=st.sampled_from([(), ("olga",)]),
    alone=st.booleans(), crowded=st.booleans(),
)  # fmt: skip
BY_RULES = REQUIREMENTS.map(lambda one: replace(one, not_by=()))  # whom a rule excludes is the kernel's to say
RULES = st.lists(BY_RULES, max_size=3).map(tuple)


@given(RULES.filter(bool), KNOWN)
def test_what_is_held_is_held_for_the_strictest_of_all_rules_and_of_what_it_was_held_for(
    rules: tuple[Requirement, ...], known: Facts
) -> None:
    got = asking(rules, known)
    if got.requires is None:
        return
    everything = [*rules, *([known.approval.requires] if known.approval else [])]
    assert all(got.requires.covers(one) for one in everything)
    assert {"ann", *known.not_by} <= set(got.requires.not_by)
    assert got.requires.approvers == max(one.approvers for one in everything)
    assert got.requires.timelock_ms == max(one.timelock_ms for one in everything)
    assert got.requires.expires_ms == min(one.expires_ms for one in everything)


@given(RULES.filter(bool), KNOWN)
def test_nothing_is_allowed_but_by_what_people_said_for_at_least_so_much(rules: tuple[Requirement, ...], known: Facts) -> None:
    got = asking(rules, known)
    if got.verdict is not Verdict.ALLOW:
        assert got.relies == ()
    elif got.relies == (GRANT,):
        assert known.grant is not None and (known.approval is None or not known.approval.disputed)
        assert len(set(known.grant.by) - {"ann", *known.not_by}) >= max(one.approvers for one in rules)
    else:
        assert known.approval is not None and got.relies == known.approval.statements
        assert known.approval.conclude(NOW) is Reason.OK
        assert all(known.approval.requires.covers(one) for one in rules)


@given(RULES.filter(bool), KNOWN, BY_RULES)
def test_one_more_rule_never_lets_a_call_go_on_that_was_stopped(
    rules: tuple[Requirement, ...], known: Facts, more: Requirement
) -> None:
    if asking(rules, known).verdict is not Verdict.ALLOW:
        assert asking((*rules, more), known).verdict is not Verdict.ALLOW


@given(RULES, KNOWN)
def test_the_order_of_the_rules_does_not_matter(rules: tuple[Requirement, ...], known: Facts) -> None:
    assert asking(rules, known) == asking(rules[::-1], known)


def test_more_people_who_may_not_approve_than_a_receipt_can_name_are_no_approval() -> None:
    names = tuple(sorted(f"p{at}" for at in range(NAMES_MAX)))
    assert asking([Requirement()], facts(not_by=names[1:])).requires == Requirement(not_by=("ann", *names[1:]))
    with pytest.raises(Refused) as no:
        asking([Requirement()], facts(not_by=names))
    assert (no.value.reason, no.value.sub) == (Reason.ERR_POLICY_ERROR, "not_by")


ANNOTATED = '@id("r") @require("approval") {} forbid (principal, action, resource);'


@pytest.mark.parametrize(
    ("annotations", "requires"),
    [
        ("", Requirement()),
        ('@approvers("2") @timelock("10m") @expires("1h")', Requirement(2, 600_000, HOUR)),
        ('@approvers("16") @timelock("366d") @expires("90s")', Requirement(16, WAIT_MS_MAX, 90_000)),
        ('@expires("7d")', Requirement(1, 0, 7 * 24 * HOUR)),
    ],
)
def test_a_rule_says_how_many_people_how_long_before_and_how_long_they_have(annotations: str, requires: Requirement) -> None:
    (rule,) = parse("main.cedar", ANNOTATED.format(annotations))
    assert rule.requires == requires


@pytest.mark.parametrize(
    "annotations",
    [
        *(f'@approvers("{value}")' for value in ("0", "17", "-1", "2.0", "", "two", " 2", "\u0662", "10000")),
        *(f'@timelock("{value}")' for value in ("0s", "10", "m", "1h30m", "367d", "-1m", "1 h", "01m", "1000000s", "\u0661m")),
        *(f'@expires("{value}")' for value in ("0s", "1w", "", "366d1s")),
    ],
)
def test_an_annotation_that_says_nothing_clear_is_refused(annotations: str) -> None:
    with pytest.raises(Refused) as no:
        parse("main.cedar", ANNOTATED.format(annotations))
    assert (no.value.reason, no.value.sub) == (Reason.ERR_POLICY_ERROR, "annotation")


@pytest.mark.parametrize("annotation", ['@approvers("2")', '@timelock("1m")', '@expires("1m")'])
@pytest.mark.parametrize("effect", ["forbid", "permit"])
def test_without_require_they_mean_nothing_and_are_refused(annotation: str, effect: str) -> None:
    with pytest.raises(Refused, match="without @require"):
        parse("main.cedar", f'@id("r") {annotation} {effect} (principal, action, resource);')


def test_rules_of_several_layers_that_hold_one_call_ask_for_the_strictest_together() -> None:
    base = (
        '@id("open") permit (principal, action, resource);'
        '@id("two") @require("approval") @approvers("2") @expires("2h") forbid (principal, action == Action::"fs/rm", resource);'
    )
    slow = '@id("slow") @require("approval") @timelock("10m") @expires("30m") forbid (principal, action, resource);'
    got = decided(policy(base, overlays__team=slow), "fs/rm", {"path": "/x"}, not_by=("owner",))
    assert (got.verdict, got.rules) == (Verdict.ESCALATE, ("helm-destructive-needs-approval", "slow", "two"))
    assert got.requires == Requirement(2, 600_000, 1_800_000, ("ann", "owner"))
