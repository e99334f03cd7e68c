"""What a door answers with: one form of an answer, one form of a refusal, and never a word of the request in either."""

import base64
from datetime import UTC, datetime

from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.tcb.approvals import held_call
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Status, Verdict
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.wire.reply import JSON, Fields, Reply, refusal
from helm_ai_kernel.wire.status import STATUS


def document(value: Json, *, code: int = 200, fields: Fields = ()) -> Reply:
    return Reply(code, (JSON, *fields), canonical(value))


def refused(error: Refused | OutsideError, fields: Fields = (), *, status: int = 0) -> Reply:
    """What was raised is said by its code alone: a detail may name files of this machine, or words of the caller's."""
    hint = f"helm-ai-kernel explain {error.reason}"
    return refusal(error.reason, says(error.reason), hint=hint, status=status, fields=fields)


def says(reason: Reason) -> str:
    """The code in words."""
    return reason.value.removeprefix("ERR_").replace("_", " ").lower()


def answered(answer: Answer, fields: Fields = ()) -> Reply:
    """What became of a call. Released output is in it byte for byte, as it was hashed."""
    helm = _helm(answer)
    carried = (*_evidence(answer), *fields)
    code = STATUS[answer.reason]
    if answer.verdict is Verdict.DENY and code < 300:  # what would wait for a person, and does not
        code = 403
    if answer.outcome is not None and answer.outcome.status in (Status.FAILED, Status.DRIFT):
        code = 502  # whatever went wrong, it went wrong behind the kernel
    if answer.output is not None:
        body = b'{"result":%b,"helm":%b}' % (answer.output, canonical(helm))
        return Reply(200, (JSON, *carried), body)
    if answer.verdict is Verdict.ESCALATE or (answer.verdict is Verdict.ALLOW and answer.outcome is None):  # or a question
        return document({"helm": helm}, code=code, fields=carried)
    return refusal(answer.reason, says(answer.reason), hint=answer.hint, status=code, helm=helm, fields=carried)


def _helm(answer: Answer) -> dict[str, Json]:
    helm: dict[str, Json] = {
        "verdict": answer.verdict.value,
        "reason": answer.reason.value,
        "rules": list(answer.decision.rules),
        "receipt": place(answer.decision),
        "outcome": None if answer.outcome is None else {**place(answer.outcome), "status": str(answer.outcome.body["status"])},
        "checkpoint": answer.checkpoint.decode(),
        "hint": answer.hint,
    }
    salts = {"arguments": answer.args_salt, "output": answer.output_salt}
    helm["salts"] = {name: salt.hex() for name, salt in salts.items() if salt is not None}
    held = held_call(answer.decision)
    if held is not None:
        expires = datetime.fromtimestamp(held[1] / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        helm["approval"] = {"id": held[0], "expires": expires, "url": f"/v1/approvals/{held[0]}"}  # on the control plane
    sub = (answer.outcome or answer.decision).body.get("sub")
    return helm if sub is None else {**helm, "sub": sub}


def place(receipt: Receipt) -> dict[str, Json]:
    """Where a receipt stands in its log and in its session."""
    return {"leaf": receipt.leaf, "index": receipt.index, "session": receipt.session, "seq": receipt.seq}


def _evidence(answer: Answer) -> Fields:
    return (
        ("Helm-Receipt", answer.decision.leaf),
        ("Helm-Verdict", answer.verdict.value),
        ("Helm-Session", answer.decision.session),
        ("Helm-Checkpoint", base64.b64encode(answer.checkpoint).decode()),
    )
