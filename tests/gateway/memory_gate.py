"""A kernel behind the MCP door, in memory: real decisions and receipts, servers that do what a test says, no process."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from executor.desk import PROTECTED, Desk
from executor.memory import MemoryHost, MemoryLog, run
from helm_ai_kernel.executor import execute
from helm_ai_kernel.executor.boundary import Boundary
from helm_ai_kernel.executor.host import Answer, Relay, Reply, ReplyKind
from helm_ai_kernel.executor.relay import Counted
from helm_ai_kernel.gateway.mcp_gate import Caller, Server
from helm_ai_kernel.gateway.mcp_serve import Sessions
from helm_ai_kernel.guardian.policy import Policy
from helm_ai_kernel.pep.catalog import EMPTY, entry, server_doc
from helm_ai_kernel.pep.methods import METHODS
from helm_ai_kernel.tcb.call import Call
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Outcome
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.receipt import Receipt

ALL = b'@id("all") permit (principal, action, resource);\n'
DENIED = b'@id("no-drop") forbid (principal, action == Action::"alpha/drop", resource);\n'
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}, "n": {"type": "integer", "x-mcp-header": "N"}}}
TOOLS = ("say", "drop", "ask")
SAID = b'{"content":[{"type":"text","text":"done"}]}'
CAPABILITIES = {"resources": {"subscribe": True, "listChanged": True}, "prompts": {}, "logging": {}, "completions": {}}


@dataclass
class Asked:
    """One call as it reached a server."""

    caller: Caller
    tool: str
    args: bytes
    relay: Relay
    inputs: bytes | None
    given_up: asyncio.Event


Does = Callable[[Asked], Awaitable[bytes | Reply]]


async def says_done(asked: Asked) -> bytes:
    return SAID


@dataclass
class MemoryGate:
    """`McpGate` and `Places`. `does` is what every server does."""

    does: Does = says_done
    policy: bytes = ALL
    servers: tuple[str, ...] = ("alpha",)
    tools: tuple[str, ...] = TOOLS
    dead: set[str] = field(default_factory=set)
    calls: list[Asked] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    ears: dict[str, list[Callable[[str, str, bytes], None]]] = field(default_factory=dict)
    kept: dict[str, tuple[Call, MemoryHost]] = field(default_factory=dict)
    instructions: str | None = None

    def __post_init__(self) -> None:
        catalog = EMPTY
        for name in self.servers:
            tools = [entry(tool, self.raw(tool), effect="write", closed=False) for tool in self.tools]
            methods = [entry(method, one.raw, effect=one.effect) for method, one in METHODS.items()]
            source = {"kind": "mcp-stdio", "command": ["x"], "env": []}
            catalog = catalog.with_server(server_doc(name, source, [*tools, *methods]))
        rules = self.policy + (DENIED if "alpha/drop" in catalog.tools else b"")
        self.boundary = Boundary(catalog, Policy.from_files({"main.cedar": rules}, catalog, PROTECTED))
        self.log = MemoryLog()
        self.log.activate(self.boundary)

    def raw(self, tool: str) -> dict[str, Any]:
        return {"name": tool, "description": f"{tool} it", "inputSchema": SCHEMA}

    def names(self, caller: Caller) -> Sequence[str]:
        return [name for name in self.servers if caller.only in (None, name)]

    async def server(self, caller: Caller, name: str) -> Server:
        if name in self.dead:
            raise OutsideError(Reason.ERR_CONNECTOR_FAILED, f"`{name}` is dead", hint="start it")
        tools = {tool: canonical(self.raw(tool)) for tool in self.tools}
        return Server(name, tools, frozenset(METHODS), CAPABILITIES, self.instructions)

    async def call(
        self,
        caller: Caller,
        tool: str,
        arguments: bytes,
        relay: Relay,
        *,
        key: str | None = None,
        inputs: bytes | None = None,
        causes: Sequence[Receipt] = (),
        given_up: asyncio.Event | None = None,
    ) -> Answer:
        body = {"tool": tool, "arguments": json.loads(arguments), **({} if key is None else {"idempotency_key": key})}
        asked = Asked(caller, tool, arguments, relay, inputs, given_up or asyncio.Event())
        host = Host(self._host(caller, causes), self, asked)
        return await execute.execute(json.dumps(body).encode(), self.boundary, host)

    async def offer(self, caller: Caller, tool: str, arguments: bytes) -> Answer:
        raw, host = json.dumps({"tool": tool, "arguments": json.loads(arguments)}).encode(), self._host(caller)
        answer = run(execute.offer(raw, self.boundary, host))
        call = self.boundary.admit(raw)
        if isinstance(call, Call):
            self.kept[answer.decision.leaf] = call, host
        return answer

    async def report(self, caller: Caller, decision: Receipt, said: bytes, ms: int) -> Answer:
        call, host = self.kept.pop(decision.leaf)
        return run(execute.report(call, decision, Reply(ReplyKind.OUTPUT, ms, output=said), self.boundary, host))

    def watch(self, caller: Caller, told: Callable[[str, str, bytes], None]) -> Callable[[], None]:
        ears = self.ears.setdefault(caller.principal, [])
        ears.append(told)
        return lambda: ears.remove(told)

    def leave(self, place: str) -> None:
        self.left.append(place)

    def tells(self, method: str, params: bytes = b"{}", who: str = "ann") -> None:
        for told in tuple(self.ears.get(who, ())):
            told("alpha", method, params)

    def told(self) -> list[str]:
        """What the log says of calls, in a few words each."""
        words = ("verdict", "status", "reason", "sub", "tool")
        kinds = [receipt for receipt in self.log.receipts if receipt.kind.value in ("decision", "outcome")]
        return [" ".join(str(receipt.body[word]) for word in words if word in receipt.body) for receipt in kinds]

    def _host(self, caller: Caller, causes: Sequence[Receipt] = ()) -> MemoryHost:
        session = self.log.session(caller.principal, caller.door)
        return MemoryHost(self.log, session, Desk(), tuple(cause.leaf for cause in causes))


class Host:
    """The executor's, on a real event loop."""

    def __init__(self, host: MemoryHost, gate: MemoryGate, asked: Asked) -> None:
        self._host, self._gate, self._asked = host, gate, asked

    async def commit(self, *args: Any) -> Receipt:
        return run(self._host.commit(*args))

    async def dispatch(self, call: Call, intent: Receipt) -> Reply:
        asked, relay = self._asked, Counted(self._asked.relay)
        asked.relay, asked.args = relay, call.args
        self._gate.calls.append(asked)
        task, stop = asyncio.ensure_future(self._gate.does(asked)), asyncio.ensure_future(asked.given_up.wait())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not task.done():
            task.cancel()
            return Reply(ReplyKind.UNKNOWN, 0, sub="cancelled", interim=relay.end())
        said = task.result()
        asks = relay.capabilities != b"{}"
        interim = relay.end()
        return said if isinstance(said, Reply) else Reply(ReplyKind.OUTPUT, 0, output=said, interim=interim, questions=asks)

    async def settle(self, intent: Receipt, outcome: Outcome) -> Receipt:
        return run(self._host.settle(intent, outcome))

    async def report(self, offer: Receipt, outcome: Outcome) -> Receipt:
        return run(self._host.report(offer, outcome))

    async def answer(self, decision: Receipt, outcome: Receipt | None, output: bytes | None) -> Answer:
        return run(self._host.answer(decision, outcome, output))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Door:
    """Sessions over such a gate, and the tasks that they start."""

    gate: MemoryGate
    clock: Clock = field(default_factory=Clock)
    counted: list[str] = field(default_factory=list)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.gate, self.gate, lambda reason: self.counted.append(reason.value), self.clock)

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


async def until(there: Callable[[], object]) -> None:
    """Give the loop its turns until something is so."""
    for _ in range(100_000):
        if there():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came")
