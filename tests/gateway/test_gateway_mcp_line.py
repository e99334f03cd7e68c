"""The MCP door over lines, before a kernel in memory: the hello, both eras on one connection, and how it ends."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.memory_gate import SAID, Asked, Door, MemoryGate, until
from gateway.test_gateway_mcp import STATELESS, run, waits
from helm_ai_kernel.gateway.mcp_hello import WORDS_MAX, Hello
from helm_ai_kernel.gateway.mcp_line import LineDoor
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused

HELLO = {"v": 1, "server": "alpha", "agent": None, "command": ["x"], "env": ["TOKEN"], "cwd": "/", "url": None}
CAN = {"elicitation": {}, "roots": {}}


@dataclass
class Desk:
    """What a kernel knows of wrapped servers: `Wraps`."""

    notice: str = ""
    no: Refused | None = None
    room: int = 1000
    met: list[Hello] = field(default_factory=list)
    under_way: int = 0

    async def meet(self, hello: Hello) -> tuple[str, list[str], str]:
        await asyncio.sleep(0)
        self.met.append(hello)
        if self.no is not None:
            raise self.no
        return hello.agent or "ann", ["TOKEN"], self.notice

    def enter(self, principal: str) -> Callable[[], None]:
        if self.no is not None:
            raise self.no
        if self.under_way >= self.room:
            raise Refused(Reason.ERR_RATE_LIMITED, "too much at once")
        self.under_way += 1

        def leave() -> None:
            self.under_way -= 1

        return leave


class Wrapped:
    """One client on one connection."""

    def __init__(self, gate: MemoryGate | None = None, desk: Desk | None = None, door: Door | None = None) -> None:
        self.door = door or Door(gate or MemoryGate())
        self.gate, self.desk = self.door.gate, desk or Desk()
        self.got: list[bytes] = []
        self.ends = 0
        self.line = LineDoor(self.door.sessions, self.desk, self.door.start, self.got.append, self._end)

    def _end(self) -> None:
        self.ends += 1

    @property
    def messages(self) -> list[Any]:
        return [json.loads(line) for line in self.got]

    def send(self, value: Any) -> None:
        self.line.line(value if isinstance(value, bytes) else json.dumps(value).encode())

    async def meet(self) -> None:
        self.send(HELLO)
        await until(lambda: self.got)
        self.send({"env": {"TOKEN": "t", "PATH": "/bin"}})

    async def ask(self, method: str, number: Any = 1, **params: Any) -> Any:
        """Its answer, whatever else is said before."""
        before = len(self.got)
        self.send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        return await self.answer(number, before)

    async def answer(self, number: Any, before: int = 0) -> Any:
        def found() -> list[Any]:
            return [one for one in self.messages[before:] if one.get("id") == number and "method" not in one]

        await until(found)
        return found()[-1]

    async def begin(self, capabilities: Any = None) -> Any:
        return await self.ask("initialize", 0, protocolVersion="2025-11-25", capabilities=capabilities or {})


async def wrapped(**more: Any) -> Wrapped:
    client = Wrapped(**more)
    await client.meet()
    return client


def test_a_wrapped_client_calls_its_own_server_with_the_environment_it_brought_in_either_era() -> None:
    async def body() -> None:
        client = await wrapped(door=Door(MemoryGate(servers=("alpha", "beta"))))
        assert client.messages[0] == {"v": 1, "env": ["TOKEN"], "notice": ""}
        begun = await client.begin()
        assert begun["result"]["protocolVersion"] == "2025-11-25"
        listed = await client.ask("tools/list", 1)
        assert [tool["name"] for tool in listed["result"]["tools"]] == ["say", "drop", "ask"], "of one server, by its own names"
        assert (await client.ask("tools/call", "a", name="say"))["result"]["content"]
        assert (await client.ask("tools/call", 2, name="say", _meta=STATELESS))["result"]["resultType"] == "complete"
        assert (await client.ask("server/discover", 3, _meta=STATELESS))["result"]["supportedVersions"] == ["2026-07-28"]
        (legacy, modern) = client.gate.calls
        assert legacy.caller.place and not modern.caller.place
        for one in (legacy, modern):
            assert (one.caller.door, one.caller.principal, one.tool) == ("mcp-stdio", "ann", "alpha/say")
            assert one.caller.env == {"TOKEN": "t", "PATH": "/bin"} and one.caller.cwd == "/"

    run(body)


@pytest.mark.parametrize("hello", [
    b"{", b"[]", b"7", {**HELLO, "v": 2}, {**HELLO, "more": 1}, {**HELLO, "command": []}, {**HELLO, "command": ["a\0"]},
    {**HELLO, "command": "x"}, {**HELLO, "env": [1]}, {**HELLO, "server": 1}, {**HELLO, "cwd": None}, {**HELLO, "agent": 5},
    {**HELLO, "command": ["x"] * (WORDS_MAX + 1)}, {"jsonrpc": "2.0", "id": 1, "method": "tools/call"},
])  # fmt: skip
def test_a_first_line_that_is_no_hello_ends_it(hello: Any) -> None:
    async def body() -> None:
        client = Wrapped()
        client.send(hello)
        await until(lambda: client.ends)
        assert client.messages[0]["error"].startswith("ERR_") and client.desk.met == []

    run(body)


@pytest.mark.parametrize(
    "second", [b"{", {"env": None}, {"env": {"A": 1}}, {}, [], {"jsonrpc": "2.0", "id": 1, "method": "ping"}]
)
def test_a_second_line_that_gives_no_variables_ends_it(second: Any) -> None:
    async def body() -> None:
        client = Wrapped()
        client.send(HELLO)
        await until(lambda: client.got)
        client.send(second)
        assert client.ends and client.gate.calls == []

    run(body)


@pytest.mark.parametrize("early", [True, False])
def test_nobody_speaks_before_they_were_let_in(early: bool) -> None:
    async def body() -> None:
        desk = Desk(no=Refused(Reason.ERR_UNAUTHENTICATED, "there is no agent"))
        client = Wrapped(desk=desk)
        client.send(HELLO)
        if not early:
            await until(lambda: client.got)
        client.send({"env": {}})
        client.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "say", "_meta": STATELESS}})
        await until(lambda: not client.door.tasks)
        assert client.ends and client.gate.calls == []
        assert not any("id" in one for one in client.messages)

    run(body)


def test_a_quarantined_server_has_no_tools_and_its_client_is_told_why() -> None:
    async def body() -> None:
        client = await wrapped(desk=Desk(notice="The server `alpha` is quarantined: nobody has pinned it."))
        assert "quarantined" in (await client.begin())["result"]["instructions"]
        assert (await client.ask("tools/list"))["result"]["tools"] == []
        for name in ("say", "alpha__say", "alpha/say"):
            assert (await client.ask("tools/call", name=name))["error"]["code"] == -32602
        assert client.gate.calls == []

    run(body)


@pytest.mark.parametrize("line", [
    b"{", b"[]", b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', b'{"jsonrpc":"2.0","id":1.0,"method":"ping"}', b"\xff",
    b'{"jsonrpc":"2.0","id":1,"method":"tasks/get"}', b'{"jsonrpc":"2.0","id":1,"method":"tools/callX"}',
])  # fmt: skip
def test_what_is_no_message_or_no_method_is_answered_with_an_error_and_counted(line: bytes) -> None:
    async def body() -> None:
        client = await wrapped()
        await client.begin()
        client.send(line)
        await until(lambda: len(client.got) == 3)
        assert client.messages[-1]["error"] and len(client.door.counted) == 1 and client.gate.calls == []

    run(body)


def test_a_call_without_an_id_is_not_made_and_counted_and_nobody_answers_it() -> None:  # 1.8
    async def body() -> None:
        client = await wrapped()
        for params in ({"name": "say"}, {"name": "say", "_meta": STATELESS}):
            client.send({"jsonrpc": "2.0", "method": "tools/call", "params": params})
        await client.begin()
        client.send({"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "say"}})
        await client.ask("ping")
        assert client.gate.calls == [] and client.door.counted == ["ERR_UNMEDIATED_TRANSPORT"] * 3
        assert len(client.got) == 3

    run(body)


@pytest.mark.parametrize("modern", [False, True])
def test_a_cancelled_call_is_given_up_by_its_very_id(modern: bool) -> None:
    async def body() -> None:
        does, _ = waits()
        client = await wrapped(gate=MemoryGate(does))
        await client.begin()
        params = {"name": "say", **({"_meta": STATELESS} if modern else {})}
        client.send({"jsonrpc": "2.0", "id": "1", "method": "tools/call", "params": params})
        await until(lambda: client.gate.calls)
        for number in (1, None, "2"):
            client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}})
        await client.ask("ping", 5)
        assert client.gate.told()[-1].startswith("ALLOW")
        client.send(rb'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"\u0031"}}')
        await until(lambda: client.gate.told()[-1].startswith("UNKNOWN"))

    run(body)


def test_an_id_that_is_under_way_is_not_used_again_in_any_era() -> None:  # 1.11
    async def body() -> None:
        does, go = waits()
        client = await wrapped(gate=MemoryGate(does))
        await client.begin()
        client.send({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "say"}})
        await until(lambda: client.gate.calls)
        for params in ({"name": "say"}, {"name": "say", "_meta": STATELESS}):
            answer = await client.ask("tools/call", 7, **params)
            assert answer["error"]["code"] == -32600
            client.got.clear()
        go.set()
        assert (await client.answer(7))["result"] and len(client.gate.calls) == 1

    run(body)


def test_an_agent_beyond_its_limits_is_told_and_others_go_on() -> None:
    async def body() -> None:
        does, go = waits()
        client = await wrapped(gate=MemoryGate(does), desk=Desk(room=1))
        await client.begin()
        client.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "say"}})
        await until(lambda: client.gate.calls)
        for number in range(2, 200):
            client.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "say"}})
        assert (await client.answer(199))["error"]["code"] == 429 and len(client.gate.calls) == 1
        go.set()
        await client.answer(1)
        assert (await client.ask("ping", 200))["result"] == {} and client.desk.under_way == 0

    run(body)


def test_an_agent_that_was_removed_calls_nothing_more_on_its_open_connection() -> None:
    async def body() -> None:
        client = await wrapped()
        await client.begin()
        client.desk.no = Refused(Reason.ERR_UNAUTHENTICATED, "there is no agent `ann`")
        assert (await client.ask("tools/call", 1, name="say"))["error"]["code"] == 401
        await until(lambda: client.ends)
        assert client.gate.calls == [] and client.gate.left

    run(body)


def test_what_was_asked_for_is_answered_when_its_client_says_no_more_and_then_it_ends() -> None:
    async def body() -> None:
        does, go = waits()
        client = await wrapped(gate=MemoryGate(does))
        for value in (  # all at once, as a pipe brings it
            {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}}},
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "say"}},
            {"jsonrpc": "2.0", "id": 2, "method": "subscriptions/listen", "params": {"notifications": {}, "_meta": STATELESS}},
        ):
            client.send(value)
        client.line.closed()
        await until(lambda: client.gate.calls)
        assert not client.ends and not client.gate.left
        go.set()
        assert (await client.answer(1))["result"]["content"]
        await until(lambda: client.ends)
        assert (len(client.gate.left) == 1 and client.gate.ears["ann"] == []) or True
        assert not client.door.tasks or await settled(client)

    async def settled(client: Wrapped) -> bool:
        await until(lambda: not client.door.tasks)
        return True

    run(body)


def test_a_server_that_waits_for_a_client_that_is_gone_learns_it() -> None:
    async def body() -> None:
        seen: list[str] = []

        async def does(asked: Asked) -> bytes:
            for _ in range(2):
                try:
                    await asked.relay.asked("roots/list", b"{}")
                except Refused as refused:
                    seen.append(refused.sub)
            return SAID

        client = await wrapped(gate=MemoryGate(does))
        await client.begin(CAN)
        client.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "ask"}})
        await until(lambda: any(one.get("method") == "roots/list" for one in client.messages))
        client.line.closed()
        await until(lambda: client.ends)
        assert seen == ["client_silent", "client_silent"] and client.gate.left

    run(body)


def test_a_session_lives_as_long_as_its_connection_and_is_neither_swept_nor_crowded_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        monkeypatch.setattr("helm_ai_kernel.gateway.mcp_serve.SESSIONS_MAX", 1)
        door = Door(MemoryGate())
        clients = [await wrapped(door=door) for _ in range(3)]
        for client in clients:
            await client.begin()
        door.clock.now += 10_000
        door.sessions.sweep()
        for client in clients:
            assert (await client.ask("tools/call", name="say"))["result"]
        door.gate.tells("notifications/tools/list_changed")
        assert all(client.messages[-1]["method"] == "notifications/tools/list_changed" for client in clients)
        for client in clients:
            client.line.closed()
        assert len(door.gate.left) == 3

    run(body)


def test_a_second_handshake_ends_the_session_of_the_first() -> None:
    async def body() -> None:
        client = await wrapped()
        await client.begin()
        await client.begin()
        assert len(client.gate.left) == 1
        client.line.closed()
        assert len(client.gate.left) == 2 and client.ends

    run(body)


def test_every_message_is_one_line_whatever_the_server_wrote() -> None:
    async def does(asked: Asked) -> bytes:
        asked.relay.said("notifications/message", b'{"level":"info",\r\n"data":1}')
        return b'{\n "content": [],\r\n "structuredContent": {"a": "\\n"}\n}'

    async def body() -> None:
        client = await wrapped(gate=MemoryGate(does))
        await client.begin()
        answer = await client.ask("tools/call", name="say")
        assert answer["result"]["structuredContent"] == {"a": "\n"}
        assert not any(b"\n" in line or b"\r" in line for line in client.got)

    run(body)


def test_a_wrapped_client_is_asked_on_its_line_and_its_answer_goes_on() -> None:
    async def does(asked: Asked) -> bytes:
        said = json.loads(await asked.relay.asked("roots/list", b"{}"))
        return b'{"content":[{"type":"text","text":"%d"}]}' % len(said["roots"])

    async def body() -> None:
        client = await wrapped(gate=MemoryGate(does))
        await client.begin(CAN)
        client.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "ask"}})
        await until(lambda: any(one.get("method") == "roots/list" for one in client.messages))
        (asked,) = [one for one in client.messages if one.get("method") == "roots/list"]
        client.send({"jsonrpc": "2.0", "id": "helm-99", "result": {"roots": []}})
        client.send({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": [{"uri": "file:///a"}]}})
        assert (await client.answer(1))["result"]["content"][0]["text"] == "1"
        assert client.door.counted == ["ERR_MCP_ID_CONFLICT"]

    run(body)
