"""The path of a call, on one screen; and behind it that of a call on whose verdict the client acts.

Intent durable, then effect, then outcome durable, then answer. Each `await` is a place where the process may die;
`docs/spec/flows.md` says what a restart finds there. The shell runs this in its own task, never in the request's: a
caller that hangs up must not erase an outcome.
"""

from helm_ai_kernel.tcb.call import Call
from helm_ai_kernel.tcb.decision import Outcome, Status, Verdict
from helm_ai_kernel.tcb.receipt import EffectBy, Receipt

from .boundary import Boundary
from .host import Answer, Host, Reply


async def execute(raw: bytes, boundary: Boundary, host: Host) -> Answer:
    """`raw` is the execute request `{"tool","arguments","idempotency_key"?}`; whatever it is, it ends in a durable decision."""
    call = boundary.admit(raw)  # PEP: a Call, or the Refusal that it is
    decision = await host.commit(call, boundary.decide)  # one transaction; durable
    if not isinstance(call, Call) or decision.verdict is not Verdict.ALLOW or decision.repeats:
        return await host.answer(decision, None, None)  # a refusal, or the first one's outcome
    return await settle(call, decision, boundary, host)


async def settle(call: Call, intent: Receipt, boundary: Boundary, host: Host) -> Answer:
    """Dispatch exactly once, judge the output, make the outcome durable, and only then release."""
    reply = await host.dispatch(call, intent)
    outcome = boundary.judge(call, reply)
    settled = await host.settle(intent, outcome)
    return await host.answer(intent, settled, released(outcome))


async def offer(raw: bytes, boundary: Boundary, host: Host) -> Answer:
    """The verdict, on which the client acts: an ALLOW is good for once, and nothing is dispatched here."""
    decision = await host.commit(boundary.admit(raw), boundary.decide, EffectBy.CLIENT)
    return await host.answer(decision, None, None)  # of a repeat the first one's outcome, which says that it was acted on


async def report(call: Call, decision: Receipt, reply: Reply, boundary: Boundary, host: Host) -> Answer:
    """What the client tells of a call that it acted on: judged like an output, durable, and only then handed on."""
    outcome = boundary.reported(call, reply)
    told = await host.report(decision, outcome)
    return await host.answer(decision, told, released(outcome))


def released(outcome: Outcome) -> bytes | None:
    """The bytes that may leave: those that kept their contract in time, and no others."""
    return outcome.output if outcome.status in (Status.OK, Status.REPORTED) and outcome.contract is not None else None
