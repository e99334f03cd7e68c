"""Raw bytes to a real socket: what is answered, in which order, and what nobody can hold up."""

import asyncio
import os
import resource
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import wraps
from pathlib import Path

import pytest

from helm_ai_kernel.net.listener import Bounds, Head, Listener, Peer, Reply
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.ijson import parse
from net.doors import JSON, TINY, Front, Told, Wire, echo, front, until


def run(test: Callable[..., Coroutine[object, object, None]]) -> Callable[..., None]:
    """In a loop of its own, which must not complain and in which nothing may be left over."""

    @wraps(test)
    def sync(*args: object, **kwargs: object) -> None:
        async def alone() -> None:
            said: list[dict[str, object]] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
            await test(*args, **kwargs)
            assert not said
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(alone())

    return sync


# -- what is answered


@run
async def test_requests_on_one_connection_are_answered_in_their_order() -> None:
    async with front() as up:
        wire = await up.wire()
        await wire.send(b"".join(up.post(b"%d" % n, path=f"/{n}") for n in range(50)))
        for n in range(50):
            status, fields, body = await wire.reply()
            assert (status, body, fields["connection"]) == (200, b"/%d %d" % (n, n), "keep-alive")
            assert fields["x-content-type-options"] == "nosniff" and fields["cache-control"] == "no-store"
        assert up.door.bodies == [b"%d" % n for n in range(50)]


@run
async def test_the_next_request_is_not_begun_before_the_last_one_is_answered() -> None:
    async with front() as up:
        begun, go = [], asyncio.Event()

        async def slow(head: Head, body: bytes) -> Reply:
            begun.append(head.path)
            await go.wait()
            return await echo(head, body)

        up.door.say, wire = slow, await up.wire()
        await wire.send(up.get("/1") + up.get("/2"))
        await until(lambda: bool(begun))
        await wire.send(up.get("/3"))
        await asyncio.sleep(0.01)
        assert begun == ["/1"]
        go.set()
        assert [(await wire.reply())[2] for _ in range(3)] == [b"/1 ", b"/2 ", b"/3 "]


@run
async def test_what_a_client_sends_ahead_stays_in_the_systems_buffers_while_it_waits() -> None:
    async with front() as up:
        go = asyncio.Event()

        async def slow(head: Head, body: bytes) -> Reply:
            await go.wait()
            return await echo(head, body)

        up.door.say, wire = slow, await up.wire()
        await wire.send(up.get("/1"))
        await until(lambda: bool(up.door.answered))
        ahead = asyncio.ensure_future(wire.send(up.post(b"x" * 1000) * 20_000))
        await asyncio.sleep(0.05)
        assert not ahead.done() and up.listener._books.held <= 1 << 18
        ahead.cancel()
        wire.writer.transport.abort()
        go.set()


@run
async def test_a_request_in_single_bytes_is_the_same_request() -> None:
    async with front() as up:
        wire = await up.wire()
        for byte in up.post(b"body"):
            await wire.send(bytes([byte]))
        assert (await wire.reply())[2] == b"/call body"


@run
async def test_a_door_sees_the_head_and_who_sent_it_before_the_body() -> None:
    async with front() as up:
        up.door.early = Reply(403, JSON, b"no")
        wire = await up.wire()
        await wire.send(up.post(b"x" * 100).removesuffix(b"x" * 100))
        status, fields, body = await wire.reply()
        assert (status, fields["connection"], body) == (403, "close", b"no")
        assert [head.path for head in up.door.admitted] == ["/call"] and not up.door.answered


@run
async def test_a_refusal_of_a_request_without_a_body_closes_nothing() -> None:
    async with front() as up:
        up.door.early = Reply(404, JSON, b"no")
        wire = await up.wire()
        await wire.send(up.get() * 1000)
        assert [(await wire.reply())[0] for _ in range(1000)] == [404] * 1000
        assert not up.door.answered


