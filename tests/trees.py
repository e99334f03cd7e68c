"""RFC 6962 as it is written, from all leaves: what the product's proofs are compared with."""

import hashlib
from collections.abc import Sequence


def root(leaves: Sequence[bytes]) -> bytes:
    """MTH, §2.1."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    split = half(len(leaves))
    return hashlib.sha256(b"\x01" + root(leaves[:split]) + root(leaves[split:])).digest()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """PATH(index, leaves), §2.1.1: from the leaf to the root."""
    if len(leaves) == 1:
        return []
    split = half(len(leaves))
    if index < split:
        return [*inclusion_proof(leaves[:split], index), root(leaves[split:])]
    return [*inclusion_proof(leaves[split:], index - split), root(leaves[:split])]


def consistency_proof(leaves: Sequence[bytes], older: int, whole: bool = True) -> list[bytes]:
    """PROOF(older, leaves), §2.1.2; `whole` while the left tree is still the one whose root the reader holds."""
    if older == len(leaves):
        return [] if whole else [root(leaves)]
    split = half(len(leaves))
    if older <= split:
        return [*consistency_proof(leaves[:split], older, whole), root(leaves[split:])]
    return [*consistency_proof(leaves[split:], older - split, False), root(leaves[:split])]


def left_to_right(proof: Sequence[bytes], index: int, size: int) -> list[bytes]:
    """A path in the order of a pack's proof: the subtrees left of the leaf from the largest on, then those right of it."""
    inner = (index ^ (size - 1)).bit_length()  # above the path to the last leaf there is nothing on the right
    is_left = [level >= inner or bool(index >> level & 1) for level in range(len(proof))]
    left = [item for item, before in zip(proof, is_left, strict=True) if before]
    return [*reversed(left), *(item for item, before in zip(proof, is_left, strict=True) if not before)]


def half(size: int) -> int:
    """The largest power of two below `size`."""
    split = 1
    while split * 2 < size:
        split *= 2
    return split
