"""The kernel's own holds: what a connector sees that is not what a person pinned is durable, and stops the next call.

A hold of a tool, or of a server, is written once, whatever the server does, and ends with a person's signed release. A call that
meets a drift before its hold is durable is refused by the connector itself.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from helm_ai_kernel.ledger.ledger import Ledger
from helm_ai_kernel.pep.catalog import Catalog
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.receipt import Receipt

OnDrift = Callable[[str | None, str], None]  # a tool by the server's own name, or None for the server; and how, in a word


class Kernel(Protocol):
    """What of the runtime is read."""

    ledger: Ledger

    @property
    def catalog(self) -> Catalog: ...

    def keep(self, task: "asyncio.Task[None]") -> None: ...


class Quarantine:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._writing: set[str] = set()

    async def hold(self, server: str, tool: str | None, reason: Reason, sub: str) -> Receipt | None:
        """Nothing is written where it is stopped already, or where it is not in force."""
        catalog = self._kernel.catalog
        if server not in catalog.sources or (tool is not None and f"{server}/{tool}" not in catalog.tools):
            return None
        name = f"server:{server}" if tool is None else f"{server}/{tool}"
        return await self._kernel.ledger.quarantine(name, reason, sub, catalog.digest)

    def ears(self, server: str) -> OnDrift:
        """For a connector of that server, made from what is in force now: what it says of later pins counts for nothing."""
        source, pins = self._pinned(server)

        def told(tool: str | None, sub: str) -> None:
            name = server if tool is None else f"{server}/{tool}"
            if name not in self._writing and self._pinned(server) == (source, pins):
                self._writing.add(name)
                self._kernel.keep(asyncio.create_task(self._written(name, server, tool, sub)))

        return told

    def _pinned(self, server: str) -> tuple[object, object]:
        catalog = self._kernel.catalog
        return catalog.sources.get(server), {
            tool.name: tool.pin for tool in catalog.tools.values() if tool.name.startswith(f"{server}/")
        }

    async def _written(self, name: str, server: str, tool: str | None, sub: str) -> None:
        try:
            await self.hold(server, tool, Reason.ERR_MCP_SCHEMA_DRIFT, sub)
        except OutsideError:
            pass  # evidence cannot be stored: nothing is executed either, and the next call is refused by the connector
        finally:
            self._writing.discard(name)
