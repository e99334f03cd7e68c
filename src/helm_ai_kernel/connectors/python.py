"""Functions of this process as tools: the connector of kind `python`.

What is answered to the executor is only what can be proven. A function that raised may have done its work before, so that is
UNKNOWN; it says `raise NotApplied(...)` when it did nothing. A deadline does not stop a function (nothing in Python can): the
call is UNKNOWN, the function goes on, and what it answers then is late. A call that never began is FAILED.
"""

import asyncio
import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from helm_ai_kernel.executor.host import Relay, Reply, ReplyKind
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical

from .output import encode
from .signature import Signature, Unbound, derive
from .threads import Threads

WORKERS = 8  # functions that are not async, at the same time
CLOSE_S = 2.0  # for async functions to end when they are cancelled
Function = Callable[..., object]

# The loop of an asynchronous caller: its async functions hold what belongs to that loop (connections, locks), and run there.
CALLER: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("caller", default=None)


class NotApplied(Exception):
    """Raised by a tool function that promises: nothing was done. The only exception that proves it."""


@dataclass(frozen=True, slots=True)
class _Tool:
    function: Function
    signature: Signature
    pin: Digest


@dataclass(frozen=True, slots=True)
class _End:
    """How a function ended, whenever that was."""

    kind: ReplyKind
    output: bytes | None = field(default=None, repr=False)
    reason: Reason = Reason.OK
    sub: str = ""


class PythonConnector:
    """Implements `Connector` for a few functions, sync or async. Names are the functions' own, without `server/`.

    Async functions run on the loop of `CALLER`, else on `loop`, else on that of the call. `pins`, when given, are checked
    before a function runs: a program whose functions changed since they were pinned does not run them. `on_late` gets the end
    of a function whose call was answered with UNKNOWN at its deadline; it runs on the loop of that call and in its context
    (contextvars).
    """

    def __init__(
        self,
        functions: Iterable[Function],
        *,
        pins: Mapping[str, Digest] | None = None,
        workers: int = WORKERS,
        loop: asyncio.AbstractEventLoop | None = None,
        on_late: Callable[[Reply], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tools: dict[str, _Tool] = {}
        self._threads = Threads(workers)
        self._loop = loop
        self._clock = clock
        self._running: set[asyncio.Future[_End]] = set()
        self._closed = False
        self.pins = pins
        self.on_late = on_late
        for function in functions:
            self.add(function)

    def add(self, function: Function) -> str:
        """Its name. Raises `Refused(ERR_SCHEMA_UNSAFE)`, with what to write instead, where there is no exact schema."""
        signature = derive(function)
        name = str(signature.raw["name"])
        if name in self._tools:
            hint = "rename one, or make a connector for each"
            raise Refused(Reason.ERR_SCHEMA_UNSAFE, f"two functions are called `{name}`", sub="signature", hint=hint)
        self._tools[name] = _Tool(function, signature, digest(canonical(signature.raw)))
        return name

    @property
    def definitions(self) -> dict[str, dict[str, Json]]:
        return {name: tool.signature.raw for name, tool in self._tools.items()}

    async def call(
        self, name: str, args: bytes, *, key: str | None, wall_ms: int, output_bytes: int,
        relay: Relay | None = None, inputs: bytes | None = None,
    ) -> Reply:  # fmt: skip
        """`args` are canonical bytes. `key` is not for functions: the executor dispatches a key once."""
        began = self._clock()
        try:
            tool = self._find(name)
            running, withdraw = self._begin(tool, args)
        except Refused as refused:
            return Reply(ReplyKind.FAILED, self._ms(began), reason=refused.reason, sub=refused.sub)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        await asyncio.wait({running}, timeout=wall_ms / 1000)
        if running.done():
            return self._reply(running, began, output_bytes)
        if withdraw():
            return Reply(ReplyKind.FAILED, self._ms(began), reason=Reason.ERR_CONNECTOR_FAILED, sub="busy")
        running.add_done_callback(lambda done: self._late(done, began, output_bytes))
        return Reply(ReplyKind.UNKNOWN, self._ms(began), reason=Reason.ERR_OUTCOME_UNKNOWN, sub="timeout")

    async def close(self) -> None:
        """Calls in flight end as UNKNOWN. Async functions are cancelled; threads cannot be, and die with the process."""
        self._closed = True
        self._threads.shutdown(cancel_futures=True)
        running = set(self._running)
        for future in running:
            future.cancel()
        if running:
            await asyncio.wait(running, timeout=CLOSE_S)

    def waiting(self) -> AbstractContextManager[None]:
        """Around a wait for another call: where a function of ours makes it, its thread counts for nothing meanwhile."""
        return self._threads.lent()

    def _find(self, name: str) -> _Tool:
        if self._closed:
            raise Refused(Reason.ERR_CONNECTOR_FAILED, "the connector is closed", sub="closed")
        tool = self._tools.get(name)
        if tool is None:
            raise Refused(Reason.ERR_CONNECTOR_FAILED, f"there is no function `{name[:64]}`", sub="no_such_tool")
        if self.pins is not None and self.pins.get(name) != tool.pin:
            raise Refused(Reason.ERR_MCP_SCHEMA_DRIFT, f"`{name[:64]}` is not the function that was pinned", sub="changed")
        return tool

    def _begin(self, tool: _Tool, args: bytes) -> tuple[asyncio.Future[_End], Callable[[], bool]]:
        """The running function, and how to take it back; that succeeds only where it has not begun."""
        if not inspect.iscoroutinefunction(tool.function):
            queued: Future[_End] = self._threads.submit(_run, tool, args)
            return asyncio.wrap_future(queued), queued.cancel
        here = asyncio.get_running_loop()
        there = CALLER.get() or self._loop or here
        if there is here:
            return here.create_task(_run_async(tool, args)), lambda: False
        sent, stop = _send(there, tool, args)
        running = asyncio.wrap_future(sent)
        running.add_done_callback(lambda done: stop() if done.cancelled() else None)
        return running, sent.cancel

    def _late(self, done: asyncio.Future[_End], began: float, output_bytes: int) -> None:
        if self.on_late is not None and not self._closed and not done.cancelled():
            self.on_late(self._reply(done, began, output_bytes))

    def _reply(self, done: asyncio.Future[_End], began: float, output_bytes: int) -> Reply:
        if done.cancelled():  # by `close`
            return Reply(ReplyKind.UNKNOWN, self._ms(began), reason=Reason.ERR_OUTCOME_UNKNOWN, sub="closed")
        end = done.result()
        output, truncated = end.output, False
        if output is not None and len(output) > output_bytes:
            output, truncated = output[:output_bytes], True
        return Reply(end.kind, self._ms(began), output=output, reason=end.reason, sub=end.sub, truncated=truncated)

    def _ms(self, began: float) -> int:
        return int((self._clock() - began) * 1000)


def _send(loop: asyncio.AbstractEventLoop, tool: _Tool, args: bytes) -> tuple[Future[_End], Callable[[], None]]:
    """Run it on another loop; it can be taken back until it begins there, and stopped afterwards. Raises `Refused`."""
    sent: Future[_End] = Future()
    tasks: list[asyncio.Task[_End]] = []

    def begin() -> None:
        if sent.set_running_or_notify_cancel():
            tasks.append(loop.create_task(_run_async(tool, args)))
            tasks[0].add_done_callback(lambda task: sent.set_result(_end_of(task)))

    def stop() -> None:
        with suppress(RuntimeError):  # that loop is closed, and the task with it
            loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])

    try:
        loop.call_soon_threadsafe(begin)
    except RuntimeError:
        raise Refused(Reason.ERR_CONNECTOR_FAILED, "the caller's event loop is closed", sub="loop_closed") from None
    return sent, stop


