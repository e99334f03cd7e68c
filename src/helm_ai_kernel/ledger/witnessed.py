"""The cosigned checkpoints of a log, beside its store: what an outsider can be shown about when a receipt was there.

`<size>.txt` is the first note of that size that a quorum cosigned: it says the most about how old what it covers is. `newest.txt`
is the last one: it says the most about what had not been revoked, or hidden, by then. Each is replaced whole and durably.
`another-history.txt` is there where a witness has seen one: no start goes on from such a store until a person takes it away.
"""

import shlex
from collections.abc import Iterator
from pathlib import Path

from helm_ai_kernel.disk import durable
from helm_ai_kernel.tcb.checkpoint import NOTE_BYTES_MAX, Checkpoint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError

from .succession import WITNESSED

_NEWEST, _MARK = "newest.txt", "another-history.txt"
_SIZE_DIGITS = 16  # 2^53 - 1


class Witnessed:
    """The folder of one store. Nothing in it is believed unverified: a note that somebody put there proves nothing."""

    def __init__(self, store: Path) -> None:
        self.folder = store / WITNESSED

    def add(self, note: Checkpoint) -> None:
        """A note that a quorum cosigned; raises `OSError`."""
        self._make()
        first = self.folder / f"{note.size:0{_SIZE_DIGITS}}.txt"
        if not first.exists():
            durable.write(first, [note.note], mode=0o600)
        newest = self.newest()
        if newest is None or newest.size <= note.size:  # a command beside a running kernel may be a step behind it
            durable.write(self.folder / _NEWEST, [note.note], mode=0o600)

    def mark(self, detail: str) -> None:
        """A witness has seen another history: a restart must not forget it. Raises `OSError`."""
        self._make()
        durable.write(self.folder / _MARK, [detail.encode() + b"\n"], mode=0o600)

    def check(self) -> None:
        """Raises `OutsideError(ERR_STORE_ROLLBACK)` where this store was marked."""
        path = self.folder / _MARK
        if path.exists():
            detail = f"a witness has seen another history of this log: `{path}` says which"
            quoted = shlex.quote(str(path))
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

    def notes(self) -> Iterator[Checkpoint]:
        """The first of each size, smallest first."""
        for path in sorted(self.folder.glob("[0-9]" * _SIZE_DIGITS + ".txt")):
            yield _read(path)


def _read(path: Path) -> Checkpoint:
    try:
        with path.open("rb") as file:
            note = Checkpoint.from_bytes(file.read(NOTE_BYTES_MAX + 1))
    except EvidenceError as error:
        detail = f"`{path}` is no cosigned checkpoint: {error.detail}"
        raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint=f"move it away: mv {path} {path}.bad") from None
    return note
