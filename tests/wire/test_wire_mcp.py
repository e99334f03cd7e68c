"""The client's side of MCP: handshake, list, call, and what a server may not make us do."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire import era, mcp
from helm_ai_kernel.wire.era import Era, Facts, Order
from helm_ai_kernel.wire.jsonrpc import Asked, Broken, Dropped, Ended, Failure, Notified, Result
from helm_ai_kernel.wire.mcp import Client, ListChanged, Listed, Ready, Send, State, Step
from helm_ai_kernel.wire.span import members

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the first draw builds tables; machines are shared

WELCOME = b'{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{}}}\n'
FACTS = Facts("", "", {"tools": {}}, "", Era.LEGACY, "2025-11-25")


def client(**options: int) -> Client:
    return Client(name="c", version="1", **options)


def ready(**options: int) -> Client:
    made = client(**options)
    made.initialize()
    made.receive(WELCOME)
    return made


DISCOVERED = (
    b'{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","ttlMs":0,"cacheScope":"private","supportedVersions":["2026-07-28"],'
    b'"capabilities":{"tools":{"listChanged":true}},"instructions":"be kind",'
    b'"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"2"}}}}\n'
)
MODERN_META: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
}


def modern() -> Client:
    made = client()
    made.probe()
    made.receive(DISCOVERED)
    return made


def page(number: int, tools: bytes, cursor: bytes = b"") -> bytes:
    more = b',"nextCursor":' + cursor if cursor else b""
    return b'{"jsonrpc":"2.0","id":%d,"result":{"tools":%s%s}}\n' % (number, tools, more)


def test_the_handshake_offers_our_revision_and_no_capability() -> None:
    made = client()
    line = made.initialize()
    assert line.endswith(b"\n")
    assert json.loads(line) == {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}},
    }
    initialized = b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
    assert made.receive(WELCOME) == [Send(initialized), Ready(FACTS)]
    assert made.state is State.READY


@pytest.mark.parametrize("revision", sorted(era.REVISIONS))
def test_an_older_revision_with_the_same_tool_calls_is_accepted(revision: str) -> None:
    made = client()
    made.initialize()
    ready = made.receive(WELCOME.replace(b"2025-11-25", revision.encode()))[-1]
    assert isinstance(ready, Ready) and ready.facts.revision == revision


@pytest.mark.parametrize("revision", [b'"2026-07-28"', b'"draft"', b'""', b"null", b"20251125", b'["2025-11-25"]'])
def test_any_other_revision_is_an_error(revision: bytes) -> None:
    made = client()
    made.initialize()
    raw = b'{"protocolVersion":' + revision + b"}"
    assert made.receive(b'{"jsonrpc":"2.0","id":1,"result":' + raw + b"}\n") == [Broken("revision", raw)]
    assert made.state is State.ERROR


def test_a_refused_handshake_is_an_error() -> None:
    made = client()
    made.initialize()
    raw = b'{"code":-32602,"message":"unsupported"}'
    assert made.receive(b'{"jsonrpc":"2.0","id":1,"error":' + raw + b"}\n") == [Broken("initialize refused", raw)]


def test_a_server_is_asked_in_the_modern_way_first() -> None:
    made = client()
    request = json.loads(made.probe())
    assert (request["method"], request["params"]) == ("server/discover", {"_meta": MODERN_META})
    facts = Facts("s", "2", {"tools": {"listChanged": True}}, "be kind", Era.MODERN, "2026-07-28")
    assert made.receive(DISCOVERED) == [Ready(facts)]
    assert json.loads(made.list_tools())["params"] == {"_meta": MODERN_META}


NO_SIGN = {
    "an error": b'"error":{"code":-32601,"message":"no"}',
    "any error": b'"error":{"code":0,"message":"no"}',
    "other revisions": b'"error":{"code":-32022,"message":"no","data":{"supported":["2025-11-25"]}}',
    "no list of revisions": b'"error":{"code":-32022,"message":"no"}',
    "only legacy revisions": b'"result":{"supportedVersions":["2025-06-18"],"capabilities":{}}',
    "no capabilities": b'"result":{"supportedVersions":["2026-07-28"]}',
    "another shape": b'"result":[]',
}


@pytest.mark.parametrize("answer", NO_SIGN)
def test_what_is_no_sign_of_a_modern_server_leads_to_the_handshake(answer: str) -> None:
    made = client()
    made.probe()
    (send,) = made.receive(b'{"jsonrpc":"2.0","id":1,%s}\n' % NO_SIGN[answer])
    assert isinstance(send, Send) and json.loads(send.data)["method"] == "initialize"
    assert made.receive(WELCOME.replace(b'"id":1', b'"id":2'))[-1] == Ready(FACTS)


def test_a_server_that_names_our_revision_while_it_refuses_it_is_asked_once_more() -> None:
    refusal = b'{"jsonrpc":"2.0","id":%d,"error":{"code":-32022,"message":"no","data":{"supported":["2026-07-28"]}}}\n'
    made = client()
    made.probe()
    (send,) = made.receive(refusal % 1)
    assert isinstance(send, Send) and json.loads(send.data)["method"] == "server/discover"
    (broken,) = made.receive(refusal % 2)
    assert isinstance(broken, Broken) and broken.sub == "revision"


def test_a_probe_that_is_answered_late_does_not_undo_the_handshake() -> None:
    made = client()
    made.probe()
    made.initialize()
    assert made.receive(DISCOVERED) == []
    assert made.receive(WELCOME.replace(b'"id":1', b'"id":2'))[-1] == Ready(FACTS)


def test_a_server_that_was_slow_to_say_that_it_is_modern_and_refuses_the_handshake_is_modern() -> None:
    made = client()
    made.probe()
    made.initialize()
    made.receive(DISCOVERED)
    (ready,) = made.receive(b'{"jsonrpc":"2.0","id":2,"error":{"code":-32022,"message":"no"}}\n')
    assert isinstance(ready, Ready) and ready.facts.era is Era.MODERN


def test_a_modern_request_says_its_revision_what_can_be_asked_and_the_token_that_is_its_id() -> None:
    order = Order("t", b'{"a":1}', "k", b'{"requestState":"x"}', relayed=True, capabilities=b'{"roots":{}}', level="info")
    number, line = modern().call(order)
    params = json.loads(line)["params"]
    assert params.pop("_meta") == MODERN_META | {
        "io.modelcontextprotocol/clientCapabilities": {"roots": {}}, "io.modelcontextprotocol/logLevel": "info",
        "progressToken": number, "ai.helm/idempotency-key": "k",
    }  # fmt: skip
    assert params == {"name": "t", "arguments": {"a": 1}, "requestState": "x"}


def test_a_method_has_its_params_as_they_stand_and_of_its_meta_what_is_the_callers() -> None:
    args = b'{"uri":"a:b","x":1.50,"_meta":{"progressToken":7,"traceparent":"00-1","ai.helm/idempotency-key":"theirs"}}'
    _, line = ready().call(Order("resources/read", args))
    request = members(line[:-1])
    assert request["method"] == b'"resources/read"'
    assert request["params"] == b'{"uri":"a:b","x":1.50,"_meta":{"traceparent":"00-1"}}'


@pytest.mark.parametrize(
    ("name", "args", "inputs"), [("t", b"{}", b'{"name":"u"}'), ("resources/read", b'{"uri":"a"}', b'{"uri":"b"}')]
)
def test_no_member_of_a_request_stands_there_twice(name: str, args: bytes, inputs: bytes) -> None:
    with pytest.raises(Refused, match="twice"):
        ready().call(Order(name, args, inputs=inputs))


def test_all_pages_of_the_list_are_read_and_the_cursor_goes_back_as_it_came() -> None:
    made = ready()
    assert json.loads(made.list_tools())["params"] == {}
    first, send = made.receive(page(2, b'[{"name":"a"}, {"name" : "b"}]', rb'"\u0041 \"x"'))
    assert first == Listed((b'{"name":"a"}', b'{"name" : "b"}'), whole=False)
    assert isinstance(send, Send)
    assert members(members(send.data.strip())["params"]) == {"cursor": rb'"\u0041 \"x"'}
    assert made.receive(page(3, b'[ {"name":"c","n":18446744073709551616} ]')) == [
        Listed((b'{"name":"c","n":18446744073709551616}',))
    ]
    assert made.state is State.READY


def test_a_null_cursor_is_the_last_page() -> None:
    made = ready()
    made.list_tools()
    assert made.receive(page(2, b"[]", b"null")) == [Listed(())]


def test_a_list_without_end_is_given_up() -> None:
    made = ready()
    made.list_tools()
    for number in range(2, era.PAGES_MAX + 1):
        assert isinstance(made.receive(page(number, b"[]", b'"again"'))[1], Send)
    (last,) = made.receive(page(era.PAGES_MAX + 1, b"[]", b'"again"'))
    assert isinstance(last, Broken) and last.sub == "tool_list_size"


def test_a_list_of_too_many_tools_is_given_up() -> None:
    made = ready()
    made.list_tools()
    tools = b"[" + b",".join([b"{}"] * (era.TOOLS_MAX + 1)) + b"]"
    (last,) = made.receive(page(2, tools))
    assert isinstance(last, Broken) and last.sub == "tool_list_size"


@pytest.mark.parametrize("result", [b"[]", b"{}", b'{"tools":{}}', b'{"tools":[],"nextCursor":1}', b"null"])
def test_a_list_of_another_shape_is_an_error(result: bytes) -> None:
    made = ready()
    made.list_tools()
    assert made.receive(b'{"jsonrpc":"2.0","id":2,"result":' + result + b"}\n") == [Broken("tool_list", result)]


ARGS = st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(0, 9), max_size=4)


@CALM
@given(ARGS, st.none() | st.text(max_size=9))
def test_the_arguments_go_out_as_the_bytes_that_were_given(value: dict[str, Any], key: str | None) -> None:
    args = canonical(value)
    number, line = ready().call(Order('t"\n', args, key))
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    request = members(line[:-1])
    assert request["id"] == str(number).encode() and request["method"] == b'"tools/call"'
    params = members(request["params"])
    assert params["arguments"] == args
    assert parse(params["name"]) == 't"\n'
    assert ("_meta" in params) == (key is not None)
    if key is not None:
        assert parse(params["_meta"]) == {"ai.helm/idempotency-key": key}


@pytest.mark.parametrize("args", [rb'{"b":1, "a":1.50}', rb'{"\u0061":1e2}'])
def test_the_arguments_are_never_written_again(args: bytes) -> None:
    assert b'"arguments":' + args + b"}" in ready().call(Order("t", args))[1]


def test_arguments_with_a_line_break_never_become_a_second_message() -> None:
    with pytest.raises(Refused):
        ready().call(Order("t", b'{}}\n{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}'))


def test_answers_to_calls_and_notices_are_events() -> None:
    made = ready()
    first, _ = made.call(Order("a", b"{}"))
    second, _ = made.call(Order("b", b"{}"))
    assert made.receive(
        b'{"jsonrpc":"2.0","id":%d,"error":{"code":-32602,"message":"x"}}\n' % second
        + b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n'
        + b'{"jsonrpc":"2.0","method":"notifications/message","params":{}}\n'
        + b'{"jsonrpc":"2.0","id":%d,"result":{"content":[ ]}}\n' % first
        + b'{"jsonrpc":"2.0","id":"%d","result":{}}\n' % first
    ) == [
        Failure(second, -32602, b'{"code":-32602,"message":"x"}', late=False),
        ListChanged(),
        Notified("notifications/message"),
        Result(first, b'{"content":[ ]}', late=False),
        Dropped(b'"%d"' % first),
    ]
    assert made.receive(b"") == [Ended()]
    assert made.state is State.CLOSED


def test_a_cancelled_call_is_announced_and_its_answer_is_late() -> None:
    made = ready()
    number, _ = made.call(Order("a", b"{}"))
    assert json.loads(made.cancel(number)) == {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": number, "reason": "deadline"},
    }
    assert made.receive(b'{"jsonrpc":"2.0","id":%d,"result":1}\n' % number) == [Result(number, b"1", late=True)]


@pytest.mark.parametrize(
    "method",
    ["sampling/createMessage", "elicitation/create", "roots/list", "tools/call", "initialize", "Ping", "ping ", "x"],
)
def test_what_a_server_asks_is_for_the_layer_above_and_a_modern_server_has_nothing_to_ask(method: str) -> None:
    line = b'{"jsonrpc":"2.0","id":"q","method":%s,"params":{"a": 1}}\n' % json.dumps(method).encode()
    answer = b'{"jsonrpc":"2.0","id":"q","error":{"code":-32601,"message":"method not found"}}\n'
    asked = Asked(b'"q"', method, b'{"a": 1}')
    assert ready().receive(line) == [asked]
    assert modern().receive(line) == [Send(answer), asked]


def test_a_ping_is_answered_also_before_the_handshake() -> None:
    line = b'{"jsonrpc":"2.0","id":0,"method":"ping"}\n'
    assert client().receive(line) == [Send(b'{"jsonrpc":"2.0","id":0,"result":{}}\n'), Asked(b"0", "ping")]


ACTIONS: dict[str, Callable[[Client], object]] = {
    "probe": lambda made: made.probe(),
    "initialize": lambda made: made.initialize(),
    "list": lambda made: made.list_tools(),
    "call": lambda made: made.call(Order("t", b"{}")),
}
LEGAL = {
    ("new", "initialize"),
    ("probing", "initialize"),
    ("new", "probe"),
    ("probing", "probe"),
    ("ready", "list"),
    ("ready", "call"),
    ("listing", "call"),
}


def in_state(state: State) -> Client:
    made = client() if state is State.NEW else ready()
    if state is State.PROBING:
        made = client()
        made.probe()
    elif state is State.INITIALIZING:
        made = client()
        made.initialize()
    elif state is State.LISTING:
        made.list_tools()
    elif state is State.CLOSED:
        made.receive(b"")
    elif state is State.ERROR:
        made.receive(b"[]\n")
    assert made.state is state
    return made


@pytest.mark.parametrize(("state", "action"), list(itertools.product(State, ACTIONS)))
def test_every_action_is_possible_exactly_where_the_table_says_so(state: State, action: str) -> None:
    made = in_state(state)
    if (state.value, action) in LEGAL:
        ACTIONS[action](made)
    else:
        with pytest.raises(OutsideError):
            ACTIONS[action](made)
        assert made.state is state


def test_the_table_leads_out_of_every_living_state_and_out_of_no_dead_one() -> None:
    for state in State:
        steps = {step for start, step in mcp.NEXT if start is state}
        assert steps >= {Step.END, Step.BREAK} if state not in (State.CLOSED, State.ERROR) else not steps


def test_more_calls_without_an_answer_than_the_bound_are_refused() -> None:
    made = ready()
    for _ in range(mcp.PENDING_MAX):
        made.call(Order("t", b"{}"))
    with pytest.raises(OutsideError, match="without an answer"):
        made.call(Order("t", b"{}"))


SCRIPT = (
    b'{"jsonrpc":"2.0","id":0,"method":"ping"}\n',
    WELCOME,
    page(2, b'[{"name":"a"}]', b'"c"'),
    b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n',
    page(3, '[{"name":"ü"}]'.encode()),
    b'{"jsonrpc":"2.0","id":"1","result":{}}\n',
    b'{"jsonrpc":"2.0","id":9,"method":"roots/list"}\r\n',
    b"oops\n",
    WELCOME,
)


@settings(CALM, max_examples=200)
@given(st.lists(st.integers(1, 700), max_size=12), st.integers(0, 8))
def test_any_cutting_of_a_conversation_gives_the_same_events(cuts: list[int], skip: int) -> None:
    handshake, rest = b"".join(SCRIPT[:2]), b"".join(part for index, part in enumerate(SCRIPT[2:]) if index != skip)
    places = sorted({0, len(rest), *(cut for cut in cuts if cut < len(rest))})
    pieces = [rest[a:b] for a, b in itertools.pairwise(places)]

    def run(parts: list[bytes]) -> list[mcp.Event]:
        made = client()
        made.initialize()
        out = made.receive(handshake)
        made.list_tools()
        for part in [*parts, b""]:
            out += made.receive(part)
        return out

    whole = run([rest])
    assert run(pieces) == whole
    assert run([rest[i : i + 1] for i in range(len(rest))]) == whole
