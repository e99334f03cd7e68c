"""Cases about a kernel that breaks its word: signed with its own keys, in the right form, and not what can happen (V10).

Idempotency keys, holds, budgets, erasures, and the processes that a log is one after another.
"""

from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.decision import Claim, ClaimState, Status, Verdict
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.envelope import seal
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.receipt import Receipt
from pack_case import Made, case, of
from pack_cases_log import begun, first_call, read_claim
from packs import WALL_MS, Body, Log, relined

DRIFTED_PIN: Body = {"reason": Reason.ERR_MCP_SCHEMA_DRIFT.value}


def called(log: Log, session: str, status: Status = Status.OK, spent: Body | None = None, **more: object) -> Receipt:
    """A call to its end; returns the outcome."""
    intent = log.allow(session, more=more)  # type: ignore[arg-type]
    return log.settle(session, intent.leaf, status, more={"spent": spent} if spent else None)


# VALID


@case(Exit.VALID)
def restart_after_a_clean_end() -> Made:
    """The second process has nothing to recover: the first ended every session, the kernel's last."""
    log, agent = begun()
    called(log, agent)
    log.end(agent)
    log.end(log.kernel)
    log.start_kernel()
    called(log, log.start())
    return of(log)


@case(Exit.VALID)
def died_while_recovering() -> Made:
    """Of two open calls the second process concludes one, and the third the other."""
    log, agent = begun()
    first, second = log.allow(agent), log.allow(agent)
    for found, intent in ((2, first), (1, second)):
        log.start_kernel()
        log.recover(found)
        log.settle(log.kernel, intent.leaf, Status.UNKNOWN)
    called(log, log.start())
    return of(log)


@case(Exit.VALID)
def outlives_its_session() -> Made:
    """A session ended under a running call, whose outcome the kernel tells in its own."""
    log, agent = begun()
    intent = log.allow(agent)
    log.end(agent)
    log.settle(log.kernel, intent.leaf)
    return of(log)


@case(Exit.VALID)
def two_drift_in_flight() -> Made:
    """Two calls of one tool break their contract; the hold of the first stands for both, until it is released."""
    log, agent = begun()
    first, second = log.allow(agent), log.allow(agent)
    hold = log.hold(log.settle(agent, first.leaf, Status.DRIFT).leaf)
    log.settle(agent, second.leaf, Status.DRIFT)
    log.release(hold.leaf)
    called(log, agent)
    return of(log)


@case(Exit.VALID)
def pin_drifted() -> Made:
    """An upstream tool is not the pinned one any more: nothing was applied, what was reserved comes back, the tool is held."""
    log, agent = begun()
    intent = log.allow(agent, more={"reserved": {"calls": 1}})
    drifted = log.settle(agent, intent.leaf, Status.FAILED, more={**DRIFTED_PIN, "spent": {"calls": 0}})
    log.hold(drifted.leaf, reason=Reason.ERR_MCP_SCHEMA_DRIFT)
    return of(log)


@case(Exit.VALID)
def late_drift() -> Made:
    """An answer that came late broke its contract: the tool is held."""
    log, agent = begun()
    log.hold(drifted_late(log, agent).leaf)
    return of(log)


def drifted_late(log: Log, agent: str) -> Receipt:
    intent = log.allow(agent)
    log.settle(agent, intent.leaf, Status.UNKNOWN)
    return log.settle(agent, intent.leaf, Status.LATE, more={"reason": Reason.ERR_CONNECTOR_CONTRACT_DRIFT.value})


# idempotency keys


@case(Exit.VALID)
def key_under_two_salts() -> Made:
    """One key is dispatched twice, under two salts: two names, so that only its content tells. A replay finds it."""
    log, agent = begun()
    first_call(log, agent)
    first_call(log, agent)
    return of(log, log.pack(withhold=False))


