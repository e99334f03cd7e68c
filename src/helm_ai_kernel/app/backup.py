"""A backup: one file with everything of a home that a new one can begin with, and no secret (`docs/spec/backup.md`).

Neither the machine's keys nor people's are in it: a log that goes on from a backup has keys of its own. The file is a strict
ustar archive, as a pack is; unlike a pack it is unpacked, so every name is one of a short list, and every byte has its digest.
"""

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from helm_ai_kernel.disk import durable
from helm_ai_kernel.ledger import store, succession
from helm_ai_kernel.ledger.ledger import DATABASE, TRUST
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb import container, fields
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.container import PIECE_BYTES, STEP, Source
from helm_ai_kernel.tcb.digest import Digest, digest, digest_of, text
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical

from .config import Config

KIND = "backup"
MANIFEST = "backup.json"  # the first by name, so that a reader knows what may come
MANIFEST_BYTES_MAX = 16 << 20  # 120 bytes for each file
ENTRY_BYTES_MAX = (1 << 33) - 1  # 8 GiB: what the size in a ustar header can say
_NAME = re.compile(
    rf"helm\.toml|{STEP}\.txt|catalog/{STEP}\.json|policy/(?:overlays/)?{STEP}\.cedar|store/ledger\.db|store/trust\.jsonl"
    rf"|store/witnessed/{STEP}\.txt|store/before/{STEP}/ledger\.db|store/before/{STEP}/{STEP}\.txt"
)
_NEEDED = frozenset({"helm.toml", f"store/{DATABASE}", f"store/{TRUST}"})


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
        count = durable.write(out, _archive(found, kept, _manifest(head, digests)), mode=0o600)
    return Saved(count, head, tuple(left_out))


def unpack(source: Source, file: Path, home: Path) -> None:
    """Into a folder that is ours and empty; raises `OutsideError(ERR_STORE_CORRUPT)` where a byte is not what it was."""
    try:
        _unpack(source, home)
    except EvidenceError as e:
        detail = f"`{file}` is no whole backup: {e.detail}"
        raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint="take another backup") from None


def _files(config: Config) -> tuple[dict[str, Path], list[str]]:
    """What goes into the backup but the database, and what of the same folders does not."""
    home = config.paths
    own = [config.witnesses] if config.witnesses is not None and config.witnesses.parent == home.home else []
    there = [home.config, *own, home.store / TRUST, *(home.store / succession.WITNESSED).glob("*")]
    there += (home.store / succession.BEFORE).glob("*/*")
    there += [path for folder in (home.policy, home.catalog) for path in folder.rglob("*") if not path.is_dir()]
    names = {path.relative_to(home.home).as_posix(): path for path in there}
    taken = {name: path for name, path in names.items() if _NAME.fullmatch(name) and path.is_file() and not path.is_symlink()}
    return taken, sorted(names.keys() - taken.keys())


def _manifest(head: Checkpoint, files: Mapping[str, Digest]) -> bytes:
    body: dict[str, Json] = {"v": 1, "kind": KIND, "log": head.origin, "size": head.size, "root": text(head.root)}
    return canonical({**body, "files": dict(files)})


def _archive(found: Mapping[str, Path], kept: Mapping[str, bytes], manifest: bytes) -> Iterator[bytes]:
    entries: list[tuple[str, int, Iterable[bytes]]] = [(MANIFEST, len(manifest), [manifest])]
    for name in sorted(found):
        size = len(kept[name]) if name in kept else found[name].stat().st_size
        if size > ENTRY_BYTES_MAX:
            raise OutsideError(
                Reason.ERR_EVIDENCE_UNAVAILABLE,
                f"`{found[name]}` is larger than {ENTRY_BYTES_MAX} bytes, the most that a backup holds of one file",
                hint="end the kernel and copy its home whole",
            )
        entries.append((name, size, [kept[name]] if name in kept else _pieces(found[name])))
    return container.stream(entries)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _unpack(source: Source, home: Path) -> None:
    entries = list(container.entries(source))
    if not entries or entries[0].name != MANIFEST or entries[0].size > MANIFEST_BYTES_MAX:
        raise fields.wrong(f"it does not begin with `{MANIFEST}`")
    files = _listed(source.read(entries[0].at, entries[0].size))
    if [entry.name for entry in entries[1:]] != sorted(files):
        raise fields.wrong(f"its entries are not those that `{MANIFEST}` lists")
    for entry in entries[1:]:
        path = home / entry.name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "wb") as file:
            if digest_of(_written(file, container.content(source, entry))) != files[entry.name]:
                raise fields.wrong(f"`{entry.name}` is damaged: it has another digest than `{MANIFEST}` says")


def _written(file: BinaryIO, parts: Iterator[bytes]) -> Iterator[bytes]:
    for part in parts:
        file.write(part)
        yield part


def _listed(data: bytes) -> dict[str, Digest]:
    body = fields.document(data, KIND, {"log", "size", "root", "files"}, bytes_max=MANIFEST_BYTES_MAX)
    listed = fields.typed(body, "files", dict)
    for name in listed:
        if not _NAME.fullmatch(name):
            raise fields.wrong(f"no backup has a file `{name[:200]}`")
    if not listed.keys() >= _NEEDED:
        raise fields.wrong(f"`{min(_NEEDED - listed.keys())}` is not in it")
    return {name: fields.digest(listed, name) for name in listed}
