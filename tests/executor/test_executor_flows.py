"""The path of a call against the flow vectors: step by step, dropped before every step, and two of them in every order.

No event loop runs here. A coroutine that is not driven on is a process that died there.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest

from executor.desk import NOTHING, RELEASED, Desk, answered, boundary, budgets, earlier, request, vectors, work
from executor.memory import MemoryHost, MemoryLog, run, summary
from helm_ai_kernel.executor import execute as path
from helm_ai_kernel.executor.boundary import Boundary
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.executor.host import Answer, Host
from helm_ai_kernel.executor.recover import recover
from helm_ai_kernel.guardian.budget import Budget
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Verdict

Execute = Callable[[bytes, Boundary, Host], Awaitable[Answer]]
ids = [vector["flow"] for vector in vectors()]


def world(given: Mapping[str, Any]) -> MemoryHost:
    """A kernel in the state that a vector begins in, reached by real calls."""
    log = MemoryLog(budgets(given))
    log.activate(boundary())
    host = MemoryHost(log, log.session("agent", "python"), Desk())
    start = len(log.receipts)
    for done in earlier(given, host):
        run(done)
    assert log.summary(start) == given.get("before", []) or given.get("held")
    host.desk = Desk(given.get("reply", '"done"'))
    return host


def steps(work: Coroutine[str, None, Answer], before: str = "") -> tuple[list[str], Answer | None]:
    """Drive `work` to its end, or drop it before the step of that name; which steps it came to, and its answer."""
    seen = []
    while True:
        try:
            seen.append(work.send(None))
        except StopIteration as end:
            return seen, end.value
        if seen[-1] == before:
            work.close()
            return seen, None


def check(vector: Mapping[str, Any], paths: Any = path) -> None:
    """Everything that a vector says about the undisturbed call."""
    host = world(vector["given"])
    start = len(host.log.receipts)
    seen, answer = steps(work(vector["given"], host, paths))
    assert seen == vector["steps"]
    assert host.log.summary(start) == vector["receipts"]
    assert len(host.desk.effects) == vector["effects"]
    assert answer is not None and answer.verdict == vector["answer"]
    assert answer.decision == (host.offered if "report" in vector["given"] else host.log.receipts[start])
    outcome = answered(vector)
    assert (None if answer.outcome is None else summary(answer.outcome)) == outcome
    assert answer.output == (b'"done"' if outcome in RELEASED else None)


def check_crash(vector: Mapping[str, Any], crash: Mapping[str, Any], paths: Any = path) -> MemoryHost:
    """What one row of `crashes` says; returns the host for whoever goes on from there."""
    host = world(vector["given"])
    start = len(host.log.receipts)
    steps(work(vector["given"], host, paths), crash["before"])
    assert host.log.summary(start) == crash["log"]
    assert len(host.desk.effects) == crash["effects"]
    start = len(host.log.receipts)
    clean = host.log.begin()
    assert not clean, "the process that died ended no session"
    closed = run(recover(host.log, clean=clean))
    assert closed == len(crash["recovered"][2:]) and not host.log.intents
    assert host.log.summary(start) == crash["recovered"]
    return host


@pytest.mark.parametrize("vector", vectors(), ids=ids)
def test_every_flow_takes_its_steps_leaves_its_receipts_and_has_its_effects(vector: Mapping[str, Any]) -> None:
    check(vector)


@pytest.mark.parametrize("vector", vectors(), ids=ids)
def test_a_crash_before_any_step_leaves_what_the_vector_says_and_the_next_start_recovers(vector: Mapping[str, Any]) -> None:
    assert [crash["before"] for crash in vector["crashes"]] == vector["steps"]
    for crash in vector["crashes"]:
        check_crash(vector, crash)


RETRIED = {
    "commit": (Reason.OK, 1),
    "dispatch": (Reason.ERR_OUTCOME_UNKNOWN, 0),
    "settle": (Reason.ERR_OUTCOME_UNKNOWN, 1),
    "answer": (Reason.REPEATED, 1),
}


@pytest.mark.parametrize("before", RETRIED)
def test_a_retry_after_a_crash_is_a_new_call_or_unknown_or_the_first_outcome(before: str) -> None:
    vector = next(vector for vector in vectors() if vector["flow"] == "unary")
    vector = {**vector, "given": {**vector["given"], "key": "k1"}}
    crash = next(crash for crash in vector["crashes"] if crash["before"] == before)
    host = check_crash(vector, crash)
    session = host.log.session("agent", "python")
    retry = MemoryHost(host.log, session, host.desk)
    answer = run(execute(request(vector["given"]), boundary(), retry))
    assert (answer.reason, len(host.desk.effects)) == RETRIED[before]
    assert answer.output == (b'"done"' if before in ("commit", "answer") else None)


def test_a_start_that_dies_in_the_middle_of_its_recovery_is_recovered_by_the_next_one() -> None:
    host = world({})
    for text in ("a", "b", "c"):
        steps(execute(request({"tool": "desk/echo", "arguments": {"text": text}}), boundary(), host), "dispatch")
    for dies_after in (0, 1, 2, 3, 3):  # the last two close an intent each
        host.log.begin()
        work = recover(host.log, clean=False)
        for _ in range(dies_after):
            work.send(None)
        work.close()
    host.log.begin()
    run(recover(host.log, clean=False))
    outcomes = [receipt.body["decision"] for receipt in host.log.receipts if "status" in receipt.body]
    assert len(outcomes) == len(set(outcomes)) == 3
    host.log.end()
    start = len(host.log.receipts)
    assert run(recover(host.log, clean=host.log.begin())) == 0
    assert host.log.summary(start) == ["session start"], "after a clean stop there is nothing to recover"


def test_before_any_activation_no_call_gets_through() -> None:
    log = MemoryLog()
    host = MemoryHost(log, log.session("agent", "python"), Desk())
    for under in (NOTHING, boundary()):  # also where the shell holds a policy that nobody has activated
        answer = run(execute(request({"tool": "desk/echo", "arguments": {"text": "a"}}), under, host))
        assert answer.verdict is Verdict.DENY and not host.desk.effects
    assert answer.reason is Reason.ERR_POLICY_NOT_READY


def races(*requests: bytes, budgets: tuple[Budget, ...] = ()) -> Iterator[tuple[MemoryHost, list[Answer]]]:
    """Two calls in every order of their steps, each order in a world of its own."""
    order: list[int] | None = []
    while order is not None:
        log = MemoryLog(budgets)
        log.activate(boundary())
        host = MemoryHost(log, log.session("agent", "python"), Desk())
        work = [execute(raw, boundary(), host) for raw in requests]
        answers: dict[int, Answer] = {}
        turns: list[int] = []
        others: list[int] = []  # how far back another turn was possible: the last of these is tried next
        while len(answers) < len(work):
            turn = order[len(turns)] if len(turns) < len(order) else int(0 in answers)
            if turn == 0 and 1 not in answers:
                others.append(len(turns))
            turns.append(turn)
            try:
                work[turn].send(None)
            except StopIteration as end:
                answers[turn] = end.value
        order = [*turns[: others[-1]], 1] if others else None
        yield host, [answers[0], answers[1]]


SAME = request({"tool": "desk/echo", "arguments": {"text": "a"}, "key": "k"})
OTHER = request({"tool": "desk/echo", "arguments": {"text": "b"}, "key": "k"})


def test_two_calls_with_one_key_dispatch_once_in_every_order_of_their_steps() -> None:
    orders = 0
    for host, answers in races(SAME, SAME):
        orders += 1
        assert len(host.desk.effects) == 1 and not host.log.intents
        first, second = sorted(answers, key=lambda answer: answer.decision.index)
        assert first.reason is Reason.OK
        assert second.reason in (Reason.REPEATED, Reason.ERR_IDEMPOTENCY_IN_FLIGHT)
        assert second.output == (first.output if second.reason is Reason.REPEATED else None)
    assert orders > 40, "the orders were not enumerated"


def test_one_key_with_two_contents_dispatches_the_first_only_in_every_order() -> None:
    for host, answers in races(SAME, OTHER):
        assert len(host.desk.effects) == 1
        assert sorted(answer.reason for answer in answers) == [Reason.ERR_IDEMPOTENCY_MISMATCH, Reason.OK]


def test_the_last_call_of_a_budget_is_spent_once_in_every_order() -> None:
    calls = [request({"tool": "desk/echo", "arguments": {"text": text}}) for text in "ab"]
    for host, answers in races(*calls, budgets=(Budget("one", 1),)):
        assert len(host.desk.effects) == 1
        assert sorted(answer.reason for answer in answers) == [Reason.ERR_BUDGET_EXHAUSTED, Reason.OK]


def test_a_crash_at_any_pair_of_steps_of_two_calls_with_one_key_never_leads_to_two_effects() -> None:
    for first, second in product(range(6), repeat=2):
        host = world({})
        for sends in (first, second):
            work = execute(SAME, boundary(), host)
            for _ in range(sends):
                try:
                    work.send(None)
                except StopIteration:
                    break
            work.close()
        clean = host.log.begin()
        run(recover(host.log, clean=clean))
        retry = MemoryHost(host.log, host.log.session("agent", "python"), host.desk)
        answer = run(execute(SAME, boundary(), retry))
        assert len(host.desk.effects) <= 1, (first, second)
        done = [receipt for receipt in host.log.receipts if summary(receipt) == "outcome OK"]
        assert (answer.output is not None) == (len(done) == 1)


def mutant(old: str, new: str) -> Any:
    """The paths from a copy of their source with one change."""
    source = inspect.getsource(path)
    assert source.count(old) == 1, f"`{old}` is not in the source once"
    names: dict[str, Any] = {"__name__": path.__name__, "__package__": path.__package__}
    exec(compile(source.replace(old, new), "mutant", "exec"), names)
    return SimpleNamespace(**names)


COMMIT = "    decision = await host.commit(call, boundary.decide)"
SETTLE = """\
    settled = await host.settle(intent, outcome)
    return await host.answer(intent, settled, released(outcome))
