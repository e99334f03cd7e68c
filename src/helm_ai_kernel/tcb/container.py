"""Strict ustar: an archive whose every byte follows from the names and contents of its entries.

Reading never extracts: each header is built again from what was read and compared, so that links, paths that climb, devices,
extensions, times, trailing data and second versions of an entry have no form here (`docs/spec/pack.md`).
"""

import re
from collections.abc import Mapping

from . import fields

_BLOCK = 512
_END = bytes(2 * _BLOCK)
_PART = "[A-Za-z0-9_][A-Za-z0-9._-]{0,79}"  # nothing that climbs, hides, or that a shell reads
_PATH = re.compile(rf"{_PART}(?:/{_PART}){{0,3}}\Z")
_NAME_BYTES, _PREFIX_BYTES = 100, 155  # ustar: a longer name is split at a `/` over two fields
_SIZE = re.compile(rb"[0-7]{11}\x00\Z")


def write(files: Mapping[str, bytes]) -> bytes:
    """The archive; raises `ValueError` for a name that none has (ours to get right)."""
    parts: list[bytes] = []
    for name in sorted(files):
        if not _PATH.match(name) or len(_split(name)[1]) > _PREFIX_BYTES:
            raise ValueError(f"no archive has an entry `{name}`")
        parts += (header(name, len(files[name])), files[name], bytes(-len(files[name]) % _BLOCK))
    return b"".join((*parts, _END))


def read(data: bytes) -> dict[str, bytes]:
    """The entries by name; raises `EvidenceError(PACK_MALFORMED)` unless `write` gives these bytes for what is returned."""
    files: dict[str, bytes] = {}
    at, last = 0, ""
    while data[at : at + _BLOCK] != bytes(_BLOCK):
        name, size = _entry(data[at : at + _BLOCK])
        if name <= last:
            raise fields.wrong("entries are not sorted, or one occurs twice")
        at, last = at + _BLOCK, name
        padded = size + -size % _BLOCK
        if len(data) - at < padded or data[at + size : at + padded].strip(b"\0"):
            raise fields.wrong(f"entry `{name}` is cut off, or not padded with zeros")
        files[name] = data[at : at + size]
        at += padded
    if data[at:] != _END:
        raise fields.wrong("the end is not two empty blocks and nothing more")
    _check_names(files)
    return files


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


def _check_names(files: Mapping[str, bytes]) -> None:
    folded = {name.casefold() for name in files}
    if len(folded) != len(files):
        raise fields.wrong("two names differ only in case")
    for name in folded:
        parts = name.split("/")
        if any("/".join(parts[:n]) in folded for n in range(1, len(parts))):
            raise fields.wrong(f"entry `{name}` lies in another entry, which is a file")
