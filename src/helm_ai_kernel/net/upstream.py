"""HTTP/1.1 to one pinned service: connections to vetted addresses only, one request at a time on each, nothing sent twice.

A request either never left, which raises, or it left, and then there is an answer or the word why there is none. Between the two
is the moment at which its first byte is handed to the system; behind it nothing is sent again unless the caller says so. Proxies
of the environment, redirects and cookies do not exist here.
"""

import asyncio
import os
import socket
import ssl

from helm_ai_kernel.pep.service import Service
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import EvidenceError, Refused
from helm_ai_kernel.wire.response import Response
from helm_ai_kernel.wire.spki import public_key

from .exchange import Connection, Lost, Streamed
from .resolver import NotSent, Resolver, check_peer

CONNECT_S = 10.0  # name, address and TLS together, or the deadline of the call if that is earlier
DIAL_S = 3.0  # of that, for each address
IDLE_S = 1.5  # shorter than what common servers keep a connection (gunicorn 2 s, others 5 s): theirs is never used while it ends
CONNECTIONS_MAX = 32  # at once, to one service; one more call waits
CLOSE_S = 2.0  # for connections to go, at the end

_AGAIN = frozenset({"no_answer", "early_end"})  # the connection ended; every other end is the service's own word


class Upstream:
    """Everything in one loop. `service` is pinned: nothing here finds out where to go, nor whose key has to be there."""

    def __init__(self, service: Service, resolver: Resolver | None = None, *, idle_s: float = IDLE_S) -> None:
        self._service = service
        self._resolver = resolver or Resolver()
        self._idle_s = idle_s
        self._tls: ssl.SSLContext | None = None
        self._room = asyncio.Semaphore(CONNECTIONS_MAX)
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._closed = False

    async def ask(self, request: bytes, *, body_bytes_max: int, until: float, again: bool) -> Response | Lost:
        """`until` is a time of the loop. `again`: a request whose connection ended without an answer is sent once more.

        Raises `Refused` or `NotSent` exactly where no byte of it was handed to the system.
        """
        await self._enter(until)
        try:
            found = await self._once(await self._borrow(until), request, body_bytes_max, until)
            if not again or isinstance(found, Response) or found.sub not in _AGAIN:
                return found
            try:
                return await self._once(await self._connect(until), request, body_bytes_max, until)
            except (Refused, NotSent):
                return found  # the first one left, whatever becomes of the second
        finally:
            self._room.release()

    async def open(self, until: float) -> Streamed:
        """A connection for one request whose answer is read as it comes; raises `Refused` or `NotSent`."""
        await self._enter(until)
        try:
            return Streamed(await self._borrow(until), self._service.authority, self._leave)
        except BaseException:
            self._room.release()
            raise

    async def close(self) -> None:
        """End every connection; what was in flight is lost."""
        self._closed = True
        for connection in tuple(self._all):
            connection.end(Lost("closed", Reason.ERR_CONNECTOR_FAILED))
        if self._all:
            await asyncio.wait({connection.gone for connection in self._all}, timeout=CLOSE_S)

    async def _once(self, connection: Connection, request: bytes, body_bytes_max: int, until: float) -> Response | Lost:
        answer = connection.ask(request, body_bytes_max)
        if answer is None:
            raise self._not_sent("connect", "the connection ended before it was used")
        try:
            await asyncio.wait({answer}, timeout=max(0.0, until - asyncio.get_running_loop().time()))
        finally:  # also when the caller is cancelled
            if not answer.done():
                connection.end(Lost("timeout", Reason.ERR_CONNECTOR_FAILED))
        self._keep(connection)
        return answer.result()

    async def _enter(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._room.acquire()
        except TimeoutError:
            raise self._not_sent("busy", "all connections were in use until the deadline") from None

    def _leave(self, connection: Connection) -> None:
        self._room.release()
        self._keep(connection)

    def _keep(self, connection: Connection) -> None:
        """For another request, where its answer was whole and says so; else it ends."""
        answer = connection.answer
        found = answer.result() if answer is not None and answer.done() else None
        if isinstance(found, Response) and found.reusable and connection.idle and not self._closed:
            connection.expire_in(self._idle_s)
            self._idle.append(connection)
        else:
            connection.end()

    async def _borrow(self, until: float) -> Connection:
        """The connection that was used last, if nothing came on it since; else a new one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.wake():
                return connection
            connection.end()
        return await self._connect(until)

    async def _connect(self, until: float) -> Connection:
        service, loop = self._service, asyncio.get_running_loop()
        if self._closed:
            raise self._not_sent("closed", "the connector is closed")
        try:
            async with asyncio.timeout_at(min(until, loop.time() + CONNECT_S)):
                tls = self._context() if service.scheme == "https" else None
                sock = await self._dial(await self._resolver.resolve(service.host, service.port, service.addresses))
                name = service.host if tls else None
                transport, connection = await loop.create_connection(Connection, sock=sock, ssl=tls, server_hostname=name)
        except TimeoutError:
            raise self._not_sent("connect", "there was no connection in time") from None
        except OSError as error:  # ssl.SSLError is one
            raise self._not_sent("tls" if isinstance(error, ssl.SSLError) else "connect", _why(error)) from None
        connection.gone.add_done_callback(lambda _: self._all.discard(connection))
        self._all.add(connection)
        self._check_key(connection, transport.get_extra_info("ssl_object"))
        if self._closed:  # meanwhile
            connection.end()
        return connection

    async def _dial(self, addresses: tuple[str, ...]) -> socket.socket:
        """A connection to the first address that answers."""
        loop, service = asyncio.get_running_loop(), self._service
        last: OSError = OSError("there is no address")
        for address in addresses:
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                async with asyncio.timeout(DIAL_S):
                    await loop.sock_connect(sock, (address, service.port))
                check_peer(service.host, sock, address, service.addresses)
                return sock
            except (TimeoutError, OSError) as error:
                sock.close()
                last = error
            except BaseException:
                sock.close()
                raise
        raise last

    def _check_key(self, connection: Connection, tls: ssl.SSLObject | None) -> None:
        """Raises `NotSent` unless the service, whose certificate holds, has the key that was pinned."""
        if self._service.tls_key is None:
            return
        shown = tls.getpeercert(binary_form=True) if tls is not None else None
        try:
            key = digest(public_key(shown)) if shown else None
        except EvidenceError:
            key = None
        if key != self._service.tls_key:
            connection.end()
            raise self._not_sent("tls_key", "its key is not the one that was pinned")

    def _not_sent(self, sub: str, cause: str) -> NotSent:
        return NotSent(sub, f"`{self._service.authority}`: {cause}")

    def _context(self) -> ssl.SSLContext:
        """Names and chains are verified; without the variable by which Python would write session keys to a file."""
        if self._tls is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.set_alpn_protocols(["http/1.1"])
            if self._service.ca is None:
                context.load_default_certs()
            else:
                context.load_verify_locations(self._service.ca)
            self._tls = context
        return self._tls


def _why(error: OSError) -> str:
    """What the system or TLS said, for a person."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message.lower().rstrip('.')}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'it ended').lower().replace('_', ' ')}"
    return os.strerror(error.errno).lower() if error.errno else "no connection"
