"""Cases about receipts, their chains and their story: V4 to V11, V13, V15.

Where it is not an edit, an insider with the real keys wrote it.
"""

from collections.abc import Callable

from helm_ai_kernel.tcb import checkpoint
from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.decision import Claim, ClaimState, Status, Verdict
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.digest import text as digest_text
from helm_ai_kernel.tcb.envelope import Record, seal
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.keys import Purpose
from helm_ai_kernel.tcb.receipt import Kind, Receipt
from helm_ai_kernel.tcb.statement import Change, StatementKind
from pack_case import Made, case, of
from packs import AT, Body, Deployment, Log, edited, key, relined, seed, short, story


def begun() -> tuple[Log, str]:
    """A log with a policy in force and an agent's session."""
    log = Log()
    log.start_kernel()
    log.activate()
    return log, log.start()


def sets(**fields: object) -> Callable[[Body], None]:
    return lambda body: body.update(fields)  # type: ignore[arg-type]


def read_claim(log: Log, session: str, first: Receipt, state: ClaimState, *, key: Digest | None = None) -> Receipt:
    """A denial that read the claim of `first` on this key (its own)."""
    facts = {"claim": Claim(first.leaf, state, same_args=False)}
    more: Body = {"key": key or first.body["key"]}
    return log.decide(session, Verdict.DENY, Reason.ERR_IDEMPOTENCY_MISMATCH, facts=facts, more=more)


def replaced(log: Log, index: int, line: bytes) -> list[bytes]:
    return [*log.lines[:index], line, *log.lines[index + 1 :]]


# VALID


@case(Exit.VALID)
def answer_after_unknown() -> Made:
    """An answer came after its outcome was recorded as UNKNOWN; with it, everything is resolved."""
    log, agent = begun()
    intent = log.allow(agent)
    log.settle(agent, intent.leaf, Status.UNKNOWN)
    log.settle(agent, intent.leaf, Status.LATE)
    return of(log, require_resolved=True)


@case(Exit.VALID)
def signed_by_the_root() -> Made:
    """The root key itself signs a policy into force."""
    log = Log()
    log.start_kernel()
    log.activate(signer=log.deployment.root)
    return of(log)


@case(Exit.VALID)
def interleaved_sessions() -> Made:
    """Two sessions whose receipts alternate in the log."""
    log, one = begun()
    two = log.start("other-agent")
    first, second = log.allow(one), log.allow(two)
    log.settle(two, second.leaf)
    log.settle(one, first.leaf)
    return of(log)


@case(Exit.VALID)
def claim_of_an_open_call() -> Made:
    """A call with a key that is in flight is refused, and the fact that it is can be seen in the log."""
    log, agent = begun()
    first = log.allow(agent, more={"key": log.attach(b"key-1")})
    read_claim(log, agent, first, ClaimState.OPEN)
    log.settle(agent, first.leaf)
    return of(log)


@case(Exit.VALID)
def failed_call() -> Made:
    """A call of which the connector proves that nothing was applied."""
    log, agent = begun()
    log.settle(agent, log.allow(agent).leaf, Status.FAILED, more={"reason": Reason.ERR_CONNECTOR_FAILED.value})
    return of(log)


@case(Exit.VALID)
def policy_and_catalogue_change() -> Made:
    """A second policy comes into force, then another catalogue with a third; decisions name the one of their time."""
    log, agent = begun()
    log.deny(agent)
    log.activate(b"forbid(principal, action, resource);")
    log.deny(agent)
    log.activate(tools=["add"])
    log.deny(agent)
    return of(log)


# V4


@case(Exit.INVALID, Finding.NON_CANONICAL, Finding.INCLUSION_FAIL)
def line_not_canonical() -> Made:
    """A space in a receipt's line."""
    log = short()
    return of(log, relined(log, replaced(log, 3, log.lines[3].replace(b'"v":1', b'"v": 1')), log.checkpoint()))


