"""Files that people read: each is there whole and durable, or not at all.

A write goes to a file beside its place, is synced and renamed, and then the directory is synced: after a power cut the old file
or the new one is there.
"""

import os
from collections.abc import Iterable
from pathlib import Path


def write(path: Path, parts: Iterable[bytes], *, mode: int = 0o666) -> int:
    """Put these bytes, which may be made meanwhile, in the place of `path`; returns how many. The umask cuts `mode`."""
    partial = path.parent / f".{path.name}.{os.urandom(8).hex()}"  # also where `path` has no name, as `.`
    count = 0
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            for part in parts:
                count += file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.rename(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(partial):
            raise OSError(error.errno, error.strerror, str(path)) from error  # the name that a person knows
        raise
    sync_directory(path.parent)
    return count


def sync_directory(path: Path) -> None:
    """A new name is durable only when its directory is."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
