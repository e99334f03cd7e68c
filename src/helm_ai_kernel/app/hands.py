"""The hands of the pinned servers: made when a call needs them, one for each caller where a server keeps state, ended when idle.

No two principals ever share a session with a server, and no two sessions of one principal where the client's own has state
(log levels, subscriptions, what it can be asked). What is pinned decides what is made; an old pin's hands end behind its calls.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from helm_ai_kernel.connectors.http import HttpConnector
from helm_ai_kernel.connectors.http_link import Bearer
from helm_ai_kernel.connectors.mcp import McpConnector
from helm_ai_kernel.connectors.mcp_http import McpHttpConnector
from helm_ai_kernel.connectors.mcp_stdio import McpStdioConnector
from helm_ai_kernel.connectors.python import PythonConnector
from helm_ai_kernel.executor.host import Connector, Reply
from helm_ai_kernel.pep.catalog import EMPTY, Catalog, Tool
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.wire.era import Era

from .quarantine import OnDrift

IDLE_S = 10 * 60.0  # of a server that keeps no client's session: the next call starts it again
SERVERS_MAX = 64  # at once, for one principal: each may be a process
TOOLS_CHANGED = "notifications/tools/list_changed"
MCP = frozenset({"mcp-stdio", "mcp-http"})

Told: TypeAlias = Callable[[str, str, bytes], None]  # server, method, params


@dataclass(frozen=True, slots=True)
class Place:
    """For whom a server is: a principal, their client's own session where it has one, and what that client can be asked."""

    principal: str
    name: str = ""
    capabilities: bytes = b"{}"
    era: Era | None = None  # of the client, where it is one of MCP: the server's own is chosen after it
    env: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)  # of the process of a client that has one here
    cwd: str | None = None


@dataclass(slots=True)
class _Held:
    connector: HttpConnector | McpConnector
    used: float
    users: set[asyncio.Task[Any]] = field(default_factory=set)  # the calls that were given it, until they end


