"""Work that waits, beside the event loop: in a thread of its own, for which the end of the interpreter does not wait.

An executor's threads are waited for at the end, however long they take.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def aside(work: Callable[[], T], name: str) -> T:
    """What `work` returns or raises; raises `RuntimeError` where no thread is to be had."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # it is for whoever waits
            settle(future.set_exception, error)
        else:
            settle(future.set_result, result)

    def settle(how: Callable[..., None], what: object) -> None:
        with suppress(RuntimeError):  # the loop is gone, and with it whoever asked
            loop.call_soon_threadsafe(lambda: None if future.done() else how(what))

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
