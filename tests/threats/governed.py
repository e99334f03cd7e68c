"""A kernel of the library's own making, with keys, pins and a policy that people signed: what the threat tests attack."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helm_ai_kernel.app import home, operate
from helm_ai_kernel.app.config import load, paths
from helm_ai_kernel.app.doors import RuntimeGaps, RuntimeGate
from helm_ai_kernel.app.kernel import Kernel
from helm_ai_kernel.app.mcp import sessions, starter
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.gateway.data import EXECUTE, DataDoor
from helm_ai_kernel.gateway.gaps import Gaps
from helm_ai_kernel.gateway.identity import Agent, Agents, DataIdentity
from helm_ai_kernel.gateway.limits import Limiter
from helm_ai_kernel.gateway.mcp import McpDoor
from helm_ai_kernel.net.door import Peer
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.wire.head import Head
from helm_ai_kernel.wire.reply import Reply
from helm_ai_kernel.wire.status import STATUS

TOKEN = "T" * 43
PEER = Peer("127.0.0.1:50000")
APPROVER = SecretKey.from_seed(b"\x05" * 32, Purpose.APPROVAL)

POLICY = b"""\
@id("notes") permit (principal, action, resource == Server::"python");
@id("not-secret") forbid (principal, action == Action::"python/secret", resource);
@id("short") forbid (principal, action == Action::"python/note", resource) when { context.args.text == "forbidden" };
"""


@dataclass
class Governed:
    """A running kernel and everything that its functions did."""

    kernel: Kernel
    effects: list[tuple[str, Any]] = field(default_factory=list)

    def send(self, raw: bytes) -> Answer:
        """The bytes of a request, as any door hands them over."""
        return self.kernel.run(lambda runtime: runtime.call(raw, principal="local", door="library"))

    def send_over_http(self, raw: bytes) -> Answer:
        """The same bytes as the body of `POST /mcp/v1/execute`, by an agent who may call; what it was answered says the same."""
        caught: list[Answer] = []

        class Gate(RuntimeGate):
            async def execute(self, *args: Any, **kwargs: Any) -> Answer:
                caught.append(await super().execute(*args, **kwargs))
                return caught[-1]

        async def work(runtime: Runtime) -> Reply:
            agents = Agents([Agent("local", token=digest(TOKEN.encode()))])
            gaps = Gaps("data", RuntimeGaps(runtime), runtime.keep)
            mcp = McpDoor(sessions(runtime, gaps.count), starter(runtime))
            door = DataDoor(Gate(runtime), mcp, DataIdentity(lambda: agents), Limiter(lambda: 0), gaps)
            head = Head("POST", EXECUTE, "", "localhost", {"authorization": f"Bearer {TOKEN}"})
            return door.admit(head, PEER) or await door.answer(head, raw, PEER)

        reply = self.kernel.run(work)
        (answer,) = caught
        assert reply.status == STATUS[answer.reason]
        assert isinstance(reply.body, bytes)
        said = json.loads(reply.body)
        assert (said["helm"]["reason"], "result" in said) == (answer.reason, answer.output is not None)
        return answer

    def receipts(self) -> int:
        async def size(runtime: Runtime) -> int:
            return runtime.ledger.writer.state.frontier.size

        return self.kernel.run(size)


def made(folder: Path, policy: bytes = POLICY) -> Path:
    """A new home below `folder`, its approver known, its policy written and not yet in force."""
    where = paths(str(folder / "home"), str(folder / "people"))
    home.init(where, lambda: b"correct horse battery", approval=APPROVER)
    (where.policy / "main.cedar").write_bytes(policy)
    return folder


Define = Callable[[Kernel, list[tuple[str, Any]]], None]


def functions(kernel: Kernel, effects: list[tuple[str, Any]]) -> None:
    @kernel.tool(effect="write")
    def note(text: str) -> str:
        effects.append(("note", text))
        return text

    @kernel.tool(effect="write")
    def secret(text: str) -> str:
        effects.append(("secret", text))
        return text

    @kernel.tool
    def wipe() -> None:
        effects.append(("wipe", None))


@contextmanager
def running(folder: Path, define: Define = functions) -> Iterator[Governed]:
    where = paths(str(folder / "home"), str(folder / "people"))
    with Kernel(config=load(where)) as kernel:
        governed = Governed(kernel)
        define(kernel, governed.effects)
        yield governed


@contextmanager
def in_force(folder: Path) -> Iterator[Governed]:
    """The same with pins and policy in force."""
    with running(folder) as governed:
        governed.kernel.run(enact(governed.kernel.proposal()))
        yield governed


def enact(proposal: dict[str, Any]) -> Any:
    async def work(runtime: Runtime) -> None:
        await operate.activate(runtime, operate.propose_pins(runtime, proposal), [APPROVER])
        await operate.activate(runtime, operate.propose_policy(runtime), [APPROVER])

    return work
