"""Refusals of which no receipt of their own is written: who is not known could fill the disk with them. They are counted.

For each door there is one record of what was refused in a second, and none for a second in which nothing was.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

SECOND_S = 1.0


class GapLog(Protocol):
    """Where they are kept; durable when it returns, or raises `OutsideError`."""

    async def gap(self, door: str, counts: Mapping[str, int]) -> None: ...


class Gaps:
    """The refusals of one door. Use it on the loop of its listener."""

    def __init__(self, door: str, log: GapLog, keep: "Callable[[asyncio.Task[None]], None]") -> None:
        """`keep`: holds the task in which a second's counts are written."""
        self.total: Counter[str] = Counter()  # since the start, for the metrics
        self._door = door
        self._log = log
        self._keep = keep
        self._new: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def count(self, reason: Reason) -> None:
        self.total[reason.value] += 1
        self._new[reason.value] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SECOND_S, self._due)

    async def flush(self) -> None:
        """Write what was counted and not written yet. What cannot be written now is counted on, and written later."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        counts, self._new = self._new, Counter()
        if not counts:
            return
        try:
            await self._log.gap(self._door, dict(sorted(counts.items())))
        except OutsideError:  # the store is full, or sealed: that is said where it is asked for, and nothing more happens here
            self._new += counts

    def _due(self) -> None:
        self._timer = None
        self._keep(asyncio.ensure_future(self.flush()))