@case(Exit.INVALID, Finding.FLOW_INVALID)
def key_dispatched_twice() -> Made:
    """A call is dispatched under a key whose first call is done."""
    log, agent = begun()
    named = first_call(log, agent).body["key"]
    called(log, agent, key=named)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def key_dispatched_in_flight() -> Made:
    """A call is dispatched under a key whose first call still runs."""
    log, agent = begun()
    named = log.attach(b"key-1")
    first = log.allow(agent, more={"key": named})
    called(log, agent, key=named)
    log.settle(agent, first.leaf)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def key_dispatched_after_unknown() -> Made:
    """A call is dispatched under a key whose first call may have had its effect."""
    log, agent = begun()
    named = first_call(log, agent, Status.UNKNOWN).body["key"]
    called(log, agent, key=named)
    return of(log)


def dispatched_again(log: Log, agent: str, first: Receipt, named: Json) -> None:
    """A call that is allowed although it read that the first one with its key is done."""
    facts = {"claim": Claim(first.leaf, ClaimState.DONE, same_args=True)}
    more: Body = {"key": named, "deadline_ms": WALL_MS + 30_000}
    log.settle(agent, log.decide(agent, Verdict.ALLOW, facts=facts, more=more).leaf)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def claim_read_and_dispatched() -> Made:
    """A decision reads that the first call with its key is done, and dispatches again."""
    log, agent = begun()
    first = first_call(log, agent)
    dispatched_again(log, agent, first, first.body["key"])
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def claim_read_and_dispatched_under_a_new_name() -> Made:
    """The same, and the key is named by another hash than the first time."""
    log, agent = begun()
    first = first_call(log, agent)
    dispatched_again(log, agent, first, log.attach(b"key-1"))
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def claim_not_read() -> Made:
    """A call with a key whose first call is done is refused as if there were none."""
    log, agent = begun()
    named = first_call(log, agent).body["key"]
    log.decide(agent, Verdict.DENY, Reason.ERR_BUDGET_EXHAUSTED, more={"key": named})
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def claim_of_another_principal() -> Made:
    """An agent's call is judged by another agent's key."""
    log, agent = begun()
    first = first_call(log, agent)
    read_claim(log, log.start("other-agent"), first, ClaimState.DONE)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def claim_of_another_key() -> Made:
    """A call is judged by the claim on another key."""
    log, agent = begun()
    first = first_call(log, agent)
    read_claim(log, agent, first, ClaimState.DONE, key=log.attach(b"key-2"))
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def claim_without_a_key() -> Made:
    """A call that brings no key is judged by the claim on one."""
    log, agent = begun()
    claim = Claim(first_call(log, agent).leaf, ClaimState.DONE, same_args=True)
    log.deny(agent, Reason.ERR_IDEMPOTENCY_MISMATCH, claim=claim)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def key_of_another_principal() -> Made:
    """Two agents' keys have one hash: the salt was used twice."""
    log, agent = begun()
    named = first_call(log, agent).body["key"]
    called(log, log.start("other-agent"), key=named)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def repeat_without_a_claim() -> Made:
    """A call without a key is answered with the outcome of an earlier one."""
    log, agent = begun()
    first = first_call(log, agent)
    more: Body = {"repeats": first.leaf}
    args = Digest(str(first.body["args_hash"]))
    log.decide(agent, Verdict.ALLOW, Reason.REPEATED, args=args, more=more, parents=[first.leaf])
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def repeat_that_read_other_arguments() -> Made:
    """A call is answered with an earlier outcome, and read that its arguments are not the same."""
    log, agent = begun()
    first = first_call(log, agent)
    other = log.facts(claim=Claim(first.leaf, ClaimState.DONE, same_args=False))
    log.repeat(agent, first, change=lambda body: body.update(facts=other))
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def repeat_of_another_key() -> Made:
    """A call is answered with the outcome of a call with another key."""
    log, agent = begun()
    first = first_call(log, agent)
    other = log.allow(agent, more={"key": log.attach(b"key-2")})
    log.settle(agent, other.leaf)
    log.repeat(agent, first, change=lambda body: body.update(repeats=other.leaf))
    return of(log)


# holds


