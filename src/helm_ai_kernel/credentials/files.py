"""Secret files on disk: made once, for their owner only, and read only while that is still so."""

import os
import shlex
import stat
from pathlib import Path

from helm_ai_kernel.disk import durable
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

BYTES_MAX = 16 << 10  # an encrypted Ed25519 key file has about 500 bytes


def create(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Whole or not there at all, and durable when it returns. An existing file is never overwritten, and no link is followed."""
    try:
        put(path, data, mode)
    except FileExistsError:
        raise unavailable(f"`{path}` exists already", "choose another file: a key is never overwritten") from None
    except OSError as error:
        raise unavailable(f"`{path}` could not be written: {_cause(error)}", "check the directory and its space") from None


def put(path: Path, data: bytes, mode: int = 0o600) -> None:
    """`create`, for whoever says in other words what went wrong: raises `OSError`."""
    partial = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, mode)  # whatever the umask says
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.link(partial, path)  # unlike a rename, this never replaces what is there
    finally:
        os.unlink(partial)
    durable.sync_directory(path.parent)


def read(path: Path, *, bytes_max: int = BYTES_MAX) -> bytes:
    """A regular file of ours that nobody else can read or change."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)  # not to hang at a pipe
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise unavailable(f"`{path}` is not a file", "give the file that holds the key")
            _check_private(path, status)
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise unavailable(f"`{path}` could not be read: {_cause(error)}", "check the path and its permissions") from None
    if len(data) > bytes_max:
        raise unavailable(f"`{path}` is too large for a key", "give the file that holds the key")
    return data


def read_passphrase(path: Path) -> bytes:
    """The first line of a regular file of ours that nobody else can read or change; or of a pipe or a terminal.

    A link is followed (`/dev/stdin` and `<(...)` are links): what counts is what was opened. A pipe or a terminal belongs to
    whoever gave it to us, and its mode says nothing about who can read what goes through it.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode):
                _check_private(path, status)
            elif not stat.S_ISFIFO(status.st_mode) and not stat.S_ISCHR(status.st_mode):
                raise unavailable(f"`{path}` is neither a file nor a pipe", "give the file with the passphrase in its first line")
            line = file.readline(BYTES_MAX)
    except OSError as error:
        raise unavailable(f"`{path}` could not be read: {_cause(error)}", "check the path and its permissions") from None
    return line.removesuffix(b"\n").rstrip(b"\r")


def unavailable(detail: str, hint: str = "") -> OutsideError:
    return OutsideError(Reason.ERR_SIGNER_UNAVAILABLE, detail, hint=hint)


def _check_private(path: Path, status: os.stat_result) -> None:
    name = shlex.quote(str(path.resolve()))  # not a link, least of all `/dev/stdin`, which is another file to whoever types it
    if status.st_uid != os.geteuid():
        raise unavailable(f"`{path}` belongs to another user", f"chown {os.geteuid()} {name}")
    if status.st_mode & 0o077:
        raise unavailable(f"`{path}` is open to others (mode {status.st_mode & 0o777:04o})", f"chmod 600 {name}")


def _cause(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
