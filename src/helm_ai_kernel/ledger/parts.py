"""A part of a log: chosen by session, time or receipt, with what it needs to be read by itself, and the proof where it stands.

What belongs to it: every receipt that one in it names as its cause, the outcomes of its intents, and the last receipt of the log,
which tells how much of the registry there is (`docs/spec/pack.md`, Parts).
"""

import re
from collections.abc import Callable, Iterator

from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digests import Digests
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.graph import causes
from helm_ai_kernel.tcb.merkle import root, walk
from helm_ai_kernel.tcb.part import INCLUSION_BYTES_MAX, Inclusion
from helm_ai_kernel.tcb.receipt import Receipt

from .reader import Reader

CHUNK = 1 << 12  # leaves of a subtree whose root is made at once: a power of two, so that the roots of chunks are nodes
_AT = re.compile(rb'"at":"([^"]{24})"')  # the first in a canonical line is the receipt's own, as is this:
_DECISION = re.compile(rb'"decision":"sha256:([0-9a-f]{64})"')


class Part:
    """Receipts under the stored checkpoint; a byte for each of the log's, and its leaf hash."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._head = Checkpoint.from_bytes(reader.checkpoint)
        self._in = bytearray(self._head.size)
        self._intents = bytearray(self._head.size)  # those in the part, and the offers, and the offers
        self.leaves = Digests()
        for leaf in reader.leaves(0, self._head.size):
            self.leaves.append(leaf)

    def add_session(self, session: str) -> None:
        self._add(self._reader.of_session(session))

    def add_between(self, since: str, until: str) -> None:
        """By `at`, both included: RFC 3339 in UTC with milliseconds, as receipts have it, or empty for no bound."""
        lines = self._reader.lines(0, self._head.size)
        self._add(at for at, line in enumerate(lines) if since <= _said(_AT, line) and (not until or _said(_AT, line) <= until))

    def add_receipt(self, name: str) -> None:
        self._add([self._reader.find(name).index])

    def ranges(self) -> list[tuple[int, int]]:
        """With all that belongs to it; raises `OutsideError` where nothing was chosen."""
        if not any(self._in):
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, "no receipt is in this part", hint="helm-ai-kernel receipts list")
        self._in[-1] = 1
        self._close()
        found: list[tuple[int, int]] = []
        end = 0
        while (first := self._in.find(1, end)) >= 0:
            end = self._in.find(0, first)
            end = len(self._in) if end < 0 else end
            found.append((first, end - first))
        return found

    def inclusion(self, ranges: list[tuple[int, int]]) -> Inclusion:
        """Raises `OutsideError` where the store's leaves are not what was signed, or the part is too scattered."""
        own = (self.leaf(place) for first, count in ranges for place in range(first, first + count))
        found: list[bytes] = []

        def other(start: int, end: int) -> bytes:
            found.append(subtree(self.leaf, start, end))
            return found[-1]

        if walk(self._head.size, ranges, lambda: next(own), other) != self._head.root:
            detail = "the leaves in the store are not those that were signed"
            raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint="helm-ai-kernel fsck")
        made = Inclusion(tuple(ranges), tuple(found))
        if len(made.to_bytes()) > INCLUSION_BYTES_MAX:
            detail = f"the proof of so many scattered receipts is larger than {INCLUSION_BYTES_MAX} bytes"
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint="export the whole log: helm-ai-kernel pack export")
        return made

    def leaf(self, place: int) -> bytes:
        return self.leaves[place]

    def _add(self, places: "Iterator[int] | list[int]") -> None:
        for place in places:
            if place >= len(self._in):
                detail = f"receipt {place} is not under the stored checkpoint yet"
                raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint="try again in a moment")
            self._in[place] = 1

    def _close(self) -> None:
        todo = [place for place, chosen in enumerate(self._in) if chosen]
        while todo:
            before, found = sum(self._intents), list[int]()
            for place in todo:
                receipt = self._reader.at(place)
                self._intents[place] = receipt.goes
                found += self._new(self._causes(receipt))
            if not found and sum(self._intents) > before:
                found = self._new(self._outcomes())
            todo = found

    def _causes(self, receipt: Receipt) -> Iterator[int]:
        for cause in causes(receipt):
            place = self.leaves.get(cause)
            if place is not None:
                yield place

    def _outcomes(self) -> Iterator[int]:
        """Of the intents in the part; they can be anywhere behind."""
        for index, line in self._reader.outcomes(len(self._in)):
            place = self.leaves.find(bytes.fromhex(_said(_DECISION, line)))
            if place >= 0 and self._intents[place]:
                yield index

    def _new(self, places: Iterator[int]) -> list[int]:
        found = []
        for place in places:
            if not self._in[place]:
                self._in[place] = 1
                found.append(place)
        return found


def subtree(leaf: Callable[[int], bytes], start: int, end: int) -> bytes:
    """The root over these leaves, which are not all held at once."""
    chunks = range(start, end, CHUNK)
    return root([root([leaf(place) for place in range(first, min(end, first + CHUNK))]) for first in chunks])


def _said(pattern: re.Pattern[bytes], line: bytes) -> str:
    found = pattern.search(line)
    if found is None:
        raise OutsideError(Reason.ERR_STORE_CORRUPT, "a receipt is not as it was written", hint="helm-ai-kernel fsck")
    return found[1].decode()
