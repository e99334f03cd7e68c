"""The thread in which a kernel runs beside its program: an event loop of its own, from the first call to the last."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

from .runtime import Runtime

STUCK_S = 30.0  # beyond its time, for a bounded close: ends of servers, outcomes on a slow disk; a blocked loop takes longer

_forks = 0  # that lie between the first process of this program and this one

T = TypeVar("T")
Work = Callable[[Runtime], Coroutine[Any, Any, T]]
Opening = Callable[[], Coroutine[Any, Any, Runtime]]


def process() -> tuple[int, int]:
    """This process. Its id alone could be another's by now, or in another namespace."""
    return os.getpid(), _forks


def _forked() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_forked)


@dataclass(frozen=True, slots=True)
class Running:
    """A runtime, open on a loop that only its thread turns."""

    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    runtime: Runtime

    @classmethod
    def start(cls, opening: Opening) -> "Running":
        """Open it there and wait for that; what is opened is closed again where the wait is interrupted."""
        loop, opened = asyncio.new_event_loop(), list["asyncio.Task[Runtime]"]()
        thread = threading.Thread(target=_serve, args=(loop, opened), name="helm-kernel", daemon=True)
        thread.start()
        try:
            runtime = asyncio.run_coroutine_threadsafe(_open(opening, opened), loop).result()
        except BaseException:
            try:
                asyncio.run_coroutine_threadsafe(_undo(opened), loop).result()
            finally:
                _stop(loop, thread)
            raise
        return cls(loop, thread, runtime)

    @property
    def here(self) -> bool:
        """This is the kernel's own thread, which must not wait for itself."""
        return threading.current_thread() is self.thread

    def submit(self, work: Work[T]) -> "Future[T]":
        """Start `work` there, in a copy of this context. What is submitted before `close` is waited for by it."""
        return asyncio.run_coroutine_threadsafe(_kept(self.runtime, work), self.loop)

    def close(self, within_s: float | None) -> None:
        """Close the runtime, end the thread, and let go of the store also where the close failed or was interrupted.

        Raises what the close raised, or `OutsideError` where it was bounded and its loop does not turn any more.
        """
        stuck = False
        try:
            closing = asyncio.run_coroutine_threadsafe(self.runtime.close(within_s=within_s), self.loop)
            stuck = not wait({closing}, None if within_s is None else within_s + STUCK_S).done
            if stuck:
                detail = "the kernel cannot close: an async function blocks its event loop"
                hint = "write that function without `async`, or let it await; the store is free when this process ends"
                raise OutsideError(Reason.ERR_SEALED, detail, hint=hint)
            closing.result()
        finally:
            if not stuck:
                _stop(self.loop, self.thread)
                _let_go(self.runtime)


def _serve(loop: asyncio.AbstractEventLoop, opened: "list[asyncio.Task[Runtime]]") -> None:
    """The thread. Its frame holds what is open: a fork leaves the frame behind, and so the child never closes the parent's
    SQLite connections, which would harm both (sqlite.org/howtocorrupt.html §2.6)."""
    loop.run_forever()
    opened.clear()


async def _open(opening: Opening, opened: "list[asyncio.Task[Runtime]]") -> Runtime:
    opened.append(asyncio.ensure_future(opening()))
    return await opened[0]


async def _undo(opened: "list[asyncio.Task[Runtime]]") -> None:
    """`opened` is empty where the interrupt came before the loop was asked for anything."""
    for runtime in await asyncio.gather(*opened, return_exceptions=True):
        if isinstance(runtime, Runtime):
            try:
                await runtime.close()
            finally:
                _let_go(runtime)


async def _kept(runtime: Runtime, work: Work[T]) -> T:
    task = asyncio.current_task()
    if task is not None:
        runtime.keep(task)
    return await work(runtime)


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def _let_go(runtime: Runtime) -> None:
    """After a close that did not come to its end; nothing runs any more that could write."""
    with suppress(OutsideError):  # what cannot be stored now, the next start finds and says
        runtime.ledger.abandon()
