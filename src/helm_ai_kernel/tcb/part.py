"""A part of a log: some of its receipts, where they stand, and the hashes that lead from them to the signed root.

What is not in it cannot be judged, and nobody can tell from it that nothing was left out (`docs/spec/pack.md`, parts). The last
receipt of the log is always in it: no receipt relies on more of the registry, so nobody can take a revocation out of that.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from . import digest as hashes
from . import fields
from .codes import Finding
from .decision import Status
from .digest import Digest, text
from .errors import EvidenceError
from .flows import Intent, statement_of
from .ijson import Json
from .jcs import canonical
from .merkle import walk
from .receipt import Kind, Receipt

INCLUSION_BYTES_MAX = 1 << 25  # 32 MiB: 400,000 hashes, in 150 MB of memory; who wants more exports the whole log


@dataclass(frozen=True, slots=True)
class Inclusion:
    """`ranges` are first index and count of the receipts that are here; `hashes` the subtrees without any, left to right."""

    ranges: tuple[tuple[int, int], ...]
    hashes: tuple[bytes, ...]

    @classmethod
    def from_bytes(cls, data: bytes, lines: int) -> "Inclusion":
        """The proof of so many lines; raises `EvidenceError`: PACK_MALFORMED, NON_CANONICAL or UNSUPPORTED."""
        if data.count(b"[") > lines + 2:  # before it is parsed: millions of empty ranges want our memory
            raise fields.wrong(f"the proof has more ranges than the {lines} lines that are here")
        body = fields.document(data, "inclusion", {"ranges", "hashes"}, bytes_max=INCLUSION_BYTES_MAX)
        ranges: list[tuple[int, int]] = []
        for item in fields.typed(body, "ranges", list):
            if type(item) is not list or len(item) != 2:
                raise fields.wrong("a range is not a first place and a count")
            pair = {"first": item[0], "count": item[1]}
            first, count = fields.count(pair, "first"), fields.count(pair, "count")
            if not count or (ranges and first <= sum(ranges[-1])):
                raise fields.wrong("a range is empty, or does not come with a gap behind the one before it")
            ranges.append((first, count))
        if not ranges:
            raise fields.wrong("a part without any receipt")
        named = fields.typed(body, "hashes", list)
        return cls(tuple(ranges), tuple(hashes.raw(fields.digest({"hashes": name}, "hashes")) for name in named))

    def to_bytes(self) -> bytes:
        ranges: list[Json] = [[first, count] for first, count in self.ranges]
        return canonical({"v": 1, "kind": "inclusion", "ranges": ranges, "hashes": [text(raw) for raw in self.hashes]})

    def check(self, count: int, size: int) -> None:
        """That it can be about so many lines of a log of that size; raises `EvidenceError(PACK_MALFORMED)`."""
        if sum(self.ranges[-1]) != size or sum(many for _, many in self.ranges) != count:
            raise fields.wrong(f"the proof is not about {count} receipts of a log of size {size}, the last one among them")

    def root(self, size: int, leaves: Iterable[bytes]) -> bytes:
        """Where the proof leads; raises `EvidenceError(INCLUSION_FAIL)` where not each hash and leaf has its one place."""
        own, given = iter(leaves), iter(self.hashes)

        def other(start: int, end: int) -> bytes:
            found = next(given, None)
            if found is None:
                raise EvidenceError(Finding.INCLUSION_FAIL, f"the proof has no hash for the leaves from {start} up to {end}")
            return found

        root = walk(size, self.ranges, lambda: next(own), other)
        if next(given, None) is not None or next(own, None) is not None:
            raise EvidenceError(Finding.INCLUSION_FAIL, "hashes or receipts have no place in a log of that size")
        return root


class Places:
    """The place in the log of each line that is here."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        self._firsts = [first for first, _ in ranges]
        self._before = [0, *accumulate(count for _, count in ranges)]

    def __getitem__(self, line: int) -> int:
        number = bisect_right(self._before, line) - 1
        return self._firsts[number] + line - self._before[number]

    def below(self, size: int) -> int:
        """How many of them stand in the log as it was at that size."""
        number = bisect_right(self._firsts, size - 1)
        return 0 if not number else min(self._before[number], self._before[number - 1] + size - self._firsts[number - 1])


class Outcomes:
    """All of the story (V10) that is asked in a part: an outcome's call, if it is here, was dispatched and ended once."""

    def __init__(self) -> None:
        self.open: dict[Digest, Intent] = {}  # as in `Flows`: intents here, without any outcome here
        self.unknown: dict[Digest, Intent] = {}
        self._decisions: set[Digest] = set()
        self._intents: dict[Digest, Intent] = {}  # and offers
        self._ended: dict[Digest, Status] = {}
        self._nonces: set[str] = set()  # of the statements here

    def append(self, receipt: Receipt) -> None:
        """Raises `EvidenceError`: ORPHAN_OUTCOME, DOUBLE_OUTCOME, APPROVAL_REUSED."""
        self._decisions.add(receipt.leaf)
        statement = statement_of(receipt)
        if statement is not None:
            if statement.nonce in self._nonces:
                raise EvidenceError(Finding.APPROVAL_REUSED, "carries a nonce that the log took before")
            self._nonces.add(statement.nonce)
        if receipt.goes:
            self._intents[receipt.leaf] = Intent(receipt.index, "", {}, "")
        if receipt.is_intent:
            self.open[receipt.leaf] = self._intents[receipt.leaf]
        if receipt.kind is not Kind.OUTCOME:
            return
        decision, status = Digest(str(receipt.body["decision"])), Status(str(receipt.body["status"]))
        if decision in self._decisions and decision not in self._intents:
            raise EvidenceError(Finding.ORPHAN_OUTCOME, f"is the outcome of `{decision}`, which is no intent or offer before it")
        earlier = self._ended.get(decision)
        if earlier is not None and not (earlier is Status.UNKNOWN and status is Status.LATE):
            raise EvidenceError(Finding.DOUBLE_OUTCOME, f"is a second outcome of `{decision}`")
        self._ended[decision] = status
        self.open.pop(decision, None)
        self.unknown.pop(decision, None)
        if status is Status.UNKNOWN and decision in self._intents:
            self.unknown[decision] = self._intents[decision]