@case(Exit.INVALID, Finding.FLOW_INVALID)
def repeat_while_held() -> Made:
    """A repeated call of a held tool is answered with the first one's outcome."""
    log, agent = begun()
    first = first_call(log, agent)
    log.drift(agent)
    log.repeat(agent, first)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def escalated_while_held() -> Made:
    """A person is asked about a call of a held tool."""
    log, agent = begun()
    log.drift(agent)
    log.escalate(agent)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def pin_drifted_and_not_held() -> Made:
    """An upstream tool was not the pinned one any more, was not held, and was called again."""
    log, agent = begun()
    log.settle(agent, log.allow(agent).leaf, Status.FAILED, more=DRIFTED_PIN)
    called(log, agent)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def drifted_late_and_not_held() -> Made:
    """An answer that came late broke its contract, the tool was not held, and was called again."""
    log, agent = begun()
    drifted_late(log, agent)
    called(log, agent)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def hold_without_drift() -> Made:
    """A tool that kept its contract is held."""
    log, agent = begun()
    log.hold(called(log, agent).leaf)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def hold_for_the_drift_of_another_tool() -> Made:
    """A tool is held for what another one did."""
    log, agent = begun()
    log.hold(called(log, agent, Status.DRIFT).leaf, "demo/sum")
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def hold_with_another_reason() -> Made:
    """A hold says another reason than the outcome that is its cause."""
    log, agent = begun()
    log.hold(called(log, agent, Status.DRIFT).leaf, reason=Reason.ERR_MCP_SCHEMA_DRIFT)
    return of(log)


@case(Exit.VALID)
def held_for_what_was_seen() -> Made:
    """The kernel sees another definition outside any call and holds the tool; a person releases it, and it is held again."""
    log, agent = begun()
    for _ in range(2):
        seen = log.see()
        log.deny(agent, Reason.ERR_TOOL_HALTED, hold=seen.leaf)
        log.release(seen.leaf)
    called(log, agent)
    return of(log)


@case(Exit.VALID)
def drifted_in_flight_of_what_was_seen() -> Made:
    """A call is on its way when the kernel sees that its tool changed; its outcome says so too, and the tool is held once."""
    log, agent = begun()
    intent = log.allow(agent)
    seen = log.see()
    log.settle(agent, intent.leaf, Status.FAILED, more={"reason": Reason.ERR_MCP_SCHEMA_DRIFT.value})
    log.release(seen.leaf)
    called(log, agent)
    return of(log)


@case(Exit.VALID)
def quarantined_server() -> Made:
    """The kernel quarantines a server whose instructions changed; a person releases it."""
    log, agent = begun()
    seen = log.see("server:demo", "instructions")
    log.deny(agent, Reason.ERR_FROZEN, frozen=seen.leaf)
    log.thaw(seen)
    called(log, agent)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def called_on_a_quarantined_server() -> Made:
    """A call goes to a server that the kernel quarantined."""
    log, agent = begun()
    log.see("server:demo", "instructions")
    called(log, agent)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def called_while_held_for_what_was_seen() -> Made:
    """A call goes to a tool that the kernel holds for what it saw."""
    log, agent = begun()
    log.see()
    called(log, agent)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def held_twice_for_what_was_seen() -> Made:
    """The kernel holds a tool for what it saw, and again."""
    log, _ = begun()
    log.see()
    log.see()
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def held_for_what_was_seen_and_not_for_the_drift() -> Made:
    """A tool drifts in a call, and the kernel holds it for something else."""
    log, agent = begun()
    called(log, agent, Status.DRIFT)
    log.see()
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def quarantined_twice() -> Made:
    """The kernel quarantines a server that a person froze."""
    log, _ = begun()
    log.freeze("server:demo")
    log.see("server:demo", "instructions")
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def held_again_for_the_same_drift() -> Made:
    """After a person released a tool, the kernel holds it again for what was released."""
    log, agent = begun()
    drifted = called(log, agent, Status.DRIFT)
    log.release(log.hold(drifted.leaf).leaf)
    log.hold(drifted.leaf)
    return of(log)


