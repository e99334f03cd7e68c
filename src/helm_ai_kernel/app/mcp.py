"""What the MCP door is given of a running kernel (`gateway/mcp_gate.py`)."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from helm_ai_kernel.executor.host import Answer, Relay
from helm_ai_kernel.gateway.mcp_gate import Caller, Server
from helm_ai_kernel.gateway.mcp_serve import Sessions
from helm_ai_kernel.ledger.caused import Cause
from helm_ai_kernel.pep.admit import with_key
from helm_ai_kernel.pep.catalog import EMPTY, Catalog, Tool
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.wire.era import Era

from .hands import MCP, Place
from .runtime import Beside, Runtime


class RuntimeMcp:
    """`McpGate` and `Places`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._written: tuple[Catalog, dict[str, bytes]] = EMPTY, {}

    def names(self, caller: Caller) -> Sequence[str]:
        sources = self._runtime.boundary.catalog.sources
        found = [name for name, source in sources.items() if source["kind"] in MCP]
        return [name for name in found if caller.only in (None, name)]

    async def server(self, caller: Caller, name: str) -> Server:
        """What is pinned, listed now with the same digest, and not held."""
        runtime = self._runtime
        holds = runtime.ledger.writer.state.holds
        for scope in ("all", f"server:{name}", f"agent:{caller.principal}"):
            if scope in holds:
                raise Refused(Reason.ERR_FROZEN, f"`{scope}` is frozen", hint="a person releases it")
        connector = runtime.hands.mcp(name, place(caller))
        facts, listed = await connector.facts(), await connector.listed()
        mine = runtime.boundary.catalog.of(name)
        usable = {short: tool for short, tool in mine.items() if tool.name not in holds}
        same = {short: tool for short, tool in usable.items() if listed.pins.get(short) == tool.pin and "/" not in short}
        tools = {short: self._document(tool) for short, tool in same.items()}
        source = runtime.boundary.catalog.sources[name]
        instructions = str(source["instructions"]) if source.get("instructions") else None
        return Server(name, tools, frozenset(short for short in usable if "/" in short), facts.capabilities, instructions)

    def _document(self, tool: Tool) -> bytes:
        """As it is pinned, written once for each catalogue: every call of a stateless client looks at it."""
        catalog = self._runtime.boundary.catalog
        if self._written[0] is not catalog:
            self._written = catalog, {}
        known = self._written[1]
        if tool.name not in known:
            known[tool.name] = canonical(tool.raw)
        return known[tool.name]

    async def call(
        self,
        caller: Caller,
        tool: str,
        arguments: bytes,
        relay: Relay,
        *,
        key: str | None = None,
        inputs: bytes | None = None,
        causes: Sequence[Receipt] = (),
        given_up: asyncio.Event | None = None,
    ) -> Answer:
        return await self._runtime.call(
            _request(tool, arguments, key),
            principal=caller.principal,
            door=caller.door,
            beside=Beside(relay, inputs, tuple(Cause(one.index, one.leaf) for one in causes), place(caller), given_up),
        )

    async def offer(self, caller: Caller, tool: str, arguments: bytes) -> Answer:
        return await self._runtime.offer(_request(tool, arguments, None), principal=caller.principal, door=caller.door)

    async def report(self, caller: Caller, decision: Receipt, said: bytes, ms: int) -> Answer:
        return await self._runtime.report(decision, said, ms, principal=caller.principal)

    def watch(self, caller: Caller, told: Callable[[str, str, bytes], None]) -> Callable[[], None]:
        return self._runtime.hands.watch(caller.principal, caller.place, told)

    def leave(self, place: str) -> None:
        self._runtime.hands.leave(place)


def sessions(runtime: Runtime, counted: Callable[[Reason], None]) -> Sessions:
    """All MCP clients of one kernel. `counted` is told of what has no receipt."""
    mcp = RuntimeMcp(runtime)
    return Sessions(mcp, mcp, counted, time.monotonic)


def starter(runtime: Runtime) -> Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]:
    """Runs a request of a client's session: it goes on when its connection goes."""

    def start(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        runtime.keep(task)
        return task

    return start


def place(caller: Caller) -> Place:
    """A client with a session of its own has servers of its own."""
    era = Era.LEGACY if caller.place else Era.MODERN
    env = None if caller.env is None else tuple(sorted(caller.env.items()))
    return Place(caller.principal, caller.place, caller.capabilities, era, env, caller.cwd)


def _request(tool: str, arguments: bytes, key: str | None) -> bytes:
    """The execute request; the arguments are the bytes that were sent."""
    raw = b'{"tool":%b,"arguments":%b}' % (canonical(tool), arguments)
    return raw if key is None else with_key(raw, key)
