"""The sessions of MCP clients, and each request of theirs as work that belongs to the kernel: every framing stands before this.

Whoever frames (HTTP, lines) gives a stream and starts the work; the response is the stream's end. What is said to a client
outside of its requests is in its conversation's general stream.
"""

import secrets
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any

from helm_ai_kernel import __version__
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire import mcp_message
from helm_ai_kernel.wire.era import Era
from helm_ai_kernel.wire.mcp_message import INVALID_REQUEST, Bad, Notification, Request, Response, Said
from helm_ai_kernel.wire.mediation import LEGACY, MODERN, NOTICES, How, how

from . import mcp_answers, mcp_modern
from .mcp_gate import Caller, McpGate, Places
from .mcp_listen import Listeners
from .mcp_methods import Serving
from .mcp_questions import Table
from .mcp_run import Run
from .mcp_session import Conversation, Exchange, Stream, declared

IDLE_S = 30 * 60.0  # of a session, as everywhere
SESSIONS_MAX = 64  # of one principal: each may have servers of its own


@dataclass(frozen=True, slots=True)
class Served:
    """One request: `work` is to be run to its end whoever waits, and ends the exchange's stream."""

    exchange: Exchange
    work: Coroutine[Any, Any, None]


class Sessions:
    """`counted` is told of what has no receipt."""

    def __init__(self, gate: McpGate, places: Places, counted: Callable[[Reason], None], clock: Callable[[], float]) -> None:
        self.counted = counted
        self._places = places
        self._clock = clock
        self._serving = Serving(gate)
        self._table = Table(clock)
        self._run = Run(self._serving, self._table, counted)
        self._listeners = Listeners(places)
        self._conversations: dict[str, Conversation] = {}

    # -- the revisions with sessions

    async def begin(
        self, caller: Caller, request: Request, notice: str = "", general: Stream | None = None
    ) -> tuple[Said, Conversation]:
        """`initialize`. `notice`: what the client is told instead of its server's instructions; `general`: where the session is
        one with its connection, and ends with that alone. Raises `Bad`."""
        revision, said = request.text("protocolVersion"), request.values.get("capabilities", {})
        if revision is None or type(said) is not dict:
            detail = "`initialize` has a `protocolVersion` and `capabilities`"
            raise Bad(Reason.ERR_UPSTREAM_SHAPE, mcp_message.INVALID_PARAMS, detail, number=request.id)
        name = secrets.token_hex(16)
        caller = replace(caller, place=name, capabilities=declared(said))
        spoken = revision if revision in LEGACY else LEGACY[0]
        if general is None:
            self._room(caller.principal)
        conversation = Conversation(name, caller, spoken, general)
        conversation.used = self._clock()
        self._conversations[name] = conversation
        self._places.watch(caller, conversation.heard)
        capabilities, instructions = await self._serving.hello(caller)
        result: dict[str, Json] = {"protocolVersion": spoken, "capabilities": capabilities, "serverInfo": _info()}
        if notice or instructions:
            result["instructions"] = notice or instructions
        return mcp_message.result(request.id, canonical(result)), conversation

    def find(self, caller: Caller, name: str) -> Conversation | None:
        """The session of that name, where it is this caller's."""
        found = self._conversations.get(name)
        if found is None or (found.caller.principal, found.caller.only) != (caller.principal, caller.only):
            return None
        found.used = self._clock()
        return found

    def legacy(self, conversation: Conversation, request: Request, stream: Stream) -> Served:
        """Raises `Bad` for an id that is under way."""
        exchange = Exchange(Era.LEGACY, stream, request.progress, conversation.level)
        conversation.enter(request.id, exchange)

        async def work() -> None:
            said: Said | None = _failed(request)
            try:
                said = await self._run.legacy(request, conversation, exchange)
                if request.method == "logging/setLevel" and said is not None and said.code is None:
                    conversation.level = request.text("level")
            finally:
                conversation.exchanges.pop(request.id, None)
                conversation.used = self._clock()
                stream.end(said)

        return Served(exchange, work())

    def told(self, conversation: Conversation, message: Notification | Response) -> None:
        """A notice, or an answer to a question of ours. Raises `Bad` for a notice that there is not."""
        conversation.used = self._clock()
        if isinstance(message, Response):
            if not conversation.take(message):
                self.counted(Reason.ERR_MCP_ID_CONFLICT)
            return
        self.notice(message, Era.LEGACY)
        exchange = conversation.exchanges.get(message.about) if message.method == "notifications/cancelled" else None
        if exchange is not None:
            exchange.cancel()

    def notice(self, message: Notification, era: Era) -> None:
        """Raises `Bad` for one that there is not: a call without an id would be one that nobody answers for."""
        if how(NOTICES, message.method, era) is not How.TAKEN:
            raise Bad(Reason.ERR_UNMEDIATED_TRANSPORT, INVALID_REQUEST, "there is no such notice, and a call has an id")

    def end(self, conversation: Conversation) -> None:
        if self._conversations.pop(conversation.name, None) is not None:
            conversation.end()
            self._places.leave(conversation.name)

    # -- the stateless revision

    def modern(self, caller: Caller, request: Request, stream: Stream, fields: Mapping[str, str] | None) -> Served:
        """`fields`: of HTTP, None where there are none. Raises `Bad` for what the request does not say of itself."""
        said = mcp_modern.envelope(request, fields)
        caller = replace(caller, capabilities=declared(said.capabilities))
        exchange = Exchange(Era.MODERN, stream, request.progress, said.level)
        if request.method == "subscriptions/listen":
            return Served(exchange, self._listeners.listen(caller, request, exchange))

        async def work() -> None:
            ended = _failed(request)
            try:
                ended = await self._modern(caller, request, exchange, fields)
            finally:
                exchange.stream.end(ended)

        return Served(exchange, work())

    async def _modern(self, caller: Caller, request: Request, exchange: Exchange, fields: Mapping[str, str] | None) -> Said:
        try:
            if request.method == "server/discover":
                return mcp_message.result(request.id, await self._discovered(caller))
            if request.method == "tools/call" and fields is not None:
                definition = await self._serving.definition(caller, request.text("name") or "")
                mirrored = mcp_modern.mirrored({} if definition is None else definition.get("inputSchema"))
                mcp_modern.check_parameters(request, fields, mirrored)
        except Bad as bad:
            self.counted(bad.reason)
            return mcp_answers.refused(request.id, request.method, bad, Era.MODERN)
        except (Refused, OutsideError):  # there is no definition to be had: the call itself says why
            pass
        return await self._run.modern(request, caller, exchange)

    async def _discovered(self, caller: Caller) -> bytes:
        capabilities, instructions = await self._serving.hello(caller)
        result: dict[str, Json] = {
            "_meta": {mcp_modern.INFO_META: _info()},
            "resultType": "complete",
            "supportedVersions": list(MODERN),
            "capabilities": capabilities,
            "ttlMs": 0,
            "cacheScope": "private",
        }
        return canonical(result if not instructions else {**result, "instructions": instructions})

    # -- all of them

    def sweep(self) -> None:
        """Forget who has said nothing for long."""
        self._table.sweep()
        for conversation in tuple(self._conversations.values()):
            if not conversation.connected and not conversation.exchanges and self._clock() - conversation.used >= IDLE_S:
                self.end(conversation)

    def close(self) -> None:
        self._listeners.close()
        for conversation in tuple(self._conversations.values()):
            self.end(conversation)

    def _room(self, principal: str) -> None:
        """The one that was still for the longest makes room for another."""
        mine = [one for one in self._conversations.values() if one.caller.principal == principal and not one.connected]
        if len(mine) >= SESSIONS_MAX:
            self.end(min(mine, key=lambda one: (len(one.exchanges) > 0, one.used)))


def _failed(request: Request) -> Said:
    """What is answered where we break: closed, and without a word of why."""
    return mcp_message.error(request.id, mcp_message.INTERNAL_ERROR, "internal failure")


def _info() -> dict[str, Json]:
    return {"name": "helm-ai-kernel", "version": __version__}