@run
async def test_others_have_their_turn_between_two_refusals_on_one_connection() -> None:
    async with front() as up:
        up.door.early, turns, seen = Reply(404, JSON, b"no"), 0, []
        admit = up.door.admit

        def counted(head: Head, peer: Peer) -> Reply | None:
            seen.append(turns)
            return admit(head, peer)

        up.door.admit = counted  # type: ignore[method-assign]
        wire = await up.wire()
        await wire.send(up.get() * 500)
        while len(seen) < 500:
            turns += 1
            await asyncio.sleep(0)
        assert max(seen.count(turn) for turn in seen) <= 2
        assert [(await wire.reply())[0] for _ in range(500)] == [404] * 500


@run
async def test_what_was_sent_behind_a_refusal_is_read_though_the_client_has_sent_its_last_byte() -> None:
    async with front() as up:
        up.door.early = Reply(404, JSON, b"no")
        wire = await up.wire()
        await wire.send(up.get() * 100)
        wire.writer.write_eof()
        assert (await wire.rest()).count(b"HTTP/1.1 404 ") == 100


@run
async def test_who_asks_before_sending_a_body_is_told_to_go_on_only_when_it_is_admitted() -> None:
    async with front() as up:
        wire = await up.wire()
        data = up.post(b"body", "Expect: 100-continue")
        await wire.send(data.removesuffix(b"body"))
        assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.send(b"body")
        assert (await wire.reply())[2] == b"/call body"
        await wire.send(data)
        assert (await wire.reply())[0] == 200, "the body is there: nobody waits"
        assert b"100 Continue" not in await up.ask(data.replace(b"Host: 127", b"Host: 128").removesuffix(b"body"))


@run
async def test_an_answer_does_not_wait_for_the_one_before_it_to_arrive() -> None:
    """Nagle's algorithm holds the second of two small answers for 40 ms, and asyncio switches it off only for some sockets."""
    async with front() as up:
        await up.wire()
        await until(lambda: bool(up.listener._books.members) and not up.listener._books.tasks)
        (connection,) = up.listener._books.members
        sock = connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@run
async def test_an_answer_to_head_has_the_length_of_the_body_and_no_body() -> None:
    async with front() as up:
        answer = await up.ask(up.request("HEAD", "/", "Connection: close"))
        assert b"Content-Length: 2\r\n" in answer and answer.endswith(b"\r\n\r\n")


@run
async def test_a_client_that_has_sent_its_last_byte_is_still_answered() -> None:
    async with front() as up:
        wire = await up.wire()
        await wire.send(up.post(b"body"))
        wire.writer.write_eof()
        assert (await wire.rest()).endswith(b"/call body")


@run
async def test_what_was_whole_when_a_client_had_sent_its_last_byte_is_answered() -> None:
    async with front() as up:
        go = asyncio.Event()

        async def slow(head: Head, body: bytes) -> Reply:
            await go.wait()
            return await echo(head, body)

        up.door.say, wire = slow, await up.wire()
        await wire.send(up.get("/1") + up.get("/2") + up.get("/3")[:-1])
        wire.writer.write_eof()
        await until(lambda: any(connection.ended for connection in up.listener._books.members))
        go.set()
        answer = await wire.rest()
        assert [b"/%d " % n in answer for n in (1, 2, 3)] == [True, True, False]


@run
async def test_a_failure_of_the_door_is_told_and_claims_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with front() as up:
        said: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["exception"]))

        async def broken(head: Head, body: bytes) -> Reply:
            raise ZeroDivisionError("a secret")

        up.door.say = broken
        answer = await up.ask(up.post())
        assert answer.startswith(b"HTTP/1.1 409 ") and b"ERR_OUTCOME_UNKNOWN" in answer and b"secret" not in answer
        assert [type(error) for error in said] == [ZeroDivisionError]


# -- who may knock


@pytest.mark.parametrize(
    "host",
    [
        "evil.com", "localhost.evil.com:{port}", "127.0.0.1.nip.io:{port}", "localhost.:{port}", "localhost", "127.0.0.1",
        "127.0.0.1:1", "localhost:1", "0.0.0.0:{port}", "[::1]:{port}", "127.0.0.2:{port}", "127.0.0.1.:{port}", "127.1:{port}",
    ],
)  # fmt: skip
@run
async def test_a_host_that_is_not_this_door_is_refused_before_the_body(host: str) -> None:
    async with front() as up:
        data = up.post(b"x" * 100).replace(f"127.0.0.1:{up.port}".encode(), host.format(port=up.port).encode())
        answer = await up.ask(data.removesuffix(b"x" * 100))
        assert answer.startswith(b"HTTP/1.1 421 ") and b"ERR_HOST_FORBIDDEN" in answer
        assert up.door.refusals == [Reason.ERR_HOST_FORBIDDEN] and not up.door.admitted


