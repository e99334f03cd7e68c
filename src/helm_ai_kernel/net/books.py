"""What a listener knows of its connections of one kind: who is there, who only waits, how much is held, what is being answered.

Places are bounded, for everybody and for each peer. Whoever waits longest, without a whole request or with an answer that it does
not take, gives up its place to somebody new; whoever's request is under way never does.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Protocol

from helm_ai_kernel.wire.head import Wrong
from helm_ai_kernel.wire.reply import Reply

from .door import Bounds, Door

SWEEPS = 8  # looks at deadlines within the shortest time that is bounded: so exactly are bounds kept, and no call has a timer
SWEEP_S_MAX = 0.5


class Member(Protocol):
    """A connection."""

    key: str
    deadline: float

    def overdue(self) -> None:
        """Its deadline has passed."""
        ...

    def end(self) -> None:
        """The listener closes."""
        ...

    def abort(self) -> None: ...


class Books:
    def __init__(self, door: Door, bounds: Bounds, error: Callable[[Wrong], Reply]) -> None:
        self.door, self.bounds, self.error = door, bounds, error
        self.closing = False
        self.held = 0  # bytes of requests
        self.members: set[Member] = set()
        self.tasks: set[asyncio.Task[None]] = set()  # an answer goes on when its connection is gone
        self.empty = asyncio.Event()  # no member is left
        self.empty.set()
        self._waiting: dict[Member, None] = {}  # in the order of since when
        self._count: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        shortest = min(bounds.head_s, bounds.body_s, bounds.idle_s, bounds.write_s, bounds.linger_s)
        self._sweep_s = min(SWEEP_S_MAX, shortest / SWEEPS)

    now = staticmethod(time.monotonic)

    def enter(self, member: Member) -> bool:
        """Whether there is a place for it. It waits, from now on."""
        bounds = self.bounds
        if self._count[member.key] >= bounds.peer_connections and not self._evict(member.key):
            return False
        if len(self.members) >= bounds.connections and not self._evict(None):
            return False
        self.members.add(member)
        self._count[member.key] += 1
        self._waiting[member] = None
        self.empty.clear()
        if self._timer is None:
            self._sweep()
        return True

    def _evict(self, key: str | None) -> bool:
        """Whether one that waits gave up its place, of those with this key."""
        for member in self._waiting:
            if key is None or member.key == key:
                member.abort()
                self.gone(member)
                return True
        return False

    def make_room(self) -> bool:
        return self._evict(None)

    def waits(self, member: Member, *, waiting: bool) -> None:
        """Whether it gives way to others; from now on, where it does."""
        self._waiting.pop(member, None)
        if waiting and member in self.members:
            self._waiting[member] = None

    def gone(self, member: Member) -> None:
        if member not in self.members:
            return
        self.members.remove(member)
        self._waiting.pop(member, None)
        self._count[member.key] -= 1
        if not self._count[member.key]:
            del self._count[member.key]
        if not self.members:
            self.empty.set()

    def start(self, work: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _sweep(self) -> None:
        now = self.now()
        for member in [member for member in self.members if member.deadline < now]:
            member.overdue()
        again = asyncio.get_running_loop().call_later
        self._timer = again(self._sweep_s, self._sweep) if self.members else None
