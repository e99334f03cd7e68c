"""How an answer reaches a Python caller: as the released value, or as an exception that says which of five things happened."""

from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.tcb.decision import Status, Verdict
from helm_ai_kernel.tcb.ijson import Json, parse


class NotReleased(Exception):
    """A governed call without a result. `answer` has the receipts, `reason` the code, `hint` what to do next."""

    says = "the call gave no result"

    def __init__(self, answer: Answer) -> None:
        receipt = answer.outcome or answer.decision
        sub = receipt.body.get("sub")
        text = f"{answer.reason}: {self.says}{f' ({sub})' if sub else ''}; receipt {receipt.index}"
        super().__init__(f"{text}\nhint: {answer.hint}" if answer.hint else text)
        self.answer = answer
        self.reason = answer.reason
        self.hint = answer.hint


class Denied(NotReleased):
    """The verdict was DENY. Nothing was executed."""

    says = "the call is denied and nothing was executed"


class Held(NotReleased):
    """The verdict was ESCALATE. Nothing was executed."""

    says = "the call waits for a person's approval and nothing was executed"


class Failed(NotReleased):
    """The call was dispatched, and the connector proves that it applied nothing."""

    says = "the call failed and applied nothing"


class Withheld(NotReleased):
    """The call ran, but its output broke the pinned contract; the tool is held."""

    says = "the output broke its pinned contract and is withheld; the tool is held"


class Unknown(NotReleased):
    """The call may have been applied. It is never dispatched again by itself."""

    says = "nobody knows whether the call was applied; it is not tried again by itself"


_OF_STATUS = {Status.FAILED: Failed, Status.DRIFT: Withheld}


def released(answer: Answer) -> Json:
    """The released output as a Python value; raises the `NotReleased` that it is instead."""
    if answer.verdict is Verdict.ESCALATE:
        raise Held(answer)
    if answer.verdict is not Verdict.ALLOW:
        raise Denied(answer)
    status = None if answer.outcome is None else answer.outcome.status
    if answer.output is None or status is not Status.OK:
        raise _OF_STATUS.get(status or Status.UNKNOWN, Unknown)(answer)
    return parse(answer.output, bytes_max=len(answer.output), any_number=True)
