"""The flow vectors, read by whoever else must agree with them: the two models, the verifier's fold and its whole checklist."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest

from executor.desk import Desk, boundary, budgets, earlier, vectors, work
from executor.memory import MemoryHost, MemoryLog, run
from helm_ai_kernel.executor.recover import recover
from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.flows import Flows
from helm_ai_kernel.tcb.process import Processes
from helm_ai_kernel.tcb.receipt import Receipt
from models import decision_model, flow_model
from models.chain_model import Link, is_whole
from models.decision_model import World

ids = [vector["flow"] for vector in vectors()]
WORLDS = {  # what the model knows of the tools of the desk
    "desk/echo": World(),
    "desk/forbidden": World(forbidden=True),
    "desk/wipe": World(asks=True),
    "desk/unknown": World("ERR_TOOL_NOT_ALLOWED"),
}
REPLIES = {'"done"': "done", "7": "drift", "failed": "failed", "changed": "changed", "unknown": "unknown"}


def modelled(given: Mapping[str, Any]) -> World:
    if "request" in given:
        return World("ERR_JSON_NOT_IJSON")
    world = WORLDS[given["tool"]]
    if not isinstance(given.get("arguments", {}).get("text", ""), str):
        return World("ERR_SCHEMA_VIOLATION")
    claim = ("done" if len(given["before"]) > 1 else "open", True) if "before" in given and "key" in given else None
    return world._replace(
        held="held" in given, key="key" in given, claim=claim, budget=tuple(given.get("budget", {}).items())
    )  # fmt: skip


@pytest.mark.parametrize("vector", vectors(), ids=ids)
def test_every_vector_is_what_the_models_derive_from_what_it_gives(vector: Mapping[str, Any]) -> None:
    said = decision_model.decide(modelled(vector["given"]))
    given = vector["given"]
    if "report" in given:
        story = flow_model.report(REPLIES[given["report"]])
    elif "by" in given:
        story = flow_model.offer(said.verdict, said.reason)
    else:
        story = flow_model.story(said.verdict, said.reason, REPLIES[given.get("reply", '"done"')])
    assert [step for step, _ in story.steps] == vector["steps"]
    assert list(story.receipts) == vector["receipts"]
    assert (story.effects, said.verdict) == (vector["effects"], vector["answer"])
    derived = [{**kill._asdict(), "log": list(kill.log), "recovered": list(kill.recovered)} for kill in story.kills()]
    assert derived == vector["crashes"]


def test_the_models_reach_every_answer_that_a_connector_can_give() -> None:
    given = {REPLIES[vector["given"].get("reply", '"done"')] for vector in vectors() if vector["effects"]}
    assert given == flow_model.REPLIES.keys()
    told = {REPLIES[vector["given"]["report"]] for vector in vectors() if "report" in vector["given"]}
    assert told == flow_model.REPORTS.keys()


def told(vector: Mapping[str, Any], before: str = "") -> MemoryLog:
    """The log of the flow in a world of its own, by a process that was killed before that step, or by one that was not."""
    given = vector["given"]
    log = MemoryLog(budgets(given))
    log.activate(boundary())
    host = MemoryHost(log, log.session("agent", "python"), Desk())
    for done in earlier(given, host):
        run(done)
    host.desk.reply = given.get("reply", '"done"')
    under_way = work(given, host)
    with suppress(StopIteration):
        while under_way.send(None) != before:
            pass
    under_way.close()
    return log


@pytest.mark.parametrize("vector", vectors(), ids=ids)
def test_the_verifier_follows_every_vector_to_every_kill_and_over_the_next_start(vector: Mapping[str, Any]) -> None:
    follow(told(vector), open_intents=0)
    for crash in vector["crashes"]:
        log = told(vector, crash["before"])
        follow(log, open_intents=len(crash["recovered"][2:]))
        run(recover(log, clean=log.begin()))
        log.end()
        follow(log, open_intents=0)


def follow(log: MemoryLog, *, open_intents: int) -> None:
    """By the fold of the flows, by that of the processes, by the model of the chain, and by the checklist over the pack."""
    processes = Processes({receipt.leaf: receipt.index for receipt in log.receipts})
    for receipt in log.receipts:
        processes.append(receipt)
    assert len(folded(log.receipts).open) == open_intents
    assert is_whole([link(receipt) for receipt in log.receipts])
    report = verify(log.pack(), Question(genesis=log.registry.genesis))
    assert report.exit is (Exit.INCOMPLETE if open_intents else Exit.VALID), report.to_text()


def folded(receipts: Sequence[Receipt]) -> Flows:
    flows = Flows({}, {receipt.leaf: receipt.index for receipt in receipts})
    for receipt in receipts:
        flows.append(receipt)
    return flows


def link(one: Receipt) -> Link:
    event, count = str(one.body.get("event", "")), int(str(one.body.get("count", -1)))
    return Link(one.session, one.seq, one.prev, one.leaf, one.trust.head, event, count)


@pytest.mark.parametrize(
    "vector", [vector for vector in vectors() if len(vector["receipts"]) > 1], ids=lambda vector: vector["flow"]
)
def test_no_two_receipts_of_a_vector_can_change_places(vector: Mapping[str, Any]) -> None:
    """Otherwise the verifier could be one that follows anything."""
    receipts = told(vector).receipts
    for at in range(len(receipts) - len(vector["receipts"]), len(receipts) - 1):
        with pytest.raises(EvidenceError):
            folded([*receipts[:at], receipts[at + 1], receipts[at]])
