"""T1, unauthorized tool execution: what the policy does not sanction runs through no door, and a receipt says why."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helm_ai_kernel.app.kernel import DOOR, Kernel
from helm_ai_kernel.app.results import Denied
from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.gateway import data
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Verdict
from helm_ai_kernel.tcb.ijson import BYTES_MAX
from threats.governed import Governed, in_force, made, running

# The doors of this version: the matrix below is over all of them, and a new one is added here.
DOORS: dict[str, Callable[[Governed, bytes], Answer]] = {DOOR: Governed.send, "execute": Governed.send_over_http}


def test_every_door_that_is_served_is_in_the_matrix() -> None:
    assert DOORS.keys() == {DOOR, *data.DOORS.values()}


def request(tool: str, arguments: object) -> bytes:
    return json.dumps({"tool": tool, "arguments": arguments}).encode()


ATTACKS = {
    "unknown tool": (request("python/unknown", {}), Reason.ERR_TOOL_NOT_ALLOWED),
    "unapproved server": (request("other/note", {"text": "a"}), Reason.ERR_TOOL_NOT_ALLOWED),
    "tool without server": (request("note", {"text": "a"}), Reason.ERR_TOOL_NOT_ALLOWED),
    "other case": (request("python/Note", {"text": "a"}), Reason.ERR_TOOL_NOT_ALLOWED),
    "trailing space": (request("python/note ", {"text": "a"}), Reason.ERR_TOOL_NOT_ALLOWED),
    "trailing nul": (request("python/note\0", {"text": "a"}), Reason.ERR_TOOL_NOT_ALLOWED),
    "cyrillic letter": (request("python/n\u043ete", {"text": "a"}), Reason.ERR_TOOL_NOT_ALLOWED),
    "encoded slash": (request("python%2Fnote", {"text": "a"}), Reason.ERR_TOOL_NOT_ALLOWED),
    "product's own name": (request("helm-ai-kernel/note", {"text": "a"}), Reason.ERR_TOOL_NOT_ALLOWED),
    "denied tool": (request("python/secret", {"text": "a"}), Reason.ERR_POLICY_DENY),
    "denied arguments": (request("python/note", {"text": "forbidden"}), Reason.ERR_POLICY_DENY),
    "wrong type": (request("python/note", {"text": 7}), Reason.ERR_SCHEMA_VIOLATION),
    "missing argument": (request("python/note", {}), Reason.ERR_SCHEMA_VIOLATION),
    "extra argument": (request("python/note", {"text": "a", "more": 1}), Reason.ERR_SCHEMA_VIOLATION),
    "arguments as text": (request("python/note", '{"text":"a"}'), Reason.ERR_UPSTREAM_SHAPE),
    "oversized": (request("python/note", {"text": "a" * BYTES_MAX}), Reason.ERR_JSON_NOT_IJSON),
    "duplicate key": (b'{"tool":"python/note","arguments":{"text":"a","text":"b"}}', Reason.ERR_JSON_NOT_IJSON),
    "two documents": (request("python/note", {"text": "a"}) * 2, Reason.ERR_JSON_NOT_IJSON),
    "batch": (b"[" + request("python/note", {"text": "a"}) + b"]", Reason.ERR_UPSTREAM_SHAPE),
    "notification form": (b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"python/note"}}', Reason.ERR_UPSTREAM_SHAPE),
    "schema brought along": (
        b'{"tool":"python/note","arguments":{"text":7},"inputSchema":{},"pin":"sha256:00"}',
        Reason.ERR_UPSTREAM_SHAPE,
    ),
    "nothing": (b"", Reason.ERR_JSON_NOT_IJSON),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("t01"))


@pytest.fixture(scope="module")
def governed(folder: Path) -> Iterator[Governed]:
    with in_force(folder) as running_kernel:
        yield running_kernel


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_door_dispatches_what_the_policy_does_not_sanction(governed: Governed, door: str, attack: str) -> None:
    raw, reason = ATTACKS[attack]
    effects, receipts = list(governed.effects), governed.receipts()
    answer = DOORS[door](governed, raw)
    assert (answer.verdict, answer.reason) == (Verdict.DENY, reason)
    assert (answer.outcome, answer.output) == (None, None)
    assert governed.effects == effects
    assert governed.receipts() > receipts > 0
    assert answer.decision.index == governed.receipts() - 1


def test_what_the_policy_sanctions_runs_once_through_the_same_door(governed: Governed) -> None:
    answer = governed.send(request("python/note", {"text": "hello"}))
    assert (answer.verdict, answer.output) == (Verdict.ALLOW, b'"hello"')
    assert governed.effects.count(("note", "hello")) == 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.text(max_size=60).map(lambda name: request(name, {"text": "a"}))))
def test_no_bytes_of_anyones_making_run_a_tool(governed: Governed, raw: bytes) -> None:
    effects = list(governed.effects)
    assert governed.send(raw).verdict is Verdict.DENY
    assert governed.effects == effects


def test_a_destructive_tool_waits_for_a_person_and_an_unclassified_one_is_destructive(governed: Governed) -> None:
    effects = list(governed.effects)
    answer = governed.send(request("python/wipe", {}))
    assert (answer.verdict, answer.reason) == (Verdict.ESCALATE, Reason.ERR_APPROVAL_REQUIRED)
    assert governed.effects == effects


def test_before_pins_and_policy_are_signed_a_governed_function_runs_for_nobody(tmp_path: Path) -> None:
    with running(made(tmp_path)) as fresh:
        answer = fresh.send(request("python/note", {"text": "a"}))
        assert answer.verdict is Verdict.DENY
        assert fresh.effects == []


def test_a_function_that_changed_since_it_was_pinned_does_not_run(tmp_path: Path) -> None:
    made(tmp_path)
    with in_force(tmp_path):
        pass

    def changed(kernel: Kernel, effects: list[tuple[str, Any]]) -> None:
        @kernel.tool(effect="write")
        def note(text: str, twice: bool = False) -> str:
            effects.append(("note", text))
            return text

    with running(tmp_path, changed) as governed:
        answer = governed.send(request("python/note", {"text": "a"}))
        assert (governed.effects, answer.output) == ([], None)
        assert answer.reason is Reason.ERR_MCP_SCHEMA_DRIFT


def test_a_decorated_function_raises_and_does_nothing_where_it_is_denied(tmp_path: Path) -> None:
    ran: list[str] = []
    made(tmp_path)
    with in_force(tmp_path) as governed:

        @governed.kernel.tool(effect="read")
        def unpinned() -> str:
            ran.append("unpinned")
            return "x"

        with pytest.raises(Denied, match="ERR_TOOL_NOT_ALLOWED"):
            unpinned()
    assert ran == []
