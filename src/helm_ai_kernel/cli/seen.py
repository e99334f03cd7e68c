"""The newest head of each log that this machine verified: a log that is cut, or told anew, contradicts what was seen of it.

Kept beside the local trust file, one signed note for each log of each genesis: a deployment that calls itself by your name is
another one. Only the head of a whole pack that was found in order takes the place of a smaller one, which it was compared with: a
part proves nothing about earlier heads. Who verifies an earlier export later is told so (STALE).
"""

from contextlib import suppress
from pathlib import Path
from shlex import quote

from helm_ai_kernel.disk import durable
from helm_ai_kernel.tcb.checkpoint import NOTE_BYTES_MAX, Checkpoint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import PREFIX, Digest, digest, text
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.findings import Axis, Exit, Report, Standing, visible
from helm_ai_kernel.tcb.pack import CHECKPOINT, MANIFEST, MANIFEST_BYTES_MAX, Entries, Manifest

_IN_ORDER = frozenset({Exit.VALID, Exit.UNWITNESSED, Exit.INCOMPLETE})


class SeenHead:
    """Of the log whose head `own` says it is. What cannot be written is not kept, and no verdict depends on that."""

    def __init__(self, folder: Path, genesis: Digest, own: Checkpoint) -> None:
        """`folder` is made when there is something to keep."""
        self._path = folder / f"{digest(f'{genesis} {own.origin}'.encode()).removeprefix(PREFIX)}.txt"
        self._own = own

    def kept(self) -> Checkpoint | None:
        """Raises `OutsideError` where the file is none."""
        try:
            return Checkpoint.from_bytes(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except EvidenceError as error:
            detail, quoted = f"`{self._path}` is not the head that was kept: {error.detail}", quote(str(self._path))
            raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint=f"mv {quoted} {quoted}.old") from None

    def keep(self, report: Report) -> None:
        """`report` is of the pack with that head, compared with what was kept."""
        own = self._own
        if report.part or report.exit not in _IN_ORDER or report.axes[Axis.FRESHNESS] is Standing.FAILED:
            return
        if (visible(own.origin), own.size, text(own.root)) != (report.log, report.size, report.root):
            return  # the file is not what it was when the head was read
        kept = self.kept()  # somebody else verified meanwhile
        if kept is not None and kept.size >= own.size:
            return
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            durable.write(self._path, [own.note], mode=0o600)


def seen(folder: Path, genesis: Digest | None, entries: Entries | None) -> SeenHead | None:
    """None where the pack has no head, or one of another log than it says, which the verification tells; or nothing is pinned."""
    if genesis is None or entries is None:
        return None
    try:
        own = Checkpoint.from_bytes(entries.small(CHECKPOINT, NOTE_BYTES_MAX))
        log = Manifest.from_bytes(entries.small(MANIFEST, MANIFEST_BYTES_MAX)).log
    except EvidenceError:
        return None
    return SeenHead(folder, genesis, own) if own.origin == log else None