@case(Exit.INVALID, Finding.PACK_MALFORMED, Finding.INCLUSION_FAIL)
def line_with_a_key_twice() -> Made:
    """A key occurs twice, the second time through an escape."""
    log = short()
    line = log.lines[3].replace(b'"seq":1,', b'"seq":1,"s\\u0065q":2,')
    return of(log, relined(log, replaced(log, 3, line), log.checkpoint()))


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def receipt_without_a_field() -> Made:
    """A signed decision without its facts."""
    log, agent = begun()
    lines = [*log.lines, signed(log, agent, Kind.DECISION, {"verdict": "DENY", "reason": "ERR_POLICY_DENY"})]
    return of(log, relined(log, lines))


@case(Exit.UNSUPPORTED, Finding.UNSUPPORTED)
def receipt_of_an_unknown_kind() -> Made:
    """A signed receipt of a kind that a later version may have."""
    log, agent = begun()
    body = template(log, agent, Kind.HOLD) | {"kind": "erasure"}
    return of(log, relined(log, [*log.lines, seal(body, [log.deployment.execution]).line]))


@case(Exit.UNSUPPORTED, Finding.UNSUPPORTED)
def receipt_of_version_2() -> Made:
    """A signed receipt of a later version."""
    log, agent = begun()
    body = template(log, agent, Kind.HOLD) | {"v": 2}
    return of(log, relined(log, [*log.lines, seal(body, [log.deployment.execution]).line]))


@case(Exit.UNSUPPORTED, Finding.UNSUPPORTED)
def session_event_unknown() -> Made:
    """A signed receipt of a session with an event that a later version may have."""
    log, agent = begun()
    body = template(log, agent, Kind.SESSION) | {"event": "pause"}
    return of(log, relined(log, [*log.lines, seal(body, [log.deployment.execution]).line]))


def template(log: Log, session: str, kind: Kind) -> Body:
    """The common fields of the next receipt of that session."""
    trust = log.deployment.registry
    seq, prev = log.heads[session]
    body: Body = {"v": 1, "kind": kind.value, "log": log.deployment.origin, "session": session, "seq": seq + 1, "prev": prev}
    return body | {"at": AT, "parents": [], "trust": {"size": trust.size, "head": trust.head}, "build": {"version": "0"}}


def signed(log: Log, session: str, kind: Kind, content: Body) -> bytes:
    """A line that the kernel would refuse to write."""
    return seal(template(log, session, kind) | content, [log.deployment.execution]).line


# V5


@case(Exit.INVALID, Finding.SIG_INVALID, Finding.INCLUSION_FAIL)
def receipt_edited() -> Made:
    """Somebody without a key changed how a session ended."""
    log = short()
    return of(log, relined(log, replaced(log, 5, edited(log.lines[5], sets(reason="idle"))), log.checkpoint()))


@case(
    Exit.INVALID,
    Finding.SIG_INVALID,
    Finding.INCLUSION_FAIL,
    Finding.CHAIN_GAP,
    Finding.DAG_DANGLING,
    Finding.ORPHAN_OUTCOME,
    Finding.OPEN_INTENT,
)
def verdict_edited() -> Made:
    """Somebody without a key changed the time of a decision: all that leans on it falls, too."""
    log = short()
    return of(log, relined(log, replaced(log, 3, edited(log.lines[3], sets(at=AT.replace("05", "06")))), log.checkpoint()))


@case(Exit.INVALID, Finding.KEY_UNKNOWN)
def receipt_by_a_stranger() -> Made:
    """The whole log is signed with a key that the registry does not have."""
    log = Log()
    log.deployment.execution = key("mallet", Purpose.EXECUTION)
    log.start_kernel()
    return of(log)


@case(Exit.INVALID, Finding.KEY_ROLE)
def receipt_by_an_approver() -> Made:
    """A receipt is signed with an approval key."""
    log, agent = begun()
    log.decide(agent, Verdict.DENY, Reason.ERR_POLICY_DENY, signer=log.deployment.approval)
    return of(log)


