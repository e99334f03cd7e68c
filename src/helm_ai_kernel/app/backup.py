"""A backup: one file with everything of a home that a new one can begin with, and no secret (`docs/spec/backup.md`).

Neither the machine's keys nor people's are in it: a log that goes on from a backup has keys of its own. The file is a strict
ustar archive, as a pack is; unlike a pack it is unpacked, so every name is one of a short list, and every byte has its digest.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from helm_ai_kernel.disk import durable
from helm_ai_kernel.ledger import store, succession
from helm_ai_kernel.ledger.ledger import DATABASE, TRUST
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb import fields
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.container import header
from helm_ai_kernel.tcb.digest import PREFIX, Digest, text
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.ijson import Json, parse_evidence
from helm_ai_kernel.tcb.jcs import canonical

from .config import Config, Paths

KIND = "backup"
MANIFEST = "backup.json"  # the first by name, so that a reader knows what may come
MANIFEST_BYTES_MAX = 16 << 20  # 120 bytes for each file
ENTRY_BYTES_MAX = (1 << 33) - 1  # 8 GiB: what the size in a ustar header can say
_BLOCK = 512
_PIECE = 1 << 20
_PART = "[A-Za-z0-9_][A-Za-z0-9._-]{0,79}"
_NAME = re.compile(
    rf"helm\.toml|catalog/{_PART}\.json|policy/(?:overlays/)?{_PART}\.cedar|store/ledger\.db|store/trust\.jsonl"
    rf"|store/witnessed/{_PART}|store/before/{_PART}/ledger\.db|store/before/{_PART}/witnessed/{_PART}"
)
_NEEDED = frozenset({"helm.toml", f"store/{DATABASE}", f"store/{TRUST}"})
_FIELDS = frozenset({"v", "kind", "log", "size", "root", "files"})
_SIZE = re.compile(rb"[0-7]{11}\x00\Z")


@dataclass(frozen=True, slots=True)
class Saved:
    """What was written. `left_out`: files of the home that are none of a kernel's, by name."""

    bytes: int
    head: Checkpoint
    left_out: tuple[str, ...]


def save(config: Config, out: Path) -> Saved:
    """Beside a running kernel or without one; as of the newest checkpoint that is stored. Raises `OutsideError`, `OSError`."""
    home = config.paths
    out = out.absolute()
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        copy = Path(folder) / DATABASE
        store.snapshot(home.store / DATABASE, copy)
        with Reader(Path(folder), trust=home.store / TRUST) as reader:
            head = Checkpoint.from_bytes(reader.checkpoint)
        found, left_out = _files(home)  # behind the snapshot: the registry has what the log relies on, or more
        found |= {f"store/{DATABASE}": copy}
        kept = {name: path.read_bytes() for name, path in found.items() if path.name != DATABASE}  # small, and perhaps edited now
        digests = {name: text(hashlib.sha256(data).digest()) for name, data in kept.items()}
        digests |= {name: _digest_of(path) for name, path in found.items() if name not in kept}
        count = durable.write(out, _archive(found, kept, _manifest(head, digests)), mode=0o600)
    return Saved(count, head, tuple(left_out))


def unpack(file: Path, home: Path) -> None:
    """Into a folder that is ours and empty; raises `OutsideError(ERR_STORE_CORRUPT)` where a byte is not what it was."""
    try:
        with file.open("rb") as archive:
            _unpack(archive, home)
    except EvidenceError as e:
        detail = f"`{file}` is no whole backup: {e.detail}"
        raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint="take another backup") from None


def _files(home: Paths) -> tuple[dict[str, Path], list[str]]:
    """What goes into the backup but the database, and what of the same folders does not."""
    before = [path for path in (home.store / succession.BEFORE).glob("*/*") if path.is_file()]
    before += (home.store / succession.BEFORE).glob(f"*/{succession.WITNESSED}/*")
    there = [home.config, home.store / TRUST, *(home.store / succession.WITNESSED).glob("*"), *before]
    there += [path for folder in (home.policy, home.catalog) for path in folder.rglob("*") if not path.is_dir()]
    names = {path.relative_to(home.home).as_posix(): path for path in there}
    taken = {name: path for name, path in names.items() if _NAME.fullmatch(name) and path.is_file() and not path.is_symlink()}
    return taken, sorted(names.keys() - taken.keys())


