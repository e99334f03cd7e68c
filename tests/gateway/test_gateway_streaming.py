"""The end of a stream is told once, whoever ends it, and no piece leaves for who may not have it any more."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from helm_ai_kernel.gateway.streaming import Ending


async def pieces(fails: bool = False) -> AsyncIterator[bytes]:
    yield b"a"
    if fails:
        raise ZeroDivisionError
    yield b"b"


@pytest.mark.parametrize("how", ["read", "left before it began", "left in the middle", "fails", "may not go on", "cancelled"])
def test_the_end_of_a_stream_is_told_once_whoever_ends_it(how: str) -> None:
    async def body() -> None:
        told: list[str] = []
        allowed = [True]

        async def never() -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

        source = never() if how == "cancelled" else pieces(fails=how == "fails")
        stream = Ending(source, lambda: told.append("over"), lambda: allowed[0])
        match how:
            case "read":
                assert [piece async for piece in stream] == [b"a", b"b"]
            case "left in the middle":
                assert await anext(stream) == b"a"
            case "fails":
                assert await anext(stream) == b"a"
                with pytest.raises(ZeroDivisionError):
                    await anext(stream)
            case "may not go on":
                assert await anext(stream) == b"a"
                allowed[0] = False
                assert [piece async for piece in stream] == []
            case "cancelled":
                reading = asyncio.ensure_future(anext(stream))
                await asyncio.sleep(0)
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
        await stream.aclose()
        await stream.aclose()
        assert told == ["over"] and [piece async for piece in stream] == []

    asyncio.run(body())
