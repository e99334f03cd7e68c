"""The single writer: takes what is queued, runs it as one transaction, commits with fsync, signs one checkpoint, then answers.

What a group does is worked out on the event loop. So is the commit while the disk answers fast (a thread would cost more than
it saves); a slow disk is waited for in the writer's own thread. A commit that failed in a way that leaves the disk's state
unknown ends the process: nothing that was signed in it may ever leave.
"""

import asyncio
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError, Refused

from .mirror import Head, Mirror
from .signer import CheckpointSigner
from .store import outside, translated
from .transaction import Ink, Moment, Session, State, Transaction
from .watch import Watch

INLINE_US = 300.0  # a commit faster than this is cheaper on the loop than two thread switches
WAL_BYTES_MAX = 4 << 20  # receipts and attachments written before the WAL is folded back into the file
IDLE_S = 0.05  # after the last group, before its checkpoint is stored too: long for a caller, short for a reader
MIRROR_S = 1.0  # under load; how far the head outside the store may lag behind one that is busy
GROUP_MAX = 512  # jobs in one transaction: bounds the latency of the first of them
EXIT_SEALED = 70  # the process's exit code when evidence can no longer be stored

T = TypeVar("T")
Job = Callable[[Transaction], T]


@dataclass(frozen=True, slots=True)
class Pace:
    """When the writer takes to its thread, folds the WAL, and rests: with other numbers each is reached at once, or never."""

    inline_us: float
    wal_bytes_max: int
    idle_s: float


@dataclass(slots=True)
class _Queued:
    job: Job[Any]
    future: "asyncio.Future[Any]"
    result: Any = None
    error: Exception | None = None
    durable: bool = False  # committed and under a signed checkpoint; nothing is answered before, whatever went wrong how


def end_process(why: str) -> None:
    """The default end: no cleanup, no second try, nothing more is answered."""
    sys.stderr.write(f"error: the evidence store failed and the kernel ends: {why}\nhint: helm-ai-kernel fsck\n")
    sys.stderr.flush()
    os._exit(EXIT_SEALED)


