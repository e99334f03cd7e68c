"""What a person's word covers: the arguments that they saw, at the server that they pinned, and nothing that came with them."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from app.kernels import OPEN, copy
from helm_ai_kernel.app import asks, operate
from helm_ai_kernel.app.config import Upstream
from helm_ai_kernel.app.runtime import Beside, Runtime, SessionHost
from helm_ai_kernel.tcb.call import Call
from helm_ai_kernel.tcb.ceremony import Act
from helm_ai_kernel.tcb.decision import Verdict
from threats.ceremony import SENT, SERVER, Office, office, pin

REQUEST = json.dumps({"tool": "tools/send", "arguments": SENT}).encode()
MORE = Beside(inputs=b'{"inputResponses":{"q":{"action":"accept","content":{"to":"elsewhere"}}}}')


@pytest.fixture
def at(master: Path, tmp_path: Path) -> Office:
    return office(copy(master, tmp_path))


def test_an_approval_of_arguments_lets_no_call_go_that_has_more_with_them(at: Office) -> None:
    async def work() -> None:
        runtime = await Runtime.open(at.place.config)
        try:

            async def call(beside: Beside = Beside()) -> Verdict:  # noqa: B008  # frozen
                return (await runtime.call(REQUEST, principal="ann", door="mcp", beside=beside)).verdict

            assert await call() is Verdict.ESCALATE
            assert await call(MORE) is Verdict.DENY, "nobody can be asked for what they are not shown"
            assert len(at.held()) == 1
            await asks.say(runtime, at.one(), Act.APPROVE, at.place.approver)
            assert await call(MORE) is Verdict.DENY
            assert (await call(), at.done) == (Verdict.ALLOW, [["send", SENT]])
        finally:
            await runtime.close()

    asyncio.run(work())
    at.place.check()


def test_a_call_that_was_allowed_for_one_command_is_not_sent_to_another(at: Office) -> None:
    pin(at.place, "tools", OPEN)

    async def work() -> None:
        runtime = await Runtime.open(at.place.config)
        try:
            before = runtime.boundary
            call = before.admit(REQUEST)
            assert isinstance(call, Call)
            intent = (await runtime.call(REQUEST, principal="ann", door="mcp")).decision
            other = Upstream((sys.executable, "-I", "-S", str(SERVER), str(at.place.folder / "elsewhere")))
            doc, _ = await operate.ask("tools", other)
            operate.classify(doc, ["write"], [])
            await at.place.signing(doc, OPEN)(runtime)
            async with runtime.sessions.of("ann", "mcp") as session:
                reply = await SessionHost(runtime, session, before).dispatch(call, intent)
            assert reply.sub == "repinned"
        finally:
            await runtime.close()

    asyncio.run(work())
    assert not (at.place.folder / "elsewhere").exists()