@run
async def test_names_of_the_door_are_exact_and_may_be_configured() -> None:
    async with front(hosts=["Kernel.example", "other.example:443"]) as up:
        for host, status in (
            ("LocalHost:{port}", 200), ("kernel.example", 200), ("kernel.example:{port}", 200), ("other.example:443", 200),
            ("kernel.example:444", 421), ("other.example", 421), ("kernel.example.", 421), ("a.kernel.example", 421),
        ):  # fmt: skip
            named = host.format(port=up.port).encode()
            answer = await up.ask(up.get("/", "Connection: close").replace(f"127.0.0.1:{up.port}".encode(), named))
            assert answer.startswith(b"HTTP/1.1 %d " % status), host


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://evil.com",
        "http://localhost:1",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1",
        "",
        "http://127.0.0.1:{port}/",
    ],
)
@run
async def test_a_page_of_another_site_is_refused_before_the_body(origin: str) -> None:
    async with front() as up:
        data = up.post(b"x" * 100, f"Origin: {origin.format(port=up.port)}")
        answer = await up.ask(data.removesuffix(b"x" * 100))
        assert answer.startswith(b"HTTP/1.1 403 ") and b"ERR_ORIGIN_FORBIDDEN" in answer and not up.door.admitted


@run
async def test_a_page_of_the_doors_own_is_let_in() -> None:
    async with front() as up:
        for name in ("127.0.0.1", "localhost"):
            wire = await up.wire()
            await wire.send(up.post(b"{}", f"Origin: http://{name}:{up.port}"))
            status, fields, _ = await wire.reply()
            assert status == 200 and not [name for name in fields if name.startswith("access-control")]


@pytest.mark.parametrize(
    "kind",
    [
        None, "", "text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x", "application/json; charset=utf-8; charset=utf-16", "application/json; x=y",
        "application/json; charset=utf-16", "application/json; charset=latin1", "application/jsonp",
        "application/json, text/plain",
    ],
)  # fmt: skip
@run
async def test_a_body_that_is_not_said_to_be_json_is_refused_before_it_is_read(kind: str | None) -> None:
    async with front() as up:
        data = up.request("POST", "/call", "Content-Length: 2", *([] if kind is None else [f"Content-Type: {kind}"]))
        answer = await up.ask(data)
        assert answer.startswith(b"HTTP/1.1 415 ") and b"ERR_BODY_ENCODING" in answer and not up.door.admitted


@run
async def test_json_is_json_with_its_charset_or_without() -> None:
    async with front() as up:
        for kind in ("application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"'):
            wire = await up.wire()
            await wire.send(up.post().replace(b"application/json", kind.encode()))
            assert (await wire.reply())[0] == 200, kind


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x"], 426),
        (["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x"], 501),
        (["Connection: Upgrade, X-Helm-Session"], 501),
    ],
)
@run
async def test_another_protocol_is_refused_and_the_connection_closed(fields: list[str], status: int) -> None:
    async with front() as up:
        answer = await up.ask(up.get("/", *fields) + b"\x81\x05hello")
        assert answer.startswith(b"HTTP/1.1 %d " % status) and b"Connection: close\r\n" in answer
        assert answer.count(b"HTTP/1.1 ") == 1 and not up.door.admitted
        assert up.door.refusals == [Reason.ERR_UNMEDIATED_TRANSPORT]
        preface = await up.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 20)
        assert preface.startswith(b"HTTP/1.1 501 ")


@run
async def test_a_smuggled_request_is_answered_by_nobody() -> None:
    async with front() as up:
        data = up.post(b"0\r\n\r\n" + up.get("/smuggled"), "Transfer-Encoding: chunked")
        answer = await up.ask(data)
        assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1 ") == 1
        assert up.door.refusals == [Reason.ERR_HTTP_AMBIGUOUS] and not up.door.admitted


