"""A call that waits for a person, at the MCP door of a real kernel: asked by the protocol itself, made once, in both eras."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from app.kernels import copy
from app.residents import Up, up
from helm_ai_kernel.tcb.ceremony import Act
from threats.ceremony import SENT, Office, office

FORMS = {"elicitation": {}}
META = "io.modelcontextprotocol/"
BOTH = "application/json, text/event-stream"


@pytest.fixture
def at(master: Path, tmp_path: Path) -> Office:
    return office(copy(master, tmp_path))


def rpc(number: int, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


class Client:
    def __init__(self, kernel: Up, at: Office, capabilities: dict[str, Any]) -> None:
        self.kernel, self.token, self.capabilities = kernel, at.tokens["ann"], capabilities
        begun = self.post(rpc(0, "initialize", protocolVersion="2025-06-18", capabilities=capabilities))
        self.session = begun.fields["mcp-session-id"]

    def post(self, message: Any, **fields: str) -> Any:
        return self.kernel.ask("data", "POST", "/mcp", message, token=self.token, accept=BOTH, **fields)

    def modern(self, number: int, **params: Any) -> Any:
        meta = {f"{META}protocolVersion": "2026-07-28", f"{META}clientCapabilities": self.capabilities}
        message = rpc(number, "tools/call", name="send", arguments=SENT, _meta=meta, **params)
        named = {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/call", "mcp_name": "send"}
        return self.post(message, **named).value["result"]

    def legacy(self, number: int, says: str, before: Any = None) -> list[Any]:
        """Every message on the stream of one call; what it is asked it answers with that action, after `before`."""
        said: list[Any] = []
        connection = self.kernel.connection("data")
        named = {"authorization": f"Bearer {self.token}", "mcp-session-id": self.session, "accept": BOTH}
        named["content-type"] = "application/json"
        connection.request("POST", "/mcp", json.dumps(rpc(number, "tools/call", name="send", arguments=SENT)), named)
        answer = connection.getresponse()
        if answer.getheader("content-type") == "application/json":
            said.append(json.loads(answer.read()))
        while line := answer.readline():
            if line.startswith(b"data: "):
                said.append(json.loads(line[6:]))
                if said[-1].get("method") == "elicitation/create":
                    if before is not None:
                        before()
                    reply = {"jsonrpc": "2.0", "id": said[-1]["id"], "result": {"action": says, "content": {}}}
                    threading.Thread(target=self.post, args=(reply,), kwargs={"mcp_session_id": self.session}).start()
        connection.close()
        return said


def text(result: Any) -> str:
    return str(result["content"][0]["text"])


def test_a_client_with_a_session_is_asked_and_the_call_is_made_once(at: Office) -> None:
    with up(at.place) as kernel:
        client = Client(kernel, at, FORMS)
        question, answer = client.legacy(1, "accept", lambda: at.say(at.one(), Act.APPROVE, at.place.approver))
        assert "approvals approve sha256:" in question["params"]["message"]
        assert "isError" not in answer["result"] and at.done == [["send", SENT]]
        assert kernel.end() == (0, "")
    at.place.check()


@pytest.mark.parametrize("says", ["accept", "decline", "cancel"])
def test_what_the_client_says_approves_nothing(at: Office, says: str) -> None:
    with up(at.place) as kernel:
        _, answer = Client(kernel, at, FORMS).legacy(1, says)
        assert answer["result"]["isError"] and at.one().ceremony.call in text(answer["result"])
        assert (kernel.end(), at.done) == ((0, ""), [])
    at.place.check()


def test_a_client_that_cannot_be_asked_is_told_what_waits_and_its_retry_goes_on(at: Office) -> None:
    with up(at.place) as kernel:
        client = Client(kernel, at, {})
        (first,) = client.legacy(1, "accept")
        assert first["result"]["isError"] and at.one().ceremony.call in text(first["result"])
        at.say(at.one(), Act.APPROVE, at.place.approver)
        (second,) = client.legacy(2, "accept")
        assert "isError" not in second["result"] and at.done == [["send", SENT]]
        assert kernel.end() == (0, "")
    at.place.check()


def test_a_stateless_client_is_asked_by_a_result_and_its_retry_goes_on_once(at: Office) -> None:
    with up(at.place) as kernel:
        client = Client(kernel, at, FORMS)
        asked = client.modern(1)
        (question,) = asked["inputRequests"].values()
        assert (asked["resultType"], question["method"]) == ("input_required", "elicitation/create")
        again = client.modern(2, requestState=asked["requestState"], inputResponses={"ai.helm/approval": {"action": "accept"}})
        assert again["resultType"] == "input_required" and at.done == []  # it was said, and not true
        at.say(at.one(), Act.APPROVE, at.place.approver)
        done = client.modern(3, requestState=again["requestState"])
        assert (done["resultType"], at.done) == ("complete", [["send", SENT]])
        assert client.modern(4)["resultType"] == "input_required"  # another call, which waits for itself
        assert (kernel.end(), at.done) == ((0, ""), [["send", SENT]])
    at.place.check()
