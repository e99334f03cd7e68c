"""What a caller says that its call goes on because of: outcomes of its own calls, looked up before the decision that names them.

A place is only where to look. What stands there is believed for its signature, and counts for its own principal alone.
"""

from dataclasses import dataclass

from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.process import KERNEL
from helm_ai_kernel.tcb.receipt import Kind, Receipt

from .standing import MALFORMED, principal_of, verified
from .transaction import Session, Transaction

CAUSES_MAX = 32  # answers to questions that one call goes on with; each is read from the disk while all others wait
BACK_MAX = 1 << 16  # receipts between a call and what the kernel told of it after its session had ended


@dataclass(frozen=True, slots=True)
class Cause:
    """An outcome by where it stands in the log; its leaf says whether it is the one that was meant."""

    index: int
    leaf: Digest


def caused(tx: Transaction, session: Session, causes: tuple[Cause, ...]) -> tuple[Digest, ...]:
    """Their leaves, each once; raises `Refused` where one is no durable outcome of a call of that principal."""
    if len(causes) > CAUSES_MAX:
        raise _refused(f"a call goes on because of more than {CAUSES_MAX} outcomes")
    for cause in dict.fromkeys(causes):
        try:
            receipt = _outcome(tx, cause)
            mine = receipt is not None and _principal(tx, receipt) == session.principal
        except MALFORMED:
            mine = False
        if not mine:
            raise _refused("a call goes on because of what is no outcome of its caller's")
    return tuple(dict.fromkeys(cause.leaf for cause in causes))


def _outcome(tx: Transaction, cause: Cause) -> Receipt | None:
    row = tx.conn.execute("SELECT line FROM receipts WHERE idx=?", (cause.index,)).fetchone()
    receipt = None if row is None else verified(bytes(row[0]), tx.ink.registry)
    return receipt if receipt is not None and receipt.leaf == cause.leaf and receipt.kind is Kind.OUTCOME else None


def _principal(tx: Transaction, outcome: Receipt) -> str:
    """Whose call it was. What came after the end of its session is told in the kernel's."""
    found = principal_of(tx.conn, outcome.session, tx.ink.registry)
    if found != KERNEL:
        return found
    sql = "SELECT line FROM receipts WHERE idx<? AND idx>=? AND leaf=? ORDER BY idx DESC LIMIT 1"
    place = tx.index - 1
    row = tx.conn.execute(sql, (place, place - BACK_MAX, hashes.raw(Digest(str(outcome.body["decision"]))))).fetchone()
    return found if row is None else principal_of(tx.conn, verified(bytes(row[0]), tx.ink.registry).session, tx.ink.registry)


def _refused(detail: str) -> Refused:
    return Refused(Reason.ERR_UPSTREAM_SHAPE, detail, sub="causes", hint="make a new call, without them")