@run
async def test_a_refusal_has_the_one_form_of_all_doors() -> None:
    async with front() as up:
        head, _, body = (await up.ask(b"GET / HTTP/1.1\r\n\r\n")).partition(b"\r\n\r\n")
        assert b"Content-Type: application/json\r\n" in head
        said = parse(body, bytes_max=1000)
        assert said["error"] == {"message": "there is no `Host`", "type": "helm_refused", "code": "ERR_HTTP_AMBIGUOUS"}
        assert said["helm"]["verdict"] == "DENY" and said["helm"]["reason"] == "ERR_HTTP_AMBIGUOUS" and said["helm"]["hint"]


# -- what nobody can hold up


@run
async def test_a_request_line_of_a_megabyte_and_ten_thousand_fields_are_refused_and_told() -> None:
    async with front() as up:
        assert (await up.ask(b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\n")).startswith(b"HTTP/1.1 414 ")
        assert (await up.ask(up.get("/", *(f"X{n}: y" for n in range(10_000))))).startswith(b"HTTP/1.1 431 ")
        assert (await up.ask(up.get("/", "X: " + "a" * (1 << 20)))).startswith(b"HTTP/1.1 431 ")
        assert (await up.ask(up.post(b"x" * (1 << 21)))).startswith(b"HTTP/1.1 413 ")
        assert up.door.refusals == [Reason.ERR_REQUEST_BOUNDS] * 4 and not up.door.answered


@run
async def test_who_sends_a_head_slowly_is_let_go() -> None:
    async with front(TINY) as up:
        answer = await up.ask(up.get()[:-1])
        assert answer.startswith(b"HTTP/1.1 408 ") and b"ERR_REQUEST_BOUNDS" in answer
        assert await up.ask(b"") == b""


@run
async def test_who_sends_a_body_slowly_is_let_go() -> None:
    async with front(Bounds(head_s=0.1, body_s=20, linger_s=0.1)) as up:
        wire = await up.wire()
        await wire.send(up.post(b"x" * 100)[:-90])
        assert (await wire.reply())[0] == 408 and not up.door.answered
    async with front(Bounds(head_s=0.1, body_s=0.15, body_rate=1, linger_s=0.1)) as up:
        wire = await up.wire()
        await wire.send(up.post(b"x" * 1000)[:-1])
        assert (await wire.reply())[0] == 408 and not up.door.answered


@run
async def test_a_body_that_comes_fast_enough_has_its_time() -> None:
    async with front(Bounds(head_s=0.1, body_s=20, body_rate=1000)) as up:
        wire = await up.wire()
        data = up.post(b"x" * 20_000)
        await wire.send(data[:-10_000])
        await asyncio.sleep(0.25)
        await wire.send(data[-10_000:])
        assert (await wire.reply())[0] == 200


@run
async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with front(TINY) as up:
        wire = await up.wire()
        await wire.send(up.get())
        assert (await wire.reply())[0] == 200
        assert await wire.rest() == b""


@run
async def test_who_hangs_up_in_the_middle_of_a_body_is_not_answered_and_not_kept() -> None:
    async with front() as up:
        data = up.post(b"x" * 100)
        for size in range(0, len(data), 9):
            wire = await up.wire()
            await wire.send(data[:size])
            await wire.close()
        await until(lambda: not up.listener._books.members)
        assert not up.door.answered and up.listener._books.held == 0


@run
async def test_who_does_not_go_after_the_last_answer_is_made_to() -> None:
    async with front(TINY) as up:
        wire = await up.wire()
        await wire.send(b"nonsense\r\n")
        assert (await wire.reply())[0] == 400
        await until(lambda: not up.listener._books.members)


@run
async def test_who_sends_on_and_on_after_the_last_answer_is_cut_off() -> None:
    async with front(Bounds(linger_s=60, linger_bytes=10_000)) as up:
        wire = await up.wire()
        await wire.send(b"nonsense\r\n")
        assert (await wire.reply())[0] == 400
        await wire.send(b"x" * 5_000)
        assert up.listener._books.members
        await wire.send(b"x" * 10_000)
        await until(lambda: not up.listener._books.members)


@run
async def test_a_refusal_arrives_though_the_client_still_sends() -> None:
    async with front() as up:
        wire = await up.wire()
        sending = asyncio.ensure_future(wire.send(up.request("POST", "/", "Content-Length: 900000") + b"x" * 900_000))
        assert (await wire.reply())[0] == 415
        await sending


@run
async def test_a_thousand_idle_connections_keep_nobody_from_being_answered() -> None:
    async with front(Bounds(connections=900, peer_connections=900)) as up:
        idle = [await up.wire() for _ in range(450)]
        for wire in idle:
            await wire.send(b"GET /slow")
        for _ in range(10):
            wire = await up.wire()
            await wire.send(up.post())
            assert (await wire.reply())[0] == 200


@run
async def test_who_waits_longest_makes_room_and_who_is_answered_does_not() -> None:
    async with front(Bounds(connections=3, peer_connections=3)) as up:
        go = asyncio.Event()

        async def slow(head: Head, body: bytes) -> Reply:
            await go.wait()
            return await echo(head, body)

        up.door.say = slow
        busy = await up.wire()
        await busy.send(up.post(b"busy"))
        await until(lambda: bool(up.door.answered))
        first, second = await up.wire(), await up.wire()
        await first.send(b"GET /never")
        await until(lambda: len(up.listener._books.members) == 3)
        third = await up.wire()
        await third.send(up.get("/third"))
        assert await first.rest() == b""
        for wire in (second, await up.wire()):
            await wire.send(up.get("/more"))
        await until(lambda: len(up.door.answered) == 3)
        assert await (await up.wire()).rest() == b"", "all are being answered: there is no place"
        assert Reason.ERR_REQUEST_BOUNDS in up.door.refusals
        go.set()
        assert (await busy.reply())[2] == b"/call busy"


async def deaf(up: Front) -> Wire:
    """A client that asked for much, and does not read: its answer is ready, and waits for it."""

    async def much(head: Head, body: bytes) -> Reply:
        return Reply(200, (), b"x" * 30_000_000)

    up.door.say = much
    wire, before = await up.wire(receives=4096), len(up.door.answered)
    await wire.send(up.get())
    await until(lambda: len(up.door.answered) > before and not up.listener._books.tasks)
    up.door.say = echo
    return wire


@run
async def test_who_does_not_read_its_answer_gives_way() -> None:
    async with front(Bounds(connections=2, peer_connections=2)) as up:
        first, second = await deaf(up), await deaf(up)
        new = await up.wire()
        await new.send(up.get("/new"))
        assert (await new.reply())[2] == b"/new "
        assert len(await first.rest()) < 30_000_000
        await second.close()


@run
async def test_half_a_body_is_no_whole_request_and_gives_way_to_one() -> None:
    async with front(Bounds(connections=1, peer_connections=1)) as up:
        half = await up.wire()
        await half.send(up.post(b"x" * 100)[:-1])
        await until(lambda: bool(up.door.admitted))
        whole = await up.wire()
        await whole.send(up.get("/whole"))
        assert (await whole.reply())[2] == b"/whole " and await half.rest() == b""
        assert up.listener._books.held == 0


@run
async def test_what_all_requests_hold_together_is_bounded() -> None:
    async with front(Bounds(held_bytes=1000)) as up:
        wires = [await up.wire() for _ in range(3)]
        for wire in wires:
            await wire.send(up.post(b"x" * 500)[:-1])
        answers = await asyncio.gather(*(asyncio.wait_for(wire.reader.read(12), 1) for wire in wires[2:]))
        assert answers == [b"HTTP/1.1 503"]
        for wire in wires[:1]:
            await wire.send(b"x")
            assert (await wire.reply())[0] == 200
        await wires[1].close()
        await until(lambda: up.listener._books.held == 0)


# -- streams, and who goes away


async def numbers(count: int, size: int, closed: list[bool]) -> AsyncIterator[bytes]:
    try:
        for n in range(count):
            yield b"%d" % n + b"x" * size
            await asyncio.sleep(0)
        yield b""
    finally:
        closed.append(True)


def streaming(up: Front, count: int, size: int) -> list[bool]:
    closed: list[bool] = []

    async def stream(head: Head, body: bytes) -> Reply:
        return Reply(200, (), numbers(count, size, closed))

    up.door.say = stream
    return closed


@run
async def test_a_stream_comes_in_chunks_and_another_request_may_follow() -> None:
    async with front() as up:
        closed = streaming(up, 3, 1)
        answer = await up.ask(up.get() + up.get("/", "Connection: close"))
        assert answer.count(b"Transfer-Encoding: chunked\r\n") == 2
        assert answer.endswith(b"\r\n\r\n2\r\n0x\r\n2\r\n1x\r\n2\r\n2x\r\n0\r\n\r\n") and closed == [True, True]


@run
async def test_a_stream_goes_as_fast_as_it_is_read() -> None:
    async with front() as up:
        closed, made = streaming(up, 1000, 100_000), []

        async def counted(head: Head, body: bytes) -> Reply:
            async def pieces() -> AsyncIterator[bytes]:
                async for piece in numbers(1000, 100_000, closed):
                    made.append(len(piece))
                    yield piece

            return Reply(200, (), pieces())

        up.door.say = counted
        wire = await up.wire(receives=4096)
        await wire.send(up.get())
        await wire.reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.1)
        assert sum(made) < 20_000_000
        await wire.close()
        await until(lambda: not up.listener._books.members)


@run
async def test_who_reads_a_stream_too_slowly_is_cut_off_and_it_is_closed() -> None:
    async with front(Bounds(write_s=0.1)) as up:
        closed = streaming(up, 1_000_000, 100_000)
        wire = await up.wire(receives=4096)
        await wire.send(up.get())
        await until(lambda: closed == [True])
        await until(lambda: not up.listener._books.members)


@run
async def test_who_reads_a_whole_answer_too_slowly_is_cut_off() -> None:
    async with front(Bounds(write_s=0.1)) as up:

        async def much(head: Head, body: bytes) -> Reply:
            return Reply(200, (), b"x" * 30_000_000)

        up.door.say = much
        wire = await up.wire(receives=4096)
        await wire.send(up.get())
        await until(lambda: bool(up.door.answered))
        await until(lambda: not up.listener._books.members)


@run
async def test_a_stream_that_fails_has_no_end_that_looks_like_one() -> None:
    async with front() as up:
        said: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["exception"]))

        async def breaking() -> AsyncIterator[bytes]:
            yield b"first"
            raise ZeroDivisionError

        async def stream(head: Head, body: bytes) -> Reply:
            return Reply(200, (), breaking())

        up.door.say = stream
        wire = await up.wire()
        await wire.send(up.get())
        assert b"0\r\n\r\n" not in await wire.rest() and [type(error) for error in said] == [ZeroDivisionError]


