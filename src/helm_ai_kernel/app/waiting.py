"""Callers that wait for a person: woken when something was said, when a timelock is over, and when nobody answered in time.

A wait ends with the call being decided again, never with a dispatch: that is decided where every call is.
"""

import asyncio
from contextlib import suppress

from helm_ai_kernel.ledger.ledger import Ledger
from helm_ai_kernel.ledger.writer import now
from helm_ai_kernel.tcb.ceremony import Held, State
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import OutsideError

LOOK_S = 5.0  # how late the end of a held call is recorded; while the machine slept no timer runs
LEAST_S = 0.05  # clocks count whole ms, and each look is a receipt


_SAID = (State.DENIED, State.OVERRIDDEN)
_OVER = (Reason.ERR_APPROVAL_EXPIRED, Reason.ERR_APPROVAL_CONSUMED)


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
        """Until it is worth deciding that held call again, which it is when its time is over, too, so that the caller is told no.

        False where that did not come in time, or the kernel closes; or where silence has ended it already, or another caller went
        on with it: whoever waited for an answer does not ask for another call by that.
        """
        ceremony = self._ledger.writer.state.approvals.held.get(call)
        if ceremony is not None:
            held = ceremony.read(self._ledger.in_force)
            left_s = 0.0 if held.state in _SAID else self._left_s(held)  # said before anybody waited to hear it
            if not await self._until(min(left_s, within_s)) and within_s < left_s:
                return False
        return not self._closed and self._ledger.writer.state.approvals.ended.get(call) not in _OVER

    def _left_s(self, held: Held) -> float:
        """Until something becomes of it though nobody says a word."""
        clock, requires = now().clock, held.requires
        over_ms = requires.expires_ms + 1 - clock.perhaps_ms(held.since or held.at)
        if held.state is State.COMPLETE and held.since is not None:
            passed = clock.since(held.since)
            locked_ms = requires.timelock_ms - (passed.surely_ms if passed else 0)
            over_ms = min(locked_ms, over_ms + requires.timelock_ms)
        elif held.since is not None:
            over_ms += requires.timelock_ms
        return max(over_ms / 1000, LEAST_S)

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
