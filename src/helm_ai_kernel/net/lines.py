"""A unix socket on which each connection is two streams of lines: for clients on this machine that speak over their own pipes.

Who comes is what the system says of the other end: the kernel's own user, or root. A line has a bound, and so has what a client
does not take; beyond either the connection ends.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from .unix import UnixSocket, peer_uid

LINE_BYTES_MAX = 2 << 20  # a message has at most 1 MiB; the environment of a process is bounded by the system to about so much
UNTAKEN_BYTES_MAX = 32 << 20  # of what a client does not read: two outputs of the largest kind
CONNECTIONS_MAX = 256


class Ends(Protocol):
    """Who handles the lines of one connection. Called in the loop, and must not wait."""

    def line(self, line: bytes) -> None: ...

    def closed(self) -> None: ...


class Line(asyncio.Protocol):
    """One connection."""

    def __init__(self, listener: "Lines") -> None:
        self._listener = listener
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._ends: Ends | None = None

    def send(self, line: bytes) -> None:
        """One line, without its end; nothing where the client is gone, and its end where it takes nothing."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(line + b"\n")
        if transport.get_write_buffer_size() > UNTAKEN_BYTES_MAX:
            transport.abort()

    def end(self) -> None:
        """What was written still leaves."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("not a stream")
        self._transport = transport
        sock = transport.get_extra_info("socket")
        if peer_uid(sock) not in (0, os.geteuid()) or not self._listener.enter(self):
            transport.abort()
            return
        self._ends = self._listener.made(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (cut := self._buffer.find(b"\n")) >= 0 and self._ends is not None:
            line = bytes(self._buffer[:cut])
            del self._buffer[: cut + 1]
            if line.strip():
                self._ends.line(line)
        if len(self._buffer) > LINE_BYTES_MAX and self._transport is not None:
            self._transport.abort()

    def eof_received(self) -> bool:
        """The client sends no more. What it asked for already still comes."""
        ends, self._ends = self._ends, None
        if ends is not None:
            ends.closed()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.gone(self)
        self.eof_received()


class Lines:
    """`made` gives the other end of each new connection."""

    def __init__(self, made: Callable[[Line], Ends]) -> None:
        self.made = made
        self._members: set[Line] = set()
        self._socket: UnixSocket | None = None
        self._server: asyncio.AbstractServer | None = None

    async def start(self, path: Path) -> None:
        """Raises `OutsideError`."""
        self._socket = UnixSocket.open(path)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: Line(self), sock=self._socket.sock)

    @property
    def open(self) -> int:
        return len(self._members)

    def enter(self, line: Line) -> bool:
        if len(self._members) >= CONNECTIONS_MAX:
            return False
        self._members.add(line)
        return True

    def gone(self, line: Line) -> None:
        self._members.discard(line)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for member in tuple(self._members):
            member.end()
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
