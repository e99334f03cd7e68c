"""A bounded pool of daemon threads: a function that hangs must not keep the kernel from ending.

The pool of the standard library joins its threads when the interpreter ends, for as long as they take.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

LENT_MAX = 256  # functions that wait for one another, each a thread of its own: a recursion has to end somewhere

P = ParamSpec("P")
T = TypeVar("T")
_Job = tuple[Future[Any], Callable[[], Any]]


class Threads(Executor):
    """At most `workers` functions run that do not wait for another; the rest queue, and can be taken back until they begin."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)  # workers that wait for a job
        self._lock = threading.Lock()
        self._here = threading.local()  # `inside` is set in threads of this pool
        self._started = 0
        self._lent = 0
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is closed")
            self._jobs.put((future, lambda: fn(*args, **kwargs)))
            if not self._idle.acquire(blocking=False):
                self._start()
        return future

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Around a wait of a function here for another one: meanwhile its place is free. In other threads it does nothing."""
        with self._lock:
            lends = getattr(self._here, "inside", False) and self._lent < LENT_MAX
            self._lent += lends
            if lends and not self._jobs.empty() and not self._closed:
                self._start()
        try:
            yield
        finally:
            with self._lock:
                self._lent -= lends

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:
        """Never waits: a thread ends after the function that it runs."""
        with self._lock:
            self._closed = True
            while cancel_futures and not self._jobs.empty():
                job = self._jobs.get_nowait()
                if job is not None:
                    job[0].cancel()
            for _ in range(self._started):
                self._jobs.put(None)

    def _start(self) -> None:
        if self._started < self._workers + self._lent:
            self._started += 1
            threading.Thread(target=self._work, name=f"helm-tool-{self._started}", daemon=True).start()

    def _work(self) -> None:
        self._here.inside = True
        while (job := self._jobs.get()) is not None:
            future, run = job
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(run())
                except BaseException as error:  # to whoever waits for the future, as in the standard library
                    future.set_exception(error)
            del future, run, job
            with self._lock:
                if self._started > self._workers + self._lent:  # the place was lent, and has been taken back
                    self._started -= 1
                    return
                self._idle.release()
