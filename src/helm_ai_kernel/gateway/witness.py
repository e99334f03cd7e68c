"""A witness: it cosigns a tree only where that tree contains every tree of the log that it cosigned before (C2SP tlog-witness).

Checking and writing down are one step, under one lock, and what was written is durable before the cosignature leaves: whatever
kills this process, it never vouches for a smaller or another history. A log that shows two is what it is there to find: both
signed notes are kept, and what only looks like it is kept apart (`docs/spec/witness.md`).
"""

import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus

from helm_ai_kernel.net.door import Bounds, Peer
from helm_ai_kernel.tcb.checkpoint import Checkpoint, key_hash
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.cosign import VerifierKey, cosign, cosigned_at
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.keys import PublicKey, Signer
from helm_ai_kernel.tcb.merkle import EMPTY_ROOT, verify_consistency
from helm_ai_kernel.wire.head import Head, Sizes, Wrong
from helm_ai_kernel.wire.reply import Reply
from helm_ai_kernel.wire.submission import BYTES_MAX, PATH, SIZE_TYPE, Submission

from .witness_memory import Kind, Memory

# A client of ours sends a header of 200 bytes and one body in one piece; a round takes one connection of each log.
SIZES = Sizes(line=1 << 10, head=8 << 10, fields=50, body=BYTES_MAX)
BOUNDS = Bounds(sizes=SIZES, head_s=10.0, body_s=10.0, idle_s=60.0, connections=128, peer_connections=128)
CLOCK_BACK_S = 60  # what a clock may be set back between two cosignatures; further, its times are nobody's evidence


