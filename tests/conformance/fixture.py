"""The official everything-server, from the sdist of the official SDK, and a tap before it that counts what reaches it."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httptools

from needs import ROOT

SDIST = ROOT / ".envs/sdist"
PYTHON = ROOT / ".envs/everything/bin/python"
SERVER = SDIST / "examples/servers/everything-server"
CLIENT = SDIST / ".github/actions/conformance/client.py"
READY_S = 60
BODY_BYTES_MAX = 1 << 20  # of a request that the suite makes; more is not parsed

# It is no package of its environment, and over stdio it has no command of its own.
_FOUND = f"import sys; sys.path.insert(0, {str(SERVER)!r}); from mcp_everything_server import server; "
STDIO = [str(PYTHON), "-B", "-c", f"{_FOUND}server.mcp.run('stdio')"]
HTTP = [str(PYTHON), "-B", "-c", f"{_FOUND}server.main()", "--port"]


@contextmanager
def everything(log: Path) -> Iterator[str]:
    """Its URL, on a free port of this machine, until the block ends."""
    port = free_port()
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen([*HTTP, str(port)], stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}/mcp"
        _wait(process, url)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait(process: "subprocess.Popen[bytes]", url: str) -> None:
    """It does not say when it is there: asked until it answers anything."""
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the everything-server ended with {process.returncode}")
        with suppress(ConnectionError, TimeoutError, urllib.error.URLError):
            try:
                urllib.request.urlopen(url, timeout=2).close()
            except urllib.error.HTTPError:
                return
            return
        time.sleep(0.05)
    raise RuntimeError("the everything-server is not there after a minute")


@dataclass
class Tap:
    """Bytes go through as they are. What it counts are the JSON-RPC requests in them, by method and, for tools, by name."""

    target: tuple[str, int]
    seen: Counter[str] = field(default_factory=Counter)
    url: str = ""

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        requests = _Requests(self.seen)
        parser = httptools.HttpRequestParser(requests)
        requests.parser = parser
        await asyncio.gather(_pump(reader, back, parser), _pump(there, writer, None))

    async def serve(self, ready: threading.Event, stop: asyncio.Event, path: str) -> None:
        server = await asyncio.start_server(self._served, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}"
        ready.set()
        await stop.wait()
        server.close()


class _Requests:
    """What `httptools` tells of them."""

    parser: httptools.HttpRequestParser

    def __init__(self, seen: Counter[str]) -> None:
        self._seen, self._body = seen, b""

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, data: bytes) -> None:
        if len(self._body) < BODY_BYTES_MAX:
            self._body += data

    def on_message_complete(self) -> None:
        try:
            said = json.loads(self._body)
        except ValueError:
            return
        if isinstance(said, dict) and "id" in said and isinstance(said.get("method"), str):
            self._seen[said["method"]] += 1


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, parser: httptools.HttpRequestParser | None) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            if parser is not None:
                parser.feed_data(data)
            writer.write(data)
            await writer.drain()
    with suppress(ConnectionError, RuntimeError):
        writer.close()


@contextmanager
def tapped(url: str) -> Iterator[Tap]:
    at = urlsplit(url)
    assert at.hostname is not None and at.port is not None
    tap, ready, loop, stop = Tap((at.hostname, at.port)), threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(tap.serve(ready, stop, at.path)), daemon=True)
    thread.start()
    if not ready.wait(READY_S):
        raise RuntimeError("no tap")
    try:
        yield tap
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(READY_S)


if __name__ == "__main__":  # the fixture alone, to look at it by hand
    with everything(Path(os.devnull)) as at_url:
        print(at_url, flush=True)
        sys.stdin.read()
