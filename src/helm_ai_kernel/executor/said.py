"""What a receipt must say of a decision or an output, as far as it follows from what the two were made from."""

from helm_ai_kernel.pep.catalog import Tool
from helm_ai_kernel.pep.release import release
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.call import Admitted, Call
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Decision, Facts, Status, Verdict
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.receipt import EffectBy, Receipt

SAID = frozenset(
    {"verdict", "reason", "sub", "rules", "reserved", "repeats", "tool", "pin", "effect", "deadline_ms", "requires", "relies"}
)
KEPT = frozenset({"status", "reason", "contract", "tool_error"})
_DRIFT = Reason.ERR_CONNECTOR_CONTRACT_DRIFT.value


def claims_contract(receipt: Receipt) -> bool:
    """Whether it says of an output that it kept its contract, or broke it; with another reason the output is only evidence."""
    return "output_hash" in receipt.body and receipt.body.get("reason") in (None, _DRIFT)


def kept(tool: Tool | None, output: bytes, *, asked: bool = False) -> dict[str, Json]:
    """What an outcome says of this output, as far as it follows from it. What nobody pinned keeps no contract.

    `asked`: the outcome says that it was a question to its caller. Whether they could be asked does not follow from the output.
    """
    try:
        if tool is not None:
            contract, tool_error = release(tool, output, questions=asked)
            told: dict[str, Json] = {"status": Status.OK.value, "contract": contract.value}
            return told | ({"tool_error": True} if tool_error else {})
    except Refused:
        pass
    return {"status": Status.DRIFT.value, "reason": _DRIFT}


def said(admitted: Admitted, decision: Decision, facts: Facts, effect_by: EffectBy) -> dict[str, Json]:
    """What a receipt says of this decision, as far as it follows from it; what is not said is not in it."""
    reserved: dict[str, Json] = dict(decision.reserve)
    told: dict[str, Json] = {"verdict": decision.verdict.value, "reason": decision.reason.value}
    told |= {"sub": decision.sub, "rules": list(decision.rules), "repeats": decision.repeats}
    if admitted.tool is not None and admitted.args is not None:
        told |= {"tool": admitted.tool, "args": hashes.digest(admitted.args), "pin": admitted.pin}
        told["effect"] = None if admitted.effect is None else admitted.effect.value
    if effect_by is not EffectBy.NONE and decision.requires is not None:
        told["requires"] = decision.requires.to_json()
    goes = decision.verdict is Verdict.ALLOW and decision.repeats is None and effect_by is not EffectBy.NONE
    if isinstance(admitted, Call) and goes:
        told |= {"reserved": reserved, "relies": list(decision.relies)}
        told["deadline_ms"] = facts.clock.wall_ms + admitted.wall_ms if effect_by is EffectBy.KERNEL else None
    return {name: value for name, value in told.items() if value not in (None, "", [], {})}
