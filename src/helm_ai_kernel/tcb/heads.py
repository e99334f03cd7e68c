"""The signed heads that a pack carries and that the verifier brings: who signed them, who saw them, and when (V8, V14, V16).

A head is compared with the tree elsewhere (`checklist.py`); here is everything that can be said of it by itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from . import pack as packs
from .checkpoint import NOTE_BYTES_MAX, Checkpoint
from .codes import Finding
from .cosign import WitnessPolicy
from .errors import EvidenceError
from .findings import CHECKPOINT, Exit, Findings
from .pack import Entries
from .registry import SEEN, Registry

KNOWN = "known head"


@dataclass(slots=True)
class Head:
    """One note. `step` is that of what is found of it, `exit` what such a finding means where it is not INVALID."""

    where: str
    step: int
    exit: Exit | None = None
    note: Checkpoint | None = None  # None: it is none, of another log, or nobody of this log signed it
    cosigned: dict[str, int] = field(default_factory=dict)  # by whom, among those that the verifier believes, and when
    since: str | None = None  # the time by which these were a quorum


class Heads:
    """`checkpoint` is the pack's own, `cosigned` those that witnesses saw before it, `known` those from outside the pack."""

    def __init__(self, entries: Entries, known: Sequence[bytes], log: str, policy: WitnessPolicy | None, found: Findings) -> None:
        self._log = log
        self._policy = policy
        self._found = found
        self.checkpoint = Head(CHECKPOINT, 8, Exit.INVALID)
        self.cosigned = [Head(name, 8, Exit.INVALID) for name in entries.cosigned]
        self.known = [Head(KNOWN, 14, Exit.USAGE) for _ in known]
        for head in (self.checkpoint, *self.cosigned):
            self._read(head, entries, packs.CHECKPOINT if head is self.checkpoint else head.where)
        for head, note in zip(self.known, known, strict=True):
            self._parse(head, note)

    def seen(self, *, part: bool) -> list[tuple[int, str]]:
        """Up to which size, and by which time, a quorum saw the log."""
        heads = [head for head in (self.checkpoint, *self.cosigned) if head.note is not None]
        return [(1 << 60 if part else head.note.size, head.since) for head in heads if head.note and head.since]

    def judge(self, registry: Registry | None, relied: Callable[[int], int]) -> None:
        """V6, V8, V14: that the log signed each. `relied` is the largest registry size that the log relies on at a size of it."""
        for head in (self.checkpoint, *self.cosigned, *self.known):
            if head.note is None:
                continue
            if head.note.origin != self._log:  # V6
                detail = f"is of log `{head.note.origin}`, and the pack says `{self._log}`"
                self._found.add(6 if head.step == 8 else head.step, Finding.DOMAIN_MISMATCH, detail, head.where, head.exit)
                head.note = None
            elif registry is None:
                head.note = head.note if head.step == 8 else None
            else:
                self._signed(head, head.note, registry, relied(head.note.size))

    def quorum(self) -> None:
        """V16: those that the verifier believes cosigned the pack's head; raises `EvidenceError(WITNESS_QUORUM)`."""
        if self._policy is not None and self.checkpoint.since is None:
            listed = ", ".join(sorted(self.checkpoint.cosigned)) or "none"
            raise EvidenceError(Finding.WITNESS_QUORUM, f"of the witnesses that you believe {listed} cosigned: no quorum")

    def latest(self) -> str | None:
        """The latest time at or behind which a quorum saw the pack's head."""
        return None if self._policy is None else self._policy.until(self.checkpoint.cosigned)

    def _read(self, head: Head, entries: Entries, name: str) -> None:
        if entries.size(name) > NOTE_BYTES_MAX:
            self._found.add(8, Finding.CHECKPOINT_SIG, "the note is too large", head.where)
            return
        self._parse(head, entries[name])
        if head.note is not None and head is not self.checkpoint and name != f"cosigned/{head.note.size}.txt":
            self._found.add(8, Finding.CHECKPOINT_SIG, f"it is of size {head.note.size}, and its name says another", head.where)

    def _parse(self, head: Head, note: bytes) -> None:
        try:
            head.note = Checkpoint.from_bytes(note)
        except EvidenceError as error:
            self._found.add(head.step, error.finding, error.detail, head.where, head.exit)
            return
        if self._policy is None:
            return
        try:
            head.cosigned = self._policy.seen(head.note)  # V16
            head.since = self._policy.since(head.cosigned)
        except EvidenceError as error:
            self._found.add(16 if head.step == 8 else 14, error.finding, error.detail, head.where, head.exit)

    def _signed(self, head: Head, note: Checkpoint, registry: Registry, relied: int) -> None:
        """By a key that the registry names for this log, and that was in force still at the size that the last receipt relies on.

        Who takes over a log signs for all of it: a key may be younger than the receipts, and than those behind the pack's end.
        What the verifier kept itself needs no witness for when it was there.
        """
        if head is self.checkpoint and not note.origin.startswith(registry.deployment + "/"):  # V6
            detail = f"log `{note.origin}` is not of deployment `{registry.deployment}`"
            self._found.add(6, Finding.DOMAIN_MISMATCH, detail, head.where)
        try:
            signer = note.signer(registry.log_keys(note.origin))
            since = head.since if head.step == 8 else SEEN
            registry.key(signer.id, at_size=max(relied, registry.keys[signer.id].since), cosigned=since)
        except EvidenceError as error:
            self._found.error(head.step, error, head.where)
            head.note = None


def check_left(notes: Sequence[str], log: str, registry: Registry | None) -> None:
    """V8: the heads that a recovery names are signed heads of other logs of the deployment; raises `EvidenceError`."""
    for text in notes:
        note = Checkpoint.from_bytes(text.encode())
        if note.origin == log or not (registry is None or note.origin.startswith(registry.deployment + "/")):
            raise EvidenceError(Finding.DOMAIN_MISMATCH, f"names a head of log `{note.origin}`, which is not another one of here")
        if registry is not None:
            note.signer(registry.log_keys(note.origin))
