"""The MCP door of a real kernel, with real servers behind it: both framings, both eras at either end."""

import asyncio
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.kernels import Place
from app.mcp_clients import CAN, Client, OverHttp, OverLines
from app.residents import HERE, Up, began, go, up
from helm_ai_kernel.app import agents, asks, hands, operate
from helm_ai_kernel.app.beside import Beside
from helm_ai_kernel.app.config import Upstream
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.gateway.identity import Agent, Limits
from helm_ai_kernel.tcb.call import Call
from helm_ai_kernel.tcb.ceremony import Act
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.wire.era import Era

SERVER = Path(__file__).parent / "era_server.py"
OPEN = b'@id("open") permit (principal, action, resource);\n'
DENY = OPEN + b'@id("not") forbid (principal, action in [Action::"tools/say", Action::"tools/resources/read"], resource);\n'
ASKS_NOT = OPEN + b'@id("not") forbid (principal, action == Action::"tools/elicitation/create", resource);\n'
HELD = OPEN + b'@id("ask") @require("approval") forbid (principal, action == Action::"tools/say", resource);\n'
ANSWER = {"action": "accept", "content": {"name": "Ann"}}
ERAS = ["legacy", "modern"]
FRAMINGS = ["http", "lines"]


@dataclass
class Home:
    place: Place
    token: str
    command: list[str]

    @property
    def calls(self) -> list[Any]:
        """What reached the server."""
        path = self.place.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def client(self, kernel: Up, framing: str, era: str, **more: Any) -> Client:
        more = {"capabilities": CAN, "answers": {"elicitation/create": ANSWER}, **more}
        if framing == "lines":
            return OverLines(era == "modern", up=kernel, command=self.command, **more)
        return OverHttp(era == "modern", up=kernel, token=self.token, **more)


def home(place: Place, era: str = "both", policy: bytes = OPEN, env: tuple[str, ...] = ()) -> Home:
    place.configure(HERE)
    pipes = [str(place.folder / name) for name in ("began", "go")]
    for pipe in pipes:
        os.mkfifo(pipe)
    command = [sys.executable, "-I", "-S", str(SERVER), era, str(place.folder / "calls"), *pipes]

    async def pinned() -> None:
        runtime = await Runtime.open(place.config)
        try:
            doc, _ = await operate.ask("tools", Upstream(tuple(command), env=env))
            operate.classify(doc, ["write"], [])
            await place.signing(doc, policy)(runtime)
        finally:
            await runtime.close()

    asyncio.run(pinned())
    (place.folder / "calls").unlink(missing_ok=True)
    return Home(place, agents.add(place.paths, Agent("ann"), token=True).token or "", command)


@contextmanager
def running(at: Home, *, again: bool = False) -> Iterator[Up]:
    """`again`: behind one that was killed, whose sessions have no end."""
    with up(at.place) as kernel:
        yield kernel
        assert kernel.end() == (0, "")
    (at.place.verify if again else at.place.check)()


def text(answer: Any) -> str:
    return str(answer["result"]["content"][0]["text"])


