"""A fault at one system call: strace kills the process there, or lets the call fail, and tells what was under way.

A place is the n-th call of its kind that one thread makes; `when=` of strace counts the same way. Calls that touch nothing
in the folder (imports, what the driver says) are counted but are no places.
"""

import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from needs import ROOT, needs

CHANGES = (
    "openat",
    "mkdir",
    "rmdir",
    "write",
    "pwrite64",
    "ftruncate",
    "fchmod",
    "fsync",
    "fdatasync",
    "link",
    "linkat",
    "symlink",
    "rename",
    "unlink",
)
LOOKS = ("read", "pread64", "flock", "fcntl")  # to die at one is to die at the next change; they can fail
TRACED = ",".join(CHANGES + LOOKS)
KILL, EIO, FULL = "signal=SIGKILL", "error=EIO", "error=ENOSPC"
FAULTS = (KILL, EIO, FULL)
TIMEOUT_S = 120  # bounds a hang; nothing here depends on how long something takes
THEIRS = ("said", "trace", "effects", "passphrase")  # what of a folder is the test's; the rest is the kernel's
_CALL = re.compile(r"(\d+) +(\w+)\((.*)")
_PATH = re.compile(r'(?:"|\d<)(/[^>"]*)[>"]')  # named, or that of a file descriptor
_DRAWN = re.compile(r"[0-9a-f]{8,}|\d+(?=$|/)")  # random names and process ids


@dataclass(frozen=True, order=True)
class Place:
    syscall: str
    file: str  # the end of its path, without the random and the counted part
    nth: int
    phase: str = ""  # what the driver had said last, of `started` and `closing`


@dataclass(frozen=True)
class Ended:
    """A process that met a fault."""

    code: int
    stderr: str
    said: list[str]  # of this process and of those before it in the same folder
    calls: list[tuple[Place, bool]] = field(repr=False)  # and whether it failed by injection; without a file it is no place
    said_after: list[str]  # what the driver still said behind the first fault
    trace: list[str] = field(repr=False)

    @property
    def struck(self) -> Place | None:
        """Where the fault was, if it was."""
        if self.code == -signal.SIGKILL:
            return self.calls[-1][0]
        return next((place for place, struck in self.calls if struck), None)


def run(command: Sequence[str], folder: Path, *options: str) -> Ended:
    trace, told = folder / "trace", folder / "said"
    of_tests = {"PYTHONPATH": str(ROOT / "tests"), "PYTHONDONTWRITEBYTECODE": "1"}
    env = {**os.environ, **of_tests, "HELM_PEOPLE": str(folder / "people")}
    fast = [] if any(KILL in option for option in options) else ["--seccomp-bpf"]  # with it, strace injects no signals
    strace = [needs("strace"), "-f", "-y", "-qq", *fast, "-o", str(trace), "-e", f"trace={TRACED}", *options]
    with told.open("ab") as out:
        ended = subprocess.run([*strace, *command], stdout=out, stderr=subprocess.PIPE, env=env, timeout=TIMEOUT_S, check=False)
    lines = trace.read_text(errors="replace").splitlines()
    struck = next((n for n, line in enumerate(lines) if "(INJECTED)" in line), len(lines))
    after = [word for line in lines[struck:] if (word := said(line))]
    words = told.read_text().splitlines()
    return Ended(ended.returncode, ended.stderr.decode(errors="replace"), words, list(_calls(lines, folder)), after, lines)


def inject(command: Sequence[str], folder: Path, place: Place, fault: str, *, on: bool = False) -> Ended:
    """`on`: the fault stays from there on."""
    ended = run(command, folder, "-e", f"inject={place.syscall}:{fault}:when={place.nth}{'+' if on else ''}")
    assert ended.struck is not None and ended.struck.file, f"{place} was not reached: {ended}"
    assert fault != KILL or ended.code == -signal.SIGKILL, ended
    return ended


def places(command: Sequence[str], folder: Path) -> list[Place]:
    """Every place in an undisturbed run."""
    ended = run(command, folder)
    assert ended.code == 0, ended.stderr
    first: dict[tuple[str, int], Place] = {}  # of several threads the first to make its n-th call is the one that is struck
    for place, _ in ended.calls:
        first.setdefault((place.syscall, place.nth), place)
    found = [place for place in first.values() if place.file]
    assert found, "no storage system call was seen"
    return found


