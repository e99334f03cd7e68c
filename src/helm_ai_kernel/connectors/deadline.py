"""How long a call may still take: its deadline stands still while somebody is asked, and never for ever."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STILL_S_MAX = 3600.0  # of one call, all questions together: a person may be away; an hour later nobody waits for the answer


class Deadline:
    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = clock() + seconds
        self._allowance = STILL_S_MAX
        self._still = 0  # questions that are open
        self._since = 0.0
        self._moved: asyncio.Future[None] | None = None

    def left(self) -> float:
        """Seconds, 0 where it has passed; while it stands still, those that it may stand."""
        left = self._until - self._clock()
        if self._still:
            left += self._clock() - self._since + self._allowance_left()
        return max(0.0, left)

    @contextmanager
    def still(self) -> Iterator[None]:
        """It stands still within, also where others let it stand still at the same time."""
        if not self._still:
            self._since = self._clock()
        self._still += 1
        self._move()
        try:
            yield
        finally:
            self._still -= 1
            if not self._still:
                stood = min(self._clock() - self._since, self._allowance)
                self._allowance -= stood
                self._until += stood
            self._move()

    async def wait(self, future: "asyncio.Future[Any]") -> bool:
        """Whether the future was done in time; it is not cancelled."""
        while not future.done():
            left = self.left()
            if left <= 0:
                return False
            self._moved = asyncio.get_running_loop().create_future()
            await asyncio.wait({future, self._moved}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        return True

    def _allowance_left(self) -> float:
        return max(0.0, self._allowance - (self._clock() - self._since))

    def _move(self) -> None:
        if self._moved is not None and not self._moved.done():
            self._moved.set_result(None)
