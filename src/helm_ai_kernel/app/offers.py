"""Calls that clients act on: what each was allowed as, for as long as its report may come.

Only here it is known who may report what. A restart forgets all of it, and so do too many of one principal: an offer without a
report is no gap, and a report that nobody waits for is refused (`docs/spec/flows.md`).
"""

from dataclasses import dataclass, field

from helm_ai_kernel.executor.boundary import Boundary
from helm_ai_kernel.executor.host import Host
from helm_ai_kernel.ledger.jobs import OFFERED_MAX
from helm_ai_kernel.tcb.call import Call
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.receipt import Receipt


@dataclass(frozen=True, slots=True)
class Offer:
    """`boundary` allowed the call, and judges its report, whatever comes into force meanwhile."""

    decision: Receipt
    principal: str
    call: Call
    boundary: Boundary
    host: Host


@dataclass(slots=True)
class Offers:
    _open: dict[Digest, Offer] = field(default_factory=dict)

    def keep(self, offer: Offer) -> None:
        mine = [leaf for leaf, other in self._open.items() if other.principal == offer.principal]
        if len(mine) >= OFFERED_MAX:
            del self._open[mine[0]]
        self._open[offer.decision.leaf] = offer

    def find(self, decision: Digest, principal: str) -> Offer:
        """Raises `Refused` for what this principal may not report: whether anybody else may is not said."""
        offer = self._open.get(decision)
        if offer is None or offer.principal != principal:
            hint = "report a call once, soon, to the kernel that allowed it"
            raise Refused(Reason.ERR_UPSTREAM_SHAPE, "no report of this call is waited for", sub="report", hint=hint)
        return offer

    def done(self, offer: Offer) -> None:
        self._open.pop(offer.decision.leaf, None)
