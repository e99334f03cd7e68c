"""Cases about calls that the client acts on (V10): what it may report, how often, who may, and why a call may go on."""

from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.decision import ClaimState, Status, Verdict
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.interim import Interim
from helm_ai_kernel.tcb.receipt import Receipt
from pack_case import Made, case, of
from pack_cases_approval import remade
from pack_cases_log import begun, read_claim, sets
from packs import Body, Log, after

CLIENT: Body = {"effect_by": "client"}
NONE: Body = {"effect_by": "none"}
INVALID = Exit.INVALID


def reported(log: Log, agent: str, **how: object) -> Receipt:
    """A question, and what the client answered."""
    return log.settle(agent, log.offer(agent, **how).leaf, Status.REPORTED)  # type: ignore[arg-type]


def broken(log: Log) -> Body:
    return {"output_hash": log.attach(b'"three"'), "reason": Reason.ERR_CONNECTOR_CONTRACT_DRIFT.value}


def without_contract(body: Body) -> None:
    del body["contract"]


def going_on(log: Log, session: str, *causes: Digest, **how: object) -> Receipt:
    """A call that names these as its causes."""
    more: Body = {"deadline_ms": 1, "rules": ["allow-all"]}
    return log.decide(session, Verdict.ALLOW, more=more, parents=causes, **how)  # type: ignore[arg-type]


def keyed(log: Log) -> Body:
    return {"key": log.attach(b"k")}


# VALID: offers and reports


@case(Exit.VALID)
def client_never_reports() -> Made:
    """The client acts on a verdict and says nothing of it: that is no gap, also where every outcome is asked for."""
    log, agent = begun()
    log.offer(agent)
    log.end(agent)
    log.end(log.kernel)
    return of(log, require_resolved=True)


@case(Exit.VALID)
def client_reports() -> Made:
    """What the client acted on took a call from a budget and a key; its report keeps the contract, and its session has ended."""
    log, agent = begun()
    offer = log.offer(agent, more={**keyed(log), "reserved": {"calls": 1}})
    log.end(agent)
    log.settle(log.kernel, offer.leaf, Status.REPORTED, more={"spent": {"calls": 1}})
    log.repeat(log.start(), offer)
    return of(log)


@case(Exit.VALID)
def client_reports_what_breaks_the_contract() -> Made:
    """What a client tells of itself stops no tool: the next call of it goes."""
    log, agent = begun()
    log.settle(agent, log.offer(agent).leaf, Status.REPORTED, more=broken(log), change=without_contract)
    log.settle(agent, log.allow(agent).leaf)
    return of(log)


@case(Exit.VALID)
def client_reports_that_it_failed() -> Made:
    """The client says that nothing came of it: it is no proof, and nothing of its budget comes back."""
    log, agent = begun()
    offer = log.offer(agent, more={"reserved": {"calls": 1}})
    more: Body = {"reason": Reason.ERR_CONNECTOR_FAILED.value, "sub": "declined", "spent": {"calls": 1}}
    log.settle(
        agent, offer.leaf, Status.REPORTED, more=more, change=lambda body: [body.pop(one) for one in ("contract", "output_hash")]
    )
    return of(log)


@case(Exit.VALID)
def client_dies_with_the_process() -> Made:
    """A process died while its client acted: the next one has no intent to conclude, and the key stays claimed."""
    log, agent = begun()
    offer = log.offer(agent, more=keyed(log))
    log.start_kernel()
    log.recover(0)
    read_claim(log, log.start(), offer, ClaimState.OPEN)
    return of(log)


@case(Exit.VALID)
def client_goes_with_an_approval() -> Made:
    """A person approves that the client acts, and it does, once."""
    log, agent = begun()
    call = log.escalate(agent, more=CLIENT)
    log.poll(agent, call, more=CLIENT)
    log.approve(call)
    log.settle(agent, log.resume(agent, call, more=CLIENT).leaf, Status.REPORTED)
    return of(log)