# budgets


@case(Exit.INVALID, Finding.FLOW_INVALID)
def reservation_never_settled() -> Made:
    """A call of a budget was reserved, and its outcome says nothing of it."""
    log, agent = begun()
    called(log, agent, reserved={"calls": 1})
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def answered_and_nothing_spent() -> Made:
    """A call that was answered gives its reservation back."""
    log, agent = begun()
    called(log, agent, reserved={"calls": 1}, spent={"calls": 0})
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def failed_and_spent() -> Made:
    """A call of which nothing was applied keeps its reservation."""
    log, agent = begun()
    called(log, agent, Status.FAILED, reserved={"calls": 1}, spent={"calls": 1})
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def late_and_spent_again() -> Made:
    """A late answer spends what its UNKNOWN has spent."""
    log, agent = begun()
    intent = log.allow(agent, more={"reserved": {"calls": 1}})
    for status in (Status.UNKNOWN, Status.LATE):
        log.settle(agent, intent.leaf, status, more={"spent": {"calls": 1}})
    return of(log)


# sessions and processes


@case(Exit.INVALID, Finding.FLOW_INVALID)
def statement_in_an_agents_session() -> Made:
    """A policy comes into force in an agent's session."""
    log, agent = begun()
    log.kernel = agent
    log.activate(b"forbid(principal, action, resource);")
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def hold_in_an_agents_session() -> Made:
    """A tool is held in an agent's session."""
    log, agent = begun()
    log.hold(called(log, agent, Status.DRIFT).leaf, session=agent)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def recovery_in_an_agents_session() -> Made:
    """An agent's session begins with a recovery."""
    log, agent = begun()
    log.kernel = agent
    log.recover(0)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def call_in_the_kernels_session() -> Made:
    """A call is decided in the kernel's own session."""
    log, _ = begun()
    called(log, log.kernel)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def session_before_the_kernels() -> Made:
    """An agent's session begins before the kernel's."""
    log = Log()
    log.start()
    log.start_kernel()
    log.recover(0)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def session_after_the_kernels_end() -> Made:
    """An agent's session begins after the kernel ended its own."""
    log, agent = begun()
    log.end(agent)
    log.end(log.kernel)
    log.start()
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def kernel_ends_before_the_others() -> Made:
    """The kernel ends its own session while an agent's is open."""
    log, _ = begun()
    log.end(log.kernel)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def session_outlives_its_process() -> Made:
    """A session goes on in a process that began after it."""
    log, agent = begun()
    log.start_kernel()
    log.recover(0)
    log.deny(agent)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def later_process_knows_the_outcome() -> Made:
    """A call was open when its process died, and the next one says that it is OK."""
    log, agent = begun()
    intent = log.allow(agent)
    log.start_kernel()
    log.recover(1)
    log.settle(log.kernel, intent.leaf)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def late_in_a_later_process() -> Made:
    """An answer comes late, to a process that never made the call."""
    log, agent = begun()
    intent = log.allow(agent)
    log.settle(agent, intent.leaf, Status.UNKNOWN)
    log.start_kernel()
    log.recover(0)
    log.settle(log.kernel, intent.leaf, Status.LATE)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def restart_without_recovery() -> Made:
    """A process concludes a call of the one before it, and does not say that it had to recover."""
    log, agent = begun()
    intent = log.allow(agent)
    log.start_kernel()
    log.settle(log.kernel, intent.leaf, Status.UNKNOWN)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def served_without_recovery() -> Made:
    """A process serves, and does not say that the one before it ended none of its sessions."""
    log, _ = begun()
    log.start_kernel()
    log.start()
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def served_before_concluded() -> Made:
    """A process serves before it said what became of a call that the one before it left open."""
    log, agent = begun()
    intent = log.allow(agent)
    log.start_kernel()
    log.recover(1)
    log.start()
    log.settle(log.kernel, intent.leaf, Status.UNKNOWN)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def recovered_after_other_things() -> Made:
    """A process changes the policy, and recovers what the one before it left open afterwards."""
    log, _ = begun()
    log.activate(b"forbid(principal, action, resource);")
    log.recover(0)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def outcome_in_the_kernels_session() -> Made:
    """The kernel tells the outcome of a call in its own session, while that of the call is open."""
    log, agent = begun()
    log.settle(log.kernel, log.allow(agent).leaf)
    return of(log)


