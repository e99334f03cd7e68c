"""Strict ustar: an archive whose every byte follows from the names and contents of its entries.

Reading never extracts: each header is built again from what was read and compared, so that links, paths that climb, devices,
extensions, times, trailing data and second versions of an entry have no form here. Nothing is read whole but what is asked for
(`docs/spec/pack.md`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from . import fields

_BLOCK = 512
_END = bytes(2 * _BLOCK)
ENTRY_BYTES_MAX = (1 << 33) - 1  # 8 GiB: what the size in a ustar header can say
PIECE_BYTES = 1 << 20  # what is read of a large entry at once
STEP = "[A-Za-z0-9_][A-Za-z0-9._-]{0,79}"  # of a name, between slashes: nothing that climbs, hides, or that a shell reads
_PATH = re.compile(rf"{STEP}(?:/{STEP}){{0,3}}\Z")
_NAME_BYTES, _PREFIX_BYTES = 100, 155  # ustar: a longer name is split at a `/` over two fields
_SIZE = re.compile(rb"[0-7]{11}\x00\Z")


class Source(Protocol):
    """Where an archive is: a file, or bytes at hand."""

    @property
    def size(self) -> int: ...

    def read(self, at: int, count: int) -> bytes:
        """So many bytes from there; fewer only at the end."""


class Held:
    """An archive that is in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        return len(self._data)

    def read(self, at: int, count: int) -> bytes:
        return self._data[at : at + count]


class Entry(NamedTuple):
    """Where the content of an entry is."""

    name: str
    at: int
    size: int


def write(files: Mapping[str, bytes]) -> bytes:
    """The archive; raises `ValueError` for a name that none has (ours to get right)."""
    return b"".join(stream((name, len(files[name]), (files[name],)) for name in sorted(files)))


def stream(entries: Iterable[tuple[str, int, Iterable[bytes]]]) -> Iterator[bytes]:
    """The archive in parts. `entries` are name, size and content, sorted by name; a content of another size is a `ValueError`."""
    last = ""
    for name, size, content in entries:
        if not _PATH.match(name) or len(_split(name)[1]) > _PREFIX_BYTES or name <= last or size > ENTRY_BYTES_MAX:
            raise ValueError(f"no archive has an entry `{name}` here")
        yield header(name, size)
        written = 0
        for part in content:
            written += len(part)
            yield part
        if written != size:
            raise ValueError(f"entry `{name}` has {written} bytes, and {size} were announced")
        yield bytes(-size % _BLOCK)
        last = name
    yield _END


def entries(source: Source) -> Iterator[Entry]:
    """Each entry, in order; raises `EvidenceError(PACK_MALFORMED)` unless `stream` gives these bytes for what is there.

    That no two names differ only in letter case, and none lies below another, is `check_names`.
    """
    at, last, end = 0, "", source.size
    while (block := source.read(at, _BLOCK)) != bytes(_BLOCK):
        name, size = _entry(block)
        if name <= last:
            raise fields.wrong("entries are not sorted, or one occurs twice")
        at, last = at + _BLOCK, name
        padding = -size % _BLOCK
        if end - at < size + padding or source.read(at + size, padding).strip(b"\0"):
            raise fields.wrong(f"entry `{name}` is cut off, or not padded with zeros")
        yield Entry(name, at, size)
        at += size + padding
    if end != at + len(_END) or source.read(at, len(_END)) != _END:
        raise fields.wrong("the end is not two empty blocks and nothing more")


def content(source: Source, entry: Entry) -> Iterator[bytes]:
    """In pieces."""
    for at in range(entry.at, entry.at + entry.size, PIECE_BYTES):
        yield source.read(at, min(PIECE_BYTES, entry.at + entry.size - at))


def header(name: str, size: int) -> bytes:
    """The one header that an entry can have: POSIX ustar, regular file, mode 0644, no owner, no time."""
    short, prefix = _split(name)
    fixed = b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"0" * 11 + b"\0"
    tail = (
        b"0"
        + bytes(100)
        + b"ustar\x0000"
        + bytes(64)
        + b"0000000\0" * 2
        + prefix.encode().ljust(_PREFIX_BYTES, b"\0")
        + bytes(12)
    )
    start = short.encode().ljust(_NAME_BYTES, b"\0") + fixed
    checksum = sum(start) + 8 * ord(" ") + sum(tail)
    return start + b"%06o\0 " % checksum + tail


def check_names(names: Iterable[str]) -> None:
    """Some disk would mix them up; raises `EvidenceError(PACK_MALFORMED)`."""
    folded: set[str] = set()
    for name in names:
        if name.casefold() in folded:
            raise fields.wrong("two names differ only in case")
        folded.add(name.casefold())
    for name in folded:
        parts = name.split("/")
        if any("/".join(parts[:n]) in folded for n in range(1, len(parts))):
            raise fields.wrong(f"entry `{name}` lies in another entry, which is a file")


def _split(name: str) -> tuple[str, str]:
    """The name field and the prefix field: as little as must be goes to the prefix."""
    prefix: list[str] = []
    while len(name) > _NAME_BYTES:
        part, _, name = name.partition("/")
        prefix.append(part)
    return name, "/".join(prefix)


def _entry(block: bytes) -> tuple[str, int]:
    """Name and size, read by position; every other byte is then compared with the header that these two determine."""
    size_field = block[124:136]
    name, prefix = block[:100].rstrip(b"\0"), block[345:500].rstrip(b"\0")
    full = (prefix + b"/" + name if prefix else name).decode("ascii", "replace")
    if len(block) != _BLOCK or not _SIZE.match(size_field) or not _PATH.match(full):
        raise fields.wrong("an entry that cannot be: its name, kind or size is none that the format allows")
    size = int(size_field[:11], 8)
    if header(full, size) != block:
        raise fields.wrong(f"the header of entry `{full}` is not the one that its name and size have")
    return full, size
