"""The cosigned checkpoints of a log, beside its store: what an outsider can be shown about when a receipt was there.

`<size>.txt` is the first note of that size that a quorum cosigned: it says the most about how old what it covers is. There are as
many sizes as a pack can carry, the newest ones. `newest.txt` is the last note: it says the most about what had not been revoked,
or hidden, by then. Each is replaced whole and durably.
`another-history.txt` is there where a witness has seen one: no start goes on from such a store until a person takes it away.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from helm_ai_kernel.disk import durable
from helm_ai_kernel.tcb.checkpoint import KEY_HASH_BYTES, NOTE_BYTES_MAX, Checkpoint, signature_line
from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.pack import COSIGNED_MAX

from .succession import WITNESSED

_NEWEST, _MARK = "newest.txt", "another-history.txt"
_SIZE_DIGITS = 16  # 2^53 - 1
_FIRST = "[0-9]" * _SIZE_DIGITS + ".txt"


class Witnessed:
    """The folder of one store. Nothing in it is believed unverified: a note that somebody put there proves nothing."""

    def __init__(self, store: Path) -> None:
        self.folder = store / WITNESSED

    def add(self, note: Checkpoint, believed: Callable[[Checkpoint], bool]) -> None:
        """A note that a quorum cosigned; raises `OSError`. One that is there and larger stays, where it is `believed`."""
        self._make()
        first, newest = (self.folder / name for name in (f"{note.size:0{_SIZE_DIGITS}}.txt", _NEWEST))
        there = _of(note.origin, first)
        if there is None or there.text != note.text:  # somebody put it there
            durable.write(first, [note.note], mode=0o600)
            for old in sorted(self.folder.glob(_FIRST))[:-COSIGNED_MAX]:  # which no pack will carry any more
                if old != first:  # whatever somebody called other files
                    old.unlink(missing_ok=True)
        there = _of(note.origin, newest)
        if there is None or there.size <= note.size or not believed(there):  # a command may be a step behind the kernel
            durable.write(newest, [note.note], mode=0o600)

    def mark(self, detail: str) -> None:
        """A witness has seen another history: a restart must not forget it. Raises `OSError`."""
        self._make()
        durable.write(self.folder / _MARK, [detail.encode() + b"\n"], mode=0o600)

    def check(self) -> None:
        """Raises `OutsideError(ERR_STORE_ROLLBACK)` where this store was marked. Costs a `stat`."""
        path, cause = self.folder / _MARK, ""
        try:
            path.stat()
        except FileNotFoundError:
            return
        except OSError as error:
            cause = (error.strerror or type(error).__name__).lower()
        quoted = shlex.quote(str(path))
        if cause:
            detail = f"whether this store is marked cannot be read: `{path}`: {cause}"
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint=f"ls -l {quoted}")
        detail = f"{Finding.SPLIT_VIEW}: a witness has seen another history of this log: `{path}` says which"
        hint = f"find out which one is right and end the other; then: mv {quoted} {quoted}.settled"
        raise OutsideError(Reason.ERR_STORE_ROLLBACK, detail, hint=hint)

    def _make(self) -> None:
        if not self.folder.exists():
            self.folder.mkdir(mode=0o700, exist_ok=True)
            durable.sync_directory(self.folder.parent)

    def newest(self) -> Checkpoint | None:
        """The last one; raises `OutsideError(ERR_STORE_CORRUPT)` where it is no note."""
        path = self.folder / _NEWEST
        return _read(path) if path.exists() else None


def carried(folder: Path, head: Checkpoint) -> tuple[Checkpoint, Mapping[int, Checkpoint]]:
    """What goes into a pack: `head` as each witness signed it last, and of the newest sizes the first note of each, by size."""
    same, first = list[Checkpoint](), dict[int, Checkpoint]()
    for path in (*sorted(folder.glob(_FIRST)), folder / _NEWEST):
        try:
            note = _read(path)
        except (OutsideError, OSError):  # no note, or one that is not to be read: others stand for themselves
            continue
        if note.origin != head.origin or note.size > head.size:
            continue
        if note.size == head.size and note.root != head.root:  # it says another history, which is not exported here
            continue
        first.setdefault(note.size, note)
        if note.size == head.size:
            same.append(note)
        if len(first) > COSIGNED_MAX:
            del first[min(first)]
    last = _joined(head, same)
    if head.size in first and first[head.size] == last:
        del first[head.size]
    return last, dict(sorted(first.items()))


def _joined(head: Checkpoint, notes: Sequence[Checkpoint]) -> Checkpoint:
    """With the newest cosignature of each: a witness that was down the last time still counts."""
    for name, sig in (line for note in reversed(notes) for line in note.sigs):
        if name != head.origin and not head.lines_of(name, sig[:KEY_HASH_BYTES]):
            with suppress(EvidenceError):  # more than a note can have
                head = head.with_lines(signature_line(name, sig).encode())
    return head


def _of(origin: str, path: Path) -> Checkpoint | None:
    """What is there, where it is a note of that log."""
    try:
        note = _read(path)
    except (OutsideError, FileNotFoundError):
        return None
    return note if note.origin == origin else None


def _read(path: Path) -> Checkpoint:
    try:
        with path.open("rb") as file:
            return Checkpoint.from_bytes(file.read(NOTE_BYTES_MAX + 1))
    except EvidenceError as error:
        detail, quoted = f"`{path}` is no cosigned checkpoint: {error.detail}", shlex.quote(str(path))
        raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint=f"mv {quoted} {quoted}.bad") from None
