"""Deciding again: an honest log comes out as it went in; what a decision or an outcome says and does not follow is found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.desk import NOTHING, POLICY, PROTECTED, Desk, boundary, budgets, request, vectors
from executor.memory import MemoryHost, MemoryLog, run
from helm_ai_kernel.executor.boundary import Boundary
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.executor.host import Reply, ReplyKind
from helm_ai_kernel.executor.recover import recover
from helm_ai_kernel.executor.replay import Difference, ReplayReport, replay
from helm_ai_kernel.guardian.budget import DAY_MS, Budget, Per
from helm_ai_kernel.guardian.policy import Policy
from helm_ai_kernel.pep.catalog import EMPTY, entry, server_doc
from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.call import Call
from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Status
from helm_ai_kernel.tcb.digest import PREFIX, attachment_name, digest
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.receipt import Kind, Receipt
from packs import edited

Files = dict[str, bytes]
NARROW = boundary(POLICY + b'@id("no-echo") forbid (principal, action == Action::"desk/echo", resource);')


def call(host: MemoryHost, given: Mapping[str, Any], reply: str = '"done"', under: Boundary | None = None) -> Receipt:
    host.desk.reply = reply
    return run(execute(request(given), under or boundary(), host)).decision


def echo(text: str = "a", **more: str) -> dict[str, Any]:
    return {"tool": "desk/echo", "arguments": {"text": text}, **more}


@cache
def story() -> MemoryLog:
    """Every flow, a policy that changes, a crash and a restart."""
    log = MemoryLog((Budget("day", 6, Per.DAY, ("desk/echo",)),))
    host = MemoryHost(log, log.session("agent", "python"), Desk())
    for early in (echo(), {"request": "{"}):
        call(host, early, under=NOTHING)
    log.activate(boundary())
    for vector in vectors():
        if vector["flow"] not in ("refused_hold", "unary_drift", "unary_changed") and "by" not in vector["given"]:
            call(host, vector["given"], vector["given"].get("reply", '"done"'))
    call(host, echo(key="k1"))
    call(host, echo("b", key="k1"))
    call(host, {"tool": "desk/keyed", "arguments": {"text": "1e15"}})
    open_intent = execute(request(echo("c", key="k2")), boundary(), host)
    open_intent.send(None), open_intent.send(None)
    open_intent.close()
    run(recover(log, clean=log.begin()))
    host = MemoryHost(log, log.session("agent", "mcp-stdio"), Desk())
    call(host, echo("c", key="k2"))
    call(host, echo("d"))
    log.activate(NARROW)
    call(host, echo(), under=NARROW)
    call(host, {"tool": "desk/keyed", "arguments": {"text": "a"}, "key": "k"}, "7", NARROW)
    call(host, {"tool": "desk/keyed", "arguments": {"text": "a"}, "key": "l"}, under=NARROW)
    log.end()
    return log


def files(log: MemoryLog) -> Files:
    return dict(pack.read(log.pack()))


def changed(log: MemoryLog, receipt: Receipt, edit: Callable[[dict[str, Any]], object]) -> Files:
    """The pack with another body in that receipt, and nothing else: what an insider with the keys could have signed."""
    entries = files(log)
    lines = [one.line for one in log.receipts]
    lines[receipt.index] = edited(lines[receipt.index], edit)
    Receipt.from_bytes(lines[receipt.index])
    return {**entries, pack.RECEIPTS: pack.joined(lines)}


def the(log: MemoryLog, reason: Reason, **more: str) -> Receipt:
    """The first decision with that reason."""
    decisions = [receipt for receipt in log.receipts if receipt.kind is Kind.DECISION and receipt.reason is reason]
    return next(receipt for receipt in decisions if all(receipt.body.get(name) == value for name, value in more.items()))


def found(report: ReplayReport) -> set[tuple[int, str]]:
    return {(difference.index, difference.field) for difference in report.differs}


def test_every_decision_of_every_flow_is_reached_again() -> None:
    log = story()
    report = replay(files(log))
    assert report.differs == () and report.not_replayable == () and report.exit is Exit.VALID
    assert report.decisions == sum(receipt.kind is Kind.DECISION for receipt in log.receipts) > 15
    assert report.outcomes == sum("output_hash" in receipt.body for receipt in log.receipts) == 5
    reasons = {receipt.reason for receipt in log.receipts if receipt.kind is Kind.DECISION}
    assert len(reasons) >= 12, "the story has every kind of decision"


def test_the_same_pack_is_valid_for_the_checklist() -> None:
    log = story()
    report = verify(log.pack(), Question(genesis=log.registry.genesis))
    assert report.exit is Exit.VALID, report.to_text()


def test_the_report_is_one_stable_document() -> None:
    report = ReplayReport(3, 1, (Difference(1, "verdict", "ALLOW", "DENY"),), (2,))
    assert report.to_json() == {
        "verdict": "INVALID",
        "exit": 40,
        "decisions": 3,
        "outcomes": 1,
        "differs": [{"code": "REPLAY_DIFFERS", "index": 1, "field": "verdict", "recorded": "ALLOW", "derived": "DENY"}],
        "not_replayable": [{"code": "NOT_REPLAYABLE", "index": 2}],
    }
    assert ReplayReport(3, 1, (), (2,)).to_json() == {
        "verdict": "INCOMPLETE", "exit": 12, "decisions": 3, "outcomes": 1, "differs": [],
        "not_replayable": [{"code": "NOT_REPLAYABLE", "index": 2}],
    }  # fmt: skip


def allow(body: dict[str, Any]) -> None:
    body |= {"verdict": "ALLOW", "reason": "OK", "deadline_ms": body["facts"]["clock"]["wall_ms"] + 1000}


EDITS: dict[str, tuple[Reason, Callable[[dict[str, Any]], object], set[str]]] = {
    "an allow that a rule forbids": (Reason.ERR_POLICY_DENY, allow, {"verdict", "reason", "deadline_ms"}),
    "a deny of what is allowed": (
        Reason.OK,
        lambda body: (body.pop("deadline_ms"), body.pop("reserved"), body.update(verdict="DENY", reason="ERR_TOOL_HALTED")),
        {"verdict", "reason", "deadline_ms", "reserved"},
    ),
    "another reason": (Reason.ERR_SCHEMA_VIOLATION, lambda body: body.update(reason="ERR_TOOL_HALTED"), {"reason"}),
    "another sub-reason": (Reason.ERR_SCHEMA_VIOLATION, lambda body: body.update(sub="nothing"), {"sub"}),
    "no sub-reason": (Reason.ERR_SCHEMA_VIOLATION, lambda body: body.pop("sub"), {"sub"}),
    "another rule": (Reason.ERR_POLICY_DENY, lambda body: body.update(rules=["another"]), {"rules"}),
    "no rule": (Reason.OK, lambda body: body.pop("rules"), {"rules"}),
    "a larger reservation": (Reason.OK, lambda body: body.update(reserved={"day": 2}), {"reserved"}),
    "no reservation": (Reason.OK, lambda body: body.pop("reserved"), {"reserved"}),
    "another deadline": (Reason.OK, lambda body: body.update(deadline_ms=body["deadline_ms"] + 1), {"deadline_ms"}),
    "another pin": (Reason.OK, lambda body: body.update(pin=digest(b"")), {"pin"}),
    "a milder effect class": (Reason.ERR_APPROVAL_REQUIRED, lambda body: body.update(effect="read"), {"effect"}),
    "a repeat of another call": (Reason.REPEATED, lambda body: body.update(repeats=digest(b"")), {"repeats"}),
    "a repeat that claims other arguments": (
        Reason.ERR_IDEMPOTENCY_MISMATCH,
        lambda body: body["facts"]["claim"].update(same_args=True),
        {"verdict", "reason", "repeats"},
    ),
    "another tool": (Reason.OK, lambda body: body.update(tool="desk/forbidden"), {"verdict", "reason", "pin"}),
    "no budget read": (Reason.OK, lambda body: body["facts"].pop("budget"), {"reserved"}),
    "a hold": (Reason.OK, lambda body: body["facts"].update(hold=digest(b"")), {"verdict", "reason"}),
    "a policy that was never in force": (
        Reason.OK,
        lambda body: body.update(policy=NARROW.policy and NARROW.policy.digest),
        {"policy"},
    ),
    "no policy in force": (Reason.ERR_POLICY_DENY, lambda body: body.update(policy=None), {"policy"}),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_decision_that_does_not_follow_is_found_by_its_fields(
    edit: tuple[Reason, Callable[[dict[str, Any]], object], set[str]],
) -> None:
    reason, change, fields = edit
    receipt = the(story(), reason)
    report = replay(changed(story(), receipt, change))
    assert report.exit is Exit.INVALID
    assert {field for index, field in found(report) if index == receipt.index} >= fields
    assert {difference.index for difference in report.differs} == {receipt.index}, "the others stand"


def test_a_decision_for_another_principal_is_found() -> None:
    log = MemoryLog()
    own = boundary(b'@id("mine") permit (principal == Agent::"agent", action, resource == Server::"desk");')
    log.activate(own)
    host = MemoryHost(log, log.session("agent", "python"), Desk())
    receipt = call(host, echo(), under=own)
    start = next(one for one in log.receipts if one.session == receipt.session)
    report = replay(changed(log, start, lambda body: body.update(principal="somebody")))
    assert found(report) >= {(receipt.index, "verdict"), (receipt.index, "reason")}


def test_a_decision_of_a_session_without_a_start_is_found() -> None:
    log = MemoryLog()
    receipt = call(MemoryHost(log, log.session("agent", "python"), Desk()), {"request": "{"})
    lines = [one.line for one in log.receipts if one.session != receipt.session or one.seq]
    report = replay({**files(log), pack.RECEIPTS: pack.joined(lines)})
    assert {difference.field for difference in report.differs} == {"session"}


@pytest.mark.parametrize("name", ["args_hash", "raw_hash", "key"])
def test_what_was_made_from_a_withheld_attachment_is_not_replayable_and_not_wrong(name: str) -> None:
    log, entries = story(), files(story())
    receipt = next(one for one in log.receipts if one.kind is Kind.DECISION and name in one.body)
    attachment = f"attachments/{str(receipt.body[name]).removeprefix(PREFIX)}"
    del entries[attachment]
    report = replay(entries)
    assert report.exit is Exit.INCOMPLETE and report.differs == ()
    shared = [one.index for one in log.receipts if one.kind is Kind.DECISION and receipt.body[name] == one.body.get(name)]
    assert list(report.not_replayable) == shared


def test_without_attachments_nothing_is_replayable() -> None:
    entries = {name: data for name, data in files(story()).items() if not name.startswith("attachments/")}
    report = replay(entries)
    assert report.differs == () and report.exit is Exit.INCOMPLETE
    assert len(report.not_replayable) == report.decisions + report.outcomes


@pytest.mark.parametrize("folder", ["policy/", "catalog/"])
def test_without_their_policy_or_catalogue_decisions_and_outcomes_are_not_replayable(folder: str) -> None:
    entries = {name: data for name, data in files(story()).items() if not name.startswith(folder)}
    report = replay(entries)
    early = 2  # decided before anything was in force
    assert report.exit is Exit.INCOMPLETE and len(report.not_replayable) == report.decisions - early + report.outcomes


@pytest.mark.parametrize("folder", ["policy/", "catalog/", "attachments/"])
def test_evidence_that_is_not_what_its_name_says_is_found(folder: str) -> None:
    entries = files(story())
    name = min(name for name in entries if name.startswith(folder) and not name.endswith("builtin.cedar"))
    report = replay({**entries, name: entries[name] + b" "})
    assert report.exit is Exit.INVALID
    report = replay({**entries, name: b""})
    assert report.exit is Exit.INVALID


def test_other_arguments_under_the_recorded_hash_are_found() -> None:
    """The salt is the insider's to choose: the hash holds, and the content is no canonical form."""
    log, receipt = story(), the(story(), Reason.OK)
    content = bytes(32) + b'{ "text":"a"}'
    name = attachment_name(content[:32], content[32:])
    entries = changed(log, receipt, lambda body: body.update(args_hash=name))
    entries[f"attachments/{name.removeprefix(PREFIX)}"] = content
    assert found(replay(entries)) == {(receipt.index, "args")}


