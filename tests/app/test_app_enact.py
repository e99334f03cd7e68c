"""A statement takes effect whole or not at all: also where whoever handed it in goes away meanwhile."""

import asyncio
from contextlib import suppress

from app.kernels import OPEN, Place
from helm_ai_kernel.app import operate
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.tcb.codes import Reason

TURNS = 12  # of the loop, more than a statement takes
CALL = b'{"tool":"python/note","arguments":{}}'


def note() -> str:
    return "done"


async def called(runtime: Runtime) -> Reason:
    return (await runtime.call(CALL, principal="local", door="library")).reason


def test_what_is_in_force_is_what_the_log_says_whenever_the_caller_is_cancelled(place: Place) -> None:
    async def work(runtime: Runtime, turns: int) -> bool:
        """Cancel the caller after so many turns; returns whether the statement is in the log."""
        before = runtime.ledger.writer.state.policy
        (place.paths.policy / "main.cedar").write_bytes(OPEN + b"// %d\n" % turns)
        asked = asyncio.create_task(operate.activate(runtime, operate.propose_policy(runtime), [place.approver]))
        for _ in range(turns):
            await asyncio.sleep(0)
        asked.cancel()
        with suppress(asyncio.CancelledError):
            await asked
        await runtime.ledger.writer.submit(lambda tx: None)  # behind it in the log
        in_force = runtime.boundary.policy
        assert in_force is not None and in_force.digest == runtime.ledger.writer.state.policy, turns
        assert await called(runtime) is Reason.OK
        return runtime.ledger.writer.state.policy != before

    with place.program(note) as program:
        taken = [program.kernel.run(lambda runtime, n=turns: work(runtime, n)) for turns in range(TURNS)]  # type: ignore[misc]
    assert True in taken and False in taken
    place.check()
