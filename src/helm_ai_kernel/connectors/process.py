"""A child process that we own whole: its own session, an environment of named variables, and an end that leaves nothing behind.

The child never gets our environment, a shell, or an inherited descriptor. Its stderr is drained, so that it cannot block, and
only the last of it is kept. A descendant that makes a session of its own escapes the group; nothing here claims otherwise.
"""

import asyncio
import os
import shlex
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import cast

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

ALLOWED = frozenset({"PATH", "HOME", "LANG", "TMPDIR"})  # and LC_*: what a program needs to start, and no secret
STDERR_BYTES_MAX = 16 << 10  # the last words of a server, for a person to read
UNWRITTEN_BYTES_MAX = 8 << 20  # what a server that does not read can make us hold
STEP_S = 2.0  # each step of an end: end of input, TERM, KILL
DRAIN_S = 1.0  # after the exit, for what still stands in the pipes


def environment(source: Mapping[str, str], named: Iterable[str] = ()) -> dict[str, str]:
    """The part of `source` that a child gets."""
    names = ALLOWED | frozenset(named)
    return {name: value for name, value in source.items() if name in names or name.startswith("LC_")}


class Process(asyncio.SubprocessProtocol):
    """`on_data` gets stdout as it comes, and `b""` once when it has ended, after the last byte or with the process."""

    def __init__(self, on_data: Callable[[bytes], None]) -> None:
        self._on_data = on_data
        self._stderr = bytearray()
        self._transport: asyncio.SubprocessTransport | None = None
        self._loop = asyncio.get_running_loop()
        self._exited = asyncio.Event()
        self._gone = asyncio.Event()
        self._drain: asyncio.TimerHandle | None = None
        self._ended = False
        self._sent: signal.Signals | None = None
        self.status: int | None = None  # how it ended by itself: its exit status, or the negative number of a signal not ours

    async def start(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str | None) -> None:
        """Raises `OutsideError(ERR_CONNECTOR_FAILED)` when it cannot be started."""
        try:
            await self._loop.subprocess_exec(lambda: self, argv[0], *argv[1:], env=dict(env), cwd=cwd, start_new_session=True)
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in an argument
            self._end()
            cause = error.strerror if isinstance(error, OSError) and error.strerror else "not a command line"
            look = "command -v" if isinstance(error, FileNotFoundError) else "ls -ld"
            hint = f"install it, or name it with its whole path; to look for it: {look} {shlex.quote(argv[0])}"
            raise OutsideError(Reason.ERR_CONNECTOR_FAILED, f"`{argv[0]}` did not start: {cause.lower()}", hint=hint) from None

    @property
    def alive(self) -> bool:
        """It runs, it may still speak, and it may still listen."""
        pipe = self._stdin()
        return not self._exited.is_set() and not self._ended and pipe is not None and not pipe.is_closing()

    @property
    def pid(self) -> int:
        return self._transport.get_pid() if self._transport is not None else 0

    @property
    def stderr_tail(self) -> bytes:
        return bytes(self._stderr)

    def write(self, data: bytes) -> bool:
        """False: no byte of `data` has left or ever will. True: some may have."""
        pipe = self._stdin()
        if pipe is None or not self.alive or pipe.get_write_buffer_size() > UNWRITTEN_BYTES_MAX:
            return False
        waiting = pipe.get_write_buffer_size() > 0
        pipe.write(data)  # writes at once when nothing waits, and then closes the pipe when the reader is gone
        return waiting or not pipe.is_closing()

    async def stop(self) -> None:
        """End of input, then TERM, then KILL, each with a bounded wait; returns when the child is gone."""
        if self._transport is None:
            return
        for step in (self._close_stdin, lambda: self._signal(signal.SIGTERM), lambda: self._signal(signal.SIGKILL)):
            if self._exited.is_set():
                break
            step()
            await _within(self._exited, STEP_S)
        self._let_go()
        await _within(self._gone, STEP_S)

    def expire(self) -> None:
        """Kill it in a moment, should it not end by itself: it has stopped talking. `stop` still has to be awaited."""
        self._loop.call_later(DRAIN_S, self.kill)

    async def gone(self) -> None:
        """Wait (bounded) until it has ended, and what it said has come."""
        await _within(self._gone, 2 * DRAIN_S + STEP_S)

    def kill(self) -> None:
        """The end of one that is not to be trusted with another line. `stop` still has to be awaited."""
        self._signal(signal.SIGKILL)

    # asyncio calls what follows

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self._on_data(data)
        else:
            self._stderr += data
            del self._stderr[:-STDERR_BYTES_MAX]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self._end()

    def process_exited(self) -> None:
        code = self._transport.get_returncode() if self._transport is not None else None
        self.status = None if self._sent is not None and code == -self._sent else code
        self._signal(signal.SIGKILL)  # children of the child, which may also hold the pipes open
        self._exited.set()
        self._drain = self._loop.call_later(DRAIN_S, self._let_go)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._drain is not None:
            self._drain.cancel()
        self._end()
        self._gone.set()

    def _let_go(self) -> None:
        """Our ends of the pipes. Someone outside the group may still hold the others: what it says is not the child's word."""
        self._end()
        if self._transport is not None:
            stdin = self._stdin()
            if stdin is not None and stdin.get_write_buffer_size() > 0:
                stdin.abort()  # `close` would wait for a reader
            self._transport.close()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._on_data(b"")

    def _stdin(self) -> asyncio.WriteTransport | None:
        pipe = self._transport.get_pipe_transport(0) if self._transport is not None else None
        return pipe if isinstance(pipe, asyncio.WriteTransport) else None

    def _close_stdin(self) -> None:
        pipe = self._stdin()
        if pipe is not None:
            pipe.close()

    def _signal(self, number: signal.Signals) -> None:
        """To the whole group, and never after the exit was seen: by then the id may be another's."""
        if self._transport is None or self._exited.is_set():
            return
        self._sent = number
        with suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS says so of a group of zombies
            os.killpg(self._transport.get_pid(), number)


async def _within(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
