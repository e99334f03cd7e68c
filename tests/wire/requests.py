"""Requests as bytes, what our reader makes of them, and what other readers do."""

import io
from collections.abc import Iterable
from email.message import Message
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple

import httptools

from helm_ai_kernel.wire.http1 import END, Head, Reader, Sizes, Wrong

try:
    import h11
except ImportError:  # it is no dependency: where it is there, it is asked, too
    h11 = None

SMALL = Sizes(line=200, head=1000, fields=10, body=1000, chunks=20)
HOST = b"Host: 127.0.0.1:8790\r\n"


class Request(NamedTuple):
    """What a request says, whoever read it; `fields` without blanks around values, names in lower case."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]
    body: bytes


class Read(NamedTuple):
    requests: tuple[Request, ...]
    wrong: tuple[int, str, str] | None  # the status, the code, the detail

    @property
    def verdict(self) -> tuple[int, str] | None:
        return None if self.wrong is None else self.wrong[:2]


def read(parts: Iterable[bytes], sizes: Sizes = SMALL) -> Read:
    """Whole requests, and how it ended."""
    reader, requests, head, body = Reader(sizes), [], None, b""
    try:
        for part in parts:
            reader.receive(part)
            while (event := reader.next()) is not None:
                if isinstance(event, Head):
                    head, body = event, b""
                elif event is END:
                    assert head is not None
                    requests.append(as_request(head, body))
                    reader.again()
                else:
                    assert isinstance(event, bytes) and event
                    body += event
    except Wrong as wrong:
        return Read(tuple(requests), (wrong.status, wrong.reason.value, wrong.detail))
    return Read(tuple(requests), None)


def as_request(head: Head, body: bytes) -> Request:
    return Request(head.method, f"{head.path}?{head.query}", tuple(head.fields.items()), body)


def whole(target: str) -> str:
    """With its query, also where that is empty and left out: both mean the same."""
    return target if "?" in target else target + "?"


def cut(data: bytes) -> Iterable[tuple[bytes, ...]]:
    """Whole, byte by byte, and in two pieces at every place."""
    yield (data,)
    yield tuple(data[at : at + 1] for at in range(len(data)))
    for at in range(1, len(data)):
        yield data[:at], data[at:]


def post(*fields: bytes, body: bytes = b"", line: bytes = b"POST /a HTTP/1.1") -> bytes:
    return line + b"\r\n" + HOST + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


# -- other readers: each tells the whole requests in the bytes, and whether it would refuse them


def by_llhttp(data: bytes) -> tuple[list[Request], bool]:
    """llhttp without our guard."""

    class Said:
        def __init__(self) -> None:
            self.requests: list[Request] = []

        def on_message_begin(self) -> None:
            self.url, self.fields, self.body = b"", [], b""

        def on_url(self, part: bytes) -> None:
            self.url += part

        def on_header(self, name: bytes, value: bytes) -> None:
            self.fields.append((name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")))

        def on_body(self, piece: bytes) -> None:
            self.body += piece

        def on_message_complete(self) -> None:
            self.requests.append(Request(parser.get_method().decode(), whole(self.url.decode()), tuple(self.fields), self.body))

    said = Said()
    parser = httptools.HttpRequestParser(said)
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return said.requests, True
    return said.requests, False


def by_h11(data: bytes) -> tuple[list[Request], bool]:
    connection, requests = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20), []
    connection.receive_data(data)
    try:
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                fields = tuple((name.decode(), value.decode("latin-1")) for name, value in event.headers)
                head, body = (event.method.decode(), whole(event.target.decode()), fields), b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                requests.append(Request(*head, body))
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    break
                connection.start_next_cycle()
    except h11.ProtocolError:
        return requests, True
    return requests, False


class _Standard(BaseHTTPRequestHandler):
    """The head by the standard library: another reader, by other people, and lenient."""

    def __init__(self, data: bytes) -> None:
        self.rfile, self.wfile = io.BytesIO(data), io.BytesIO()
        self.raw_requestline = self.rfile.readline(65537)
        self.headers = Message()
        self.understood = self.parse_request()

    def send_error(self, *_: object) -> None: ...

    def handle_expect_100(self) -> bool:
        return True


def by_standard_library(data: bytes) -> Request | None:
    """The first head, with what follows it as body as far as `Content-Length` says; None where it is refused."""
    read = _Standard(data)
    if not read.understood:
        return None
    fields = tuple((name.lower(), value.strip(" \t")) for name, value in read.headers.items())
    return Request(read.command, whole(read.path), fields, read.rfile.read(int(read.headers.get("Content-Length", "0"))))
