"""One connection: requests one after the other, each judged by its head, read whole, answered, and only then the next one."""

import asyncio
import math
from collections.abc import AsyncIterator

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.wire.admission import Admission
from helm_ai_kernel.wire.head import Head, Wrong, too_much
from helm_ai_kernel.wire.http1 import Reader
from helm_ai_kernel.wire.reply import CONTINUE, LAST_CHUNK, Reply, chunk, head_bytes

from .books import Books
from .channel import Channel, State
from .door import Peer


class Connection(Channel):
    def __init__(self, books: Books, admission: Admission, peer: Peer, key: str) -> None:
        super().__init__(books, peer, key)
        self._admission = admission
        self._reader = Reader(books.bounds.sizes)
        self._task: asyncio.Task[None] | None = None
        self._head: Head | None = None
        self._early: Reply | None = None  # what `admit` said
        self._body: list[bytes] = []
        self._began, self._received = 0.0, 0  # when the body did, and what came since then
        self._fresh = True  # not one byte of the next request is there

    # -- asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        if self.state is State.LEAVING:
            return self.drop(data)
        self._reader.receive(data)
        if self.state in (State.WAITING, State.BODY):
            self._received += len(data)
            self._read()
        else:  # the next request, before this one is answered: it can wait, and more of it stays in the system's buffers
            self.transport.pause_reading()
            self.hold(self.held + len(data))

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.state is State.FLUSHING and self._over(self.books.closing):
            self._read()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.state is State.STREAMING and self._task is not None:
            self._task.cancel()
        super().connection_lost(exc)

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
                elif self._reader.held:
                    return self._wait_turn()
            self._bound()
        except Wrong as wrong:
            self._refuse(wrong)

    def _wait_turn(self) -> None:
        """Others have theirs between two refusals on one connection: whoever sends ahead does not stop the loop."""
        if self.books.held > self.books.bounds.held_bytes:
            raise _no_room()
        if not self.ended:  # behind the end there is nothing to be read, and to go on reading would be told of it again
            self.transport.pause_reading()
        asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        if not self.lost and self.state is State.WAITING:
            if not self.ended:
                self.transport.resume_reading()
            self._read()

    def _admitted(self, head: Head) -> bool:
        """Whether to read on: who asks is judged before one byte of the body is read."""
        self._head = head
        self._admission.check(head)
        self._early = self.books.door.admit(head, self.peer)
        if self._early is not None and not isinstance(self._early.body, bytes):
            raise TypeError("a door admits with a whole reply")
        if not head.has_body:
            return True
        if self._early is not None:
            self._last(self._early)
            return False
        self.enter(State.BODY)
        self._began, self._received = self.books.now(), self._reader.held
        if "expect" in head.fields and not self._reader.held:
            self.transport.write(CONTINUE)
        return True

    def _bound(self) -> None:
        """More must come: by when, and is there room?"""
        bounds = self.books.bounds
        if self.ended:  # nothing more comes, and all that was whole is answered
            return self.leave()
        if self.state is State.BODY:
            self.deadline = self._began + min(bounds.body_s, bounds.head_s + self._received / bounds.body_rate)
        elif self._fresh and self._reader.held:
            self._fresh = False
            self.due(bounds.head_s)
        self.hold(self._reader.held + (self._received if self.state is State.BODY else 0))
        if self.books.held > bounds.held_bytes:
            raise _no_room()

    def _answer(self) -> None:
        head, body = self._head, b"".join(self._body)
        if head is None:
            raise RuntimeError("a request ends that did not begin")
        self._body.clear()
        self.enter(State.ANSWERING)
        self.hold(len(body) + self._reader.held)
        self._task = self.books.start(self._work(head, body))

    # -- answering

    async def _work(self, head: Head, body: bytes) -> None:
        try:
            reply = await self.books.door.answer(head, body, self.peer)
            if not isinstance(reply.body, bytes):
                await self._stream(reply, reply.body)
            elif self._written(reply):
                self._read()
        except asyncio.CancelledError:  # of a stream whose reader went, or of the whole loop: there is nothing more to say
            self.abort()
            raise
        except Exception as error:  # our bug, and the door stays shut: nobody is told that nothing happened
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "a door failed while it answered", "exception": error})
        if self.state is State.ANSWERING:
            self._last(self.books.error(Wrong(Reason.ERR_OUTCOME_UNKNOWN, "the kernel failed while it answered")))
        else:
            self.abort()

    def _written(self, reply: Reply) -> bool:
        """Write a whole answer; whether the next request may be read now."""
        if self.lost:
            return False
        last = not self._reader.keeps_open or self.books.closing
        self.transport.write(self._whole(reply, keeps_open=not last))
        return self._over(last)

    def _whole(self, reply: Reply, *, keeps_open: bool) -> bytes:
        head = head_bytes(reply, keeps_open=keeps_open, chunked=False)
        return head + reply.body if isinstance(reply.body, bytes) and not self._is_head else head

    def _over(self, last: bool) -> bool:
        """The answer is written; whether the next request may be read now."""
        bounds = self.books.bounds
        if last:
            self.leave()
            return False
        if not self.drained.is_set():
            self.enter(State.FLUSHING)
            self.due(bounds.write_s)
            return False
        self._reader.again()
        self._head = self._early = self._task = None
        self._fresh = True
        self.enter(State.WAITING)
        self.due(bounds.idle_s)
        self.hold(self._reader.held)
        self.transport.resume_reading()
        return True

    async def _stream(self, reply: Reply, body: AsyncIterator[bytes]) -> None:
        """In chunks, as fast as the client takes them. What makes them is closed in any case."""
        bounds = self.books.bounds
        last = not self._reader.keeps_open or self.books.closing
        try:
            if self.lost or self.ended:  # nothing would tell when its reader goes
                return self.transport.close()
            self.enter(State.STREAMING)
            self.transport.write(head_bytes(reply, keeps_open=not last, chunked=True))
            if not self._is_head:
                async for piece in body:
                    self.transport.write(chunk(piece))
                    if not self.drained.is_set():
                        self.due(bounds.linger_s if self.books.closing else bounds.write_s)
                        await self.drained.wait()
                        self.deadline = math.inf
                self.transport.write(LAST_CHUNK)
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
        self.enter(State.ANSWERING)
        if self._over(last):
            self._read()

    # -- ending

    def overdue(self) -> None:
        """Its time is over."""
        if self.state is State.BODY or (self.state is State.WAITING and not self._fresh):
            self._refuse(too_much("the request did not come in time", 408))
        else:
            super().overdue()

    def _refuse(self, wrong: Wrong) -> None:
        self.books.door.refused(wrong.reason, self.peer)
        self._last(self.books.error(wrong))

    def _last(self, reply: Reply) -> None:
        """Answer, and read no further."""
        if not self.lost:
            self.transport.write(self._whole(reply, keeps_open=False))
            self.leave()

    @property
    def _is_head(self) -> bool:
        return self._head is not None and self._head.method == "HEAD"


def _no_room() -> Wrong:
    return too_much("there is no room for more requests at once", 503)
