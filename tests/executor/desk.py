"""The world that the flow vectors speak of: one server `desk`, its pinned tools, a policy for them, and its replies."""

import json
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from helm_ai_kernel.executor import execute
from helm_ai_kernel.executor.boundary import Boundary
from helm_ai_kernel.executor.host import Answer, Host, Relay, Reply, ReplyKind
from helm_ai_kernel.guardian.budget import Budget, Per
from helm_ai_kernel.guardian.policy import Policy
from helm_ai_kernel.pep.catalog import EMPTY, entry, server_doc
from helm_ai_kernel.tcb.call import Call
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.receipt import Receipt

FLOWS = Path(__file__).resolve().parents[2] / "vectors" / "flows"
PROTECTED = ("/srv/helm",)
NOTHING = Boundary(EMPTY, None)  # before anybody activated anything

POLICY = b"""\
@id("desk-tools") permit (principal, action, resource == Server::"desk");
@id("desk-forbidden") forbid (principal, action == Action::"desk/forbidden", resource);
"""


@cache
def vectors() -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(path.read_bytes()) for path in sorted(FLOWS.glob("*.json")))


def tool(name: str, effect: str, *, require_key: bool = False) -> dict[str, Any]:
    text = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    raw = {"name": name, "description": f"{name} a text", "inputSchema": text, "outputSchema": {"type": "string"}}
    return entry(name, raw, effect=effect, require_key=require_key, wall_ms=1000, output_bytes=4096)


@cache
def boundary(rules: bytes = POLICY) -> Boundary:
    tools = [tool("echo", "read"), tool("forbidden", "read"), tool("wipe", "destructive")]
    tools.append(tool("keyed", "write", require_key=True))
    catalog = EMPTY.with_server(server_doc("desk", {"kind": "python"}, tools))
    return Boundary(catalog, Policy.from_files({"main.cedar": rules}, catalog, PROTECTED))


def request(given: Mapping[str, Any]) -> bytes:
    """The bytes that a caller sends for what a vector gives."""
    if "request" in given:
        return str(given["request"]).encode()
    body = {"tool": given["tool"], "arguments": given.get("arguments", {})}
    return json.dumps(body | ({"idempotency_key": given["key"]} if "key" in given else {})).encode()


def answered(vector: Mapping[str, Any]) -> str | None:
    """The outcome that the caller of a vector is answered with: that of the call, or of the one that it repeats."""
    told = [*vector["given"].get("before", ()), *vector["receipts"]]
    return next((line for line in told if line.startswith("outcome ")), None) if vector["answer"] == "ALLOW" else None


RELEASED = ("outcome OK", "outcome REPORTED")  # whose output the caller is given


def budgets(given: Mapping[str, Any]) -> tuple[Budget, ...]:
    return tuple(Budget(name, calls, Per.DAY) for name, calls in given.get("budget", {}).items())


def replied(word: str) -> Reply:
    if word == "failed":
        return Reply(ReplyKind.FAILED, 3, reason=Reason.ERR_CONNECTOR_FAILED)
    if word == "changed":  # since it was pinned
        return Reply(ReplyKind.FAILED, 3, reason=Reason.ERR_MCP_SCHEMA_DRIFT, sub="changed")
    if word == "unknown":
        return Reply(ReplyKind.UNKNOWN, 3)
    return Reply(ReplyKind.OUTPUT, 3, output=word.encode())


class Seat(Host, Protocol):
    """A host that knows which call its client acts on."""

    desk: "Desk"
    offered: Receipt | None


def work(given: Mapping[str, Any], host: Seat, paths: Any = execute) -> Coroutine[Any, Any, Answer]:
    """What happens in a vector: a call, the verdict on one that the client acts on, or what the client reports of that."""
    if "report" in given:
        return told(given, host, given["report"], paths)
    return (paths.offer if given.get("by") == "client" else paths.execute)(request(given), boundary(), host)


def told(given: Mapping[str, Any], host: Seat, word: str, paths: Any = execute) -> Coroutine[Any, Any, Answer]:
    admitted = boundary().admit(request(given))
    assert isinstance(admitted, Call) and host.offered is not None
    return paths.report(admitted, host.offered, replied(word), boundary(), host)


def earlier(given: Mapping[str, Any], host: Seat) -> Iterator[Coroutine[Any, Any, Answer]]:
    """What led to the state in which a vector begins, one after the other."""
    before, plain = given.get("before", ()), {name: value for name, value in given.items() if name != "report"}
    if given.get("held"):
        host.desk.reply = "7"
        yield execute.execute(request(given), boundary(), host)
    if before:
        host.desk.reply = given.get("before_reply", '"done"')
        yield work(plain, host)
    if len(before) > 1 and given.get("by") == "client":
        yield told(given, host, host.desk.reply)


@dataclass
class Desk:
    """The far side of the connector. `effects` are the dispatched arguments: what was done, whatever was answered."""

    reply: str = '"done"'  # "failed", "changed", "unknown", or the JSON that comes back
    effects: list[tuple[str, bytes]] = field(default_factory=list)

    def do(self, name: str, args: bytes) -> Reply:
        self.effects.append((name, args))
        return replied(self.reply)

    async def call(
        self, name: str, args: bytes, *, key: str | None, wall_ms: int, output_bytes: int,
        relay: Relay | None = None, inputs: bytes | None = None,
    ) -> Reply:  # fmt: skip
        return self.do(name, args)

    async def close(self) -> None:
        pass
