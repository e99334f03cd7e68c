"""What the MCP door may ask of the kernel, and what the kernel may say to a client while a call of it is under way."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from helm_ai_kernel.executor.host import Answer, Relay
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.receipt import Receipt


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and from where. `place` is the client's own session where servers keep state for it, empty where they do not."""

    principal: str
    door: str
    place: str = ""
    capabilities: bytes = b"{}"  # what the client can be asked: MCP's `ClientCapabilities`, canonical
    only: str | None = None  # the one server that this door leads to
    env: Mapping[str, str] | None = field(default=None, repr=False)  # of the client's own process, where it starts its server
    cwd: str | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """One server as it is now and as it is pinned: what differs from its pin is not here."""

    name: str
    tools: Mapping[str, bytes] = field(repr=False)  # by the server's own name, canonical, in the order of the pins
    methods: frozenset[str]  # that are pinned for it
    capabilities: Mapping[str, Json]
    instructions: str | None


class McpGate(Protocol):
    """The one way to a server. Each call runs to its end whoever waits for it; raises `Refused` and `OutsideError`."""

    def names(self, caller: Caller) -> Sequence[str]:
        """Of the servers that are pinned and that this caller's door leads to."""
        ...

    async def server(self, caller: Caller, name: str) -> Server:
        """Asked now; it is started where it is not there yet."""
        ...

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
        """`inputs`: what answers a server's questions; `causes`: the receipts of those answers; `given_up`: nobody wants it."""
        ...

    async def offer(self, caller: Caller, tool: str, arguments: bytes) -> Answer:
        """Whether the client may be asked that. An ALLOW waits for what it says."""
        ...

    async def report(self, caller: Caller, decision: Receipt, said: bytes, ms: int) -> Answer:
        """What the client said, recorded before it goes any further."""
        ...


class Places(Protocol):
    """The state that servers keep for one client's session."""

    def watch(self, caller: Caller, told: Callable[[str, str, bytes], None]) -> Callable[[], None]:
        """`told(server, method, params)`: what a server says while no call is under way, and that its tools changed.

        Returns how to end that; the end of the place ends it too.
        """
        ...

    def leave(self, place: str) -> None:
        """That session is over, and its servers with it."""
        ...