def unsynced(trace: Sequence[str], folder: Path, there: Collection[str] = ()) -> set[str]:
    """What a power cut could still take then: files whose content, and names whose directory, was not synced. `there`: before."""
    contents, names, empty, known = set[str](), set[str](), set[str](), set(there)
    for line in trace:
        match = _CALL.match(line)
        touched = [_named(path, folder) for path in _PATH.findall(line)]
        if match is None or not touched or not touched[0] or " = -1 " in line:
            continue
        syscall, (name, *others) = match[2], touched
        if syscall in ("write", "pwrite64", "ftruncate"):
            contents, empty = contents | {name}, empty - {name}
        elif syscall in ("fsync", "fdatasync"):
            contents.discard(name)
            names = {made for made in names if str(Path(made).parent) != name}
        elif syscall in ("link", "linkat", "symlink"):  # of a link the last path is the new name
            names, known = names | ({touched[-1]} - known), known | {touched[-1]}
        elif syscall == "mkdir" or (syscall == "openat" and "O_CREAT" in line):
            names, empty, known = names | ({name} - known), empty | ({name} - known), known | {name}
        elif syscall == "unlink":
            contents, names, known = contents - {name}, names - {name}, known - {name}
        elif syscall == "rename":
            contents, names = _moved(contents, name, others[0]), _moved(names | {name}, name, others[0])
    again = {name for name in contents | names if name.endswith(("-shm", "/lock")) or (name.endswith("-wal") and name in empty)}
    return (contents | names) - again  # these a start makes again


def _moved(names: set[str], old: str, new: str) -> set[str]:
    return {new + name.removeprefix(old) if name == old or name.startswith(old + "/") else name for name in names}


def sampled(found: Sequence[Place], name: str, every: Sequence[tuple[str, str]], others: int) -> list[tuple[Place, str]]:
    """A place of each kind in `every` under each of the faults, and so many `others`; the same ones each time."""
    dice = random.Random(name)
    kinds: dict[tuple[str, str], list[Place]] = {}
    for place in found:
        kinds.setdefault((place.syscall, place.file), []).append(place)
    chosen = [(dice.choice(kinds[kind]), fault) for kind in every for fault in FAULTS]
    for kind in dice.sample(sorted(kinds.keys() - set(every)), others):
        place = dice.choice(kinds[kind])
        chosen.append((place, dice.choice([fault for fault in FAULTS if can(place, fault)])))
    return chosen


def can(place: Place, fault: str) -> bool:
    return place.syscall in CHANGES or fault == EIO


def python(script: Path, *args: object) -> list[str]:
    return [sys.executable, str(script), *map(str, args)]


def command(*args: object) -> list[str]:
    """The product's command line."""
    return [sys.executable, "-c", "import sys; from helm_ai_kernel.cli import main; sys.exit(main())", *map(str, args)]


def _calls(trace: Sequence[str], folder: Path) -> Iterator[tuple[Place, bool]]:
    counts: Counter[tuple[str, str]] = Counter()
    phase = ""
    for line in trace:
        word = said(line)
        phase = word if word in ("started", "closing") else phase
        match = _CALL.match(line)
        if match is not None:
            pid, syscall, rest = match.groups()
            counts[pid, syscall] += 1
            yield Place(syscall, _file(rest, folder), counts[pid, syscall], phase), "(INJECTED)" in rest


def _file(rest: str, folder: Path) -> str:
    paths = _PATH.findall(rest)
    return _named(paths[0], folder) if paths else ""


def _named(path: str, folder: Path) -> str:
    """The path inside the folder, without what is drawn or counted; empty where it is none of the kernel's."""
    name = "." if path == str(folder) else path.removeprefix(f"{folder}/")
    return "" if name == path or name in THEIRS else _DRAWN.sub("N", name)


def said(line: str) -> str:
    """What the driver says in this line of a trace, or the beginning of it."""
    match = re.match(r'\d+ +write\(1<[^>]*>, "([^"\\]*)', line)
    return "" if match is None else match[1]
