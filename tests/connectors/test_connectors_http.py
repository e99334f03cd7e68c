"""An operation at a real upstream: what is sent, what becomes of every kind of answer, and what is proven by it."""

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from helm_ai_kernel.connectors.http import HttpConnector
from helm_ai_kernel.executor.host import Reply, ReplyKind
from helm_ai_kernel.net.resolver import Resolver
from helm_ai_kernel.pep.catalog import EMPTY, Catalog, entry, server_doc
from net.loopback import Loopback, answer, loopback

LONG_MS = 60_000  # never reached: a test that waits for it has failed
SHORT_MS = 100  # always reached: the server does not answer at all
CANARY = "Bearer canary-2c9e71"

SCHEMA = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "q": {"type": "string"}, "note": {"type": "string"}},
    "required": ["id"],
}
READ = {"method": "GET", "path": "/items/{id}", "query": ["q", "note"], "headers": {}, "body": "none", "retry": True}
WRITE = {"method": "POST", "path": "/items/{id}", "query": ["q"], "headers": {"x-version": "7"}, "body": "rest", "retry": True}
WRITE |= {"idempotency_header": "idempotency-key"}
NUMBER = {"type": "object", "properties": {"of": {"type": "integer"}}, "required": ["of"]}


def catalog(port: int, base: str = "http://127.0.0.1:{}/v1", secrets: dict[str, str] | None = None) -> Catalog:
    def raw(name: str, operation: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"name": name, "description": "", "inputSchema": SCHEMA, "operation": operation, **more}

    entries = [
        entry("get", raw("get", READ), effect="read"), entry("put", raw("put", WRITE), effect="write"),
        entry("typed", raw("typed", READ, outputSchema=NUMBER), effect="read"),
    ]  # fmt: skip
    source = {"kind": "http", "base": base.format(port), "addresses": ["loopback"], "secrets": secrets or {}, "ca": None}
    return EMPTY.with_server(server_doc("s", source, entries))


class Rig:
    """A connector before a scripted upstream."""

    def __init__(self, server: Loopback, **options: Any) -> None:
        self.server = server
        pinned = catalog(server.port, secrets={"authorization": "TOKEN"})
        tools = {name.split("/")[1]: tool for name, tool in pinned.tools.items()}
        self.connector = HttpConnector(pinned.sources["s"], tools, environ={"TOKEN": CANARY}, **options)

    async def call(self, name: str, args: bytes = b'{"id":"1"}', **more: Any) -> Reply:
        said: dict[str, Any] = {"key": None, "wall_ms": LONG_MS, "output_bytes": 1000} | more
        return await self.connector.call(name, args, **said)


Body = Callable[[Rig], Coroutine[Any, Any, None]]


def served(body: Body, *answers: bytes | None, **options: Any) -> None:
    async def main() -> None:
        async with loopback(*answers) as server:
            rig = Rig(server, **options)
            try:
                await body(rig)
            finally:
                await rig.connector.close()

    asyncio.run(main())


def replied(name: str, *answers: bytes | None, **more: Any) -> Reply:
    """The reply to one call."""
    found: list[Reply] = []

    async def body(rig: Rig) -> None:
        found.append(await rig.call(name, **more))

    served(body, *answers)
    return found[0]


def test_the_request_is_what_was_pinned_with_the_arguments_in_their_places() -> None:
    async def body(rig: Rig) -> None:
        reply = await rig.call("put", b'{"id":"a b","note":"n","q":"x&y"}', key="k-1")
        assert (reply.kind, reply.output) == (ReplyKind.OUTPUT, b'{"status":200,"body":{}}')
        head, _, sent = rig.server.requests[0].partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        assert (first, sent) == ("POST /v1/items/a%20b?q=x%26y HTTP/1.1", b'{"note":"n"}')
        fields = dict(line.split(": ", 1) for line in lines)
        assert fields.pop("user-agent").startswith("helm-ai-kernel/")
        assert fields == {
            "host": f"127.0.0.1:{rig.server.port}", "accept": "application/json, text/*;q=0.5", "accept-encoding": "identity",
            "content-type": "application/json", "x-version": "7", "authorization": CANARY, "idempotency-key": "k-1",
            "content-length": "12",
        }  # fmt: skip
        await rig.call("get")
        assert rig.server.requests[1].startswith(b"GET /v1/items/1 HTTP/1.1\r\n")
        assert b"content-" not in rig.server.requests[1] and b"idempotency" not in rig.server.requests[1]

    served(body, answer())


ENDS = {  # what the upstream does -> what is said of a tool that reads, and of one that writes
    "an answer": (answer(b"[1]"), 'output {"status":200,"body":[1]}', 'output {"status":200,"body":[1]}'),
    "no body": (answer(b"", status=b"201 Created"), 'output {"status":201}', 'output {"status":201}'),
    "not found": (answer(b"{}", status=b"404"), 'output {"status":404,"body":{}}', 'output {"status":404,"body":{}}'),
    "a redirect": (answer(b"", b"Location: http://10.0.0.1/", status=b"307"), 'output {"status":307}', 'output {"status":307}'),
    "its failure": (answer(b"1", status=b"500"), 'output {"status":500,"body":1}', 'unknown {"status":500,"body":1} status 500'),
    "no answer": (Loopback.CUT, "failed ERR_UPSTREAM_SHAPE no_answer", "unknown no_answer"),
    "half an answer": (answer(b"{}")[:-1] + Loopback.CUT, "failed ERR_UPSTREAM_SHAPE early_end", "unknown early_end"),
    "two lengths": (answer(b"{}", b"Content-Length: 3"), "failed ERR_UPSTREAM_SHAPE header", "unknown header"),
    "gzip": (answer(b"{}", b"Content-Encoding: gzip"), "failed ERR_BODY_ENCODING content_encoding", "unknown content_encoding"),
    "more than allowed": (answer(b"x" * 1001), "output  truncated", "output  truncated"),
    "another type": (answer(b"{}", kind=b"x/y"), 'output {"status":200,"content_type":"x/y","base64":"e30="} content_type', ""),
    "an echo": (answer(CANARY.encode()), 'output {"status":200,"withheld":"secret"} secret', ""),
    "half an echo": (answer(b'"canary-2c9e71"', status=b"500"), 'output {"status":500,"withheld":"secret"} secret', ""),
}  # fmt: skip


