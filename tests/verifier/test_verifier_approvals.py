"""What no vector asks of calls that wait: both verifiers say it, and say the same. The others are `vectors/pack/`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from test_verifier_javascript import codes, differences, judged

from helm_ai_kernel.tcb.ceremony import APPROVERS_MAX, Held, Requirement
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from pack_case import of
from packs import Deployment, Log, after, key
from verifier.mutant import Mutant


def team(people: int) -> tuple[Log, str, list[SecretKey]]:
    """A log in which so many people may approve, besides `olga`; an agent's session; their keys."""
    deployment = Deployment("team")
    keys = [key(f"team {number}", Purpose.APPROVAL) for number in range(people)]
    for number, one in enumerate(keys):
        deployment.enrol(one, f"person-{number}")
    log = Log(deployment)
    log.start_kernel()
    log.activate()
    return log, log.start(), keys


def both(log: Log) -> set[tuple[str, str]]:
    """What both find; that they agree is asserted."""
    assert list(differences([Mutant("told here", of(log))])) == []
    return codes(judged(of(log)))


def test_a_call_goes_by_the_first_approvals_that_were_needed_and_waits_from_the_last_of_these() -> None:
    log, agent, (ada, bob) = team(2)
    call = log.escalate(agent, timelock_ms=1000)
    for at, who in enumerate((log.deployment.approval, ada, bob)):
        log.approve(call, who, clock=after(400 * at))
    went = log.resume(agent, call, clock=after(1000))
    log.settle(agent, went.leaf)
    assert len(went.body["relies"]) == 1
    assert both(log) == set()


def test_no_more_people_approve_than_any_quorum_has() -> None:
    log, agent, keys = team(APPROVERS_MAX)
    call = log.escalate(agent)
    for one in keys:
        log.approve(call, one)
    assert both(log) == set()
    log.approve(call)
    assert both(log) == {("APPROVAL_REUSED", "V11")}


def test_a_call_that_is_held_on_for_fewer_who_may_not_approve_is_not_held_for_more() -> None:
    log, agent, _ = team(0)
    call = log.escalate(agent, requires=Requirement(not_by=("agent", "bob")))
    more = {"args_hash": call.body["args_hash"]}
    log.escalate(agent, before=log.held(call), requires=Requirement(2, not_by=("agent",)), more=more)
    assert both(log) == {("APPROVAL_INVALID", "V10")}


def test_a_call_that_waits_names_what_it_waits_for_among_its_causes() -> None:
    log, agent, _ = team(0)
    call = log.escalate(agent)
    log.poll(agent, call, parents=[])
    assert both(log) == {("FLOW_INVALID", "V10")}


def test_what_a_decision_says_that_it_read_is_compared_whole() -> None:
    """Each field of a reading, told otherwise."""
    for change in _CHANGES:
        log, agent, (ada, *_) = team(1)
        call = log.escalate(agent, timelock_ms=1000)
        log.approve(call, ada)
        told = change(log.held(call))
        log.poll(agent, call, log.held(call).conclude(after(1)), clock=after(1), held=told)
        assert both(log) == {("APPROVAL_INVALID", "V10")}, told


def _other(**fields: Any) -> Callable[[Held], Held]:
    return lambda held: replace(held, **fields)


_CHANGES = (
    _other(at=after(1)),
    _other(since=after(2)),
    _other(disputed=True),
    lambda held: replace(held, requires=replace(held.requires, timelock_ms=1001)),
    lambda held: replace(held, requires=replace(held.requires, not_by=("agent", "bob"))),
    lambda held: replace(held, statements=(held.call,)),
    lambda held: replace(held, statements=(*held.statements, held.call)),
    lambda held: replace(held, since=replace(held.since, boot="0" * 32)),
)
