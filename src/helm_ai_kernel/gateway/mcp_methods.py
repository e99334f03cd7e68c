"""What becomes of each request of a client: answered from the pins, called, or refused, as the table of mediation says."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.wire import mcp_message
from helm_ai_kernel.wire.era import Era
from helm_ai_kernel.wire.mcp_message import INVALID_PARAMS, METHOD_NOT_FOUND, Bad, Request, Said, spliced
from helm_ai_kernel.wire.mediation import REQUESTS, How, how
from helm_ai_kernel.wire.span import members

from . import mcp_answers
from .mcp_gate import Caller, McpGate, Server
from .mcp_questions import Asking, Question
from .mcp_session import Exchange

KEY_META = "ai.helm/idempotency-key"
NO_SERVER = "-"  # the name of no server: they begin with a letter or a digit
SEPARATOR = "__"  # between server and tool, where a door leads to several servers
HOMES_MAX = 4096  # places of resources that are remembered: by which server each was listed

Ask: TypeAlias = Callable[[Question], "asyncio.Future[bytes]"]
CAPABILITIES: Mapping[str, str] = {
    "resources/read": "resources", "prompts/get": "prompts", "completion/complete": "completions", "logging/setLevel": "logging",
}  # fmt: skip


class Work:
    """One request of a client, decided on: the call that it makes, and of whom."""

    def __init__(self, request: Request, server: str, tool: str, arguments: bytes) -> None:
        self.request = request
        self.server = server
        self.tool = tool
        self.arguments = arguments


class Serving:
    def __init__(self, gate: McpGate) -> None:
        self._gate = gate
        self._homes: dict[tuple[str, str], str] = {}

    async def plain(self, request: Request, caller: Caller, era: Era) -> Said | Work:
        """The response where no server is asked; else what has to be called. Raises `Bad`, `Refused`, `OutsideError`."""
        match how(REQUESTS, request.method, era):
            case How.ANSWERED if request.method == "ping":
                return mcp_message.result(request.id, b"{}")
            case How.ANSWERED if request.method == "tools/list":
                return await self._tools(request, caller, era)
            case How.CALLED:
                return self._tool(request, caller)
            case How.GOVERNED:
                return self._method(request, caller)
        raise Bad(Reason.ERR_UNMEDIATED_TRANSPORT, METHOD_NOT_FOUND, "there is no such method here", number=request.id)

    async def servers(self, caller: Caller) -> list[Server]:
        """Those that answer: one that is dead takes none of the others with it."""
        asked = (self._gate.server(caller, name) for name in self._gate.names(caller))
        found = await asyncio.gather(*asked, return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException) and not isinstance(one, Refused | OutsideError):
                raise one
        return [one for one in found if isinstance(one, Server)]

    async def hello(self, caller: Caller) -> tuple[dict[str, Json], str]:
        """The capabilities that a client can count on, and the instructions, both as they are pinned."""
        servers = await self.servers(caller)
        capabilities: dict[str, Json] = {"tools": {"listChanged": True}}
        for server in servers:
            for method, name in CAPABILITIES.items():
                if method in server.methods and name in server.capabilities:
                    capabilities[name] = _promised(name, server)
        told = [server.instructions for server in servers if server.instructions]
        return capabilities, "\n\n".join(told)

    async def call(
        self,
        work: Work,
        caller: Caller,
        exchange: Exchange,
        ask: Ask,
        *,
        inputs: bytes | None = None,
        causes: Sequence[Receipt] = (),
    ) -> tuple[Answer, Asking]:
        relay = Asking(self._gate, caller, exchange, work.server, ask)
        key = work.request.meta.get(KEY_META)
        if key is not None and type(key) is not str:
            raise Bad(Reason.ERR_UPSTREAM_SHAPE, INVALID_PARAMS, f"`{KEY_META}` is a string", number=work.request.id)
        answer = await self._gate.call(
            caller, work.tool, work.arguments, relay, key=key, inputs=inputs, causes=causes, given_up=exchange.cancelled
        )
        return answer, relay

    def relay(self, work: Work, caller: Caller, exchange: Exchange) -> Asking:
        """For answers to questions that were asked already."""
        return Asking(self._gate, caller, exchange, work.server, _nobody)

    def told(self, work: Work, caller: Caller, answer: Answer, era: Era) -> Said:
        """The response to a call that is over."""
        said = mcp_answers.answered(work.request.id, work.request.method, answer, era)
        if answer.output is not None and work.request.method == "resources/list":
            self._remember(caller, work.server, answer.output)
        return said

    async def definition(self, caller: Caller, name: str) -> dict[str, Json] | None:
        """What is pinned under the name that a client knows; None where there is nothing."""
        server, tool = self._named(caller, name)
        if server not in self._gate.names(caller):
            return None
        found = (await self._gate.server(caller, server)).tools.get(tool)
        value = None if found is None else parse(found, bytes_max=len(found))
        return value if type(value) is dict else None

    # -- tools

    async def _tools(self, request: Request, caller: Caller, era: Era) -> Said:
        if "cursor" in request.values:
            raise Bad(Reason.ERR_UPSTREAM_SHAPE, INVALID_PARAMS, "there is one page of tools", number=request.id)
        alone = len(self._gate.names(caller)) == 1
        listed: list[bytes] = []
        for server in await self.servers(caller):
            for name, definition in server.tools.items():
                shown = name if alone else f"{server.name}{SEPARATOR}{name}"
                if self._named(caller, shown) != (server.name, name):  # it would be another server's
                    continue
                listed.append(definition if alone else spliced({**members(definition), "name": canonical(shown)}))
        result = {"tools": b"[" + b",".join(listed) + b"]"}
        return mcp_message.result(request.id, spliced(mcp_answers.of_era(result, era, listing=True)))

    def _tool(self, request: Request, caller: Caller) -> Work:
        name, arguments = request.text("name"), request.params.get("arguments", b"{}")
        if name is None or not request.values.keys() <= {"name", "arguments", "_meta", "inputResponses", "requestState"}:
            detail = "a call has a `name`, and `arguments`"  # a `task` would outlive its call
            raise Bad(Reason.ERR_UPSTREAM_SHAPE, INVALID_PARAMS, detail, number=request.id)
        server, tool = self._named(caller, name)
        if "/" in tool:  # the name of a method, which is asked for as such
            raise Bad(Reason.ERR_TOOL_NOT_ALLOWED, INVALID_PARAMS, "there is no such tool", number=request.id)
        return Work(request, server, f"{server}/{tool}", arguments)

    def _named(self, caller: Caller, name: str) -> tuple[str, str]:
        names = self._gate.names(caller)
        if len(names) == 1:
            return names[0], name
        found = [one for one in names if name.startswith(one + SEPARATOR)]
        if not found:
            return NO_SERVER, name.replace("/", SEPARATOR)  # refused by the PEP, with a receipt
        server = max(found, key=len)
        return server, name.removeprefix(server + SEPARATOR)

    # -- methods

    def _method(self, request: Request, caller: Caller) -> Work:
        kept = {name: raw for name, raw in request.params.items() if name not in ("_meta", "inputResponses", "requestState")}
        server, kept = self._home(request, caller, kept)
        return Work(request, server, f"{server}/{request.method}", spliced(kept))

    def _home(self, request: Request, caller: Caller, params: dict[str, bytes]) -> tuple[str, dict[str, bytes]]:
        """The server that a method is asked of, and the parameters as that server knows them."""
        names = list(self._gate.names(caller))
        if len(names) == 1:
            return names[0], params
        prompt = request.text("name") if request.method == "prompts/get" else None
        if prompt is not None:
            server, name = self._named(caller, prompt)
            return server, {**params, "name": canonical(name)}
        uri = request.text("uri")
        home = self._homes.get((caller.principal, uri)) if uri is not None else None
        if home is None or home not in names:
            detail = f"this door leads to several servers, and which one is meant is not said: use /mcp/NAME ({', '.join(names)})"
            raise Bad(Reason.ERR_UPSTREAM_SHAPE, INVALID_PARAMS, detail, number=request.id)
        return home, params

    def _remember(self, caller: Caller, server: str, output: bytes) -> None:
        for uri in mcp_answers.uris(output):
            if self._homes.setdefault((caller.principal, uri), server) != server:
                self._homes[caller.principal, uri] = ""  # listed by two: nobody can say which one is meant
        while len(self._homes) > HOMES_MAX:
            del self._homes[next(iter(self._homes))]


def _nobody(question: Question) -> "asyncio.Future[bytes]":
    raise Refused(Reason.ERR_CONNECTOR_FAILED, f"nobody can be asked `{question.method}` now", sub="client_silent")


def _promised(name: str, server: Server) -> dict[str, Json]:
    """What of a capability holds here: what it needs is pinned."""
    said = server.capabilities[name]
    flags = {flag for flag, value in said.items() if value is True} if type(said) is dict else set()
    if "resources/subscribe" not in server.methods:
        flags -= {"subscribe"}
    return dict.fromkeys(sorted(flags & {"listChanged", "subscribe"}), True)
