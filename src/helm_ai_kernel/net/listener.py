"""The front of every network door: sockets that are opened only where they may be, and one strict way to speak through them.

What a request looks like is said in `wire/`, what a connection may do in `connection.py`, how many there are in `books.py`.
"""

import asyncio
import select
import socket
import ssl
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.wire.admission import JSON_TYPES, Admission, names, origins
from helm_ai_kernel.wire.head import Head, Wrong
from helm_ai_kernel.wire.reply import Reply

from . import bind
from .books import Books
from .connection import Connection
from .door import Bounds, Door, Peer, shaped
from .unix import UnixSocket, peer_uid

__all__ = ["Bounds", "Door", "Head", "Listener", "Peer", "Reply", "shaped"]

ACCEPTED_AT_ONCE = 32  # then whoever is connected already has a turn
NO_FILES_S = 0.1  # after which a socket is asked again whose connections found no free file


@dataclass(frozen=True, slots=True)
class _Endpoint:
    sock: socket.socket
    books: Books
    admission: Admission
    tls: ssl.SSLContext | None
    unix: UnixSocket | None = None

    def close(self) -> None:
        self.sock.close() if self.unix is None else self.unix.close()


class Listener:
    """Any number of sockets in front of one door. All of it runs in the loop in which it was started."""

    def __init__(
        self,
        door: Door,
        bounds: Bounds,
        *,
        hosts: Collection[str] = (),
        tls: ssl.SSLContext | None = None,
        authenticates: bool = False,
        types: frozenset[str] = JSON_TYPES,
        error: Callable[[Wrong], Reply] = shaped,
    ) -> None:
        """`hosts`: what `Host` may be besides the address that is listened at. `tls`: of the TCP sockets.

        `authenticates`: the door asks everybody for a credential; without that, and without TLS, it stays on this machine.
        `types`: of bodies, or none where the door judges them. `error`: what a refusal of the listener's own looks like.
        """
        self._books = Books(door, bounds, error)  # of TCP
        self._unix_books = Books(door, bounds, error)  # its own: nobody on the network takes the place of this machine's operator
        self._hosts, self._types = frozenset(hosts), types
        self._tls, self._authenticates = tls, authenticates
        self._endpoints: list[_Endpoint] = []

    async def start_tcp(self, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the address as it is written in a URL, and the port, which the system chooses for 0.

        Raises `OutsideError`.
        """
        address = bind.checked(host, tls=self._tls is not None, authenticates=self._authenticates)
        sock = bind.listening(address, port)
        port = sock.getsockname()[1]
        hosts = names(bind.written(address), port, self._hosts, tls=self._tls is not None)
        admission = Admission(hosts, origins(hosts, tls=self._tls is not None), self._types)
        self._begin(_Endpoint(sock, self._books, admission, self._tls))
        return bind.written(address), port

    async def start_unix(self, path: Path, *, others: bool = False) -> None:
        """Listen at a socket of mode 0600 in a folder of mode 0700, which is made if it is not there. Raises `OutsideError`.

        `others`: other users may connect, and are told apart by their user: 0666, in a folder that none of them can write to.
        """
        opened = UnixSocket.open(path, others=others)
        admission = Admission(frozenset({"localhost"}) | self._hosts, types=self._types)
        self._begin(_Endpoint(opened.sock, self._unix_books, admission, None, opened))

    async def close(self, *, within_s: float) -> None:
        """Accept nobody more, let answers finish, then end the connections.

        An answer that takes longer loses its connection and goes on: whoever ends the loop ends it.
        """
        every, loop = (self._books, self._unix_books), asyncio.get_running_loop()
        for books in every:
            books.closing = True
        for endpoint in self._endpoints:
            loop.remove_reader(endpoint.sock)
            endpoint.close()
        self._endpoints.clear()
        for member in [member for books in every for member in books.members]:
            member.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                for books in every:
                    await books.empty.wait()
        for member in [member for books in every for member in books.members]:
            member.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(1):  # to close what was aborted takes a turn of the loop
                for books in every:
                    await books.empty.wait()

    # -- accepting

    def _begin(self, endpoint: _Endpoint) -> None:
        self._endpoints.append(endpoint)
        asyncio.get_running_loop().add_reader(endpoint.sock, self._accept, endpoint)

    def _accept(self, endpoint: _Endpoint) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                sock, address = endpoint.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no free file, or no memory
                # Said before it is looked whether somebody is there. Files are everybody's: the network gives way first.
                if _knocks(endpoint.sock) and not (self._books.make_room() or endpoint.books.make_room()):
                    self._pause(endpoint)
                return
            self._take(endpoint, sock, address)

    def _pause(self, endpoint: _Endpoint) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(endpoint.sock)
        loop.call_later(NO_FILES_S, lambda: self._resume(endpoint))

    def _resume(self, endpoint: _Endpoint) -> None:
        if endpoint in self._endpoints:
            asyncio.get_running_loop().add_reader(endpoint.sock, self._accept, endpoint)

    def _take(self, endpoint: _Endpoint, sock: socket.socket, address: tuple[str, int]) -> None:
        """Give it a place, or close it without an answer."""
        sock.setblocking(False)
        if endpoint.unix is not None:
            uid = peer_uid(sock)
            peer, key = Peer("", uid), f"uid {uid}"
        else:
            peer, key = Peer(f"{bind.written(address[0])}:{address[1]}"), address[0]
        connection = Connection(endpoint.books, endpoint.admission, peer, key)
        if not endpoint.books.enter(connection):
            endpoint.books.door.refused(Reason.ERR_REQUEST_BOUNDS, peer)
            sock.close()
            return
        connection.opening = endpoint.books.start(self._open(endpoint, sock, connection))
        connection.opening.add_done_callback(lambda task: self._never(task, sock, connection))

    def _never(self, task: "asyncio.Task[None]", sock: socket.socket, connection: Connection) -> None:
        """Of whoever came as the listener closed, or gave up its place at once: what has not begun clears up nothing."""
        if task.cancelled():
            connection.books.gone(connection)
            sock.close()

    async def _open(self, endpoint: _Endpoint, sock: socket.socket, connection: Connection) -> None:
        """With TLS where there is any: until then nothing is read."""
        loop, handshake_s = asyncio.get_running_loop(), endpoint.books.bounds.head_s
        try:
            if endpoint.tls is None:
                await loop.connect_accepted_socket(lambda: connection, sock)
            else:
                await loop.connect_accepted_socket(
                    lambda: connection,
                    sock,
                    ssl=endpoint.tls,
                    ssl_handshake_timeout=handshake_s,
                    ssl_shutdown_timeout=handshake_s,
                )
        except (OSError, asyncio.CancelledError) as error:  # who came went away, was too slow, or showed no certificate
            endpoint.books.gone(connection)
            sock.close()
            if isinstance(error, ssl.SSLError):
                endpoint.books.door.refused(Reason.ERR_UNAUTHENTICATED, connection.peer)
        finally:
            connection.opening = None


def _knocks(sock: socket.socket) -> bool:
    """Whether somebody waits to be accepted."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
