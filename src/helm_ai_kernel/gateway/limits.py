"""How much one principal may ask for: a bucket for its rate, a count for what is under way. Nothing is rounded: whole numbers."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from .identity import Agent

_CALL = 1_000_000_000  # what a call takes from a bucket that fills by `per_s` each nanosecond


@dataclass(slots=True)
class _Use:
    level: int
    at: int
    under_way: int = 0


class Slot:
    """The place of one call among those of its agent, given back once. `kept`: by a call that outlives its request."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self.kept = False
        self._leave: Callable[[], None] | None = leave

    def keep(self, task: "asyncio.Task[None]") -> None:
        self.kept = True
        task.add_done_callback(lambda _: self.leave())

    def leave(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()


class Limiter:
    """One for all data doors of a kernel, on one loop. It remembers as many principals as there are agents."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self._clock_ns = clock_ns
        self._uses: dict[str, _Use] = {}

    def take(self, agent: Agent) -> int:
        """0: it may go on, and is counted. Else so many seconds until it may try again."""
        limits = agent.limits
        if limits.per_s is None:
            return 0
        use, now = self._use(agent), self._clock_ns()
        use.level = min(_size(agent), use.level + max(0, now - use.at) * limits.per_s)
        use.at = now
        if use.level < _CALL:
            return -(-(_CALL - use.level) // (limits.per_s * _CALL))
        use.level -= _CALL
        return 0

    def enter(self, agent: Agent) -> bool:
        """Whether one more call of it may be under way; then `leave` must follow."""
        use = self._use(agent)
        if use.under_way >= agent.limits.concurrent:
            return False
        use.under_way += 1
        return True

    def leave(self, agent: Agent) -> None:
        self._uses[agent.name].under_way -= 1

    def _use(self, agent: Agent) -> _Use:
        return self._uses.setdefault(agent.name, _Use(_size(agent), self._clock_ns()))


def _size(agent: Agent) -> int:
    return (agent.limits.burst or agent.limits.per_s or 0) * _CALL
