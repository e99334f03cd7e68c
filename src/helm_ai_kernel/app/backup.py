"""A backup: one file with everything of a home that a new one can begin with, and no secret (`docs/spec/backup.md`).

Neither the machine's keys nor people's are in it: a log that goes on from a backup has keys of its own. The file is a strict
ustar archive, as a pack is; unlike a pack it is unpacked, so every name is one of a short list, and every byte has its digest.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO

from helm_ai_kernel.disk import durable
from helm_ai_kernel.ledger import store, succession
from helm_ai_kernel.ledger.ledger import DATABASE, TRUST
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb import container, fields
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.container import ENTRY_BYTES_MAX, PIECE_BYTES, STEP, Source
from helm_ai_kernel.tcb.digest import Digest, digest, digest_of, text
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.pack import PACK_BYTES_MAX

from .config import Config

KIND = "backup"
MANIFEST = "backup.json"  # the first by name, so that a reader knows what may come
MANIFEST_BYTES_MAX = 16 << 20  # 120 bytes for each file
_NAME = re.compile(
    rf"helm\.toml|{STEP}\.txt|catalog/{STEP}\.json|policy/(?:overlays/)?{STEP}\.cedar|policy/tests/{STEP}\.json"
    rf"|store/ledger\.db|store/trust\.jsonl|store/witnessed/{STEP}\.txt|store/before/{STEP}/ledger\.db|store/before/{STEP}/{STEP}\.txt"
)
_BLOCK = 512  # of an archive: a header has one, a file is filled up to whole ones, and two are the end
_WHOLE = "end the kernel and copy its home whole"  # what there is for a home that is too large
_NEEDED = frozenset({"helm.toml", f"store/{DATABASE}", f"store/{TRUST}"})


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says that it is. Nobody signs it: each field is compared with what is there."""

    log: str
    size: int
    root: Digest
    files: Mapping[str, Digest]  # every other entry

    @classmethod
    def from_bytes(cls, data: bytes) -> "Manifest":
        """Raises `EvidenceError`."""
        body = fields.document(data, KIND, {"log", "size", "root", "files"}, bytes_max=MANIFEST_BYTES_MAX)
        listed = fields.typed(body, "files", dict)
        for name in listed:
            if not _NAME.fullmatch(name):
                raise fields.wrong(f"no backup has a file `{name[:200]}`")
        container.check_names(listed)
        if not listed.keys() >= _NEEDED:
            raise fields.wrong(f"`{min(_NEEDED - listed.keys())}` is not in it")
        files = {name: fields.digest(listed, name) for name in listed}
        return cls(fields.text(body, "log"), fields.count(body, "size"), fields.digest(body, "root"), files)

    def to_bytes(self) -> bytes:
        body: dict[str, Json] = {"v": 1, "kind": KIND, "log": self.log, "size": self.size, "root": self.root}
        return canonical({**body, "files": dict(self.files)})

    def check(self, head: Checkpoint) -> None:
        """`head` is what the store in it holds; raises `EvidenceError`."""
        there = {"log": (self.log, head.origin), "size": (self.size, head.size), "root": (self.root, text(head.root))}
        for name, (says, holds) in there.items():
            if says != holds:
                raise fields.wrong(f"`{MANIFEST}` says {name} `{says}`, and its store holds `{holds}`")


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
        with Reader(Path(folder)) as reader:
            head = Checkpoint.from_bytes(reader.checkpoint)
        found, left_out = _files(config)  # behind the snapshot: the registry has what the log relies on, or more
        found |= {f"store/{DATABASE}": copy}
        kept = {name: path.read_bytes() for name, path in found.items() if path.name != DATABASE}  # small, and perhaps edited now
        digests = {name: digest(kept[name]) if name in kept else digest_of(_pieces(path)) for name, path in found.items()}
        manifest = Manifest(head.origin, head.size, text(head.root), digests).to_bytes()
        sizes = {name: len(kept[name]) if name in kept else path.stat().st_size for name, path in found.items()}
        _check(manifest, sizes)
        entries = [(name, sizes[name], [kept[name]] if name in kept else _pieces(found[name])) for name in sorted(found)]
        pieces = container.stream([(MANIFEST, len(manifest), [manifest]), *entries])
        count = durable.write(out, pieces, mode=0o600)
    return Saved(count, head, tuple(left_out))


