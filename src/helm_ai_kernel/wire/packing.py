"""Writing an archive whose every byte follows from the names and contents of its files.

Sorted by name, no time (1980, the first that the form can say), no owner, mode 0644 or 0755, nothing optional. What is new is
stored; what was deflated by others is taken over as it stood. So nothing depends on a version of zlib, a clock, an umask or a
folder, and a bundle that is built twice is the same bytes.
"""

import struct
import zlib
from collections.abc import Iterable

from .archive import read
from .entry import Entry

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_NEEDED = 20
_MADE = 3 << 8 | _NEEDED  # by unix: the mode counts
_EPOCH = (0, 0x21)  # 1980-01-01T00:00:00
_UTF8 = 0x0800
_MODE, _MODE_EXECUTABLE = 0o100644, 0o100755


def stored(name: str, content: bytes) -> Entry:
    """A new file, as it is."""
    return Entry(name, False, False, zlib.crc32(content), len(content), content)


def write(entries: Iterable[Entry]) -> bytes:
    """The one archive of these files. It is read again, so that what leaves here is what would be taken; raises `Refused`."""
    parts: list[bytes] = []
    central: list[bytes] = []
    at = 0
    for entry in sorted(entries, key=lambda entry: entry.name):
        name = entry.name.encode()
        said = (
            _NEEDED, 0 if entry.name.isascii() else _UTF8, 8 if entry.deflated else 0, *_EPOCH,
            entry.crc, len(entry.packed), entry.size, len(name), 0,
        )  # fmt: skip
        mode = _MODE_EXECUTABLE if entry.executable else _MODE
        central += [_CENTRAL.pack(b"PK\x01\x02", _MADE, *said, 0, 0, 0, mode << 16, at), name]
        local = [_LOCAL.pack(b"PK\x03\x04", *said), name, entry.packed]
        parts += local
        at += sum(map(len, local))
    count, length = len(central) // 2, sum(map(len, central))
    data = b"".join((*parts, *central, _END.pack(b"PK\x05\x06", 0, 0, count, count, length, at, 0)))
    read(data)
    return data
