"""T8, keys that come and go: what a receipt, a statement, a checkpoint counts for, around the event that ends its key."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.cosign import WitnessPolicy
from helm_ai_kernel.tcb.events import End
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from packs import Deployment, Log, key, policy, repack

SINCE = "2026-01-01T00:00:00.000Z"
BELIEVED = WitnessPolicy.from_bytes(policy(1, "ann"))
SEEN: dict[str, tuple[int, ...]] = {"never": (), "before": (1_767_139_200,), "after": (1_767_400_000,)}  # that time
SECOND = {purpose: key(f"second {purpose}", purpose) for purpose in Purpose}
ENDS: dict[str, Callable[[Deployment, SecretKey], None]] = {
    "rotated": lambda here, old: here.rotate(old, SECOND[old.public.purpose]),
    "superseded": lambda here, old: revoked(here, old, End.SUPERSEDED),
    "cessation": lambda here, old: revoked(here, old, End.CESSATION),
    "compromise": lambda here, old: revoked(here, old, End.COMPROMISE),
}


def revoked(here: Deployment, old: SecretKey, reason: End) -> None:
    """After a second key was added, so that it is not the last one."""
    purpose = old.public.purpose
    here.enrol(SECOND[purpose], "kernel", here.origin if purpose in (Purpose.EXECUTION, Purpose.LOG) else None)
    here.revoke(old, reason, SINCE if reason is End.COMPROMISE else None)


def history(how: str, purpose: Purpose) -> tuple[Deployment, int]:
    """A registry in which the first key for that purpose ended; also the first size at which it is not in force any more."""
    here = Deployment()
    ENDS[how](here, getattr(here, purpose.value))
    r = here.registry.size
    here.enrol(key("one more", Purpose.WITNESS), "walt")
    return here, r


def as_of(here: Deployment, size: int) -> Deployment:
    """The same people and keys, when the registry had that size."""
    then = Deployment()
    then.registry = type(here.registry).replay(here.registry.lines[:size])
    return then


def found(log: Log, here: Deployment, seen: str = "never") -> set[Finding]:
    """What a verifier says who has the registry of `here` whole, and believes one witness, which saw the log then."""
    note = log.cosigned(*(("ann", at) for at in SEEN[seen]))
    data = repack({**log.files(), pack.CHECKPOINT: note, pack.TRUST: pack.joined(here.registry.lines)})
    report = verify(data, Question(genesis=here.registry.genesis, witnesses=BELIEVED if SEEN[seen] else None))
    assert report.exit in (Exit.VALID, Exit.INVALID)
    return {finding.code for finding in report.findings}


def expected(how: str, size: int, r: int, seen: str) -> set[Finding]:
    if size >= r:
        return {Finding.KEY_REVOKED}
    return {Finding.KEY_COMPROMISED_UNANCHORED} if how == "compromise" and seen != "before" else set()


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("place", [-1, 0, 1])
@pytest.mark.parametrize("seen", SEEN)
def test_a_receipt_counts_by_the_registry_that_it_relies_on(how: str, place: int, seen: str) -> None:  # 8.3, 8.4, 8.5
    here, r = history(how, Purpose.EXECUTION)
    log = Log(as_of(here, r + place))
    log.start_kernel()
    assert found(log, here, seen) == expected(how, r + place, r, seen)
    log.deployment.execution = SECOND[Purpose.EXECUTION]
    late = Log(log.deployment)
    late.start_kernel()
    known = r if how == "rotated" else r - 1  # from when on the second key is in force
    assert found(late, here) == ({Finding.KEY_UNKNOWN} if r + place < known else set())


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("place", [-1, 0, 1])
@pytest.mark.parametrize("seen", SEEN)
def test_a_statement_counts_by_the_registry_that_its_receipt_relies_on(how: str, place: int, seen: str) -> None:
    here, r = history(how, Purpose.APPROVAL)
    log = Log(as_of(here, r + place))
    log.start_kernel()
    log.activate()
    assert found(log, here, seen) == expected(how, r + place, r, seen)


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("place", [-1, 0, 1])
@pytest.mark.parametrize("seen", SEEN)
def test_a_checkpoint_counts_by_the_registry_that_the_last_receipt_under_it_relies_on(how: str, place: int, seen: str) -> None:
    here, r = history(how, Purpose.LOG)
    log = Log(as_of(here, r + place))
    log.start_kernel()
    assert found(log, here, seen) == expected(how, r + place, r, seen)
    log.deployment.log = SECOND[Purpose.LOG]  # who takes over signs for all of it
    assert found(log, here) == (set() if how == "rotated" or r + place >= r - 1 else {Finding.KEY_UNKNOWN})


def test_a_registry_that_omits_a_revocation_is_a_rollback_where_the_log_relies_on_it() -> None:  # 8.6
    here, r = history("compromise", Purpose.APPROVAL)
    log = Log(here)
    log.start_kernel()
    for size in range(1, here.registry.size):
        short = as_of(here, size)
        assert Finding.ROLLBACK in found(log, short), size
        part = {**pack.read(log.part(0)), pack.TRUST: pack.joined(here.registry.lines[:size])}
        report = verify(repack(part), Question(genesis=here.registry.genesis))
        assert Finding.ROLLBACK in {finding.code for finding in report.findings} and report.exit is Exit.INVALID, size
    early = Log(as_of(here, r - 1))
    early.start_kernel()
    early.activate()
    assert found(early, as_of(here, r - 1)) == set()  # as of then it is what it was: an earlier export
    assert found(early, here) == {Finding.KEY_COMPROMISED_UNANCHORED}


@pytest.mark.parametrize("how", ENDS)
def test_what_relies_on_a_revocation_is_never_followed_by_what_does_not(how: str) -> None:
    here, r = history(how, Purpose.EXECUTION)
    log = Log(as_of(here, r))
    log.deployment.execution = SECOND[Purpose.EXECUTION]
    log.start_kernel()
    log.deployment = replace_registry(log.deployment, as_of(here, r - 1))
    log.start()
    assert Finding.ROLLBACK in found(log, here)


def replace_registry(here: Deployment, then: Deployment) -> Deployment:
    after = replace(here)  # runs `__post_init__`: the first keys again
    after.registry = then.registry
    return after


def test_a_forged_event_changes_nothing_of_what_a_verifier_believes() -> None:  # 8.1, 8.7
    here = Deployment()
    log = Log(here)
    log.start_kernel()
    other = Deployment()
    other.revoke(other.approval, End.CESSATION)
    here.enrol(SECOND[Purpose.APPROVAL], "olga")
    fork: Sequence[bytes] = [*here.registry.lines, other.registry.lines[-1]]
    data = repack({**log.files(), pack.TRUST: pack.joined(fork)})
    report = verify(data, Question(genesis=here.registry.genesis))
    assert [finding.code for finding in report.findings] == [Finding.CHAIN_FORK] and report.exit is Exit.INVALID
