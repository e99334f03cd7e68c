"""A power cut at any instant (S4): what a run wrote is recorded with its syncs, and played into what the disk may then hold.

Of what was not synced each sector may be there or not, in any order, also of a write that was under way; of a name whose
directory was not synced the same. What was synced is there. A new process starts on that.
"""

import random
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from faults import driver, inject, oracle
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from needs import needs

CALLS = "openat,write,pwrite64,ftruncate,fsync,fdatasync,link,symlink,unlink,rename,mkdir"
LINK = b"link to "  # what this disk has for a symbolic link
SECTOR = 512
_HEX = r"((?:\\x[0-9a-f]{2})*)"
_CALL = re.compile(rf'\d+ +(\w+)\((?:\d+<{_HEX}>|AT_FDCWD<{_HEX}>, "{_HEX}"|"{_HEX}")(?:, "{_HEX}")?(.*)\) += (?!-1)')


class Op(NamedTuple):
    """One system call that succeeded, on a path inside the folder, or what was said on stdout."""

    call: str
    name: str
    data: bytes = b""
    rest: str = ""


@dataclass
class Disk:
    """Files as they were synced, and behind that what was done to them and not synced."""

    files: dict[str, bytes]
    pending: dict[str, list[tuple[int, bytes | None]]] = field(default_factory=lambda: defaultdict(list))
    names: dict[str, bool] = field(default_factory=dict)  # that came (True) or went, and whose directory was not synced
    said: list[str] = field(default_factory=list)
    effects: bytes = b""  # in the world outside, which loses no power

    def take(self, op: Op) -> None:
        match op.call:
            case "write" if op.name == "effects":
                self.effects += op.data
            case "write" if op.name:
                self.pending[op.name].append((len(self.files[op.name]), op.data))
            case "link" | "symlink":
                to = op.data.decode()
                self.files[to] = self.files[op.name] if op.call == "link" else LINK + op.name.encode()
                self.names[to] = True
            case "write":
                self.said.append(op.data.decode().strip())
            case "openat" if "O_CREAT" in op.rest and op.name not in self.files and op.name != "effects":
                self.files[op.name], self.names[op.name] = b"", True
            case "pwrite64":
                self.pending[op.name].append((int(op.rest.split(", ")[2]), op.data))
            case "ftruncate":
                self.pending[op.name].append((int(op.rest.strip(", ")), None))
            case "fsync" | "fdatasync" if op.name in self.files:
                self.files[op.name] = played(self.files[op.name], self.pending.pop(op.name, []), random.Random(), 1.0)
            case "fsync" | "fdatasync":
                for name in [name for name in self.names if Path(name).parent == Path(op.name)]:
                    if not self.names.pop(name):
                        del self.files[name]
                        self.pending.pop(name, None)
            case "unlink":
                self.names[op.name] = False
            case "rename" | "mkdir":
                raise AssertionError(f"{op} is not a thing that this disk knows")

    def after_the_cut(self, dice: random.Random) -> dict[str, bytes]:
        keep = dice.choice((0.0, 0.5, 0.9, 1.0))
        there = [name for name in sorted(self.files) if name not in self.names or (dice.random() < keep) == self.names[name]]
        return {name: played(self.files[name], self.pending.get(name, []), dice, keep) for name in there}