@case(Exit.INVALID, Finding.SIG_INVALID)
def receipt_with_two_signers() -> Made:
    """A receipt carries a second signature, by an approver, which is valid."""
    log, agent = begun()
    body = dict(Receipt.from_bytes(log.deny(agent).line).body)
    both = [log.deployment.execution, log.deployment.approval]
    return of(log, relined(log, [*log.lines[:-1], seal(body, both).line]))


@case(Exit.INVALID, Finding.KEY_UNKNOWN)
def receipt_before_its_key() -> Made:
    """A receipt relies on a registry that did not have its key yet."""
    log = Log()
    earlier = log.deployment.registry
    trust: Body = {"size": 2, "head": earlier.head_at(2)}
    log.start("kernel", "kernel", change=sets(trust=trust, prev=trust["head"]))
    return of(log)


# V6


@case(Exit.INVALID, Finding.DOMAIN_MISMATCH)
def receipt_of_another_log() -> Made:
    """A receipt says that it belongs to another log of the same deployment."""
    log, agent = begun()
    log.decide(agent, Verdict.DENY, Reason.ERR_POLICY_DENY, change=sets(log=log.deployment.registry.deployment + "/" + "0" * 16))
    return of(log)


def with_second_log() -> tuple[Log, str]:
    """A log whose deployment has a second one; returns that one's origin. The execution key is now the second log's."""
    log, _ = begun()
    origin = log.deployment.registry.deployment + "/" + "0" * 16
    secret = key("second log's execution", Purpose.EXECUTION)
    log.deployment.enrol(secret, "kernel", origin)
    log.deployment.execution = secret
    return log, origin


@case(Exit.INVALID, Finding.DOMAIN_MISMATCH)
def receipt_by_the_key_of_another_log() -> Made:
    """A receipt of this log is signed with the key that the registry names for another one."""
    log, _ = with_second_log()
    log.start()
    return of(log)


@case(Exit.INVALID, Finding.DOMAIN_MISMATCH)
def receipt_from_another_log() -> Made:
    """A genuine receipt of another log of the deployment stands in this one."""
    log, origin = with_second_log()
    log.start(change=sets(log=origin))
    return of(log)


@case(Exit.INVALID, Finding.DOMAIN_MISMATCH)
def log_of_another_deployment() -> Made:
    """Keys that the root named for a log whose origin is not in its deployment."""
    deployment = Deployment()
    deployment.origin = "example.com/elsewhere/0123456789abcdef"
    for purpose in (Purpose.EXECUTION, Purpose.LOG):
        secret = key(f"elsewhere {purpose}", purpose)
        deployment.enrol(secret, "kernel", deployment.origin)
        setattr(deployment, purpose.value, secret)
    log = Log(deployment)
    log.start_kernel()
    return of(log)


@case(Exit.INVALID, Finding.DOMAIN_MISMATCH)
def checkpoint_of_another_log() -> Made:
    """The checkpoint in the pack is of another log."""
    log = short()
    origin = log.deployment.registry.deployment + "/" + "0" * 16
    return of(log, relined(log, log.lines, checkpoint.sign(origin, len(log.lines), log.root(), log.deployment.log).note))


# V7


@case(Exit.INVALID, Finding.CHAIN_GAP, Finding.INCLUSION_FAIL, Finding.TRUNCATED)
def receipt_removed() -> Made:
    """Somebody without a key took out a denial."""
    log, agent = begun()
    log.deny(agent)
    log.end(agent)
    return of(log, relined(log, [*log.lines[:3], *log.lines[4:]], log.checkpoint(), withheld=0))


@case(Exit.INVALID, Finding.CHAIN_GAP)
def receipt_removed_by_an_insider() -> Made:
    """The same, and the real log key signs the tree of what is left."""
    log, agent = begun()
    log.deny(agent)
    log.end(agent)
    return of(log, relined(log, [*log.lines[:3], *log.lines[4:]], withheld=0))


