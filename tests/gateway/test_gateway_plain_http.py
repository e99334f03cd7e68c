"""Raw bytes in, one answer out: what is ambiguous, slow, large or meant for somebody else is refused before it is handled."""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus

import pytest

from gateway.witnessing import serving
from helm_ai_kernel.gateway import plain_http
from helm_ai_kernel.gateway.plain_http import Request, Response

BODY_MAX = 1000
HANDLED: list[Request] = []


def handler(request: Request) -> Response:
    HANDLED.append(request)
    return Response(HTTPStatus.OK, b"got " + request.body)


@pytest.fixture
def port() -> Iterator[int]:
    HANDLED.clear()
    with serving(handler, BODY_MAX) as port:
        yield port


def sent(port: int, *parts: bytes, end: bool = True) -> bytes:
    """Everything that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for part in parts:
            connection.sendall(part)
        if end:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(4096):
            answer += part
        return answer


def post(port: int, body: bytes = b"body", *more: str, host: str = "") -> bytes:
    host = host or f"127.0.0.1:{port}"
    lines = ["POST /add HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *more, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def test_requests_on_one_connection_are_answered_one_after_the_other(port: int) -> None:
    answer = sent(port, post(port, b"one") + post(port, b"two")[:20], post(port, b"two")[20:])
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2 and answer.endswith(b"got two")
    assert [request.body for request in HANDLED] == [b"one", b"two"]


def test_a_request_in_single_bytes_is_the_same_request(port: int) -> None:
    sent(port, *(bytes([byte]) for byte in post(port)))
    assert [Request("POST", "/add", b"body")] == HANDLED


def test_a_connection_that_asks_to_be_closed_is(port: int) -> None:
    assert b"Connection: close\r\n" in sent(port, post(port, b"x", "Connection: close"), end=False)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"Host: 127.0.0.1", b"Host: evil.example"), 421),
        ((b"Host: 127.0.0.1", b"X-Host: 127.0.0.1"), 421),
        ((b"Host:", b"Host: a\r\nHost:"), 400),
        ((b"Content-Length: 4", b"Content-Length: 4\r\nContent-Length: 4"), 400),
        ((b"Content-Length: 4", b"Content-Length: 4, 4"), 411),
        ((b"Content-Length: 4", b"Content-Length: +4"), 411),
        ((b"Content-Length: 4", b"Content-Length: 04"), 411),
        ((b"Content-Length: 4\r\n", b""), 411),
        ((b"Content-Length: 4", b"Transfer-Encoding: chunked"), 411),
        ((b"Content-Length: 4", b"Content-Length: 4\r\nTransfer-Encoding: chunked"), 411),
        ((b"Content-Length: 4", b"Content-Length: 4\r\nExpect: 100-continue"), 411),
        ((b"Content-Length: 4", b"Content-Length: 1001"), 413),
        ((b"Content-Length: 4", b"Content-Length: 99999999999999999999"), 411),
        ((b"Content-Length: 4", b"Content-Length : 4"), 400),
        ((b"Content-Length: 4", b"Content-Length: 4\r\n folded"), 400),
        ((b"Content-Length: 4", b"Content-Length: 4\nX: y"), 400),
        ((b"Content-Length: 4", b"Content-Length: 4\r\nX: " + b"y" * 9000), 431),
        ((b"POST /add", b"POST http://127.0.0.1/add"), 400),
        ((b"POST /add", b"POST /a dd"), 400),
        ((b"POST /add", b"post /add"), 400),
        ((b"HTTP/1.1", b"HTTP/1.0"), 400),
        ((b"HTTP/1.1\r\n", b"HTTP/1.1\n"), 400),
    ],
)
def test_a_request_without_one_meaning_is_refused_and_its_connection_closed(
    port: int, change: tuple[bytes, bytes], status: int
) -> None:
    data = post(port)
    assert change[0] in data
    answer = sent(port, data.replace(*change, 1), end=False)
    assert answer.startswith(b"HTTP/1.1 %d " % status) and b"Connection: close\r\n" in answer
    assert not HANDLED


@contextmanager
def bounded(seconds: int) -> Iterator[None]:
    """Also out of a match that backtracks: it looks for signals."""

    def over(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("filler", [b" ", b"\t", b" \t", b":", b"a", b"a ", b"\r\nX: ", b"\r\nX:  \t"])
@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nX:", b"GET / HTTP/1.1\r\nX", b"GET /", b""])
def test_no_head_costs_more_than_reading_it(start: bytes, filler: bytes) -> None:
    """Whoever can connect can send one: there is no other work before the Host is looked at."""
    head = (start + filler * plain_http.HEAD_BYTES_MAX)[: plain_http.HEAD_BYTES_MAX] + b"\x01\r\n\r\n"
    with bounded(20), pytest.raises(plain_http.Wrong):  # it takes milliseconds, and took a quarter of an hour
        plain_http._parse(head)


def test_spaces_around_a_value_are_no_part_of_it(port: int) -> None:
    data = post(port).replace(b"Content-Length: 4\r\n", b"Content-Length:\t 4 \t \r\nX:\r\nY: \t\r\nZ: a  b\r\n")
    assert b"200 OK" in sent(port, data)
    for wrong in (b"X: a\tb", b"X: a\x7fb", b"X: \xe9", b": x", b"X", b"a" * 65 + b": x", b"X : y"):
        assert b" 400 " in sent(port, data.replace(b"X:", wrong, 1)), wrong


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(port: int) -> None:
    head = post(port).replace(b"Content-Length: 4", b"Content-Length: 1001").removesuffix(b"body")
    assert sent(port, head, end=False).startswith(b"HTTP/1.1 413 ")


def test_a_request_that_ends_in_the_middle_is_not_handled(port: int) -> None:
    data = post(port)
    for cut in range(0, len(data), 7):
        assert sent(port, data[:cut]) == b""
    assert not HANDLED


def test_localhost_is_this_host_too(port: int) -> None:
    assert b"200 OK" in sent(port, post(port, host=f"LocalHost:{port}"))


def test_who_sends_slowly_is_let_go(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_http, "REQUEST_S", 0.05)
    assert sent(port, post(port)[:-1], end=False) == b""
    monkeypatch.setattr(plain_http, "IDLE_S", 0.05)
    assert sent(port, end=False) == b""
    assert not HANDLED


def test_connections_are_bounded(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_http, "CONNECTIONS_MAX", 1)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as first:
        first.sendall(post(port))
        assert first.recv(10)
        with suppress(ConnectionError):  # it was closed before we had sent
            assert sent(port, post(port), end=False) == b""
        first.sendall(post(port))
        assert first.recv(1000)


def test_a_handler_of_one_connection_sees_no_other_in_between(port: int) -> None:
    threads = [threading.Thread(target=sent, args=(port, post(port, b"%d" % n) * 5)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(request.body for request in HANDLED) == sorted(b"%d" % n for n in range(8) for _ in range(5))
