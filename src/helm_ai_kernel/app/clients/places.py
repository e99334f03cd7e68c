"""Where the files of clients are, and how one is read and replaced: whole, in its own mode, and never outside where it belongs.

A configuration file decides which programs run. A link that leads out of a person's folders is not followed, a link inside stays
a link, and a file that changed meanwhile is not overwritten.
"""

import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from helm_ai_kernel.disk import durable
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

from .table import File

FILE_BYTES_MAX = 32 << 20  # a client that keeps its history in the same file has a few MiB


@dataclass(frozen=True, slots=True)
class Places:
    """The folders that the table names."""

    home: Path
    folders: Mapping[str, Path]  # by the name in braces

    @classmethod
    def of(cls, environ: Mapping[str, str], project: Path, platform: str = sys.platform) -> "Places":
        home = Path(environ.get("HOME", "/"))
        config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        folders = {
            "home": home,
            "config": config,
            "app": home / "Library/Application Support" if platform == "darwin" else config,
            "claude": Path(environ.get("CLAUDE_CONFIG_DIR") or home),
            "codex": Path(environ.get("CODEX_HOME") or home / ".codex"),
            "copilot": Path(environ.get("COPILOT_HOME") or home / ".copilot"),
            "project": project,
        }
        return cls(home, folders)

    def path(self, file: File) -> Path:
        return Path(file.path.format_map({name: str(folder) for name, folder in self.folders.items()}))


@dataclass(frozen=True, slots=True)
class Found:
    """One file as it was read: `path` is the client's name for it, `target` what is behind its links."""

    path: Path
    target: Path
    data: bytes
    mode: int


def read(path: Path) -> Found | None:
    """None where there is no such file; raises `OutsideError(ERR_CLIENT_CONFIG)` where it may not be touched."""
    try:
        target = path.resolve(strict=True)
        fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise wrong(path, "is a link to nothing", f"ls -l {path}") from None
        return None
    except (OSError, RuntimeError) as error:
        raise wrong(path, f"cannot be read: {getattr(error, 'strerror', None) or error}".lower(), f"ls -l {path}") from None
    with open(fd, "rb") as file:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise wrong(path, "is no regular file", f"ls -l {path}")
        if about.st_size > FILE_BYTES_MAX:
            raise wrong(path, f"has more than {FILE_BYTES_MAX >> 20} MiB", f"ls -l {path}")
        return Found(path, target, file.read(FILE_BYTES_MAX + 1), stat.S_IMODE(about.st_mode))


def check_writable(found: Found, places: Places) -> None:
    """Before anything is written: is it where it belongs, under one name, in a folder that we may change?"""
    roots = [folder.resolve() for folder in places.folders.values() if folder == places.home or found.path.is_relative_to(folder)]
    if not any(found.target.is_relative_to(root) for root in roots):
        hint = "put a file there instead of the link"
        raise wrong(found.path, f"is a link to `{found.target}`, outside your home directory", hint)
    if found.target.stat().st_nlink > 1:
        hint = f"find ~ -samefile {found.path}"
        raise wrong(found.path, "has a second name (a hard link), which would keep the old content", hint)
    if not os.access(found.target.parent, os.W_OK | os.X_OK):
        raise wrong(found.path, f"cannot be replaced: `{found.target.parent}` is not writable", f"ls -ld {found.target.parent}")


def replace(found: Found, new: bytes) -> None:
    """`new` in the place of what was read, durable; raises `OutsideError` where something else stands there by now."""
    now = read(found.path)
    if now is None or now.data != found.data or now.target != found.target:
        raise wrong(found.path, "changed meanwhile, and was not overwritten", "end the client, then try again")
    durable.write(found.target, [new], mode=found.mode)
    if stat.S_IMODE(found.target.stat().st_mode) != found.mode:  # the umask
        found.target.chmod(found.mode)


def wrong(path: Path, what: str, hint: str) -> OutsideError:
    """Of a client's file; nothing was written."""
    return OutsideError(Reason.ERR_CLIENT_CONFIG, f"`{path}` {what}", hint=hint)
