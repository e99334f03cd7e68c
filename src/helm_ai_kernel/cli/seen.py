"""The newest head of each log that this machine verified: a log that is cut, or told anew, contradicts what was seen of it.

Kept beside the local trust file, one signed note for each log. Only the head of a whole pack that was found in order, under a
pinned genesis, takes the place of a smaller one, which it was compared with: a part proves nothing about earlier heads. Who
verifies an earlier export later is told so (STALE).
"""

from contextlib import suppress
from pathlib import Path
from shlex import quote

from helm_ai_kernel.disk import durable
from helm_ai_kernel.tcb.checkpoint import NOTE_BYTES_MAX, Checkpoint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import digest, text
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.findings import Axis, Exit, Report, Standing, visible
from helm_ai_kernel.tcb.pack import CHECKPOINT, Entries

NAME_CHARS_MAX = 200  # a file's name has at most 255 bytes
_IN_ORDER = frozenset({Exit.VALID, Exit.UNWITNESSED, Exit.INCOMPLETE})


class SeenHeads:
    """`folder` is made when there is something to keep. What cannot be written is not kept, and no verdict depends on that."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, head: Checkpoint | None) -> Checkpoint | None:
        """What was kept of the log whose head this says it is."""
        if head is None:
            return None
        path = self._path(head.origin)
        try:
            return Checkpoint.from_bytes(path.read_bytes())
        except FileNotFoundError:
            return None
        except EvidenceError as error:
            detail = f"`{path}` is not the head that was kept: {error.detail}"
            raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint=f"mv {quote(str(path))} {quote(str(path))}.old") from None

    def keep(self, head: Checkpoint | None, report: Report) -> None:
        """`report` is of a pack under a pinned genesis, compared with what was kept of its log."""
        if head is None or report.part or report.exit not in _IN_ORDER or report.axes[Axis.FRESHNESS] is Standing.FAILED:
            return
        if (visible(head.origin), head.size, text(head.root)) != (report.log, report.size, report.root):
            return  # the file is not what it was when the head was read
        kept = self.of(head)  # somebody else verified meanwhile
        if kept is not None and kept.size >= head.size:
            return
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            durable.write(self._path(head.origin), [head.note], mode=0o600)

    def _path(self, origin: str) -> Path:
        name = origin.replace("/", "-")
        return self._folder / f"{name if len(name) <= NAME_CHARS_MAX else digest(origin.encode())}.txt"


def head_of(entries: Entries) -> Checkpoint | None:
    """The pack's own head; None where it has none, which the verification says."""
    try:
        return Checkpoint.from_bytes(entries.small(CHECKPOINT, NOTE_BYTES_MAX))
    except EvidenceError:
        return None
