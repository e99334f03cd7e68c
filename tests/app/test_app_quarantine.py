"""What a connector tells of its server is written once, for what is in force, and stops the next call."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from app.kernels import OPEN, Place
from helm_ai_kernel.app.quarantine import Quarantine
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.connectors.python import PythonConnector
from helm_ai_kernel.pep.catalog import entry, server_doc
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.receipt import Kind, Receipt

NOTE = b'{"tool":"python/note","arguments":{}}'
DRIFT = Reason.ERR_MCP_SCHEMA_DRIFT


def note() -> str:
    return "done"


def served(place: Place, body: Callable[[Runtime], Coroutine[Any, Any, None]]) -> list[Receipt]:
    """The holds that were written."""

    async def main() -> None:
        hands = PythonConnector((note,))
        runtime = await Runtime.open(place.config, connectors={"python": hands})
        proposal = [entry(name, raw, effect="write") for name, raw in hands.definitions.items()]
        try:
            await place.signing(server_doc("python", {"kind": "python"}, proposal), OPEN)(runtime)
            await body(runtime)
        finally:
            await runtime.close()

    asyncio.run(main())
    place.check()
    return [receipt for receipt in place.receipts() if receipt.kind is Kind.HOLD]


async def reason(runtime: Runtime) -> Reason:
    return (await runtime.call(NOTE, principal="local", door="library")).reason


@pytest.mark.parametrize(("tool", "expected"), [("note", Reason.ERR_TOOL_HALTED), (None, Reason.ERR_FROZEN)])
def test_a_tool_or_a_whole_server_is_stopped_once(place: Place, tool: str | None, expected: Reason) -> None:
    async def body(runtime: Runtime) -> None:
        assert await reason(runtime) is Reason.OK
        assert await runtime.quarantine("python", tool, DRIFT, "changed") is not None
        assert await runtime.quarantine("python", tool, DRIFT, "changed") is None
        assert await reason(runtime) is expected

    assert len(served(place, body)) == 1


def test_what_is_not_in_force_is_not_stopped(place: Place) -> None:
    async def body(runtime: Runtime) -> None:
        assert await runtime.quarantine("nobody", None, DRIFT, "instructions") is None
        assert await runtime.quarantine("python", "other", DRIFT, "changed") is None
        assert await runtime.quarantine("python", "note/x", DRIFT, "changed") is None

    assert served(place, body) == []


def test_a_connector_that_tells_the_same_a_thousand_times_is_written_down_once(place: Place) -> None:
    async def body(runtime: Runtime) -> None:
        told = Quarantine(runtime).ears("python")
        for _ in range(1000):
            told("note", "changed")
        assert len(runtime._tasks) < 5
        while await reason(runtime) is Reason.OK:
            pass

    assert len(served(place, body)) == 1


def test_a_connector_of_earlier_pins_is_not_heard(place: Place) -> None:
    async def body(runtime: Runtime) -> None:
        told = Quarantine(runtime).ears("python")
        raw = {"name": "note", "description": "Another.", "inputSchema": {"type": "object"}}
        await place.signing(server_doc("python", {"kind": "python"}, [entry("note", raw, effect="write")]), OPEN)(runtime)
        told("note", "changed")
        told(None, "instructions")

    assert served(place, body) == []
