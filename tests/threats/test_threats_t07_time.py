"""T7, approval bypass: clocks that go back, jump, stand still or are of another boot dispatch nothing that both do not allow."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app import residents
from app.kernels import Place
from app.residents import Up, up
from helm_ai_kernel.app import asks
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.ledger import ledger, writer
from helm_ai_kernel.tcb.ceremony import Act
from helm_ai_kernel.tcb.clock import Clock
from needs import faketime, namespace_of_time
from threats.ceremony import Office, office

RAW = b'{"tool":"tools/send","arguments":{"amount":5,"to":"shop"}}'
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NOTES = b'@timelock("10m") @expires("1h")'
OK, PENDING, EXPIRED, UNTRUSTED = "OK", "ERR_APPROVAL_PENDING_TIMELOCK", "ERR_APPROVAL_EXPIRED", "ERR_CLOCK_UNTRUSTED"
START = Clock(1_767_323_045_678, "a" * 32, DAY)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Clock], None]:
    """What time it is for the kernel, in all of its rooms."""
    at = [START]

    def now() -> writer.Moment:
        return writer.Moment("2026-01-02T03:04:05.678Z", at[0])

    for module in ("ledger.writer", "ledger.ledger", "app.waiting"):
        monkeypatch.setattr(f"helm_ai_kernel.{module}.now", now)

    def to(other: Clock) -> None:
        at[0] = other

    return to


def approved(place: Place, clock: Callable[[Clock], None], *later: Clock) -> list[str]:
    """A call is held and approved at `START`, and made again at each of these times: why it was dispatched, or was not."""
    at = office(place, NOTES)

    async def work() -> list[Answer]:
        runtime = await Runtime.open(place.config)
        runtime.terms = lambda principal: place.config.asked

        async def call() -> Answer:
            return await runtime.call(RAW, principal="ann", door="execute")

        try:
            await call()
            held = await asyncio.to_thread(at.one)
            await asks.say(runtime, held, Act.APPROVE, place.approver)
            found = []
            for moment in later:
                clock(moment)
                found.append(await call())
            return found
        finally:
            await runtime.close()

    found = asyncio.run(work())
    assert len(at.done) == [answer.reason for answer in found].count("OK") <= 1
    place.check()
    return [str(answer.reason.value) for answer in found]


def moved(wall_ms: int, boot_ms: int, boot: str = START.boot) -> Clock:
    return Clock(START.wall_ms + wall_ms, boot, START.boot_ms + boot_ms)


def rebooted(wall_ms: int, up_ms: int) -> Clock:
    return Clock(START.wall_ms + wall_ms, "b" * 32, up_ms)


@pytest.mark.parametrize(
    ("moment", "reason"),
    [
        pytest.param(moved(0, 0), PENDING, id="at once"),
        pytest.param(moved(10 * MINUTE - 1, 10 * MINUTE - 1), PENDING, id="a millisecond early"),
        pytest.param(moved(10 * MINUTE, 10 * MINUTE), OK, id="when the timelock is over"),
        pytest.param(moved(DAY, 0), EXPIRED, id="wall a day on"),
        pytest.param(moved(HOUR, 0), PENDING, id="wall an hour on, machine not"),
        pytest.param(moved(0, HOUR), PENDING, id="machine an hour on, wall not"),
        pytest.param(moved(-DAY, 10 * MINUTE), UNTRUSTED, id="wall a day back"),
        pytest.param(moved(10 * MINUTE, -1), UNTRUSTED, id="machine back"),
        pytest.param(moved(20 * MINUTE, 20 * MINUTE), OK, id="suspend and resume: both count sleep"),
        pytest.param(moved(30 * MINUTE, 1000), PENDING, id="a snapshot that is restored: its machine stood still"),
        pytest.param(rebooted(30 * MINUTE, MINUTE), PENDING, id="a reboot: only the time since then is sure"),
        pytest.param(rebooted(30 * MINUTE, 10 * MINUTE), OK, id="a reboot, and its own ten minutes"),
        pytest.param(rebooted(-1, 10 * MINUTE), UNTRUSTED, id="a reboot into the past"),
        pytest.param(rebooted(30 * MINUTE, 2 * DAY), EXPIRED, id="another machine that runs for longer"),
        pytest.param(Clock(2**31 * 1000, START.boot, START.boot_ms + HOUR), EXPIRED, id="2038"),
        pytest.param(Clock(253_402_300_799_000, START.boot, START.boot_ms + 10 * MINUTE), EXPIRED, id="the end of 9999"),
        pytest.param(moved(70 * MINUTE, 70 * MINUTE), OK, id="the last moment"),
        pytest.param(moved(70 * MINUTE + 1, 70 * MINUTE + 1), EXPIRED, id="a millisecond late"),
        pytest.param(moved(10 * MINUTE, 70 * MINUTE + 1), EXPIRED, id="late by one clock"),
    ],
)  # fmt: skip
def test_a_timelock_and_a_deadline_hold_whatever_the_clocks_do(
    place: Place, clock: Callable[[Clock], None], moment: Clock, reason: str
) -> None:
    assert approved(place, clock, moment) == [reason]


def test_a_clock_that_is_right_again_is_believed_again_and_only_then(place: Place, clock: Callable[[Clock], None]) -> None:
    found = approved(place, clock, moved(-HOUR, MINUTE), moved(5 * MINUTE, 5 * MINUTE), moved(11 * MINUTE, 11 * MINUTE))
    assert found == [UNTRUSTED, PENDING, OK]


def test_an_approval_that_expires_between_two_calls_is_read_in_the_transaction_that_would_use_it(
    place: Place, clock: Callable[[Clock], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """7.6: the time goes by behind the check of everything else and before the transaction."""
    commit = ledger.Ledger.commit

    async def late(*args: Any, **kwargs: Any) -> Any:
        clock(next(times))
        return await commit(*args, **kwargs)

    times = iter([START, moved(70 * MINUTE + 1, 70 * MINUTE + 1)])
    monkeypatch.setattr(ledger.Ledger, "commit", late)
    assert approved(place, clock, moved(70 * MINUTE, 70 * MINUTE)) == [EXPIRED]
    (said,) = [receipt for receipt in place.receipts() if receipt.body.get("reason") == EXPIRED]
    assert Clock.from_json(said.body["facts"]["clock"]) == moved(70 * MINUTE + 1, 70 * MINUTE + 1)  # type: ignore[index,call-overload]


@contextmanager
def started(at: Office, before: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    """The resident kernel in another time."""
    with monkeypatch.context() as patch:
        patch.setattr(residents, "COMMAND", [*before, *residents.COMMAND])
        with up(at.place) as kernel:
            yield kernel
            assert kernel.end() == (0, "")


def test_a_machine_that_says_it_ran_for_longer_shortens_no_timelock(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    at = office(place, b'@timelock("10h") @expires("30d")')
    later, sooner = namespace_of_time(1), namespace_of_time(0)
    with started(at, sooner, monkeypatch) as kernel:
        at.call(kernel)
        at.say(at.one(), Act.APPROVE, place.approver)
    with started(at, later, monkeypatch) as kernel:  # the wall says that no time went by
        assert at.call(kernel).value["helm"]["reason"] == PENDING
    place.check()


def test_a_machine_whose_clock_went_back_is_not_believed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    at = office(place)
    with started(at, namespace_of_time(1), monkeypatch) as kernel:
        at.call(kernel)
        at.say(at.one(), Act.APPROVE, place.approver)
    with started(at, namespace_of_time(0), monkeypatch) as kernel:
        assert at.call(kernel).code == UNTRUSTED and at.done == []
    place.check()


@pytest.mark.parametrize(("shift", "reason"), [("+1d", PENDING), ("+31d", "ERR_APPROVAL_REQUIRED"), ("-1d", UNTRUSTED)])
def test_a_wall_clock_that_was_set_dispatches_nothing(place: Place, shift: str, reason: str) -> None:
    """Of the one that is 31 days on the start says that nobody used the approval in time: what is made then is a new call."""
    preloaded = str(faketime())  # 7.5, of a whole process: the clock of this machine is never set, nor that of its boot
    at = office(place, b'@timelock("10h") @expires("30d")')
    with up(place) as kernel:
        at.call(kernel)
        at.say(at.one(), Act.APPROVE, place.approver)
        kernel.end()
    with up(place, env={"LD_PRELOAD": preloaded, "FAKETIME": shift, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}) as kernel:
        assert (at.call(kernel).value["helm"]["reason"], at.done) == (reason, [])
        kernel.end()
    place.check()