def test_a_receipt_that_occurs_twice_is_found() -> None:
    log = story()
    receipt = the(log, Reason.OK)
    lines = [one.line for one in log.receipts]
    report = replay({**files(log), pack.RECEIPTS: pack.joined([*lines, receipt.line])})
    assert report.exit is Exit.INVALID and (len(lines), "index") in found(report)


def test_a_receipt_that_two_sessions_go_on_from_is_found() -> None:
    log = story()
    receipt = the(log, Reason.OK)
    other = next(one for one in log.receipts if one.seq and one.session != receipt.session)
    report = replay(changed(log, other, lambda body: body.update(prev=receipt.leaf)))
    assert found(report) == {(other.index, "session")}


def keyed(text: str = "pay", key: str = "invoice-7", tool: str = "desk/keyed") -> dict[str, Any]:
    return {"tool": tool, "arguments": {"text": text}, "key": key}


def forgetful(*given: Mapping[str, Any], reply: str = '"done"') -> tuple[MemoryLog, list[Receipt]]:
    """A kernel whose store forgets, before each call, which keys were claimed: every call is dispatched under a fresh salt."""
    log = MemoryLog()
    log.activate(boundary())
    host = MemoryHost(log, log.session("agent", "python"), Desk())
    decisions = []
    for one in given:
        log.claims.clear()
        decisions.append(call(host, one, reply))
    return log, decisions