def _end_of(task: "asyncio.Task[_End]") -> _End:
    try:
        return task.result()
    except BaseException as error:  # cancelled, or an interrupt of the program that runs this loop
        return _raised(error)


def _run(tool: _Tool, args: bytes) -> _End:
    try:
        return _ended(tool.function(**tool.signature.bind(args)))
    except BaseException as error:  # the function's own door: whatever it raises, its call has an end and the kernel goes on
        return _raised(error)


async def _run_async(tool: _Tool, args: bytes) -> _End:
    try:
        work: Any = tool.function(**tool.signature.bind(args))
        return _ended(await work)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the same door; SystemExit of a task would end the kernel's loop
        return _raised(error)


def _ended(value: object) -> _End:
    """A value that JSON does not have is an empty output, which keeps no contract: the function ran, and its word is unusable."""
    output = encode(value)
    return _End(ReplyKind.OUTPUT, output or b"", sub="" if output else "not_json")


def _raised(error: BaseException) -> _End:
    if isinstance(error, NotApplied):
        return _End(ReplyKind.FAILED, reason=Reason.ERR_CONNECTOR_FAILED, sub="not_applied")
    if isinstance(error, Unbound):
        return _End(ReplyKind.FAILED, reason=error.reason, sub=error.sub)
    name = type(error).__name__[:64]
    return _End(ReplyKind.UNKNOWN, reason=Reason.ERR_OUTCOME_UNKNOWN, sub=f"exception {name if name.isascii() else '?'}")
