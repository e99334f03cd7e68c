"""An answer as it comes: every piece in order, one end, and a connection that is used again only behind a whole one."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from helm_ai_kernel.net import exchange
from helm_ai_kernel.net.exchange import Lost, Streamed
from helm_ai_kernel.net.resolver import NotSent
from helm_ai_kernel.net.upstream import Upstream
from helm_ai_kernel.pep.service import Service
from net.loopback import Loopback, answer, certificate, loopback

REQUEST = b"GET / HTTP/1.1\r\nhost: api.example\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\nx-a: 2\r\n\r\n"
BODY_MAX = 1 << 30


def service(port: int, scheme: str = "http", ca: Path | None = None) -> Service:
    source: dict[str, Any] = {"kind": "http", "base": f"{scheme}://127.0.0.1:{port}", "secrets": {}, "addresses": ["loopback"]}
    return Service.from_json(source | {"ca": None if ca is None else str(ca)})


async def opened(upstream: Upstream, *, body_bytes_max: int = BODY_MAX) -> Streamed:
    stream = await upstream.open(asyncio.get_running_loop().time() + 60)
    stream.send(REQUEST, body_bytes_max=body_bytes_max)
    return stream


async def drained(stream: Streamed) -> bytes | Lost:
    body = b""
    while isinstance(piece := await stream.read(), bytes):
        body += piece
        if not piece:
            return body
    return piece


def served(body: Callable[[Loopback, Upstream], Coroutine[Any, Any, None]], *answers: bytes | None) -> None:
    async def main() -> None:
        async with loopback(*answers) as server:
            upstream = Upstream(service(server.port))
            try:
                await asyncio.wait_for(body(server, upstream), 60)
            finally:
                await upstream.close()

    asyncio.run(main())


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def test_pieces_come_while_the_answer_is_under_way() -> None:
    async def body(server: Loopback, upstream: Upstream) -> None:
        stream = await opened(upstream)
        head = await stream.head()
        assert not isinstance(head, Lost)
        assert (head.status, head.type, head.fields["x-a"]) == (200, "text/event-stream", "1, 2")
        assert await stream.read() == b"one"
        server.say(chunk(b"two") + chunk(b"three"))
        assert await stream.read() == b"twothree"
        server.say(b"0\r\n\r\n")
        assert await stream.read() == b""
        assert await stream.read() == b""
        stream.release()
        again = await opened(upstream)
        await again.head()
        assert server.connections == 1
        again.abort()

    served(body, STREAM + chunk(b"one"))


@pytest.mark.parametrize(
    ("said", "sub"),
    [
        (STREAM + chunk(b"a") + b"x\r\n", "chunk"),
        (STREAM + b"5\r\nab" + Loopback.CUT, "early_end"),
        (Loopback.CUT, "no_answer"),
        (answer(b"x" * 20), "body_bytes"),
        (answer(b"x", b"Content-Encoding: gzip"), "content_encoding"),
    ],
)
def test_an_answer_that_has_no_end_is_lost_and_its_connection_is_not_used_again(said: bytes, sub: str) -> None:
    async def body(server: Loopback, upstream: Upstream) -> None:
        stream = await opened(upstream, body_bytes_max=10)
        head = await stream.head()
        found = head if isinstance(head, Lost) else await drained(stream)
        assert isinstance(found, Lost) and found.sub == sub
        stream.release()
        (await opened(upstream)).abort()
        assert server.connections == 2

    served(body, said)


def test_who_reads_slowly_holds_the_service_up_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "UNREAD_BYTES_MAX", 1000)
    whole = bytes(range(256)) * 40_000

    async def body(server: Loopback, upstream: Upstream) -> None:
        stream = await opened(upstream)
        await stream.head()
        assert await drained(stream) == whole
        assert stream._connection._unread <= exchange.UNREAD_BYTES_MAX
        stream.release()

    served(body, answer(whole))


def test_a_connection_whose_answer_ends_soon_is_used_again_and_one_whose_answer_goes_on_is_not() -> None:
    async def body(server: Loopback, upstream: Upstream) -> None:
        stream = await opened(upstream)
        assert await stream.head() and await stream.read() == b"one"
        connection = stream._connection
        stream.release()
        server.say(b"0\r\n\r\n")
        assert connection.answer is not None
        await connection.answer
        second = await opened(upstream)
        assert second._connection is connection and await second.head() and await second.read() == b"one"
        second.release()
        server.say(chunk(b"more"))
        await asyncio.wait_for(connection.gone, 60)
        (await opened(upstream)).abort()
        assert server.connections == 2

    served(body, STREAM + chunk(b"one"))


def test_a_stream_that_is_given_up_is_seen_to_end() -> None:
    async def body(server: Loopback, upstream: Upstream) -> None:
        stream = await opened(upstream)
        await stream.head()
        waits = asyncio.create_task(stream.read())
        await asyncio.sleep(0)
        stream.abort()
        found = await waits
        assert isinstance(found, Lost) and found.sub == "closed"
        await asyncio.wait_for(server.ended.wait(), 60)

    served(body, STREAM)


def test_every_place_comes_back() -> None:
    async def body(server: Loopback, upstream: Upstream) -> None:
        for _ in range(40):
            stream = await opened(upstream)
            stream.abort()
            stream.release()
        assert upstream._room._value == 32

    served(body, None)


def tls_key(folder: Path, pinned: Callable[[str], str | None]) -> str:
    """What becomes of a request to a service whose key was pinned as `pinned` says of the true one."""
    ca, context = certificate(folder, "127.0.0.1")
    spki = x509.load_pem_x509_certificate(ca.read_bytes()).public_key()
    der = spki.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    key = pinned(f"sha256:{hashlib.sha256(der).hexdigest()}")

    async def main() -> str:
        async with loopback(answer(b"{}"), tls=context) as server:
            upstream = Upstream(replace(service(server.port, "https", ca), tls_key=key))
            try:
                stream = await opened(upstream)
                found = await drained(stream)
                stream.release()
                return found.decode() if isinstance(found, bytes) else found.sub
            except NotSent as error:
                assert not server.requests
                return error.sub
            finally:
                await upstream.close()

    return asyncio.run(main())


def test_a_service_with_another_key_than_the_pinned_one_gets_no_request(tmp_path: Path) -> None:
    assert tls_key(tmp_path, lambda true: true) == "{}"
    assert tls_key(tmp_path, lambda true: None) == "{}"
    assert tls_key(tmp_path, lambda true: "sha256:" + "0" * 64) == "tls_key"


def test_a_key_cannot_be_pinned_where_there_is_no_tls() -> None:
    async def main() -> None:
        async with loopback(answer(b"{}")) as server:
            upstream = Upstream(replace(service(server.port), tls_key="sha256:" + "0" * 64))
            with pytest.raises(NotSent, match="not the one that was pinned"):
                await opened(upstream)
            await upstream.close()

    asyncio.run(main())