@pytest.mark.parametrize("reply", ['"done"', "failed", "unknown"])
@pytest.mark.parametrize("again", [keyed(), keyed("other")], ids=["the same arguments", "others"])
def test_a_key_that_is_dispatched_twice_under_two_salts_is_found(again: Mapping[str, Any], reply: str) -> None:
    log, (first, second, third) = forgetful(keyed(), again, again, reply=reply)
    assert first.is_intent and second.is_intent and first.body["key"] != second.body["key"]
    assert verify(log.pack(), Question(genesis=log.registry.genesis)).exit is Exit.VALID, "only the keys' content tells"
    report = replay(files(log))
    assert report.differs == tuple(Difference(one.index, "key", one.body["key"], first.index) for one in (second, third))


def test_a_key_that_is_dispatched_twice_under_one_salt_is_found_too() -> None:
    log, (first, second) = forgetful(keyed(), keyed())
    report = replay(changed(log, second, lambda body: body.update(key=first.body["key"])))
    assert report.differs == (Difference(second.index, "key", first.body["key"], first.index),)


def test_a_refusal_that_names_a_claimed_key_anew_is_found() -> None:
    """So every later decision with the key stands under the name by which the verifier knows the claim."""
    log = MemoryLog()
    log.activate(boundary())
    host = MemoryHost(log, log.session("agent", "python"), Desk())
    first, mismatch = call(host, keyed()), call(host, keyed("other"))
    assert mismatch.reason is Reason.ERR_IDEMPOTENCY_MISMATCH and replay(files(log)).exit is Exit.VALID
    name = attachment_name(bytes(32), b"invoice-7")
    entries = changed(log, mismatch, lambda body: body.update(key=name))
    entries[f"attachments/{name.removeprefix(PREFIX)}"] = bytes(32) + b"invoice-7"
    assert replay(entries).differs == (Difference(mismatch.index, "key", name, first.index),)


