"""The control plane over a real kernel: every route that is documented, and nothing that is not."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.routing import Route

from app.kernels import OPEN, Place
from helm_ai_kernel.app import doors, home, operate
from helm_ai_kernel.app.bundles import documents
from helm_ai_kernel.app.doors import RuntimeDesk, RuntimeGaps, RuntimeRecords
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.connectors.python import PythonConnector
from helm_ai_kernel.gateway import openapi
from helm_ai_kernel.gateway.control import OPEN as OPEN_ROUTES
from helm_ai_kernel.gateway.control import ControlDoor, application
from helm_ai_kernel.gateway.gaps import Gaps
from helm_ai_kernel.gateway.identity import ControlIdentity
from helm_ai_kernel.net.door import Peer
from helm_ai_kernel.pep.catalog import entry, server_doc
from helm_ai_kernel.tcb import checklist
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.envelope import Record
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.tcb.statement import Change, StatementKind, sign
from helm_ai_kernel.verifier.document import document
from helm_ai_kernel.wire.head import Head

TOKEN = "O" * 43
PEER = Peer("127.0.0.1:40000", None, None)
PAGE = document()
CANARY = "canary-77aa"


@dataclass
class World:
    place: Place
    runtime: Runtime
    door: ControlDoor
    ending: asyncio.Event

    async def ask(
        self, path: str, body: bytes = b"", *, method: str = "", query: str = "", token: str | None = TOKEN, **fields: str
    ) -> tuple[int, dict[str, str], Any]:
        """Status, fields, and the body: JSON as a value, else bytes, else, of a stream, its iterator."""
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        if token is not None:
            named["authorization"] = f"Bearer {token}"
        if body:
            named["content-type"] = "application/json"
        head = Head(method or ("POST" if body else "GET"), path, query, "localhost", named)
        reply = self.door.admit(head, PEER) or await self.door.answer(head, body, PEER)
        told = {name.lower(): value for name, value in reply.fields}
        data: Any = reply.body
        if isinstance(data, bytes) and told.get("content-type") == "application/json":
            data = json.loads(data)
        return reply.status, told, data

    async def call(self, text: str = "x") -> None:
        raw = json.dumps({"tool": "python/say", "arguments": {"text": text}}).encode()
        await self.runtime.call(raw, principal="ann", door="execute")


def run(place: Place, body: Callable[[World], Awaitable[None]]) -> None:
    async def say(text: str) -> str:
        return text

    async def main() -> None:
        hands = PythonConnector((say,))
        runtime = await Runtime.open(place.config, connectors={"python": hands})
        ending = asyncio.Event()
        gaps = Gaps("control", RuntimeGaps(runtime), runtime.keep)
        records, desk = (
            RuntimeRecords(runtime, ending),
            RuntimeDesk(runtime, lambda: {"helm_answers_total": {(("status", "200"),): 3}}),
        )
        door = ControlDoor(application(records, desk, PAGE), ControlIdentity(digest(TOKEN.encode()), (0,)), gaps)
        try:
            proposal = [entry(name, raw, effect="read") for name, raw in hands.definitions.items()]
            await place.signing(server_doc("python", {"kind": "python"}, proposal), OPEN)(runtime)
            await body(World(place, runtime, door, ending))
        finally:
            ending.set()
            await runtime.close()

    asyncio.run(main())
    place.check()


def documented() -> list[tuple[str, str]]:
    return [(path, method.upper()) for path, methods in openapi.CONTROL.items() for method in methods]


def test_every_route_is_documented_and_nothing_else() -> None:
    class Nothing:
        pass

    app = application(Nothing(), Nothing(), PAGE)  # type: ignore[arg-type]
    routes = {(route.path, method) for route in app.routes if isinstance(route, Route) for method in route.methods or ()}
    assert {(path, method) for path, method in routes if method != "HEAD"} == set(documented())
    assert len(app.routes) == len(documented())


def test_every_route_answers_as_documented_and_so_does_every_refusal(place: Place) -> None:
    async def body(world: World) -> None:
        await world.call()
        one = world.place.receipts()[-1].leaf
        said = (await world.ask("/openapi.json"))[2]
        schemas = said["components"]["schemas"]
        world.ending.set()  # tails end with it
        for path, method in documented():
            spoken = said["paths"][path][method.lower()]["responses"]
            asked = path.replace("{leaf}", one)
            for how in ({}, {"token": None}, {"query": "wrong=1"}, {"body": b"{"}, {"body": b'{"x":1}'}, {"method": "DELETE"}):
                sent = {"method": method, **how}
                status, fields, value = await world.ask(asked, **sent)  # type: ignore[arg-type]
                assert str(status) in spoken, (path, how, status)
                media = fields["content-type"].partition(";")[0]
                assert media in spoken[str(status)]["content"], (path, how, status, media)
                if media == "application/json":
                    check(value, spoken[str(status)]["content"][media]["schema"], schemas, f"{path} {status}")
                elif not isinstance(value, bytes):
                    assert [piece async for piece in value]

    run(place, body)


def check(value: Any, schema: dict[str, Any], schemas: dict[str, Any], where: str) -> None:
    import jsonschema_rs

    errors = [
        str(error) for error in jsonschema_rs.validator_for({**schema, "components": {"schemas": schemas}}).iter_errors(value)
    ]
    assert not errors, (where, errors, value)


def test_receipts_are_listed_in_pages_that_lose_none_and_hold_what_was_signed(place: Place) -> None:
    async def body(world: World) -> None:
        for _ in range(7):
            await world.call()
        there, found, after = world.place.receipts(), list[Any](), "-"
        while after is not None:
            query = "limit=5" if after == "-" else f"limit=5&after={after}"
            _, _, value = await world.ask("/v1/receipts", query=query)
            found, after = found + value["receipts"], value["after"]
        assert [(row["index"], row["leaf"]) for row in found] == [(r.index, r.leaf) for r in there]
        for row, receipt in zip(found, there, strict=True):
            assert Receipt.from_record(Record.from_json(row["record"]), row["index"]).line == receipt.line
        _, _, value = await world.ask("/v1/receipts", query="kind=outcome")
        assert [row["index"] for row in value["receipts"]] == [r.index for r in there if r.kind.value == "outcome"]
        session = there[-1].session
        _, _, value = await world.ask("/v1/receipts", query=f"session={session}&kind=decision&limit=2")
        assert [row["index"] for row in value["receipts"]] == [
            r.index for r in there if r.session == session and r.kind.value == "decision"
        ][:2]  # fmt: skip
        status, _, value = await world.ask(f"/v1/receipts/{there[3].leaf}")
        assert (status, value["index"]) == (200, 3)
        assert (await world.ask(f"/v1/receipts/sha256:{'0' * 64}"))[0] == 404
        assert (await world.ask("/v1/receipts/sha256:%25"))[0] == 400

    run(place, body)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "after=-1",
        "after=1&after=2",
        "session=zz",
        "session=",
        "kind=",
        "kind=x",
        "other=1",
        "after=%D9%A1",
        "limit=1e2",
    ],
)
def test_a_question_that_is_not_as_documented_is_refused(place: Place, query: str) -> None:
    async def body(world: World) -> None:
        status, _, value = await world.ask("/v1/receipts", query=query)
        assert (status, value["error"]["code"]) == (400, "ERR_UPSTREAM_SHAPE")

    run(place, body)


def test_a_tail_says_every_receipt_once_and_goes_on_where_the_client_was(place: Place) -> None:
    async def body(world: World) -> None:
        async def read(count: int, **how: str) -> list[int]:
            _, fields, stream = await world.ask("/v1/receipts/tail", **how)  # type: ignore[arg-type]
            assert fields["content-type"].startswith("text/event-stream")
            told: list[int] = []
            if not how:
                asyncio.get_running_loop().create_task(world.call())
            async for piece in stream:
                found = re.match(rb"id: (\d+)\nevent: receipt\ndata: (\{.*\})\n\n\Z", piece)
                if found:
                    told.append(int(found[1]))
                    assert json.loads(found[2])["index"] == told[-1]
                if len(told) == count:
                    break
            await stream.aclose()
            return told

        await world.call()
        size = len(world.place.receipts())
        assert await read(2) == [size, size + 1], "from now on"
        assert await read(3, query="after=1") == [2, 3, 4]
        assert await read(2, last_event_id="3", query="after=0") == [4, 5]

    run(place, body)


def test_an_export_is_the_pack_that_verifies(place: Place) -> None:
    async def body(world: World) -> None:
        await world.call(CANARY)
        await asyncio.sleep(0.06)  # an idle writer stores its newest checkpoint: an export is of what is stored
        for sent, withheld in ((b"", False), (b'{"attachments":false}', True)):
            status, fields, stream = await world.ask("/v1/evidence/export", sent, method="POST")
            assert (status, fields["content-type"]) == (200, "application/x-tar")
            data = b"".join([piece async for piece in stream])
            report = checklist.verify(data, checklist.Question(genesis=home.trusted(world.place.paths.trust)[0]))
            assert (report.exit, CANARY.encode() in data) == (0, not withheld)
        _, _, stream = await world.ask("/v1/evidence/export", method="POST")
        assert await anext(aiter(stream))
        await stream.aclose()

    run(place, body)


def test_what_is_in_force_is_told(place: Place) -> None:
    async def body(world: World) -> None:
        _, _, tools = await world.ask("/v1/tools")
        assert [(tool["name"], tool["held"]) for tool in tools["tools"]] == [("python/say", None)]
        _, _, policy = await world.ask("/v1/policy")
        assert policy["files"]["main.cedar"] == OPEN.decode()
        _, _, known = await world.ask("/v1/trust")
        assert known["genesis"] == home.trusted(world.place.paths.trust)[0]
        status, _, note = await world.ask("/checkpoint")
        assert (status, Checkpoint.from_bytes(note).origin) == (200, world.runtime.origin)

    run(place, body)


def signed(world: World, policy: bytes) -> bytes:
    """A statement that puts this policy into force, with its documents, as a client sends it."""
    import base64
    import os

    (world.place.paths.policy / "main.cedar").write_bytes(policy)
    proposal = operate.propose_policy(world.runtime)
    before, catalog = world.runtime.in_force
    content: Any = {"policy": Change(before, proposal.policy.digest).to_json(), "catalog": Change(catalog, catalog).to_json()}  # type: ignore[arg-type]
    statement = sign(
        StatementKind.ACTIVATION, content, log=world.runtime.origin, at=home.now(), nonce=os.urandom(16).hex(),
        signers=[world.place.approver],
    )  # fmt: skip
    docs = [
        {"name": one.name, "content": base64.b64encode(one.content).decode()}
        for one in documents(proposal.policy, proposal.catalog).values()
    ]
    return json.dumps({"statement": statement.record.to_json(), "documents": docs}).encode()


def test_a_signed_statement_takes_effect_once_and_an_unsigned_one_never(place: Place) -> None:
    async def body(world: World) -> None:
        sent = signed(world, OPEN + b"// another\n")
        broken = json.loads(sent)
        broken["statement"]["body"]["nonce"] = "0" * 32
        status, _, value = await world.ask("/v1/statements", json.dumps(broken).encode())
        assert (status, value["error"]["code"]) == (403, "ERR_APPROVAL_SIGNATURE")
        before = world.runtime.in_force
        missing = json.loads(sent)
        missing["documents"].pop()
        assert (await world.ask("/v1/statements", json.dumps(missing).encode()))[0] == 409
        assert world.runtime.in_force == before
        status, _, value = await world.ask("/v1/statements", sent)
        assert status == 200
        assert world.runtime.in_force != before
        assert world.place.receipts()[value["index"]].leaf == value["leaf"]
        status, _, value = await world.ask("/v1/statements", sent)
        assert (status, value["error"]["code"]) == (409, "ERR_APPROVAL_CONSUMED")
        for wrong in (b"{}", b"[]", b'{"statement":1,"documents":[]}', b'{"statement":{},"documents":[{"name":"x"}]}'):
            assert (await world.ask("/v1/statements", wrong))[0] == 400

    run(place, body)


def test_readiness_tells_the_truth(place: Place) -> None:
    async def body(world: World) -> None:
        status, _, value = await world.ask("/readyz")
        assert (status, value) == (200, {"ready": True, "reason": "OK", "detail": ""})
        writer = world.runtime.ledger.writer
        writer.sealed = "damage was found"
        status, _, value = await world.ask("/readyz")
        writer.sealed = ""
        assert (status, value["ready"], value["reason"]) == (503, False, "ERR_SEALED")
        assert (await world.ask("/healthz", token=None))[2] == {"alive": True}
        world.runtime._witnessed.mark("another history")
        status, _, value = await world.ask("/readyz")
        assert (status, value["reason"]) == (503, "ERR_SEALED")
        writer.sealed = ""
        for mark in world.place.paths.store.glob("witnessed/*"):
            mark.unlink()

    run(place, body)


def test_a_store_that_does_not_answer_is_not_ready(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "PROBE_S", 0.05)

    async def body(world: World) -> None:
        writer = world.runtime.ledger.writer
        writer._busy = True  # as while a commit waits for the disk
        status, _, value = await world.ask("/readyz")
        assert (status, value["reason"]) == (503, "ERR_EVIDENCE_UNAVAILABLE")
        writer._busy = False
        assert 200 in [(await world.ask("/readyz"))[0] for _ in range(5)]  # a busy machine may need more than one
        assert len(writer._queue) == 0, "who does not wait any more is not waited for"

    run(place, body)


def test_a_disk_that_is_full_is_not_ready_until_it_is_not_full_any_more(place: Place) -> None:
    async def body(world: World) -> None:
        connection = world.runtime.ledger.writer._conn
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages}")

        async def call_on() -> None:
            while True:  # until what was reserved is used up
                raw = b'{"tool":"python/no","arguments":{"t":"' + b"x" * 9000 + b'"}}'
                await world.runtime.call(raw, principal="ann", door="execute")

        with pytest.raises(OutsideError, match="ERR_EVIDENCE_FULL"):
            await call_on()
        status, _, value = await world.ask("/readyz")
        assert (status, value["reason"]) == (503, "ERR_EVIDENCE_FULL")
        connection.execute("PRAGMA max_page_count=1073741823")
        assert (await world.ask("/readyz"))[0] == 200

    run(place, body)


def test_nothing_is_open_but_what_says_nothing_of_this_kernel(place: Place) -> None:
    async def body(world: World) -> None:
        for path, method in documented():
            for token in (None, "A" * 43):
                status = (await world.ask(path, method=method, token=token))[0]
                assert (status != 401) == (path in OPEN_ROUTES), path
        assert (await world.ask("/nowhere", token=None))[0] == 401
        for path in OPEN_ROUTES:
            assert (await world.ask(path, method="HEAD", token=None))[0] == 200
            for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                assert (await world.ask(path, method=method, token=None))[0] == 401, "nobody's body is read"
            large = Head("GET", path, "", "localhost", {"content-length": "5"})
            refused = world.door.admit(large, PEER)
            assert refused is not None and refused.status == 401

    run(place, body)


def test_the_page_comes_with_its_own_policy_as_a_field_and_nothing_allows_other_origins(place: Place) -> None:
    async def body(world: World) -> None:
        status, fields, page = await world.ask("/verify", token=None, origin="http://evil.example")
        assert (status, page) == (200, PAGE)
        policy = fields["content-security-policy"]
        assert "'unsafe-inline'" not in policy
        assert "script-src 'sha256-" in policy
        assert "frame-ancestors 'none'" in policy
        for path, method in documented():
            _, fields, _ = await world.ask(path, method=method, origin="http://evil.example")
            assert not [name for name in fields if name.startswith("access-control")]
            assert "content-security-policy" in fields or fields["content-type"] == "application/json"

    run(place, body)


def test_metrics_are_counters_with_labels_of_ours(place: Place) -> None:
    async def body(world: World) -> None:
        await world.call(CANARY)
        _, fields, text = await world.ask("/metrics")
        assert fields["content-type"] == "text/plain; charset=utf-8"
        size = len(world.place.receipts())
        assert text.decode() == (
            '# TYPE helm_answers_total counter\nhelm_answers_total{status="200"} 3\n'
            f"# TYPE helm_receipts_total counter\nhelm_receipts_total {size}\n"
        )

    run(place, body)


def test_a_bug_of_ours_fails_one_request_and_tells_nobody_what_was_in_it(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: RuntimeRecords, what: str) -> None:
        raise LookupError(CANARY)

    async def body(world: World) -> None:
        monkeypatch.setattr(RuntimeRecords, "standing", broken)
        status, _, value = await world.ask("/v1/tools")
        assert (status, CANARY in str(value)) == (500, False)
        assert (await world.ask("/readyz"))[0] == 200

    run(place, body)
    assert capsys.readouterr().err == "error: the control plane failed: LookupError\n"
