"""Rates and what is under way at once, by a clock that the test turns."""

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.gateway.gaps import Gaps
from helm_ai_kernel.gateway.identity import Agent, Limits
from helm_ai_kernel.gateway.limits import Limiter
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

S = 1_000_000_000


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


def test_a_rate_lets_a_burst_through_and_then_as_many_a_second() -> None:
    clock = Clock()
    limiter, agent = Limiter(clock), Agent("a", limits=Limits(per_s=2, burst=3))
    assert [limiter.take(agent) for _ in range(5)] == [0, 0, 0, 1, 1]
    clock.now = S // 2
    assert [limiter.take(agent) for _ in range(2)] == [0, 1]
    clock.now = 1000 * S
    assert [limiter.take(agent) for _ in range(4)] == [0, 0, 0, 1]


@given(st.integers(1, 7), st.integers(1, 10), st.lists(st.integers(0, 3 * S), max_size=60))
def test_never_more_than_the_burst_and_the_rate_over_the_time_that_went_by(per_s: int, burst: int, waits: list[int]) -> None:
    clock = Clock()
    limiter, agent, through = Limiter(clock), Agent("a", limits=Limits(per_s, burst)), 0
    for wait in waits:
        clock.now += wait
        asked = limiter.take(agent)
        through += asked == 0
        assert through <= burst + clock.now * per_s / S
        if asked:
            clock.now += asked * S
            assert limiter.take(agent) == 0, "whoever waits as told is let through"
            through += 1


def test_a_clock_that_goes_back_gives_nothing() -> None:
    clock = Clock()
    limiter, agent = Limiter(clock), Agent("a", limits=Limits(1, 1))
    clock.now = 10 * S
    assert limiter.take(agent) == 0
    clock.now = 0
    assert limiter.take(agent) == 1


def test_one_agents_calls_are_bounded_and_not_anothers() -> None:
    limiter, ann, bob = Limiter(Clock()), Agent("ann", limits=Limits(concurrent=2)), Agent("bob")
    assert [limiter.enter(ann) for _ in range(3)] == [True, True, False]
    assert limiter.enter(bob)
    limiter.leave(ann)
    assert limiter.enter(ann)


class Kept:
    def __init__(self) -> None:
        self.gaps: list[tuple[str, dict[str, int]]] = []
        self.full = False

    async def gap(self, door: str, counts: Mapping[str, int]) -> None:
        if self.full:
            raise OutsideError(Reason.ERR_EVIDENCE_FULL, "full")
        self.gaps.append((door, dict(counts)))


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_refusals_of_a_second_are_one_record_and_none_is_lost_on_a_full_disk(kept: Kept) -> None:
    async def body() -> None:
        tasks: set[asyncio.Task[None]] = set()
        gaps = Gaps("data", kept, tasks.add)
        for _ in range(1000):
            gaps.count(Reason.ERR_UNAUTHENTICATED)
        gaps.count(Reason.ERR_RATE_LIMITED)
        kept.full = True
        await gaps.flush()
        kept.full = False
        gaps.count(Reason.ERR_UNAUTHENTICATED)
        gaps._due()  # as the second ends
        await asyncio.gather(*tasks)
        await gaps.flush()
        assert kept.gaps == [("data", {"ERR_RATE_LIMITED": 1, "ERR_UNAUTHENTICATED": 1001})]
        assert gaps.total["ERR_UNAUTHENTICATED"] == 1001

    asyncio.run(body())
