"""The MCP door for a client that speaks over pipes: `mcp wrap` stands in the place of its server, and passes lines to here.

The first line says which server it stands for, and how the client would start it; the kernel answers which variables of the
environment that server may have, and gets them. From then on each line is a message of the protocol, in either era. A server that
is not pinned, or not with this command, has no tools: its client is told so, and how a person can change that.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire import mcp_message
from helm_ai_kernel.wire.mcp_message import Bad, Message, Notification, Request, Response, Said

from . import mcp_modern
from .mcp_gate import Caller
from .mcp_serve import Served, Sessions
from .mcp_session import Conversation, Exchange, Stream

DOOR = "mcp-stdio"  # as receipts and policies name it
WORDS_MAX = 64  # of a command, as in the catalogue
HELLO_BYTES_MAX = 1 << 18


@dataclass(frozen=True, slots=True)
class Hello:
    """What a wrapped server is called, and how its client starts it."""

    server: str
    agent: str | None
    command: tuple[str, ...]
    env: tuple[str, ...]  # names of variables that it needs
    cwd: str


class Wraps(Protocol):
    """What the kernel knows of a server that somebody stands in for."""

    async def meet(self, hello: Hello) -> tuple[str, list[str], str]:
        """The principal, the names of the variables that the pinned server may have, and a notice where it may not be used.

        Raises `Refused` for an agent that is not there.
        """
        ...


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
        self._principal = self._notice = ""
        self._meeting = False
        self._conversation: Conversation | None = None
        self._exchanges: dict[bytes, Exchange] = {}

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
            self._refuse(bad)
            return
        self._start(self._take(self._caller, message))

    def closed(self) -> None:
        """The client sends no more: what is under way ends as it would, and then its servers."""
        for exchange in self._exchanges.values():
            exchange.stream.end()
        if self._conversation is not None:
            self._sessions.end(self._conversation)
            self._conversation = None
        self._end()

    # -- before the protocol

    async def _meet(self, line: bytes) -> None:
        try:
            self._hello = _hello(line)
            principal, names, notice = await self._wraps.meet(self._hello)
        except (Refused, OutsideError) as error:
            self._send(canonical({"v": 1, "error": error.reason.value, "detail": error.detail, "hint": error.hint}))
            self._end()
            return
        self._notice = notice
        self._principal = principal
        self._send(canonical({"v": 1, "env": list(names), "notice": notice}))

    def _given(self, line: bytes) -> None:
        """The second line: the variables."""
        try:
            value = parse(line, bytes_max=HELLO_BYTES_MAX)
            env = value.get("env") if type(value) is dict else None
            if self._hello is None or type(env) is not dict or not all(type(one) is str for one in env.values()):
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
            elif isinstance(message, Notification) and message.method == "notifications/cancelled":
                exchange = self._exchanges.get(message.params.get("requestId", b""))
                if exchange is not None:
                    exchange.cancel()
            elif self._conversation is not None:
                self._sessions.told(self._conversation, message)
        except Bad as bad:
            if not isinstance(message, Response):
                self._refuse(bad)

    async def _request(self, caller: Caller, request: Request) -> None:
        if request.id in self._exchanges:
            detail = "a request with that id is under way"
            raise Bad(Reason.ERR_MCP_ID_CONFLICT, mcp_message.INVALID_REQUEST, detail, number=request.id, sub="id")
        stream = Straight(self._send)
        if mcp_modern.is_modern(request):
            served: Served = self._sessions.modern(caller, request, stream, None)
        elif request.method == "initialize":
            said, self._conversation = await self._sessions.begin(caller, request, self._notice)
            self._conversation.general = stream
            self._send(said.data)
            return
        elif self._conversation is None:
            detail = "a session begins with `initialize`"
            raise Bad(Reason.ERR_SESSION_ENDED, mcp_message.INVALID_REQUEST, detail, number=request.id)
        else:
            served = self._sessions.legacy(self._conversation, request, stream)
        self._exchanges[request.id] = served.exchange
        try:
            await served.work
        finally:
            del self._exchanges[request.id]

    def _refuse(self, bad: Bad) -> None:
        self._sessions.counted(bad.reason)
        self._send(mcp_message.error(bad.number, bad.code, bad.detail, bad.data).data)


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


def _hello(line: bytes) -> Hello:
    """Raises `Refused`."""
    value = parse(line, bytes_max=HELLO_BYTES_MAX)
    if type(value) is not dict or value.keys() != {"v", "server", "agent", "command", "env", "cwd"} or value["v"] != 1:
        raise _no_hello()
    server, agent, cwd = value["server"], value["agent"], value["cwd"]
    command, env = _words(value["command"]), _words(value["env"])
    if type(server) is not str or type(cwd) is not str or not (agent is None or type(agent) is str) or not command:
        raise _no_hello()
    return Hello(server, agent, command, env, cwd)


def _words(value: Json) -> tuple[str, ...]:
    if type(value) is not list or len(value) > WORDS_MAX:
        raise _no_hello()
    words = tuple(word for word in value if type(word) is str and "\0" not in word)
    if len(words) != len(value):
        raise _no_hello()
    return words


def _no_hello() -> Refused:
    hint = "use the `helm-ai-kernel mcp wrap` of the kernel's own version"
    return Refused(Reason.ERR_UPSTREAM_SHAPE, "the first line says which server it stands for", hint=hint)


def _one_line(message: bytes) -> bytes:
    """JSON has line ends between its members at most, where blanks mean the same."""
    return message.replace(b"\n", b" ").replace(b"\r", b" ")