@case(Exit.VALID)
def client_uses_a_grant() -> Made:
    """Of a grant for two calls the client takes one, and the kernel the other."""
    log, agent = begun()
    grant = log.grant(calls=2)
    log.use(agent, grant, more=CLIENT)
    log.settle(agent, log.use(agent, grant).leaf)
    return of(log)


@case(Exit.VALID)
def client_and_kernel_each_with_its_approval() -> Made:
    """The same call is held twice: for the client, and for the kernel. Each goes by its own approval."""
    log, agent = begun()
    first = log.escalate(agent, more=CLIENT)
    second = log.escalate(agent, more={"args_hash": first.body["args_hash"]})
    log.approve(first)
    log.approve(second)
    log.resume(agent, first, more=CLIENT)
    log.settle(agent, log.resume(agent, second).leaf)
    return of(log)


@case(Exit.VALID)
def goes_on_because_of_answers() -> Made:
    """A tool asked two questions of the client; the call that goes on names what was answered, and the outcome before."""
    log, agent = begun()
    before = log.settle(agent, log.allow(agent).leaf, more={"interim": Interim().next(b"one").next(b"two").to_json()})
    answers = [reported(log, agent) for _ in range(2)]
    other = log.start("agent", "http")
    log.settle(other, going_on(log, other, before.leaf, *(one.leaf for one in answers)).leaf)
    return of(log)


@case(Exit.VALID)
def part_of_what_a_client_did() -> Made:
    """A part with an offer and its report, and one with an offer alone, which is no gap."""
    log, agent = begun()
    reported(log, agent)
    log.offer(agent)
    return of(log, log.part(3, 4, 5))


# not VALID: offers and reports


@case(INVALID, Finding.DOUBLE_OUTCOME)
def reported_twice() -> Made:
    """A client reports a call twice."""
    log, agent = begun()
    offer = log.offer(agent)
    log.settle(agent, offer.leaf, Status.REPORTED)
    log.settle(agent, offer.leaf, Status.REPORTED)
    return of(log)


@case(INVALID, Finding.DOUBLE_OUTCOME)
def reported_twice_in_a_part() -> Made:
    """A client reports a call twice, and only that call is shown."""
    log, agent = begun()
    offer = log.offer(agent)
    log.settle(agent, offer.leaf, Status.REPORTED)
    log.settle(agent, offer.leaf, Status.REPORTED)
    return of(log, log.part(3, 4, 5))


@case(INVALID, Finding.FLOW_INVALID)
def reported_what_the_kernel_dispatched() -> Made:
    """A client reports what the kernel was to dispatch."""
    log, agent = begun()
    log.settle(agent, log.allow(agent).leaf, Status.REPORTED)
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def offer_that_ends_like_an_intent() -> Made:
    """The kernel says of what it did not dispatch that it is OK."""
    log, agent = begun()
    log.settle(agent, log.offer(agent).leaf, Status.OK)
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def offer_of_unknown_outcome() -> Made:
    """A start concludes what it never had to: an offer without a report is no open intent."""
    log, agent = begun()
    offer = log.offer(agent)
    log.start_kernel()
    log.recover(0)
    log.settle(log.kernel, offer.leaf, Status.UNKNOWN)
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def offer_counted_as_open() -> Made:
    """A start counts an offer among the open intents."""
    log, agent = begun()
    log.offer(agent)
    log.start_kernel()
    log.recover(1)
    return of(log)


@case(INVALID, Finding.ORPHAN_OUTCOME)
def reported_what_was_denied() -> Made:
    """A client reports a call that it was denied."""
    log, agent = begun()
    denied = log.decide(agent, Verdict.DENY, Reason.ERR_POLICY_DENY, more=CLIENT)
    log.settle(agent, denied.leaf, Status.REPORTED)
    return of(log)


@case(INVALID, Finding.ORPHAN_OUTCOME)
def reported_what_waits() -> Made:
    """A client reports a call that waits for a person."""
    log, agent = begun()
    log.settle(agent, log.escalate(agent, more=CLIENT).leaf, Status.REPORTED)
    return of(log)


