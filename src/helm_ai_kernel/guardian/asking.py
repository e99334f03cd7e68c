"""May a call go on for which rules require an approval? From what they ask, and from what people said so far.

The stricter wins: what a call was held for still counts when the policy asks for less by now, and where it asks for more the
call is held again for that (`docs/spec/approval.md`).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from helm_ai_kernel.tcb.ceremony import NAMES_MAX, Requirement
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Decision, Facts, Verdict
from helm_ai_kernel.tcb.errors import Refused


def asking(rules: Sequence[Requirement | None], facts: Facts) -> Decision:
    """ALLOW with what it relies on, ESCALATE, or DENY. `rules` are those that forbid the call without an approval."""
    asked, held = [rule for rule in rules if rule is not None], facts.approval
    concluded = Reason.ERR_APPROVAL_REQUIRED if held is None else held.conclude(facts.clock)
    if concluded is Reason.ERR_APPROVAL_EXPIRED or concluded is Reason.ERR_APPROVAL_DENIED:
        return Decision(Verdict.DENY, concluded)
    needed = _needed(asked, facts)
    disputed = held is not None and held.disputed  # then only people who looked at this very call let it go on
    if facts.grant is not None and not disputed and facts.grant.suffices(needed, facts.clock):
        return Decision(Verdict.ALLOW, Reason.OK, relies=(facts.grant.statement,))
    again = held is None or needed != held.requires
    if held is not None and not again:
        if concluded is Reason.OK:
            return Decision(Verdict.ALLOW, Reason.OK, relies=held.statements)
        if concluded is Reason.ERR_CLOCK_UNTRUSTED:
            return Decision(Verdict.DENY, concluded)
    if facts.alone:
        return Decision(Verdict.DENY, Reason.ERR_APPROVAL_REQUIRED, sub="alone")
    if again and facts.crowded:
        return Decision(Verdict.DENY, Reason.ERR_APPROVAL_REQUIRED, sub="crowded")
    if again:
        return Decision(Verdict.ESCALATE, Reason.ERR_APPROVAL_REQUIRED, requires=needed)
    return Decision(Verdict.ESCALATE, concluded)


def _needed(asked: Sequence[Requirement], facts: Facts) -> Requirement:
    """What all these rules ask for, and what the call was held for before."""
    who = tuple(sorted({facts.principal, *facts.not_by}))
    needed = None if not asked else replace(reduce(Requirement.stricter, asked), not_by=who)
    if facts.approval is None:
        found = needed or Requirement(not_by=who)
    else:
        found = facts.approval.requires if needed is None else needed.stricter(facts.approval.requires)
    if len(found.not_by) > NAMES_MAX:
        raise Refused(Reason.ERR_POLICY_ERROR, "more people may not approve this call than a receipt can name", sub="not_by")
    return found