@run
async def test_an_answer_that_is_cancelled_keeps_no_connection() -> None:
    async with front() as up:

        async def cancelled(head: Head, body: bytes) -> Reply:
            raise asyncio.CancelledError

        up.door.say = cancelled
        assert await up.ask(up.get()) == b""
        await until(lambda: not up.listener._books.members)


@run
async def test_a_stream_is_closed_when_its_reader_goes_though_nothing_is_sent() -> None:
    async with front() as up:
        closed: list[bool] = []

        async def silent() -> AsyncIterator[bytes]:
            try:
                yield b"first"
                await asyncio.Event().wait()
            finally:
                closed.append(True)

        async def stream(head: Head, body: bytes) -> Reply:
            return Reply(200, (), silent())

        up.door.say = stream
        wire = await up.wire()
        await wire.send(up.get())
        await wire.reader.readuntil(b"first\r\n")
        await wire.close()
        await until(lambda: closed == [True])


@run
async def test_a_client_that_goes_away_ends_no_answer() -> None:
    async with front() as up:
        go, done = asyncio.Event(), []

        async def slow(head: Head, body: bytes) -> Reply:
            await go.wait()
            done.append(body)
            return await echo(head, body)

        up.door.say = slow
        for n in range(20):
            wire = await up.wire()
            await wire.send(up.post(b"%d" % n))
            await until(lambda n=n: len(up.door.answered) == n + 1)
            if n % 2:  # it says that it goes, or resets the connection
                sock = wire.writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.writer.transport.abort()
        await until(lambda: len(up.listener._books.members) == 10)
        go.set()
        await until(lambda: len(done) == 20)
        await until(lambda: not up.listener._books.members)


