"""One request, one answer, on a connection to the vetted address; nothing is sent twice, and nothing leads anywhere else."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from helm_ai_kernel.net import upstream as product
from helm_ai_kernel.net.exchange import Lost
from helm_ai_kernel.net.resolver import NotSent, Resolver
from helm_ai_kernel.net.upstream import Upstream
from helm_ai_kernel.pep.service import Service
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.wire.response import Response
from net.loopback import Loopback, answer, certificate, loopback

REQUEST = b"GET / HTTP/1.1\r\nhost: api.example\r\n\r\n"
LONG_S = 60.0  # never reached: a test that waits for it has failed
SHORT_S = 0.1  # always reached: the server does not answer at all
FINE = Response(200, "application/json", b"{}", True)


def service(port: int, scheme: str = "http", host: str = "127.0.0.1", ca: Path | None = None, *classes: str) -> Service:
    base = f"{scheme}://{host}:{port}"
    source: dict[str, Any] = {"kind": "http", "base": base, "secrets": {}, "addresses": list(classes) or ["loopback"]}
    return Service.from_json(source | {"ca": None if ca is None else str(ca)})


async def ask(upstream: Upstream, within_s: float = LONG_S, *, again: bool = False) -> Response | Lost:
    until = asyncio.get_running_loop().time() + within_s
    return await upstream.ask(REQUEST, body_bytes_max=1000, until=until, again=again)


Body = Callable[[Loopback, Upstream], Coroutine[Any, Any, None]]


def served(body: Body, *answers: bytes | None, **options: Any) -> None:
    async def main() -> None:
        async with loopback(*answers) as server:
            upstream = Upstream(service(server.port), **options)
            try:
                await body(server, upstream)
            finally:
                await upstream.close()

    asyncio.run(main())


def test_a_connection_is_used_again_and_looked_up_once() -> None:
    async def body(server: Loopback, _: Upstream) -> None:
        looked: list[str] = []

        def lookup(host: str, port: int) -> Sequence[str]:
            looked.append(host)
            return ["127.0.0.1"]

        named = Upstream(service(server.port, host="api.example"), Resolver(lookup))
        assert [await ask(named), await ask(named)] == [FINE, FINE]
        assert (server.connections, looked, server.requests) == (1, ["api.example"], [REQUEST] * 2)
        server.hang_up()
        await asyncio.wait_for(server.ended.wait(), LONG_S)
        assert await ask(named) == FINE
        assert (server.connections, looked) == (2, ["api.example"] * 2)
        await named.close()

    served(body, answer())


def test_a_name_that_moves_to_a_denied_address_is_not_followed_there() -> None:
    async def body(server: Loopback, _: Upstream) -> None:
        answers = [["127.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["169.254.169.254"]]
        named = Upstream(service(server.port, host="api.example"), Resolver(lambda *_: answers.pop(0)))
        assert isinstance(await ask(named), Response)
        for sub in ("private", "metadata"):
            with pytest.raises(Refused) as caught:
                await ask(named)
            assert (caught.value.reason, caught.value.sub) == (Reason.ERR_EGRESS_DENIED, sub)
        assert len(server.requests) == 1
        await named.close()

    served(body, answer(b"{}", b"Connection: close"))


def test_a_connection_that_ends_up_elsewhere_carries_nothing() -> None:
    async def body(server: Loopback, _: Upstream) -> None:
        loop = asyncio.get_running_loop()
        connect = loop.sock_connect

        async def astray(sock: socket.socket, address: Any) -> None:
            await connect(sock, ("127.0.0.1", address[1]))

        loop.sock_connect = astray  # type: ignore[method-assign]  # as a machine does whose routes somebody changed
        named = Upstream(service(server.port, host="api.example"), Resolver(lambda *_: ["127.0.0.2"]))
        with pytest.raises(Refused) as caught:
            await ask(named)
        assert (caught.value.reason, caught.value.sub) == (Reason.ERR_EGRESS_DENIED, "peer")
        await named.close()
        assert server.requests == []

    served(body, answer())


def test_addresses_are_tried_in_order_until_one_answers() -> None:
    async def body(server: Loopback, _: Upstream) -> None:
        named = Upstream(service(server.port, host="api.example"), Resolver(lambda *_: ["127.0.0.2", "127.0.0.1"]))
        assert await ask(named) == FINE
        await named.close()

    served(body, answer())


BROKEN = {
    "extra bytes": (answer() + b"x", "extra_bytes"),
    "a second answer": (answer() * 2, "extra_bytes"),
    "two lengths": (answer(b"{}", b"Content-Length: 2"), "header"),
    "length and chunks": (answer(b"{}", b"Transfer-Encoding: chunked"), "length"),
    "a body of 204": (answer(status=b"204 No Content"), "body"),
    "a flood of 1xx": (b"HTTP/1.1 100 Continue\r\n\r\n" * 100 + answer(), "interim"),
    "an upgrade": (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "interim"),
    "gzip": (answer(b"{}", b"Content-Encoding: gzip"), "content_encoding"),
    "too much": (answer(b"x" * 1001), "body_bytes"),
    "another protocol": (b"220 smtp.example ESMTP\r\n\r\n", "status_line"),
    "an early end": (answer(b"{}")[:-1] + Loopback.CUT, "early_end"),
    "an end in the head": (b"HTTP/1.1 200 OK\r\nContent-Le" + Loopback.CUT, "early_end"),
    "no answer": (Loopback.CUT, "no_answer"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_answer_ends_its_connection_and_is_sent_once(name: str) -> None:
    text, sub = BROKEN[name]

    async def body(server: Loopback, upstream: Upstream) -> None:
        reason = Reason.ERR_BODY_ENCODING if sub == "content_encoding" else Reason.ERR_UPSTREAM_SHAPE
        assert await ask(upstream) == Lost(sub, reason)
        await asyncio.wait_for(server.ended.wait(), LONG_S)
        assert await ask(upstream) == FINE
        assert (server.connections, len(server.requests)) == (2, 2)

    served(body, text, answer())


def test_bytes_that_come_between_two_requests_are_nobodys_answer() -> None:
    async def body(server: Loopback, upstream: Upstream) -> None:
        assert await ask(upstream) == FINE
        server.say(answer(b'"stolen"'))  # lies in the socket, and the loop has not seen it
        assert await ask(upstream) == FINE
        assert server.connections == 2

    served(body, answer())


def test_an_idle_connection_is_given_up() -> None:
    async def body(server: Loopback, upstream: Upstream) -> None:
        assert await ask(upstream) == FINE
        await asyncio.wait_for(server.ended.wait(), LONG_S)
        assert await ask(upstream) == FINE
        assert server.connections == 2

    served(body, answer(), idle_s=0.01)


@pytest.mark.parametrize(("again", "sent"), [(False, 1), (True, 2)])
def test_a_request_whose_connection_ended_is_sent_again_only_where_that_is_pinned(again: bool, sent: int) -> None:
    async def body(server: Loopback, upstream: Upstream) -> None:
        found = await ask(upstream, again=again)
        assert found == (FINE if again else Lost("no_answer", Reason.ERR_UPSTREAM_SHAPE))
        assert server.requests == [REQUEST] * sent

    served(body, Loopback.CUT, answer())


@pytest.mark.parametrize("name", ["extra bytes", "gzip", "another protocol"])
def test_a_service_that_answered_is_not_asked_again(name: str) -> None:
    async def body(server: Loopback, upstream: Upstream) -> None:
        assert isinstance(await ask(upstream, again=True), Lost)
        assert len(server.requests) == 1

    served(body, BROKEN[name][0], answer())


def test_a_request_is_sent_again_once_at_most() -> None:
    async def body(server: Loopback, upstream: Upstream) -> None:
        assert await ask(upstream, again=True) == Lost("no_answer", Reason.ERR_UPSTREAM_SHAPE)
        assert len(server.requests) == 2

    served(body, Loopback.CUT)


def test_behind_the_deadline_nobody_listens() -> None:
    async def body(server: Loopback, upstream: Upstream) -> None:
        assert await ask(upstream, SHORT_S, again=True) == Lost("timeout", Reason.ERR_CONNECTOR_FAILED)
        await asyncio.wait_for(server.ended.wait(), LONG_S)
        assert len(server.requests) == 1

    served(body, None)


def test_an_answer_byte_by_byte_is_cut_off_at_the_deadline() -> None:
    async def body(server: Loopback, upstream: Upstream) -> None:
        assert await ask(upstream, SHORT_S) == Lost("timeout", Reason.ERR_CONNECTOR_FAILED)
        await asyncio.wait_for(server.ended.wait(), LONG_S)

    served(body, b"HTTP/1.1 200 OK\r\nX: ")


def test_a_caller_who_goes_away_takes_the_connection_along() -> None:
    async def body(server: Loopback, upstream: Upstream) -> None:
        asked = asyncio.create_task(ask(upstream))
        await asyncio.wait_for(server.arrived.wait(), LONG_S)
        asked.cancel()
        await asyncio.wait({asked})
        assert asked.cancelled()
        await asyncio.wait_for(server.ended.wait(), LONG_S)

    served(body, None)


def test_where_nobody_listens_nothing_was_sent() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        upstream = Upstream(service(taken.getsockname()[1]))
        with pytest.raises(NotSent, match="connection refused") as caught:
            asyncio.run(ask(upstream))
    assert caught.value.sub == "connect"


def test_a_handshake_that_never_ends_is_no_connection(tmp_path: Path) -> None:
    async def main() -> None:
        async with loopback(None) as server:
            upstream = Upstream(service(server.port, "https"))
            with pytest.raises(NotSent, match="in time"):
                await ask(upstream, SHORT_S)
            await upstream.close()

    asyncio.run(main())


def test_calls_beyond_the_bound_wait_and_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product, "CONNECTIONS_MAX", 2)

    async def body(server: Loopback, upstream: Upstream) -> None:
        waiting = [asyncio.create_task(ask(upstream)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(NotSent) as caught:
            await ask(upstream, SHORT_S)
        assert caught.value.sub == "busy"
        await upstream.close()
        assert {found.sub for found in await asyncio.gather(*waiting)} <= {"closed"}  # type: ignore[union-attr]

    served(body, None)


def test_the_end_of_the_connector_ends_what_is_in_flight_and_begins_nothing() -> None:
    async def body(server: Loopback, upstream: Upstream) -> None:
        asked = asyncio.create_task(ask(upstream))
        await asyncio.wait_for(server.arrived.wait(), LONG_S)
        await upstream.close()
        assert await asked == Lost("closed", Reason.ERR_CONNECTOR_FAILED)
        with pytest.raises(NotSent, match="closed"):
            await ask(upstream)

    served(body, None)


def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def body(server: Loopback, upstream: Upstream) -> None:
        assert await ask(upstream) == FINE

    served(body, answer())


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"303 See Other", b"307 Temporary", b"308 Permanent"])
def test_a_redirect_leads_nowhere(status: bytes) -> None:
    async def body(server: Loopback, upstream: Upstream) -> None:
        async with loopback(answer()) as elsewhere:
            server.answers[0] = answer(b"{}", b"Location: http://user@127.0.0.1:%d/" % elsewhere.port, status=status)
            found = await ask(upstream, again=True)
            assert isinstance(found, Response) and found.status == int(status[:3])
            assert (elsewhere.connections, len(server.requests)) == (0, 1)

    served(body, answer())


def tls(folder: Path, *, host: str, names: tuple[str, ...], trusted: bool = True) -> tuple[Response | Lost | str, list[str]]:
    """What becomes of a request to `host`, at a server whose certificate is for `names`, and the names that it was asked for."""

    async def main() -> tuple[Response | Lost | str, list[str]]:
        ca, context = certificate(folder, *names)
        async with loopback(answer(), tls=context) as server:
            upstream = Upstream(service(server.port, "https", host, ca if trusted else None), Resolver(lambda *_: ["127.0.0.1"]))
            try:
                return await ask(upstream), server.names
            except NotSent as error:
                assert not server.requests
                return f"{error.sub}: {error.detail}", server.names
            finally:
                await upstream.close()

    return asyncio.run(main())


def test_the_name_of_the_pin_is_the_name_of_the_certificate(tmp_path: Path) -> None:
    assert tls(tmp_path, host="api.example", names=("api.example",)) == (FINE, ["api.example"])
    assert tls(tmp_path, host="127.0.0.1", names=("127.0.0.1",))[0] == FINE
    for host, names in (("api.example", ("evil.example",)), ("api.example", ("127.0.0.1",)), ("127.0.0.1", ("api.example",))):
        found = tls(tmp_path, host=host, names=names)[0]
        assert isinstance(found, str) and found.startswith("tls: ") and "mismatch" in found


def test_a_certificate_of_nobody_that_is_trusted_is_not_accepted(tmp_path: Path) -> None:
    found = tls(tmp_path, host="api.example", names=("api.example",), trusted=False)[0]
    assert isinstance(found, str) and found.startswith("tls: ") and "self-signed" in found


def test_session_keys_are_written_to_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    assert ssl.create_default_context().keylog_filename  # that is what Python's own would do
    log.unlink(missing_ok=True)
    assert tls(tmp_path, host="api.example", names=("api.example",))[0] == FINE
    assert not log.exists()


def test_a_file_of_certificates_that_is_not_there_is_told() -> None:
    upstream = Upstream(service(65000, "https", "127.0.0.1", Path("/nowhere/ca.pem")))
    with pytest.raises(NotSent, match="no such file"):
        asyncio.run(ask(upstream))
