"""Methods of MCP as tools: definitions that never change, arguments that are closed, results that keep their shape."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from helm_ai_kernel.pep import results
from helm_ai_kernel.pep.admit import admit
from helm_ai_kernel.pep.catalog import EMPTY, Catalog, Tool, entry, server_doc
from helm_ai_kernel.pep.methods import ASKING, METHODS, QUESTIONS, implied
from helm_ai_kernel.pep.release import release
from helm_ai_kernel.tcb.call import Call, Effect
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Contract
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import Refused

PAGE = Path(__file__).resolve().parent.parent.parent / "docs/spec/catalog.md"
STDIO = {"kind": "mcp-stdio", "command": ["x"], "env": []}
HTTP = {"kind": "mcp-http", "url": "https://x.example/mcp", "addresses": ["global"], "secrets": {}, "ca": None}
SECRET = "canary-77d0"

PINS = {
    "completion/complete": "d7b42f0cc36b017f",
    "elicitation/create": "284badd846f7e5e7",
    "logging/setLevel": "9f8cd0a877e20810",
    "prompts/get": "47433b633d2d462b",
    "prompts/list": "569a226fc2ae1dba",
    "resources/list": "1bd3ab45065f8678",
    "resources/read": "b91c01c5e85661c3",
    "resources/subscribe": "01c42adec198383d",
    "resources/templates/list": "ba30d3b2ba07766f",
    "resources/unsubscribe": "ac34955f9d18baea",
    "roots/list": "acbf6c8951269de6",
    "sampling/createMessage": "68273e4dc40d6bef",
    "subscriptions/listen": "fa580cc3d45d2da3",
}


def catalog(source: dict[str, Any] = STDIO) -> Catalog:
    tools = [entry(name, method.raw, effect=method.effect) for name, method in METHODS.items()]
    return EMPTY.with_server(server_doc("s", source, [*tools, entry("t", {"name": "t", "inputSchema": {"type": "object"}})]))


def tool(name: str) -> Tool:
    return catalog().tools[f"s/{name}"]


def drift(name: str, value: Any, **how: Any) -> str:
    with pytest.raises(Refused) as caught:
        release(tool(name), json.dumps(value).encode(), **how)
    assert caught.value.reason is Reason.ERR_CONNECTOR_CONTRACT_DRIFT
    assert SECRET not in str(caught.value) + caught.value.sub
    return caught.value.sub


def test_a_definition_never_changes_because_catalogues_in_force_hold_it() -> None:
    assert {name: digest(method.document)[7:23] for name, method in METHODS.items()} == PINS


def test_what_servers_ask_is_network_and_the_rest_reads() -> None:
    assert {name for name, method in METHODS.items() if method.effect is Effect.NETWORK} == set(QUESTIONS)
    assert {name for name, method in METHODS.items() if method.asks == "client"} == set(QUESTIONS)


@pytest.mark.parametrize("source", [STDIO, HTTP], ids=["stdio", "http"])
def test_every_method_can_be_pinned_of_an_mcp_server(source: dict[str, Any]) -> None:
    assert {name.partition("/")[2] for name in catalog(source).tools} == {*METHODS, "t"}


def test_a_method_is_pinned_with_its_own_definition_and_no_other() -> None:
    raw = METHODS["resources/read"].raw
    for name, changed in (
        ("resources/read", {**raw, "description": "Do more."}),
        ("resources/read", {**raw, "annotations": {}}),
        ("resources/read", METHODS["resources/list"].raw),
        ("resources/write", {**raw, "name": "resources/write"}),
        ("tools/call", {**raw, "name": "tools/call"}),
        ("a/b", {**raw, "name": "a/b"}),
    ):
        with pytest.raises(Refused, match=r"method|name of a tool"):
            EMPTY.with_server(server_doc("s", STDIO, [entry(name, changed)]))


def test_only_mcp_servers_have_methods() -> None:
    raw = METHODS["resources/list"].raw
    with pytest.raises(Refused, match="name of a tool"):
        EMPTY.with_server(server_doc("s", {"kind": "python"}, [entry("resources/list", raw)]))


GOOD_ARGUMENTS: list[tuple[str, Any]] = [
    ("resources/list", {}),
    ("resources/list", {"cursor": "2"}),
    ("resources/read", {"uri": "test://a b"}),
    ("resources/subscribe", {"uri": "test://a"}),
    ("prompts/get", {"name": "p"}),
    ("prompts/get", {"name": "p", "arguments": {"a": "1", "b": ""}}),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": ""}}),
    (
        "completion/complete",
        {
            "ref": {"type": "ref/resource", "uri": "u"},
            "argument": {"name": "a", "value": ""},
            "context": {"arguments": {"b": "c"}},
        },
    ),
    ("logging/setLevel", {"level": "debug"}),
    ("subscriptions/listen", {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["a"]}}),
    ("roots/list", {}),
    ("roots/list", {"_meta": {"progressToken": 1}}),
    ("sampling/createMessage", {"messages": [{"role": "user", "content": {"type": "text", "text": "a"}}], "maxTokens": 9}),
    (
        "sampling/createMessage",
        {"messages": [], "maxTokens": 9, "temperature": 0.5, "metadata": {"a": [1]}, "tools": [{"name": "t"}]},
    ),
    ("elicitation/create", {"message": "m", "requestedSchema": {"type": "object", "properties": {}}}),
    ("elicitation/create", {"mode": "form", "message": "m", "requestedSchema": {}}),
    ("elicitation/create", {"mode": "url", "message": "m", "url": "https://a", "elicitationId": "1"}),
]
BAD_ARGUMENTS: list[tuple[str, Any]] = [
    ("resources/list", {"cursor": 1}),
    ("resources/list", {"more": 1}),
    ("resources/read", {}),
    ("resources/read", {"uri": ""}),
    ("resources/read", {"uri": "a", "requestState": "b"}),
    ("prompts/get", {"name": "p", "arguments": {"a": 1}}),
    ("prompts/get", {"arguments": {}}),
    ("completion/complete", {"ref": {"type": "ref/other", "name": "p"}, "argument": {"name": "a", "value": ""}}),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "p", "x": 1}, "argument": {"name": "a", "value": ""}}),
    ("logging/setLevel", {"level": "loud"}),
    ("subscriptions/listen", {"notifications": {"everything": True}}),
    ("roots/list", {"cursor": "a"}),
    ("sampling/createMessage", {"messages": []}),
    ("sampling/createMessage", {"messages": [], "maxTokens": 9, "task": {}}),
    ("elicitation/create", {"message": "m"}),
    ("elicitation/create", {"mode": "url", "message": "m", "requestedSchema": {}}),
    ("elicitation/create", {"mode": "other", "message": "m", "requestedSchema": {}}),
]


@pytest.mark.parametrize(("name", "arguments"), GOOD_ARGUMENTS + BAD_ARGUMENTS)
def test_arguments_are_those_of_the_method(name: str, arguments: Any) -> None:
    said = admit(json.dumps({"tool": f"s/{name}", "arguments": arguments}).encode(), catalog())
    assert isinstance(said, Call) is ((name, arguments) in GOOD_ARGUMENTS)


TEXT = {"type": "text", "text": "a"}
GOOD_RESULTS: list[tuple[str, Any]] = [
    ("resources/list", {"resources": [{"uri": "a", "name": "b", "more": 1}], "nextCursor": "2", "more": 1}),
    ("resources/list", {"resources": [], "nextCursor": None, "resultType": "complete", "ttlMs": 0}),
    ("resources/templates/list", {"resourceTemplates": [{"uriTemplate": "a{b}", "name": "c"}]}),
    ("resources/read", {"contents": [{"uri": "a", "text": "b"}, {"uri": "a", "blob": "Yg=="}]}),
    ("resources/subscribe", {}),
    ("resources/unsubscribe", {"_meta": {}}),
    ("prompts/list", {"prompts": [{"name": "p", "arguments": []}]}),
    ("prompts/get", {"description": "d", "messages": [{"role": "user", "content": TEXT}]}),
    ("completion/complete", {"completion": {"values": ["a"], "total": 1, "hasMore": False}}),
    ("logging/setLevel", {}),
    ("subscriptions/listen", {}),
    ("roots/list", {"roots": [{"uri": "file:///a"}]}),
    ("sampling/createMessage", {"role": "assistant", "model": "m", "content": TEXT, "stopReason": "endTurn"}),
    (
        "sampling/createMessage",
        {"role": "assistant", "model": "m", "content": [{"type": "tool_use", "id": "1", "name": "t", "input": {}}]},
    ),
    ("elicitation/create", {"action": "accept", "content": {"a": 1}}),
    ("elicitation/create", {"action": "cancel", "content": None}),
]
BAD_RESULTS: list[tuple[str, Any, str]] = [
    ("resources/list", {"resources": [{"uri": "a"}]}, "resources"),
    ("resources/list", {"resources": {}}, "resources"),
    ("resources/list", {"tools": []}, "resources"),
    ("resources/list", {"resources": [], "nextCursor": 2}, "nextCursor"),
    ("resources/list", {"resources": [], "_meta": []}, "_meta"),
    ("resources/list", [], "result"),
    ("resources/templates/list", {"resourceTemplates": [{"uri": "a", "name": "b"}]}, "resourceTemplates"),
    ("resources/read", {"contents": [{"uri": "a"}]}, "contents"),
    ("resources/read", {"contents": [{"uri": "a", "text": SECRET, "blob": "b"}]}, "contents"),
    ("resources/read", {"contents": None}, "contents"),
    ("prompts/get", {"messages": [{"role": SECRET, "content": TEXT}]}, "role"),
    ("prompts/get", {"messages": [{"role": "user", "content": [TEXT]}]}, "content type"),
    ("prompts/get", {"messages": [{"role": "user", "content": {"type": "image", "data": "a"}}]}, "content image"),
    ("prompts/get", {}, "messages"),
    ("completion/complete", {"completion": {"values": [1]}}, "completion"),
    ("completion/complete", {"completion": {"values": ["a"] * 101}}, "completion"),
    ("roots/list", {"roots": [{"name": "a"}]}, "roots"),
    ("sampling/createMessage", {"role": "assistant", "content": TEXT}, "role"),
    ("sampling/createMessage", {"role": "assistant", "model": "m", "content": {"type": "resource"}}, "content type"),
    ("elicitation/create", {"action": "yes"}, "action"),
    ("elicitation/create", {"action": "accept", "content": "a"}, "content"),
    ("logging/setLevel", {"resultType": "input_required"}, "resultType"),
]


@pytest.mark.parametrize(("name", "value"), GOOD_RESULTS)
def test_a_result_that_keeps_the_shape_of_its_method_is_released(name: str, value: Any) -> None:
    assert release(tool(name), json.dumps(value).encode()) == (Contract.SHAPE, False)


@pytest.mark.parametrize(("name", "value", "sub"), BAD_RESULTS)
def test_a_result_of_another_shape_is_drift(name: str, value: Any, sub: str) -> None:
    assert drift(name, value) == sub


ASK = {"method": "elicitation/create", "params": {"message": "m"}}
QUESTION = {"resultType": "input_required", "inputRequests": {"a": ASK}, "requestState": "s"}


@pytest.mark.parametrize("name", ["t", "prompts/get", "resources/read"])
def test_a_question_is_released_only_to_a_caller_who_can_be_asked(name: str) -> None:
    raw = json.dumps(QUESTION).encode()
    assert release(tool(name), raw, questions=True) == (Contract.QUESTION, False)
    assert drift(name, QUESTION) == "resultType"
    for kept in ({"inputRequests": {"a": ASK}}, {"requestState": "s"}, {"inputRequests": {}, "_meta": {}}):
        assert release(tool(name), json.dumps({"resultType": "input_required", **kept}).encode(), questions=True)[0] == "question"


@pytest.mark.parametrize("name", sorted(METHODS.keys() - ASKING))
def test_no_other_method_asks(name: str) -> None:
    assert drift(name, QUESTION, questions=True) == "resultType"


@pytest.mark.parametrize(
    ("change", "sub"),
    [
        ({"content": []}, "question"),
        ({"isError": False}, "question"),
        ({"_meta": 1}, "question"),
        ({"requestState": 1}, "requestState"),
        ({"inputRequests": []}, "inputRequests"),
        ({"inputRequests": {"a": {"method": "tools/call", "params": {}}}}, "inputRequests"),
        ({"inputRequests": {"a": {"method": "roots/list", "id": 1}}}, "inputRequests"),
        ({"inputRequests": {"a": {"method": "roots/list", "params": []}}}, "inputRequests"),
        ({"inputRequests": {str(n): ASK for n in range(results.REQUESTS_MAX + 1)}}, "inputRequests"),
        ({"resultType": SECRET}, "resultType"),
    ],
)
def test_a_question_has_exactly_its_members(change: dict[str, Any], sub: str) -> None:
    assert drift("t", {**QUESTION, **change}, questions=True) == sub


def test_a_question_without_anything_in_it_is_none() -> None:
    assert drift("t", {"resultType": "input_required"}, questions=True) == "resultType"


def test_capabilities_imply_methods_and_questions_are_always_there() -> None:
    assert implied({}) == sorted(QUESTIONS)
    assert implied({"tools": {}, "resources": True}) == sorted(QUESTIONS)
    reads = {"resources/list", "resources/templates/list", "resources/read"}
    assert set(implied({"resources": {}})) == {*QUESTIONS, *reads}
    assert set(implied({"resources": {"subscribe": True}})) == {
        *QUESTIONS,
        *reads,
        "resources/subscribe",
        "resources/unsubscribe",
    }
    whole = {"resources": {"subscribe": True}, "prompts": {}, "completions": {}, "logging": {}}
    assert set(implied(whole)) == METHODS.keys() - {"subscriptions/listen"}
    gone = {"resources/subscribe", "resources/unsubscribe", "logging/setLevel"}  # in 2026-07-28
    assert set(implied(whole, modern=True)) == METHODS.keys() - gone


def test_the_page_has_every_method_and_its_example_can_be_pinned() -> None:
    text = PAGE.read_text("utf-8")
    table = text[text.index("## Methods of MCP") : text.index("## Which schemas can be pinned")]
    rows = re.findall(r"^\| `(\w+/[\w/]+)` \| (client|server) \|", table, re.MULTILINE)
    asks = {name: {"server": "client", "client": "server"}[who] for name, who in rows}
    assert asks == {name: method.asks for name, method in METHODS.items()}
    fenced = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    EMPTY.with_server(json.loads(fenced[1]))


WRONG_SOURCES: list[dict[str, Any]] = [
    {"url": "https://x.example/mcp?a=b"},
    {"url": "https://x.example//"},
    {"url": "http://x.example/mcp"},
    {"url": "https://u@x.example/mcp"},
    {"secrets": {"mcp-session-id": "A"}},
    {"secrets": {"accept": "A"}},
    {"tls_key": "sha256:0"},
    {"tls_key": None},
    {"instructions": ""},
    {"instructions": None},
    {"instructions": "a" * 65_537},
    {"base": "https://x.example"},
    {"command": ["x"]},
]


@pytest.mark.parametrize("change", WRONG_SOURCES, ids=[json.dumps(change)[:40] for change in WRONG_SOURCES])
def test_what_is_not_exactly_an_mcp_server_over_http_is_refused(change: dict[str, Any]) -> None:
    EMPTY.with_server(server_doc("s", HTTP, []))
    with pytest.raises(Refused) as caught:
        EMPTY.with_server(server_doc("s", {**HTTP, **change}, []))
    assert (caught.value.reason, caught.value.sub) == (Reason.ERR_SCHEMA_UNSAFE, "catalog")


@pytest.mark.parametrize(
    "change",
    [{"url": "https://x.example"}, {"url": "https://x.example/mcp/"}, {"instructions": "a\nb"}, {"tls_key": digest(b"")}],
)
def test_an_mcp_server_over_http_may_say_so(change: dict[str, Any]) -> None:
    EMPTY.with_server(server_doc("s", {**HTTP, **change}, []))


def test_a_key_is_pinned_only_where_there_is_one() -> None:
    plain = {**HTTP, "url": "http://127.0.0.1:8000/mcp", "addresses": ["loopback"]}
    EMPTY.with_server(server_doc("s", plain, []))
    with pytest.raises(Refused):
        EMPTY.with_server(server_doc("s", {**plain, "tls_key": digest(b"")}, []))


def test_instructions_of_a_command_are_pinned_with_it() -> None:
    EMPTY.with_server(server_doc("s", {**STDIO, "instructions": "Be kind."}, []))
    with pytest.raises(Refused):
        EMPTY.with_server(server_doc("s", {**STDIO, "instructions": ""}, []))
