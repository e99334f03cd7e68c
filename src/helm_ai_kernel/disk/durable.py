"""Files that people read: each is there whole and durable, or not at all.

A write goes to a file beside its place, is synced and renamed, and then the directory is synced: after a power cut the old file
or the new one is there.
"""

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

_NO_UNNAMED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})  # what file systems and kernels say that have none


def write(path: Path, parts: Iterable[bytes], *, mode: int = 0o666) -> int:
    """Put these bytes, which may be made meanwhile, in the place of `path`; returns how many. The umask cuts `mode`."""
    partial = _beside(path)
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            count = _fill(file, parts)
        os.rename(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(partial):
            raise OSError(error.errno, error.strerror, str(path)) from error  # the name that a person knows
        raise
    sync_directory(path.parent)
    return count


def write_unnamed(path: Path, parts: Iterable[bytes], *, mode: int) -> int:
    """`write`, for what nobody may find half written: it has no name until it is whole, and goes with a process that is killed.

    Where the file system has no such files it is `write`.
    """
    fd = _unnamed(path, mode)
    if fd < 0:
        return write(path, parts, mode=mode)
    with open(fd, "wb") as file:
        count = _fill(file, parts)
        try:
            _link(fd, path)
        except FileExistsError:  # a link replaces nothing: for a moment it has another name
            partial = _beside(path)
            _link(fd, partial)
            try:
                os.rename(partial, path)
            except BaseException:
                partial.unlink()
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


def sync_tree(path: Path) -> None:
    """Every file and every name below it."""
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            fd = os.open(Path(folder, name), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        sync_directory(Path(folder))


def _beside(path: Path) -> Path:
    return path.parent / f".{path.name}.{os.urandom(8).hex()}"  # also where `path` has no name, as `.`


def _fill(file: BinaryIO, parts: Iterable[bytes]) -> int:
    count = 0
    for part in parts:
        count += file.write(part)
    file.flush()
    os.fsync(file.fileno())
    return count


def _unnamed(path: Path, mode: int) -> int:
    """A file in the folder of `path` that has no name; -1 where there is none, or none that could get one."""
    flag = getattr(os, "O_TMPFILE", 0)  # Linux
    try:
        fd = os.open(path.parent, os.O_WRONLY | flag | os.O_CLOEXEC, mode) if flag else -1
    except OSError as error:
        if error.errno in _NO_UNNAMED:
            return -1
        raise OSError(error.errno, error.strerror, str(path)) from error
    if fd >= 0 and not os.path.exists(f"/proc/self/fd/{fd}"):
        os.close(fd)
        return -1
    return fd


def _link(fd: int, path: Path) -> None:
    """Give it a name: `open(2)`, O_TMPFILE."""
    try:
        os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)  # with a descriptor Python asks to follow
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
