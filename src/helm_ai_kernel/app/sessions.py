"""The open sessions of callers: one for each principal at each door, opened by its first call and ended when it has been still.

No call waits for an end, and none is cut off by one: a session that is too old takes no new calls, and ends behind its last.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from helm_ai_kernel.ledger.transaction import Session
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused

IDLE_S = 30 * 60.0  # without a call
AGE_S = 24 * 3600.0  # however busy: what one session says can be exported and read by a person

Opening = Callable[[str, str, str | None], Awaitable[Session]]
Ending = Callable[[Session, str], Awaitable[Any]]


@dataclass(slots=True, eq=False)
class _Place:
    """A principal at a door. `session` may still be on its way: the first caller opens it, the others wait for the same one."""

    session: "asyncio.Future[Session]"
    began: float
    used: float
    calls: int = 0

    @property
    def failed(self) -> bool:
        """It was never opened, as where a disk was full: the next caller tries again."""
        return self.session.done() and (self.session.cancelled() or self.session.exception() is not None)


class Sessions:
    """Use it on the kernel's loop."""

    def __init__(
        self,
        opening: Opening,
        ending: Ending,
        keep: "Callable[[asyncio.Task[Any]], None]",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`keep`: holds the task of an end that nobody waits for."""
        self._opening = opening
        self._ending = ending
        self._keep = keep
        self._clock = clock
        self._places: dict[tuple[str, str], _Place] = {}
        self._leaving: dict[_Place, str] = {}  # those that take no new calls, and why

    @asynccontextmanager
    async def of(self, principal: str, door: str, named: str | None = None) -> AsyncIterator[Session]:
        """The open session of that principal at that door, for one call. `named`: raises `Refused` unless it is that one."""
        place = self._current(principal, door)
        if named is not None and (place is None or not place.session.done() or place.session.result().id != named):
            detail = "this session has ended, or is not the caller's"
            raise Refused(Reason.ERR_SESSION_ENDED, detail, hint="leave `Helm-Session` out: sessions are issued here")
        if place is None:
            now = self._clock()
            opened = asyncio.ensure_future(self._opening(principal, door, None))
            place = self._places[principal, door] = _Place(opened, now, now)
        place.calls += 1
        try:
            yield place.session.result() if place.session.done() else await asyncio.shield(place.session)
        finally:
            place.calls -= 1
            place.used = self._clock()
            if place in self._leaving and not place.calls:
                self._end(place, self._leaving.pop(place))

    def sweep(self) -> None:
        """End those that nobody has called for long, or that are too old."""
        for principal, door in tuple(self._places):
            self._current(principal, door)

    @property
    def open(self) -> int:
        return len(self._places)

    def _current(self, principal: str, door: str) -> _Place | None:
        place = self._places.get((principal, door))
        if place is None or not (place.failed or self._why(place)):
            return place
        del self._places[principal, door]
        if place.failed:
            return None
        if place.calls:
            self._leaving[place] = self._why(place)
        else:
            self._end(place, self._why(place))
        return None

    def _why(self, place: _Place) -> str:
        """Why it ends; nothing while it does not."""
        now = self._clock()
        if now - place.began >= AGE_S:
            return "age"
        return "idle" if not place.calls and now - place.used >= IDLE_S else ""

    def _end(self, place: _Place, why: str) -> None:
        self._keep(asyncio.ensure_future(self._ended(place, why)))

    async def _ended(self, place: _Place, why: str) -> None:
        with suppress(OutsideError, asyncio.CancelledError):  # a full disk: the kernel's close ends it
            await self._ending(await place.session, why)
