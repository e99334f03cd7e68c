"""Deciding again: an honest log comes out as it went in, and whatever a decision says that does not follow is found."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.desk import NOTHING, POLICY, PROTECTED, Desk, boundary, budgets, request, vectors
from executor.memory import MemoryHost, MemoryLog, run
from helm_ai_kernel.executor.boundary import Boundary
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.executor.recover import recover
from helm_ai_kernel.executor.replay import Difference, ReplayReport, replay
from helm_ai_kernel.guardian.budget import Budget, Per
from helm_ai_kernel.guardian.policy import Policy
from helm_ai_kernel.pep.catalog import EMPTY, entry, server_doc
from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.checklist import verify
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import PREFIX, attachment_name, digest
from helm_ai_kernel.tcb.findings import Exit
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
        if vector["flow"] not in ("refused_hold", "unary_drift", "unary_changed"):
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
    return pack.read(log.pack())


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
    reasons = {receipt.reason for receipt in log.receipts if receipt.kind is Kind.DECISION}
    assert len(reasons) >= 12, "the story has every kind of decision"


def test_the_same_pack_is_valid_for_the_checklist() -> None:
    log = story()
    report = verify(log.pack(), genesis=log.registry.genesis, known_head=None)
    assert report.exit is Exit.VALID, report.to_text()


def test_the_report_is_one_stable_document() -> None:
    report = ReplayReport(3, (Difference(1, "verdict", "ALLOW", "DENY"),), (2,))
    assert report.to_json() == {
        "verdict": "INVALID",
        "exit": 40,
        "decisions": 3,
        "differs": [{"code": "REPLAY_DIFFERS", "index": 1, "field": "verdict", "recorded": "ALLOW", "derived": "DENY"}],
        "not_replayable": [{"code": "NOT_REPLAYABLE", "index": 2}],
    }
    assert ReplayReport(3, (), (2,)).to_json() | {"decisions": 0} == {
        "verdict": "INCOMPLETE", "exit": 12, "decisions": 0, "differs": [],
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
    "a budget with nothing left": (Reason.OK, lambda body: body["facts"].update(budget={"day": 0}), {"verdict", "reason"}),
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
    assert len(report.not_replayable) == report.decisions and report.exit is Exit.INCOMPLETE


@pytest.mark.parametrize("folder", ["policy/", "catalog/"])
def test_without_its_policy_or_catalogue_a_decision_is_not_replayable(folder: str) -> None:
    entries = {name: data for name, data in files(story()).items() if not name.startswith(folder)}
    report = replay(entries)
    assert report.exit is Exit.INCOMPLETE and 0 < len(report.not_replayable) < report.decisions


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
