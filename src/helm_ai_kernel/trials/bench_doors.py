"""The benchmarks of the doors: what HTTP adds to a call, and how long a kernel takes to start."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from helm_ai_kernel.app import agents
from helm_ai_kernel.app.config import Config
from helm_ai_kernel.app.planes import Plane
from helm_ai_kernel.app.resident import Asked, Doors
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.gateway.identity import Agent
from helm_ai_kernel.tcb.ijson import parse

from .bench import Line, at, home_of_ten, line, on_disk, request, with_runtime

CALLS, ROUNDS = 1000, 3
STARTS = 5
TOOL = "bench/t3"
_PAGE = b'<meta http-equiv="Content-Security-Policy" content="default-src \'none\'">'  # in the place of the verifier's

# A caller in a process of its own, so that its work is not counted as the kernel's: one connection, one call after the other.
_CALLER = """
import json, socket, sys, time
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
head, sock, samples = sys.stdin.read(), socket.create_connection((host, port)), []
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for number in range(count):
    body = json.dumps({"tool": "bench/t3", "arguments": {"text": "x" * 120, "to": "alice@example.com", "count": number}})
    sent = f"{head}Content-Length: {len(body)}\\r\\n\\r\\n{body}".encode()
    began = time.perf_counter()
    sock.sendall(sent)
    data = b""
    while b"\\r\\n\\r\\n" not in data:
        data += sock.recv(65536)
    if not data.startswith(b"HTTP/1.1 200"):
        sys.exit(data.decode())
    top, _, rest = data.partition(b"\\r\\n\\r\\n")
    left = int(top.partition(b"Content-Length: ")[2].split()[0]) - len(rest)
    while left > 0:
        left -= len(sock.recv(65536))
    samples.append(time.perf_counter() - began)
print(json.dumps(samples))
"""


def execute_http() -> Iterator[Line]:
    """One caller, an allowed call with its outcome: in the process, and over HTTP on one connection."""
    with tempfile.TemporaryDirectory(prefix="helm-bench-", dir=on_disk()) as folder:
        here = Plane(("127.0.0.1", 0), unix=False)
        config = replace(home_of_ten(Path(folder)), data=here, control=here)
        token = agents.add(config.paths, Agent("local"), token=True).token or ""
        rounds = asyncio.run(with_runtime(config, lambda runtime: _rounds(runtime, token)))
    base = at([one for within, _, _, _ in rounds for one in within], 0.5)
    over = [one - base for _, _, over, _ in rounds for one in over]
    note = f"p50 in the process {1e6 * base:.0f} us"
    yield line("execute_http", "us", over, f"what HTTP adds to an allowed call, one caller; {note}")
    added = [(cpu_over - cpu_within) / CALLS for _, cpu_within, _, cpu_over in rounds]
    spent = 1e6 * at([cpu / CALLS for _, cpu, _, _ in rounds], 0.5)
    yield line("execute_http_cpu", "us", added, f"processor time that it adds to a call; in the process {spent:.0f} us")


Round = tuple[list[float], float, list[float], float]  # seconds of each call within, processor time of all; the same over HTTP


async def _rounds(runtime: Runtime, token: str) -> list[Round]:
    """One after the other, in turns, so that what else the machine does disturbs both."""
    doors = Doors(runtime, Asked(_PAGE))
    try:
        host = next(one.at for one in await doors.start() if one.plane == "data").partition("://")[2]
        await _within(runtime)  # whatever is made once is made
        rounds = []
        for _ in range(ROUNDS):
            began = time.process_time()
            within = await _within(runtime)
            turn = time.process_time()
            over = await _over(host, token)
            rounds.append((within, turn - began, over, time.process_time() - turn))
        return rounds
    finally:
        await doors.close(1.0)


async def _within(runtime: Runtime) -> list[float]:
    samples = []
    for number in range(CALLS):
        raw = request(TOOL, number)
        began = time.perf_counter()
        await runtime.call(raw, principal="local", door="execute")
        samples.append(time.perf_counter() - began)
    return samples


async def _over(host: str, token: str) -> list[float]:
    head = f"POST /mcp/v1/execute HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    words = [sys.executable, "-I", "-S", "-c", _CALLER, *host.split(":"), str(CALLS)]
    pipe = asyncio.subprocess.PIPE
    caller = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)
    said, _ = await caller.communicate(head.encode())
    if caller.returncode:
        raise RuntimeError("the benchmark's own caller was refused")
    samples = parse(said, any_number=True)
    return [float(str(one)) for one in samples] if isinstance(samples, list) else []


def cold_start() -> Iterator[Line]:
    """From the start of the command to the moment in which it says that it is ready."""
    with tempfile.TemporaryDirectory(prefix="helm-bench-", dir=on_disk()) as folder:
        config = home_of_ten(Path(folder))
        with config.paths.config.open("a", encoding="utf-8") as file:
            file.write('[data]\nlisten = "127.0.0.1:0"\n[control]\nlisten = "127.0.0.1:0"\n')
        samples = [_start(config) for _ in range(STARTS + 1)][1:]
    yield line("cold_start", "us", samples, "`helm-ai-kernel up` to READY, ten pinned tools, an empty log")


def _start(config: Config) -> float:
    reads, writes = os.pipe()
    code = "import sys; from helm_ai_kernel.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "up", "--home", str(config.paths.home), "--ready-fd", str(writes)]
    environ = {**os.environ, "HELM_PEOPLE": str(config.paths.people)}
    environ.pop("HELM_STATE", None)  # a trial's heads are beside its people
    began = time.perf_counter()
    with subprocess.Popen(words, pass_fds=(writes,), env=environ, stdout=subprocess.DEVNULL) as process:
        os.close(writes)
        ready = os.read(reads, 16)
        took = time.perf_counter() - began
        os.close(reads)
        process.terminate()
    if not ready or process.returncode:
        raise RuntimeError("the benchmark's own kernel did not start")
    return took
