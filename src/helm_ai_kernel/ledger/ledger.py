"""The log of one kernel, open for writing: what the rest of the product may ask of it, each answer durable when it comes."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

from helm_ai_kernel.guardian.budget import Budget
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.call import Admitted
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Outcome, Status
from helm_ai_kernel.tcb.digest import SALT_BYTES, Digest
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError, Refused
from helm_ai_kernel.tcb.keys import Signer
from helm_ai_kernel.tcb.process import KERNEL
from helm_ai_kernel.tcb.receipt import TEXT_MAX, EffectBy, Receipt
from helm_ai_kernel.tcb.statement import Statement

from . import asked, jobs, statements, store
from .aside import aside
from .asked import Challenges
from .caused import Cause
from .jobs import Decide, Intent, Terms
from .opening import check_keys, check_vault, load, mirrored
from .scrub import scrub
from .signer import first
from .standing import check_standing, verified
from .statements import Document
from .transaction import OUTPUT, Ink, Session
from .vault import Vault, opened
from .watch import Watch
from .writer import Pace, Writer, end_process, now

DATABASE, LOCK, TRUST = "ledger.db", "lock", "trust.jsonl"


def create(folder: Path, *, origin: str, log_key: Signer, vault: Vault) -> None:
    """Write an empty log; refuses to overwrite one."""
    frontier, checkpoint = first(log_key, origin)
    mark = vault.mark(origin)
    store.create(folder / DATABASE, origin=origin, frontier=frontier.to_bytes(), checkpoint=checkpoint.note, mark=mark)


class Ledger:
    """`open` it inside the event loop that will use it; `close` ends every session and stores the last checkpoint."""

    def __init__(
        self,
        database: Path,
        writer: Writer,
        lock: store.Lock,
        read: sqlite3.Connection,
        clean: bool,
        budgets: Sequence[Budget],
    ) -> None:
        self.writer = writer
        self._lock = lock
        self._read = read  # sees only what is committed, whatever the writer is in the middle of
        self._clean = clean
        self._budgets = budgets
        self._sessions: dict[str, Session] = {}
        self.challenges = Challenges()
        self._database = database
        self._signed = writer.state.frontier
        self._stop = threading.Event()
        self._gone = False
        self.scrubbed: asyncio.Task[None] | None = None  # done when everything before this start was hashed again
        _OPEN.add(self)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        ink: Ink,
        log_key: Signer,
        lock: store.Lock | None = None,
        heads: Path | None = None,
        budgets: Sequence[Budget] = (),
        end: Callable[[str], None] = end_process,
        pace: Pace | None = None,
    ) -> "Ledger":
        """Take the lock and check the tail; raises `OutsideError`. Nothing is answered before `begin`.

        `lock`: the caller's, who gives it away unless this raises. `heads`: where the head of each log is kept outside its store.
        """
        given, lock = lock is not None, lock or store.Lock(folder / LOCK)
        try:
            conn = store.connect(folder / DATABASE)
            try:
                with store.outside():
                    watch = Watch(conn, folder / DATABASE)
                    state, signer, clean = load(conn, log_key, ink.registry)
                    check_vault(conn, ink.vault, state.origin)
                    standing = check_standing(conn, ink.registry)  # what stops a tool is what the receipts say, before any call
                    state = replace(state, approvals=standing.approvals)
                    mirror = None if heads is None else mirrored(conn, heads, ink.registry, state)
                check_keys(ink, log_key, state.origin)
                store.fold(conn)
                ink.vault.destroy(*standing.erased)  # a crash behind the statement left a key, or somebody put it back
                read = store.connect(folder / DATABASE, read_only=True)
            except (EvidenceError, TypeError, ValueError) as e:  # a column of another type or length than we wrote
                conn.close()
                detail = f"the stored state is damaged: {e}"
                raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint="helm-ai-kernel fsck") from None
            except BaseException:
                conn.close()
                raise
        except BaseException:
            if not given:
                lock.release()
            raise
        return cls(folder / DATABASE, Writer(conn, watch, state, ink, signer, end, pace, mirror), lock, read, clean, budgets)

    @property
    def origin(self) -> str:
        return self.writer.state.origin

    @property
    def checkpoint(self) -> bytes:
        return self.writer.checkpoint

    async def begin(self, client: str) -> bool:
        """Open the kernel's own session; returns whether the process before this one ended cleanly."""
        self.writer.kernel = await self.session(KERNEL, KERNEL, client)
        self.scrubbed = asyncio.create_task(self._scrub())
        return self._clean

    async def _scrub(self) -> None:
        try:
            vault = self.writer.ink.vault
            damage = await aside(lambda: scrub(self._database, vault, self._signed, self._stop), "helm-scrub")
        except Exception as e:  # what cannot be checked is not whole
            damage = e.detail if isinstance(e, OutsideError) else f"{type(e).__name__}: {e}"
        if damage:
            self.writer.seal(damage)

    async def session(self, principal: str, door: str, client: str | None) -> Session:
        """Open a session; its id is 128 random bits of ours."""
        for name in (principal, door, client or ""):
            if len(name) > TEXT_MAX:
                raise Refused(Reason.ERR_UPSTREAM_SHAPE, f"a name of more than {TEXT_MAX} characters", hint="use a shorter one")
        if (principal == KERNEL) != (self.writer.kernel is None):  # the first session of a process is the kernel's, and no other
            raise Refused(Reason.ERR_UPSTREAM_SHAPE, f"nobody but the kernel itself is called `{KERNEL}`", hint="take another")
        session = Session(os.urandom(16).hex(), principal, door)
        await self.writer.submit(lambda tx: jobs.start_session(tx, session, client))
        self._sessions[session.id] = session
        return session

    async def end_session(self, session: Session, reason: str) -> Receipt:
        del self._sessions[session.id]
        try:
            return await self.writer.submit(lambda tx: jobs.end_session(tx, session, reason))
        except OutsideError:
            self._sessions[session.id] = session  # not ended, so not forgotten: the log would be marked clean
            raise

    async def commit(
        self,
        session: Session,
        admitted: Admitted,
        decide: Decide,
        *,
        effect_by: EffectBy = EffectBy.KERNEL,
        not_by: tuple[str, ...] = (),
        alone: bool = False,
        waited_for: Digest | None = None,
        causes: Sequence[Cause] = (),
        more: bool = False,
    ) -> Receipt:
        """`waited_for`: raises `Refused(ERR_APPROVAL_CONSUMED)` where another caller went on with that held call.

        `causes`: the outcomes because of which the call goes on; raises `Refused` for what is no outcome of that principal.
        `more`: something goes with the arguments, so that nothing that a person approved covers the call.
        """
        terms = Terms(self._budgets, not_by, alone, waited_for, tuple(causes), more)
        return await self.writer.submit(lambda tx: jobs.decide(tx, session, admitted, decide, terms, effect_by))

    async def settle(self, session: Session, intent: Receipt, outcome: Outcome) -> Receipt:
        return await self.writer.submit(lambda tx: jobs.settle(tx, session, Intent(intent.index, intent.leaf), outcome))

    async def report(self, session: Session, offer: Receipt, outcome: Outcome) -> Receipt:
        """What the client tells of a call that it acted on; raises `Refused` where nobody waits for that."""
        return await self.writer.submit(lambda tx: jobs.report(tx, session, Intent(offer.index, offer.leaf), outcome))

    async def late(self, session: Session, intent: Receipt, outcome: Outcome) -> Receipt:
        """What came after the deadline; where the UNKNOWN could not be stored, this is the outcome itself."""
        tool = str(intent.body["tool"])
        return await self.writer.submit(lambda tx: jobs.late(tx, session, tool, Intent(intent.index, intent.leaf), outcome))

    async def enact(self, statement: Statement, documents: Mapping[Digest, Document]) -> Receipt:
        """Let a person's statement take effect; raises `Refused` where it may not."""
        return await self.writer.submit(lambda tx: statements.enact(tx, statement, documents, self.challenges))

    def challenge(self, call: Digest, key: str) -> str:
        """A nonce for that key to say something of that held call with; raises `Refused` where none is held by that name."""
        ceremony = self.writer.state.approvals.held.get(call)
        if ceremony is None:
            how = self.writer.state.approvals.ended.get(call, Reason.ERR_APPROVAL_INTENT_MISMATCH)
            raise Refused(how, f"no call is held any more by `{call}`", hint="helm-ai-kernel approvals list")
        return self.challenges.give(ceremony, key, now().clock)

    async def sure_of(self, principal: str) -> None:
        """Wait until it is certain that what people said before this start about that principal's calls was not used up since.

        A start takes it from the receipts that a column of the store names; that it names all of them is for the scrub to find.
        """
        approvals, done = self.writer.state.approvals, self.scrubbed
        if done is None or done.done():
            return
        held = any(one.principal == principal and one.index < self._signed.size for one in approvals.held.values())
        if held or any(one.allows.principal == principal for one in approvals.grants.values()):
            await asyncio.shield(done)

    def in_force(self, key: str) -> bool:
        """Whether that key counts now."""
        registry = self.writer.ink.registry
        return registry.in_force_at(registry.size)(key)

    async def lapse(self) -> int:
        """Say of every held call whose time is over that nobody answered; nothing is written where there is none."""
        clock = now().clock
        if not any(one.read(self.in_force).expired(clock) for one in self.writer.state.approvals.held.values()):
            return 0
        return await self.writer.submit(asked.lapse)

    async def freeze(self, scope: str, by: str) -> Receipt:
        """Stop everything, a server, an agent or a session, until a person releases it."""
        return await self.writer.submit(lambda tx: jobs.freeze(tx, scope, by))

    async def quarantine(self, name: str, reason: Reason, sub: str, catalog: Digest | None) -> Receipt | None:
        """Stop a tool, or `server:NAME`, for what the kernel saw; nothing is written where it is stopped already."""
        if name in self.writer.state.holds:
            return None
        return await self.writer.submit(lambda tx: jobs.quarantine(tx, name, reason, sub, catalog))

    async def gap(self, door: str, counts: Mapping[str, int]) -> Receipt:
        """Refusals that were only counted."""
        return await self.writer.submit(lambda tx: jobs.gap(tx, door, counts))

    async def probe(self) -> None:
        """Write a group that changes nothing, durably; raises `OutsideError` where evidence cannot be stored now."""
        await self.writer.submit(jobs.probe)
        left = os.statvfs(self._database)  # SQLite may still have room in its log where the disk has none
        if left.f_bavail * left.f_frsize < jobs.PROBE_BYTES:
            raise OutsideError(Reason.ERR_EVIDENCE_FULL, "the disk is full", hint="free space on the disk of the store")

    def open_intents(self) -> Iterable[Digest]:
        return [intent.leaf for intent in self.writer.state.open.values()]

    async def recovered(self, open_count: int, heads: Sequence[bytes] = ()) -> None:
        kernel = self._kernel()
        await self.writer.submit(lambda tx: jobs.recovered(tx, kernel, open_count, heads))

    async def conclude(self, decision: Digest, outcome: Outcome) -> None:
        kernel = self._kernel()
        open_ = self.writer.state.open
        index = next((index for index, intent in open_.items() if intent.leaf == decision), -1)
        intent = Intent(index, decision)  # one that is not open is refused in the transaction
        await self.writer.submit(lambda tx: jobs.settle(tx, kernel, intent, outcome))

    def first_outcome(self, repeat: Receipt) -> tuple[Receipt, bytes | None, bytes | None]:
        """The outcome that a repeated call is answered with: receipt, salt, and output unless it was withheld."""
        rows = self._rows(
            "SELECT r.idx, r.line, a.subject, a.content FROM claims c JOIN receipts r ON r.idx=c.outcome "
            "LEFT JOIN attachments a ON a.idx=r.idx AND a.slot=? WHERE c.leaf=?",
            OUTPUT,
            hashes.raw(Digest(str(repeat.repeats))),
        )
        if not rows:
            raise OutsideError(
                Reason.ERR_STORE_CORRUPT, "the first outcome of a repeated call is gone", hint="helm-ai-kernel fsck"
            )
        index, line, subject, sealed = rows[0]
        try:
            receipt = replace(verified(bytes(line), self.writer.ink.registry), index=index)
        except (EvidenceError, Refused) as e:
            detail = f"the first outcome of a repeated call is not what the kernel signed: {e}"
            raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint="helm-ai-kernel fsck") from None
        vault, kept = self.writer.ink.vault, "contract" in receipt.body
        released = receipt.status is Status.OK or (receipt.status is Status.REPORTED and kept)
        content = b"" if sealed is None else opened(vault, self.origin, index, OUTPUT, bytes(subject), bytes(sealed))
        if content is None:
            detail = "what the first call returned was erased, and a call is never made again by itself"
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint="send a new call, under a new idempotency key")
        if receipt.body.get("decision") != repeat.repeats or (released and hashes.digest(content) != receipt.body["output_hash"]):
            raise OutsideError(
                Reason.ERR_STORE_CORRUPT, "the first outcome is not the one that was recorded", hint="helm-ai-kernel fsck"
            )
        return (receipt, content[:SALT_BYTES], content[SALT_BYTES:]) if released else (receipt, None, None)

    def document(self, digest: Digest) -> bytes:
        rows = self._rows("SELECT content FROM documents WHERE digest=?", hashes.raw(digest))
        if not rows or hashes.digest(bytes(rows[0][0])) != digest:
            raise OutsideError(
                Reason.ERR_STORE_CORRUPT, f"the document `{digest}` is missing or damaged", hint="helm-ai-kernel fsck"
            )
        return bytes(rows[0][0])

    async def close(self) -> None:
        """End every session, the kernel's last; afterwards the log is marked clean. Where the disk is full, call it again."""
        for session in sorted(self._sessions.values(), key=lambda session: session is self.writer.kernel):
            await self.end_session(session, "closed")
        self._stop.set()
        if self.scrubbed is not None:
            await self.scrubbed
        try:
            self.abandon()
        except OutsideError as e:
            if e.reason is not Reason.ERR_EVIDENCE_FULL:  # every session has its end: what a full disk lacks is the mark
                raise

    def abandon(self) -> None:
        """Let go of the store without ending sessions: what a crash leaves, with its checkpoint, for whoever starts next."""
        if self._gone:
            return
        self._gone = True
        self._stop.set()
        try:
            self._read.close()
            self.writer.close(clean=self._clean)
        finally:
            self._lock.release()

    def leave(self) -> None:
        """In a forked child: log and store stay the parent's. Nothing is signed, and SQLite's connections are not even closed."""
        self._gone = True
        self.writer.seal("this process is a fork of the one that has the store open")

    def _rows(self, sql: str, *values: object) -> list[Any]:
        with store.outside():
            return self._read.execute(sql, values).fetchall()

    def _kernel(self) -> Session:
        if self.writer.kernel is None:
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, "the log has not begun")
        return self.writer.kernel


_OPEN: "WeakSet[Ledger]" = WeakSet()


def _forked() -> None:
    for ledger in tuple(_OPEN):
        ledger.leave()


os.register_at_fork(after_in_child=_forked)
