"""What the doors are given of a running kernel: the gateway names what it needs, and nothing else of it can be reached from there."""

from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.pep.admit import with_key
from helm_ai_kernel.pep.catalog import Tool
from helm_ai_kernel.tcb.ijson import Json

from .runtime import Runtime


class RuntimeGate:
    """The data plane's way to an effect (`gateway/data.py`, `Gate`)."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def execute(self, raw: bytes, principal: str, door: str, *, key: str | None, session: str | None) -> Answer:
        request = raw if key is None else with_key(raw, key)
        return await self._runtime.call(request, principal=principal, door=door, session=session)

    def capabilities(self, principal: str) -> dict[str, Json]:
        """The tools that are pinned and not held, as a caller must know them. Whether a call is allowed is decided when it comes."""
        holds = self._runtime.ledger.writer.state.holds
        tools = self._runtime.boundary.catalog.tools.values()
        return {"principal": principal, "tools": [described(tool) for tool in tools if tool.name not in holds]}


def described(tool: Tool) -> dict[str, Json]:
    """A pinned tool for whoever would call it: the schemas are those that are enforced."""
    told: dict[str, Json] = {"name": tool.name, "effect": tool.effect.value, "pin": tool.pin, "require_key": tool.key_required}
    told["description"] = str(tool.raw.get("description", ""))
    told["inputSchema"] = tool.input.enforced
    return told if tool.output is None else {**told, "outputSchema": tool.output.enforced}
