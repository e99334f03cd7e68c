"""The configured, pure part of the kernel: what may be called, by which contract, under which policy."""

from dataclasses import dataclass, replace

from helm_ai_kernel.guardian.policy import Policy, decide
from helm_ai_kernel.pep.admit import admit
from helm_ai_kernel.pep.catalog import Catalog
from helm_ai_kernel.pep.release import release
from helm_ai_kernel.tcb.call import Admitted, Call
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Decision, Facts, Outcome, Status
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.receipt import TEXT_MAX

from .host import Reply, ReplyKind


@dataclass(frozen=True, slots=True)
class Boundary:
    """A catalogue and the policy that was type-checked against it; `policy` is None before the first activation."""

    catalog: Catalog
    policy: Policy | None

    def admit(self, raw: bytes) -> Admitted:
        return admit(raw, self.catalog)

    def decide(self, admitted: Admitted, facts: Facts) -> Decision:
        return decide(self.policy, admitted, facts)

    def judge(self, call: Call, reply: Reply) -> Outcome:
        """What a reply means. Only output that keeps the pinned contract is OK; only proof makes a call FAILED."""
        return replace(self._judged(call, replace(reply, sub=_word(reply.sub))), interim=reply.interim)

    def reported(self, call: Call, reply: Reply) -> Outcome:
        """What a client's own words mean: the same, but nothing of it is proof, and nothing of it stops a tool."""
        if reply.output is not None and len(reply.output) > call.output_bytes:
            reply = replace(reply, output=reply.output[: call.output_bytes], truncated=True)
        judged = self.judge(call, reply)
        if judged.status is Status.FAILED:  # it says so
            judged = replace(judged, reason=Reason.ERR_CONNECTOR_FAILED)
        return replace(judged, status=Status.REPORTED)

    def _judged(self, call: Call, reply: Reply) -> Outcome:
        if reply.kind is ReplyKind.FAILED:
            return Outcome(Status.FAILED, reply.ms, reason=reply.reason, sub=reply.sub)
        if reply.kind is ReplyKind.UNKNOWN or reply.output is None:
            return Outcome(
                Status.UNKNOWN, reply.ms, output=reply.output, reason=Reason.ERR_OUTCOME_UNKNOWN, sub=reply.sub,
                truncated=reply.truncated,
            )  # fmt: skip
        if reply.truncated:
            return _drift(reply, "output_bytes")
        try:
            contract, tool_error = release(self.catalog.tools[call.tool], reply.output, questions=reply.questions)
        except Refused as refused:
            return _drift(reply, reply.sub or refused.sub)
        return Outcome(Status.OK, reply.ms, output=reply.output, contract=contract, tool_error=tool_error)


def _word(sub: str) -> str:
    """A receipt holds a short word that JSON can say, whatever a connector passes on."""
    return sub.encode("ascii", "replace").decode()[:TEXT_MAX]


def _drift(reply: Reply, sub: str) -> Outcome:
    return Outcome(
        Status.DRIFT, reply.ms, output=reply.output, reason=Reason.ERR_CONNECTOR_CONTRACT_DRIFT, sub=sub,
        truncated=reply.truncated,
    )  # fmt: skip
