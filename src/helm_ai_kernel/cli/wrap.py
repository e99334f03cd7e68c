"""`mcp wrap`: stands in the place of an MCP server, and passes lines between its client and the kernel. Nothing is decided here.

It must start in milliseconds and live as long as its client: it loads no part of the kernel but this, and starts the kernel under
a lock where none is there. When the kernel goes, it goes: a client is never left with a server that is not governed.
"""

import argparse
import fcntl
import json
import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from helm_ai_kernel.app.config import Paths
from helm_ai_kernel.app.config import paths as places
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused

from .output import PROGRAM, Commands, Declined, command

READY_S = 30.0  # for a kernel to be ready: its store is checked first
HELLO_BYTES_MAX = 1 << 20
PIECE = 1 << 16
IDLE_S = 300  # how long a kernel that was started for a client stays behind the last one
ALLOWED = ("PATH", "HOME", "LANG", "TMPDIR")  # what any server gets; `connectors/process.py` looks again
NAME_CHARS_MAX = 64


def add(group: Commands) -> None:
    text = "a governed MCP server over stdio, in front of an existing one"
    wrap = command(group, "wrap", text, f"{PROGRAM} mcp wrap --name time -- mcp-server-time")
    wrap.add_argument("--name", help="of the server, as it is pinned (default: the command's own)")
    wrap.add_argument("--agent", help="whose calls these are (default: [kernel] agent)")
    wrap.add_argument("--env", action="append", default=[], metavar="NAME", help="a variable that the server needs")
    wrap.add_argument("--url", help="of the server, where it is one over HTTP")
    wrap.usage = f"{PROGRAM} mcp wrap [-h] [--home HOME] [--name N] [--agent A] [--env NAME] (--url URL | -- CMD ...)"
    wrap.tail = "command"
    wrap.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if bool(args.command) is bool(args.url):
        raise Declined("either `--url URL`, or `--` and the server's command", f"{PROGRAM} mcp wrap --help")
    paths, first = places(args.home), args.command[0] if args.command else args.url
    sock = _connected(paths)
    hello = {"v": 1, "server": args.name or _name(first), "agent": args.agent, "env": args.env, "cwd": os.getcwd()}
    hello |= {"command": args.command, "url": args.url}
    with sock:
        _send(sock, hello)
        told = _line(sock)
        if "error" in told:
            raise Refused(Reason(told["error"]), told["detail"], hint=told["hint"])
        if told["notice"]:
            print(f"helm-ai-kernel: {told['notice']}", file=sys.stderr, flush=True)
        wanted = {*ALLOWED, *told["env"]}
        env = {key: value for key, value in os.environ.items() if (key in wanted or key.startswith("LC_")) and _is_text(value)}
        _send(sock, {"env": env})
        return _pump(sock)


def _pump(sock: socket.socket) -> int:
    """Bytes both ways, until either side ends. 0 where the client ended it."""
    stdin, stdout, open_ = sys.stdin.fileno(), sys.stdout.fileno(), True
    while True:
        ready, _, _ = select.select([sock, stdin] if open_ else [sock], [], [])
        if sock in ready:
            data = _received(sock)
            if not data:
                if open_:
                    print("helm-ai-kernel: the kernel ended", file=sys.stderr)
                return 1 if open_ else 0
            _write(stdout, data)
        if stdin in ready:
            data = os.read(stdin, PIECE)
            if data:
                sock.sendall(data)
            else:
                open_ = False
                sock.shutdown(socket.SHUT_WR)


def _received(sock: socket.socket) -> bytes:
    """Nothing where the kernel is gone, however it went."""
    try:
        return sock.recv(PIECE)
    except OSError:
        return b""


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _connected(paths: Paths) -> socket.socket:
    """To the kernel, which is started where it is not there. Raises `OutsideError`."""
    sock = _try(paths.wrap_socket)
    if sock is not None:
        return sock
    paths.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (paths.run / "start.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of many clients that start at once, one starts it
        sock = _try(paths.wrap_socket)
        if sock is None:
            _start(paths)
            sock = _try(paths.wrap_socket)
    if sock is None:
        raise _not_there(paths, "it does not listen for clients")
    return sock


def _try(path: Path) -> socket.socket | None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(str(path))
        return sock
    except OSError:
        sock.close()
        return None


def _start(paths: Paths) -> None:
    """A kernel of its own session, which outlives its first client, and ends when none is left."""
    if not paths.config.exists():
        detail, hint = f"there is no kernel in `{paths.home}`", paths.typed("init")
        raise OutsideError(Reason.ERR_POLICY_NOT_READY, detail, hint=hint)
    reads, writes = os.pipe()
    words = ["-m", "helm_ai_kernel", "up", "--home", str(paths.home), "--ready-fd", str(writes), "--idle-s", str(IDLE_S)]
    with (paths.run / "up.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(writes,), start_new_session=True
        )
    os.close(writes)
    until = time.monotonic() + READY_S
    try:
        while (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select([reads], [], [], left)
            if ready and os.read(reads, 64).startswith(b"READY"):
                process.returncode = 0  # it outlives us, and nobody here waits for its end
                return
            if ready:
                raise _not_there(paths, f"it ended with status {process.wait()}")
        process.terminate()
        raise _not_there(paths, f"it was not ready within {READY_S:.0f} s")
    finally:
        os.close(reads)


def _not_there(paths: Paths, cause: str) -> OutsideError:
    detail = f"the kernel could not be started: {cause}; what it said is in `{paths.run / 'up.log'}`"
    return OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint=paths.typed("up"))


def _send(sock: socket.socket, value: object) -> None:
    sock.sendall(json.dumps(value).encode() + b"\n")


def _line(sock: socket.socket) -> dict[str, Any]:
    from helm_ai_kernel.tcb.ijson import parse

    line = b""
    while not line.endswith(b"\n") and len(line) < HELLO_BYTES_MAX:
        piece = sock.recv(PIECE)
        if not piece:
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, "the kernel ended", hint=f"{PROGRAM} up")
        line += piece
    value = parse(line, bytes_max=HELLO_BYTES_MAX)
    if not isinstance(value, dict) or value.get("v") != 1:
        raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, "the kernel is of another version", hint="restart the kernel")
    return value


def _is_text(value: str) -> bool:
    """Whether it can be said in JSON: a variable may be any bytes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name(word: str) -> str:
    """Of the server, after its command."""
    short = "".join(char if char.isalnum() and char.isascii() else "-" for char in Path(word).name.lower()).strip("-")
    return short[:NAME_CHARS_MAX] or "server"