@pytest.mark.parametrize("server", ERAS)
def test_every_client_calls_lists_reads_and_is_told_in_every_pair_of_eras(place: Place, server: str) -> None:
    at = home(place, server)
    with running(at) as kernel:
        for framing in FRAMINGS:
            for era in ERAS:
                with at.client(kernel, framing, era) as client:
                    assert client.begin()["result"]["capabilities"]["tools"] == {"listChanged": True}
                    names = {tool["name"] for tool in client.ask("tools/list")["result"]["tools"]}
                    assert names == {"say", "ask", "shout", "wait", "die", "env"}
                    assert text(client.call("say", text="hello")) == "hello"
                    assert client.ask("resources/list")["result"]["resources"][0]["uri"] == "a:1"
                    assert client.ask("resources/read", uri="a:1")["result"]["contents"][0]["text"] == "read"
                    assert client.ask("prompts/list")["result"]["prompts"] == [{"name": "p"}]
                    assert client.ask("prompts/get", name="p")["result"]["messages"]
                    ref = {"type": "ref/prompt", "name": "p"}
                    done = client.ask("completion/complete", ref=ref, argument={"name": "a", "value": "b"})
                    assert done["result"]["completion"]["values"] == ["x"]
                    said = client.ask("tools/call", name="shout", arguments={"text": "loud"}, _meta={"progressToken": "t"})
                    assert text(said) == "loud"
                    told = {one["method"]: one["params"] for one in client.said}
                    assert told["notifications/progress"]["progressToken"] == "t"
                    assert told["notifications/message"]["data"] == "loud"
    outcomes = [receipt for receipt in place.receipts() if receipt.kind.value == "outcome"]
    assert sum("interim" in receipt.body for receipt in outcomes) == 4 and len(outcomes) == 4 * 7


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("era", ERAS)
def test_what_the_policy_denies_reaches_no_server(place: Place, framing: str, era: str) -> None:
    at = home(place, policy=DENY)
    with running(at) as kernel, at.client(kernel, framing, era) as client:
        client.begin()
        denied = client.call("say", text="hello")
        assert denied["result"]["isError"] and "ERR_POLICY_DENY" in text(denied)
        assert client.ask("resources/read", uri="a:1")["error"]["data"]["reason"] == "ERR_POLICY_DENY"
        assert at.calls == []


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_held_call_is_made_once_when_a_person_approved_it(place: Place, framing: str) -> None:
    at = home(place, policy=HELD)
    with running(at) as kernel, at.client(kernel, framing, "legacy", capabilities={}) as client:
        client.begin()
        held = client.call("say", text="hello")
        assert held["result"]["isError"] and "a person must approve" in text(held) and at.calls == []
        assert client.call("say", text="hello")["result"]["isError"], "nobody said anything yet"
        (about,) = asks.waiting(place.config)
        asyncio.run(asks.say(Beside.open(place.config), about, Act.APPROVE, place.approver))
        assert client.call("say", text="other")["result"]["isError"], "another call is another call"
        assert text(client.call("say", text="hello")) == "hello"
        assert client.call("say", text="hello")["result"]["isError"], "an approval is good once"
        assert at.calls == [["tools/call", "say"]]


@pytest.mark.parametrize("server", ERAS)
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_question_reaches_the_client_and_its_answer_the_server_where_the_policy_lets_it(
    place: Place, framing: str, era: str, server: str
) -> None:
    at = home(place, server)
    with running(at) as kernel, at.client(kernel, framing, era) as client:
        client.begin()
        assert "Ann" in text(client.call("ask"))
        assert [one.get("method") for one in client.asked] == ["elicitation/create"]
    reported = [receipt for receipt in place.receipts() if receipt.body.get("status") == "REPORTED"]
    offers = [receipt for receipt in place.receipts() if receipt.is_offer]
    assert len(reported) == len(offers) == 1 and offers[0].body["tool"] == "tools/elicitation/create"


@pytest.mark.parametrize("server", ERAS)
@pytest.mark.parametrize("era", ERAS)
def test_a_question_that_the_policy_denies_is_never_asked(place: Place, era: str, server: str) -> None:
    at = home(place, server, policy=ASKS_NOT)
    with running(at) as kernel:
        for framing in FRAMINGS:
            with at.client(kernel, framing, era) as client:
                client.begin()
                answer = client.call("ask")
                assert client.asked == [] and "Ann" not in str(answer)
    assert sum("ERR_POLICY_DENY" in line for line in place.told("decision")) == 2


def called(client: Client, name: str) -> tuple[threading.Thread, list[Any]]:
    """A call that waits for its answer elsewhere."""
    got: list[Any] = []

    def work() -> None:
        try:
            got.append(client.call(name))
        except (OSError, AssertionError) as error:
            got.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, got


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_cancelled_call_is_unknown_and_nobody_is_answered(place: Place, framing: str) -> None:
    at = home(place)
    with running(at) as kernel, at.client(kernel, framing, "legacy") as client:
        client.begin()
        message = client.message("tools/call", {"name": "wait", "arguments": {}})
        if isinstance(client, OverLines):
            client.write(message)
            began(place)
            client.notice("notifications/cancelled", requestId=message["id"])
            assert client.ask("ping")["result"] == {}  # behind the notice, which was heard then
        else:
            assert isinstance(client, OverHttp)
            thread = threading.Thread(target=client.send, args=(message,), daemon=True)
            thread.start()
            began(place)
            other = OverHttp(up=kernel, token=at.token, session=client.session)
            other.notice("notifications/cancelled", requestId=message["id"])
            thread.join(30)
            assert not thread.is_alive() and client.status == 202
        go(place)
        assert client.ask("ping")["result"] == {}
    assert any(line.startswith("outcome UNKNOWN ERR_OUTCOME_UNKNOWN cancelled") for line in place.told("outcome"))


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_server_that_is_killed_in_the_middle_leaves_unknown_and_the_next_call_has_a_new_one(place: Place, framing: str) -> None:
    at = home(place)
    with running(at) as kernel, at.client(kernel, framing, "legacy") as client:
        client.begin()
        answer = client.call("die")
        assert answer["result"]["isError"] and "do not repeat" in text(answer)
        assert text(client.call("say", text="again")) == "again"
    assert [line.split()[1] for line in place.told("outcome")] == ["UNKNOWN", "OK"]


