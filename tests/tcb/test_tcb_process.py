"""The processes of a log as one fold. What it refuses is in the vectors; here is what it allows, and how it goes on."""

import tracemalloc
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.decision import Status
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.process import Processes
from helm_ai_kernel.tcb.receipt import Kind, Receipt
from packs import Log, short, story


def told(receipts: list[Receipt]) -> list[int]:
    """The places of the faults."""
    processes, found = Processes({receipt.leaf: receipt.index for receipt in receipts}), []
    for receipt in receipts:
        try:
            processes.append(receipt)
        except EvidenceError as error:
            found += [receipt.index] * (error.finding is Finding.FLOW_INVALID)
    return found


def restart(log: Log) -> str:
    """A new process, as an honest kernel begins: it recovers what there is to recover, and then serves an agent."""
    settled = {str(receipt.body["decision"]) for receipt in log.receipts if receipt.kind is Kind.OUTCOME}
    found = [receipt.leaf for receipt in log.receipts if receipt.is_intent and receipt.leaf not in settled]
    log.start_kernel()
    log.recover(len(found))
    for leaf in found:
        log.settle(log.kernel, leaf, Status.UNKNOWN)
    return log.start()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(["call", "allow", "settle", "deny", "start", "end", "crash", "stop"]), max_size=25))
def test_an_honest_kernel_may_die_anywhere(steps: list[str]) -> None:
    log = Log()
    log.start_kernel()
    log.activate()
    open_calls: list[tuple[str, Receipt]] = []
    agents = [log.start()]
    for step in steps:
        agent = agents[len(log.lines) % len(agents)]
        if step in ("call", "allow"):
            open_calls.append((agent, log.allow(agent)))
        if step in ("call", "settle") and open_calls:
            told_in, intent = open_calls.pop()
            log.settle(told_in if told_in in agents else log.kernel, intent.leaf)
        if step == "deny":
            log.deny(agent)
        if step == "start":
            agents.append(log.start())
        if step == "end" and len(agents) > 1:
            agents.remove(agent)
            log.end(agent)
        if step == "stop":
            for session in (*agents, log.kernel):
                log.end(session)
        if step in ("crash", "stop"):
            agents, open_calls = [restart(log)], []
    restart(log)
    assert told(log.receipts) == []
    assert verify(log.pack(), Question(genesis=log.genesis)).exit is Exit.VALID


@cache
def whole() -> Log:
    return story()


@pytest.mark.parametrize("size", range(1, len(story().receipts) + 1))
def test_a_session_of_an_earlier_process_says_nothing_more(size: int) -> None:
    receipts = whole().receipts
    log = story()
    log.lines, log.receipts = log.lines[:size], receipts[:size]
    agent = restart(log)
    before = len(log.receipts)
    assert told(log.receipts) == []
    for session in {receipt.session for receipt in receipts[:size]}:
        last = [receipt for receipt in receipts[:size] if receipt.session == session][-1]
        log.heads[session] = (last.seq, last.leaf)
        log.deny(session)
    faults = list(range(before, len(log.receipts)))
    for session in (agent, log.kernel):
        log.end(session)
    log.start_kernel()  # behind a clean end: what was said too late opened nothing again
    log.start()
    assert told(log.receipts) == faults


def test_one_fault_is_one_finding_and_the_next_process_is_judged_as_before() -> None:
    log = short()
    agent = log.start()
    log.allow(agent)
    log.start_kernel()
    log.recover(1)
    log.start()  # before the open call was concluded
    restart(log)
    log.deny(agent)  # of the first process
    assert told(log.receipts) == [log.receipts.index(receipt) for receipt in (log.receipts[10], log.receipts[-1])]


def test_a_call_that_is_told_twice_is_owed_once() -> None:
    """The second time it is a duplicate, which the chain says. Here nothing is owed for it, and nothing is paid back for it."""
    log = short()
    agent = log.start()
    settled, left_open = log.allow(agent), log.allow(agent)
    log.settle(agent, settled.leaf)
    log.start_kernel()
    log.recover(1)
    log.receipts += [settled, left_open]
    log.settle(log.kernel, settled.leaf, Status.UNKNOWN)
    early = log.start()  # before the open call was concluded
    log.settle(log.kernel, left_open.leaf, Status.UNKNOWN)
    late = log.start()
    faults = {log.receipts[-3].index: early, log.receipts[-1].index: late}
    assert [session for index, session in faults.items() if index in told(log.receipts)] == [early]


def test_a_start_costs_no_more_however_much_is_open() -> None:
    """It is counted, not copied: a log of a stranger's making could begin a process at every second receipt."""
    log = short()
    agent = log.start()
    intent = log.allow(agent)
    log.start_kernel()
    *before, start = log.receipts
    more = [replace(intent, leaf=digest(b"%d" % number), index=start.index + number) for number in range(5000)]
    processes = Processes({receipt.leaf: receipt.index for receipt in (*before, *more)})
    for receipt in (*before, *more):
        processes.append(receipt)
    tracemalloc.start()
    try:
        processes.append(start)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000, "a set of 5,000 digests has 25 times that"
