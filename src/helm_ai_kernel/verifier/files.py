"""What the verifier reads: a pack, never whole, and what its user brings beside it, bounded before it is read."""

import os
import stat
from pathlib import Path

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.pack import PACK_BYTES_MAX

WINDOW_BYTES = 1 << 18  # entries are small and stand one after the other


class PackFile:
    """A `Source` over a file that nobody shortens meanwhile; read ahead, because what is read is mostly in order."""

    def __init__(self, path: Path) -> None:
        """Raises `OutsideError` where it cannot be read."""
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # not to hang at a pipe
        except OSError as error:
            raise unreadable(path, error) from error
        self._start, self._window = 0, b""
        status = os.fstat(self._fd)
        self._size = status.st_size
        if not stat.S_ISREG(status.st_mode) or self._size > PACK_BYTES_MAX:
            os.close(self._fd)
            what = "is not a file" if self._size <= PACK_BYTES_MAX else f"is larger than {PACK_BYTES_MAX} bytes"
            detail = f"`{path}` {what}"
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint="name the file that was exported")

    def __enter__(self) -> "PackFile":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    @property
    def size(self) -> int:
        return self._size

    def read(self, at: int, count: int) -> bytes:
        if count >= WINDOW_BYTES:
            return self._from_disk(at, count)
        if not self._start <= at <= at + count <= self._start + len(self._window):
            self._start, self._window = at, self._from_disk(at, WINDOW_BYTES)
        return self._window[at - self._start : at - self._start + count]

    def _from_disk(self, at: int, count: int) -> bytes:
        parts, left = [], min(count, self._size - at)
        try:
            while left > 0 and (part := os.pread(self._fd, left, at)):
                parts.append(part)
                at, left = at + len(part), left - len(part)
        except OSError as error:
            raise unreadable(self.path, error) from error
        return b"".join(parts)


def read(path: Path, bytes_max: int) -> bytes:
    """A file, bounded before it is read; raises `OutsideError`."""
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(data) > bytes_max:
        detail = f"`{path}` is larger than {bytes_max} bytes"
        raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint="name the file that was meant")
    return data


def unreadable(path: Path, error: OSError) -> OutsideError:
    detail = f"`{path}` cannot be read: {error.strerror}"
    return OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint="name a file that you may read")
