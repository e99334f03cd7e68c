"""Lines over a unix socket: how they are cut, who may come, and what ends a connection."""

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.net import lines
from helm_ai_kernel.net.lines import Line, Lines
from helm_ai_kernel.tcb.errors import OutsideError


async def flood(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Until the other end has had enough; raises `ConnectionError`."""
    while True:
        writer.write(data)
        await writer.drain()


async def turned_away(path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    with suppress(ConnectionError):
        writer.write(b"x\n")
        assert await reader.read() == b""
    writer.close()


class Echo:
    """Says every line again, and keeps what happened."""

    def __init__(self, line: Line, told: list[object]) -> None:
        self._line, self._told = line, told

    def line(self, line: bytes) -> None:
        self._told.append(line)
        self._line.send(line)

    def closed(self) -> None:
        self._told.append("closed")
        self._line.end()


def run(folder: Path, body: Callable[[Path, list[object], Lines], Awaitable[None]]) -> None:
    async def main() -> None:
        told: list[object] = []
        listener = Lines(lambda line: Echo(line, told))
        path = folder / "run" / "w.sock"
        await listener.start(path)
        try:
            async with asyncio.timeout(30):
                await body(path, told, listener)
        finally:
            await listener.close()

    asyncio.run(main())


def test_the_socket_is_its_owner_s_alone_and_goes_with_the_kernel(tmp_path: Path) -> None:
    async def body(path: Path, told: list[object], listener: Lines) -> None:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600 and stat.S_IMODE(os.stat(path.parent).st_mode) == 0o700
        with pytest.raises(OutsideError):
            await Lines(lambda line: Echo(line, told)).start(path)

    run(tmp_path, body)
    assert not (tmp_path / "run" / "w.sock").exists()


PIECES = st.lists(st.binary(min_size=1, max_size=20), max_size=12)


@settings(max_examples=30)
@given(pieces=PIECES)
def test_lines_are_the_same_however_they_were_cut(pieces: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    data = b"".join(pieces)
    expected = [line for line in data.split(b"\n")[:-1] if line.strip()]

    async def body(path: Path, told: list[object], listener: Lines) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
        assert await reader.read() == b"".join(line + b"\n" for line in expected)
        assert told == [*expected, "closed"]
        writer.close()

    run(tmp_path_factory.mktemp("lines"), body)


def test_what_was_asked_for_still_comes_when_the_client_says_no_more(tmp_path: Path) -> None:
    async def body(path: Path, told: list[object], listener: Lines) -> None:
        later: list[Line] = []

        class Late(Echo):
            def line(self, line: bytes) -> None:
                later.append(self._line)

            def closed(self) -> None:
                told.append("closed")

        listener.made = lambda line: Late(line, told)
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"x\n")
        writer.write_eof()
        while told != ["closed"]:  # noqa: ASYNC110  (the loop of the other end says nothing)
            await asyncio.sleep(0)
        later[0].send(b"answer")
        later[0].end()
        assert await reader.read() == b"answer\n"
        assert listener.open in (0, 1)
        writer.close()

    run(tmp_path, body)


def test_a_line_that_never_ends_ends_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LINE_BYTES_MAX", 1 << 16)

    async def body(path: Path, told: list[object], listener: Lines) -> None:
        _, writer = await asyncio.open_unix_connection(str(path))
        with pytest.raises(ConnectionError):
            await flood(writer, b"x" * (1 << 14))
        assert told == ["closed"]
        writer.close()

    run(tmp_path, body)


def test_a_client_that_takes_nothing_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "UNTAKEN_BYTES_MAX", 1 << 20)

    async def body(path: Path, told: list[object], listener: Lines) -> None:
        _, writer = await asyncio.open_unix_connection(str(path), limit=1)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        with pytest.raises(ConnectionError):
            await flood(writer, b"x" * 65535 + b"\n")
        assert "closed" in told and listener.open == 0
        writer.close()

    run(tmp_path, body)


def test_connections_are_bounded_and_their_places_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "CONNECTIONS_MAX", 2)

    async def body(path: Path, told: list[object], listener: Lines) -> None:
        held = [await asyncio.open_unix_connection(str(path)) for _ in range(2)]
        for reader, writer in held:
            writer.write(b"a\n")
            assert await reader.readline() == b"a\n"
        await turned_away(path)
        held[0][1].close()
        while listener.open == 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"b\n")
        assert await reader.readline() == b"b\n"
        for _, one in (*held, (reader, writer)):
            one.close()

    run(tmp_path, body)


def test_another_user_is_turned_away_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "peer_uid", lambda sock: 12345)

    async def body(path: Path, told: list[object], listener: Lines) -> None:
        await turned_away(path)
        assert told == [] and listener.open == 0

    run(tmp_path, body)
