"""Two clocks at one moment: what is sure of a time that passed, and what may be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.tcb.clock import Clock, Passed
from helm_ai_kernel.tcb.errors import EvidenceError

BOOTS = ("a" * 32, "b" * 32)
CLOCKS = st.builds(Clock, st.integers(0, 100), st.sampled_from(BOOTS), st.integers(0, 100))


def test_the_time_that_passed_is_sure_as_far_as_both_clocks_agree() -> None:
    then = Clock(1000, BOOTS[0], 50)
    assert Clock(1010, BOOTS[0], 70).since(then) == Passed(10, 20)
    assert Clock(1020, BOOTS[0], 60).since(then) == Passed(10, 20)
    assert Clock(1000, BOOTS[0], 50).since(then) == Passed(0, 0)


def test_of_another_boot_only_its_own_time_counts() -> None:
    then = Clock(1000, BOOTS[0], 5_000_000)
    assert Clock(9000, BOOTS[1], 70).since(then) == Passed(70, 8000)
    assert Clock(1001, BOOTS[1], 9999).since(then) == Passed(1, 9999)


@pytest.mark.parametrize(("wall_ms", "boot_ms"), [(999, 60), (1010, 49), (999, 49)])
def test_where_a_clock_went_back_nothing_is_sure(wall_ms: int, boot_ms: int) -> None:
    then, now = Clock(1000, BOOTS[0], 50), Clock(wall_ms, BOOTS[0], boot_ms)
    assert now.since(then) is None
    assert now.perhaps_ms(then) == max(wall_ms - 1000, boot_ms - 50)


@given(CLOCKS, CLOCKS)
def test_what_is_sure_is_no_more_than_what_may_be(now: Clock, then: Clock) -> None:
    passed = now.since(then)
    if passed is None:
        assert now.wall_ms < then.wall_ms or (now.boot == then.boot and now.boot_ms < then.boot_ms)
    else:
        assert 0 <= passed.surely_ms <= passed.perhaps_ms == now.perhaps_ms(then)


@given(CLOCKS, st.integers(0, 50), st.integers(0, 50))
def test_a_longer_time_is_never_shorter(then: Clock, first: int, more: int) -> None:
    soon, late = (Clock(then.wall_ms + ms, then.boot, then.boot_ms + ms) for ms in (first, first + more))
    assert soon.since(then) == Passed(first, first) and late.since(then) == Passed(first + more, first + more)


@given(CLOCKS)
def test_a_clock_reads_back_as_itself(clock: Clock) -> None:
    assert Clock.from_json(clock.to_json()) == clock


@pytest.mark.parametrize("wrong", [{"wall_ms": -1}, {"wall_ms": 1.5}, {"boot": "A" * 32}, {"boot": "a" * 31}, {"boot_ms": True}])
def test_a_clock_of_another_form_is_none(wrong: dict[str, object]) -> None:
    with pytest.raises(EvidenceError):
        Clock.from_json({**Clock(1, BOOTS[0], 2).to_json(), **wrong})  # type: ignore[arg-type]