def test_a_key_belongs_to_a_principal_and_a_tool_and_is_claimed_by_an_allow_only() -> None:
    log = MemoryLog()
    log.activate(boundary())
    for principal in ("agent", "other"):
        host = MemoryHost(log, log.session(principal, "python"), Desk())
        for one in (
            keyed(tool="desk/forbidden"),
            keyed(tool="desk/forbidden"),
            keyed(),
            keyed(key="invoice-8"),
            echo(key="invoice-7"),
        ):
            call(host, one)
    report = replay(files(log))
    assert report.differs == () and report.exit is Exit.VALID


def test_a_second_key_that_is_withheld_is_not_replayable_and_not_wrong() -> None:
    log, (_, second) = forgetful(keyed(), keyed())
    entries = files(log)
    del entries[f"attachments/{str(second.body['key']).removeprefix(PREFIX)}"]
    report = replay(entries)
    assert report.differs == () and report.not_replayable == (second.index,)


def test_a_second_dispatch_is_found_also_where_its_arguments_are_withheld() -> None:
    log, (first, second) = forgetful(keyed(), keyed())
    entries = files(log)
    del entries[f"attachments/{str(second.body['args_hash']).removeprefix(PREFIX)}"]
    report = replay(entries)
    assert report.differs == (Difference(second.index, "key", second.body["key"], first.index),)
    assert report.not_replayable == (second.index,)


def spent(per: Per, *steps: str, forget: int = -1) -> tuple[MemoryLog, list[Receipt]]:
    """Calls under a budget of three, in the session and with the reply that a step names; before `forget` the count is lost."""
    log = MemoryLog((Budget("three", 3, per),))
    log.activate(boundary())
    hosts: dict[str, MemoryHost] = {}
    decisions = []
    for place, step in enumerate(steps):
        session, _, reply = step.partition(" ")
        if session not in hosts:
            hosts[session] = MemoryHost(log, log.session("agent", "python"), Desk())
        if place == forget:
            log.used.clear()
        decisions.append(call(hosts[session], echo(), reply or '"done"'))
    return log, decisions


@pytest.mark.parametrize("per", Per)
@pytest.mark.parametrize(
    "steps", [("a",) * 5, ("a failed",) * 5, ("a", "b", "a failed", "b", "a", "b failed", "a", "b"), ("a unknown", "a", "a", "a")]
)
def test_what_is_left_of_a_budget_comes_out_again(per: Per, steps: tuple[str, ...]) -> None:
    log, _ = spent(per, *steps)
    assert replay(files(log)).exit is Exit.VALID


@pytest.mark.parametrize("per", Per)
@pytest.mark.parametrize("forget", [1, 2, 3])
def test_a_budget_of_which_more_is_left_than_before_is_found(per: Per, forget: int) -> None:
    log, decisions = spent(per, "a", "a", "a", "a", forget=forget)
    assert verify(log.pack(), Question(genesis=log.registry.genesis)).exit is Exit.VALID
    report = replay(files(log))
    assert report.differs == (Difference(decisions[forget].index, "budget", {"three": 3}, {"three": 3 - forget}),)


@pytest.mark.parametrize("steps", [("a", "a failed", "b", "a"), ("a failed", "a", "b", "a"), ("b failed", "a", "b", "a")])
def test_what_a_failed_call_gives_back_is_left_again_once(steps: tuple[str, ...]) -> None:
    log, decisions = spent(Per.TOTAL, *steps, forget=3)
    report = replay(files(log))
    assert report.differs == (Difference(decisions[3].index, "budget", {"three": 3}, {"three": 2}),)


def test_another_day_has_its_own_calls() -> None:
    log, decisions = spent(Per.DAY, "a", "a", forget=1)
    for ms, more in ((0, True), (DAY_MS, False)):

        def later(body: dict[str, Any], ms: int = ms) -> None:
            body["facts"]["clock"]["wall_ms"] += ms
            body["deadline_ms"] += ms

        assert found(replay(changed(log, decisions[1], later))) == ({(decisions[1].index, "budget")} if more else set())


def test_a_budget_that_is_said_to_be_empty_makes_the_next_one_a_lie() -> None:
    log, decisions = spent(Per.DAY, "a", "a")
    report = replay(changed(log, decisions[0], lambda body: body["facts"].update(budget={"three": 0})))
    assert found(report) == {
        (decisions[0].index, "reason"), (decisions[0].index, "verdict"), (decisions[0].index, "sub"),
        (decisions[0].index, "rules"), (decisions[0].index, "reserved"), (decisions[0].index, "deadline_ms"),
        (decisions[1].index, "budget"),
    }  # fmt: skip


def crossing(now: Boundary, then: Boundary, given: Mapping[str, Any]) -> tuple[MemoryLog, Receipt]:
    """A call that is admitted under `now` and committed after `then` has come into force."""
    log = MemoryLog()
    if now is not NOTHING:
        log.activate(now)
    host = MemoryHost(log, log.session("agent", "python"), Desk())
    work = execute(request(given), now, host)
    work.send(None)  # admitted, on its way to its commit
    log.activate(then)
    run(work)
    return log, log.receipts[-1]