@run
async def test_a_stream_for_a_client_that_went_away_is_closed() -> None:
    async with front() as up:
        go, closed = asyncio.Event(), []

        async def slow(head: Head, body: bytes) -> Reply:
            await go.wait()
            pieces = numbers(3, 1, closed)
            await anext(pieces)
            return Reply(200, (), pieces)

        up.door.say = slow
        wire = await up.wire()
        await wire.send(up.get())
        await until(lambda: bool(up.door.answered))
        wire.writer.transport.abort()
        await asyncio.sleep(0.01)
        go.set()
        await until(lambda: closed == [True])
        await until(lambda: not up.listener._books.members)


# -- the end


@run
async def test_a_listener_that_closes_lets_answers_finish_and_begins_none() -> None:
    async with front() as up:
        go = asyncio.Event()

        async def slow(head: Head, body: bytes) -> Reply:
            await go.wait()
            return await echo(head, body)

        up.door.say = slow
        busy, idle, half = await up.wire(), await up.wire(), await up.wire()
        await busy.send(up.post(b"1") + up.post(b"2"))
        await half.send(up.post(b"3")[:-1])
        await until(lambda: len(up.door.answered) == 1 and len(up.door.admitted) == 2)
        closing = asyncio.ensure_future(up.listener.close(within_s=20))
        assert await idle.rest() == b"" and await half.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            await up.wire()
        go.set()
        status, fields, body = await busy.reply()
        assert (status, fields["connection"], body) == (200, "close", b"/call 1")
        assert await busy.rest() == b""
        await busy.close()
        await closing
        assert up.door.bodies == [b"1"]


