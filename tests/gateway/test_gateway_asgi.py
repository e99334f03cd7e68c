"""An application behind the front: whole answers, answers in pieces, and clients that go."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from helm_ai_kernel.gateway.asgi import Application, Exchange
from helm_ai_kernel.wire.head import Head

HEAD = Head("POST", "/a/b%20c", "x=1", "localhost", {"content-type": "application/json", "x-y": "é"})


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        await body()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before, "no task is left"

    asyncio.run(main())


def app(work: Callable[..., Awaitable[None]]) -> Application:
    async def called(scope: Any, receive: Any, send: Any) -> None:
        await work(scope, receive, send)

    return called


async def start(send: Any, status: int = 200) -> None:
    named = [(b"X-A", b"1"), (b"content-length", b"3"), (b"Cache-Control", b"public")]
    await send({"type": "http.response.start", "status": status, "headers": named})


def test_a_whole_answer_is_one_reply_with_its_fields_and_none_of_the_fronts() -> None:
    async def work(scope: Any, receive: Any, send: Any) -> None:
        asked = await receive()
        assert (scope["method"], scope["path"], scope["query_string"], asked) == (
            "POST", "/a/b%20c", b"x=1", {"type": "http.request", "body": b"in", "more_body": False},
        )  # fmt: skip
        assert dict(scope["headers"])[b"x-y"] == b"\xe9"
        await start(send, 201)
        await send({"type": "http.response.body", "body": b"out"})

    async def body() -> None:
        reply = await Exchange(app(work), HEAD, b"in").reply()
        assert (reply.status, reply.fields, reply.body) == (201, (("X-A", "1"),), b"out")

    run(body)


def test_an_answer_in_pieces_is_made_as_it_is_taken() -> None:
    made: list[int] = []

    async def work(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        for number in range(50):
            made.append(number)
            await send({"type": "http.response.body", "body": b"%d," % number, "more_body": True})
        await send({"type": "http.response.body", "body": b"."})

    async def body() -> None:
        reply = await Exchange(app(work), HEAD, b"").reply()
        taken = []
        assert not isinstance(reply.body, bytes)
        async for piece in reply.body:
            taken.append(piece)
            assert len(made) <= len(taken) + 3, "nothing runs ahead of the client"
        assert b"".join(taken) == b"".join(b"%d," % number for number in range(50)) + b"."

    run(body)


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_a_client_that_goes_ends_the_application_also_before_the_first_piece(taken: int) -> None:
    ended: list[str] = []

    async def work(scope: Any, receive: Any, send: Any) -> None:
        try:
            await start(send)
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
        finally:
            ended.append("ended")

    async def body() -> None:
        reply = await Exchange(app(work), HEAD, b"").reply()
        assert not isinstance(reply.body, bytes)
        pieces = aiter(reply.body)
        for _ in range(taken):
            assert await anext(pieces) == b"x"
        await reply.body.aclose()  # type: ignore[attr-defined]
        assert ended == ["ended"]

    run(body)


def test_an_application_that_fails_is_no_answer() -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None: ...

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("a bug")

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        raise LookupError("a bug")

    async def body() -> None:
        with pytest.raises(RuntimeError, match="without an answer"):
            await Exchange(app(silent), HEAD, b"").reply()
        for work in (broken, late):
            with pytest.raises(LookupError):
                await Exchange(app(work), HEAD, b"").reply()

    run(body)


def test_a_stream_that_breaks_off_is_no_whole_answer() -> None:
    async def work(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise LookupError("a bug")

    async def body() -> None:
        reply = await Exchange(app(work), HEAD, b"").reply()
        assert not isinstance(reply.body, bytes)
        pieces = aiter(reply.body)
        assert await anext(pieces) == b"x"
        with pytest.raises(LookupError):
            await anext(pieces)
        await reply.body.aclose()  # type: ignore[attr-defined]

    run(body)
