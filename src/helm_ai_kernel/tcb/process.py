"""Which process of the kernel said what: a log is one process after another, each within one session of principal `kernel`.

A process begins with the start of that session, which ends whatever was open before: one writer holds a log at a time. What the
process before left open is recovered and concluded as UNKNOWN before anything else is said (`docs/spec/verification.md`, V10).
"""

from array import array

from .chain import Index
from .codes import Finding
from .decision import Status
from .digest import Digest
from .errors import EvidenceError
from .receipt import Kind, Receipt

KERNEL = "kernel"  # the principal of sessions for what is not a call's
_KERNELS = frozenset({Kind.STATEMENT, Kind.HOLD, Kind.LAPSE, Kind.GAP, Kind.RECOVERY})  # said in the kernel's session only


class Processes:
    """The sessions of a log and the calls that cross them. `append` takes the receipts in log order.

    `index_of` is the place of each leaf.
    """

    def __init__(self, index_of: Index) -> None:
        self._index_of = index_of
        self._kernel = ""  # the kernel's session, while it is open
        self._process = 0  # processes so far
        self._began: dict[str, int] = {}  # session -> the process that it is of
        self._open: set[str] = set()  # sessions of this process that did not end
        self._sessions: list[str] = []  # in the order in which they began
        self._numbers: dict[str, int] = {}  # -> place in that list
        self._intents = array("I")  # by place in the log: 1 + the number of the session of an intent or an offer, or 0
        self._told = array("I")  # by place in the log: the process that told it
        self._unsettled: set[Digest] = set()  # intents without an outcome
        self._owed = 0  # of these, those of the processes before: this one has to say that they are UNKNOWN
        self._unrecovered = False  # something was left open, and this process did not say so yet

    def append(self, receipt: Receipt) -> None:
        """Raises `EvidenceError(FLOW_INVALID)`; goes on behind it as if it were none."""
        try:
            if not _begins(receipt):  # a process may follow at any point, because the one before may have died at any
                self._check(receipt)
        finally:
            self._take(receipt)

    def _check(self, receipt: Receipt) -> None:
        kernels = receipt.session == self._kernel
        if self._past(receipt.session):
            raise _flow("is of a session that ended when a later process began")
        if not self._kernel:
            raise _flow("comes where no session of the kernel is open")
        if receipt.kind in _KERNELS and not kernels:
            raise _flow("is told in a session that is not the kernel's")
        if receipt.kind is Kind.DECISION and kernels:
            raise _flow("decides a call in the kernel's own session")
        if receipt.kind is Kind.RECOVERY and receipt.seq != 1:
            raise _flow("recovers after a process began to say other things")
        if receipt.kind is Kind.OUTCOME:
            self._outcome(receipt)
        elif receipt.kind is not Kind.RECOVERY and (self._unrecovered or self._owed):
            raise _flow("comes before what the process before left open was recovered")
        if _ends(receipt) and kernels and self._open != {receipt.session}:
            raise _flow("ends the kernel's session before the others")

    def _outcome(self, receipt: Receipt) -> None:
        decision = Digest(str(receipt.body["decision"]))
        session = self._session_of(decision)
        if session is None:
            return  # an orphan, which is a finding of the flows
        if self._past(session) and receipt.status is not Status.UNKNOWN:
            raise _flow("tells more than UNKNOWN of a call of an earlier process")
        if self._unrecovered and self._owes(decision):
            raise _flow("comes before the recovery that it is a part of")
        if receipt.session != (session if session in self._open else self._kernel):
            raise _flow("is told in a session that is neither its decision's nor, behind that one's end, the kernel's")

    def _take(self, receipt: Receipt) -> None:
        if _begins(receipt):
            self._unrecovered = bool(self._open or self._unsettled)
            self._owed = len(self._unsettled)
            self._process += 1
            self._open, self._kernel = set(), receipt.session
        if self._began.setdefault(receipt.session, self._process) == self._process:
            self._open.add(receipt.session)
        if _ends(receipt):
            self._open.discard(receipt.session)
            self._kernel = "" if receipt.session == self._kernel else self._kernel
        if receipt.kind is Kind.RECOVERY:
            self._unrecovered = False
        if receipt.goes and self._session_of(receipt.leaf) is None:
            self._remember(receipt)
            if receipt.is_intent:  # of an offer nothing is owed
                self._unsettled.add(receipt.leaf)
        if receipt.kind is Kind.OUTCOME:
            settled = Digest(str(receipt.body["decision"]))
            self._owed -= self._owes(settled)
            self._unsettled.discard(settled)

    def _past(self, session: str) -> bool:
        """Of a process before this one."""
        return self._began.get(session, self._process) < self._process

    def _owes(self, decision: Digest) -> bool:
        place = self._index_of.get(decision)
        return decision in self._unsettled and place is not None and self._told[place] < self._process

    def _remember(self, intent: Receipt) -> None:
        number = self._numbers.setdefault(intent.session, len(self._sessions))
        if number == len(self._sessions):
            self._sessions.append(intent.session)
        for column, value in ((self._intents, number + 1), (self._told, self._process)):
            column.extend([0] * (intent.index + 1 - len(column)))
            column[intent.index] = value

    def _session_of(self, decision: Digest) -> str | None:
        """Of an intent or an offer that was told before."""
        place = self._index_of.get(decision)
        number = self._intents[place] if place is not None and place < len(self._intents) else 0
        return self._sessions[number - 1] if number else None


def _begins(receipt: Receipt) -> bool:
    """A process, with the start of the kernel's session."""
    return receipt.kind is Kind.SESSION and receipt.body.get("event") == "start" and receipt.body.get("principal") == KERNEL


def _ends(receipt: Receipt) -> bool:
    return receipt.kind is Kind.SESSION and receipt.body.get("event") == "end"


def _flow(detail: str) -> EvidenceError:
    return EvidenceError(Finding.FLOW_INVALID, detail)
