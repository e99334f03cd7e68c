"""Sessions of callers: bound to a principal at a door, ended when they are still or old, by a clock that the test turns."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.kernels import OPEN, Place
from app.residents import until
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.app.sessions import AGE_S, IDLE_S
from helm_ai_kernel.connectors.python import PythonConnector
from helm_ai_kernel.pep.catalog import entry, server_doc
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused

NOTE = b'{"tool":"python/note","arguments":{}}'


class World:
    """A kernel with one function, which waits where the test says so, and its clock."""

    def __init__(self, runtime: Runtime, hold: asyncio.Event) -> None:
        self.runtime, self.hold = runtime, hold
        self.now = 1000.0

    async def call(self, principal: str = "ann", named: str | None = None, door: str = "execute") -> str:
        answer = await self.runtime.call(NOTE, principal=principal, door=door, session=named)
        assert answer.reason is Reason.OK
        return answer.decision.session


def run(place: Place, body: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        hold, began = asyncio.Event(), asyncio.Event()
        hold.set()

        async def note() -> None:
            began.set()
            await hold.wait()

        hands = PythonConnector((note,))
        runtime = await Runtime.open(place.config, connectors={"python": hands})
        world = World(runtime, hold)
        runtime.sessions._clock = lambda: world.now
        try:
            proposal = [entry(name, raw, effect="write") for name, raw in hands.definitions.items()]
            await place.signing(server_doc("python", {"kind": "python"}, proposal), OPEN)(runtime)
            await body(world)
        finally:
            hold.set()
            await runtime.close()

    asyncio.run(main())
    place.check()


def ends(place: Place) -> list[str]:
    return [str(r.body["reason"]) for r in place.receipts() if r.body.get("event") == "end"]


def test_a_session_is_of_one_principal_at_one_door(place: Place) -> None:
    async def body(world: World) -> None:
        first = await world.call()
        assert await world.call() == first
        others = {await world.call("bob"), await world.call(door="other")}
        assert len(others | {first}) == 3
        assert len(first) == 32

    run(place, body)


def test_a_session_ends_after_half_an_hour_without_a_call_and_the_next_call_opens_another(place: Place) -> None:
    async def body(world: World) -> None:
        first = await world.call()
        world.now += IDLE_S - 1
        assert await world.call() == first
        world.now += IDLE_S - 1
        world.runtime.sessions.sweep()
        assert await world.call() == first
        world.now += IDLE_S
        assert await world.call() != first

    run(place, body)
    assert ends(place).count("idle") == 1


def test_a_sweep_ends_what_nobody_calls_any_more(place: Place) -> None:
    async def body(world: World) -> None:
        await world.call()
        await world.call("bob")
        world.now += IDLE_S
        world.runtime.sessions.sweep()
        assert world.runtime.sessions.open == 0

    run(place, body)
    assert ends(place).count("idle") == 2


def test_a_session_that_is_a_day_old_takes_no_new_call_and_ends_behind_its_last(place: Place) -> None:
    async def body(world: World) -> None:
        world.hold.clear()
        slow = asyncio.create_task(world.call())
        await until(lambda: world.runtime.ledger.writer.state.open)
        world.now += IDLE_S * 2
        world.runtime.sessions.sweep()
        assert world.runtime.sessions.open == 1, "a session with a call under way is not idle"
        world.now += AGE_S
        world.runtime.sessions.sweep()
        fast = asyncio.create_task(world.call())
        await until(lambda: len(world.runtime.ledger.writer.state.open) == 2)
        world.hold.set()
        assert await slow != await fast

    run(place, body)
    told = [r for r in place.receipts() if r.body.get("principal") == "ann" or r.kind.value == "outcome"]
    assert ends(place).count("age") == 1
    outcomes = {r.session for r in told if r.kind.value == "outcome"}
    assert len(outcomes) == 2, "each call's outcome is told in its own session"


@pytest.mark.parametrize("how", ["guessed", "another's", "ended", "before any"])
def test_a_request_that_names_a_session_other_than_its_own_open_one_is_refused(place: Place, how: str) -> None:
    async def body(world: World) -> None:
        if how == "before any":
            named = "0" * 32
        else:
            named = await world.call()
            assert await world.call(named=named) == named
        if how == "guessed":
            named = f"{int(named, 16) ^ 1:032x}"
        if how == "another's":
            named = await world.call("bob")
        if how == "ended":
            world.now += IDLE_S
        with pytest.raises(Refused, match="ERR_SESSION_ENDED"):
            await world.call(named=named)
        assert await world.call() != named

    run(place, body)
    assert place.told("decision") == ["decision ALLOW OK python/note"] * len(place.told("decision"))