@case(Exit.INVALID, Finding.CHAIN_ORDER, Finding.INCLUSION_FAIL)
def receipts_swapped() -> Made:
    """Two receipts of a session are in the wrong order."""
    log, agent = begun()
    log.deny(agent)
    log.deny(agent)
    log.deny(agent)
    lines = [*log.lines[:3], log.lines[4], log.lines[3], log.lines[5]]
    return of(log, relined(log, lines, log.checkpoint()))


@case(Exit.INVALID, Finding.CHAIN_FORK)
def session_forked() -> Made:
    """Two receipts, both signed, follow the same one: two copies of the kernel ran."""
    log, agent = begun()
    head = log.heads[agent]
    log.deny(agent)
    log.heads[agent] = head
    log.deny(agent)
    return of(log)


@case(Exit.INVALID, Finding.CHAIN_FORK)
def session_forked_early() -> Made:
    """The second branch begins further back."""
    log, agent = begun()
    head = log.heads[agent]
    log.deny(agent)
    log.deny(agent)
    log.heads[agent] = head
    log.deny(agent)
    return of(log)


@case(Exit.INVALID, Finding.LAMPORT_EQUAL)
def clock_stands_still() -> Made:
    """Two receipts of a session have the same number."""
    log, agent = begun()
    log.deny(agent)
    log.decide(agent, Verdict.DENY, Reason.ERR_POLICY_DENY, change=sets(seq=1))
    return of(log)


@case(Exit.INVALID, Finding.LAMPORT_REGRESSION)
def clock_goes_back() -> Made:
    """A receipt has a smaller number than the one that it follows."""
    log, agent = begun()
    log.deny(agent)
    log.deny(agent)
    log.decide(agent, Verdict.DENY, Reason.ERR_POLICY_DENY, change=sets(seq=1))
    return of(log)


@case(Exit.INVALID, Finding.CHAIN_GAP)
def clock_jumps() -> Made:
    """A number is left out, and the hashes fit."""
    log, agent = begun()
    log.decide(agent, Verdict.DENY, Reason.ERR_POLICY_DENY, change=sets(seq=2))
    return of(log)


@case(Exit.INVALID, Finding.DUPLICATE)
def receipt_twice() -> Made:
    """The same line stands twice in the log."""
    log, agent = begun()
    log.deny(agent)
    return of(log, relined(log, [*log.lines, log.lines[-1]]))


@case(Exit.INVALID, Finding.SESSION_DUPLICATE)
def session_id_twice() -> Made:
    """A second session has the id of an earlier one."""
    log, agent = begun()
    log.end(agent)
    del log.heads[agent]
    content: Body = {"event": "start", "principal": "agent", "door": "mcp-http", "client": None}
    log.append(agent, Kind.SESSION, {**content, "policy": log.policy, "catalog": log.catalog})
    return of(log)


@case(Exit.INVALID, Finding.CHAIN_GAP)
def session_without_start() -> Made:
    """A session's start was taken out by an insider."""
    log, agent = begun()
    log.deny(agent)
    return of(log, relined(log, [*log.lines[:2], log.lines[3]]))


@case(Exit.INVALID, Finding.CHAIN_ORDER)
def session_begins_with_a_call() -> Made:
    """The first receipt of a session is a decision."""
    log, _ = begun()
    log.decide("0" * 32, Verdict.DENY, Reason.ERR_POLICY_DENY)
    return of(log)


@case(Exit.INVALID, Finding.CHAIN_GAP)
def session_begins_elsewhere() -> Made:
    """A session's start does not name the registry head that it relies on."""
    log = Log()
    log.start("kernel", "kernel", change=sets(prev=digest(b"elsewhere")))
    return of(log)


@case(Exit.INVALID, Finding.CHAIN_ORDER)
def receipt_after_the_end() -> Made:
    """A session goes on after its end."""
    log, agent = begun()
    log.end(agent)
    log.deny(agent)
    return of(log)


@case(Exit.INVALID, Finding.CHAIN_GAP)
def session_counts_wrong() -> Made:
    """A session's end counts a receipt more than there was."""
    log, agent = begun()
    log.end(agent, change=sets(count=2))
    return of(log)


