"""What a client's file was before we changed it: durable before the change, read without the kernel, gone when it was undone.

Beside the kernel's home, not in it: `setup --undo` works where the kernel does not start, or is not there any more.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helm_ai_kernel.disk import durable
from helm_ai_kernel.tcb.digest import Digest, digest, is_digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical

from .entry import Trace
from .places import FILE_BYTES_MAX, wrong

_KEYS = {"v", "client", "path", "before", "after", "program", "entries"}
_TRACE = {"section", "label", "name", "key", "kind", "args"}
RECORD_BYTES_MAX = 4 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """One change of one file: what it was, what we wrote, and which entries are ours in it."""

    client: str
    path: Path
    before: Digest
    after: Digest
    program: tuple[str, ...]
    entries: tuple[Trace, ...]

    def to_bytes(self) -> bytes:
        entries: list[Json] = [
            {"section": list(t.section), "label": t.label, "name": t.name, "key": t.key, "kind": t.kind, "args": t.args}
            for t in self.entries
        ]
        return canonical({
            "v": 1, "client": self.client, "path": str(self.path), "before": self.before, "after": self.after,
            "program": list(self.program), "entries": entries,
        })  # fmt: skip

    @classmethod
    def from_bytes(cls, data: bytes) -> "Record":
        """Raises `ValueError`."""
        try:
            value: Any = parse(data, bytes_max=RECORD_BYTES_MAX)
        except Refused as error:
            raise ValueError(error.detail) from None
        if not isinstance(value, dict) or value.keys() != _KEYS or value["v"] != 1:
            raise ValueError("no record of this version")
        words, listed = value["program"], value["entries"]
        texts = [value["client"], value["path"], *(words if isinstance(words, list) else [None])]
        if not all(isinstance(text, str) for text in texts) or not isinstance(listed, list):
            raise ValueError("a field of another type")
        if not is_digest(value["before"]) or not is_digest(value["after"]):
            raise ValueError("no digests")
        return cls(texts[0], Path(texts[1]), value["before"], value["after"], tuple(words), tuple(map(_trace, listed)))


@dataclass(frozen=True, slots=True)
class Kept:
    """A record where it lies; `number` counts the changes of one file."""

    record: Record
    file: Path
    number: int

    @property
    def content(self) -> Path:
        return self.file.with_suffix(".before")

    def before(self) -> bytes | None:
        """What the file was; None where that is lost or damaged."""
        try:
            data = self.content.read_bytes()
        except OSError:
            return None
        return data if digest(data) == self.record.before else None

    def forget(self) -> None:
        self.file.unlink()
        self.content.unlink(missing_ok=True)
        durable.sync_directory(self.file.parent)


def folder(home: Path) -> Path:
    return home.with_name(f"{home.name}.clients")


def keep(home: Path, record: Record, before: bytes) -> Kept:
    """Durable when it returns. Only its owner can read it: such files hold keys."""
    where = folder(home)
    where.mkdir(parents=True, exist_ok=True, mode=0o700)
    durable.sync_directory(where.parent)
    there = [kept.number for kept in records(home) if kept.record.path == record.path]
    number = max(there, default=0) + 1
    file = where / f"{record.client}-{digest(os.fsencode(record.path))[7:19]}-{number}.json"
    kept = Kept(record, file, number)
    durable.write(kept.content, [before], mode=0o600)
    durable.write(file, [record.to_bytes()], mode=0o600)
    return kept


def records(home: Path, client: str | None = None) -> Sequence[Kept]:
    """All of them, or a client's, the newest change of a file first; raises `OutsideError` for what is none."""
    found = []
    for file in sorted(folder(home).glob("*.json")):
        try:
            if file.stat().st_size > FILE_BYTES_MAX:
                raise ValueError("too large")
            record, number = Record.from_bytes(file.read_bytes()), int(file.stem.rpartition("-")[2])
        except ValueError as error:
            raise wrong(file, f"is no record of a backup: {error}", f"ls -l {file.parent}") from None
        if client in (None, record.client):
            found.append(Kept(record, file, number))
    return sorted(found, key=lambda kept: (str(kept.record.path), -kept.number))


def _trace(value: Any) -> Trace:
    if not isinstance(value, dict) or value.keys() != _TRACE or not isinstance(value["args"], bool):
        raise ValueError("no entry")
    section, label, name, key, kind = (value[field] for field in ("section", "label", "name", "key", "kind"))
    if not isinstance(section, list) or not all(isinstance(text, str) for text in [*section, label, name, key, kind]):
        raise ValueError("an entry with a field of another type")
    return Trace(tuple(section), label, name, key, kind, value["args"])
