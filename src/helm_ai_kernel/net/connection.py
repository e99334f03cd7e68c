"""One connection: requests one after the other, each judged by its head, read whole, answered, and only then the next one.

States and what ends them: WAITING for a head (idle, or a part of it is there), BODY, ANSWERING (a task of the kernel's, which
outlives the connection), STREAMING (of the connection's: ends with it), FLUSHING (the client has to take what was written),
LEAVING (the last answer is written; what still comes is thrown away, or the answer would be lost with it).
"""

import asyncio
import math
from collections.abc import AsyncIterator
from enum import StrEnum

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.wire.admission import Admission
from helm_ai_kernel.wire.head import Head, Wrong, too_much
from helm_ai_kernel.wire.http1 import Reader
from helm_ai_kernel.wire.reply import CONTINUE, LAST_CHUNK, Reply, chunk, head_bytes

from .books import Books
from .door import Peer
from .tls import certificate_digest


class State(StrEnum):
    WAITING = "waiting"
    BODY = "body"
    ANSWERING = "answering"
    STREAMING = "streaming"
    FLUSHING = "flushing"
    LEAVING = "leaving"


class Connection(asyncio.Protocol):
    def __init__(self, books: Books, admission: Admission, peer: Peer, key: str) -> None:
        """`key`: the address or the user that this connection is counted for."""
        self.peer, self.key = peer, key
        self.deadline = books.now() + books.bounds.head_s
        self.opening: asyncio.Task[None] | None = None  # until the transport is there, through TLS where there is any
        self._books, self._admission = books, admission
        self._reader = Reader(books.bounds.sizes)
        self._state = State.WAITING
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._head: Head | None = None
        self._early: Reply | None = None  # what `admit` said
        self._body: list[bytes] = []
        self._began = 0.0  # when the body did
        self._received, self._held, self._dropped = 0, 0, 0
        self._fresh = True  # not one byte of the next request is there
        self._ended = False  # the client has sent its last byte
        self._drained = asyncio.Event()
        self._drained.set()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's
        certificate = certificate_digest(transport.get_extra_info("ssl_object"))
        if certificate is not None:
            self.peer = Peer(self.peer.address, self.peer.uid, certificate)
        self.deadline = self._books.now() + self._books.bounds.head_s

    def data_received(self, data: bytes) -> None:
        if self._state is State.LEAVING:
            self._dropped += len(data)
            if self._dropped > self._books.bounds.linger_bytes:
                self.abort()
            return
        self._reader.receive(data)
        if self._state in (State.WAITING, State.BODY):
            self._received += len(data)
            self._read()
        else:  # the next request, before this one is answered: it can wait, and more of it stays in the system's buffers
            self._made().pause_reading()
            self._hold(self._held + len(data))

    def eof_received(self) -> bool:
        """Whether the connection stays open: for an answer that is being made. TLS has no half of a connection."""
        self._ended = True
        return self._state is State.ANSWERING and self._made().get_extra_info("ssl_object") is None

    def pause_writing(self) -> None:
        self._drained.clear()

    def resume_writing(self) -> None:
        self._drained.set()
        if self._state is State.FLUSHING:
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        if self._state is State.STREAMING and self._task is not None:
            self._task.cancel()
        self._hold(0)
        self._books.gone(self)

    # -- reading

    def _read(self) -> None:
        """Take what is there, up to a request that has to be answered."""
        try:
            while (event := self._reader.next()) is not None:
                if isinstance(event, bytes):
                    self._body.append(event)
                elif isinstance(event, Head):
                    if not self._admitted(event):
                        return
                elif self._early is None:
                    return self._answer()
                elif not self._written(self._early):
                    return
            self._bound()
        except Wrong as wrong:
            self._refuse(wrong)

    def _admitted(self, head: Head) -> bool:
        """Whether to read on: who asks is judged before one byte of the body is read."""
        self._admission.check(head)
        self._head, self._early = head, self._books.door.admit(head, self.peer)
        if self._early is not None and not isinstance(self._early.body, bytes):
            raise TypeError("a door admits with a whole reply")
        if not head.has_body:
            return True
        if self._early is not None:
            self._last(self._early)
            return False
        self._enter(State.BODY)
        self._began, self._received = self._books.now(), self._reader.held
        if "expect" in head.fields and not self._reader.held:
            self._made().write(CONTINUE)
        return True

    def _bound(self) -> None:
        """More must come: by when, and is there room?"""
        bounds, now = self._books.bounds, self._books.now()
        if self._state is State.BODY:
            allowed = bounds.head_s + self._received / bounds.body_rate
            self.deadline = self._began + min(bounds.body_s, allowed)
        elif self._fresh and self._reader.held:
            self._fresh, self.deadline = False, now + bounds.head_s
        self._hold(self._reader.held + (self._received if self._state is State.BODY else 0))
        if self._books.held > bounds.held_bytes:
            raise too_much("there is no room for more requests at once", 503)

    def _answer(self) -> None:
        head, body = self._head, b"".join(self._body)
        if head is None:
            raise RuntimeError("a request ends that did not begin")
        self._body.clear()
        self._enter(State.ANSWERING)
        self._hold(len(body) + self._reader.held)
        self._task = self._books.start(self._work(head, body))

    # -- answering

    async def _work(self, head: Head, body: bytes) -> None:
        try:
            reply = await self._books.door.answer(head, body, self.peer)
            if isinstance(reply.body, bytes):
                if self._state is State.ANSWERING and self._written(reply):
                    self._read()
            else:
                await self._stream(reply, reply.body)
        except Exception as error:  # our bug, and the door stays shut: nobody is told that nothing happened
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "a door failed while it answered", "exception": error})
        if self._state is State.ANSWERING:
            self._last(self._books.error(Wrong(Reason.ERR_OUTCOME_UNKNOWN, "the kernel failed while it answered")))
        else:
            self.abort()

    def _written(self, reply: Reply) -> bool:
        """Write a whole answer; whether the next request may be read now."""
        if self._lost:
            return False
        last = self._ended or not self._reader.keeps_open or self._books.closing
        data = head_bytes(reply, keeps_open=not last, chunked=False)
        if isinstance(reply.body, bytes) and not self._is_head:
            data += reply.body
        self._made().write(data)
        return self._over(last)

    def _over(self, last: bool) -> bool:
        """The answer is written; whether the next request may be read now."""
        if last:
            self._leave()
            return False
        if not self._drained.is_set():
            self._enter(State.FLUSHING)
            self.deadline = self._books.now() + self._books.bounds.write_s
            return False
        self._reader.again()
        self._head = self._early = self._task = None
        self._fresh = True
        self._enter(State.WAITING)
        self.deadline = self._books.now() + self._books.bounds.idle_s
        self._hold(self._reader.held)
        self._made().resume_reading()
        return True

    def _go_on(self) -> None:
        if self._over(self._books.closing):
            self._read()

    async def _stream(self, reply: Reply, body: AsyncIterator[bytes]) -> None:
        """In chunks, as fast as the client takes them. What makes them is closed in any case."""
        try:
            if self._lost or self._ended:
                return self._made().close()
            self._enter(State.STREAMING)
            last = not self._reader.keeps_open or self._books.closing
            self._made().write(head_bytes(reply, keeps_open=not last, chunked=True))
            if not self._is_head:
                async for piece in body:
                    self._made().write(chunk(piece))
                    if not self._drained.is_set():
                        self.deadline = self._books.now() + self._books.bounds.write_s
                        await self._drained.wait()
                        self.deadline = math.inf
                self._made().write(LAST_CHUNK)
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
        self._enter(State.ANSWERING)
        if self._over(last or self._ended):
            self._read()

    # -- ending

    def overdue(self) -> None:
        """Its time is over."""
        if self._state is State.BODY or (self._state is State.WAITING and not self._fresh):
            self._refuse(too_much("the request did not come in time", 408))
        elif self._state is State.WAITING and not self._lost:
            self._made().close()
            self.deadline += self._books.bounds.write_s  # then whatever it has not taken is not waited for
        else:
            self.abort()

    def end(self) -> None:
        """The listener closes: what is being answered is, the rest ends now."""
        if self._transport is None:
            self.abort()
        elif self._state in (State.WAITING, State.BODY, State.LEAVING):
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        elif self.opening is not None:
            self.opening.cancel()

    def _refuse(self, wrong: Wrong) -> None:
        self._books.door.refused(wrong.reason, self.peer)
        self._last(self._books.error(wrong))

    def _last(self, reply: Reply) -> None:
        """Answer, and read no further."""
        if not self._lost:
            body = reply.body if isinstance(reply.body, bytes) and not self._is_head else b""
            self._made().write(head_bytes(reply, keeps_open=False, chunked=False) + body)
            self._leave()

    def _leave(self) -> None:
        self._enter(State.LEAVING)
        self._hold(0)
        self.deadline = self._books.now() + self._books.bounds.linger_s
        transport = self._made()
        if self._ended or self._books.closing or not transport.can_write_eof():
            transport.close()
            return
        try:
            transport.write_eof()
        except OSError:  # the client went away without a word
            transport.abort()
        else:
            transport.resume_reading()

    # -- helpers

    @property
    def _lost(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    @property
    def _is_head(self) -> bool:
        return self._head is not None and self._head.method == "HEAD"

    def _enter(self, state: State) -> None:
        if (state is State.WAITING) is not (self._state is State.WAITING):
            self._books.waits(self, waiting=state is State.WAITING)
        self._state = state
        if state in (State.ANSWERING, State.STREAMING):
            self.deadline = math.inf

    def _hold(self, size: int) -> None:
        self._books.held += size - self._held
        self._held = size

    def _made(self) -> asyncio.Transport:
        if self._transport is None:
            raise RuntimeError("no transport yet")
        return self._transport
