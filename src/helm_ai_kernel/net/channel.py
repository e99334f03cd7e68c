"""The lower half of a connection: its transport, its state, its deadline, and what the books know of it.

States and what ends them: WAITING for a head (idle, or a part of it is there), BODY, ANSWERING (a task of the kernel's, which
outlives the connection), STREAMING (of the connection's: ends with it), FLUSHING (the client has to take what was written),
LEAVING (the last answer is written; what still comes is thrown away, or the answer would be lost with it).
"""

import asyncio
import math
from dataclasses import replace
from enum import StrEnum

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


# No whole request is there, or its answer is, and waits for whoever asked: others may have the place.
GIVES_WAY = frozenset({State.WAITING, State.BODY, State.FLUSHING, State.LEAVING})


class Channel(asyncio.Protocol):
    def __init__(self, books: Books, peer: Peer, key: str) -> None:
        """`key`: the address or the user that this connection is counted for."""
        self.peer, self.key = replace(peer, here=lambda: self._here), key
        self.deadline = books.now() + books.bounds.head_s
        self.opening: asyncio.Task[None] | None = None  # until the transport is there, through TLS where there is any
        self.state = State.WAITING
        self.ended = False  # the client has sent its last byte
        self.books = books
        self.drained = asyncio.Event()  # the client takes what is written
        self.drained.set()
        self._transport: asyncio.Transport | None = None
        self._held, self._dropped = 0, 0

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's
        certificate = certificate_digest(transport.get_extra_info("ssl_object"))
        if certificate is not None:
            self.peer = replace(self.peer, certificate=certificate)
        self.due(self.books.bounds.head_s)

    def eof_received(self) -> bool:
        """Whether the connection stays open: for answers to what was sent before. TLS has no half of a connection."""
        self.ended = True
        return self.state in (State.ANSWERING, State.FLUSHING) and self.transport.get_extra_info("ssl_object") is None

    def pause_writing(self) -> None:
        self.drained.clear()

    def resume_writing(self) -> None:
        self.drained.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self.hold(0)
        self.books.gone(self)

    # -- for the upper half, and for the books

    @property
    def transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise RuntimeError("no transport yet")
        return self._transport

    @property
    def lost(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    @property
    def _here(self) -> bool:
        """Whether somebody surely waits. What is sent ahead hides the end of a connection, so that its sender counts as gone."""
        return not self.ended and self.transport.is_reading()

    def enter(self, state: State) -> None:
        self.books.waits(self, waiting=state in GIVES_WAY)
        self.state, self.deadline = state, math.inf

    def due(self, within_s: float) -> None:
        self.deadline = self.books.now() + within_s

    def hold(self, size: int) -> None:
        self.books.held += size - self._held
        self._held = size

    @property
    def held(self) -> int:
        return self._held

    def drop(self, data: bytes) -> None:
        """What comes behind the last answer."""
        self._dropped += len(data)
        if self._dropped > self.books.bounds.linger_bytes:
            self.abort()

    def leave(self) -> None:
        """The last answer is written. A socket that is closed while something is unread takes the answer with it."""
        self.enter(State.LEAVING)
        self.due(self.books.bounds.linger_s)
        self.hold(0)
        if self.ended or self.books.closing or not self.transport.can_write_eof():
            self.transport.close()
            return
        try:
            self.transport.write_eof()
        except OSError:  # the client went away without a word
            self.abort()
        else:
            self.transport.resume_reading()

    def overdue(self) -> None:
        if self.state is State.WAITING and not self.lost:
            self.transport.close()
            self.due(self.books.bounds.write_s)  # then whatever it has not taken is not waited for
        else:
            self.abort()

    def end(self) -> None:
        """The listener closes: what is being answered is, the rest ends now; what is written has `linger_s` to arrive."""
        if self._transport is None or self.state is State.FLUSHING:
            self.abort()
        elif self.state in GIVES_WAY:
            self._transport.close()
            self.due(self.books.bounds.linger_s)
        elif self.state is State.STREAMING and not self.drained.is_set():
            self.due(self.books.bounds.linger_s)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        elif self.opening is not None:
            self.opening.cancel()