# V8


@case(Exit.INVALID, Finding.INCLUSION_FAIL)
def recovery_of_another_history() -> Made:
    """A start says that it found another log than the one that it is in."""
    log, _ = begun()
    log.start_kernel()
    log.recover(0, change=sets(root=digest_text(seed("another history"))))
    return of(log)


# V9


@case(Exit.INVALID, Finding.DAG_DANGLING)
def cause_not_here() -> Made:
    """A decision names a cause that is not in the log."""
    log, agent = begun()
    log.decide(agent, Verdict.DENY, Reason.ERR_POLICY_DENY, parents=[digest(b"not here")])
    return of(log)


@case(Exit.INVALID, Finding.CHAIN_ORDER)
def cause_comes_later() -> Made:
    """A decision names as its cause a receipt of another session that stands behind it in the log."""
    log, agent = begun()
    later = log.start()
    cause = log.deny(later)
    effect = log.decide(agent, Verdict.DENY, Reason.ERR_POLICY_DENY, parents=[cause.leaf])
    return of(log, relined(log, [*log.lines[:4], effect.line, cause.line]))


# V10


@case(Exit.INCOMPLETE, Finding.OPEN_INTENT)
def outcome_missing() -> Made:
    """The log ends while a call runs."""
    log, agent = begun()
    log.allow(agent)
    return of(log)


@case(Exit.INVALID, Finding.ORPHAN_OUTCOME)
def outcome_of_a_denial() -> Made:
    """A denied call has an outcome."""
    log, agent = begun()
    log.settle(agent, log.deny(agent).leaf)
    return of(log)


@case(Exit.INVALID, Finding.DOUBLE_OUTCOME)
def outcome_twice() -> Made:
    """A call ended twice."""
    log, agent = begun()
    intent = log.allow(agent)
    log.settle(agent, intent.leaf)
    log.settle(agent, intent.leaf, Status.FAILED)
    return of(log)


@case(Exit.INVALID, Finding.DOUBLE_OUTCOME)
def late_twice() -> Made:
    """Two late answers to one call."""
    log, agent = begun()
    intent = log.allow(agent)
    for status in (Status.UNKNOWN, Status.LATE, Status.LATE):
        log.settle(agent, intent.leaf, status)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def late_without_unknown() -> Made:
    """A late answer where nothing was recorded before."""
    log, agent = begun()
    log.settle(agent, log.allow(agent).leaf, Status.LATE)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def outcome_without_its_cause() -> Made:
    """An outcome names its decision, and not among its parents."""
    log, agent = begun()
    log.settle(agent, log.allow(agent).leaf, parents=[])
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def outcome_in_a_strange_session() -> Made:
    """One agent's call ends in another agent's session."""
    log, agent = begun()
    log.settle(log.start("other-agent"), log.allow(agent).leaf)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def spent_more_than_reserved() -> Made:
    """An outcome spends two calls of a budget where one was reserved."""
    log, agent = begun()
    log.settle(agent, log.allow(agent, more={"reserved": {"calls": 1}}).leaf, more={"spent": {"calls": 2}})
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def spent_from_another_budget() -> Made:
    """An outcome spends of a budget of which nothing was reserved."""
    log, agent = begun()
    log.settle(agent, log.allow(agent, more={"reserved": {"calls": 1}}).leaf, more={"spent": {"money": 1}})
    return of(log)


def first_call(log: Log, agent: str, status: Status = Status.OK) -> Receipt:
    """A call with an idempotency key, and its outcome."""
    first = log.allow(agent, more={"key": log.attach(b"key-1")})
    log.settle(agent, first.leaf, status)
    return first


