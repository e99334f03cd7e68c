"""What a start owes to the process before it: every open intent gets an outcome UNKNOWN before the kernel is ready.

Nothing is dispatched here. An UNKNOWN is the truth: the effect may have happened. Running this again (or dying in the
middle of it) is harmless, because an intent that has its outcome is open no more.
"""

from collections.abc import Iterable
from typing import Protocol

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Outcome, Status
from helm_ai_kernel.tcb.digest import Digest


class Recovery(Protocol):
    """The log as a start sees it."""

    def open_intents(self) -> Iterable[Digest]:
        """Leaf hashes of the decisions that have no outcome, oldest first."""
        ...

    async def recovered(self, open_count: int) -> None:
        """Record in the `kernel` session that recovery began, and what it found."""
        ...

    async def conclude(self, decision: Digest, outcome: Outcome) -> None:
        """Record in the `kernel` session the outcome of a decision of an earlier process."""
        ...


async def recover(log: Recovery, *, clean: bool) -> int:
    """Returns how many intents were closed as UNKNOWN. `clean`: the process before ended its sessions itself."""
    found = tuple(log.open_intents())
    if clean and not found:
        return 0
    await log.recovered(len(found))
    for decision in found:
        await log.conclude(decision, Outcome(Status.UNKNOWN, 0, reason=Reason.ERR_OUTCOME_UNKNOWN, sub="crash"))
    return len(found)
