"""Callers that wait for a person: woken when something was said, when a timelock is over, and when nobody answered in time.

A wait ends with the call being decided again, never with a dispatch: that is decided where every call is.
"""

import asyncio
from contextlib import suppress

from helm_ai_kernel.ledger.ledger import Ledger
from helm_ai_kernel.ledger.writer import now
from helm_ai_kernel.tcb.ceremony import State
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import OutsideError

LOOK_S = 5.0  # how late the end of a held call is recorded; while the machine slept no timer runs
TIMELOCK_LEAST_S = 0.05  # clocks count whole ms, and each look is a receipt


class Waiting:
    """Of one ledger, in its loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._changed = asyncio.Event()
        self._closed = False
        self._watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        """When the log has begun: from now on silence ends held calls."""
        self._watch = asyncio.create_task(self._lapses())

    def wake(self) -> None:
        """Somebody said something: whoever waits looks again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def moved(self, call: Digest, within_s: float) -> bool:
        """Until it is worth deciding that held call again; False where that did not come in time, or the kernel closes."""
        ceremony = self._ledger.writer.state.approvals.held.get(call)
        if ceremony is None:
            return True
        held = ceremony.read(self._ledger.in_force)
        if held.state is State.COMPLETE and held.since is not None:
            passed = now().clock.since(held.since)
            left_s = (held.requires.timelock_ms - (passed.surely_ms if passed else 0)) / 1000
            if left_s <= within_s:
                return await self._until(max(left_s, TIMELOCK_LEAST_S)) or not self._closed
        return await self._until(within_s) and not self._closed

    async def close(self) -> None:
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        self.wake()

    async def _until(self, within_s: float) -> bool:
        """Whether something was said before that."""
        try:
            async with asyncio.timeout(within_s):
                return await self._changed.wait()
        except TimeoutError:
            return False

    async def _lapses(self) -> None:
        while True:
            with suppress(OutsideError):  # a full disk, or a seal: the next call says so, and nothing is lost by waiting
                if await self._ledger.lapse():
                    self.wake()
            await asyncio.sleep(LOOK_S)
