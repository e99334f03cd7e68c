"""A ZIP archive that has one meaning: whatever reads it, from the front or from the end, finds the same files.

It is entries, one behind the other from byte 0, then the central directory, then its end, then nothing but the signature block
that bundles may have. No gap, no overlap, no second list: two readers that trust different parts of an archive cannot be shown
two servers. Everything is checked, and every content unpacked once to nowhere, before anything of it is used:
`docs/spec/mcpb.md` is the specification.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .entry import Central, Entry, check_names, malformed, of_central

ARCHIVE_BYTES_MAX = 1 << 28  # it is held in memory; a server with its dependencies is some 30 MiB
ENTRIES_MAX = 1 << 15  # a `node_modules` has some thousand files
UNPACKED_BYTES_MAX = 1 << 30
RATIO_MAX, RATIO_FROM = 200, 1 << 20  # what packs better than 200:1 and is larger than this is a bomb; source text packs 5:1
SIGNATURE_BYTES_MAX = 1 << 15  # a certificate chain; readers that search for the end look at the last 64 KiB

_END = struct.Struct("<4s4H2LH")
_LOCAL = struct.Struct("<4s5H3L2H")
_DESCRIPTOR = struct.Struct("<3L")
_END_MARK, _LOCAL_MARK, _DESCRIPTOR_MARK = b"PK\x05\x06", b"PK\x03\x04", b"PK\x07\x08"
_SIGNED, _SIGNED_END = b"MCPB_SIG_V1", b"MCPB_SIG_END"
_PIECE = 1 << 20
_DESCRIBED = 0x08  # flag: sizes and checksum stand behind the content


@dataclass(frozen=True, slots=True)
class Archive:
    """`signature` is what stands behind the archive in the form of a PKCS#7 signature, which nobody has verified."""

    entries: tuple[Entry, ...]
    signature: bytes | None

    def entry(self, name: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.name == name), None)


def read(data: bytes) -> Archive:
    """Raises `Refused(ERR_BUNDLE_MALFORMED)`, with a sub-reason, for every archive that is not exactly this."""
    if len(data) > ARCHIVE_BYTES_MAX:
        malformed("size", f"larger than {ARCHIVE_BYTES_MAX} bytes")
    end, signature = _end(data)
    _, disk, start, here, count, length, at, comment = _END.unpack_from(data, end)
    if disk or start or here != count or at + length != end:
        malformed("archive", "the end of the archive does not stand behind its central directory, or speaks of other parts")
    if comment not in (0, len(data) - end - _END.size):
        malformed("archive", "the archive has a comment that is no signature")
    if not 0 < count <= ENTRIES_MAX:
        malformed("size", f"it has no entries, or more than {ENTRIES_MAX}")
    listed = list(_central(data, at, end, count))
    check_names([item.name for item in listed])
    _check_sizes(listed, len(data))
    entries = tuple(_entries(data, listed, at))
    for entry in entries:
        for _ in pieces(entry):
            pass
    return Archive(tuple(entry for entry in entries if not entry.name.endswith("/")), signature)


def content(entry: Entry) -> bytes:
    return b"".join(pieces(entry))


def pieces(entry: Entry) -> Iterator[bytes]:
    """The content, unpacked; raises `Refused` unless it has exactly the size and the checksum that were announced."""
    crc = size = 0
    for piece in _inflated(entry) if entry.deflated else (entry.packed,):
        size += len(piece)
        if size > entry.size:
            malformed("bomb", f"`{entry.name}` is larger than it says")
        crc = zlib.crc32(piece, crc)
        yield piece
    if size != entry.size or crc != entry.crc:
        malformed("content", f"`{entry.name}` has not the size or the checksum that it says")


def _inflated(entry: Entry) -> Iterator[bytes]:
    engine, left = zlib.decompressobj(-zlib.MAX_WBITS), entry.packed
    try:
        while not engine.eof:
            piece = engine.decompress(left, _PIECE)
            if not piece and not engine.eof:
                break
            yield piece
            left = engine.unconsumed_tail
    except zlib.error:
        malformed("content", f"`{entry.name}` cannot be unpacked")
    if not engine.eof or engine.unused_data:
        malformed("content", f"`{entry.name}` ends before or behind its content")