@pytest.mark.parametrize("given", [echo(), echo(text=1), {"tool": "desk/none", "arguments": {}}, {"request": "{"}])  # type: ignore[arg-type]
@pytest.mark.parametrize("now", [NOTHING, boundary()], ids=["nothing", "a policy"])
def test_a_call_that_crosses_an_activation_was_refused_by_what_was_in_force_before(
    now: Boundary, given: Mapping[str, Any]
) -> None:
    log, receipt = crossing(now, NARROW, given)
    assert receipt.verdict == "DENY"
    assert replay(files(log)).to_json()["exit"] == 0


def test_a_crossing_excuses_a_refusal_and_never_an_allow() -> None:
    log, receipt = crossing(boundary(), NARROW, echo())
    assert receipt.reason is Reason.ERR_POLICY_NOT_READY

    def as_before(body: dict[str, Any]) -> None:
        allow(body)
        body["rules"] = ["desk-tools"]

    assert replay(changed(log, receipt, as_before)).exit is Exit.INVALID
    assert replay(changed(log, receipt, lambda body: body.update(reason="ERR_POLICY_DENY"))).exit is Exit.INVALID


def test_an_earlier_policy_that_is_not_in_the_pack_excuses_nothing() -> None:
    log, receipt = crossing(boundary(), NARROW, echo())
    forged = changed(log, receipt, lambda body: body.update(reason="ERR_TOOL_HALTED"))
    assert boundary().policy is not None
    gone = f"policy/{boundary().policy.digest.removeprefix(PREFIX)}/"
    report = replay({name: data for name, data in forged.items() if not name.startswith(gone)})
    assert report.exit is Exit.INVALID and report.not_replayable == ()


def stale(*boundaries: Boundary) -> tuple[MemoryLog, MemoryHost]:
    """A kernel that puts these into force, one after the other, and then has its session open."""
    log = MemoryLog()
    for one in boundaries:
        log.activate(one)
    return log, MemoryHost(log, log.session("agent", "python"), Desk())


TOLD = [echo(), {"tool": "desk/forbidden", "arguments": {"text": "a"}}, {"tool": "desk/wipe", "arguments": {"text": "a"}}]


@pytest.mark.parametrize("telling", TOLD, ids=["ALLOW", "DENY", "ESCALATE"])
@pytest.mark.parametrize("late", [echo(), {"tool": "desk/none", "arguments": {}}, echo(text=1)])  # type: ignore[arg-type]
def test_behind_a_decision_that_only_what_is_in_force_can_give_nothing_before_excuses(
    telling: Mapping[str, Any], late: Mapping[str, Any]
) -> None:
    """Calls are decided in the order in which they are admitted, and none by an older boundary than the one before it."""
    log, host = stale(boundary())
    early = call(host, echo(text="early"), under=NOTHING)
    assert replay(files(log)).exit is Exit.VALID
    call(host, telling)
    refused = call(host, late, under=NOTHING)
    assert (early.verdict, refused.verdict, refused.reason) == ("DENY", "DENY", Reason.ERR_TOOL_NOT_ALLOWED)
    expected = {refused.index} if late["tool"] != "desk/none" else set()  # a tool that is in neither catalogue
    assert {difference.index for difference in replay(files(log)).differs} == expected


def test_a_decision_that_both_give_does_not_end_the_excuse() -> None:
    log, host = stale(boundary())
    call(host, {"request": "{"})
    call(host, echo(), under=NOTHING)
    assert replay(files(log)).exit is Exit.VALID


def test_a_refusal_by_what_was_in_force_two_statements_ago_is_found() -> None:
    log, host = stale(boundary(), NARROW)
    refused = call(host, echo(), under=NOTHING)
    assert found(replay(files(log))) >= {(refused.index, "reason")}
    log, host = stale(boundary(), NARROW)
    refused = call(host, echo(), under=boundary())
    assert refused.reason is Reason.ERR_POLICY_NOT_READY and replay(files(log)).exit is Exit.VALID


def test_what_is_signed_into_force_again_excuses_as_little_as_before() -> None:
    log, host = stale(boundary(), NARROW, NARROW)
    call(host, echo(), under=boundary())
    assert replay(files(log)).exit is Exit.VALID
    log, host = stale(boundary(), NARROW)
    call(host, echo(), under=NARROW)
    log.activate(NARROW)
    refused = call(host, echo(), under=boundary())
    assert {difference.index for difference in replay(files(log)).differs} == {refused.index}


def test_a_process_begins_with_what_is_in_force_and_knows_nothing_before() -> None:
    log, _ = stale(boundary())
    run(recover(log, clean=log.begin()))
    host = MemoryHost(log, log.session("agent", "python"), Desk())
    refused = call(host, echo(), under=NOTHING)
    assert {difference.index for difference in replay(files(log)).differs} == {refused.index}