class Writer:
    """Owns the connection, the log's state and the checkpoint signer. One event loop submits to it."""

    def __init__(
        self,
        conn: sqlite3.Connection,
        watch: Watch,
        state: State,
        ink: Ink,
        signer: CheckpointSigner,
        end: Callable[[str], None],
        pace: Pace | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        self.state = state
        self.kernel: Session | None = None
        self.sealed = ""
        self._conn = conn
        self._watch = watch
        self._ink = ink
        self._signer = signer
        self._end = end
        self._pace = pace or Pace(INLINE_US, WAL_BYTES_MAX, IDLE_S)
        self._queue: list[_Queued] = []
        self._busy = False
        self._commit_us = 0.0
        self._wal_bytes = 0
        self._opened = state.frontier.size
        self._mirror = mirror
        self._mirrored = time.monotonic()
        self._noted = signer.last.size  # of the checkpoint that is stored; the newest one is a group ahead
        self._timer: asyncio.TimerHandle | None = None
        self._thread: ThreadPoolExecutor | None = None

    @property
    def ink(self) -> Ink:
        return self._ink

    @property
    def checkpoint(self) -> bytes:
        """The newest signed note; covers everything that was answered."""
        return self._signer.last.note

    def submit(self, job: Job[T]) -> "asyncio.Future[T]":
        """Run `job` in the next group; what it returns is there when its group is durable and under a checkpoint."""
        if self.sealed:
            raise _sealed(self.sealed)
        loop = asyncio.get_running_loop()
        queued = _Queued(job, loop.create_future())
        self._queue.append(queued)
        if not self._busy:
            self._busy = True
            loop.call_soon(self._drain, loop)
        return queued.future

    def _rest(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing was asked for a moment: an empty group stores the newest checkpoint, for whoever reads beside us."""
        if self._busy or self.sealed:
            return
        self._busy = True
        idle = _Queued(_nothing, loop.create_future())
        idle.future.add_done_callback(lambda future: future.exception())  # a disk that is full now is the next caller's news
        self._queue.append(idle)
        self._drain(loop)

    def close(self, *, clean: bool) -> None:
        """Store the last checkpoint, and whether every session was ended (`clean`, if nothing was appended since the start)."""
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._thread.shutdown()  # a group that it is in the middle of is written to its end
        try:
            if not self.sealed:
                if self.state.frontier.size > self._opened:
                    clean = not self.state.heads
                with outside():
                    self._conn.execute("BEGIN IMMEDIATE")
                    if touched := self._watch.changed():
                        raise _sealed(touched)
                    self._conn.execute("UPDATE log SET frontier=?, checkpoint=?, clean=?", (*self._stored(), clean))
                    self._conn.execute("COMMIT")
                if self._mirror is not None:
                    self._mirror.write(Head(self._signer.last, self._signer.frontier))
        finally:
            self.seal("the store was let go of")  # what is still queued is refused; a write would look like a broken disk
            self._conn.close()

    def seal(self, why: str) -> None:
        """Damage was found: nothing is written any more. What was answered stays answered."""
        self.sealed = self.sealed or why

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        group, self._queue = self._queue[:GROUP_MAX], self._queue[GROUP_MAX:]
        tx = None if self.sealed else self._run(group)
        if tx is None:
            self._finish(loop, group)
            return
        if self._commit_us >= self._pace.inline_us:
            self._thread = self._thread or ThreadPoolExecutor(1, "helm-ledger")
            try:
                written = loop.run_in_executor(self._thread, self._commit, group, tx)
            except RuntimeError:  # no thread is to be had (the interpreter ends): it is written here, once
                self._thread.shutdown(cancel_futures=True)
                self._thread = None
            else:
                written.add_done_callback(lambda _: self._finish(loop, group))
                return
        self._commit(group, tx)
        self._finish(loop, group)

    def _finish(self, loop: asyncio.AbstractEventLoop, group: list[_Queued]) -> None:
        for queued in group:
            if not queued.durable and queued.error is None:
                self.seal("a group was not written to its end")
                queued.error = _sealed(self.sealed)
            if queued.future.done():
                continue  # its caller went away; what it asked for is durable all the same
            if queued.error is not None:
                queued.future.set_exception(queued.error)
            else:
                queued.future.set_result(queued.result)
        if self.sealed:
            for queued in self._queue:
                if not queued.future.done():
                    queued.future.set_exception(_sealed(self.sealed))
            self._queue = []
        if self._queue:
            loop.call_soon(self._drain, loop)
            return
        self._busy = False
        if self._timer is not None:
            self._timer.cancel()
        asked = any(queued.job is not _nothing for queued in group)  # a full disk is not asked again and again by nobody
        behind = asked and self._noted < self.state.frontier.size
        self._timer = loop.call_later(self._pace.idle_s, self._rest, loop) if behind else None

    def _run(self, group: list[_Queued]) -> Transaction | None:
        """The jobs of a group in one transaction, ready to commit; None where it failed, and nothing of it exists."""
        tx = Transaction(self._conn, self.state, self._ink, now(), self.kernel)
        try:
            self._conn.execute("BEGIN IMMEDIATE")
            if touched := self._watch.changed():
                self._conn.execute("ROLLBACK")
                self.seal(touched)
                return None
            for queued in group:
                _run(queued, tx)
            self._wal_bytes += tx.flush()
            policy, catalog = (None if d is None else hashes.raw(d) for d in (tx.policy, tx.catalog))
            self._conn.execute(
                "UPDATE log SET policy=?, catalog=?, frontier=?, checkpoint=?, clean=0", (policy, catalog, *self._stored())
            )
            return tx
        except sqlite3.DatabaseError as e:
            self._failed(group, translated(e))
        except BaseException as e:  # a job broke its promise (a panic in a library too): the group's state is not known any more
            self._seal(group, f"{type(e).__name__}: {e}")
        return None

    def _commit(self, group: list[_Queued], tx: Transaction) -> None:
        """Afterwards either all of the group is durable and signed for, or nothing of it exists."""
        started = time.perf_counter()
        try:
            self._conn.execute("COMMIT")
        except sqlite3.DatabaseError as e:
            self._failed(group, translated(e))
            return
        except BaseException as e:  # whether it is durable is not known any more
            self._seal(group, f"{type(e).__name__}: {e}")
            return
        self._commit_us += (1e6 * (time.perf_counter() - started) - self._commit_us) / 16
        self._noted = self._signer.last.size
        try:
            self._ink.vault.destroy(*tx.erased)  # before anything is written under their names again; the next start would, too
            self._signer.extend(tx.leaves)
            self.state = tx.ended(self._signer.frontier)
            idle = all(queued.job is _nothing for queued in group)
            if self._mirror is not None and (idle or time.monotonic() - self._mirrored > MIRROR_S):
                self._mirror.write(Head(self._signer.last, self._signer.frontier))
                self._mirrored = time.monotonic()
            for queued in group:
                queued.durable = True
        except BaseException as e:  # no answer without a checkpoint that covers it
            self._seal(group, f"{type(e).__name__}: {e}")
        if self._wal_bytes > self._pace.wal_bytes_max:
            self._fold_wal(group)

    def _fold_wal(self, group: list[_Queued]) -> None:
        """After the commit, so that its failure cannot be taken for the commit's. A full disk only postpones it."""
        try:
            self._conn.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._wal_bytes = 0
        except sqlite3.DatabaseError as e:
            if translated(e).reason is not Reason.ERR_EVIDENCE_FULL:
                self._seal(group, str(e))

    def _stored(self) -> tuple[bytes, bytes]:
        return self._signer.frontier.to_bytes(), self._signer.last.note

    def _failed(self, group: list[_Queued], error: OutsideError) -> None:
        """A full disk is refused and may pass; any other failure leaves unknown bytes behind and ends the process."""
        if error.reason is Reason.ERR_EVIDENCE_FULL:
            try:
                if self._conn.in_transaction:  # where the commit itself found the disk full, SQLite has rolled back already
                    self._conn.execute("ROLLBACK")
                self._watch.begin_again()
            except sqlite3.DatabaseError as e:
                self._seal(group, str(e))
                return
            for queued in group:
                queued.error = error
            return
        self._seal(group, error.detail)

    def _seal(self, group: list[_Queued], why: str) -> None:
        self.sealed = why
        self._end(why)
        for queued in group:
            queued.error = _sealed(why)


def _nothing(tx: Transaction) -> None:
    """The job of a group that only stores the newest checkpoint."""


def _sealed(why: str) -> OutsideError:
    return OutsideError(Reason.ERR_SEALED, f"nothing is executed any more: {why}", hint="helm-ai-kernel fsck")


def _run(queued: _Queued, tx: Transaction) -> None:
    before = tx.index
    try:
        queued.result = queued.job(tx)
    except (Refused, OutsideError, EvidenceError) as e:
        if tx.index != before:
            raise
        tx.forget()
        queued.error = e


def now() -> Moment:
    """The wall clock and the boot clock, read once for a group."""
    wall_ms = time.time_ns() // 1_000_000
    at = datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Moment(at, Clock(wall_ms, _boot_id(), int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)))


def _boot_id() -> str:
    global _BOOT
    if not _BOOT:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            _BOOT = file.read().strip().replace("-", "")
    return _BOOT


_BOOT = ""