def _end(data: bytes) -> tuple[int, bytes | None]:
    """Where the end of the archive stands, and the signature behind it."""
    end, signature = len(data) - _END.size, None
    if data.endswith(_SIGNED_END):
        block = data.rfind(_SIGNED)
        signature = _signature(data[block:] if block >= 0 else b"")
        end = block - _END.size
    if end < 0 or data.rfind(_END_MARK) != end:
        malformed("archive", "it does not end with the end of an archive, or has a second one behind it")
    # Readers of bundles cut at the last signature that they find, wherever it stands.
    if 0 <= data.find(_SIGNED, 0, end) < data.rfind(_SIGNED_END, 0, end):
        malformed("signature", "there is a signature inside the archive: some readers take what stands before it for the bundle")
    return end, signature


def _signature(block: bytes) -> bytes:
    """The DER between the marks; raises `Refused` unless the block is nothing but one, of one piece."""
    der = block[len(_SIGNED) + 4 : -len(_SIGNED_END)]
    said = int.from_bytes(block[len(_SIGNED) : len(_SIGNED) + 4], "little")
    if not 0 < len(der) <= SIGNATURE_BYTES_MAX or said != len(der) or _der_length(der) != len(der):
        malformed("signature", "what stands behind the archive is no signature block")
    return der


def _der_length(der: bytes) -> int:
    """How long the sequence at the start is, with its head; 0 where there is none."""
    if len(der) < 2 or der[0] != 0x30:
        return 0
    if der[1] < 0x80:
        return 2 + der[1]
    count = der[1] & 0x7F
    return 2 + count + int.from_bytes(der[2 : 2 + count], "big") if 0 < count <= 4 else 0


def _central(data: bytes, at: int, end: int, count: int) -> Iterator[Central]:
    for _ in range(count):
        item, at = of_central(data, at, end)
        yield item
    if at != end:
        malformed("archive", "the central directory is longer than its entries")


def _check_sizes(listed: list[Central], size: int) -> None:
    """By what is announced, before anything is unpacked."""
    unpacked = sum(item.size for item in listed)
    if unpacked > UNPACKED_BYTES_MAX or unpacked > max(RATIO_FROM, RATIO_MAX * size):
        malformed("bomb", f"it unpacks to more than {UNPACKED_BYTES_MAX} bytes, or {RATIO_MAX} times its size")
    for item in listed:
        if item.size > RATIO_FROM and item.size > RATIO_MAX * item.packed:
            malformed("bomb", f"`{item.name}` unpacks to more than {RATIO_MAX} times its size")


class _Local(NamedTuple):
    mark: bytes
    needed: int
    flags: int
    method: int
    time: int
    date: int
    crc: int
    packed: int
    size: int
    name: int
    extra: int


def _entries(data: bytes, listed: list[Central], end: int) -> Iterator[Entry]:
    """Each in its place: the first at 0, the next where the one before ends, the last before the central directory."""
    ordered, at = sorted(listed, key=lambda item: item.offset), 0
    for item, following in zip(ordered, [*(item.offset for item in ordered[1:]), end], strict=True):
        if item.offset != at or end - at < _LOCAL.size:
            malformed("overlap", f"`{item.name}` does not begin where the entry before it ends")
        local = _Local._make(_LOCAL.unpack_from(data, at))
        start = at + _LOCAL.size + local.name + local.extra
        stop = start + item.packed
        _check_local(data, at, item, local)
        at = stop + _descriptor(data[stop:following], item)
        yield Entry(item.name, item.executable, item.deflated, item.crc, item.size, data[start:stop])
    if at != end:
        malformed("overlap", "there is something between the entries and the central directory")


def _check_local(data: bytes, at: int, item: Central, local: _Local) -> None:
    """What stands before a content says the same as the central directory."""
    name = data[at + _LOCAL.size : at + _LOCAL.size + local.name]
    said = (local.crc, local.packed, local.size)
    later = item.flags & _DESCRIBED and said == (0, 0, 0)
    same = (local.mark, local.flags, local.method, name) == (_LOCAL_MARK, item.flags, item.method, item.raw_name)
    if not same or not (later or said == (item.crc, item.packed, item.size)):
        malformed("mismatch", f"`{item.name}` is announced otherwise in the central directory")
    item.check_extra(data[at + _LOCAL.size + local.name : at + _LOCAL.size + local.name + local.extra])


def _descriptor(behind: bytes, item: Central) -> int:
    """How long the repetition of checksum and sizes behind a content is; it says the same."""
    if not item.flags & _DESCRIBED:
        return 0
    said = _DESCRIPTOR.pack(item.crc, item.packed, item.size)
    if behind not in (said, _DESCRIPTOR_MARK + said) or not (item.deflated or item.packed == 0):
        malformed("mismatch", f"`{item.name}` is announced otherwise behind its content")
    return len(behind)
