"""A client's own session with this door (legacy revisions), the streams on which it is written to, and what it is asked.

A stream that broke off is not lost: its last messages wait, numbered, for a client that comes back and says which was the last it
had. What waits is bounded: a client that reads nothing loses notices, never the answer to a call.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire import mcp_message
from helm_ai_kernel.wire.era import Era
from helm_ai_kernel.wire.mcp_message import Bad, Response, Said, spliced
from helm_ai_kernel.wire.mediation import SAID, How, how
from helm_ai_kernel.wire.span import members

from .mcp_gate import Caller

WAITING_MAX = 1024  # messages of one stream that nobody has read
WAITING_BYTES_MAX = 4 << 20
STREAMS_MAX = 64  # of one session that can be had again: as many as calls that an agent may have under way
KEPT_BYTES_MAX = 4 << 20  # of those that ended; the last one is kept whatever its size
ASK_S = 900.0  # for a person at the client to answer what a server asks
CHANGED = frozenset({f"notifications/{what}/list_changed" for what in ("tools", "resources", "prompts")})
UPDATED = "notifications/resources/updated"
SUBSCRIBED_MAX = 1024  # resources of one session
ASKED_MAX = 16  # questions to one client at once


class Stream:
    """Messages on their way to one client, in order, each with its number. One reader at a time: the last who came."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.began = False  # something is there that is no final answer
        self.asks = True  # whether its reader sees a question that comes before the end
        self.ended = False
        self.final: Said | None = None
        self.seen = 0  # the number of the last one that was read
        self._messages: deque[tuple[int, bytes, bool]] = deque()
        self._bytes = self._count = self._readers = 0
        self._news = asyncio.Event()

    def put(self, message: bytes, *, notice: bool = False) -> None:
        """`notice`: one that may be lost where nobody reads."""
        if not self.ended:
            self.began = True
            self._add(message, notice)

    def end(self, said: Said | None = None) -> None:
        """`said`: the response, where there is one."""
        if self.ended:
            return
        self.ended, self.final = True, said
        if said is not None:
            self._add(said.data, False)
        self._news.set()

    async def moved(self, within_s: float | None = None) -> bool:
        """Wait until something comes from now on, or the end; False where nothing came in that time."""
        self._news.clear()
        try:
            async with asyncio.timeout(within_s):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def read(self, after: int, alive_s: float) -> AsyncGenerator[tuple[int, bytes] | None, None]:
        """What comes behind that number, to the end; None whenever nothing came for so long."""
        self._readers += 1
        mine = self._readers
        self._news.set()  # whoever read until now ends
        while mine == self._readers:
            for number, message, _ in tuple(self._messages):
                if number > after:
                    after = self.seen = number
                    yield number, message
            if self.ended and not any(number > after for number, _, _ in self._messages):
                return
            if not any(number > after for number, _, _ in self._messages) and not await self.moved(alive_s):
                yield None

    @property
    def size(self) -> int:
        return self._bytes

    @property
    def alone(self) -> bool:
        """It is over, and its response was all that was said."""
        return self.ended and not self.began

    def _add(self, message: bytes, notice: bool) -> None:
        self._count += 1
        self._messages.append((self._count, message, notice))
        self._bytes += len(message)
        while len(self._messages) > WAITING_MAX or self._bytes > WAITING_BYTES_MAX:
            if not self._drop():
                break
        self._news.set()

    def _drop(self) -> bool:
        """The oldest notice makes room; False where there is none."""
        for index, (_, message, notice) in enumerate(self._messages):
            if notice:
                del self._messages[index]
                self._bytes -= len(message)
                return True
        return False


