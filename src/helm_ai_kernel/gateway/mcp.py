"""The MCP door over HTTP: `/mcp` for every pinned server, `/mcp/NAME` for one; sessions for the revisions that have them.

A call belongs to the kernel, not to its connection: who loses it finds the answer again (by `Last-Event-ID`), or gave it up
(2026-07-28: a closed stream is a cancelled call), and the outcome is recorded either way.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.wire import mcp_message
from helm_ai_kernel.wire.era import Era
from helm_ai_kernel.wire.head import Head
from helm_ai_kernel.wire.mcp_message import INVALID_REQUEST, METHOD_NOT_FOUND, Bad, Notification, Request, Response, Said
from helm_ai_kernel.wire.mediation import LEGACY, MODERN
from helm_ai_kernel.wire.reply import JSON, Fields, Reply

from . import mcp_modern
from .identity import Agent
from .limits import Slot
from .mcp_gate import Caller
from .mcp_listen import LISTEN
from .mcp_modern import VERSION_FIELD
from .mcp_serve import Sessions
from .mcp_session import Conversation, Stream
from .streaming import Ending

PATH = "/mcp"
DOOR = "mcp"  # as receipts and policies name it
METHODS = ("GET", "POST", "DELETE")
DOCUMENT_S = 3.0  # for an answer to be one document; from then on it is a stream, which tells when its reader goes
ALIVE_S = 15.0  # between two words on a stream where nothing happens: proxies end what is silent for a minute
SESSION_FIELD, LAST_FIELD = "mcp-session-id", "last-event-id"
PRIMED = "2025-11-25"  # the revision from which on a stream begins with its own name
RETRY_MS = 500  # until a client comes back for a stream that broke off

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
    """`start` runs what belongs to the kernel and not to a connection."""

    def __init__(self, sessions: Sessions, start: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]) -> None:
        self._sessions = sessions
        self._start = start

    async def answer(self, agent: Agent, head: Head, body: bytes, slot: Slot) -> Reply:
        """Raises nothing that a client can send. `slot`: a call has it to its own end; who only listens gives it back."""
        only = _SERVER.match(head.path)
        caller = Caller(agent.name, DOOR, only=None if only is None else only[1])
        try:
            if head.method == "POST":
                return await self._post(caller, head, body, slot)
            if head.fields.get(VERSION_FIELD) in MODERN:
                return Reply(405, (("Allow", "POST"),))
            conversation = self._conversation(caller, head)
            if head.method == "DELETE":
                self._sessions.end(conversation)
                return Reply(204)
            slot.leave()
            return self._listen(conversation, head)
        except Bad as bad:
            self._sessions.counted(bad.reason)
            return _reply(mcp_message.error(bad.number, bad.code, bad.detail, bad.data), 400)
        except _Gone:
            detail = "there is no such session (any more): begin with `initialize`"
            return _reply(mcp_message.error(mcp_message.NULL, INVALID_REQUEST, detail), 404)

    # -- what is sent

    async def _post(self, caller: Caller, head: Head, body: bytes, slot: Slot) -> Reply:
        message, version = mcp_message.read(body), head.fields.get(VERSION_FIELD)
        request = message if isinstance(message, Request) else None
        modern = version in MODERN or (request is not None and mcp_modern.is_modern(request))
        same = request is None or request.meta.get(mcp_modern.VERSION_META, version) == version
        if version is not None and version not in (*LEGACY, *MODERN) and same:
            raise mcp_modern.unsupported(version, mcp_message.NULL if request is None else request.id)
        if modern and request is not None:
            return await self._modern(caller, request, head, slot)
        if modern and isinstance(message, Response):
            raise Bad(Reason.ERR_UNMEDIATED_TRANSPORT, INVALID_REQUEST, "an answer is sent in another request")
        if not isinstance(message, Response):
            mcp_modern.check_named(message, head.fields)
        if modern and isinstance(message, Notification):  # a client gives up by closing its stream: nothing is done
            self._sessions.notice(message, Era.MODERN)
            return Reply(202)
        if request is not None and request.method == "initialize":
            said, conversation = await self._sessions.begin(caller, request)
            return _reply(said, 200, (("Mcp-Session-Id", conversation.name),))
        conversation = self._conversation(caller, head)
        if isinstance(message, Request):
            return await self._legacy(conversation, message, head, slot)
        self._sessions.told(conversation, message)
        return Reply(202)

    async def _legacy(self, conversation: Conversation, request: Request, head: Head, slot: Slot) -> Reply:
        stream = conversation.stream()
        stream.asks = _takes_streams(head)
        slot.keep(self._start(self._sessions.legacy(conversation, request, stream).work))
        primed = conversation.revision >= PRIMED
        return await self._streamed(stream, head, lambda: _events(stream, 0, primed=primed, numbered=True))

    async def _modern(self, caller: Caller, request: Request, head: Head, slot: Slot) -> Reply:
        stream = Stream("r")
        served = self._sessions.modern(caller, request, stream, head.fields)
        slot.keep(self._start(served.work))
        if request.method == LISTEN:
            slot.leave()

        def left() -> None:
            if not stream.ended:
                served.exchange.cancel()

        return await self._streamed(stream, head, lambda: Ending(_events(stream, 0), left), by_code=True)

    def _conversation(self, caller: Caller, head: Head) -> Conversation:
        name = head.fields.get(SESSION_FIELD)
        if name is None:
            detail = "a session begins with `initialize`, and is named in each request behind it (`Mcp-Session-Id`)"
            raise Bad(Reason.ERR_SESSION_ENDED, INVALID_REQUEST, detail)
        found = self._sessions.find(caller, name)
        if found is None:
            raise _Gone
        return found

    # -- what is written

    def _listen(self, conversation: Conversation, head: Head) -> Reply:
        """What is said outside of calls, or the rest of a stream that broke off."""
        last = _EVENT.match(head.fields.get(LAST_FIELD, ""))
        stream = conversation.general if last is None else conversation.found(last[1])
        if stream is None:
            raise _Gone
        after = stream.seen if last is None else int(last[2])
        return Reply(200, _STREAM, _events(stream, after, primed=conversation.revision >= PRIMED, numbered=True))

    async def _streamed(
        self, stream: Stream, head: Head, events: Callable[[], AsyncIterator[bytes]], *, by_code: bool = False
    ) -> Reply:
        """As one document where nothing else is said, else as a stream. `by_code`: an error chooses the status."""
        streams = _takes_streams(head)
        while not stream.ended and not (streams and stream.began):
            if not await stream.moved(DOCUMENT_S if streams else None) and streams:
                break
        if stream.alone or (stream.ended and not streams):
            said = stream.final
            if said is None:
                return Reply(202)
            return _reply(said, 200 if said.code is None or not by_code else _STATUS.get(said.code, 200))
        return Reply(200, _STREAM, events())


class _Gone(Exception):
    """No session of that name is this caller's."""


async def _events(
    stream: Stream,
    after: int,
    *,
    primed: bool = False,
    numbered: bool = False,
) -> AsyncIterator[bytes]:
    if primed:
        yield b"id: %b-%d\nretry: %d\ndata: \n\n" % (stream.name.encode(), after, RETRY_MS)
    async with aclosing(stream.read(after, ALIVE_S)) as messages:
        async for item in messages:
            yield b": alive\n\n" if item is None else _event(item[1], f"{stream.name}-{item[0]}" if numbered else "")


def _takes_streams(head: Head) -> bool:
    accepted = head.fields.get("accept", "*/*")
    return "text/event-stream" in accepted or "*/*" in accepted


def _reply(said: Said, status: int, fields: Fields = ()) -> Reply:
    return Reply(status, (JSON, *fields), said.data)


def _event(message: bytes, name: str) -> bytes:
    """A message may have line ends between its members: each line is a line of `data`, and they are put together again."""
    head = b"id: %b\nevent: message\n" % name.encode() if name else b"event: message\n"
    return head + b"".join(b"data: %b\n" % line for line in message.replace(b"\r", b" ").split(b"\n")) + b"\n"