class Witness:
    """One key, the logs that it knows, and what it remembers of each. Safe to call from any thread."""

    def __init__(
        self,
        name: str,
        signer: Signer,
        logs: Iterable[VerifierKey],
        memory: Memory,
        *,
        clock: Callable[[], float] = time.time,
        tell: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    ) -> None:
        self.vkey = VerifierKey(name, signer.public)
        self._signer = signer
        self._memory = memory
        self._clock = clock
        self._tell = tell
        self._lock = threading.Lock()  # stays though our server has one loop: what is promised must not hang on who calls
        self._told: set[str] = set()  # logs against which this process has told a proof
        self._logs: dict[str, list[PublicKey]] = {}
        for log in logs:
            self._logs.setdefault(log.name, []).append(log.key)

    def admit(self, head: Head, peer: Peer) -> Reply | None:
        """Whoever asks: what is answered is public, and what is cosigned is signed by its log."""
        if (head.method, head.path, head.query) == ("POST", PATH, ""):
            return None
        if head.path == PATH and not head.query:
            return _no(HTTPStatus.METHOD_NOT_ALLOWED, f"POST {PATH}")
        if (head.method, head.query) == ("GET", "") and head.path in ("/", "/healthz"):
            return _said(HTTPStatus.OK, f"witness {self.vkey}\n".encode())
        return _no(HTTPStatus.NOT_FOUND, f"there is only {PATH} here")

    async def answer(self, head: Head, body: bytes, peer: Peer) -> Reply:
        return self.add_checkpoint(body)

    def refused(self, reason: Reason, peer: Peer) -> None:
        """No log is kept of who asked."""

    def add_checkpoint(self, body: bytes) -> Reply:
        """The answer to `POST /add-checkpoint`; which check comes first is `docs/spec/witness.md`."""
        try:
            sent = Submission.from_bytes(body)
        except EvidenceError as error:
            return _no(HTTPStatus.BAD_REQUEST, error.detail)
        note = sent.checkpoint
        if note.origin not in self._logs:
            return _no(HTTPStatus.NOT_FOUND, "this log is not known here")
        try:
            key = note.signer(self._logs[note.origin])
        except EvidenceError as error:
            return _no(HTTPStatus.FORBIDDEN, error.detail)
        if sent.old > note.size:
            return _no(HTTPStatus.BAD_REQUEST, "the old size is larger than the checkpoint's")
        with self._lock:
            return self._judge(sent, note.only(note.origin, key_hash(note.origin, key)))

    def _judge(self, sent: Submission, note: Checkpoint) -> Reply:
        """`note` has the log's own signature, which was verified, and no other."""
        last = self._memory.last(note.origin)
        size = 0 if last is None else last.size
        if last is not None and note.size == size and note.root != last.root:
            self._equivocated(last, note)
            return _conflict(size)
        if sent.old != size:
            return _conflict(size)
        try:
            _extends(last, sent, note)
        except EvidenceError as error:
            if last is not None:
                self._suspected(last, note)
            return _no(HTTPStatus.UNPROCESSABLE_ENTITY, error.detail)
        now, before = int(self._clock()), 0 if last is None else cosigned_at(last, self.vkey) or 0
        if now < before - CLOCK_BACK_S:
            self._tell(f"error: the clock is {before - now} s behind the last cosignature: nothing is cosigned until it is set")
            return _no(HTTPStatus.SERVICE_UNAVAILABLE, "the clock of this witness went back")
        line = cosign(note, self.vkey.name, self._signer, max(now, before))
        try:
            self._memory.remember(note.with_lines(line))
        except OSError as error:
            self._tell(f"error: `{note.origin}` size {note.size} is not cosigned: {(error.strerror or str(error)).lower()}")
            return _no(HTTPStatus.SERVICE_UNAVAILABLE, "this witness cannot write down what it would sign")
        return _said(HTTPStatus.OK, line)

    def _equivocated(self, last: Checkpoint, note: Checkpoint) -> None:
        """Only the log's key makes two roots for one size: the notes prove it to anybody. The first of a log is always told."""
        first, cause = note.origin not in self._told, "nothing more is kept"
        self._told.add(note.origin)
        try:
            new = self._memory.keep(Kind.EVIDENCE, last, note)
        except OSError as error:
            new, cause = False, f"it is not kept: {(error.strerror or str(error)).lower()}"
        if new or first:
            where = f"kept in `{self._memory.place(Kind.EVIDENCE, note.origin)}`" if new else cause
            self._tell(f"error: `{note.origin}` shows two histories, two roots for size {note.size}: {where}")
            self._tell(f"cosigned before:\n{last.note.decode()}\nrefused now:\n{note.note.decode()}")

    def _suspected(self, last: Checkpoint, note: Checkpoint) -> None:
        """Told once, where it is kept: whoever has genuine notes can send any number of them."""
        with suppress(OSError):
            if self._memory.keep(Kind.SUSPECTED, last, note):
                self._tell(
                    f"warning: `{note.origin}` size {note.size} came with a proof that does not lead there from size {last.size}:"
                    " the log shows two histories, or somebody else sent this, as anybody can send a genuine note;"
                    f" kept in `{self._memory.place(Kind.SUSPECTED, note.origin)}`"
                )


def _extends(last: Checkpoint | None, sent: Submission, note: Checkpoint) -> None:
    """Raises `EvidenceError(CONSISTENCY_FAIL)`; after the empty tree, and after nothing, every tree may come."""
    if last is not None and last.size:
        verify_consistency(last.size, last.root, note.size, note.root, sent.proof)
    elif sent.proof or (note.size == 0 and note.root != EMPTY_ROOT):
        verify_consistency(0, EMPTY_ROOT, note.size, note.root, sent.proof)  # refuses it, in its words


def _conflict(size: int) -> Reply:
    return _said(HTTPStatus.CONFLICT, b"%d\n" % size, SIZE_TYPE)


def _no(status: HTTPStatus, detail: str) -> Reply:
    return _said(status, detail.encode() + b"\n")


def _said(status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8") -> Reply:
    return Reply(status.value, (("Content-Type", kind),), body)


def plainly(wrong: Wrong) -> Reply:
    """What the listener refuses, in the form of everything else that a witness says (C2SP says none)."""
    return _no(HTTPStatus(wrong.status), wrong.detail)
