"""Everything that decides whether a receipt may follow another lives here.

A session is a chain: it begins with its start, counts up by one, and each receipt names the leaf of the one before it, which
covers that one's signature. So a session cannot lose, gain, swap or repeat a receipt unseen (`docs/spec/verification.md`, V7).
"""

from array import array
from dataclasses import dataclass
from typing import Protocol

from .codes import Finding
from .digest import Digest, text
from .digests import Digests
from .errors import EvidenceError
from .receipt import SEQ_MAX, Kind, Receipt


@dataclass(frozen=True, slots=True)
class Chain:
    """A session up to one of its receipts. What may come next is a question to this value alone."""

    session: str
    seq: int
    prev: Digest
    leaf: Digest
    ended: bool = False

    @classmethod
    def begin(cls, receipt: Receipt) -> "Chain":
        """Raises `EvidenceError` unless `receipt` is the start of a session."""
        if receipt.seq != 0:
            raise _fault(Finding.CHAIN_GAP, receipt, "is the first of its session here; the start is missing")
        if receipt.kind is not Kind.SESSION or receipt.body.get("event") != "start":
            raise _fault(Finding.CHAIN_ORDER, receipt, "begins a session without a start")
        if receipt.prev != receipt.trust.head:
            raise _fault(Finding.CHAIN_GAP, receipt, "does not begin at the registry head that it relies on")
        return cls(receipt.session, 0, receipt.prev, receipt.leaf)

    def next(self, receipt: Receipt) -> "Chain":
        """The chain with `receipt` at its end; raises `EvidenceError` where it may not follow."""
        if receipt.session != self.session:
            raise _fault(Finding.CHAIN_ORDER, receipt, "is of another session")
        if receipt.leaf == self.leaf:
            raise _fault(Finding.DUPLICATE, receipt, "occurs twice")
        if receipt.seq == 0:
            raise _fault(Finding.SESSION_DUPLICATE, receipt, "opens a session whose id was used before")
        if self.ended:
            raise _fault(Finding.CHAIN_ORDER, receipt, "comes after the end of its session")
        if receipt.prev == self.prev:
            raise _fault(Finding.CHAIN_FORK, receipt, f"and `{self.leaf}` both follow `{self.prev}`")
        if receipt.prev == self.leaf:
            self._counts_up(receipt)
            return Chain(self.session, receipt.seq, receipt.prev, receipt.leaf, self._ends(receipt))
        if receipt.seq <= self.seq:
            raise _fault(Finding.CHAIN_ORDER, receipt, f"comes after number {self.seq} of its session")
        raise _fault(Finding.CHAIN_GAP, receipt, f"does not follow number {self.seq}, `{self.leaf}`")

    def _counts_up(self, receipt: Receipt) -> None:
        if receipt.seq == self.seq:
            raise _fault(Finding.LAMPORT_EQUAL, receipt, "has the number of the one before it")
        if receipt.seq < self.seq:
            raise _fault(Finding.LAMPORT_REGRESSION, receipt, f"counts back from {self.seq}")
        if receipt.seq != self.seq + 1 or receipt.seq > SEQ_MAX:
            raise _fault(Finding.CHAIN_GAP, receipt, f"counts on from {self.seq} by more than one")

    def _ends(self, receipt: Receipt) -> bool:
        if receipt.kind is not Kind.SESSION:
            return False
        if receipt.body.get("event") != "end":
            raise _fault(Finding.CHAIN_ORDER, receipt, "starts a session that goes on already")
        if receipt.body.get("count") != receipt.seq:
            raise _fault(Finding.CHAIN_GAP, receipt, f"ends a session of {receipt.seq} receipts and counts otherwise")
        return True


class Index(Protocol):
    """Where each leaf stands first; a `dict` is one."""

    def get(self, leaf: Digest, /) -> int | None: ...


class Chains:
    """All sessions of one log, in log order. It names a fault by the whole log, and goes on behind it.

    `index_of` is the place of each leaf; in a `part` of a log receipts are missing on purpose, and nothing is said of gaps.
    """

    def __init__(self, index_of: Digests, *, part: bool = False) -> None:
        self.heads: dict[str, Chain] = {}
        self._index_of = index_of
        self._part = part
        self._followers = array("q")  # by place of a leaf: 1 + the place of the receipt of its session that follows it, or 0
        self._strays: dict[Digest, int] = {}  # the same for what follows a leaf that is not here

    def append(self, receipt: Receipt) -> None:
        """Raises `EvidenceError`; what comes after is then judged as if the receipt were where it should be."""
        head = self.heads.get(receipt.session)
        if self._part and self._is_apart(head, receipt):
            ended = receipt.body.get("event") == "end"
            self._take(receipt, Chain(receipt.session, receipt.seq, receipt.prev, receipt.leaf, ended))
            return
        try:
            chain = Chain.begin(receipt) if head is None else head.next(receipt)
        except EvidenceError as error:
            sharper = self._sharper(receipt, error)
            if sharper.finding in (Finding.CHAIN_GAP, Finding.CHAIN_ORDER) and (head is None or receipt.seq > head.seq):
                self._take(receipt, Chain(receipt.session, receipt.seq, receipt.prev, receipt.leaf))
            raise sharper from None
        self._take(receipt, chain)

    def _is_apart(self, head: Chain | None, receipt: Receipt) -> bool:
        """What is between the one before it and this is not in the part."""
        if head is None:
            return receipt.seq > 0
        return not head.ended and receipt.seq > head.seq + 1 and receipt.prev != head.leaf

    def _take(self, receipt: Receipt, chain: Chain) -> None:
        self.heads[receipt.session] = chain
        if not receipt.seq or self._follower(receipt.prev) is not None:
            return
        place = self._index_of.get(receipt.prev)
        if place is None:
            self._strays[receipt.prev] = receipt.index
            return
        if place >= len(self._followers):
            self._followers.extend([0] * (max(place, receipt.index) + 1 - len(self._followers)))
        self._followers[place] = receipt.index + 1

    def _follower(self, leaf: Digest) -> int | None:
        """The place of the receipt that follows it."""
        place = self._index_of.get(leaf)
        if place is None:
            return self._strays.get(leaf)
        follower = self._followers[place] if place < len(self._followers) else 0
        return follower - 1 if follower else None

    def _sharper(self, receipt: Receipt, error: EvidenceError) -> EvidenceError:
        """The same fault, named with what the rest of the log says about it."""
        first, prev = self._index_of.get(receipt.leaf), self._index_of.get(receipt.prev)
        if first is not None and first != receipt.index:
            return _fault(Finding.DUPLICATE, receipt, "occurs twice")
        if error.finding not in (Finding.CHAIN_GAP, Finding.CHAIN_ORDER) or receipt.seq == 0:
            return error
        other = self._follower(receipt.prev)
        if other is not None:
            return _fault(Finding.CHAIN_FORK, receipt, f"and `{text(self._index_of[other])}` both follow `{receipt.prev}`")
        if prev is not None and prev > receipt.index:
            return _fault(Finding.CHAIN_ORDER, receipt, "comes before the one that it follows")
        return error


def _fault(finding: Finding, receipt: Receipt, what: str) -> EvidenceError:
    return EvidenceError(finding, f"receipt `{receipt.leaf}`, number {receipt.seq} of session `{receipt.session}`, {what}")
