"""What a server says and asks while a call is under way, over stdio and in both eras: who hears it, and for how long."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from connectors.relays import Heard
from helm_ai_kernel.connectors import mcp
from helm_ai_kernel.connectors.deadline import STILL_S_MAX, Deadline
from helm_ai_kernel.connectors.mcp_stdio import McpStdioConnector
from helm_ai_kernel.executor.host import Reply, ReplyKind
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire.era import Era

SERVER = Path(__file__).parent / "servers" / "talking.py"
LONG_MS = 60_000  # never reached: a test that waits for it has failed
SHORT_MS = 150  # always reached: the server does not answer at all
ANSWER = {"sampling/createMessage": b'{"role":"x"}'}


class Rig:
    def __init__(self, era: str, log: Path, options: dict[str, Any]) -> None:
        self.log = log
        self.drifts: list[tuple[str | None, str]] = []
        said = {"capabilities": b'{"sampling":{}}', "on_drift": lambda *what: self.drifts.append(what)} | options
        self.connector = McpStdioConnector([sys.executable, "-I", "-S", str(SERVER), era, str(log)], **said)

    async def start(self) -> None:
        await self.connector.start()
        self.connector.pins = {name: digest(canonical(raw)) for name, raw in self.connector.definitions.items()}

    def read(self, method: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_bytes().splitlines()]
        return [line for line in lines if line.get("method", "answer") == method]

    async def call(self, name: str, relay: Heard | None = None, *, wall_ms: int = LONG_MS, **more: Any) -> Reply:
        return await self.connector.call(name, b"{}", key=None, wall_ms=wall_ms, output_bytes=1 << 20, relay=relay, **more)


def served(tmp_path: Path, body: Callable[[Rig], Coroutine[Any, Any, None]], era: str = "legacy", **options: Any) -> None:
    async def main() -> None:
        rig = Rig(era, tmp_path / "log", options)
        try:
            await rig.start()
            await body(rig)
        finally:
            await rig.connector.close()

    asyncio.run(main())


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_call_with_somebody_behind_it_has_a_token_and_hears_what_is_said_under_it(tmp_path: Path, era: str) -> None:
    async def body(rig: Rig) -> None:
        relay = Heard()
        reply = await rig.call("talks", relay)
        assert reply.kind is ReplyKind.OUTPUT
        assert [method for method, _ in relay.heard] == ["notifications/progress", "notifications/message"]
        assert "progressToken" in json.loads(reply.output or b"")["got"]["_meta"]
        assert (await rig.call("talks")).kind is ReplyKind.OUTPUT
        assert "progressToken" not in json.dumps(rig.read("tools/call")[-1])
        assert (await rig.connector.facts()).era is Era(era)

    served(tmp_path, body, era)


def test_a_question_goes_to_the_only_caller_that_it_can_mean(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        relay = Heard(ANSWER)
        assert (await rig.call("asks", relay)).output == b'{"answer": {"role": "x"}}'
        assert relay.questions == [("sampling/createMessage", b'{"n": 0}')]
        assert b"method not found" in ((await rig.call("asks")).output or b"")
        assert b"ERR_POLICY_DENY" in ((await rig.call("asks", Heard())).output or b"")
        assert rig.read("initialize")[0]["params"]["capabilities"] == {"sampling": {}}

    served(tmp_path, body)


def test_a_question_that_could_be_two_callers_is_answered_by_nobody(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        first, second = Heard(ANSWER), Heard(ANSWER)
        waits = asyncio.create_task(rig.call("waits", first))
        await asyncio.sleep(0)  # it is sent
        reply = await rig.call("asks", second)
        assert b"not known in which" in (reply.output or b"") and not first.questions and not second.questions
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        assert (await rig.call("asks", second)).output == b'{"answer": {"role": "x"}}'
        assert [line["params"]["requestId"] for line in rig.read("notifications/cancelled")] == [rig.read("tools/call")[0]["id"]]

    served(tmp_path, body)


def test_a_question_that_is_withdrawn_is_not_answered(tmp_path: Path) -> None:
    class Slow(Heard):
        async def asked(self, method: str, params: bytes) -> bytes:
            asked.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return b"{}"

    asked, ended = asyncio.Event(), asyncio.Event()

    async def body(rig: Rig) -> None:
        assert (await rig.call("withdraws", Slow())).output == b"{}"
        assert not asked.is_set() or await asyncio.wait_for(ended.wait(), 30)
        assert (await rig.call("talks")).kind is ReplyKind.OUTPUT
        assert not rig.read("answer")

    served(tmp_path, body)


def test_the_deadline_of_a_call_stands_still_while_its_caller_is_asked(tmp_path: Path) -> None:
    class Person(Heard):
        async def asked(self, method: str, params: bytes) -> bytes:
            now[0] += 1000.0
            await asyncio.wait({asyncio.get_running_loop().create_future()}, timeout=2 * SHORT_MS / 1000)
            return await super().asked(method, params)

    now = [0.0]

    async def body(rig: Rig) -> None:
        reply = await rig.call("asks", Person(ANSWER), wall_ms=SHORT_MS)
        assert (reply.kind, reply.output) == (ReplyKind.OUTPUT, b'{"answer": {"role": "x"}}')
        assert reply.ms >= 1_000_000

    served(tmp_path, body, clock=lambda: now[0])


def test_a_deadline_stands_still_for_as_long_as_any_question_is_open_and_never_for_ever() -> None:
    now = [0.0]
    deadline = Deadline(10.0, lambda: now[0])
    now[0] = 4.0
    with deadline.still():
        now[0] = 100.0
        with deadline.still():
            now[0] = 200.0
        assert deadline.left() == 6.0 + STILL_S_MAX - 196.0
    assert deadline.left() == 6.0
    with deadline.still():
        now[0] = 200.0 + STILL_S_MAX
        assert deadline.left() == 0.0 or deadline.left() <= 6.0
    assert deadline.left() == 0.0


def test_a_result_that_asks_is_an_answer_and_one_that_nobody_knows_is_none(tmp_path: Path) -> None:
    async def modern(rig: Rig) -> None:
        assert (await rig.call("input")).output == b'{"resultType": "input_required"}'
        reply = await rig.call("later")
        assert (reply.kind, reply.sub, reply.output) == (ReplyKind.UNKNOWN, "result_type", b'{"resultType": "later"}')

    async def legacy(rig: Rig) -> None:
        assert (await rig.call("later")).kind is ReplyKind.OUTPUT  # whether it keeps its contract is judged elsewhere

    served(tmp_path, modern, "modern")
    served(tmp_path, legacy)


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_list_that_changed_is_read_before_anybody_is_told(tmp_path: Path, era: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp, "RELIST_S", 0.0)
    notices: list[tuple[str, bytes]] = []
    changed = asyncio.Event()

    async def body(rig: Rig) -> None:
        assert (await rig.call("notices", Heard())).kind is ReplyKind.OUTPUT
        await asyncio.wait_for(changed.wait(), 30)
        assert set(rig.drifts) == {("talks", "changed")}
        assert ("notifications/resources/updated", b'{"uri": "a:b"}') in notices
        assert (await rig.call("talks")).sub == "changed" and (await rig.call("input")).kind is ReplyKind.OUTPUT
        assert len(rig.read("tools/list")) == 2
        assert len(rig.read("subscriptions/listen")) == (1 if era == "modern" else 0)

    served(tmp_path, body, era, on_changed=changed.set, on_notice=lambda *notice: notices.append(notice))


@pytest.mark.parametrize(("pinned", "sub"), [("be kind", ""), ("be cruel", "instructions"), ("", "instructions"), (None, "")])
def test_instructions_are_those_that_were_pinned(tmp_path: Path, pinned: str | None, sub: str) -> None:
    async def body(rig: Rig) -> None:
        assert (await rig.call("talks")).sub == sub
        assert ((None, "instructions") in rig.drifts) is bool(sub)

    served(tmp_path, body, instructions=pinned)


def test_a_server_that_dies_of_the_probe_is_asked_in_the_old_way(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        assert (await rig.connector.facts()).revision == "2025-06-18"
        assert (await rig.call("dies")).sub == "process_lost"
        assert (await rig.call("talks")).kind is ReplyKind.OUTPUT
        assert len(rig.read("server/discover")) == 1 and len(rig.read("initialize")) == 2

    served(tmp_path, body, "dies")


def test_a_server_that_dies_of_every_call_is_not_started_for_ever(tmp_path: Path) -> None:
    now = [0.0]

    async def body(rig: Rig) -> None:
        subs = [(await rig.call("dies")).sub for _ in range(mcp.STARTS_MAX + 1)]
        assert subs == ["process_lost"] * mcp.STARTS_MAX + ["restarts"]
        with pytest.raises(OutsideError, match="within a minute"):
            await rig.connector.start()
        now[0] += mcp.STARTS_S
        assert (await rig.call("talks")).kind is ReplyKind.OUTPUT

    served(tmp_path, body, clock=lambda: now[0])


def test_a_method_that_is_pinned_is_forwarded(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        assert (await rig.call("resources/read")).sub == "not_pinned"
        rig.connector.pins = {**rig.connector.pins, "resources/read": digest(b""), "initialize/x": digest(b"")}
        assert (await rig.call("resources/read")).output == b'{"read": {}}'
        assert (await rig.call("initialize/x")).sub == "not_forwarded"

    served(tmp_path, body)
