"""The checkpoint signer. It can only ever extend what it signed: its whole interface is "these leaves came after".

Between processes it starts from the last checkpoint that it stored, checked against its own signature and the frontier.
"""

from collections.abc import Iterable, Sequence

from helm_ai_kernel.tcb.checkpoint import Checkpoint, sign
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.keys import PublicKey, Signer
from helm_ai_kernel.tcb.merkle import Frontier


class CheckpointSigner:
    """Holds the log key and the tree as it was last signed."""

    def __init__(self, key: Signer, origin: str, frontier: Frontier, last: Checkpoint) -> None:
        self._key = key
        self._origin = origin
        self.frontier = frontier
        self.last = last

    def extend(self, leaves: Iterable[bytes]) -> Checkpoint:
        """Sign the tree that results from appending `leaves`."""
        grown = self.frontier
        for leaf in leaves:
            grown = grown.append(leaf)
        self.last = sign(self._origin, grown.size, grown.root(), self._key)
        self.frontier = grown
        return self.last


def stored(known: Sequence[PublicKey], origin: str, frontier: Frontier, note: bytes) -> Checkpoint:
    """The last checkpoint as it was stored, by one of the `known` keys of the log: the one in force or one before it.

    Raises `OutsideError(ERR_STORE_CORRUPT)` where it contradicts the stored tree.
    """
    last = fitting(origin, frontier, note)
    try:
        last.signer(known)
    except EvidenceError as e:
        raise _contradiction(str(e)) from None
    return last


def fitting(origin: str, frontier: Frontier, note: bytes) -> Checkpoint:
    """A checkpoint of that log and tree, whoever signed it; raises as `stored`."""
    try:
        last = Checkpoint.from_bytes(note)
    except EvidenceError as e:
        raise _contradiction(str(e)) from None
    if last.origin != origin:
        raise _contradiction(f"the checkpoint is of log `{last.origin}`, and the store of `{origin}`")
    if (last.size, last.root) != (frontier.size, frontier.root()):
        raise _contradiction(f"the checkpoint of size {last.size} is not for the stored tree of size {frontier.size}")
    return last


def first(key: Signer, origin: str) -> tuple[Frontier, Checkpoint]:
    """The empty tree and its checkpoint, with which a log begins."""
    empty = Frontier(0, ())
    return empty, sign(origin, 0, empty.root(), key)


def _contradiction(detail: str) -> OutsideError:
    return OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint="helm-ai-kernel fsck")
