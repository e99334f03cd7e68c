"""An HTTP API behind the kernel, from the configuration to the receipts: what reaches it, what is recorded, and what never is."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from app.kernels import OPEN, Place
from helm_ai_kernel.app import operate
from helm_ai_kernel.app.config import HttpUpstream
from helm_ai_kernel.app.runtime import Runtime, SessionHost
from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.ledger.export import whole
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb.call import Call
from helm_ai_kernel.tcb.codes import Reason
from net.loopback import Loopback, answer, loopback

CANARY = "canary-8d1f02c6b7"
SCHEMA = {"type": "object", "properties": {"id": {"type": "string"}, "note": {"type": "string"}}, "required": ["id"]}
NUMBER = {"type": "object", "properties": {"of": {"type": "integer"}}, "required": ["of"]}
GET = {"method": "GET", "path": "/items/{id}", "query": ["note"], "headers": {}, "body": "none", "retry": False}
PUT = GET | {"method": "PUT", "query": [], "body": "rest"}
LONG_S = 60.0


def definitions(paths: dict[str, str]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {"name": "get", "description": "Reads.", "inputSchema": SCHEMA, "operation": GET},
        {"name": "put", "description": "Writes.", "inputSchema": SCHEMA, "operation": PUT},
        {"name": "typed", "description": "Reads.", "inputSchema": SCHEMA, "operation": GET, "outputSchema": NUMBER},
    ]
    for raw in made:
        raw["operation"] = {**GET, **raw["operation"], "path": paths.get(str(raw["name"]), "/items/{id}")}
    return made


def configure(place: Place, port: int) -> None:
    (place.paths.home / "shop.json").write_text(json.dumps(definitions({})), encoding="ascii")
    place.configure(
        f'[upstream.shop]\nurl = "http://127.0.0.1:{port}/v1"\noperations = "shop.json"\n'
        'addresses = ["loopback"]\nsecrets = { authorization = "SHOP_TOKEN" }\n'
    )


async def pin(
    place: Place, runtime: Runtime, *, wall_ms: int = 30_000, paths: dict[str, str] | None = None, **source: Any
) -> None:
    upstream = place.config.upstreams["shop"]
    assert isinstance(upstream, HttpUpstream)
    upstream.operations.write_text(json.dumps(definitions(paths or {})), encoding="ascii")
    doc, refused = await operate.ask("shop", upstream)
    assert not refused
    for tool in doc["tools"]:
        tool["effect"] = "write" if tool["name"] == "put" else "read"
        tool["limits"]["wall_ms"] = wall_ms
    doc["source"] |= source
    await place.signing(doc, OPEN)(runtime)


Body = Callable[[Runtime, Loopback], Coroutine[Any, Any, None]]


def served(place: Place, body: Body, *answers: bytes | None, wall_ms: int = 30_000) -> None:
    async def main() -> None:
        async with loopback(*answers) as server:
            configure(place, server.port)
            runtime = await Runtime.open(place.config)
            try:
                await pin(place, runtime, wall_ms=wall_ms)
                await body(runtime, server)
            finally:
                await runtime.close()

    asyncio.run(main())
    place.check()


async def call(runtime: Runtime, tool: str, **args: Any) -> Answer:
    raw = json.dumps({"tool": f"shop/{tool}", "arguments": {"id": "1", **args}}).encode()
    return await runtime.call(raw, principal="local", door="library")


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", f"Bearer {CANARY}")


def test_an_allowed_call_reaches_the_api_and_its_bytes_are_what_was_hashed(place: Place) -> None:
    async def body(runtime: Runtime, server: Loopback) -> None:
        found = await call(runtime, "put", note="n")
        assert (found.reason, found.output) == (Reason.OK, b'{"status":200,"body":{"of": 1.50}}')
        assert server.requests[0].startswith(b"PUT /v1/items/1 HTTP/1.1\r\n")
        assert server.requests[0].endswith(b'\r\n\r\n{"note":"n"}')
        assert b"\r\nauthorization: Bearer " + CANARY.encode() + b"\r\n" in server.requests[0]

    served(place, body, answer(b'{"of": 1.50}'))
    assert place.told() == ["decision ALLOW OK shop/put", "outcome OK"]


def test_what_is_refused_reaches_nobody(place: Place) -> None:
    async def body(runtime: Runtime, server: Loopback) -> None:
        for args, reason in (
            ({"id": 1}, Reason.ERR_SCHEMA_VIOLATION), ({"other": 1}, Reason.ERR_SCHEMA_VIOLATION),
            ({"id": ".."}, Reason.ERR_SCHEMA_VIOLATION), ({"id": "a/b"}, Reason.ERR_SCHEMA_VIOLATION),
            ({"id": "a\r\nX: y"}, Reason.ERR_SCHEMA_VIOLATION),
        ):  # fmt: skip
            assert (await call(runtime, "get", **args)).reason is reason
        assert (await call(runtime, "drop")).reason is Reason.ERR_TOOL_NOT_ALLOWED
        assert (server.connections, server.requests) == (0, [])

    served(place, body, answer())
    assert len(place.told()) == 6 and all("DENY" in line for line in place.told())


def test_an_answer_that_breaks_the_pinned_schema_is_withheld_and_the_tool_held(place: Place) -> None:
    async def body(runtime: Runtime, server: Loopback) -> None:
        found = await call(runtime, "typed")
        assert (found.reason, found.output) == (Reason.ERR_CONNECTOR_CONTRACT_DRIFT, None)
        assert (await call(runtime, "typed")).reason is Reason.ERR_TOOL_HALTED
        assert len(server.requests) == 1
        assert (await call(runtime, "get")).reason is Reason.OK

    served(place, body, answer(b'{"of":"1"}'))


def test_an_error_of_the_api_is_an_answer_and_its_own_failure_proves_nothing(place: Place) -> None:
    async def body(runtime: Runtime, server: Loopback) -> None:
        found = await call(runtime, "put")
        assert (found.reason, found.output) == (Reason.OK, b'{"status":409,"body":"taken"}')
        assert found.outcome is not None and found.outcome.body["tool_error"] is True
        found = await call(runtime, "put")
        assert (found.reason, found.output) == (Reason.ERR_OUTCOME_UNKNOWN, None)

    served(place, body, answer(b'"taken"', status=b"409 Conflict"), answer(b"{}", status=b"502 Bad Gateway"))
    assert place.told()[-1] == "outcome UNKNOWN ERR_OUTCOME_UNKNOWN status 502"


def test_behind_the_deadline_the_outcome_of_a_write_is_unknown(place: Place) -> None:
    async def body(runtime: Runtime, server: Loopback) -> None:
        assert (await call(runtime, "put")).reason is Reason.ERR_OUTCOME_UNKNOWN
        assert (await call(runtime, "get")).reason is Reason.ERR_CONNECTOR_FAILED

    served(place, body, None, wall_ms=100)
    assert [line for line in place.told() if line.startswith("outcome")] == [
        "outcome UNKNOWN ERR_OUTCOME_UNKNOWN timeout", "outcome FAILED ERR_CONNECTOR_FAILED timeout",
    ]  # fmt: skip


def test_an_api_that_is_elsewhere_or_not_there_is_a_failure(place: Place) -> None:
    async def body(runtime: Runtime, server: Loopback) -> None:
        await pin(place, runtime, base=f"http://localhost:{server.port}", addresses=["private"])
        assert (await call(runtime, "put")).reason is Reason.ERR_EGRESS_DENIED
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and does not listen
            await pin(place, runtime, base=f"http://127.0.0.1:{taken.getsockname()[1]}")
            assert (await call(runtime, "put")).reason is Reason.ERR_CONNECTOR_FAILED
        assert server.connections == 0

    served(place, body, answer())
    assert [line for line in place.told() if line.startswith("outcome")] == [
        "outcome FAILED ERR_EGRESS_DENIED loopback", "outcome FAILED ERR_CONNECTOR_FAILED connect",
    ]  # fmt: skip


def test_an_upstream_that_is_killed_in_the_middle_leaves_an_unknown(place: Place) -> None:
    async def body(runtime: Runtime, server: Loopback) -> None:
        asked = asyncio.create_task(call(runtime, "put"))
        await asyncio.wait_for(server.arrived.wait(), LONG_S)
        server.hang_up()
        assert (await asked).reason is Reason.ERR_OUTCOME_UNKNOWN

    served(place, body, None)
    assert place.told()[-1] == "outcome UNKNOWN ERR_OUTCOME_UNKNOWN no_answer"


CHILD = """
import asyncio, sys
from helm_ai_kernel.app.config import load, paths
from helm_ai_kernel.app.runtime import Runtime

