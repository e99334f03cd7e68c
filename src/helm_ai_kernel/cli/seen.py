"""The newest head of each log that this machine verified: a log that is cut, or told anew, contradicts what was seen of it.

Kept beside the local trust file, one signed note for each log. Only a head of a pack that was found in order, under a pinned
genesis, takes the place of an older one; who verifies an earlier export later is told so (STALE).
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote

from helm_ai_kernel.disk import durable
from helm_ai_kernel.tcb.checkpoint import NOTE_BYTES_MAX, Checkpoint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.container import Source
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.findings import Axis, Exit, Report, Standing
from helm_ai_kernel.tcb.pack import CHECKPOINT, Entries

NAME_CHARS_MAX = 200  # a file's name has at most 255 bytes
_IN_ORDER = frozenset({Exit.VALID, Exit.UNWITNESSED, Exit.INCOMPLETE})


class SeenHeads:
    """`folder` is made when there is something to keep. What cannot be written is not kept, and no verdict depends on that."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, source: Source) -> Sequence[bytes]:
        """What was kept of the log that this pack says it is of: nothing, or one note."""
        note = _note(source)
        if note is None:
            return ()
        path = self._path(note.origin)
        try:
            kept = path.read_bytes()
            Checkpoint.from_bytes(kept)
        except FileNotFoundError:
            return ()
        except EvidenceError as error:
            detail = f"`{path}` is not the head that was kept: {error.detail}"
            raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint=f"mv {quote(str(path))} {quote(str(path))}.old") from None
        return (kept,)

    def keep(self, source: Source, report: Report, genesis: Digest | None) -> None:
        note = _note(source)
        if genesis is None or note is None or report.exit not in _IN_ORDER or report.axes[Axis.FRESHNESS] is Standing.FAILED:
            return
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            durable.write(self._path(note.origin), [note.note], mode=0o600)

    def _path(self, origin: str) -> Path:
        name = origin.replace("/", "-")
        return self._folder / f"{name if len(name) <= NAME_CHARS_MAX else digest(origin.encode())}.txt"


def _note(source: Source) -> Checkpoint | None:
    """The pack's own head; None where it has none, which the verification says."""
    try:
        return Checkpoint.from_bytes(Entries(source).small(CHECKPOINT, NOTE_BYTES_MAX))
    except EvidenceError:
        return None
