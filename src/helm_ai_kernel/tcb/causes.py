"""Which earlier outcomes a decision may name as its causes: those of calls of its own principal.

It is a rule of V10 (`docs/spec/verification.md`). A call that goes on after a question names what was answered;
nobody's call goes on because of what another was told.
"""

from array import array

from .chain import Index
from .codes import Finding
from .digest import Digest
from .errors import EvidenceError
from .receipt import Receipt


class Outcomes:
    """Whose call each outcome is of, by its place in the log: four bytes for each receipt up to the last outcome."""

    def __init__(self, index_of: Index) -> None:
        self._index_of = index_of
        self._numbers: dict[str, int] = {}  # principal -> a number from 1
        self._whose = array("I")

    def tell(self, outcome: Receipt, principal: str) -> None:
        """The outcome of a call of that principal; "" is nobody, whose session has no start."""
        if not principal:
            return
        self._whose.extend([0] * (outcome.index + 1 - len(self._whose)))
        self._whose[outcome.index] = self._numbers.setdefault(principal, len(self._numbers) + 1)

    def check(self, decision: Receipt, principal: str) -> None:
        """Raises `EvidenceError(FLOW_INVALID)` where it names another cause than it may; one that is not before it is V9's."""
        mine = self._numbers.get(principal, -1)
        for cause in set(decision.parents) - _named(decision):
            place = self._index_of.get(cause)
            if place is None or place >= decision.index:
                continue
            if place >= len(self._whose) or self._whose[place] != mine:
                raise EvidenceError(Finding.FLOW_INVALID, "has a parent that is no outcome of a call of its principal")


def _named(decision: Receipt) -> set[Digest]:
    """What is among the parents because the decision names it elsewhere."""
    facts, relies = decision.body["facts"], decision.body.get("relies")
    held = facts.get("approval") if isinstance(facts, dict) else None
    found = [decision.body.get("repeats"), held.get("call") if isinstance(held, dict) else None]
    found += relies if isinstance(relies, list) else []
    return {Digest(str(leaf)) for leaf in found if leaf is not None}
