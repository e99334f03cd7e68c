"""One message of an MCP client: which are read, what their ids are, and what is refused with which word."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.wire import mcp_message
from helm_ai_kernel.wire.mcp_message import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    MESSAGE_BYTES_MAX,
    PARAMS_MAX,
    PARSE_ERROR,
    Bad,
    Notification,
    Request,
    Response,
    read,
)
from helm_ai_kernel.wire.span import members

IDS = st.one_of(st.integers(-(10**15), 10**15), st.text(min_size=1, max_size=256).filter(lambda text: _encodes(text)))


def _encodes(text: str) -> bool:
    return text.isascii() or not any(0xD800 <= ord(char) < 0xE000 for char in text)


def refused(raw: bytes) -> Bad:
    with pytest.raises(Bad) as caught:
        read(raw)
    return caught.value


@given(IDS, st.text(max_size=20).filter(_encodes), st.dictionaries(st.sampled_from(["name", "uri", "arguments"]), st.integers()))
def test_a_request_is_read_as_it_stood_however_it_is_spaced(number: Any, method: str, params: dict[str, Any]) -> None:
    value = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    for raw in (json.dumps(value), json.dumps(value, indent=3), f" \t{json.dumps(value, ensure_ascii=False)}\r\n"):
        message = read(raw.encode())
        assert isinstance(message, Request)
        assert json.loads(message.id) == number and type(json.loads(message.id)) is type(number)
        assert message.method == method and {name: json.loads(part) for name, part in message.params.items()} == params


@given(IDS, IDS)
def test_two_ids_are_the_same_only_if_they_are_of_one_type_and_one_value(one: Any, other: Any) -> None:
    first, second = (read(json.dumps({"jsonrpc": "2.0", "id": number, "method": "ping"}).encode()) for number in (one, other))
    assert isinstance(first, Request) and isinstance(second, Request)
    assert (first.id == second.id) is (type(one) is type(other) and one == other)


def test_an_escaped_id_is_the_id() -> None:
    escaped, plain = (read(b'{"jsonrpc":"2.0","id":%b,"method":"ping"}' % number) for number in (rb'"\u0061"', b'"a"'))
    assert isinstance(escaped, Request) and isinstance(plain, Request) and escaped.id == plain.id == b'"a"'
    told = read(rb'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"\u0061"}}')
    assert isinstance(told, Notification) and told.about == escaped.id
    number = read(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}')
    assert isinstance(number, Notification) and number.about == b"1"
    nothing = read(b'{"jsonrpc":"2.0","method":"notifications/cancelled"}')
    assert isinstance(nothing, Notification) and nothing.about == b""


@pytest.mark.parametrize(
    "number", ["1.0", "1e0", "-0", "null", "true", "{}", "[1]", '""', "12345678901234567", "1" * 400, '"' + "x" * 257 + '"', "01"]
)
def test_an_id_that_is_none_is_refused_and_not_echoed(number: str) -> None:  # 1.11
    bad = refused(b'{"jsonrpc":"2.0","id":%b,"method":"ping"}' % number.encode())
    assert bad.number == b"null" and bad.code in (INVALID_REQUEST, PARSE_ERROR)
    assert bad.reason in (Reason.ERR_MCP_ID_CONFLICT, Reason.ERR_JSON_NOT_IJSON)


CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x", "arguments": {}}}


@pytest.mark.parametrize("batch", [[CALL], [CALL, CALL], [], [[CALL]], [{"jsonrpc": "2.0", "method": "x"}], [1]])
def test_a_batch_is_refused_whole(batch: list[Any]) -> None:  # 1.7
    bad = refused(json.dumps(batch).encode())
    assert (bad.reason, bad.code, bad.number) == (Reason.ERR_MCP_BATCH_UNSUPPORTED, INVALID_REQUEST, b"null")


def test_without_an_id_it_is_a_notice_whatever_it_says() -> None:  # 1.8
    message = read(json.dumps({name: CALL[name] for name in ("jsonrpc", "method", "params")}).encode())
    assert isinstance(message, Notification) and message.method == "tools/call"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", PARSE_ERROR), (b"{", PARSE_ERROR), (b"{}", INVALID_REQUEST), (b"1", INVALID_REQUEST), (b"null", INVALID_REQUEST),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', INVALID_REQUEST), (b'{"id":1,"method":"ping"}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}', PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1,"a":2}}', PARSE_ERROR),
        (rb'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1,"\u0061":2}}', PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', INVALID_REQUEST), (b'{"jsonrpc":"2.0","id":1,"method":null}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","extra":1}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":null}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":1}}', INVALID_PARAMS),
        (b'{"jsonrpc":"2.0","id":1}', INVALID_REQUEST), (b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"result":1}', INVALID_REQUEST), (b'{"jsonrpc":"2.0","result":{}}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"result":{},"more":1}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', PARSE_ERROR),
        (b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}', PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}{}', PARSE_ERROR), (b'{"jsonrpc":"2.0","id":1,"method":"ping"}x', PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + b"[" * 5000 + b"]" * 5000 + b"}}", PARSE_ERROR),
        (b" " * MESSAGE_BYTES_MAX + b"{}", PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}', PARSE_ERROR),
        (rb'{"jsonrpc":"2.0","id":1,"method":"\ud800"}', PARSE_ERROR),
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused_with_a_word_of_the_protocol(raw: bytes, code: int) -> None:
    assert refused(raw).code == code


def test_more_members_than_any_method_has_are_refused_before_they_are_looked_at() -> None:
    for size, fine in ((PARAMS_MAX, True), (PARAMS_MAX + 1, False)):
        raw = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "x", "params": dict.fromkeys(map(str, range(size)), 1)}).encode()
        assert isinstance(read(raw), Request) if fine else refused(raw).number == b"1"


def test_what_is_wrong_behind_the_id_is_answered_with_the_id() -> None:
    for raw in (b'{"jsonrpc":"2.0","id":"a","method":7}', b'{"params":{"_meta":1},"method":"ping","id":"a","jsonrpc":"2.0"}'):
        assert refused(raw).number == b'"a"'


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_message_or_refused(raw: bytes) -> None:
    with suppress(Bad):  # and nothing else
        read(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["jsonrpc", "id", "method", "params", "_meta", "result", "error"]), inner, max_size=4),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error", "x"]), JSON | st.just("2.0")))
def test_any_object_is_a_message_or_refused(value: dict[str, Any]) -> None:
    try:
        message = read(json.dumps(value).encode("utf-8", "replace"))
    except Bad:
        return
    assert value["jsonrpc"] == "2.0"
    assert isinstance(message, Response) is ("method" not in value)
    assert isinstance(message, Notification) is ("method" in value and "id" not in value)


def test_the_progress_token_is_a_string_or_a_whole_number_or_none() -> None:
    for token, expected in (("a", "a"), (1, 1), (None, None), (1.5, None), (True, None), ({}, None)):
        raw = {"jsonrpc": "2.0", "id": 1, "method": "x", "params": {"_meta": {"progressToken": token}}}
        message = read(json.dumps(raw).encode())
        assert isinstance(message, Request) and message.progress == expected


@given(st.dictionaries(st.text(max_size=8).filter(_encodes), st.integers() | st.text(max_size=4).filter(_encodes)))
def test_what_is_spliced_has_the_members_as_they_stood(value: dict[str, Any]) -> None:
    parts = {name: json.dumps(one).encode() for name, one in value.items()}
    joined = mcp_message.spliced(parts)
    assert parse(joined, any_number=True) == value and members(joined) == parts


def test_what_is_answered_is_one_message_with_the_id_as_it_was() -> None:
    assert mcp_message.result(b'"1"', b'{"x": 1}').data == b'{"jsonrpc":"2.0","id":"1","result":{"x": 1}}'
    said = mcp_message.error(b"1", -32602, "no", {"reason": "X"})
    assert (json.loads(said.data)["error"], said.code) == ({"code": -32602, "message": "no", "data": {"reason": "X"}}, -32602)
    assert json.loads(mcp_message.notification("a", b'{"b":1}')) == {"jsonrpc": "2.0", "method": "a", "params": {"b": 1}}
