"""In which order the questions about a call are asked, said a second time. Imports nothing of the product.

A world is everything that can matter, each thing small. What Cedar does with rules is not modelled: which rules match and which
fail is given. What must follow from it is here.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

REFUSALS = ("ERR_JSON_NOT_IJSON", "ERR_SCHEMA_VIOLATION", "ERR_TOOL_NOT_ALLOWED", "ERR_UPSTREAM_SHAPE")
POLICIES = ("none", "another", "this")  # in force, seen from the policy that decides; "none": nothing decides either
CLAIMS = tuple((state, same) for state in ("open", "done", "unknown") for same in (True, False))
BUDGETS = ((), (("day", 2),), (("day", 0),), (("day", 1), ("total", 0)))


class World(NamedTuple):
    refusal: str = ""  # why the request is no call; "" where it is one
    policy: str = "this"
    held: bool = False
    permitted: bool = True  # a `permit` matches
    forbidden: bool = False  # a `forbid` without @require matches
    fails: bool = False  # a rule without @require fails to evaluate
    asks: bool = False  # a `forbid` with @require matches
    ask_fails: bool = False  # a rule with @require fails to evaluate
    needs_key: bool = False
    key: bool = False
    claim: tuple[str, bool] | None = None  # state of the first call with that key, and whether it had the same arguments
    budget: tuple[tuple[str, int], ...] = ()  # calls left of each budget that covers the call


class Said(NamedTuple):
    verdict: str
    reason: str
    rules: str = ""  # which kind of rule determined it
    sub: str = ""
    repeats: bool = False
    reserves: tuple[str, ...] = ()


def decide(w: World) -> Said:
    """The first of these that holds."""
    exhausted = [name for name, left in w.budget if left == 0]
    asked = (
        (w.refusal, Said("DENY", w.refusal)),
        (w.policy != "this", Said("DENY", "ERR_POLICY_NOT_READY")),
        (w.held, Said("DENY", "ERR_TOOL_HALTED")),
        (w.fails, Said("DENY", "ERR_POLICY_ERROR", sub="rule fails")),
        (w.forbidden, Said("DENY", "ERR_POLICY_DENY", "forbidden")),
        (not w.permitted, Said("DENY", "ERR_TOOL_NOT_ALLOWED")),
        (w.needs_key and not w.key, Said("DENY", "ERR_IDEMPOTENCY_KEY_REQUIRED")),
        (w.claim and not w.claim[1], Said("DENY", "ERR_IDEMPOTENCY_MISMATCH")),
        (w.claim and w.claim[0] == "open", Said("DENY", "ERR_IDEMPOTENCY_IN_FLIGHT")),
        (w.claim and w.claim[0] == "unknown", Said("DENY", "ERR_OUTCOME_UNKNOWN")),
        (w.claim, Said("ALLOW", "REPEATED", repeats=True)),
        (w.ask_fails, Said("DENY", "ERR_POLICY_ERROR", sub="rule ask-fails")),
        (w.asks, Said("ESCALATE", "ERR_APPROVAL_REQUIRED", "asks")),
        (exhausted, Said("DENY", "ERR_BUDGET_EXHAUSTED", sub=min(exhausted, default=""))),
    )
    allow = Said("ALLOW", "OK", "permitted", reserves=tuple(sorted(name for name, _ in w.budget)))
    return next((said for holds, said in asked if holds), allow)


def worlds() -> Iterator[World]:
    """Every combination. A claim needs a key; of what is no call only the reason, the policy and the hold are left."""
    yes_no = (False, True)
    keys = ((False, None), (True, None), *((True, claim) for claim in CLAIMS))
    for refusal, policy, held in product(REFUSALS, POLICIES, yes_no):
        yield World(refusal, policy, held)
    for policy, held, permitted, forbidden, fails, asks, ask_fails, needs_key, (key, claim), budget in product(
        POLICIES, yes_no, yes_no, yes_no, yes_no, yes_no, yes_no, yes_no, keys, BUDGETS
    ):
        yield World("", policy, held, permitted, forbidden, fails, asks, ask_fails, needs_key, key, claim, budget)
