"""A consistency proof from what a writer keeps: the peaks of the old tree, and the leaves that came after it.

Every hash of such a proof is a peak of the old tree or the root of leaves behind it (RFC 6962 §2.1.2): nothing before is read
again.
"""

from collections.abc import Sequence

from helm_ai_kernel.tcb.merkle import Frontier, root


def consistency(old: Frontier, new: Sequence[bytes]) -> tuple[bytes, ...]:
    """From the tree of `old` (not the empty one) to the tree with the leaf hashes `new` behind it."""
    at, peaks = 0, {}
    for peak in old.peaks:
        size = 1 << ((old.size - at).bit_length() - 1)
        peaks[at, at + size] = peak
        at += size

    def subtree(start: int, end: int) -> bytes:
        return peaks[start, end] if end <= old.size else root(new[start - old.size : end - old.size])

    proof: list[bytes] = []
    start, end = 0, old.size + len(new)
    while end != old.size:  # down to the subtree that ends where the old tree ends
        middle = start + (1 << (end - start - 1).bit_length() - 1)
        if old.size <= middle:
            proof.append(subtree(middle, end))
            end = middle
        else:
            proof.append(subtree(start, middle))
            start = middle
    if start:
        proof.append(subtree(start, end))
    return tuple(reversed(proof))
