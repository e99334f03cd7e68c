"""Many digests in little memory: 32 bytes of each and a few more, where a dict of strings takes three hundred.

A verifier has to know every leaf of a log and every name that a receipt says. What it keeps of a million of each is this.
"""

from array import array
from collections.abc import Iterator

from . import digest as hashes
from .digest import Digest

_WIDTH = 32
_FIRST = 1 << 10  # slots of a new table; it doubles when half of them are taken


class Digests:
    """A sequence of raw digests, and where each of them stands first."""

    __slots__ = ("_raw", "_slots")

    def __init__(self) -> None:
        self._raw = bytearray()
        self._slots = array("I", bytes(4 * _FIRST))  # place + 1, by hash; 0 is free

    def __len__(self) -> int:
        return len(self._raw) // _WIDTH

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, len(self._raw), _WIDTH):
            yield bytes(self._raw[at : at + _WIDTH])

    def __getitem__(self, place: int) -> bytes:
        return bytes(self._raw[place * _WIDTH : (place + 1) * _WIDTH])

    def append(self, raw: bytes) -> int:
        """Put it at the end; returns where it stands first."""
        if 2 * len(self) >= len(self._slots):
            self._grow()
        slot = self._slot(raw)
        self._raw += raw
        if not self._slots[slot]:
            self._slots[slot] = len(self)
        return self._slots[slot] - 1

    def find(self, raw: bytes) -> int:
        """Where it stands first; -1 where it does not."""
        return self._slots[self._slot(raw)] - 1

    def get(self, name: Digest, default: int | None = None) -> int | None:
        """As a mapping from names to places."""
        place = self.find(hashes.raw(name))
        return default if place < 0 else place

    def _slot(self, raw: bytes) -> int:
        """The slot that holds it, or the free one where it belongs. Python's own hash is keyed: nobody can aim at one slot."""
        mask = len(self._slots) - 1
        slot = hash(raw) & mask
        while taken := self._slots[slot]:
            if self._raw[(taken - 1) * _WIDTH : taken * _WIDTH] == raw:
                break
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        self._slots = array("I", bytes(8 * len(self._slots)))
        for place, raw in enumerate(self):
            slot = self._slot(raw)
            if not self._slots[slot]:
                self._slots[slot] = place + 1