class Conversation:
    """One session of one client: its handshake, its streams, the calls under way and the questions to it."""

    def __init__(self, name: str, caller: Caller, revision: str, general: Stream | None = None) -> None:
        """`general`: what is said outside of calls, where the session lives as long as its connection."""
        self.name = name
        self.caller = caller
        self.revision = revision
        self.used = 0.0  # a time of the door's clock
        self.subscribed: set[tuple[str, str]] = set()  # resources of servers, by calls that were allowed
        self.level: str | None = None  # of the log messages that it wants
        self.connected = general is not None
        self.general = general or Stream("general")
        self.exchanges: dict[bytes, Exchange] = {}
        self._streams: dict[str, Stream] = {"general": self.general}
        self._asked: dict[bytes, asyncio.Future[Response]] = {}
        self._count = 0
        self._silent = False

    def stream(self) -> Stream:
        """A new one; of those that ended the oldest are forgotten."""
        self._count += 1
        made = self._streams[f"s{self._count}"] = Stream(f"s{self._count}")
        over = [name for name, stream in self._streams.items() if stream.ended]
        kept = sum(self._streams[name].size for name in over)
        for name in over[:-1]:
            if len(self._streams) <= STREAMS_MAX and kept <= KEPT_BYTES_MAX:
                break
            kept -= self._streams.pop(name).size
        return made

    def found(self, name: str) -> Stream | None:
        return self._streams.get(name)

    async def ask(self, stream: Stream, method: str, params: bytes) -> bytes:
        """The client's result; raises `Refused` where it says no, or nothing in time."""
        if self._silent or not stream.asks:
            raise _gone()
        if len(self._asked) >= ASKED_MAX:
            raise Refused(Reason.ERR_RATE_LIMITED, "the client has too many questions to answer already", sub="asked")
        self._count += 1
        number = canonical(f"helm-{self._count}")
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            stream.put(mcp_message.request(number, method, params))
            async with asyncio.timeout(ASK_S):
                response = await answer
        except TimeoutError:
            raise Refused(Reason.ERR_CONNECTOR_FAILED, "the client did not answer in time", sub="client_silent") from None
        finally:
            del self._asked[number]
        if response.result is None:
            raise Refused(Reason.ERR_CONNECTOR_FAILED, "the client answered with an error", sub="client_error")
        return response.result

    def heard(self, server: str, method: str, params: bytes) -> None:
        """What a server says outside of any call: that something changed, and of a resource that was subscribed to, which."""
        if self.caller.only not in (None, server):
            return
        if method in CHANGED:
            self.general.put(mcp_message.notification(method), notice=True)
        elif method == UPDATED:
            value = parse(params, bytes_max=len(params), any_number=True)
            uri = value.get("uri") if type(value) is dict else None
            if type(uri) is str and (server, uri) in self.subscribed:
                self.general.put(mcp_message.notification(method, canonical({"uri": uri})), notice=True)

    def follows(self, server: str, uri: str, *, on: bool) -> None:
        """A subscription that a call made or ended. Beyond the bound one hears of no further resource."""
        if not on:
            self.subscribed.discard((server, uri))
        elif len(self.subscribed) < SUBSCRIBED_MAX:
            self.subscribed.add((server, uri))

    def take(self, response: Response) -> bool:
        """An answer of the client's; False where nothing was asked under that id."""
        answer = self._asked.get(response.id)
        if answer is None or answer.done():
            return False
        answer.set_result(response)
        return True

    def enter(self, number: bytes, exchange: "Exchange") -> None:
        """Raises `Bad` for an id that is under way already: the two answers could not be told apart."""
        if number in self.exchanges:
            detail = "a request with that id is under way"
            raise Bad(Reason.ERR_MCP_ID_CONFLICT, mcp_message.INVALID_REQUEST, detail, number=number, sub="id")
        self.exchanges[number] = exchange

    def hang_up(self) -> None:
        """The client says nothing any more: whoever waits for its answers learns it."""
        self._silent = True
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(_gone())

    def end(self) -> None:
        """Nobody is there any more. Calls under way go on to their end."""
        self.hang_up()
        for stream in self._streams.values():
            stream.end()


class Exchange:
    """One request of a client while it is under way: what may be said on its stream, and whether it was given up."""

    def __init__(self, era: Era, stream: Stream, token: Json = None, level: str | None = None) -> None:
        """`token`: by which the client wants to hear of progress; without one it hears of none."""
        self.era = era
        self.stream = stream
        self.level = level
        self.cancelled = asyncio.Event()
        self._token = None if token is None else canonical(token)
        self._behind: Exchange | None = None

    def said(self, method: str, params: bytes) -> None:
        """A server's notice, in this request's stream."""
        if how(SAID, method, self.era) is not How.RELAYED:
            return
        if method == "notifications/progress":
            if self._token is None:
                return
            params = spliced({**members(params), "progressToken": self._token})
        self.stream.put(mcp_message.notification(method, params), notice=True)

    def cancel(self) -> None:
        self.cancelled.set()
        if self._behind is not None:
            self._behind.cancel()

    def moved_to(self, other: "Exchange") -> None:
        """The same call goes on in another request: what is said is said there, and whoever gives that up ends this."""
        self.stream = other.stream
        other._behind = self


def _gone() -> Refused:
    return Refused(Reason.ERR_CONNECTOR_FAILED, "the client is gone", sub="client_silent")


def declared(capabilities: Mapping[str, Json]) -> bytes:
    """What of a client's capabilities a server may rely on: the questions that it can be asked."""
    kept: dict[str, Any] = {name: capabilities[name] for name in ("elicitation", "roots", "sampling") if name in capabilities}
    return canonical(kept)
