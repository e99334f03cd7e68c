"""A small HTTP/1.1 server for a small protocol: one handler, bodies of bounded length, no streams, no log of who asked.

Everything is bounded before it is read: the head, the body, the time of a whole request, the number of connections. A request
that two readers could understand differently is refused, and its connection closed.
"""

import asyncio
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

HEAD_BYTES_MAX = 8 << 10  # a client of ours sends 200
REQUEST_S = 10.0  # from its first byte to its last, and so long for the answer: nobody holds a connection by sending slowly
IDLE_S = 60.0  # between two requests on one connection
CONNECTIONS_MAX = 128  # at once; one more is closed without an answer

_LINE = re.compile(r"([A-Z]{1,16}) (/[!-~]{0,1023}) HTTP/1\.1\Z")
# RFC 9110 §5: no folded lines, no spaces in names. Each pattern has one way to match: who sends chooses how much is matched
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}\Z")
_VALUE = re.compile(r"[ -~]*\Z")
_LENGTH = re.compile(r"(0|[1-9][0-9]{0,15})\Z")
_ONCE = frozenset({"host", "content-length", "connection", "transfer-encoding", "expect"})


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    status: HTTPStatus
    body: bytes = b""
    type: str = "text/plain; charset=utf-8"


class Wrong(Exception):
    """The request is not one that is read here; its connection cannot be used any more."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.response = Response(status, detail.encode() + b"\n")


Handler = Callable[[Request], Response]


class PlainServer:
    """`start` it in a loop; `handler` runs on that loop, one request at a time."""

    def __init__(self, handler: Handler, *, body_bytes_max: int, hosts: Collection[str] = ()) -> None:
        """`hosts`: what `Host` may be besides the address that is listened at; a page in a browser sends its own name."""
        self._handler = handler
        self._body_bytes_max = body_bytes_max
        self._hosts = {host.lower() for host in hosts}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the address, with the port that the system chose where `port` is 0. Raises `OSError`."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=HEAD_BYTES_MAX)
        address, port = self._server.sockets[0].getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        self._hosts |= {f"{shown}:{port}", f"localhost:{port}"}
        return shown, port

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, TimeoutError, asyncio.CancelledError):  # who asked went away, or took too long
            try:
                while await self._one(reader, writer):
                    pass
            finally:
                writer.close()
            await asyncio.wait_for(writer.wait_closed(), REQUEST_S)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether another request may follow."""
        async with asyncio.timeout(IDLE_S):
            first = await reader.readexactly(1)
        async with asyncio.timeout(REQUEST_S):
            again = True
            try:
                request, again = await self._read(first, reader)
                response = self._handler(request)
            except Wrong as wrong:
                response, again = wrong.response, False
        async with asyncio.timeout(REQUEST_S):
            writer.write(_head(response, again) + response.body)
            await writer.drain()
        return again

    async def _read(self, first: bytes, reader: asyncio.StreamReader) -> tuple[Request, bool]:
        try:
            head = first + await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise Wrong(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {HEAD_BYTES_MAX} bytes of header") from None
        method, path, fields = _parse(head)
        if fields.get("host", "").lower() not in self._hosts:
            raise Wrong(HTTPStatus.MISDIRECTED_REQUEST, "the Host header does not name this server")
        if "transfer-encoding" in fields or "expect" in fields:
            raise Wrong(HTTPStatus.LENGTH_REQUIRED, "a body has a Content-Length here, and nothing is expected before it")
        length = fields.get("content-length", "0" if method in ("GET", "HEAD") else "")
        if not _LENGTH.match(length):
            raise Wrong(HTTPStatus.LENGTH_REQUIRED, "the Content-Length is not one decimal number")
        if int(length) > self._body_bytes_max:
            raise Wrong(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {self._body_bytes_max} bytes of body")
        body = await reader.readexactly(int(length))
        return Request(method, path, body), fields.get("connection", "").lower() != "close"


def _parse(head: bytes) -> tuple[str, str, dict[str, str]]:
    """The method, the path and the header fields, names in lower case."""
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    line = _LINE.match(first)
    if line is None:
        raise Wrong(HTTPStatus.BAD_REQUEST, "the first line is not a method, a path and HTTP/1.1")
    fields: dict[str, str] = {}
    for text in lines:
        name, colon, value = text.partition(":")
        name, value = name.lower(), value.strip(" \t")
        if not colon or not _NAME.match(name) or not _VALUE.match(value) or (name in fields and name in _ONCE):
            raise Wrong(HTTPStatus.BAD_REQUEST, "a header field has no one meaning")
        fields[name] = value
    return line[1], line[2], fields


def _head(response: Response, again: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {response.status.value} {response.status.phrase}",
        f"Content-Type: {response.type}",
        f"Content-Length: {len(response.body)}",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
        f"Connection: {'keep-alive' if again else 'close'}",
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii")
