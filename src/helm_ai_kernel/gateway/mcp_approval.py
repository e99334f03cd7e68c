"""A call that waits for a person, told to the person at the client by the protocol's own question.

Whoever sits at the client learns what waits and what to type; they say when it is done, and then the same call is decided again,
once. What they say approves nothing: an approval is signed, with a key that neither the client nor its agent has.
"""

from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.tcb.approvals import held_call
from helm_ai_kernel.tcb.decision import Verdict
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical

METHOD = "elicitation/create"
NAME = "ai.helm/approval"  # of the question, where it travels in a result
_FORM: Json = {"type": "object", "properties": {}}


def question(answer: Answer, tool: str, capabilities: bytes) -> bytes | None:
    """The parameters of the question; None where the call does not wait, or nobody at the client can be asked."""
    held = held_call(answer.decision) if answer.verdict is Verdict.ESCALATE else None
    if held is None or not _takes_forms(capabilities):
        return None
    told = (
        f"The call of `{tool}` waits for a person's approval, as {held[0]}. "
        f"Look at it and approve it with: helm-ai-kernel approvals show {held[0]}; helm-ai-kernel approvals approve {held[0]}. "
        "Accept here when that is done, and the call is made; decline, and it is not."
    )
    return canonical({"message": told, "requestedSchema": _FORM})


def is_done(said: bytes) -> bool:
    """Whether the client's result says that the call may be tried again."""
    value = parse(said, bytes_max=len(said), any_number=True)
    return type(value) is dict and value.get("action") == "accept"


def _takes_forms(capabilities: bytes) -> bool:
    """An `elicitation` that names no mode means forms (MCP 2025-11-25)."""
    value = parse(capabilities, bytes_max=len(capabilities), any_number=True)
    said = value.get("elicitation") if type(value) is dict else None
    return type(said) is dict and (not said or "form" in said)