@case(INVALID, Finding.ORPHAN_OUTCOME)
def reported_a_question() -> Made:
    """A client reports what was a question, and no call."""
    log, agent = begun()
    log.settle(agent, log.decide(agent, Verdict.ALLOW, more=NONE).leaf, Status.REPORTED)
    return of(log)


@case(INVALID, Finding.ORPHAN_OUTCOME)
def reported_a_repeat() -> Made:
    """A client reports a repeat, on which nobody acts."""
    log, agent = begun()
    offer = log.offer(agent, more=keyed(log))
    log.settle(agent, offer.leaf, Status.REPORTED)
    log.settle(agent, log.repeat(agent, offer).leaf, Status.REPORTED)
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def reported_to_the_next_process() -> Made:
    """A report that came behind a restart: that process gave no such verdict, and cannot know whose word it is."""
    log, agent = begun()
    offer = log.offer(agent)
    log.start_kernel()
    log.recover(0)
    log.settle(log.kernel, offer.leaf, Status.REPORTED)
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def reported_in_another_session() -> Made:
    """Somebody else's session tells what a client did, while its own is open."""
    log, agent = begun()
    offer = log.offer(agent)
    log.settle(log.start("other"), offer.leaf, Status.REPORTED)
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def reported_without_what_it_spent() -> Made:
    """A report gives back what its call had reserved."""
    log, agent = begun()
    offer = log.offer(agent, more={"reserved": {"calls": 1}})
    log.settle(agent, offer.leaf, Status.REPORTED, more={"spent": {"calls": 0}})
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def reported_and_held() -> Made:
    """A tool is held because of what a client told of itself."""
    log, agent = begun()
    told = log.settle(agent, log.offer(agent).leaf, Status.REPORTED, more=broken(log), change=without_contract)
    log.hold(told.leaf)
    return of(log)


@case(INVALID, Finding.PACK_MALFORMED)
def reported_without_a_word() -> Made:
    """A report that neither keeps its contract nor says why not."""
    log, agent = begun()
    reported(log, agent)
    return remade(log, without_contract)


@case(INVALID, Finding.PACK_MALFORMED)
def offer_with_a_deadline() -> Made:
    """The kernel waits for what it does not dispatch."""
    log, agent = begun()
    log.offer(agent)
    return remade(log, sets(deadline_ms=1))


@case(INVALID, Finding.PACK_MALFORMED)
def intent_by_the_client() -> Made:
    """An ALLOW with a deadline is said to be the client's."""
    log, agent = begun()
    log.allow(agent)
    return remade(log, sets(effect_by="client"))


# not VALID: keys and approvals, once for whoever acts


@case(INVALID, Finding.FLOW_INVALID)
def key_of_an_offer_dispatched() -> Made:
    """The kernel dispatches under a key under which the client acted."""
    log, agent = begun()
    offer = log.offer(agent, more=keyed(log))
    log.settle(agent, log.allow(agent, more={"key": offer.body["key"]}).leaf)
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def offer_repeated_by_the_kernel() -> Made:
    """A call of the kernel's is answered with what a client said of its own."""
    log, agent = begun()
    offer = log.offer(agent, more=keyed(log))
    log.settle(agent, offer.leaf, Status.REPORTED)
    log.repeat(agent, offer, change=sets(effect_by="kernel"))
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def dispatch_repeated_by_the_client() -> Made:
    """The client is told to go on as if it had acted on what the kernel dispatched."""
    log, agent = begun()
    first = log.allow(agent, more=keyed(log))
    log.settle(agent, first.leaf)
    log.repeat(agent, first, change=sets(effect_by="client"))
    return of(log)


@case(INVALID, Finding.APPROVAL_REUSED)
def approval_used_by_the_client_twice() -> Made:
    """The client acts twice on one approval."""
    log, agent = begun()
    call = log.escalate(agent, more=CLIENT)
    log.approve(call)
    held = log.held(call)
    log.resume(agent, call, more=CLIENT)
    log.resume(agent, call, more=CLIENT, held=held)
    return of(log)