# erasure


def erased(count: int = 2) -> tuple[Log, str, str]:
    """A call about a subject whose key was destroyed afterwards; the log, the session and the subject."""
    log, agent = begun()
    subject = log.fresh("subject").hex()[:32]
    called(log, agent, subject=subject)
    log.erase(subject, count)
    return log, agent, subject


@case(Exit.VALID)
def subject_erased() -> Made:
    """What was kept about a subject is withheld for good; they come back under another id, and others are untouched."""
    log, agent, _ = erased()
    gone = set(log.attachments)
    called(log, agent, subject=log.fresh("subject").hex()[:32])
    called(log, agent)
    for name in gone:
        del log.attachments[name]
    return of(log, log.pack(withhold=False))


@case(Exit.VALID)
def subject_of_no_receipt_erased() -> Made:
    """A subject that no caller named, as the principal of a session is one, is in no receipt but that of its erasure."""
    log, agent = begun()
    called(log, agent)
    log.erase(log.fresh("subject").hex()[:32], 2)
    called(log, agent)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def called_after_erasure() -> Made:
    """A call is about a subject whose key was destroyed before."""
    log, agent, subject = erased()
    called(log, agent, subject=subject)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def denied_after_erasure() -> Made:
    """A denial is about a subject whose key was destroyed before: it could not have been kept either."""
    log, agent, subject = erased()
    log.decide(agent, Verdict.DENY, Reason.ERR_POLICY_DENY, more={"subject": subject})
    return of(log)


@case(Exit.INVALID, Finding.APPROVAL_INVALID)
def subject_erased_twice() -> Made:
    """A person erases a subject that was erased before: nothing was there any more."""
    log, _, subject = erased()
    log.erase(subject, 0)
    return of(log)


@case(Exit.INVALID, Finding.APPROVAL_REUSED)
def erasure_used_twice() -> Made:
    """The same signed erasure takes effect twice: its nonce was taken, and that is the one finding."""
    log, agent = begun()
    subject = log.fresh("subject").hex()[:32]
    called(log, agent, subject=subject)
    for _ in range(2):
        log.erase(subject, 2, nonce="5b" * 16)
    return of(log)


@case(Exit.INVALID, Finding.KEY_ROLE)
def erasure_by_a_machine() -> Made:
    """The kernel's own key signs an erasure."""
    log, agent = begun()
    subject = log.fresh("subject").hex()[:32]
    called(log, agent, subject=subject)
    log.erase(subject, 2, signer=log.deployment.execution)
    return of(log)


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def subject_of_another_form() -> Made:
    """A decision names its subject by a name, and not by an id."""
    log, agent = begun()
    denied = log.deny(agent)
    body: Body = {**denied.body, "subject": "customer-4711"}
    return of(log, relined(log, [*log.lines[:-1], seal(body, [log.deployment.execution]).line]))


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def subject_of_an_unread_request() -> Made:
    """A request that could not be read names a subject: nobody can have read it there."""
    log, agent = begun()
    denied = log.deny_raw(agent)
    body: Body = {**denied.body, "subject": "5b" * 16}
    return of(log, relined(log, [*log.lines[:-1], seal(body, [log.deployment.execution]).line]))


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def erasure_without_a_count() -> Made:
    """A signed erasure does not say how much becomes unreadable."""
    log, _, _ = erased()
    kept = log.receipts[-1].body
    statement: Body = {**kept["statement"]["body"]}  # type: ignore[call-overload,dict-item,index]
    del statement["count"]
    inner = seal(statement, [log.deployment.approval]).to_json()
    return of(log, relined(log, [*log.lines[:-1], seal({**kept, "statement": inner}, [log.deployment.execution]).line]))