def _manifest(head: Checkpoint, files: Mapping[str, Digest]) -> bytes:
    body: dict[str, Json] = {"v": 1, "kind": KIND, "log": head.origin, "size": head.size, "root": text(head.root)}
    return canonical({**body, "files": dict(files)})


def _archive(found: Mapping[str, Path], kept: Mapping[str, bytes], manifest: bytes) -> Iterator[bytes]:
    yield from _entry(MANIFEST, len(manifest), [manifest])
    for name in sorted(found):
        size = len(kept[name]) if name in kept else found[name].stat().st_size
        if size > ENTRY_BYTES_MAX:
            raise OutsideError(
                Reason.ERR_EVIDENCE_UNAVAILABLE,
                f"`{found[name]}` is larger than {ENTRY_BYTES_MAX} bytes, the most that a backup holds of one file",
                hint="end the kernel and copy its home whole",
            )
        yield from _entry(name, size, [kept[name]] if name in kept else _pieces(found[name]))
    yield bytes(2 * _BLOCK)


def _entry(name: str, size: int, content: Iterator[bytes] | list[bytes]) -> Iterator[bytes]:
    yield header(name, size)
    yield from content
    yield bytes(-size % _BLOCK)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _digest_of(path: Path) -> Digest:
    with path.open("rb") as file:
        return Digest(PREFIX + hashlib.file_digest(file, "sha256").hexdigest())


def _unpack(archive: BinaryIO, home: Path) -> None:
    name, size = _header(archive)
    if name != MANIFEST or size > MANIFEST_BYTES_MAX:
        raise fields.wrong(f"it does not begin with `{MANIFEST}`")
    data = b"".join(_content(archive, name, size))
    files = _listed(data)
    for wanted in sorted(files):
        name, size = _header(archive)
        if name != wanted:
            raise fields.wrong(f"`{wanted}` is missing, or something else is in its place")
        path, sha = home / name, hashlib.sha256()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "wb") as file:
            for piece in _content(archive, name, size):
                sha.update(piece)
                file.write(piece)
        if text(sha.digest()) != files[name]:
            raise fields.wrong(f"`{name}` is damaged: it has another digest than `{MANIFEST}` says")
    if archive.read(2 * _BLOCK + 1) != bytes(2 * _BLOCK):
        raise fields.wrong("the end is not two empty blocks and nothing more")


def _listed(data: bytes) -> dict[str, Digest]:
    body = fields.exact(parse_evidence(data, bytes_max=MANIFEST_BYTES_MAX), _FIELDS)
    if body["v"] != 1 or type(body["v"]) is not int or body["kind"] != KIND:
        raise fields.wrong("it is no backup of version 1")
    listed = fields.typed(body, "files", dict)
    for name in listed:
        if not _NAME.fullmatch(name):
            raise fields.wrong(f"no backup has a file `{name[:200]}`")
    if not listed.keys() >= _NEEDED:
        raise fields.wrong(f"`{min(_NEEDED - listed.keys())}` is not in it")
    return {name: fields.digest(listed, name) for name in listed}


def _header(archive: BinaryIO) -> tuple[str, int]:
    """Name and size of the next entry, whose header is the one that these two have."""
    block = archive.read(_BLOCK)
    size = int(block[124:135], 8) if len(block) == _BLOCK and _SIZE.match(block[124:136]) else -1
    prefix, short = block[345:500].rstrip(b"\0"), block[:100].rstrip(b"\0")
    name = (prefix + b"/" + short if prefix else short).decode("ascii", "replace")
    if size < 0 or not (name == MANIFEST or _NAME.fullmatch(name)) or header(name, size) != block:
        raise fields.wrong("it is cut off, or an entry is none that a backup has")
    return name, size


def _content(archive: BinaryIO, name: str, size: int) -> Iterator[bytes]:
    left = size
    while left:
        piece = archive.read(min(left, _PIECE))
        if not piece:
            raise fields.wrong(f"`{name}` is cut off")
        left -= len(piece)
        yield piece
    if archive.read(-size % _BLOCK) != bytes(-size % _BLOCK):
        raise fields.wrong(f"`{name}` is cut off, or not padded with zeros")