@case(INVALID, Finding.APPROVAL_REUSED)
def approval_used_by_the_client_and_the_kernel() -> Made:
    """The client acts on an approval, and then the kernel dispatches by it."""
    log, agent = begun()
    call = log.escalate(agent, more=CLIENT)
    log.approve(call)
    held = log.held(call)
    log.resume(agent, call, more=CLIENT)
    log.settle(agent, log.resume(agent, call, held=held).leaf)
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def approval_for_the_kernel_used_by_the_client() -> Made:
    """A person approved that the kernel dispatches a call, and the client acts on it."""
    log, agent = begun()
    call = log.escalate(agent)
    log.approve(call)
    log.resume(agent, call, more=CLIENT)
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def approval_for_the_client_used_by_the_kernel() -> Made:
    """A person approved that the client acts, and the kernel dispatches the call."""
    log, agent = begun()
    call = log.escalate(agent, more=CLIENT)
    log.approve(call)
    log.settle(agent, log.resume(agent, call).leaf)
    return of(log)


@case(INVALID, Finding.TIMELOCK_SHORT)
def client_before_its_timelock() -> Made:
    """The client acts before the timelock of its approval is over."""
    log, agent = begun()
    call = log.escalate(agent, more=CLIENT, timelock_ms=1000)
    log.approve(call)
    log.resume(agent, call, more=CLIENT, clock=after(999))
    return of(log)


@case(INVALID, Finding.APPROVAL_INVALID)
def grant_used_up_by_the_client() -> Made:
    """A grant for one call: the client takes it, and the kernel takes it as well."""
    log, agent = begun()
    grant = log.grant(calls=1)
    read = log.granted(grant)
    log.use(agent, grant, more=CLIENT)
    log.settle(agent, log.use(agent, grant, read=read).leaf)
    return of(log)


# not VALID: interim output and causes


@case(INVALID, Finding.PACK_MALFORMED)
def interim_of_nothing() -> Made:
    """An outcome says that nothing was released, instead of saying nothing."""
    log, agent = begun()
    log.settle(agent, log.allow(agent).leaf)
    return remade(log, sets(interim=Interim().to_json()))


@case(INVALID, Finding.PACK_MALFORMED)
def interim_of_what_came_late() -> Made:
    """Something was released while an answer was late."""
    log, agent = begun()
    intent = log.allow(agent)
    log.settle(agent, intent.leaf, Status.UNKNOWN)
    log.settle(agent, intent.leaf, Status.LATE)
    return remade(log, sets(interim=Interim().next(b"one").to_json()))


@case(INVALID, Finding.DAG_DANGLING)
def goes_on_because_of_nothing() -> Made:
    """A call goes on because of what is nowhere in the log."""
    log, agent = begun()
    log.settle(agent, going_on(log, agent, digest(b"nothing")).leaf)
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def goes_on_because_of_anothers_answer() -> Made:
    """A call goes on because of what another principal's client was asked."""
    log, agent = begun()
    theirs = reported(log, log.start("other"))
    log.settle(agent, going_on(log, agent, theirs.leaf).leaf)
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def goes_on_because_of_anothers_unknown() -> Made:
    """A call names an outcome that the kernel told in its own session, of another principal's call."""
    log, agent = begun()
    theirs = log.allow(log.start("other"))
    log.start_kernel()
    log.recover(1)
    unknown = log.settle(log.kernel, theirs.leaf, Status.UNKNOWN)
    agent = log.start()
    log.settle(agent, going_on(log, agent, unknown.leaf).leaf)
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def goes_on_because_of_a_decision() -> Made:
    """A call goes on because of a verdict, of which nobody told what came."""
    log, agent = begun()
    log.settle(agent, going_on(log, agent, log.offer(agent).leaf).leaf)
    return of(log)


@case(INVALID, Finding.FLOW_INVALID)
def denied_because_of_anothers_answer() -> Made:
    """A denial names what another principal's client was asked."""
    log, agent = begun()
    theirs = reported(log, log.start("other"))
    log.decide(agent, Verdict.DENY, Reason.ERR_POLICY_DENY, parents=[theirs.leaf])
    return of(log)
