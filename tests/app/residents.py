"""A resident kernel as a process of its own, and those who speak with it over its real sockets."""

import asyncio
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.kernels import OPEN, Place, mcp
from helm_ai_kernel.app import agents, operate
from helm_ai_kernel.app.config import Upstream
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.gateway.identity import Agent

WAITING = Path(__file__).parent / "waiting_server.py"
COMMAND = [sys.executable, "-W", "error", "-c", "import sys; from helm_ai_kernel.cli import main; sys.exit(main())"]
HERE = '[data]\nlisten = "127.0.0.1:0"\n[control]\nlisten = "127.0.0.1:0"\n'
END_S = 30


@dataclass
class Answered:
    status: int
    fields: dict[str, str]
    data: bytes

    @property
    def value(self) -> Any:
        return json.loads(self.data)

    @property
    def code(self) -> str:
        return str(self.value["error"]["code"])


class OverUnix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=END_S)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(END_S)
        self.sock.connect(str(self.path))


@dataclass
class Up:
    """One `helm-ai-kernel up`."""

    place: Place
    process: "subprocess.Popen[str]"
    listening: dict[str, str] = field(default_factory=dict)  # "data", "control": host:port

    def wait_ready(self, fd: int) -> None:
        readable, _, _ = select.select([fd], [], [], END_S)
        said = os.read(fd, 100) if readable else b""
        os.close(fd)
        if said != b"READY=1\n":
            self.process.kill()
            raise AssertionError(f"not ready: {self.process.communicate()}")
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        for one in told["listening"]:
            if one["at"].startswith("http"):
                self.listening[one["plane"]] = one["at"].partition("://")[2]

    def connection(self, plane: str, *, unix: bool = False) -> http.client.HTTPConnection:
        if unix:
            return OverUnix(self.place.paths.run / f"{plane}.sock")
        return http.client.HTTPConnection(self.listening[plane], timeout=END_S)

    def ask(
        self, plane: str, method: str, path: str, body: Any = None, *, token: str | None = None, unix: bool = False, **fields: str
    ) -> Answered:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        if token is not None:
            named["authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if data is not None:
            named.setdefault("content-type", "application/json")
        connection = self.connection(plane, unix=unix)
        try:
            connection.request(method, path, data, named)
            answer = connection.getresponse()
            return Answered(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def execute(self, tool: str, token: str | None, *, text: str = "x", **fields: str) -> Answered:
        return self.ask("data", "POST", "/mcp/v1/execute", {"tool": tool, "arguments": {"text": text}}, token=token, **fields)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit code and what it said on stderr."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        _, err = self.process.communicate(timeout=END_S)
        lines = err.splitlines(keepends=True)  # asyncio's debug mode also says how slow a busy machine is
        return self.process.returncode, "".join(line for line in lines if not line.startswith("Executing <"))


@contextmanager
def up(place: Place, *options: str, ready: bool = True, env: dict[str, str] | None = None) -> Iterator[Up]:
    """Started and, with `ready`, ready; killed at the end where the test did not end it."""
    reads, writes = os.pipe()
    command = [*COMMAND, "up", "--home", str(place.paths.home), "--ready-fd", str(writes), "--format", "json", *options]
    environ = {**os.environ, "HELM_PEOPLE": str(place.paths.people), **(env or {})}
    process = subprocess.Popen(
        command,
        pass_fds=(writes,),
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writes)
    started = Up(place, process)
    try:
        if ready:
            started.wait_ready(reads)
        else:
            os.close(reads)
        yield started
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def prepared(place: Place, *, waits: bool = False) -> str:
    """A home whose kernel has the tool `tools/say`, or `tools/wait`, and the agent `ann`; her token."""
    place.configure(HERE)
    if waits:
        for name in ("began", "go"):
            os.mkfifo(place.folder / name)
        names = [str(place.folder / name) for name in ("began", "go", "done")]
        command = [sys.executable, "-I", "-S", str(WAITING), *names]
    else:
        command = mcp(place, say="says it")

    async def pinned() -> None:
        runtime = await Runtime.open(place.config)
        try:
            doc, _ = await operate.ask("tools", Upstream(tuple(command)))
            operate.classify(doc, ["write"], [])
            await place.signing(doc, OPEN)(runtime)
        finally:
            await runtime.close()

    asyncio.run(pinned())
    token = agents.add(place.paths, Agent("ann"), token=True).token
    assert token is not None
    return token


def began(place: Place) -> None:
    """Wait until the tool `wait` was called."""
    with open(place.folder / "began", encoding="ascii") as file:
        assert file.read() == "began\n"


def go(place: Place) -> None:
    """Let it answer."""
    with open(place.folder / "go", "w", encoding="ascii"):
        pass


async def until(there: Callable[[], object]) -> None:
    """Give the loop its turns until something is so."""
    while not there():  # noqa: ASYNC110  (nobody says when)
        await asyncio.sleep(0.001)


class Caller(threading.Thread):
    """Somebody who calls, and waits for the answer."""

    def __init__(self, up: Up, token: str, **fields: str) -> None:
        super().__init__(daemon=True)
        self._up, self._token, self._fields = up, token, fields
        self.answer: Answered | None = None
        self.start()

    def run(self) -> None:
        try:
            self.answer = self._up.execute("tools/wait", self._token, **self._fields)
        except (OSError, http.client.HTTPException):
            self.answer = None

    def answered(self) -> Answered | None:
        self.join(END_S)
        assert not self.is_alive()
        return self.answer