@run
async def test_a_listener_waits_no_longer_than_it_was_told_and_the_answer_goes_on() -> None:
    async with front() as up:
        go, done = asyncio.Event(), []

        async def slow(head: Head, body: bytes) -> Reply:
            await go.wait()
            done.append(body)
            return await echo(head, body)

        up.door.say = slow
        wire = await up.wire()
        await wire.send(up.post(b"1"))
        await until(lambda: bool(up.door.answered))
        await up.listener.close(within_s=0.01)
        assert await wire.rest() == b"" and not up.listener._books.members
        go.set()
        await until(lambda: done == [b"1"])


@run
async def test_who_does_not_read_its_answer_does_not_hold_up_the_end() -> None:
    async with front() as up:
        await deaf(up)
        began = asyncio.get_running_loop().time()
        await up.listener.close(within_s=20.0)
        assert asyncio.get_running_loop().time() - began < 10.0


@run
async def test_who_does_not_read_a_stream_does_not_hold_up_the_end() -> None:
    async with front(Bounds(linger_s=0.1)) as up:
        closed = streaming(up, 1_000_000, 100_000)
        wire = await up.wire(receives=4096)
        await wire.send(up.get())
        await wire.reader.readuntil(b"\r\n\r\n")
        (member,) = up.listener._books.members
        wire.writer.transport.pause_reading()
        await until(lambda: not member.drained.is_set())
        began = asyncio.get_running_loop().time()
        await up.listener.close(within_s=20.0)
        assert asyncio.get_running_loop().time() - began < 10.0
        await until(lambda: closed == [True])


@run
async def test_who_does_not_read_small_answers_does_not_hold_up_the_end() -> None:
    """They fill the system's buffers, and a part of what waits in ours that is not yet too much."""
    async with front(Bounds(linger_s=0.1)) as up:
        up.door.early = Reply(404, JSON, b"x" * 10_000)
        wire = await up.wire(receives=4096)
        (member,) = up.listener._books.members
        while not member.transport.get_write_buffer_size():
            before = len(up.door.admitted)
            await wire.send(up.get())
            await until(lambda before=before: len(up.door.admitted) > before)
        assert member.state == "waiting"
        began = asyncio.get_running_loop().time()
        await up.listener.close(within_s=20.0)
        assert asyncio.get_running_loop().time() - began < 10.0


