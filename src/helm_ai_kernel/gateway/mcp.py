"""The MCP door over HTTP: `/mcp` for every pinned server, `/mcp/NAME` for one; sessions for the revisions that have them.

A call belongs to the kernel, not to its connection: who loses it finds the answer again (by `Last-Event-ID`), or gave
it up (2026-07-28: a closed stream is a cancelled call), and the outcome is recorded either way.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any

from helm_ai_kernel import __version__
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire import mcp_message
from helm_ai_kernel.wire.era import Era
from helm_ai_kernel.wire.head import Head
from helm_ai_kernel.wire.mcp_message import INVALID_REQUEST, METHOD_NOT_FOUND, Bad, Message, Request, Response, Said
from helm_ai_kernel.wire.mediation import LEGACY, MODERN, NOTICES, How, how
from helm_ai_kernel.wire.reply import JSON, Fields, Reply

from . import mcp_modern
from .identity import Agent
from .mcp_gate import Caller, McpGate, Places
from .mcp_listen import Listeners
from .mcp_methods import Serving
from .mcp_modern import VERSION_FIELD
from .mcp_questions import Table
from .mcp_run import Run
from .mcp_session import Conversation, Exchange, Stream, declared

PATH = "/mcp"
DOOR = "mcp"  # as receipts and policies name it
METHODS = ("GET", "POST", "DELETE")
ALIVE_S = 15.0  # between two words on a stream where nothing happens: proxies end what is silent for a minute
SESSION_FIELD, LAST_FIELD = "mcp-session-id", "last-event-id"
IDLE_S = 30 * 60.0  # of a session, as everywhere
SESSIONS_MAX = 64  # of one principal: each may have servers of its own
PRIMED = "2025-11-25"  # the revision from which on a stream begins with its own name

_SERVER = re.compile(r"/mcp/([a-z0-9][a-z0-9_-]{0,63})\Z")
_EVENT = re.compile(r"([a-z0-9]{1,16})-([0-9]{1,15})\Z")
_STATUS: Mapping[int, int] = {
    METHOD_NOT_FOUND: 404, mcp_message.PARSE_ERROR: 400, INVALID_REQUEST: 400, mcp_message.INVALID_PARAMS: 400,
    mcp_message.HEADER_MISMATCH: 400, mcp_message.MISSING_CAPABILITY: 400, mcp_message.UNSUPPORTED_VERSION: 400,
}  # fmt: skip
_STREAM: Fields = (("Content-Type", "text/event-stream"), ("X-Accel-Buffering", "no"))


def leads_here(path: str) -> bool:
    return path == PATH or _SERVER.match(path) is not None


class McpDoor:
    """`start` runs what belongs to the kernel and not to a connection; `counted` is told of what has no receipt."""

    def __init__(
        self,
        gate: McpGate,
        places: Places,
        start: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"],
        counted: Callable[[Reason], None],
        clock: Callable[[], float],
    ) -> None:
        self._gate = gate
        self._places = places
        self._start = start
        self._counted = counted
        self._clock = clock
        self._serving = Serving(gate)
        self._table = Table(clock)
        self._run = Run(self._serving, self._table)
        self._listeners = Listeners(places)
        self._conversations: dict[str, Conversation] = {}

    async def answer(self, agent: Agent, head: Head, body: bytes) -> Reply:
        """Raises nothing that a client can send."""
        only = _SERVER.match(head.path)
        caller = Caller(agent.name, DOOR, only=None if only is None else only[1])
        try:
            if head.method == "POST":
                return await self._post(caller, head, body)
            if head.fields.get(VERSION_FIELD) in MODERN:
                return Reply(405, (("Allow", "POST"),))
            conversation = self._conversation(caller, head)
            if head.method == "DELETE":
                self._end(conversation)
                return Reply(204)
            return self._listen(conversation, head)
        except Bad as bad:
            self._counted(bad.reason)
            return _reply(mcp_message.error(bad.number, bad.code, bad.detail, bad.data), 400)
        except _Gone:
            detail = "there is no such session (any more): begin with `initialize`"
            return _reply(mcp_message.error(mcp_message.NULL, INVALID_REQUEST, detail), 404)

    def sweep(self) -> None:
        """Forget who has said nothing for long."""
        self._table.sweep()
        for conversation in tuple(self._conversations.values()):
            if not conversation.exchanges and self._clock() - conversation.used >= IDLE_S:
                self._end(conversation)

    def close(self) -> None:
        self._listeners.close()
        for conversation in tuple(self._conversations.values()):
            self._end(conversation)

    # -- what is sent

    async def _post(self, caller: Caller, head: Head, body: bytes) -> Reply:
        message, version = mcp_message.read(body), head.fields.get(VERSION_FIELD)
        if version is not None and version not in (*LEGACY, *MODERN):
            known = isinstance(message, Request) and mcp_modern.is_modern(message)
            if not known or message.meta[mcp_modern.VERSION_META] == version:  # type: ignore[union-attr]
                raise mcp_modern.unsupported(version, message.id if isinstance(message, Request) else mcp_message.NULL)
        if isinstance(message, Request) and (version in MODERN or mcp_modern.is_modern(message)):
            return await self._modern(caller, message, head)
        if version in MODERN:  # a client gives up by closing its stream, and answers by another request
            return Reply(202)
        if isinstance(message, Request) and message.method == "initialize":
            return await self._initialize(caller, message)
        conversation = self._conversation(caller, head)
        if isinstance(message, Request):
            return await self._legacy(conversation, message, head)
        self._told(conversation, message)
        return Reply(202)

    async def _initialize(self, caller: Caller, request: Request) -> Reply:
        revision, said = request.text("protocolVersion"), request.values.get("capabilities", {})
        if revision is None or type(said) is not dict:
            detail = "`initialize` has a `protocolVersion` and `capabilities`"
            raise Bad(Reason.ERR_UPSTREAM_SHAPE, mcp_message.INVALID_PARAMS, detail, number=request.id)
        name = secrets.token_hex(16)
        caller = Caller(caller.principal, caller.door, name, declared(said), caller.only)
        spoken = revision if revision in LEGACY else LEGACY[0]
        self._room(caller.principal)
        conversation = Conversation(name, caller, spoken, said)
        conversation.used = self._clock()
        self._conversations[name] = conversation
        self._places.watch(caller, conversation.heard)
        capabilities, instructions = await self._serving.hello(caller)
        result: dict[str, Json] = {"protocolVersion": spoken, "capabilities": capabilities, "serverInfo": _info()}
        if instructions:
            result["instructions"] = instructions
        return _reply(mcp_message.result(request.id, canonical(result)), 200, (("Mcp-Session-Id", name),))

    async def _legacy(self, conversation: Conversation, request: Request, head: Head) -> Reply:
        stream = conversation.stream()
        exchange = Exchange(Era.LEGACY, stream, request.progress, conversation.level)
        conversation.enter(request.id, exchange)
        if request.method == "logging/setLevel":
            conversation.level = request.text("level")

        async def work() -> None:
            said: Said | None = None
            try:
                said = await self._run.legacy(request, conversation, exchange)
            finally:
                conversation.exchanges.pop(request.id, None)
                conversation.used = self._clock()
                stream.end(said)

        self._start(work())
        primed = conversation.revision >= PRIMED
        return await self._streamed(stream, head, lambda: self._events(stream, 0, primed=primed, numbered=True))

    async def _modern(self, caller: Caller, request: Request, head: Head) -> Reply:
        said = mcp_modern.envelope(request, head.fields)
        caller = Caller(caller.principal, caller.door, "", declared(said.capabilities), caller.only)
        stream = Stream("r")
        exchange = Exchange(Era.MODERN, stream, request.progress, said.level)
        if request.method == "subscriptions/listen":
            stop = self._listeners.open(caller, request, exchange)
            return await self._streamed(stream, head, lambda: self._events(stream, 0, given_up=stop))
        if request.method == "server/discover":
            return _reply(mcp_message.result(request.id, await self._discovered(caller)), 200)
        if request.method == "tools/call":
            await self._check_mirrored(caller, request, head)

        async def work() -> None:
            ended: Said | None = None
            try:
                ended = await self._run.modern(request, caller, exchange)
            finally:
                exchange.stream.end(ended)

        self._start(work())
        return await self._streamed(stream, head, lambda: self._events(stream, 0, given_up=exchange.cancel))

    async def _check_mirrored(self, caller: Caller, request: Request, head: Head) -> None:
        definition = await self._serving.definition(caller, request.text("name") or "")
        schema = definition.get("inputSchema") if definition is not None else None
        mcp_modern.check_parameters(request, head.fields, mcp_modern.mirrored(schema))

    async def _discovered(self, caller: Caller) -> bytes:
        capabilities, instructions = await self._serving.hello(caller)
        result: dict[str, Json] = {
            "_meta": {"io.modelcontextprotocol/serverInfo": _info()},
            "resultType": "complete",
            "supportedVersions": list(MODERN),
            "capabilities": capabilities,
            "ttlMs": 0,
            "cacheScope": "private",
        }
        return canonical(result if not instructions else {**result, "instructions": instructions})

    def _told(self, conversation: Conversation, message: Message) -> None:
        """A notice, or an answer to a question of ours. What is not expected is counted, and nothing happens."""
        conversation.used = self._clock()
        if isinstance(message, Response):
            if not conversation.take(message):
                self._counted(Reason.ERR_MCP_ID_CONFLICT)
        elif how(NOTICES, message.method, Era.LEGACY) is not How.TAKEN:
            self._counted(Reason.ERR_UNMEDIATED_TRANSPORT)
            raise Bad(Reason.ERR_UNMEDIATED_TRANSPORT, INVALID_REQUEST, "a call has an id, and there is no such notice")
        elif message.method == "notifications/cancelled":
            exchange = conversation.exchanges.get(message.params.get("requestId", b""))
            if exchange is not None:
                exchange.cancel()

    # -- sessions

    def _conversation(self, caller: Caller, head: Head) -> Conversation:
        name = head.fields.get(SESSION_FIELD)
        if name is None:
            detail = "a session begins with `initialize`, and is named in each request behind it (`Mcp-Session-Id`)"
            raise Bad(Reason.ERR_SESSION_ENDED, INVALID_REQUEST, detail)
        found = self._conversations.get(name)
        if found is None or (found.caller.principal, found.caller.only) != (caller.principal, caller.only):
            raise _Gone
        found.used = self._clock()
        return found

    def _room(self, principal: str) -> None:
        """The one that was still for the longest makes room for another."""
        mine = [one for one in self._conversations.values() if one.caller.principal == principal]
        if len(mine) >= SESSIONS_MAX:
            self._end(min(mine, key=lambda one: (len(one.exchanges) > 0, one.used)))

    def _end(self, conversation: Conversation) -> None:
        self._conversations.pop(conversation.name, None)
        conversation.end()
        self._places.leave(conversation.caller.place)

    # -- what is written

    def _listen(self, conversation: Conversation, head: Head) -> Reply:
        """What is said outside of calls, or the rest of a stream that broke off."""
        last = _EVENT.match(head.fields.get(LAST_FIELD, ""))
        stream = conversation.general if last is None else conversation.found(last[1])
        if stream is None:
            raise _Gone
        after = stream.seen if last is None else int(last[2])
        return Reply(200, _STREAM, self._events(stream, after, primed=conversation.revision >= PRIMED, numbered=True))

    async def _streamed(self, stream: Stream, head: Head, events: Callable[[], AsyncIterator[bytes]]) -> Reply:
        """As one document where nothing else is said, else as a stream."""
        streams = "text/event-stream" in head.fields.get("accept", "text/event-stream, */*") or "*/*" in head.fields.get(
            "accept", ""
        )
        while not stream.ended and not (streams and stream.began):
            if not await stream.moved(ALIVE_S if streams else None) and streams:
                break
        if stream.ended and (stream.alone or not streams):
            said = stream.final
            return Reply(202) if said is None else _reply(said, _STATUS.get(said.code, 200) if said.code else 200)
        return Reply(200, _STREAM, events())

    async def _events(
        self,
        stream: Stream,
        after: int,
        *,
        primed: bool = False,
        numbered: bool = False,
        given_up: Callable[[], None] | None = None,
    ) -> AsyncIterator[bytes]:
        try:
            if primed:
                yield b"id: %b-%d\ndata: \n\n" % (stream.name.encode(), after)
            async with aclosing(stream.read(after, ALIVE_S)) as messages:
                async for item in messages:
                    yield b": alive\n\n" if item is None else _event(item[1], f"{stream.name}-{item[0]}" if numbered else "")
        finally:
            if given_up is not None and not stream.ended:
                given_up()


class _Gone(Exception):
    """No session of that name is this caller's."""


def _reply(said: Said, status: int, fields: Fields = ()) -> Reply:
    return Reply(status, (JSON, *fields), said.data)


def _event(message: bytes, name: str) -> bytes:
    """A message may have line ends between its members: each line is a line of `data`, and they are put together again."""
    head = b"id: %b\nevent: message\n" % name.encode() if name else b"event: message\n"
    return head + b"".join(b"data: %b\n" % line for line in message.replace(b"\r", b" ").split(b"\n")) + b"\n"


def _info() -> dict[str, Json]:
    return {"name": "helm-ai-kernel", "version": __version__}