@case(Exit.INVALID, Finding.FLOW_INVALID)
def repeat_with_other_arguments() -> Made:
    """A repeat names a call with other arguments."""
    log, agent = begun()
    log.repeat(agent, first_call(log, agent), change=sets(args_hash=log.attach(b"{}")))
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def repeat_by_another_principal() -> Made:
    """An agent is answered with the outcome of another agent's call."""
    log, agent = begun()
    first = first_call(log, agent)
    log.repeat(log.start("other-agent"), first)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def repeat_of_a_denial() -> Made:
    """A repeat names a decision that dispatched nothing."""
    log, agent = begun()
    denied = log.decide(agent, Verdict.DENY, Reason.ERR_POLICY_DENY, more={"key": log.attach(b"key-1")})
    log.repeat(agent, denied)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def repeat_of_the_unknown() -> Made:
    """A repeat is answered with an outcome that nobody knows."""
    log, agent = begun()
    log.repeat(agent, first_call(log, agent, Status.UNKNOWN), state=ClaimState.UNKNOWN)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def claim_that_the_log_contradicts() -> Made:
    """A decision reads that an earlier call is open, and its outcome stands in the log."""
    log, agent = begun()
    read_claim(log, agent, first_call(log, agent), ClaimState.OPEN)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def called_while_held() -> Made:
    """A tool broke its contract and was held, and the next call of it was allowed."""
    log, agent = begun()
    log.drift(agent)
    log.settle(agent, log.allow(agent).leaf)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def drifted_and_not_held() -> Made:
    """A tool broke its contract, was not held, and was called again."""
    log, agent = begun()
    log.settle(agent, log.allow(agent).leaf, Status.DRIFT)
    log.settle(agent, log.allow(agent).leaf)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def hold_of_another_tool() -> Made:
    """A decision reads a hold that is on another tool."""
    log, agent = begun()
    hold = log.drift(agent, "demo/sum")
    log.deny(agent, Reason.ERR_TOOL_HALTED, hold=hold.leaf)
    return of(log)


@case(Exit.INVALID, Finding.DAG_DANGLING, Finding.FLOW_INVALID)
def hold_without_cause() -> Made:
    """A hold names a cause that is not in the log."""
    log, _ = begun()
    log.hold(digest(b"not here"))
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def recovery_counts_wrong() -> Made:
    """A start says that it found nothing open, and a call was."""
    log, agent = begun()
    intent = log.allow(agent)
    log.start_kernel()
    log.recover(0)
    log.settle(log.kernel, intent.leaf, Status.UNKNOWN)
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def decided_by_an_old_policy() -> Made:
    """After a new policy came into force, a decision names the one before it."""
    log, agent = begun()
    old = log.policy
    log.activate(b"forbid(principal, action, resource);")
    log.decide(agent, Verdict.DENY, Reason.ERR_POLICY_DENY, change=sets(policy=old))
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def session_with_an_old_catalogue() -> Made:
    """After another catalogue came into force, a session starts with the one before it."""
    log, _ = begun()
    old = log.catalog
    log.activate(tools=["add"])
    log.start(change=sets(catalog=old))
    return of(log)


@case(Exit.INVALID, Finding.FLOW_INVALID)
def allowed_before_any_policy() -> Made:
    """A call is allowed before anybody signed a policy."""
    log = Log()
    log.start_kernel()
    agent = log.start()
    log.settle(agent, log.allow(agent).leaf)
    return of(log)


# V11


@case(Exit.INVALID, Finding.KEY_ROLE)
def statement_by_the_kernel() -> Made:
    """The kernel's own key signs a policy into force."""
    log = Log()
    log.start_kernel()
    log.activate(signer=log.deployment.execution)
    return of(log)


@case(Exit.INVALID, Finding.KEY_UNKNOWN)
def statement_by_a_stranger() -> Made:
    """Somebody whom the registry does not know signs a policy into force."""
    log = Log()
    log.start_kernel()
    log.activate(signer=key("mallet", Purpose.APPROVAL))
    return of(log)


