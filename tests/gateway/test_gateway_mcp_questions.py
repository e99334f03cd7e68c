"""What servers ask of clients, in all four pairs of eras: decided first, asked then, recorded before it goes on; and handles."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.memory_gate import ALL, SAID, Asked, Door, MemoryGate, until
from gateway.test_gateway_mcp import Client, Got, run
from helm_ai_kernel.gateway import mcp_questions, mcp_session
from helm_ai_kernel.tcb.errors import Refused

CAN = {"elicitation": {}, "sampling": {}, "roots": {}}
QUESTION = b'{"message":"who?","requestedSchema":{"type":"object"}}'
ANSWER = {"action": "accept", "content": {"name": "Ann"}}
NO_QUESTIONS = ALL + b'@id("ask-not") forbid (principal, action == Action::"alpha/elicitation/create", resource);\n'


def waiting(seen: list[Any]) -> Any:
    """A server of the older revisions: it asks while its call waits."""

    async def does(asked: Asked) -> bytes:
        try:
            seen.append(await asked.relay.asked("elicitation/create", QUESTION))
        except Refused as refused:
            seen.append(refused.sub)
        return SAID

    return does


def needing(seen: list[Any], state: bytes = b'"their state"', word: bytes = b"input_required") -> Any:
    """A server of 2026-07-28: its result asks, and its retry has the answer."""

    async def does(asked: Asked) -> bytes:
        seen.append(asked.inputs)
        if asked.inputs is not None and b"accept" in asked.inputs:
            return SAID
        return b'{"resultType":"%b","inputRequests":{"who":{"method":"elicitation/create","params":%b}},"requestState":%b}' % (
            word,
            QUESTION,
            state,
        )

    return does


async def question(got: Got) -> Any:
    """What a client with a session is asked, on the stream of its call."""
    events = got.events()
    async for _, message in events:
        if message is not None:
            return message, events
    raise AssertionError("nothing was asked")


@pytest.mark.parametrize("server", [waiting, needing])
def test_a_client_with_a_session_is_asked_on_its_stream_and_its_answer_is_recorded_first(server: Callable[..., Any]) -> None:
    async def body() -> None:
        seen: list[Any] = []
        client = Client(MemoryGate(server(seen)))
        await client.begin(CAN)
        asked, events = await question(await client.ask("tools/call", name="ask"))
        assert asked["method"] == "elicitation/create" and asked["params"] == json.loads(QUESTION)
        assert client.gate.told()[-1] == "ALLOW OK alpha/elicitation/create", "decided before it is asked"
        assert (await client.send({"jsonrpc": "2.0", "id": asked["id"], "result": ANSWER})).status == 202
        final = (await anext(events))[1]
        assert final["result"]["content"]
        reported = [line for line in client.gate.told() if line.startswith("REPORTED")]
        assert len(reported) == 1 and "Ann" in str(seen[-1])

    run(body)


@pytest.mark.parametrize("server", [waiting, needing])
def test_a_stateless_client_is_asked_by_a_result_and_goes_on_with_the_handle(server: Callable[..., Any]) -> None:
    async def body() -> None:
        seen: list[Any] = []
        client = Client(MemoryGate(server(seen)))
        got = (await client.modern("tools/call", CAN, name="ask")).value["result"]
        assert got["resultType"] == "input_required" and "their state" not in str(got)
        ((name, asked),) = got["inputRequests"].items()
        assert asked == {"method": "elicitation/create", "params": json.loads(QUESTION)}
        again = {"inputResponses": {name: ANSWER, "unasked": {"x": 1}}, "requestState": got["requestState"]}
        assert (await client.modern("tools/call", CAN, name="ask", **again)).value["result"]["content"]
        assert "Ann" in str(seen[-1]) and "unasked" not in str(seen)
        if server is needing:
            assert json.loads(seen[-1])["requestState"] == "their state"
            (decision,) = [one for one in client.gate.log.receipts if one.kind.value == "decision" and len(one.parents) > 1]
            assert len(decision.parents) == 2, "the outcome that asked, and what the client said"
        used = await client.modern("tools/call", CAN, name="ask", **again)
        assert used.code == -32602, "a handle is good once"

    run(body)


@pytest.mark.parametrize("server", [waiting, needing])
@pytest.mark.parametrize("modern", [False, True])
def test_a_question_that_policy_forbids_is_never_asked(server: Callable[..., Any], modern: bool) -> None:
    async def body() -> None:
        seen: list[Any] = []
        client = Client(MemoryGate(server(seen), policy=NO_QUESTIONS))
        await client.begin(CAN)
        got = await (client.modern("tools/call", CAN, name="ask") if modern else client.ask("tools/call", name="ask"))
        assert not got.streams and "who?" not in str(got.value)
        if server is waiting:
            assert seen == ["question"] and got.value["result"]["content"]
        else:
            assert got.value["result"]["isError"] and seen == [None]

    run(body)


def test_a_question_whose_word_is_written_with_escapes_is_decided_like_any_other() -> None:
    async def body() -> None:
        server = needing([], word=rb"input_requ\u0069red")
        denied = Client(MemoryGate(server, policy=NO_QUESTIONS))
        assert "who?" not in str((await denied.modern("tools/call", CAN, name="ask")).value)
        asked = Client(MemoryGate(server))
        assert (await asked.modern("tools/call", CAN, name="ask")).value["result"]["inputRequests"].keys() == {"who"}
        assert any("elicitation/create" in line for line in asked.gate.told())

    run(body)


@pytest.mark.parametrize("capabilities", [{}, {"sampling": {}}])
@pytest.mark.parametrize("modern", [False, True])
def test_a_client_is_not_asked_what_it_did_not_say_that_it_can_be_asked(capabilities: Any, modern: bool) -> None:
    async def body() -> None:
        for server, seen in ((waiting, []), (needing, [])):  # type: ignore[var-annotated]
            client = Client(MemoryGate(server(seen)))
            await client.begin(capabilities)
            ask = client.modern("tools/call", capabilities, name="ask") if modern else client.ask("tools/call", name="ask")
            got = await ask
            assert not got.streams and "who?" not in str(got.value)
            assert not any("elicitation" in line for line in client.gate.told())

    run(body)


@pytest.mark.parametrize("how", ["unknown", "other principal", "other request", "other door", "over", "no text", "null"])
def test_a_handle_opens_nothing_but_what_it_was_made_for(how: str) -> None:
    async def body() -> None:
        seen: list[Any] = []
        door = Door(MemoryGate(needing(seen), servers=("alpha", "beta")))
        client, bob = Client(door=door, path="/mcp/alpha"), Client(who="bob", door=door, path="/mcp/alpha")
        elsewhere = Client(door=door, path="/mcp/beta")
        handle = (await client.modern("tools/call", CAN, name="ask")).value["result"]["requestState"]
        said: dict[str, Any] = {"name": "ask", "inputResponses": {"who": ANSWER}, "requestState": handle}
        who = client
        match how:
            case "unknown":
                said["requestState"] = handle[:-1] + ("A" if handle[-1] != "A" else "B")
            case "other principal":
                who = bob
            case "other request":
                said["arguments"] = {"text": "x"}
            case "other door":
                who = elsewhere
            case "over":
                door.clock.now += mcp_questions.KEPT_S
            case "no text":
                said["requestState"] = 7
            case "null":
                said["requestState"] = None
        got = await who.modern("tools/call", CAN, **said)
        assert (got.status, got.code, len(seen)) == (400, -32602, 1)
        if how in ("unknown", "other principal", "other request", "other door"):
            said |= {"requestState": handle}
            said.pop("arguments", None)
            assert (await client.modern("tools/call", CAN, **said)).value["result"]["content"], "and it is not used up by that"

    run(body)


def test_answers_that_nobody_asked_for_are_not_passed_on() -> None:
    async def body() -> None:
        seen: list[Any] = []
        client = Client(MemoryGate(needing(seen)))
        got = await client.modern("tools/call", CAN, name="ask", inputResponses={"who": ANSWER})
        assert got.value["result"]["resultType"] == "input_required" and seen == [None]

    run(body)


@pytest.mark.parametrize("said", [None, [], {"question": 7}, "x", {"question": None}])
def test_an_answer_that_is_none_ends_the_wait_of_its_server(said: Any) -> None:
    async def body() -> None:
        seen: list[Any] = []
        client = Client(MemoryGate(waiting(seen)))
        handle = (await client.modern("tools/call", CAN, name="ask")).value["result"]["requestState"]
        got = await client.modern("tools/call", CAN, name="ask", inputResponses=said, requestState=handle)
        assert got.code == -32602
        await until(lambda: seen == ["client_silent"])
        await until(lambda: client.gate.told()[-1].startswith("OK"))

    run(body)


def test_a_parked_call_that_nobody_answers_learns_it_when_the_handle_is_over() -> None:
    async def body() -> None:
        seen: list[Any] = []
        client = Client(MemoryGate(waiting(seen)))
        await client.modern("tools/call", CAN, name="ask")
        client.door.clock.now += mcp_questions.KEPT_S - 1
        client.door.sessions.sweep()
        await asyncio.sleep(0)
        assert seen == []
        client.door.clock.now += 1
        client.door.sessions.sweep()
        await until(lambda: seen == ["client_silent"])

    run(body)


def test_the_oldest_of_too_many_handles_of_one_principal_is_forgotten_and_no_other_s(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        monkeypatch.setattr(mcp_questions, "KEPT_MAX", 2)
        seen: list[Any] = []
        door = Door(MemoryGate(waiting(seen)))
        ann, bob = Client(door=door), Client(who="bob", door=door)
        handles = [
            (one, (await one.modern("tools/call", CAN, name="ask")).value["result"]["requestState"])
            for one in (bob, ann, ann, ann)
        ]
        await until(lambda: seen == ["client_silent"])
        for n, (one, handle) in enumerate(handles):
            got = await one.modern("tools/call", CAN, name="ask", inputResponses={"question": ANSWER}, requestState=handle)
            assert ("error" in got.value) is (n == 1)

    run(body)


def test_a_parked_call_is_given_up_with_the_request_that_goes_on_with_it() -> None:
    async def body() -> None:
        seen: list[Any] = []

        async def does(asked: Asked) -> bytes:
            seen.append(await asked.relay.asked("elicitation/create", QUESTION))
            asked.relay.said("notifications/message", b'{"level":"info","data":1}')
            await asyncio.Event().wait()
            raise AssertionError

        client = Client(MemoryGate(does))
        handle = (await client.modern("tools/call", CAN, name="ask")).value["result"]["requestState"]
        got = await client.modern("tools/call", CAN, name="ask", inputResponses={"question": ANSWER}, requestState=handle)
        events = got.events()
        assert (await anext(events))[1]["method"] == "notifications/message", "it is said where the call goes on"
        await got.leave()
        await until(lambda: client.gate.told()[-1].startswith("UNKNOWN"))

    run(body)


def test_a_session_that_ends_ends_the_wait_for_its_answers() -> None:
    async def body() -> None:
        seen: list[Any] = []
        client = Client(MemoryGate(waiting(seen)))
        await client.begin(CAN)
        await question(await client.ask("tools/call", name="ask"))
        await client.send(b"", method="DELETE")
        await until(lambda: seen == ["client_silent"])

    run(body)


def test_an_answer_belongs_to_the_session_that_was_asked_and_is_taken_once() -> None:
    async def body() -> None:
        seen: list[Any] = []
        door = Door(MemoryGate(waiting(seen)))
        ann, bob, other = Client(door=door), Client(who="bob", door=door), Client(door=door)
        for one in (ann, bob, other):
            await one.begin(CAN)
        asked, events = await question(await ann.ask("tools/call", name="ask"))
        answer = {"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}}
        for one in (bob, other):
            await one.send(answer)
        await asyncio.sleep(0)
        assert seen == [] and door.counted == ["ERR_MCP_ID_CONFLICT"] * 2
        await ann.send({"jsonrpc": "2.0", "id": asked["id"] + "x", "result": {}})
        for _ in range(2):
            await ann.send(answer)
        assert (await anext(events))[1]["result"]["content"]
        assert len(seen) == 1 and door.counted == ["ERR_MCP_ID_CONFLICT"] * 4

    run(body)


def test_an_error_of_the_client_and_an_answer_of_another_shape_do_not_reach_the_server() -> None:
    async def body() -> None:
        for said in ({"error": {"code": 1, "message": "secret-7"}}, {"result": {"content": []}}):
            seen: list[Any] = []
            client = Client(MemoryGate(waiting(seen)))
            await client.begin(CAN)
            asked, events = await question(await client.ask("tools/call", name="ask"))
            await client.send({"jsonrpc": "2.0", "id": asked["id"], **said})
            assert (await anext(events))[1]["result"] and "secret-7" not in str(seen) and isinstance(seen[0], str)

    run(body)


def test_questions_to_one_client_at_once_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        monkeypatch.setattr(mcp_session, "ASKED_MAX", 1)
        seen: list[Any] = []
        client = Client(MemoryGate(waiting(seen)))
        await client.begin(CAN)
        await question(await client.ask("tools/call", name="ask"))
        assert (await client.ask("tools/call", name="ask")).value["result"] and seen == ["asked"]

    run(body)


def test_a_server_that_asks_on_and_on_gets_no_further_answer() -> None:
    async def body() -> None:
        seen: list[Any] = []

        async def does(asked: Asked) -> bytes:
            seen.append(1)
            return b'{"resultType":"input_required","inputRequests":{"r":{"method":"roots/list"}}}'

        client = Client(MemoryGate(does))
        await client.begin(CAN)
        got = await client.ask("tools/call", name="ask")
        async for _, message in got.events():
            if message is not None and "method" in message:
                await client.send({"jsonrpc": "2.0", "id": message["id"], "result": {"roots": []}})
        assert message["result"]["isError"] and len(seen) == 16

    run(body)


def test_a_stateless_client_may_be_asked_again_in_the_answer_to_its_answer() -> None:
    async def body() -> None:
        async def does(asked: Asked) -> bytes:
            first = json.loads(await asked.relay.asked("roots/list", b"{}"))
            second = json.loads(await asked.relay.asked("elicitation/create", QUESTION))
            return b'{"content":[{"type":"text","text":"%d %b"}]}' % (len(first["roots"]), second["action"].encode())

        client = Client(MemoryGate(does))
        first = (await client.modern("tools/call", CAN, name="ask")).value["result"]
        answer = {"question": {"roots": [{"uri": "file:///a"}]}}
        second = await client.modern("tools/call", CAN, name="ask", inputResponses=answer, requestState=first["requestState"])
        handle = second.value["result"]["requestState"]
        assert handle != first["requestState"]
        last = await client.modern("tools/call", CAN, name="ask", inputResponses={"question": ANSWER}, requestState=handle)
        assert last.value["result"]["content"][0]["text"] == "1 accept"

    run(body)


def test_a_client_that_takes_no_stream_is_not_asked_on_one() -> None:
    async def body() -> None:
        seen: list[Any] = []
        client = Client(MemoryGate(waiting(seen)))
        await client.begin(CAN)
        got = await client.send(client.message("tools/call", name="ask"), accept="application/json")
        assert got.value["result"]["content"] and seen == ["client_silent"]

    run(body)


def test_a_call_that_is_given_up_while_it_waits_for_a_person_is_not_made() -> None:
    async def body() -> None:
        policy = ALL + b'@id("ask") @require("approval") forbid (principal, action == Action::"alpha/say", resource);\n'
        client = Client(MemoryGate(policy=policy))
        await client.begin(CAN)
        message = client.message("tools/call", name="say")
        asked, events = await question(await client.send(message))
        assert "approval" in asked["params"]["message"]
        await client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": message["id"]}})
        decisions = len(client.gate.told())
        await until(lambda: not client.door.tasks)
        await client.send({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept"}})
        assert [one async for one in events] == [] and len(client.gate.told()) == decisions == 1

    run(body)
