"""Many callers at once over real sockets, who hang up wherever they like: nothing is lost, and nothing stays behind."""

import asyncio
import gc
import json
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from app.kernels import OPEN, Place
from app.residents import HERE, until
from helm_ai_kernel.app import agents
from helm_ai_kernel.app.resident import Asked, Doors
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.connectors.python import PythonConnector
from helm_ai_kernel.gateway.identity import Agent, Limits
from helm_ai_kernel.pep.catalog import entry, server_doc
from helm_ai_kernel.verifier.document import document

CLIENTS = 64
LEFT_OBJECTS_MAX = 4_000  # what may be more behind a crowd than before it, of any kind: a leak of one object a request is more


@dataclass
class World:
    place: Place
    runtime: Runtime
    doors: Doors
    token: str
    host: str
    ran: Counter[str] = field(default_factory=Counter)
    answered: set[str] = field(default_factory=set)
    sent: int = 0

    def request(self, text: str) -> bytes:
        body = json.dumps({"tool": "python/note", "arguments": {"text": text}}).encode()
        head = (
            f"POST /mcp/v1/execute HTTP/1.1\r\nHost: {self.host}\r\nAuthorization: Bearer {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def client(self, number: int, count: int) -> None:
        """Asks so many times, each time in one of the ways in which programs do, or break off."""
        chance = random.Random(number)
        for turn in range(count):
            text, how = f"{number}-{turn}", chance.choice(["ask", "ask", "ask", "part", "gone", "reset", "nothing"])
            self.sent += 1
            reader, writer = await asyncio.open_connection(*self.host.split(":"))
            data = self.request(text)
            if how == "part":
                data = data[: chance.randrange(len(data))]
            if how != "nothing":
                writer.write(data)
            if how == "ask":
                head = await reader.readuntil(b"\r\n\r\n")
                size = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
                said = json.loads(await reader.readexactly(size))
                assert said["result"] == text
                self.answered.add(said["helm"]["outcome"]["leaf"])
            if how == "reset":
                writer.transport.abort()
            writer.close()

    async def crowd(self, requests: int, first: int) -> None:
        await asyncio.gather(*(self.client(first + number, requests // CLIENTS) for number in range(CLIENTS)))
        books = [listener._books for listener in self.doors._listeners.values()]
        await until(lambda: not any(book.members or book.tasks for book in books) and not self.runtime._tasks)  # to their ends


def run(place: Place, body: Callable[[World], Awaitable[None]]) -> World:
    async def main() -> World:
        ran: Counter[str] = Counter()

        async def note(text: str) -> str:
            ran[text] += 1
            await asyncio.sleep(0)
            return text

        hands = PythonConnector((note,))
        runtime = await Runtime.open(place.config, connectors={"python": hands})
        token = agents.add(place.paths, Agent("ann", limits=Limits(concurrent=4096)), token=True).token or ""
        doors = Doors(runtime, Asked(document()))
        try:
            proposal = [entry(name, raw, effect="read") for name, raw in hands.definitions.items()]
            await place.signing(server_doc("python", {"kind": "python"}, proposal), OPEN)(runtime)
            listening = await doors.start()
            host = next(one.at for one in listening if one.plane == "data" and one.at.startswith("http")).partition("://")[2]
            world = World(place, runtime, doors, token, host, ran)
            await body(world)
            return world
        finally:
            await doors.close(5.0)
            await runtime.close()

    place.configure(HERE)
    return asyncio.run(main())


@pytest.mark.parametrize("requests", [640, pytest.param(10_000, marks=pytest.mark.whole)])
def test_callers_who_hang_up_lose_no_receipt_and_leave_nothing_behind(place: Place, requests: int) -> None:
    async def body(world: World) -> None:
        await world.crowd(CLIENTS * 2, 1000)  # whatever is made once is made
        gc.collect()
        tasks, files, objects = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd")), len(gc.get_objects())
        await world.crowd(requests, 0)
        gc.collect()
        assert len(asyncio.all_tasks()) <= tasks
        assert len(os.listdir("/proc/self/fd")) <= files
        assert len(gc.get_objects()) - objects < LEFT_OBJECTS_MAX

    world = run(place, body)
    place.check()
    receipts = place.receipts()
    intents = [receipt for receipt in receipts if receipt.is_intent]
    outcomes = {str(r.body["decision"]): r.leaf for r in receipts if r.kind.value == "outcome" and r.body["status"] == "OK"}
    assert len(intents) == len(outcomes) == sum(world.ran.values()) > world.sent // 3
    assert max(world.ran.values()) == 1, "each request had its effect once, or not at all"
    assert world.answered <= set(outcomes.values())
    assert {receipt.leaf for receipt in intents} == set(outcomes)