CROSSED: dict[str, Mapping[str, Any]] = {
    "echo": echo(), "keyed": keyed(), "nothing": {"tool": "desk/none", "arguments": {}},
    "misfit": {"tool": "desk/echo", "arguments": {"text": 1}},
    "raw": {"request": "{"},
}  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*CROSSED, "activate", "reload", "restart"]), max_size=16))
def test_however_calls_cross_statements_an_honest_log_replays(steps: list[str]) -> None:
    """A kernel loads what came into force a moment later, and before the next statement; a process begins with it."""
    log, loaded, count = MemoryLog(), NOTHING, 0
    host = MemoryHost(log, log.session("agent", "python"), Desk())
    for step in steps:
        if step in CROSSED:
            call(host, CROSSED[step], under=loaded)
            continue
        loaded = log.in_force[-1] if log.in_force else NOTHING
        if step == "activate":
            count += 1
            log.activate(NARROW if count % 2 else boundary())
        if step == "restart":
            run(recover(log, clean=log.begin()))
            host = MemoryHost(log, log.session("agent", "python"), Desk())
    report = replay(files(log))
    assert report.exit is Exit.VALID, report.to_json()


def test_an_allow_ends_the_excuse_also_where_it_cannot_be_derived() -> None:
    log, host = stale(boundary())
    allowed = call(host, echo())
    refused = call(host, echo(), under=NOTHING)
    entries = files(log)
    del entries[f"attachments/{str(allowed.body['args_hash']).removeprefix(PREFIX)}"]
    report = replay(entries)
    assert {difference.index for difference in report.differs} == {refused.index}
    assert report.not_replayable == (allowed.index,)


def test_a_call_whose_canonical_form_is_longer_than_any_request_is_said_and_not_accused() -> None:
    numbers: dict[str, Any] = {"type": "array", "items": {"type": "number"}}
    raw = {"name": "sum", "description": "", "inputSchema": {"type": "object", "properties": {"of": numbers}}}
    catalog = EMPTY.with_server(server_doc("desk", {"kind": "python"}, [entry("sum", raw, effect="read")]))
    own = Boundary(catalog, Policy.from_files({"main.cedar": POLICY.splitlines()[0]}, catalog, PROTECTED))
    log = MemoryLog()
    log.activate(own)
    host = MemoryHost(log, log.session("agent", "python"), Desk())
    sent = b'{"tool":"desk/sum","arguments":{"of":[' + b",".join([b"1e15"] * 80_000) + b"]}}"
    receipt = run(execute(sent, own, host)).decision
    assert receipt.reason is Reason.OK
    report = replay(files(log))
    assert report.differs == () and report.not_replayable == (receipt.index,)


CALLS = st.fixed_dictionaries(
    {
        "tool": st.sampled_from(["desk/echo", "desk/keyed", "desk/wipe", "desk/forbidden", "desk/none"]),
        "arguments": st.fixed_dictionaries({"text": st.one_of(st.text(max_size=4), st.integers(-3, 3), st.floats(0, 1e15))}),
    },
    optional={"key": st.text(min_size=1, max_size=3)},
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(CALLS, st.sampled_from(['"done"', "failed", "changed", "unknown", "7"])), min_size=1, max_size=12))
def test_whatever_is_called_the_log_replays(calls: list[tuple[dict[str, Any], str]]) -> None:
    log = MemoryLog(budgets({"budget": {"day": 5}}))
    log.activate(boundary())
    host = MemoryHost(log, log.session("agent", "python"), Desk())
    for one, reply in calls:
        call(host, one, reply)
    report = replay(files(log))
    assert report.exit is Exit.VALID, report.to_json()


# outcomes


@dataclass
class Hands(Desk):
    """A connector that answers with exactly this."""

    told: Reply | None = None

    def do(self, name: str, args: bytes) -> Reply:
        assert self.told is not None
        return self.told


NUMBER: dict[str, Any] = {"type": "object", "properties": {"of": {"type": "integer"}}, "required": ["of"]}


@cache
def servers() -> Boundary:
    """A function, an MCP tool and an operation, each with an output schema and without."""
    catalog = EMPTY
    http = {"kind": "http", "base": "https://api.example", "addresses": ["global"], "secrets": {}, "ca": None}
    get = {"method": "GET", "path": "/", "query": [], "headers": {}, "body": "none", "retry": False}
    sources: dict[str, dict[str, Any]] = {
        "fun": {"kind": "python"}, "mcp": {"kind": "mcp-stdio", "command": ["x"], "env": []}, "http": http,
    }  # fmt: skip
    for server, source in sources.items():
        tools = []
        for name, output in (("schema", {"outputSchema": NUMBER}), ("shape", {})):
            raw = {"name": name, "description": "", "inputSchema": {"type": "object", "properties": {}}, **output}
            raw |= {"operation": get} if server == "http" else {}
            tools.append(entry(name, raw, effect="read", output_bytes=200))
        catalog = catalog.with_server(server_doc(server, source, tools))
    policy = Policy.from_files({"main.cedar": b'@id("all") permit (principal, action, resource);'}, catalog, PROTECTED)
    return Boundary(catalog, policy)


def output(content: bytes, *, sub: str = "", truncated: bool = False) -> Reply:
    return Reply(ReplyKind.OUTPUT, 3, output=content, sub=sub, truncated=truncated)


