"""A door in the file system: a socket that nobody but its owner can reach, unless it is for others, and that two never both have.

The folder is the lock: 0700, so that a socket is never open to others, not even between its birth and its mode. Who listens
holds a lock beside the socket until the end; so what a dead process left is replaced, and what a living one has is not.
"""

import fcntl
import os
import socket
import stat
import struct
from contextlib import suppress
from pathlib import Path

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

from .bind import BACKLOG

PATH_BYTES_MAX = 107  # of `sun_path`, without its NUL (unix(7))
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


class UnixSocket:
    """Made with `open`; `close` takes the file away where it is still this one's."""

    def __init__(self, path: Path, sock: socket.socket, lock: int) -> None:
        self.sock = sock
        self._path = path
        self._lock = lock
        self._file = _identity(path)

    @classmethod
    def open(cls, path: Path, *, others: bool = False) -> "UnixSocket":
        """`others`: other users may connect. Raises `OutsideError`."""
        if len(os.fsencode(path)) > PATH_BYTES_MAX:
            raise _unusable(path, f"its name has more than {PATH_BYTES_MAX} bytes", "choose a shorter one")
        try:
            _check_folder(path.parent, others)
            lock = _locked(path)
        except OSError as error:
            raise _unusable(path, (error.strerror or str(error)).lower(), f"ls -ld {path.parent}") from None
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _clear(path)
            sock.setblocking(False)
            sock.bind(os.fspath(path))
            path.chmod(0o666 if others else 0o600)
            sock.listen(BACKLOG)
            return cls(path, sock, lock)
        except OSError as error:
            _dropped(sock, lock)
            raise _unusable(path, (error.strerror or str(error)).lower(), f"ls -ld {path.parent}") from None
        except BaseException:
            _dropped(sock, lock)
            raise

    def close(self) -> None:
        with suppress(OSError):
            if _identity(self._path) == self._file:
                self._path.unlink()
        _dropped(self.sock, self._lock)


def peer_uid(sock: socket.socket) -> int:
    """Whose process connected, as the system says it (`SO_PEERCRED`)."""
    uid: int = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[1]
    return uid


def _check_folder(folder: Path, others: bool) -> None:
    """Make it, or raise where others may enter it; or, where they are to enter it, may put something there."""
    folder.mkdir(mode=0o711 if others else 0o700, parents=True, exist_ok=True)
    found = os.lstat(folder)
    wrong = stat.S_IMODE(found.st_mode) & (0o022 if others else 0o077)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or wrong:
        can, mode = ("write to", 711) if others else ("enter", 700)
        detail = f"others may {can} `{folder}`, where a socket is to be"
        raise OutsideError(Reason.ERR_UNAUTHENTICATED, detail, hint=f"chmod {mode} {folder}")


def _locked(path: Path) -> int:
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise _taken(path) from None
    return lock


def _clear(path: Path) -> None:
    """Take away the socket of a process that is no more."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise _unusable(path, "something that is no socket has that name", f"ls -l {path}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a queue that is full is somebody's, too
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
    raise _taken(path)


def _identity(path: Path) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def _dropped(sock: socket.socket, lock: int) -> None:
    sock.close()
    os.close(lock)


def _taken(path: Path) -> OutsideError:
    hint = "use the kernel that is running, or stop it"
    return OutsideError(Reason.ERR_STORE_LOCKED, f"another process listens at `{path}`", hint=hint)


def _unusable(path: Path, cause: str, hint: str) -> OutsideError:
    return OutsideError(Reason.ERR_POLICY_NOT_READY, f"cannot listen at `{path}`: {cause}", hint=hint)
