"""The heartbeat of a running kernel: every so often its newest checkpoint is shown to its witnesses, also when nothing happened.

A log that says nothing for long could have been stopped, or be hidden; one that was cosigned an hour ago was there an hour ago.
No call waits for it: it runs beside them. The end of the process waits, for a bounded time, where it was the first one.
"""

import asyncio
import functools
import sys
from contextlib import suppress

from helm_ai_kernel.ledger.aside import aside
from helm_ai_kernel.ledger.ledger import Ledger
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.findings import visible

from .witnesses import Witnesses

SAID_CHARS_MAX = 600  # of what a witness makes us say, in one line
LAST_S = 3.0  # at the end of a process in which no round is over yet: programs of one call each would never be witnessed
KEEP_S = 1.0  # behind that, to keep what was answered by then


class Heartbeat:
    """Start it in the ledger's loop."""

    def __init__(self, ledger: Ledger, witnesses: Witnesses, every_s: float) -> None:
        self._ledger = ledger
        self._witnesses = witnesses
        self._every_s = every_s
        self._told: dict[str, str] = {}  # by label: what was said of a witness since it answered last
        self._one = asyncio.Lock()
        self._first = asyncio.Event()  # round of this process is over
        self._task = asyncio.create_task(self._run())

    async def stop(self, within_s: float | None = None) -> None:
        """No more rounds. One is over then, whatever came of it, or what was answered in that time is kept."""
        if not self._task.done() and not await self._over(LAST_S if within_s is None else min(within_s, LAST_S)):
            self._witnesses.enough()
            await self._over(KEEP_S)
        self._task.cancel()

    async def _over(self, within_s: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._first.wait(), within_s)
        return self._first.is_set()

    async def _run(self) -> None:
        while not self._ledger.writer.sealed:
            await self.beat()
            await asyncio.sleep(self._every_s)

    async def beat(self) -> None:
        """One round, now, after the one that is under way. What comes of it is kept, told, or seals the kernel."""
        async with self._one:
            await self._beat()
        self._first.set()

    async def _beat(self) -> None:
        try:
            done = await aside(functools.partial(self._witnesses.round, self._ledger.checkpoint), "helm-heartbeat")
        except Exception as error:  # the door: out of threads or memory now, or a bug, and the next beat comes all the same
            if isinstance(error, OutsideError) and error.reason is Reason.ERR_STORE_ROLLBACK:
                self._ledger.writer.seal(error.detail)
                _say(f"error: {error.detail} ({error.reason})", error.hint)
            else:
                self._tell("", str(error) or type(error).__name__, getattr(error, "hint", ""))
            return
        self._tell("", "", "")
        for witness in self._witnesses.policy.witnesses:
            failed = done.failed.get(witness.label)
            self._tell(witness.label, "" if failed is None else failed.detail, "" if failed is None else failed.hint)

    def _tell(self, label: str, detail: str, hint: str) -> None:
        """Once, until it passes or something else is wrong."""
        if detail and self._told.get(label) != detail:
            _say(f"warning: this log is not witnessed as it should be: {detail}", hint)
        self._told[label] = detail


def _say(line: str, hint: str) -> None:
    """One line, and what to do; nothing in it that a terminal could obey. Where nobody reads, nothing ends for it."""
    with suppress(OSError, ValueError):
        print(visible(line, SAID_CHARS_MAX), file=sys.stderr)
        if hint:
            print(f"hint: {visible(hint, SAID_CHARS_MAX)}", file=sys.stderr, flush=True)
