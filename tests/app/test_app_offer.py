"""What clients act on, through the running kernel: the verdict, the report, and what goes between a server and the client."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from app.kernels import OPEN, Place
from helm_ai_kernel.app import asks, offers
from helm_ai_kernel.app.runtime import Beside, Runtime
from helm_ai_kernel.connectors.python import PythonConnector
from helm_ai_kernel.executor.host import Answer, Connector, Patience, Relay, Reply, ReplyKind
from helm_ai_kernel.executor.relay import message
from helm_ai_kernel.ledger import jobs
from helm_ai_kernel.ledger.caused import Cause
from helm_ai_kernel.pep.catalog import entry, server_doc
from helm_ai_kernel.tcb.ceremony import Act
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Status, Verdict
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.interim import Interim
from helm_ai_kernel.tcb.receipt import Receipt

NOTE = b'{"tool":"python/note","arguments":{"text":"x"}}'
KEYED = b'{"tool":"python/note","arguments":{"text":"x"},"idempotency_key":"k"}'
YES = b'"yes"'
ASK = OPEN + b'@id("ask") @require("approval") forbid (principal, action, resource);\n'


def note(text: str) -> str:
    return f"noted {text}"


class Talking:
    """A server that speaks and asks while it is called."""

    def __init__(self) -> None:
        self.inputs: bytes | None = None
        self.relay: Relay | None = None
        self.answered: bytes | None = None

    async def call(
        self, name: str, args: bytes, *, key: str | None, wall_ms: int, output_bytes: int,
        relay: Relay | None = None, inputs: bytes | None = None,
    ) -> Reply:  # fmt: skip
        self.inputs, self.relay = inputs, relay
        if relay is not None:
            relay.said("notifications/progress", b'{"progress":1}')
            self.answered = await relay.asked("elicitation/create", b"{}")
            relay.said("notifications/message", b'{"level":"info"}')
        return Reply(ReplyKind.OUTPUT, 1, output=b'"noted"')

    async def close(self) -> None:
        pass


class Client:
    """Who called, through a door: each question is decided and its answer recorded before it goes to the server."""

    capabilities = b'{"elicitation":{}}'
    level = None

    def __init__(self, runtime: Runtime, answer: bytes = b'"yes"') -> None:
        self.runtime = runtime
        self.answer = answer
        self.told: list[tuple[str, bytes]] = []
        self.reported: list[Answer] = []

    def said(self, method: str, params: bytes) -> None:
        self.told.append((method, params))

    async def asked(self, method: str, params: bytes) -> bytes:
        verdict = await self.runtime.offer(NOTE, principal="ann", door="mcp")
        if verdict.verdict is not Verdict.ALLOW:
            raise Refused(verdict.reason, "the question may not be asked")
        told = await self.runtime.report(verdict.decision, self.answer, 5, principal="ann")
        self.reported.append(told)
        if told.output is None:
            raise Refused(told.reason, "the answer breaks its contract")
        return told.output


def served(
    place: Place, body: Callable[[Runtime], Coroutine[Any, Any, None]], *, policy: bytes = OPEN, closes: bool = False
) -> None:
    async def main() -> None:
        hands = PythonConnector((note,))
        proposal = [entry(name, raw, effect="write") for name, raw in hands.definitions.items()]
        runtime = await Runtime.open(place.config, connectors={"python": hands})
        try:
            await place.signing(server_doc("python", {"kind": "python"}, proposal), policy)(runtime)
            await body(runtime)
        finally:
            if not closes:
                await runtime.close()

    asyncio.run(main())
    place.check()


async def offered(runtime: Runtime, raw: bytes = NOTE, principal: str = "ann", **how: Any) -> Answer:
    return await runtime.offer(raw, principal=principal, door="mcp", **how)


async def told(runtime: Runtime, decision: Receipt, output: bytes | None = YES, principal: str = "ann", **how: Any) -> Answer:
    return await runtime.report(decision, output, 5, principal=principal, **how)


def test_what_a_client_was_allowed_it_reports_once_and_nobody_else_does(place: Place) -> None:
    async def body(runtime: Runtime) -> None:
        verdict = await offered(runtime)
        assert (verdict.verdict, verdict.outcome) == (Verdict.ALLOW, None)
        for principal in ("bob", "local", "kernel", ""):
            with pytest.raises(Refused):
                await told(runtime, verdict.decision, principal=principal)
        answer = await told(runtime, verdict.decision)
        assert (answer.output, answer.reason) == (b'"yes"', Reason.OK)
        with pytest.raises(Refused):
            await told(runtime, verdict.decision)
        call = await runtime.call(NOTE, principal="ann", door="mcp")
        with pytest.raises(Refused):
            await told(runtime, call.decision)
        with pytest.raises(Refused):
            await told(runtime, replace(verdict.decision, leaf=call.decision.leaf))

    served(place, body)
    assert place.told("outcome") == ["outcome REPORTED", "outcome OK"]


def test_what_breaks_the_contract_is_recorded_and_goes_nowhere_and_no_tool_is_held(place: Place) -> None:
    async def body(runtime: Runtime) -> None:
        answer = await told(runtime, (await offered(runtime)).decision, b"7")
        assert (answer.output, answer.reason) == (None, Reason.ERR_CONNECTOR_CONTRACT_DRIFT)
        declined = await told(runtime, (await offered(runtime)).decision, None, sub="declined")
        assert (declined.output, declined.reason) == (None, Reason.ERR_CONNECTOR_FAILED)
        assert (await runtime.call(NOTE, principal="ann", door="mcp")).output == b'"noted x"'

    served(place, body)
    assert place.told("outcome", "hold")[:2] == [
        "outcome REPORTED ERR_CONNECTOR_CONTRACT_DRIFT type at /type",
        "outcome REPORTED ERR_CONNECTOR_FAILED declined",
    ]


def test_a_question_is_decided_and_its_answer_recorded_before_the_server_has_it(place: Place) -> None:
    async def body(runtime: Runtime) -> None:
        server, client = Talking(), Client(runtime)
        runtime.hands._given["python"] = server  # type: ignore[assignment]
        answer = await runtime.call(NOTE, principal="ann", door="mcp", beside=Beside(client, b'{"requestState":"s"}'))
        assert (answer.output, server.answered, server.inputs) == (b'"noted"', b'"yes"', b'{"requestState":"s"}')
        sent = [("notifications/progress", b'{"progress":1}'), ("notifications/message", b'{"level":"info"}')]
        assert client.told == sent and answer.outcome is not None
        expected = Interim().next(message(*sent[0])).next(message(*sent[1]))
        assert answer.outcome.body["interim"] == expected.to_json()
        assert server.relay is not None
        server.relay.said("notifications/message", b'{"late":1}')
        assert client.told == sent, "behind the outcome nothing is released any more"
        again = [Cause(one.outcome.index, one.outcome.leaf) for one in (*client.reported, answer) if one.outcome is not None]
        went = await runtime.call(NOTE, principal="ann", door="mcp", beside=Beside(causes=tuple(again)))
        assert went.decision.parents == tuple(one.leaf for one in again)
        with pytest.raises(Refused):
            await runtime.call(NOTE, principal="bob", door="mcp", beside=Beside(causes=tuple(again)))
        runtime.hands._given["python"] = PythonConnector((note,))

    served(place, body)
    assert place.told("decision", "outcome")[:4] == [
        "decision ALLOW OK python/note",
        "decision ALLOW OK python/note",
        "outcome REPORTED",
        "outcome OK",
    ]


def test_an_answer_that_breaks_its_contract_reaches_no_server(place: Place) -> None:
    async def body(runtime: Runtime) -> None:
        server, client = Talking(), Client(runtime, b"7")
        runtime.hands._given["python"] = server  # type: ignore[assignment]
        answer = await runtime.call(NOTE, principal="ann", door="mcp", beside=Beside(client))
        assert server.answered is None and answer.reason is Reason.ERR_OUTCOME_UNKNOWN
        assert answer.outcome is not None and answer.outcome.body["interim"]["count"] == 1  # type: ignore[index,call-overload]

    served(place, body)


def test_an_approval_is_used_once_by_the_side_that_it_was_given_for(place: Place) -> None:
    async def body(runtime: Runtime) -> None:
        waits = await offered(runtime)
        assert waits.reason is Reason.ERR_APPROVAL_REQUIRED
        (about,) = await asyncio.to_thread(asks.waiting, place.config)
        await asks.say(runtime, about, Act.APPROVE, place.approver)
        kernels = await runtime.call(NOTE, principal="ann", door="mcp")
        assert kernels.reason is Reason.ERR_APPROVAL_REQUIRED, "a person approved that the client acts"
        went = await offered(runtime)
        assert went.decision.is_offer and went.decision.body["relies"]
        assert (await offered(runtime)).reason is Reason.ERR_APPROVAL_REQUIRED
        held = await asyncio.to_thread(asks.waiting, place.config)
        assert sorted(asks.to_json(one)["effect_by"] for one in held) == ["client", "kernel"]

    served(place, body, policy=ASK)


def test_a_client_that_waits_for_a_person_goes_when_they_have_approved(place: Place) -> None:
    async def body(runtime: Runtime) -> None:
        waits = asyncio.create_task(offered(runtime, patience=Patience(60.0)))
        found: list[asks.Waiting] = []
        while not found:  # the log says when, and nothing else does
            found = await asyncio.to_thread(asks.waiting, place.config)
        await asks.say(runtime, found[0], Act.APPROVE, place.approver)
        went = await waits
        assert went.decision.is_offer
        assert (await told(runtime, went.decision)).output == b'"yes"'

    served(place, body, policy=ASK)


def test_a_report_is_taken_while_the_kernel_closes_and_not_when_it_has(place: Place) -> None:
    async def body(runtime: Runtime) -> None:
        first, second = await offered(runtime), await offered(runtime)
        closing = asyncio.create_task(runtime.close())
        await asyncio.sleep(0)
        with pytest.raises(OutsideError):
            await offered(runtime)
        reported = asyncio.create_task(told(runtime, first.decision))
        await closing
        assert (await reported).outcome is not None
        with pytest.raises(OutsideError):
            await told(runtime, second.decision)

    served(place, body, closes=True)


def test_a_restart_forgets_what_was_allowed_and_leaves_no_gap(place: Place) -> None:
    kept: list[Receipt] = []

    async def first(runtime: Runtime) -> None:
        kept.append((await offered(runtime, KEYED)).decision)

    async def second(runtime: Runtime) -> None:
        with pytest.raises(Refused):
            await told(runtime, kept[0])
        assert (await offered(runtime, KEYED)).reason is Reason.ERR_IDEMPOTENCY_IN_FLIGHT
        assert (await runtime.call(KEYED, principal="ann", door="mcp")).reason is Reason.ERR_IDEMPOTENCY_MISMATCH

    served(place, first)
    served(place, second)


def test_who_never_reports_takes_no_more_room_than_others(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (offers, jobs):
        monkeypatch.setattr(module, "OFFERED_MAX", 2)

    async def body(runtime: Runtime) -> None:
        theirs = await offered(runtime, principal="bob")
        mine = [await offered(runtime) for _ in range(3)]
        with pytest.raises(Refused):
            await told(runtime, mine[0].decision)
        for one in mine[1:]:
            assert (await told(runtime, one.decision)).outcome is not None
        answer = await told(runtime, theirs.decision, principal="bob")
        assert answer.outcome is not None and answer.outcome.status is Status.REPORTED

    served(place, body)


def test_every_connector_takes_a_relay_and_inputs_and_may_leave_them_alone() -> None:
    async def main() -> None:
        hands: Connector = PythonConnector((note,))
        reply = await hands.call("note", b'{"text":"x"}', key=None, wall_ms=1000, output_bytes=100, relay=None, inputs=b"{}")
        assert reply.output == b'"noted x"' and reply.interim is None
        await hands.close()

    asyncio.run(main())