def played(content: bytes, changes: Sequence[tuple[int, bytes | None]], dice: random.Random, keep: float) -> bytes:
    """The file after the changes, each sector of which reached the disk with that probability."""
    now = bytearray(content)
    for at, data in changes:
        if data is None:
            if dice.random() < keep:
                now[:] = now[:at].ljust(at, b"\0")
            continue
        end = at + len(data)
        for start in [at, *range((at // SECTOR + 1) * SECTOR, end, SECTOR)]:
            stop = min(end, (start // SECTOR + 1) * SECTOR)
            if dice.random() < keep:
                now.extend(bytes(max(0, stop - len(now))))
                now[start:stop] = data[start - at : stop - at]
    return bytes(now)


def recorded(folder: Path, mode: str) -> list[Op]:
    trace = folder.parent / "trace"
    strace = [needs("strace"), *f"-f -y -qq --seccomp-bpf -xx -s {1 << 20} -e trace={CALLS} -o".split(), str(trace)]
    run = [*strace, *inject.python(Path(driver.__file__), mode, folder)]
    subprocess.run(run, check=True, stdout=subprocess.PIPE, timeout=inject.TIMEOUT_S)
    return list(_ops(trace.read_text().splitlines(), folder))


def _ops(trace: Sequence[str], folder: Path) -> Iterator[Op]:
    for line in trace:
        match = _CALL.match(line)
        if match is None:
            continue
        call, fd, _, opened, named, data, rest = match.groups()
        path, content = (_bytes(text or "") for text in (fd or opened or named, data))
        if path.startswith(b"pipe:") and call == "write":
            yield Op(call, "", content)
        elif call in ("link", "symlink"):
            inside = [side.removeprefix(bytes(folder) + b"/") for side in (path, content)]
            yield Op(call, inside[0].decode(), inside[1])
        elif path.startswith(bytes(folder) + b"/") and not path.endswith(b"-shm"):  # made again by whoever starts
            yield Op(call, path.removeprefix(bytes(folder) + b"/").decode(), content, rest)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def before(folder: Path, mode: str) -> tuple[dict[str, bytes], list[str]]:
    """A home as the mode meets it, every byte of it durable; and what was said of it."""
    driver.make(folder)
    earlier = inject.python(Path(driver.__file__), "leave", folder) if mode == "recover" else ["true"]
    said = subprocess.run(earlier, check=True, stdout=subprocess.PIPE, timeout=inject.TIMEOUT_S).stdout.decode().splitlines()
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm")]
    return {path.relative_to(folder).as_posix(): content(path) for path in paths}, said


def content(path: Path) -> bytes:
    return LINK + bytes(path.readlink()) if path.is_symlink() else path.read_bytes()


def cut(ops: Sequence[Op], files: dict[str, bytes], folder: Path, dice: random.Random) -> list[str]:
    """Lay what is left into `folder`; returns what was said until then."""
    disk = Disk({name: content for name, content in files.items() if name != "effects"}, effects=files.get("effects", b""))
    for op in ops:
        disk.take(op)
    for name, content in {**disk.after_the_cut(dice), "effects": disk.effects}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if content.startswith(LINK):
            (folder / name).symlink_to(content.removeprefix(LINK).decode())
        else:
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o600)
    return disk.said


@pytest.mark.parametrize("mode", ["calls", "recover"])
@pytest.mark.parametrize("cuts", [20, pytest.param(0, marks=pytest.mark.whole)])
def test_after_a_power_cut_what_was_acknowledged_is_there_and_the_store_is_whole(tmp_path: Path, mode: str, cuts: int) -> None:
    files, known = before(tmp_path / "run", mode)
    ops = recorded(tmp_path / "run", mode)
    dice = random.Random(mode)
    for instant in dice.sample(range(len(ops)), cuts) if cuts else [*range(len(ops) + 1)] * 5:
        said = cut(ops[:instant], files, tmp_path / "cut", dice)
        oracle.check(tmp_path / "cut", [*known, *said])
        shutil.rmtree(tmp_path / "cut")


def test_a_kernel_that_did_not_sync_would_be_found(tmp_path: Path) -> None:
    """The same recording without its syncs: what such a disk forgets, the check above misses."""
    files, _ = before(tmp_path / "run", "calls")
    ops = [op for op in recorded(tmp_path / "run", "calls") if op.call not in ("fsync", "fdatasync")]

    def lost(number: int) -> bool:
        try:
            oracle.check(tmp_path / str(number), cut(ops, files, tmp_path / str(number), random.Random(number)))
        except (AssertionError, EvidenceError, OutsideError):
            return True
        return False

    assert sum(map(lost, range(8))) >= 4
