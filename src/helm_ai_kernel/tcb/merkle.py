"""The Merkle tree of a log: what was appended can neither change, move nor vanish without another root (RFC 6962 §2.1).

All hashes are 32 raw bytes. A leaf and a node are hashed with different first bytes, so that neither can pass for the other.
The tree of size 0 proves nothing: no leaf is in it, and consistency with it is refused (`docs/spec/log.md`).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .codes import Finding
from .digest import sha256
from .errors import EvidenceError

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"")


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data)


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right)


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf *hashes*, in log order."""
    level = list(leaves)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(paired) * 2 :]  # a last one without a partner moves up as it is
    return level[0]


@dataclass(frozen=True, slots=True)
class Frontier:
    """All that is needed to append: the roots of the perfect subtrees from left to right, one for each 1 bit of `size`."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> "Frontier":
        peaks, rest = list(self.peaks), self.size
        while rest & 1:
            leaf = node_hash(peaks.pop(), leaf)
            rest >>= 1
        return Frontier(self.size + 1, (*peaks, leaf))

    def root(self) -> bytes:
        if not self.peaks:
            return EMPTY_ROOT
        result = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            result = node_hash(peak, result)
        return result

    def to_bytes(self) -> bytes:
        """The size as 8 bytes, big-endian, then the peaks."""
        return self.size.to_bytes(8, "big") + b"".join(self.peaks)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Frontier":
        """Raises `EvidenceError(PACK_MALFORMED)` where the number of peaks is not that of the size."""
        size = int.from_bytes(data[:8], "big")
        if len(data) != 8 + HASH_BYTES * size.bit_count():
            raise EvidenceError(Finding.PACK_MALFORMED, "a frontier has one hash for each 1 bit of its size")
        return cls(size, tuple(data[at : at + HASH_BYTES] for at in range(8, len(data), HASH_BYTES)))


def verify_consistency(size1: int, root1: bytes, size2: int, root2: bytes, proof: Sequence[bytes]) -> None:
    """The tree of `size1` is a prefix of the tree of `size2`; raises `EvidenceError(CONSISTENCY_FAIL)`.

    RFC 9162 §2.1.4.2, in the form of transparency-dev/merkle. A `size1` of 0 is refused: it would prove nothing about `root2`.
    """
    if not 0 < size1 <= size2:
        raise _fail(Finding.CONSISTENCY_FAIL, f"nothing is proven from size {size1} to size {size2}")
    if size1 == size2:
        if proof or root1 != root2:
            raise _fail(Finding.CONSISTENCY_FAIL, f"two roots for one size {size1}, or a proof where none is needed")
        return
    shift = (size1 & -size1).bit_length() - 1  # the largest perfect subtree that ends at size1
    inner, border = _shape(size1 - 1, size2)
    inner -= shift
    whole = size1 == 1 << shift  # the old tree is that subtree: its root is the start, and not in the proof
    if len(proof) != inner + border + (not whole) or not _are_hashes(proof):
        raise _fail(Finding.CONSISTENCY_FAIL, f"the proof does not have {inner + border + (not whole)} hashes")
    start, path = (root1, proof) if whole else (proof[0], proof[1:])
    mask = (size1 - 1) >> shift
    old = start
    for level, sibling in enumerate(path):
        if level >= inner or mask >> level & 1:  # only what lies left of size1 belongs to the old tree
            old = node_hash(sibling, old)
    if old != root1:
        raise _fail(Finding.CONSISTENCY_FAIL, f"the proof does not contain the root of size {size1}")
    if _chain(start, path, mask, inner) != root2:
        raise _fail(Finding.CONSISTENCY_FAIL, f"the proof does not lead to the root of size {size2}")


def walk(size: int, ranges: Sequence[tuple[int, int]], leaf: Callable[[], bytes], other: Callable[[int, int], bytes]) -> bytes:
    """The root of a tree of which a part is known: `ranges` are first and count, in order, with a gap between any two.

    Depth first, left to right: `leaf` gives the hash of the next leaf of the part, `other(start, end)` the root of a largest
    subtree without any. Whoever makes the proof collects what `other` is asked for, and whoever verifies it answers with that.
    """
    starts, ends = [first for first, _ in ranges], [first + count for first, count in ranges]

    def node(start: int, end: int, low: int, high: int) -> bytes:
        low, high = bisect_right(ends, start, low, high), bisect_left(starts, end, low, high)
        if low == high:
            return other(start, end)
        if end - start == 1:
            return leaf()
        middle = start + _split(end - start)
        return node_hash(node(start, middle, low, high), node(middle, end, low, high))

    return node(0, size, 0, len(ranges)) if size else EMPTY_ROOT


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def _shape(index: int, size: int) -> tuple[int, int]:
    """How many siblings lie below the path to the last leaf (either side), and how many on it (always left)."""
    inner = (index ^ (size - 1)).bit_length()
    return inner, (index >> inner).bit_count()


def _chain(start: bytes, path: Sequence[bytes], index: int, inner: int) -> bytes:
    result = start
    for level, sibling in enumerate(path):
        left = level >= inner or index >> level & 1
        result = node_hash(sibling, result) if left else node_hash(result, sibling)
    return result


def _are_hashes(items: Sequence[bytes]) -> bool:
    """Otherwise bytes could move from one hash of a proof to its neighbour."""
    return all(len(item) == HASH_BYTES for item in items)


def _fail(finding: Finding, detail: str) -> EvidenceError:
    return EvidenceError(finding, detail)