def unpack(source: Source, file: Path, home: Path) -> Manifest:
    """Into a folder that is ours and empty; raises `OutsideError(ERR_STORE_CORRUPT)` where a byte is not what it was."""
    try:
        return _unpack(source, home)
    except EvidenceError as e:
        detail = f"`{file}` is no whole backup: {e.detail}"
        raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint="take another backup") from None


def _files(config: Config) -> tuple[dict[str, Path], list[str]]:
    """What goes into the backup but the database, and what of the same folders does not."""
    home = config.paths
    own = [config.witnesses] if config.witnesses is not None and config.witnesses.parent == home.home else []
    folders = (home.policy, home.catalog, home.store / succession.WITNESSED, home.store / succession.BEFORE)
    there = [home.config, *own, home.store / TRUST, *(path for folder in folders for path in _below(folder))]
    names = {path.relative_to(home.home).as_posix(): path for path in there}
    taken = {name: path for name, path in names.items() if _NAME.fullmatch(name) and path.is_file() and not path.is_symlink()}
    for name in sorted(_NEEDED):
        if (linked := next((path for path in (home.home / name, home.store) if path.is_symlink()), None)) is not None:
            raise _not_made(f"`{linked}` is a link, and a backup follows none", "put what it leads to in its place")
    return taken, sorted(names.keys() - taken.keys())


def _below(path: Path) -> Iterator[Path]:
    """Every file in that folder, and every link, which is not followed."""
    if path.is_dir() and not path.is_symlink():
        for inside in path.iterdir():
            yield from _below(inside)
    elif path.exists() or path.is_symlink():
        yield path


def _check(manifest: bytes, sizes: Mapping[str, int]) -> None:
    """`restore` reads it: raises `OutsideError`, for a backup that nobody can restore is none."""
    for name, size in sizes.items():
        if size > ENTRY_BYTES_MAX:
            raise _not_made(f"`{name}` is larger than {ENTRY_BYTES_MAX} bytes, the most that a backup holds of one file", _WHOLE)
    if sum(_BLOCK + size + -size % _BLOCK for size in (len(manifest), *sizes.values())) + 2 * _BLOCK > PACK_BYTES_MAX:
        raise _not_made(f"it would be larger than {PACK_BYTES_MAX} bytes, the most that `restore` reads", _WHOLE)
    if len(manifest) > MANIFEST_BYTES_MAX:
        detail = (
            f"the list of its {len(sizes)} files would be larger than {MANIFEST_BYTES_MAX} bytes, the most that `restore` reads"
        )
        raise _not_made(detail, _WHOLE)
    try:
        Manifest.from_bytes(manifest)
    except EvidenceError as e:
        raise _not_made(e.detail, "rename or remove what is meant") from None


def _not_made(detail: str, hint: str) -> OutsideError:
    return OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, f"no backup is made: {detail}", hint=hint)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _unpack(source: Source, home: Path) -> Manifest:
    """Entry by entry against the list: what is not on it is not looked at."""
    entries = container.entries(source)
    first = next(entries, None)
    if first is None or first.name != MANIFEST or first.size > MANIFEST_BYTES_MAX:
        raise fields.wrong(f"it does not begin with `{MANIFEST}`")
    manifest = Manifest.from_bytes(source.read(first.at, first.size))
    for name, entry in zip_longest(sorted(manifest.files), entries):
        if name is None or entry is None or entry.name != name:
            raise fields.wrong(f"its entries are not those that `{MANIFEST}` lists")
        path = home / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "wb") as file:
            if digest_of(_written(file, container.content(source, entry))) != manifest.files[name]:
                raise fields.wrong(f"`{name}` is damaged: it has another digest than `{MANIFEST}` says")
    return manifest


def _written(file: BinaryIO, parts: Iterator[bytes]) -> Iterator[bytes]:
    for part in parts:
        file.write(part)
        yield part