def failed(reason: Reason) -> Reply:
    return Reply(ReplyKind.FAILED, 3, reason=reason)


def result(**more: Any) -> Reply:
    return output(canonical({"content": [], **more}))


QUESTION = Reply(ReplyKind.OUTPUT, 3, output=b'{"resultType":"input_required","requestState":"s"}', questions=True)

# what a connector says -> the tool that it says it of, the outcome and the contract that it kept
REPLIES: dict[str, tuple[str, Reply, str, str | None]] = {
    "a value of the schema": ("fun/schema", output(b'{"of":3}'), "OK", "schema"),
    "any value": ("fun/shape", output(b"[1,2]"), "OK", "shape"),
    "an integer of 64 bits": ("fun/shape", output(b"9007199254740993"), "OK", "shape"),
    "a result of the schema": ("mcp/schema", result(structuredContent={"of": 3}), "OK", "schema"),
    "any result": ("mcp/shape", result(), "OK", "shape"),
    "an error of the tool": ("mcp/shape", result(isError=True), "OK", "shape"),
    "a question to who can be asked": ("mcp/schema", QUESTION, "OK", "question"),
    "a question to who cannot be asked": ("mcp/schema", replace(QUESTION, questions=False), "DRIFT", None),
    "a question with more in it": ("mcp/schema", replace(result(resultType="input_required"), questions=True), "DRIFT", None),
    "a body of the schema": ("http/schema", output(b'{"status":200,"body":{"of":3}}'), "OK", "schema"),
    "any body": ("http/shape", output(b'{"status":200,"body":[1.50]}'), "OK", "shape"),
    "an error of an api": ("http/schema", output(b'{"status":404}'), "OK", "shape"),
    "a body that breaks the schema": ("http/schema", output(b'{"status":200,"body":{"of":"3"}}'), "DRIFT", None),
    "a body that cannot be read": ("http/shape", output(b'{"status":200,"base64":""}', sub="charset"), "DRIFT", None),
    "a body that is too long": ("http/shape", output(b"", truncated=True), "DRIFT", None),
    "a value that breaks the schema": ("fun/schema", output(b'{"of":"3"}'), "DRIFT", None),
    "a result that breaks the schema": ("mcp/schema", result(structuredContent={"of": "3"}), "DRIFT", None),
    "no result": ("mcp/shape", output(b"3"), "DRIFT", None),
    "no json": ("fun/shape", output(b"{"), "DRIFT", None),
    "a value that json does not have": ("fun/shape", output(b"", sub="not_json"), "DRIFT", None),
    "a value that was cut where it still is one": ("fun/shape", output(b"3" * 200, truncated=True), "DRIFT", None),
    "a value that is too long": ("fun/shape", output(b"3" * 201), "DRIFT", None),
    "a proof that nothing was applied": ("fun/shape", failed(Reason.ERR_CONNECTOR_FAILED), "FAILED", None),
    "a definition that changed": ("mcp/shape", failed(Reason.ERR_MCP_SCHEMA_DRIFT), "FAILED", None),
    "a failure without a reason": ("fun/shape", failed(Reason.OK), "FAILED", None),
    "nothing": ("fun/shape", Reply(ReplyKind.UNKNOWN, 3), "UNKNOWN", None),
    "nothing but a rest": ("mcp/schema", Reply(ReplyKind.UNKNOWN, 3, output=b'{"of":'), "UNKNOWN", None),
    "nothing but a rest that was cut": ("mcp/schema", Reply(ReplyKind.UNKNOWN, 3, output=b"{", truncated=True), "UNKNOWN", None),
    "no output": ("fun/shape", Reply(ReplyKind.OUTPUT, 3), "UNKNOWN", None),
}  # fmt: skip


@cache
def ended(name: str, *, late: bool = False) -> tuple[MemoryLog, Receipt]:
    """A call to its end, and that outcome; `late`: it came after the UNKNOWN."""
    tool, reply, _, _ = REPLIES[name]
    log = MemoryLog()
    log.activate(servers())
    raw = request({"tool": tool})
    hands = Hands(told=Reply(ReplyKind.UNKNOWN, 1) if late else reply)
    intent = run(execute(raw, servers(), MemoryHost(log, session := log.session("agent", "python"), hands))).decision
    admitted = servers().admit(raw)
    assert isinstance(admitted, Call)
    if late:
        log.late(session, intent, servers().judge(admitted, reply))
    return log, [receipt for receipt in log.receipts if receipt.kind is Kind.OUTCOME][-1]


@pytest.mark.parametrize("late", [False, True], ids=["in time", "late"])
@pytest.mark.parametrize("name", REPLIES)
def test_every_end_that_an_honest_kernel_records_stands(name: str, late: bool) -> None:
    log, outcome = ended(name, late=late)
    _, _, status, contract = REPLIES[name]
    assert (outcome.body["status"], outcome.body.get("contract")) == ("LATE" if late else status, contract)
    assert verify(log.pack(), Question(genesis=log.registry.genesis)).exit is Exit.VALID
    report = replay(files(log))
    assert report.exit is Exit.VALID, report.to_json()
    assert report.outcomes == (status in ("OK", "DRIFT"))