class Hands:
    """`keep` holds tasks until they end."""

    def __init__(
        self,
        given: Mapping[str, PythonConnector],
        *,
        keep: "Callable[[asyncio.Task[Any]], None]",
        on_late: Callable[[Reply], None],
        ears: Callable[[str], OnDrift],
        bearers: Callable[[str, Mapping[str, Any]], Bearer | None] = lambda server, source: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._given = dict(given)  # servers whose hands the embedding program brings: its functions
        self._keep = keep
        self._on_late, self._drifted = on_late, ears
        self._bearers, self._clock = bearers, clock
        self._catalog = EMPTY
        self._held: dict[tuple[str, Place], _Held] = {}
        self._retiring: set[HttpConnector | McpConnector] = set()
        self._ears: dict[tuple[str, str], list[Told]] = {}
        self._closed = False

    def reload(self, catalog: Catalog) -> None:
        """What is in force now. A server whose pins or source changed ends after its calls."""
        before, self._catalog = self._catalog, catalog
        for server, functions in self._given.items():
            functions.pins = self._pins(server)
        for (server, place), held in tuple(self._held.items()):
            moved = catalog.sources.get(server) != before.sources.get(server)
            if isinstance(held.connector, HttpConnector) and not moved:
                held.connector.tools = self._tools(server)
            elif moved or (isinstance(held.connector, McpConnector) and held.connector.pins != self._pins(server)):
                self._retire(server, place)

    def of(self, server: str, place: Place) -> Connector | None:
        """The hands of a pinned server; None where this process has none."""
        if server in self._given:
            return self._given[server]
        kind = self._catalog.sources.get(server, {}).get("kind")
        if self._closed or kind not in MCP | {"http"}:
            return None
        if place.name and (place.principal, place.name) not in self._ears:
            raise OutsideError(Reason.ERR_CONNECTOR_FAILED, "the client's session has ended", hint="begin another one")
        key = (server, place if kind in MCP else Place(""))
        held = self._held.get(key)
        if held is None:
            self._room(key[1])
            held = self._held[key] = _Held(self._made(server, key[1]), 0.0)
        held.used = self._clock()
        if (task := asyncio.current_task()) is not None:
            held.users.add(task)
            task.add_done_callback(held.users.discard)
        return held.connector

    def mcp(self, server: str, place: Place) -> McpConnector:
        """Raises `OutsideError` for what is no MCP server."""
        found = self.of(server, place)
        if not isinstance(found, McpConnector):
            raise OutsideError(Reason.ERR_CONNECTOR_FAILED, f"`{server}` is no MCP server that is pinned", hint="tools list")
        return found

    def watch(self, principal: str, place: str, told: Told) -> Callable[[], None]:
        """`told` hears what the servers of that place say outside of calls, until the place ends, or the function is called."""
        ears = self._ears.setdefault((principal, place), [])
        ears.append(told)

        def unwatch() -> None:
            if told in ears:
                ears.remove(told)

        return unwatch

    def leave(self, place: str) -> None:
        """The client's session is over, and its servers with it."""
        for key in [key for key in self._held if place and key[1].name == place]:
            self._retire(*key)
        for ear in [ear for ear in self._ears if place and ear[1] == place]:
            del self._ears[ear]

    def sweep(self) -> None:
        """End those that nobody has called for long."""
        now = self._clock()
        for key, held in tuple(self._held.items()):
            if isinstance(held.connector, McpConnector) and not key[1].name and now - held.used >= IDLE_S:
                self._retire(*key)

    async def close(self) -> None:
        self._closed = True
        every: list[Connector] = [*(held.connector for held in self._held.values()), *self._retiring, *self._given.values()]
        await asyncio.gather(*(connector.close() for connector in every))

    def _made(self, server: str, place: Place) -> HttpConnector | McpConnector:
        source = self._catalog.sources[server]
        if source["kind"] == "http":
            return HttpConnector(source, self._tools(server))
        common: dict[str, Any] = {
            "pins": self._pins(server),
            "instructions": str(source.get("instructions", "")),
            "on_late": self._on_late,
            "on_drift": self._drifted(server),
            "on_changed": partial(self._heard, place, server, TOOLS_CHANGED, b"{}"),
            "on_notice": partial(self._heard, place, server),
        }
        common |= {"capabilities": place.capabilities, "prefers": place.era}
        common["environ"] = None if place.env is None else dict(place.env)
        if source["kind"] == "mcp-http":
            return McpHttpConnector(source, bearer=self._bearers(server, source), **common)
        return McpStdioConnector(_strings(source["command"]), named=_strings(source["env"]), cwd=place.cwd, **common)

    def _heard(self, place: Place, server: str, method: str, params: bytes) -> None:
        for told in tuple(self._ears.get((place.principal, place.name), ())):
            told(server, method, params)

    def _room(self, place: Place) -> None:
        """The server that nobody called for longest makes room for another of that principal: its client may be gone for good."""
        mine = [key for key in self._held if key[1].principal == place.principal and place.principal]
        if len(mine) < SERVERS_MAX:
            return
        still = [key for key in mine if not self._held[key].users]
        if not still:
            detail = f"{SERVERS_MAX} servers are running for this agent already"
            raise OutsideError(Reason.ERR_CONNECTOR_FAILED, detail, hint="end sessions that are not used")
        self._retire(*min(still, key=lambda key: self._held[key].used))

    def _retire(self, server: str, place: Place) -> None:
        held = self._held.pop((server, place))
        self._retiring.add(held.connector)
        self._keep(asyncio.create_task(self._retired(held.connector, held.users - {asyncio.current_task()})))

    async def _retired(self, connector: HttpConnector | McpConnector, users: "set[asyncio.Task[Any]]") -> None:
        """The end of a server, after the calls that may still be with it under its old pins."""
        if users:
            await asyncio.wait(users)
        await connector.close()
        self._retiring.discard(connector)

    def _tools(self, server: str) -> dict[str, Tool]:
        return self._catalog.of(server)

    def _pins(self, server: str) -> dict[str, Digest]:
        return {name: tool.pin for name, tool in self._tools(server).items()}


def _strings(value: Json | Sequence[str]) -> Sequence[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