def told(reply: Reply) -> str:
    words = [reply.kind.value, *([] if reply.output is None else [reply.output.decode()])]
    words += [reply.reason.value] if reply.kind is ReplyKind.FAILED else []
    return " ".join([*words, *([reply.sub] if reply.sub else []), *(["truncated"] if reply.truncated else [])])


@pytest.mark.parametrize("name", ENDS)
def test_what_is_said_of_a_call_is_what_is_proven(name: str) -> None:
    said, reads, writes = ENDS[name]
    assert told(replied("get", said)) == reads
    assert told(replied("put", said)) == (writes or reads)


def test_the_deadline_proves_nothing() -> None:
    assert told(replied("put", None, wall_ms=SHORT_MS)) == "unknown timeout"
    assert told(replied("get", None, wall_ms=SHORT_MS)) == "failed ERR_CONNECTOR_FAILED timeout"


def test_with_an_output_schema_an_error_is_its_status_alone() -> None:
    assert told(replied("typed", answer(b'{"of":1}'))) == 'output {"status":200,"body":{"of":1}}'
    assert told(replied("typed", answer(b'{"of":1}', status=b"404"))) == 'output {"status":404}'


@pytest.mark.parametrize(("name", "key", "sent"), [("get", None, 2), ("put", "k", 2), ("put", None, 1)])
def test_a_request_is_sent_again_only_where_twice_is_once(name: str, key: str | None, sent: int) -> None:
    async def body(rig: Rig) -> None:
        await rig.call(name, key=key)
        assert len(rig.server.requests) == sent
        assert len(set(rig.server.requests)) == 1

    served(body, Loopback.CUT, answer())


def test_where_nobody_listens_nothing_was_applied() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        pinned = catalog(taken.getsockname()[1])
        connector = HttpConnector(pinned.sources["s"], {"put": pinned.tools["s/put"]})
        reply = asyncio.run(connector.call("put", b'{"id":"1"}', key=None, wall_ms=LONG_MS, output_bytes=10))
    assert told(reply) == "failed ERR_CONNECTOR_FAILED connect"


def test_a_name_that_leads_into_the_house_is_not_dialled() -> None:
    async def main() -> None:
        async with loopback(answer()) as server:
            pinned = catalog(server.port, base="http://api.example:{}")
            lookup = Resolver(lambda *_: ["127.0.0.1", "169.254.169.254"])
            connector = HttpConnector(pinned.sources["s"], {"get": pinned.tools["s/get"]}, resolver=lookup)
            reply = await connector.call("get", b'{"id":"1"}', key=None, wall_ms=LONG_MS, output_bytes=10)
            assert told(reply) == "failed ERR_EGRESS_DENIED metadata"
            assert server.connections == 0

    asyncio.run(main())


@pytest.mark.parametrize(
    ("value", "sub"), [("", "secret_missing"), ("canary-2c9e71\r\nx: y", "header"), ("canary-2c9e71\u20ac", "header")]
)
def test_a_secret_that_is_not_there_or_is_no_header_is_told_by_its_name(value: str, sub: str) -> None:
    async def body(rig: Rig) -> None:
        pinned = catalog(rig.server.port, secrets={"authorization": "TOKEN"})
        connector = HttpConnector(pinned.sources["s"], {"get": pinned.tools["s/get"]}, environ={"TOKEN": value} if value else {})
        reply = await connector.call("get", b'{"id":"1"}', key=None, wall_ms=LONG_MS, output_bytes=10)
        assert (reply.kind, reply.sub) == (ReplyKind.FAILED, sub)
        assert "canary" not in repr(reply) and rig.server.connections == 0

    served(body, answer())


def test_a_tool_that_is_not_pinned_is_not_called() -> None:
    async def body(rig: Rig) -> None:
        rig.connector.tools = {}
        assert told(await rig.call("get")) == "failed ERR_CONNECTOR_FAILED no_such_tool"
        assert rig.server.connections == 0

    served(body, answer())


def test_many_calls_at_once_each_get_their_own_answer() -> None:
    async def body(rig: Rig) -> None:
        replies = await asyncio.gather(*(rig.call("get", b'{"id":"%d"}' % n) for n in range(64)))
        assert {reply.kind for reply in replies} == {ReplyKind.OUTPUT}
        asked = sorted(request.split(b" ")[1] for request in rig.server.requests)
        assert asked == sorted(b"/v1/items/%d" % n for n in range(64))
        assert rig.server.connections <= 32

    served(body, answer())


def test_no_repr_shows_what_is_sent() -> None:
    async def body(rig: Rig) -> None:
        await rig.call("put", json.dumps({"id": "canary-id"}).encode())
        tool = rig.connector.tools["put"]
        assert tool.operation is not None
        placed = tool.operation.place({"id": "canary-id", "note": "canary-note"})
        for thing in (rig.connector, placed, tool.operation):
            assert "canary" not in repr(thing)

    served(body, answer())
