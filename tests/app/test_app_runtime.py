"""What is in force while calls are under way, what is counted across restarts, and what a closing kernel still does."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from app.kernels import OPEN, Place, limits
from helm_ai_kernel import Denied
from helm_ai_kernel.app.results import released
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.connectors.python import PythonConnector
from helm_ai_kernel.pep.catalog import entry, server_doc
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

NOTE = b'{"tool":"python/note","arguments":{}}'
CLOSED = b'@id("closed") forbid (principal, action, resource);\n'


class Gate:
    """A function that waits for the test, on whatever loop it is called."""

    def __init__(self) -> None:
        self.began, self.opened, self.ran = asyncio.Event(), asyncio.Event(), 0

    async def note(self) -> str:
        self.ran += 1
        self.began.set()
        await self.opened.wait()
        return "done"


def served(place: Place, body: Callable[[Runtime, Gate], Coroutine[Any, Any, None]], *, closes: bool = False) -> None:
    """`closes`: the body closes the kernel itself."""

    async def main() -> None:
        gate = Gate()
        hands = PythonConnector((gate.note,))
        proposal = [entry(name, raw, effect="write") for name, raw in hands.definitions.items()]
        runtime = await Runtime.open(place.config, connectors={"python": hands})
        try:
            await place.signing(server_doc("python", {"kind": "python"}, proposal), OPEN)(runtime)
            await body(runtime, gate)
        finally:
            gate.opened.set()
            if not closes:
                await runtime.close()

    asyncio.run(main())
    place.check()


def call(runtime: Runtime, raw: bytes = NOTE) -> "asyncio.Task[Any]":
    return asyncio.create_task(runtime.call(raw, principal="local", door="library"))


def test_a_call_that_meets_a_new_policy_on_its_way_is_refused(place: Place) -> None:
    async def body(runtime: Runtime, gate: Gate) -> None:
        gate.opened.set()
        assert (await call(runtime)).reason is Reason.OK  # the session is there
        signing = asyncio.create_task(place.signing(None, CLOSED)(runtime))
        stale = call(runtime)  # admitted under the policy before, decided after the statement, in one group
        await signing
        assert (await stale).reason is Reason.ERR_POLICY_NOT_READY
        assert (await call(runtime)).reason is Reason.ERR_POLICY_DENY
        assert gate.ran == 1

    served(place, body)


def test_a_call_that_was_dispatched_ends_as_it_was_admitted_whatever_comes_into_force(place: Place) -> None:
    async def body(runtime: Runtime, gate: Gate) -> None:
        asked = call(runtime)
        await gate.began.wait()
        await place.signing(server_doc("python", {"kind": "python"}, []), b"")(runtime)
        gate.opened.set()
        answer = await asked
        assert (answer.reason, answer.output) == (Reason.OK, b'"done"')
        assert (await call(runtime)).reason is Reason.ERR_TOOL_NOT_ALLOWED

    served(place, body)


def test_a_late_answer_of_a_tool_that_is_not_pinned_any_more_is_kept(place: Place) -> None:
    release, ended = threading.Event(), threading.Event()

    def note() -> str:
        release.wait(60)
        ended.set()
        return "done"

    with place.program(note, limits=limits(20)) as program:
        assert program.kernel.call("python/note", {}).reason is Reason.ERR_OUTCOME_UNKNOWN
        place.sign(program.kernel, server_doc("python", {"kind": "python"}, []), b"")
        release.set()
        assert ended.wait(60)

        async def turn(_: Runtime) -> bool:
            await asyncio.sleep(0)
            return False

        assert any("outcome LATE" in place.told() or program.kernel.run(turn) for _ in range(5_000))
    place.check()


def test_closing_waits_for_calls_and_refuses_new_ones(place: Place) -> None:
    async def body(runtime: Runtime, gate: Gate) -> None:
        asked = call(runtime)
        await gate.began.wait()
        closing = asyncio.create_task(runtime.close())
        await asyncio.sleep(0)
        with pytest.raises(OutsideError, match="ERR_SEALED"):
            await call(runtime)
        gate.opened.set()
        assert (await asked).reason is Reason.OK
        await closing

    served(place, body, closes=True)
    assert place.told() == ["decision ALLOW OK python/note", "outcome OK"]


def test_closing_in_a_hurry_leaves_nothing_open(place: Place) -> None:
    async def body(runtime: Runtime, gate: Gate) -> None:
        asked = call(runtime)
        await gate.began.wait()
        await runtime.close(within_s=0.0)
        assert (await asked).reason is Reason.ERR_OUTCOME_UNKNOWN

    served(place, body, closes=True)
    assert [told.split()[:3] for told in place.told()] == [
        ["decision", "ALLOW", "OK"],
        ["outcome", "UNKNOWN", "ERR_OUTCOME_UNKNOWN"],
    ]


def test_a_call_is_let_in_whole_or_not_at_all_when_the_kernel_closes_at_once(place: Place) -> None:
    async def body(runtime: Runtime, gate: Gate) -> None:
        gate.opened.set()
        asked = call(runtime)  # its session is not open yet
        await asyncio.sleep(0)
        await runtime.close()
        assert (await asked).reason is Reason.OK

    served(place, body, closes=True)


def test_a_budget_is_counted_across_restarts_and_says_which_it_is(place: Place) -> None:
    ran = []

    def note() -> None:
        ran.append(1)

    def other() -> None:
        pass

    place.configure('[budget.few]\ncalls = 3\ntools = ["python/note"]\n')
    with place.program(note, other) as program:
        program["note"]()
        program["note"]()
    with place.program(note, other) as program:
        program["note"]()
        with pytest.raises(Denied, match=r"ERR_BUDGET_EXHAUSTED.*few") as caught:
            program["note"]()
        assert "the budget `few` has no call left" in caught.value.hint
        program["other"]()
    assert len(ran) == 3
    assert place.told("decision")[-2] == "decision DENY ERR_BUDGET_EXHAUSTED few python/note"
    place.check()


def test_a_session_budget_begins_again_with_the_next_process(place: Place) -> None:
    def note() -> None:
        pass

    place.configure('[budget.run]\ncalls = 1\nper = "session"\n')
    for _ in range(2):
        with place.program(note) as program:
            program["note"]()
            with pytest.raises(Denied, match="ERR_BUDGET_EXHAUSTED"):
                program["note"]()


def test_a_tool_that_requires_a_key_is_called_with_one_and_once(place: Place) -> None:
    ran = []

    def pay(cents: int) -> int:
        ran.append(cents)
        return len(ran)

    with place.program(pay, effect="payment", require_key=True) as program:
        with pytest.raises(Denied, match="ERR_IDEMPOTENCY_KEY_REQUIRED"):
            program["pay"](5)
        assert released(program.kernel.call("python/pay", {"cents": 5}, key="order-7")) == 1
    with place.program(pay, effect="payment", require_key=True) as program:
        answer = program.kernel.call("python/pay", {"cents": 5}, key="order-7")
        assert (released(answer), answer.reason) == (1, Reason.REPEATED)
        assert program.kernel.call("python/pay", {"cents": 6}, key="order-7").reason is Reason.ERR_IDEMPOTENCY_MISMATCH
    assert ran == [5]
    place.check()
