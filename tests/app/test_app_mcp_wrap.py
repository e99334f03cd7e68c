"""`mcp wrap` as a process between a client and the kernel: how it starts one, what it passes, and when it ends."""

import json
import os
import select
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.kernels import Place
from app.residents import COMMAND, END_S, began, go, up
from app.test_app_mcp import Home, home

INITIALIZE = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}}}


@dataclass
class Wrap:
    """One client's child."""

    process: "subprocess.Popen[bytes]"

    def write(self, *values: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(json.dumps(value).encode() + b"\n" for value in values))
        self.process.stdin.flush()

    def read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, method: str, number: int = 1, **params: Any) -> Any:
        self.write({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        return self.read()

    def call(self, name: str, **arguments: Any) -> Any:
        return self.ask("tools/call", name=name, arguments=arguments)

    def begin(self) -> Any:
        self.write(INITIALIZE)
        answer = self.read()
        self.write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer

    def ended(self) -> tuple[int, str]:
        out, err = self.process.communicate(timeout=END_S)
        assert out == b"", out
        return self.process.returncode, err.decode()


@contextmanager
def wrap(place: Place, command: list[str], *options: str, env: dict[str, str] | None = None) -> Iterator[Wrap]:
    words = [*COMMAND, "mcp", "wrap", "--home", str(place.paths.home), "--name", "tools", *options, "--", *command]
    environ = {**os.environ, "HELM_PEOPLE": str(place.paths.people), **(env or {})}
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, env=environ, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        yield Wrap(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def kernel(place: Place) -> int:
    """The process that listens for wrapped clients."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(str(place.paths.wrap_socket))
        return int(struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])


@pytest.fixture
def at(place: Place) -> Iterator[Home]:
    """A home whose kernel, if one was started, is ended behind the test."""
    yield home(place)
    with suppress(OSError):
        stop(kernel(place), signal.SIGTERM)


def stop(pid: int, number: int) -> None:
    fd = os.pidfd_open(pid)
    with os.fdopen(fd):
        os.kill(pid, number)
        assert select.select([fd], [], [], END_S)[0]


def starts(place: Place) -> int:
    return sum(one.body.get("event") == "start" and one.body.get("principal") == "kernel" for one in place.receipts())


def test_clients_that_start_at_once_start_one_kernel_which_stays_behind_them(at: Home) -> None:
    before = starts(at.place)
    with wrap(at.place, at.command) as one, wrap(at.place, at.command) as other, wrap(at.place, at.command) as third:
        for client in (one, other, third):
            client.write(INITIALIZE)
        for n, client in enumerate((one, other, third)):
            assert client.read()["result"]["serverInfo"]["name"] == "helm-ai-kernel"
            assert client.call("say", text=f"t{n}")["result"]["content"][0]["text"] == f"t{n}"
        pid = kernel(at.place)
        for client in (one, other, third):
            assert client.ended() == (0, "")
        assert kernel(at.place) == pid
    assert starts(at.place) == before + 1
    stop(pid, signal.SIGTERM)
    at.place.check()


def test_what_is_piped_in_at_once_is_answered_before_it_ends(at: Home) -> None:
    with wrap(at.place, at.command) as client:
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "say", "arguments": {"text": "x"}}}
        data = b"".join(json.dumps(one).encode() + b"\n" for one in (INITIALIZE, call))
        out, err = client.process.communicate(data, timeout=END_S)
        first, second = (json.loads(line) for line in out.splitlines())
        assert (first["id"], second["result"]["content"][0]["text"]) == (0, "x")
        assert (client.process.returncode, err) == (0, b"")


def test_when_the_kernel_is_killed_its_clients_end_and_the_call_is_unknown(at: Home) -> None:
    with up(at.place) as resident, wrap(at.place, at.command) as client:
        client.begin()
        client.write({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "wait", "arguments": {}}})
        began(at.place)
        resident.end(signal.SIGKILL)
        status, said = client.ended()
        assert status != 0 and "Traceback" not in said and "kernel" in said
    go(at.place)
    with up(at.place) as resident:
        assert resident.end() == (0, "")
    assert any("UNKNOWN" in line for line in at.place.told("outcome"))


def test_when_the_kernel_ends_in_order_its_clients_end(at: Home) -> None:
    with up(at.place) as resident, wrap(at.place, at.command) as client:
        client.begin()
        assert resident.end() == (0, "")
        status, said = client.ended()
        assert status == 1 and "the kernel ended" in said
    at.place.check()


@pytest.mark.parametrize("change", [["other"], ["--flag"]])
def test_another_command_than_the_pinned_one_is_not_started_and_the_client_is_told(at: Home, change: list[str]) -> None:
    with up(at.place) as resident, wrap(at.place, [*at.command, *change]) as client:
        told = client.begin()["result"]["instructions"]
        assert "quarantined" in told and "tools inspect" in told and "tools pin tools" in told
        assert client.ask("tools/list")["result"]["tools"] == []
        assert "error" in client.call("say", text="x")
        client.process.terminate()
        client.process.wait(END_S)
        assert resident.end() == (0, "")
    assert at.calls == []


def test_only_what_is_pinned_by_name_leaves_the_client_s_environment(at: Home) -> None:
    environ = {"TOKEN": "t-1", "SECRET": "s-1", "LD_PRELOAD_X": "1", "LC_ALL": "C.UTF-8"}
    with up(at.place) as resident, wrap(at.place, at.command, "--env", "SECRET", env=environ) as client:
        client.begin()
        got = json.loads(client.call("env")["result"]["content"][0]["text"])
        assert not {"TOKEN", "SECRET", "LD_PRELOAD_X", "HELM_PEOPLE"} & got.keys(), "what a client names nobody has pinned"
        client.process.terminate()
        client.process.wait(END_S)
        assert resident.end() == (0, "")


def test_a_variable_that_is_no_text_does_not_keep_a_client_out(at: Home) -> None:
    with up(at.place) as resident, wrap(at.place, at.command, env={"LC_BROKEN": "\udcff"}) as client:
        assert client.begin()["result"]["protocolVersion"]
        client.process.terminate()
        client.process.wait(END_S)
        assert resident.end() == (0, "")


def test_an_agent_that_is_not_there_is_refused_with_what_a_person_would_type(at: Home) -> None:
    with up(at.place) as resident, wrap(at.place, at.command, "--agent", "nobody") as client:
        status, said = client.ended()
        assert status == 1 and "there is no agent `nobody`" in said and "agents add nobody" in said
        assert resident.end() == (0, "")


def test_without_a_home_nothing_is_started(tmp_path: Path) -> None:
    with wrap(Place(tmp_path), ["x"]) as client:
        status, said = client.ended()
        assert status == 2 and "there is no kernel in" in said and "init" in said
    assert not (tmp_path / "home" / "store").exists()


def test_a_kernel_that_cannot_start_is_said_with_where_to_read_why(at: Home) -> None:
    at.place.configure("\nnonsense = 1\n")
    with wrap(at.place, at.command) as client:
        status, said = client.ended()
        assert status == 2 and "up.log" in said
    assert "nonsense" in (at.place.paths.run / "up.log").read_text()


def test_a_kernel_that_was_started_for_clients_ends_when_none_was_there_for_so_long(at: Home) -> None:
    with up(at.place, "--idle-s", "1") as resident:
        with wrap(at.place, at.command) as client:
            client.begin()
            with pytest.raises(subprocess.TimeoutExpired):
                resident.process.wait(2.5)
            assert client.call("say", text="x")["result"]["content"]
        assert resident.ended() == (0, "")
    at.place.check()