async def main():
    runtime = await Runtime.open(load(paths(sys.argv[1], sys.argv[2])))
    await runtime.call(b'{"tool":"shop/put","arguments":{"id":"1"}}', principal="local", door="library")

asyncio.run(main())
"""


def test_a_kernel_that_is_killed_in_the_middle_finds_an_unknown_and_sends_nothing_again(place: Place) -> None:
    async def main() -> None:
        async with loopback(None) as server:
            configure(place, server.port)
            runtime = await Runtime.open(place.config)
            await pin(place, runtime)
            await runtime.close()
            code = [sys.executable, "-c", CHILD, str(place.paths.home), str(place.paths.people)]
            child = await asyncio.create_subprocess_exec(*code, env=dict(os.environ))
            await asyncio.wait_for(server.arrived.wait(), LONG_S)
            child.kill()
            await child.wait()
            again = await Runtime.open(place.config)
            assert again.recovered == 1
            await again.close()
            assert len(server.requests) == 1

    asyncio.run(main())
    assert place.told()[0] == "decision ALLOW OK shop/put"
    assert any(line.startswith("outcome UNKNOWN ERR_OUTCOME_UNKNOWN") for line in place.told())


def test_closing_in_a_hurry_leaves_an_unknown_and_no_connection(place: Place) -> None:
    async def main() -> None:
        async with loopback(None) as server:
            configure(place, server.port)
            runtime = await Runtime.open(place.config)
            await pin(place, runtime)
            asked = asyncio.create_task(call(runtime, "put"))
            await asyncio.wait_for(server.arrived.wait(), LONG_S)
            await runtime.close(within_s=0.0)
            assert (await asked).reason is Reason.ERR_OUTCOME_UNKNOWN
            await asyncio.wait_for(server.ended.wait(), LONG_S)

    asyncio.run(main())
    place.check()
    assert place.told()[-1] == "outcome UNKNOWN ERR_OUTCOME_UNKNOWN closed"


def test_what_comes_into_force_is_what_the_next_call_does(place: Place) -> None:
    async def body(runtime: Runtime, server: Loopback) -> None:
        await call(runtime, "get")
        await pin(place, runtime, paths={"get": "/things/{id}"})
        await call(runtime, "get")
        lines = [request.split(b" ")[1] for request in server.requests]
        assert (lines, server.connections) == ([b"/v1/items/1", b"/v1/things/1"], 1)

    served(place, body, answer())


def test_a_call_that_was_admitted_for_another_operation_is_not_sent(place: Place) -> None:
    async def body(runtime: Runtime, server: Loopback) -> None:
        before = runtime.boundary
        admitted = before.admit(b'{"tool":"shop/put","arguments":{"id":"1"}}')
        assert isinstance(admitted, Call)
        async with runtime.sessions.of("local", "library") as session:
            host = SessionHost(runtime, session, before)
            intent = await host.commit(admitted, before.decide)
            await pin(place, runtime, paths={"put": "/things/{id}"})  # between the decision and its dispatch
            reply = await host.dispatch(admitted, intent)
            assert (reply.reason, reply.sub) == (Reason.ERR_CONNECTOR_FAILED, "repinned")
            assert server.connections == 0
            await host.settle(intent, before.judge(admitted, reply))

    served(place, body, answer())


def test_a_secret_is_in_no_byte_of_the_home_and_of_no_pack_whatever_comes_back(
    place: Place, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async def body(runtime: Runtime, server: Loopback) -> None:
        for tool in ("put", "get", "typed", "put"):
            found = await call(runtime, tool)
            assert CANARY not in repr(found) and CANARY.encode() not in (found.output or b"")
        assert all(CANARY.encode() in request for request in server.requests)

    echo = json.dumps({"headers": {"authorization": f"Bearer {CANARY}"}}).encode()
    served(place, body, answer(echo, status=b"502"), answer(echo), answer(echo[:-1]) + Loopback.CUT, answer(b"{}"))
    with Reader(place.paths.store, vault=place.vault) as reader:
        pack = b"".join(whole(reader))
    assert CANARY.encode() not in pack
    files = [path for path in place.folder.rglob("*") if path.is_file()]
    assert files and not [path for path in files if CANARY.encode() in path.read_bytes()]
    said = capfd.readouterr()
    assert CANARY not in caplog.text + said.out + said.err
