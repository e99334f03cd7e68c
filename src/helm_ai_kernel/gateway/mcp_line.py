"""The MCP door for a client that speaks over pipes: `mcp wrap` stands in the place of its server, and passes lines to here.

The first line says which server it stands for, and how the client would start it; the kernel answers which variables of the
environment that server may have, and gets them. From then on each line is a message of the protocol, in either era. A server that
is not pinned, or not with this command, has no tools: its client is told so, and how a person can change that.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire import mcp_message
from helm_ai_kernel.wire.era import Era
from helm_ai_kernel.wire.mcp_message import INTERNAL_ERROR, Bad, Message, Request, Response, Said
from helm_ai_kernel.wire.status import STATUS

from . import mcp_modern
from .mcp_gate import Caller
from .mcp_hello import HELLO_BYTES_MAX, Hello, Wraps, hello
from .mcp_listen import LISTEN
from .mcp_serve import Served, Sessions
from .mcp_session import Conversation, Exchange, Stream

DOOR = "mcp-stdio"  # as receipts and policies name it


class LineDoor:
    """One client over one connection. `send` takes a line, `end` closes."""

    def __init__(
        self,
        sessions: Sessions,
        wraps: Wraps,
        start: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"],
        send: Callable[[bytes], None],
        end: Callable[[], None],
    ) -> None:
        self._sessions = sessions
        self._wraps = wraps
        self._start = start
        self._send, self._end = send, end
        self._hello: Hello | None = None
        self._caller: Caller | None = None
        self._principal, self._notice = "", ""
        self._meeting = self._met = self._gone = False
        self._conversation: Conversation | None = None
        self._beginning: asyncio.Task[Any] | None = None
        self._open = 0  # messages that are being handled
        self._exchanges: dict[bytes, Exchange] = {}
        self._listening: set[Exchange] = set()

    def line(self, line: bytes) -> None:
        if self._caller is None:
            if not self._meeting:
                self._meeting = True
                self._start(self._meet(line))
            else:
                self._given(line)
            return
        try:
            message = mcp_message.read(line)
        except Bad as bad:
            self._sessions.counted(bad.reason)
            self._send(_wrong(bad))
            return
        self._open += 1
        self._start(self._take(self._caller, message))

    def closed(self) -> None:
        """The client sends no more: what it asked for ends as it would and is told, but for streams that would never end."""
        self._gone = True
        for exchange in self._listening:
            exchange.cancel()
        if self._conversation is not None:
            self._conversation.hang_up()
        self._leave()

    # -- before the protocol

    async def _meet(self, line: bytes) -> None:
        try:
            self._hello = hello(line)
            principal, names, notice = await self._wraps.meet(self._hello)
        except (Refused, OutsideError) as error:
            self._send(canonical({"v": 1, "error": error.reason.value, "detail": error.detail, "hint": error.hint}))
            self._end()
            return
        self._notice = notice
        self._principal = principal
        self._met = True
        self._send(canonical({"v": 1, "env": list(names), "notice": notice}))

    def _given(self, line: bytes) -> None:
        """The second line: the variables."""
        try:
            value = parse(line, bytes_max=HELLO_BYTES_MAX)
            env = value.get("env") if type(value) is dict else None
            if self._hello is None or not self._met or type(env) is not dict or not all(type(one) is str for one in env.values()):
                raise Refused(Reason.ERR_UPSTREAM_SHAPE, "the second line gives the variables")
        except Refused:
            self._end()
            return
        only = "" if self._notice else self._hello.server  # no server has an empty name
        self._caller = Caller(self._principal, DOOR, only=only, env={k: str(v) for k, v in env.items()}, cwd=self._hello.cwd)

    # -- the protocol

    async def _take(self, caller: Caller, message: Message) -> None:
        try:
            if isinstance(message, Request):
                await self._request(caller, message)
            elif isinstance(message, Response):
                if self._conversation is not None:
                    self._sessions.told(self._conversation, message)
            elif message.method == "notifications/cancelled":
                exchange = self._exchanges.get(message.about)
                if exchange is not None:
                    exchange.cancel()
            else:
                self._sessions.notice(message, Era.LEGACY)
        except (Refused, OutsideError) as error:
            self._sessions.counted(error.reason)
            if isinstance(message, Request):  # to a notice nobody answers (JSON-RPC 2.0 §4.1)
                said = error if isinstance(error, Bad) else Bad(error.reason, INTERNAL_ERROR, error.detail, number=message.id)
                self._send(_wrong(said))
        finally:
            self._open -= 1
            self._leave()

    async def _request(self, caller: Caller, request: Request) -> None:
        if request.id in self._exchanges:
            detail = "a request with that id is under way"
            raise Bad(Reason.ERR_MCP_ID_CONFLICT, mcp_message.INVALID_REQUEST, detail, number=request.id, sub="id")
        try:
            leave = self._wraps.enter(caller.principal)
        except Refused as refused:
            self._gone = self._gone or refused.reason is Reason.ERR_UNAUTHENTICATED
            raise Bad(refused.reason, STATUS[refused.reason], refused.detail, number=request.id) from None
        try:
            await self._served(caller, request, Straight(self._send))
        finally:
            leave()

    async def _served(self, caller: Caller, request: Request, stream: Stream) -> None:
        if mcp_modern.is_modern(request):
            served: Served = self._sessions.modern(caller, request, stream, None)
        elif request.method == "initialize":
            await self._begin(caller, request, stream)
            return
        elif (conversation := await self._begun()) is None:
            detail = "a session begins with `initialize`"
            raise Bad(Reason.ERR_SESSION_ENDED, mcp_message.INVALID_REQUEST, detail, number=request.id)
        else:
            served = self._sessions.legacy(conversation, request, stream)
        self._exchanges[request.id] = served.exchange
        if request.method == LISTEN:
            self._listening.add(served.exchange)
            if self._gone:
                served.exchange.cancel()
        try:
            await served.work
        finally:
            del self._exchanges[request.id]
            self._listening.discard(served.exchange)

    async def _begin(self, caller: Caller, request: Request, stream: Stream) -> None:
        """A session, in the place of one that was begun before."""
        self._beginning = asyncio.current_task()
        said, conversation = await self._sessions.begin(caller, request, self._notice, stream)
        if self._conversation is not None:
            self._sessions.end(self._conversation)
        self._conversation = conversation
        if self._gone:
            conversation.hang_up()
        self._send(said.data)

    async def _begun(self) -> Conversation | None:
        """The session; a client that writes ahead is waited with until it has begun."""
        if self._conversation is None and self._beginning is not None:
            await asyncio.wait({self._beginning})
        return self._conversation

    def _leave(self) -> None:
        """The end, when nothing comes any more, and nothing is under way."""
        if not self._gone or self._open:
            return
        if self._conversation is not None:
            self._sessions.end(self._conversation)
            self._conversation = None
        self._end()


class Straight(Stream):
    """A stream whose messages leave at once, each on a line of its own."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__("line")
        self._send = send

    def put(self, message: bytes, *, notice: bool = False) -> None:
        if not self.ended:
            self._send(_one_line(message))

    def end(self, said: Said | None = None) -> None:
        if not self.ended:
            self.ended = True
            if said is not None:
                self._send(_one_line(said.data))


def _wrong(bad: Bad) -> bytes:
    return mcp_message.error(bad.number, bad.code, bad.detail, bad.data).data


def _one_line(message: bytes) -> bytes:
    """JSON has line ends between its members at most, where blanks mean the same."""
    return message.replace(b"\n", b" ").replace(b"\r", b" ")
