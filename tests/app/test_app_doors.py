"""The data plane over a real kernel: what a caller gets, and what is never in it."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.kernels import Place
from helm_ai_kernel.app import agents, asks
from helm_ai_kernel.app.doors import RuntimeGate
from helm_ai_kernel.app.mcp import sessions, starter
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.connectors.python import PythonConnector
from helm_ai_kernel.gateway.data import DataDoor
from helm_ai_kernel.gateway.gaps import Gaps
from helm_ai_kernel.gateway.identity import Agent, DataIdentity, Limits
from helm_ai_kernel.gateway.limits import Limiter
from helm_ai_kernel.gateway.mcp import McpDoor
from helm_ai_kernel.net.door import Peer
from helm_ai_kernel.pep.catalog import entry, server_doc
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.ceremony import Act
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.wire.head import Head
from helm_ai_kernel.wire.reply import Reply
from helm_ai_kernel.wire.status import STATUS

PEER = Peer("127.0.0.1:40000", None, None)
CANARY = "canary-1f9d"
POLICY = b"""
@id("all") permit (principal, action, resource);
@id("not-bob") forbid (principal == Agent::"bob", action, resource);
@id("asks") @require("approval") forbid (principal, action == Action::"python/hold", resource);
"""


@dataclass
class Told:
    gaps: list[tuple[str, dict[str, int]]] = field(default_factory=list)

    async def gap(self, door: str, counts: Mapping[str, int]) -> None:
        self.gaps.append((door, dict(counts)))


@dataclass
class World:
    runtime: Runtime
    door: DataDoor
    told: Told
    tokens: dict[str, str]
    gaps: Gaps

    async def send(
        self, body: bytes = b"", *, method: str = "POST", path: str = "/mcp/v1/execute", who: str | None = "ann", **fields: str
    ) -> tuple[int, dict[str, str], Any]:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        if who is not None:
            named["authorization"] = f"Bearer {self.tokens[who]}"
        path, _, query = path.partition("?")
        head = Head(method, path, query, "localhost", named)
        reply = self.door.admit(head, PEER) or await self.door.answer(head, body, PEER)
        return read(reply)


def read(reply: Reply) -> tuple[int, dict[str, str], Any]:
    assert isinstance(reply.body, bytes)
    return reply.status, {name.lower(): value for name, value in reply.fields}, parse(reply.body, any_number=True)


def run(place: Place, body: Callable[[World], Awaitable[None]]) -> None:
    async def say(text: str) -> str:
        if text == "boom":
            raise ValueError(CANARY)
        return text

    async def big() -> dict[str, int]:
        return {"id": 12345678901234567890}

    async def hold() -> None: ...

    async def main() -> None:
        hands = PythonConnector((say, big, hold))
        runtime = await Runtime.open(place.config, connectors={"python": hands})
        limits = {"bob": Limits(), "slow": Limits(per_s=1, burst=2)}
        tokens = {name: agents.add(place.paths, Agent(name, limits=limits.get(name, Limits())), token=True).token or ""
                  for name in ("ann", "bob", "slow")}  # fmt: skip
        told = Told()
        gaps = Gaps("data", told, runtime.keep)
        now = iter(range(10**9))
        mcp = McpDoor(sessions(runtime, gaps.count), starter(runtime))
        door = DataDoor(
            RuntimeGate(runtime), mcp, DataIdentity(agents.Watched(place.paths)), Limiter(lambda: next(now)), gaps
        )  # fmt: skip
        try:
            proposal = [entry(name, raw, effect="read") for name, raw in hands.definitions.items()]
            await place.signing(server_doc("python", {"kind": "python"}, proposal), POLICY)(runtime)
            await body(World(runtime, door, told, tokens, gaps))
        finally:
            await gaps.flush()
            await runtime.close()

    asyncio.run(main())
    place.check()


def request(tool: str = "say", **arguments: Any) -> bytes:
    import json

    return json.dumps({"tool": f"python/{tool}", "arguments": arguments}).encode()


def test_an_allowed_call_is_answered_with_its_output_and_its_evidence(place: Place) -> None:
    async def body(world: World) -> None:
        status, fields, value = await world.send(request(text="hello"), traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01")
        assert (status, value["result"]) == (200, "hello")
        helm = value["helm"]
        assert (helm["verdict"], helm["reason"], helm["outcome"]["status"]) == ("ALLOW", "OK", "OK")
        receipt, outcome = (place.receipts()[helm[name]["index"]] for name in ("receipt", "outcome"))
        assert (receipt.leaf, receipt.session, receipt.seq) == (
            helm["receipt"]["leaf"], helm["receipt"]["session"], helm["receipt"]["seq"],
        )  # fmt: skip
        assert fields["helm-receipt"] == receipt.leaf
        assert (fields["helm-verdict"], fields["helm-session"]) == ("ALLOW", receipt.session)
        assert base64.b64decode(fields["helm-checkpoint"]).decode() == helm["checkpoint"]
        assert fields["traceparent"].startswith("00-1111")
        salts = {name: bytes.fromhex(salt) for name, salt in helm["salts"].items()}
        assert hashes.attachment_name(salts["arguments"], b'{"text":"hello"}') == receipt.body["args_hash"]
        assert hashes.attachment_name(salts["output"], b'"hello"') == outcome.body["output_hash"]

    run(place, body)


def test_an_output_is_released_byte_for_byte(place: Place) -> None:
    async def body(world: World) -> None:
        assert (await world.send(request("big")))[2]["result"] == {"id": 12345678901234567890}

    run(place, body)


@pytest.mark.parametrize(
    ("body", "who", "status", "code"),
    [
        (request("nothing"), "ann", 403, "ERR_TOOL_NOT_ALLOWED"),
        (request(text="x"), "bob", 403, "ERR_POLICY_DENY"),
        (request("hold"), "ann", 202, "ERR_APPROVAL_REQUIRED"),
        (request(text=7), "ann", 400, "ERR_SCHEMA_VIOLATION"),
        (b'{"tool":"a","tool":"b","arguments":{}}', "ann", 400, "ERR_JSON_NOT_IJSON"),
        (b"[]", "ann", 400, "ERR_UPSTREAM_SHAPE"),
        (b"", "ann", 400, "ERR_JSON_NOT_IJSON"),
        (request(text="boom"), "ann", 409, "ERR_OUTCOME_UNKNOWN"),
    ],
)
def test_every_other_answer_says_why_by_its_status_its_code_and_its_receipt(
    place: Place, body: bytes, who: str, status: int, code: str
) -> None:
    async def work(world: World) -> None:
        got, fields, value = await world.send(body, who=who)
        helm = value["helm"]
        assert (got, helm["reason"]) == (status, code)
        assert "result" not in value
        receipt = place.receipts()[helm["receipt"]["index"]]
        assert fields["helm-receipt"] == helm["receipt"]["leaf"] == receipt.leaf
        assert helm["verdict"] == receipt.verdict
        if status != 202:
            assert value["error"]["type"] == "helm_refused" and value["error"]["code"] == code
        assert CANARY not in str(value)

    run(place, work)


def test_a_repeat_is_answered_with_the_first_outcome_wherever_its_key_stands(place: Place) -> None:
    async def body(world: World) -> None:
        plain, inside = request(text="once"), request(text="once")[:-1] + b',"idempotency_key":"k1"}'
        first = (await world.send(plain, idempotency_key="k1"))[2]
        for sent, fields in ((plain, {"idempotency_key": "k1"}), (inside, {}), (inside, {"idempotency_key": "k1"})):
            status, _, value = await world.send(sent, **fields)
            assert (status, value["result"], value["helm"]["reason"]) == (200, "once", "REPEATED")
            assert value["helm"]["outcome"] == first["helm"]["outcome"]
        status, _, value = await world.send(inside, idempotency_key="k2")
        assert (status, value["error"]["code"]) == (400, "ERR_UPSTREAM_SHAPE")
        status, _, value = await world.send(request(text="other"), idempotency_key="k1")
        assert (status, value["error"]["code"]) == (422, "ERR_IDEMPOTENCY_MISMATCH")
        assert (await world.send(b"[]", idempotency_key="k1"))[2]["error"]["code"] == "ERR_UPSTREAM_SHAPE"
        assert (await world.send(b"{", idempotency_key="k1"))[2]["error"]["code"] == "ERR_JSON_NOT_IJSON"

    run(place, body)
    assert place.told("outcome") == ["outcome OK"]


def test_a_stranger_gets_the_same_refusal_everywhere_and_leaves_no_receipt(place: Place) -> None:
    async def body(world: World) -> None:
        before = len(place.receipts())
        answers = [await world.send(request(text="x"), who=None, path=path) for path in ("/mcp/v1/execute", "/nowhere")]
        answers.append(await world.send(request(text="x"), who=None, x_api_key="C" * 43))
        assert len({str(answer) for answer in answers}) == 1
        status, fields, value = answers[0]
        assert (status, value["error"]["code"], fields["www-authenticate"]) == (401, "ERR_UNAUTHENTICATED", "Bearer")
        assert len(place.receipts()) == before
        await world.gaps.flush()
        assert world.told.gaps == [("data", {"ERR_UNAUTHENTICATED": 3})]

    run(place, body)


def test_what_is_no_door_is_said_and_counted(place: Place) -> None:
    async def body(world: World) -> None:
        for method, path, status in (
            ("POST", "/v1/receipts", 404),
            ("GET", "/mcp/v1/execute", 405),
            ("DELETE", "/mcp/v1/execute", 405),
            ("POST", "/mcp/v1/capabilities", 405),
            ("GET", "/mcp/v1/execute/", 404),
            ("GET", "/mcp/v1/%65xecute", 404),
        ):
            got, fields, value = await world.send(method=method, path=path)
            assert (got, value["error"]["code"]) == (status, "ERR_UNMEDIATED_TRANSPORT")
            assert ("allow" in fields) == (status == 405)
        await world.gaps.flush()
        assert world.told.gaps == [("data", {"ERR_UNMEDIATED_TRANSPORT": 6})]

    run(place, body)


def test_an_agent_beyond_its_rate_is_told_when_to_come_again_and_others_are_not_touched(place: Place) -> None:
    async def body(world: World) -> None:
        got = [await world.send(request(text="x"), who="slow") for _ in range(4)]
        assert [status for status, _, _ in got] == [200, 200, 429, 429]
        assert got[-1][1]["retry-after"] == "1"
        assert got[-1][2]["error"]["code"] == "ERR_RATE_LIMITED"
        assert (await world.send(request(text="x")))[0] == 200
        await world.gaps.flush()
        assert world.told.gaps == [("data", {"ERR_RATE_LIMITED": 2})]

    run(place, body)


def test_an_agent_that_is_removed_is_refused_from_its_next_request_on_also_between_head_and_body(place: Place) -> None:
    async def body(world: World) -> None:
        head = Head("POST", "/mcp/v1/execute", "", "localhost", {"authorization": f"Bearer {world.tokens['ann']}"})
        assert world.door.admit(head, PEER) is None
        agents.remove(place.paths, "ann")
        assert (await world.door.answer(head, request(text="x"), PEER)).status == 401
        assert (await world.send(request(text="x"), who="ann"))[0] == 401

    run(place, body)
    assert place.told("decision") == []


def test_capabilities_are_the_pinned_tools_that_are_not_held_with_their_schemas(place: Place) -> None:
    async def body(world: World) -> None:
        status, _, value = await world.send(method="GET", path="/mcp/v1/capabilities")
        assert (status, value["principal"]) == (200, "ann")
        tools = {tool["name"]: tool for tool in value["tools"]}
        assert tools.keys() == {"python/say", "python/big", "python/hold"}
        assert tools["python/say"]["inputSchema"]["required"] == ["text"]
        assert tools["python/say"]["effect"] == "read"
        world.runtime.ledger.writer.state.holds["python/say"] = hashes.digest(b"")  # type: ignore[index]
        value = (await world.send(method="GET", path="/mcp/v1/capabilities"))[2]
        del world.runtime.ledger.writer.state.holds["python/say"]  # type: ignore[attr-defined]
        assert "python/say" not in {tool["name"] for tool in value["tools"]}

    run(place, body)


@pytest.mark.parametrize("named", ["0" * 32, "x", "", "a" * 10_000])
def test_a_session_that_the_caller_makes_up_is_refused(place: Place, named: str) -> None:
    async def body(world: World) -> None:
        status, _, value = await world.send(request(text="x"), helm_session=named)
        assert (status, value["error"]["code"]) == (409, "ERR_SESSION_ENDED")
        _, fields, _ = await world.send(request(text="x"))
        assert (await world.send(request(text="y"), helm_session=fields["helm-session"]))[0] == 200
        assert (await world.send(request(text="y"), who="slow", helm_session=fields["helm-session"]))[0] == 409

    run(place, body)


def test_a_sealed_kernel_says_so_and_executes_nothing(place: Place) -> None:
    async def body(world: World) -> None:
        writer = world.runtime.ledger.writer
        sealed, writer.sealed = writer.sealed, f"why {CANARY}"
        status, _, value = await world.send(request(text="x"))
        writer.sealed = sealed
        assert (status, value["error"]["code"]) == (503, "ERR_SEALED")
        assert CANARY not in str(value), "why is for the operator"

    run(place, body)


def test_a_caller_that_waits_for_a_person_and_is_removed_meanwhile_gets_nothing_dispatched(place: Place) -> None:
    async def body(world: World) -> None:
        waits = asyncio.create_task(world.send(request("hold"), prefer="wait=60"))
        while not world.runtime.ledger.writer.state.approvals.held:  # noqa: ASYNC110  (the log says when, and nothing else does)
            await asyncio.sleep(0)
        agents.remove(place.paths, "ann")
        (about,) = await asyncio.to_thread(asks.waiting, place.config)
        await asks.say(world.runtime, about, Act.APPROVE, place.approver)
        status, _, value = await waits
        assert (status, value["helm"]["verdict"]) == (202, "ESCALATE")

    run(place, body)
    assert not [receipt for receipt in place.receipts() if receipt.is_intent]


def test_a_verdict_is_that_of_the_same_request_with_its_key_and_its_session(place: Place) -> None:
    async def body(world: World) -> None:
        assert (await world.send(request(text="a"), idempotency_key="k"))[0] == 200
        for path in ("/mcp/v1/execute", "/v1/evaluate"):
            assert (await world.send(request(text="b"), path=path, idempotency_key="k"))[0] == 422
            assert (await world.send(request(text="b"), path=path, helm_session="0" * 32))[0] == 409
            status, _, value = await world.send(request(text="a"), path=path, idempotency_key="k")
            assert (status, value["helm"]["reason"]) == (200, "REPEATED")
            assert ("result" in value) == (path == "/mcp/v1/execute")

    run(place, body)


def test_a_verdict_on_which_the_client_acts_is_given_once_and_waits_for_people_like_a_call(place: Place) -> None:
    async def body(world: World) -> None:
        path = "/v1/evaluate?effect_by=client"
        status, _, value = await world.send(request(text="a"), path=path, idempotency_key="k")
        assert (status, value["helm"]["reason"], value["helm"]["outcome"]) == (200, "OK", None) and "result" not in value
        again = await world.send(request(text="a"), path=path, idempotency_key="k")
        assert (again[0], again[2]["error"]["code"]) == (409, "ERR_IDEMPOTENCY_IN_FLIGHT")
        other = await world.send(request(text="a"), idempotency_key="k")
        assert (other[0], other[2]["error"]["code"]) == (422, "ERR_IDEMPOTENCY_MISMATCH")
        decision = next(r for r in await asyncio.to_thread(place.receipts) if r.is_offer)
        await world.runtime.report(decision, b'"told"', 1, principal="ann")
        repeat = await world.send(request(text="a"), path=path, idempotency_key="k")
        assert (repeat[0], repeat[2]["helm"]["reason"], repeat[2]["result"]) == (200, "REPEATED", "told")
        waits = asyncio.create_task(world.send(request("hold"), path=path, prefer="wait=60"))
        while not world.runtime.ledger.writer.state.approvals.held:  # noqa: ASYNC110  (the log says when, and nothing else does)
            await asyncio.sleep(0)
        (about,) = await asyncio.to_thread(asks.waiting, place.config)
        await asks.say(world.runtime, about, Act.APPROVE, place.approver)
        status, _, value = await waits
        assert (status, value["helm"]["verdict"], value["helm"]["reason"]) == (200, "ALLOW", "OK")

    run(place, body)
    assert not [receipt for receipt in place.receipts() if receipt.is_intent]


@pytest.mark.parametrize("path", ["/mcp/v1/execute?effect_by=client", "/v1/evaluate?effect_by=kernel", "/v1/evaluate?x=1"])
def test_a_query_that_nobody_knows_is_refused(place: Place, path: str) -> None:
    async def body(world: World) -> None:
        status, _, value = await world.send(request(text="x"), path=path)
        assert (status, value["error"]["code"]) == (400, "ERR_UPSTREAM_SHAPE")

    run(place, body)
    assert not [receipt for receipt in place.receipts() if receipt.kind.value == "decision"]


def test_every_status_of_the_data_plane_is_the_table_s() -> None:
    said = {STATUS[reason] for reason in STATUS if reason is not Reason.ERR_CLIENT_CONFIG}  # which is at no door
    assert said <= {200, 202, 400, 401, 403, 409, 413, 415, 421, 422, 429, 500, 501, 502, 503}


def test_a_bug_of_ours_fails_one_request_and_tells_nobody_what_was_in_it(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    async def body(world: World) -> None:
        def broken(principal: str) -> dict[str, Any]:
            raise LookupError(CANARY)

        world.door._gate.capabilities = broken  # type: ignore[method-assign]
        status, _, value = await world.send(method="GET", path="/mcp/v1/capabilities")
        assert (status, value["helm"]["verdict"], CANARY in str(value)) == (500, "DENY", False)
        assert (await world.send(request(text="x")))[0] == 200

    run(place, body)
    assert capsys.readouterr().err == "error: the data plane failed: LookupError\n"