"""
MUTANTS = {
    "dispatch before the intent is durable": (
        COMMIT,
        "    isinstance(call, Call) and await host.dispatch(call, None)\n" + COMMIT,
    ),
    "dispatch of what was denied": ("decision.verdict is not Verdict.ALLOW or ", ""),
    "dispatch of a repeated call": (" or decision.repeats", ""),
    "dispatch twice": (
        "    outcome = boundary.judge",
        "    reply = await host.dispatch(call, intent)\n    outcome = boundary.judge",
    ),
    "no dispatch of what was allowed": ("decision.verdict is not Verdict.ALLOW", "decision.verdict is not Verdict.DENY"),
    "answer before the outcome is durable": (
        SETTLE,
        "    early = await host.answer(intent, intent, released(outcome))\n"
        "    await host.settle(intent, outcome)\n    return early\n",
    ),
    "an outcome that is never recorded": ("await host.settle(intent, outcome)", "intent"),
    "release of what is withheld": (" and outcome.contract is not None", ""),
    "a report without a record": ("    told = await host.report(decision, outcome)\n", "    told = decision\n"),
    "an offer that the kernel owes": ("boundary.decide, EffectBy.CLIENT)", "boundary.decide)"),
}


@pytest.mark.parametrize("change", MUTANTS.values(), ids=MUTANTS)
def test_a_path_that_breaks_the_order_does_not_get_past_the_vectors(change: tuple[str, str]) -> None:
    wrong = mutant(*change)
    caught = 0
    for vector in vectors():
        try:
            check(vector, wrong)
            for crash in vector["crashes"]:
                check_crash(vector, crash, wrong)
        except AssertionError:
            caught += 1
        except KeyError:  # the log itself refuses to close an intent that is not open
            caught += 1
    assert caught, "a broken path passes every vector"


def test_the_unchanged_copy_passes_every_vector() -> None:
    same = mutant("one transaction; durable", "one transaction, durable")
    for vector in vectors():
        check(vector, same)