# -- whether the caller is still there


@pytest.mark.parametrize("ahead", [b"", b"G"])
@run
async def test_a_caller_that_went_away_is_not_here_whatever_it_sent_before(ahead: bytes) -> None:
    async with front() as up:
        go = asyncio.Event()

        async def slow(head: Head, body: bytes) -> Reply:
            await go.wait()
            return await echo(head, body)

        up.door.say, wire = slow, await up.wire()
        await wire.send(up.post())
        await until(lambda: bool(up.door.answered))
        peer = up.door.answered[0][2]
        assert peer.here()
        if ahead:
            await wire.send(ahead)
        await wire.close()
        await until(lambda: not peer.here())
        go.set()
        await until(lambda: not up.listener._books.tasks)


@run
async def test_a_caller_whose_request_was_read_behind_refusals_is_here() -> None:
    async with front() as up:
        up.door.early, go = Reply(404, JSON, b"no"), asyncio.Event()
        admit = up.door.admit
        up.door.admit = lambda head, peer: admit(head, peer) if head.method == "GET" else None  # type: ignore[method-assign]

        async def slow(head: Head, body: bytes) -> Reply:
            await go.wait()
            return await echo(head, body)

        up.door.say, wire = slow, await up.wire()
        await wire.send(up.get() * 3 + up.post())
        await until(lambda: bool(up.door.answered))
        assert up.door.answered[0][2].here()
        await wire.close()
        await until(lambda: not up.door.answered[0][2].here())
        go.set()
        await until(lambda: not up.listener._books.tasks)


# -- unix sockets


@run
async def test_those_who_come_through_the_network_take_no_place_at_a_unix_socket(tmp_path: Path) -> None:
    async with front(Bounds(connections=2, peer_connections=2, held_bytes=1000)) as up:
        go, path = asyncio.Event(), tmp_path / "run" / "control.sock"
        await up.listener.start_unix(path)

        async def slow(head: Head, body: bytes) -> Reply:
            if head.path != "/operator":
                await go.wait()
            return await echo(head, body)

        up.door.say = slow
        for wire in [await up.wire() for _ in range(2)]:
            await wire.send(up.post(b"x" * 500))
        await until(lambda: len(up.door.answered) == 2)
        assert await (await up.wire()).rest() == b"", "there is no place"
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"POST /operator HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 500\r\n")
        writer.write(b"Connection: close\r\n\r\n" + b"x" * 500)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        go.set()


@run
async def test_a_unix_socket_says_whose_process_is_there(tmp_path: Path) -> None:
    door = Told()
    listener, path = Listener(door, Bounds()), tmp_path / "run" / "data.sock"
    await listener.start_unix(path)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    ((_, _, peer),) = door.answered
    assert (peer.address, peer.uid, peer.certificate) == ("", os.getuid(), None)
    for host in ("127.0.0.1", "evil.com", "localhost:80"):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(f"GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 421 ")
        writer.close()
    await listener.close(within_s=1)
    assert not path.exists()


@run
async def test_where_no_file_is_free_the_network_gives_way_to_a_unix_socket(tmp_path: Path) -> None:
    async with front() as up:
        path, client = tmp_path / "run" / "control.sock", socket.socket(socket.AF_UNIX)
        await up.listener.start_unix(path)
        idle = await up.wire()
        await until(lambda: bool(up.listener._books.members) and not up.listener._books.tasks)
        free = os.dup(client.fileno())
        os.close(free)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            client.connect(os.fspath(path))
            client.setblocking(False)
            reader, writer = await asyncio.open_unix_connection(sock=client)
            writer.write(b"GET /operator HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            async with asyncio.timeout(10):
                assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert await idle.rest() == b""


@run
async def test_whoever_comes_as_the_listener_closes_holds_it_up_for_nothing() -> None:
    async with front() as up:
        (endpoint,) = up.listener._endpoints
        came = [socket.create_connection(endpoint.sock.getsockname()) for _ in range(20)]
        up.listener._accept(endpoint)
        began = asyncio.get_running_loop().time()
        await up.listener.close(within_s=20.0)
        assert asyncio.get_running_loop().time() - began < 10.0
        for sock in came:
            sock.close()