def test_a_kernel_that_is_killed_leaves_unknown_and_no_session_behind(place: Place) -> None:
    at = home(place)
    with up(place) as kernel:
        http, line = at.client(kernel, "http", "legacy"), at.client(kernel, "lines", "legacy")
        for client in (http, line):
            client.begin()
        thread, got = called(line, "wait")
        began(place)
        kernel.end(signal.SIGKILL)
        thread.join(30)
        assert isinstance(got[0], OSError | AssertionError)
        line.close()
    go(place)
    with running(at, again=True) as kernel:
        assert isinstance(http, OverHttp)
        http.up = kernel
        status, _ = http.send(http.message("tools/call", {"name": "say", "arguments": {}}))
        assert status == 404, "a session does not outlive its kernel"
        http.session = None
        http.begin()
        assert text(http.call("say", text="x")) == "x"
    assert [line.split()[1] for line in place.told("outcome")] == ["UNKNOWN", "OK"]


def test_a_session_that_ends_ends_its_servers_whatever_else_is_open(place: Place) -> None:
    at = home(place)
    with running(at) as kernel:
        listener = OverHttp(True, up=kernel, token=at.token)
        asked = listener.message("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        with listener.open(json.dumps(asked).encode(), listener.fields(asked)) as response:
            assert b"acknowledged" in response.readline() + response.readline()
            for framing in FRAMINGS:
                with at.client(kernel, framing, "legacy") as client:
                    client.begin()
                    pid = process(client)
                    if isinstance(client, OverHttp):
                        with client.open(b"", client.fields(None), "DELETE") as ended:
                            assert ended.status == 204
                gone(pid)


def process(client: Client) -> int:
    """Of the server that this client calls: it says who it is in what its parent gave it."""
    children = Path(f"/proc/{client.up.process.pid}/task/{client.up.process.pid}/children")  # type: ignore[attr-defined]
    assert text(client.call("say", text="x")) == "x"
    return int(children.read_text().split()[-1])


def gone(pid: int) -> None:
    """Wait until that process is no more."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(fd):
        assert select.select([fd], [], [], 30)[0]


def test_only_named_variables_of_the_client_s_environment_reach_its_server(place: Place) -> None:
    at = home(place, env=("TOKEN",))
    brought = {"TOKEN": "t-1", "SECRET": "s-1", "LD_PRELOAD": "/nowhere.so", "PATH": "/usr/bin:/bin", "PYTHONPATH": "/x"}
    with running(at) as kernel, at.client(kernel, "lines", "legacy", env=brought) as client:
        assert isinstance(client, OverLines) and client.told["env"] == ["TOKEN"]
        client.begin()
        got = json.loads(text(client.call("env")))
        assert got["TOKEN"] == "t-1" and got["PATH"] == "/usr/bin:/bin"
        assert not {"SECRET", "LD_PRELOAD", "PYTHONPATH"} & got.keys()


def test_two_clients_of_one_agent_never_share_a_server_and_two_agents_neither(place: Place) -> None:
    at = home(place)
    bob = agents.add(place.paths, Agent("bob"), token=True).token
    with running(at) as kernel:
        clients = [at.client(kernel, "http", "legacy"), at.client(kernel, "lines", "legacy"), at.client(kernel, "http", "legacy")]
        stateless = [OverHttp(True, up=kernel, token=token) for token in (at.token, at.token, bob)]
        for client in (*clients, *stateless):
            client.begin()
            assert text(client.call("say", text="x")) == "x"
        children = Path(f"/proc/{kernel.process.pid}/task/{kernel.process.pid}/children").read_text().split()
        assert len(children) == 3 + 2
        for client in clients:
            client.close()


def test_what_a_client_sends_again_under_one_key_is_done_once(place: Place) -> None:
    at = home(place)
    with running(at) as kernel:
        for n, era in enumerate(ERAS, 1):
            with at.client(kernel, "http", era) as client:
                client.begin()
                meta = {"ai.helm/idempotency-key": f"k{era}"}
                first, again = (client.ask("tools/call", name="say", arguments={"text": "x"}, _meta=meta) for _ in range(2))
                assert again["result"]["_meta"]["ai.helm/receipt"]["reason"] == "REPEATED"
                assert text(first) == text(again) and len(at.calls) == n
                other = client.ask("tools/call", name="say", arguments={"text": "y"}, _meta=meta)
                assert other["result"]["isError"] and "ERR_IDEMPOTENCY_MISMATCH" in text(other)


def test_where_servers_are_bounded_the_one_that_nobody_called_for_longest_makes_room(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hands, "SERVERS_MAX", 2)
    at = home(place)

    async def work() -> None:
        runtime = await Runtime.open(place.config)
        for principal, name in (("ann", "a"), ("ann", "b"), ("ann", "c"), ("bob", "d")):
            runtime.hands.watch(principal, name, lambda server, method, params: None)
        with pytest.raises(OutsideError):
            runtime.hands.mcp("tools", hands.Place("ann", "over", era=Era.LEGACY))  # no session of that name is there
        try:

            async def borrowed(principal: str, name: str) -> object:
                return runtime.hands.mcp("tools", hands.Place(principal, name, era=Era.LEGACY))

            async def of(principal: str, name: str) -> object:
                """As a call of that place gets it: while that call is under way, its server makes room for none."""
                return await asyncio.create_task(borrowed(principal, name))

            first, second = await of("ann", "a"), await of("ann", "b")
            assert await of("ann", "a") is first
            third = await of("ann", "c")
            assert await of("ann", "a") is first and third not in (first, second)
            await of("bob", "d")
            assert await of("ann", "c") is third, "another principal has room of its own"
            assert await of("ann", "b") is not second, "who comes back has a new one"
            await borrowed("ann", "a"), await borrowed("ann", "b")
            with pytest.raises(OutsideError):
                await of("ann", "c")
        finally:
            await runtime.close()

    asyncio.run(work())
    assert at.calls == []


def test_nothing_of_a_call_is_kept_when_it_is_over(place: Place) -> None:
    """Timers that were cancelled stay in the loop for long, with the context that they were made in."""
    home(place)

    async def work() -> list[object]:
        runtime = await Runtime.open(place.config)
        try:
            for n in range(20):
                request = json.dumps({"tool": "tools/say", "arguments": {"text": f"kept {n}"}}).encode()
                assert (await runtime.call(request, principal="ann", door="execute")).output is not None
            gc.collect()  # other tests of this process have calls of their own
            return [one for one in gc.get_objects() if isinstance(one, Call) and b"kept " in one.args]
        finally:
            await runtime.close()

    assert len(asyncio.run(work())) <= 1


def test_an_agent_of_one_call_at_a_time_may_listen_beside_it_and_leaving_costs_it_no_place(place: Place) -> None:
    at = home(place)
    token = agents.add(place.paths, Agent("bob", limits=Limits(concurrent=1)), token=True).token
    with running(at) as kernel:
        legacy, modern = OverHttp(up=kernel, token=token), OverHttp(True, up=kernel, token=token)
        legacy.begin()
        listens = modern.message("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        heard = modern.open(json.dumps(listens).encode(), modern.fields(listens))
        with legacy.open(b"", legacy.fields(None), "GET") as one, heard as other:
            assert one.status == other.status == 200
            for client in (legacy, modern):
                assert text(client.call("say", text="x")) == "x"
            for client in (legacy, modern):
                for _ in range(3):  # a client that hangs up before anything was said
                    message = client.message("tools/call", {"name": "shout", "arguments": {"text": "x"}})
                    with closing(kernel.connection("data")) as connection:
                        connection.request("POST", "/mcp", json.dumps(message).encode(), client.fields(message))
                        assert connection.sock is not None
                        connection.sock.shutdown(socket.SHUT_RDWR)
                    while "error" in (answer := client.call("say", text="x")) or "nothing" in answer:
                        assert client.status == 429, "its place is its own until its call is over"
                    assert text(answer) == "x"
