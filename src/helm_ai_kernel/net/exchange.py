"""One connection to a service, with at most one request on it: its answer comes whole or piece by piece, and has one end.

Bytes that nobody asked for end the connection. Who reads slower than the service writes holds up the service, and nobody else.
"""

import asyncio
import select
from collections.abc import Callable
from dataclasses import dataclass

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.wire.response import CHUNKS_MAX, Response, ResponseHead, ResponseReader

from .resolver import NotSent

UNREAD_BYTES_MAX = 256 << 10  # of a body that is taken piece by piece; then the service waits
PIECES_MAX = 1 << 20  # chunks of such a body: one for each event, for as long as a stream is open
LINGER_S = 0.25  # for the end of an answer whose reader has what it wanted: what comes in time spares a connection


@dataclass(frozen=True, slots=True)
class Lost:
    """The request left, or part of it, and there is no whole answer."""

    sub: str
    reason: Reason


class Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answer: asyncio.Future[Response | Lost] | None = None
        self.moved = asyncio.Event()  # something came, or ended
        self._transport: asyncio.Transport | None = None
        self._reader: ResponseReader | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._unread = 0
        self._pieces = self._lingers = False

    @property
    def idle(self) -> bool:
        """Alive, and all that was written has left."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and transport.get_write_buffer_size() == 0

    @property
    def head(self) -> ResponseHead | None:
        return None if self._reader is None else self._reader.head

    def ask(self, request: bytes, body_bytes_max: int, *, pieces: bool = False) -> "asyncio.Future[Response | Lost] | None":
        """None, and nothing written, where it ended already. `pieces`: the body is taken as it comes."""
        if self._transport is None or self._transport.is_closing():
            return None
        self._reader = ResponseReader(body_bytes_max=body_bytes_max, chunks_max=PIECES_MAX if pieces else CHUNKS_MAX)
        self.answer = asyncio.get_running_loop().create_future()
        self._pieces, self._lingers, self._unread = pieces, False, 0
        self._transport.write(request)
        return self.answer

    def take(self) -> bytes:
        """What has come of the body since the last time."""
        if self._unread > UNREAD_BYTES_MAX and self._transport is not None:
            self._transport.resume_reading()
        self._unread = 0
        return b"" if self._reader is None else self._reader.take()

    def linger(self) -> None:
        """Nobody reads any more; only the end of the answer may still come."""
        self.take()
        self._lingers = True
        self.expire_in(LINGER_S)

    def expire_in(self, seconds: float) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = asyncio.get_running_loop().call_later(seconds, self.end)

    def wake(self) -> bool:
        """Whether it may be used again: it is alive, and nothing came, not even what the loop has not seen yet."""
        if self._expiry is not None:
            self._expiry.cancel()
        if self._transport is None or not self.idle:
            return False
        waiting = select.poll()
        waiting.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not waiting.poll(0)

    def end(self, lost: Lost | None = None) -> None:
        if lost is not None:
            self._settle(lost)
        if self._expiry is not None:
            self._expiry.cancel()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._reader is None or self.answer is None or self.answer.done():
            self.end()
            return
        try:
            response = self._reader.feed(data)
        except Refused as refused:
            self.end(Lost(refused.sub, refused.reason))
            return
        if self._pieces:
            self._piece(len(data))
        if response is not None:
            self._settle(response)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._expiry is not None:
            self._expiry.cancel()
        ended = ResponseReader(body_bytes_max=0).end() if self._reader is None else self._reader.end()
        self._settle(Lost(ended.sub, ended.reason))
        if not self.gone.done():
            self.gone.set_result(None)

    def _piece(self, size: int) -> None:
        if self._lingers and self.take():
            self.end(Lost("closed", Reason.ERR_CONNECTOR_FAILED))
            return
        before, self._unread = self._unread, self._unread + size
        if before <= UNREAD_BYTES_MAX < self._unread and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
        self.moved.set()

    def _settle(self, found: Response | Lost) -> None:
        self.moved.set()
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(found)


class Streamed:
    """One request on a connection that is its own until `release`, and its answer as it comes."""

    def __init__(self, connection: Connection, authority: str, free: Callable[[Connection], None]) -> None:
        self._connection = connection
        self._authority = authority
        self._free: Callable[[Connection], None] | None = free
        self._answer: asyncio.Future[Response | Lost] | None = None

    def send(self, request: bytes, *, body_bytes_max: int) -> None:
        """Raises `NotSent`, and then no byte has left."""
        self._answer = self._connection.ask(request, body_bytes_max, pieces=True)
        if self._answer is None:
            raise NotSent("connect", f"`{self._authority}`: the connection ended before it was used")

    async def head(self) -> ResponseHead | Lost:
        while self._connection.head is None and not self._ended:
            await self._move()
        head = self._connection.head
        return head if head is not None else self._lost()

    async def read(self) -> bytes | Lost:
        """What came of the body since the last time; `b""` is the end of a whole answer."""
        while True:
            piece = self._connection.take()
            if piece:
                return piece
            if self._ended:
                found = self._lost()
                return b"" if found.sub == "" else found
            await self._move()

    def release(self) -> None:
        """Once: the connection goes back, at the end of its answer if that comes soon, or ends."""
        free, self._free = self._free, None
        if free is None:
            return
        if self._answer is not None and not self._answer.done() and self._connection.head is not None:
            self._connection.linger()
            self._answer.add_done_callback(lambda _: free(self._connection))
        else:
            free(self._connection)

    def abort(self) -> None:
        """The service sees that nobody waits any more."""
        self._connection.end(Lost("closed", Reason.ERR_CONNECTOR_FAILED))
        self.release()

    @property
    def _ended(self) -> bool:
        return self._answer is None or self._answer.done()

    def _lost(self) -> Lost:
        """Why there is no more; with no word where the answer is whole."""
        found = None if self._answer is None else self._answer.result()
        return found if isinstance(found, Lost) else Lost("", Reason.OK)

    async def _move(self) -> None:
        self._connection.moved.clear()
        await self._connection.moved.wait()