@case(Exit.INVALID, Finding.SIG_INVALID)
def statement_edited() -> Made:
    """The kernel changed what a person signed, and signed its receipt."""
    log, agent = begun()
    hold = log.drift(agent)
    other = log.drift(agent, "demo/sum")
    inner = Record.from_bytes(log.release(hold.leaf).line).body["statement"]
    assert isinstance(inner, dict) and isinstance(inner["body"], dict)
    del log.lines[-1]
    log.heads[log.kernel] = (other.seq, other.leaf)
    log.append(
        log.kernel, Kind.STATEMENT, {"statement": {**inner, "body": {**inner["body"], "tool": "demo/sum", "hold": other.leaf}}}
    )
    return of(log)


@case(Exit.INVALID, Finding.DOMAIN_MISMATCH)
def statement_for_another_log() -> Made:
    """A person signed this for another log of the same deployment."""
    log = Log()
    log.start_kernel()
    log.activate(log=log.deployment.registry.deployment + "/" + "0" * 16)
    return of(log)


@case(Exit.INVALID, Finding.APPROVAL_REUSED)
def statement_used_twice() -> Made:
    """One signed release opens the same tool a second time."""
    log, agent = begun()
    hold = log.drift(agent)
    statement = log.release(hold.leaf).body["statement"]
    log.append(log.kernel, Kind.STATEMENT, {"statement": statement})
    return of(log)


@case(Exit.INVALID, Finding.APPROVAL_INVALID)
def statement_for_another_state() -> Made:
    """A person signed a change from a policy that was not in force."""
    log, _ = begun()
    log.activate(b"forbid(principal, action, resource);", before=Change(digest(b"another policy"), digest(b"")))
    return of(log)


@case(Exit.INVALID, Finding.APPROVAL_INVALID)
def activation_with_another_catalogue() -> Made:
    """A statement that only activates a policy changes the catalogue, too."""
    log, _ = begun()
    log.activate(tools=["add"], kind=StatementKind.ACTIVATION)
    return of(log)


@case(Exit.INVALID, Finding.APPROVAL_INVALID)
def policy_of_another_catalogue() -> Made:
    """The policy that comes into force is bound to another catalogue than the one that does."""
    log, _ = begun()
    log.activate(tools=["add"], bound=log.catalog)
    return of(log)


@case(Exit.INVALID, Finding.APPROVAL_INVALID)
def release_of_what_is_not_held() -> Made:
    """A release names a hold of another tool."""
    log, agent = begun()
    hold = log.drift(agent)
    log.release(hold.leaf, "demo/sum")
    return of(log)


# V13


@case(Exit.INVALID, Finding.ROLLBACK)
def relies_on_less_than_before() -> Made:
    """A receipt relies on an earlier registry than one before it: what was revoked since would count again."""
    log = Log()
    registry = log.deployment.registry
    before: Body = {"size": registry.size, "head": registry.head}
    log.deployment.enrol(key("second execution", Purpose.EXECUTION), "kernel", log.deployment.origin)
    log.start_kernel()
    log.start(change=sets(trust=before, prev=before["head"]))
    return of(log)


@case(Exit.INVALID, Finding.REGISTRY_INVALID)
def relies_on_another_registry() -> Made:
    """A receipt relies on a registry with another head at that size."""
    log = Log()
    head = digest(b"another registry")
    log.start("kernel", "kernel", change=sets(trust={"size": log.deployment.registry.size, "head": head}, prev=head))
    return of(log)


# V15, and the words of the report


@case(Exit.INCOMPLETE, Finding.OPEN_INTENT)
def outcome_unknown_and_not_resolved() -> Made:
    """Whether the call had its effect is not known, and the verifier asked for that."""
    log = story()
    return of(log, require_resolved=True)


@case(Exit.INVALID, Finding.DOMAIN_MISMATCH)
def report_spoof() -> Made:
    """The name of a log tries to rewrite the reader's terminal and to say VALID."""
    log, agent = begun()
    spoof = "\x1b[2J\x1b[32mVALID (exit 0)\u202e\r\n\u200b\\"
    log.decide(agent, Verdict.DENY, Reason.ERR_POLICY_DENY, change=sets(log=spoof))
    return of(log)
