"""A door that tells what came through it, a listener in front of it, and raw sockets that knock."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from helm_ai_kernel.net.listener import Bounds, Head, Listener, Peer, Reply
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.wire.head import Sizes

JSON = (("Content-Type", "application/json"),)
WAIT_S = 20.0  # on a machine that does much else; what is waited for takes milliseconds
TINY = Bounds(head_s=0.2, body_s=0.4, idle_s=0.2, write_s=0.2, linger_s=0.2)  # for tests that wait until one is passed


class Told:
    """A door. `say` is what it answers, given the body."""

    def __init__(self) -> None:
        self.answered: list[tuple[Head, bytes, Peer]] = []
        self.admitted: list[Head] = []
        self.refusals: list[Reason] = []
        self.say: Callable[[Head, bytes], Awaitable[Reply]] = echo
        self.early: Reply | None = None

    def admit(self, head: Head, peer: Peer) -> Reply | None:
        self.admitted.append(head)
        return self.early

    async def answer(self, head: Head, body: bytes, peer: Peer) -> Reply:
        self.answered.append((head, body, peer))
        return await self.say(head, body)

    def refused(self, reason: Reason, peer: Peer) -> None:
        self.refusals.append(reason)

    @property
    def bodies(self) -> list[bytes]:
        return [body for _, body, _ in self.answered]


async def echo(head: Head, body: bytes) -> Reply:
    return Reply(200, JSON, b"%b %b" % (head.path.encode(), body))


class Wire:
    """One connection, in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with suppress(ConnectionError):
            await self.writer.drain()

    async def reply(self) -> tuple[int, dict[str, str], bytes]:
        """One answer of a known length."""
        async with asyncio.timeout(WAIT_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            return int(first.split()[1]), fields, await self.reader.readexactly(int(fields.get("content-length", "0")))

    async def rest(self) -> bytes:
        """Everything until the other side closes."""
        async with asyncio.timeout(WAIT_S):
            with suppress(ConnectionError):
                return await self.reader.read()
            return b""

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


class Front:
    """A listener that is up."""

    def __init__(self, door: Told, listener: Listener, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self.door, self.listener, self.host, self.port = door, listener, host, port
        self._tls = tls
        self._wires: list[Wire] = []

    async def wire(self, client: ssl.SSLContext | None = None, receives: int = 0) -> Wire:
        """A connection to it. `receives`: the size of its buffer, for who reads slowly."""
        sock = socket.socket()
        if receives:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (self.host, self.port))
        except OSError:
            sock.close()
            raise
        wire = Wire(*await asyncio.open_connection(sock=sock, ssl=client, server_hostname="localhost" if client else None))
        self._wires.append(wire)
        return wire

    async def ask(self, data: bytes, client: ssl.SSLContext | None = None) -> bytes:
        """All that comes back on a connection of its own until the listener closes it."""
        wire = await self.wire(client)
        await wire.send(data)
        try:
            return await wire.rest()
        finally:
            await wire.close()

    def get(self, path: str = "/", *fields: str) -> bytes:
        return self.request("GET", path, *fields)

    def post(self, body: bytes = b"{}", *fields: str, path: str = "/call") -> bytes:
        more = (f"Content-Length: {len(body)}", "Content-Type: application/json", *fields)
        return self.request("POST", path, *more) + body

    def request(self, method: str, path: str, *fields: str) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}:{self.port}", *fields, "", ""]
        return "\r\n".join(lines).encode("latin-1")

    async def close(self) -> None:
        await self.listener.close(within_s=WAIT_S)
        for wire in self._wires:
            await wire.close()


@asynccontextmanager
async def front(bounds: Bounds | None = None, *, tls: ssl.SSLContext | None = None, **more: object) -> AsyncIterator[Front]:
    """A `Told` behind a listener on a free port."""
    door = Told()
    listener = Listener(door, bounds or Bounds(), tls=tls, **more)
    host, port = await listener.start_tcp("127.0.0.1", 0)
    up = Front(door, listener, host, port, tls)
    try:
        yield up
    finally:
        await up.close()


def small(**sizes: int) -> Bounds:
    return Bounds(sizes=Sizes(**sizes))


async def until(holds: Callable[[], bool]) -> None:
    """Until it does; nothing tells that from outside."""
    end = asyncio.get_running_loop().time() + WAIT_S
    for _ in iter(holds, True):
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.001)