def as_ok(contract: str) -> Callable[[dict[str, Any]], object]:
    def edit(body: dict[str, Any]) -> None:
        body |= {"status": "OK", "contract": contract}
        body.pop("reason"), body.pop("sub", None)

    return edit


def as_drift(body: dict[str, Any]) -> None:
    body |= {"status": "DRIFT", "reason": "ERR_CONNECTOR_CONTRACT_DRIFT"}
    body.pop("contract"), body.pop("tool_error", None)


def as_late_drift(body: dict[str, Any]) -> None:
    as_drift(body)
    body["status"] = "LATE"


FALSE: dict[str, tuple[str, bool, Callable[[dict[str, Any]], object], set[str]]] = {
    "what broke the schema is OK": ("a value that breaks the schema", False, as_ok("schema"), {"status", "reason", "contract"}),
    "what is no result is OK": ("no result", False, as_ok("shape"), {"status", "reason", "contract"}),
    "what kept its contract is DRIFT": ("a value of the schema", False, as_drift, {"status", "reason", "contract"}),
    "a tool's error is DRIFT": ("an error of the tool", False, as_drift, {"status", "reason", "contract", "tool_error"}),
    "a late one that kept its contract broke it": ("any result", True, as_late_drift, {"reason", "contract"}),
    "a late one that broke its contract kept it": (
        "no json", True, lambda body: (body.pop("reason"), body.update(contract="shape")), {"reason", "contract"},
    ),
    "a late one that broke its contract has none": ("no json", True, lambda body: body.pop("reason"), {"reason"}),
    "a late one that was cut kept its contract": (
        "a value that was cut where it still is one", True, lambda body: (body.pop("reason"), body.update(contract="shape")),
        {"reason", "contract"},
    ),
    "a shape is a schema": ("any value", False, lambda body: body.update(contract="schema"), {"contract"}),
    "a schema is a shape": ("a value of the schema", False, lambda body: body.update(contract="shape"), {"contract"}),
    "a value is the tool's error": ("any value", False, lambda body: body.update(tool_error=True), {"tool_error"}),
    "the tool's error is a value": ("an error of the tool", False, lambda body: body.pop("tool_error"), {"tool_error"}),
}  # fmt: skip


@pytest.mark.parametrize("case", FALSE.values(), ids=FALSE)
def test_an_outcome_that_its_output_does_not_bear_out_is_found_by_its_fields(
    case: tuple[str, bool, Callable[[dict[str, Any]], object], set[str]],
) -> None:
    name, late, edit, fields = case
    log, outcome = ended(name, late=late)
    report = replay(changed(log, outcome, edit))
    assert found(report) == {(outcome.index, field) for field in fields} and report.exit is Exit.INVALID


@pytest.mark.parametrize("late", [False, True], ids=["in time", "late"])
@pytest.mark.parametrize("name", REPLIES)
def test_an_outcome_whose_output_is_withheld_is_not_replayable_if_it_says_what_the_output_keeps(name: str, late: bool) -> None:
    """Whoever could hide an output behind a claim about it, and have it stand, would hide the one that breaks its contract."""
    log, outcome = ended(name, late=late)
    entries = files(log)
    entries.pop(f"attachments/{str(outcome.body.get('output_hash')).removeprefix(PREFIX)}", None)
    report = replay(entries)
    judged = REPLIES[name][2] in ("OK", "DRIFT") and not REPLIES[name][1].truncated
    assert report.differs == () and report.not_replayable == ((outcome.index,) if judged else ())


def test_an_output_that_is_not_what_its_name_says_is_found() -> None:
    log, outcome = ended("any value")
    name = f"attachments/{str(outcome.body['output_hash']).removeprefix(PREFIX)}"
    report = replay({**files(log), name: bytes(32) + b"[1,3]"})
    assert found(report) == {(outcome.index, "evidence")}


def test_an_outcome_is_judged_by_the_catalogue_that_its_call_was_admitted_by() -> None:
    """Another one comes into force while the call runs."""
    log = MemoryLog()
    log.activate(servers())
    host = MemoryHost(log, log.session("agent", "python"), Hands(told=output(b'{"of":3}')))
    work = execute(request({"tool": "fun/schema"}), servers(), host)
    work.send(None), work.send(None)  # the intent is durable
    log.activate(boundary())
    run(work)
    assert [one.status for one in log.receipts if one.kind is Kind.OUTCOME] == [Status.OK]
    report = replay(files(log))
    assert report.exit is Exit.VALID and report.outcomes == 1


def test_an_output_of_a_tool_that_was_not_pinned_kept_no_contract() -> None:
    log, outcome = ended("any value")
    intent = next(one for one in log.receipts if one.is_intent)
    lines = [one.line for one in log.receipts]
    lines[intent.index] = edited(intent.line, lambda body: body.update(tool="fun/none"))
    leaf = Receipt.from_bytes(lines[intent.index]).leaf
    lines[outcome.index] = edited(outcome.line, lambda body: body.update(decision=leaf))
    report = replay({**files(log), pack.RECEIPTS: pack.joined(lines)})
    assert (outcome.index, "contract") in found(report) and (intent.index, "verdict") in found(report)
