"""The output of an operation holds the body as it was sent, or keeps what cannot be read where no contract allows it."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.connectors.answer import echoes, output
from helm_ai_kernel.pep.catalog import EMPTY, Tool, entry, server_doc
from helm_ai_kernel.pep.release import release
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.wire.response import Response

JSON = "application/json"


def tool() -> Tool:
    raw: dict[str, Any] = {"name": "t", "description": "", "inputSchema": {"type": "object"}}
    raw["operation"] = {"method": "GET", "path": "/", "query": [], "headers": {}, "body": "none", "retry": False}
    source = {"kind": "http", "base": "https://api.example", "addresses": ["global"], "secrets": {}, "ca": None}
    return EMPTY.with_server(server_doc("s", source, [entry("t", raw)])).tools["s/t"]


TOOL = tool()


def made(body: bytes, kind: str = JSON, status: int = 200) -> tuple[bytes, str]:
    return output(Response(status, kind, body, True), with_body=True)


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        (JSON, b' {"b": 1.50, "a":9007199254740993}\r\n', b'{"status":200,"body":{"b": 1.50, "a":9007199254740993}}'),
        ("application/problem+json; charset=UTF-8", b"[]", b'{"status":200,"body":[]}'),
        (JSON + ';charset="utf-8"', b"1", b'{"status":200,"body":1}'),
        ("text/plain", b'a"\n\xc3\xa4', b'{"status":200,"body":"a\\"\\n\xc3\xa4"}'),
        ("text/html; charset=utf-8", b"<p>", b'{"status":200,"body":"<p>"}'),
        ("text/plain; charset=us-ascii", b"a", b'{"status":200,"body":"a"}'),
        ("application/xml", b"<a/>", b'{"status":200,"body":"<a/>"}'), ("", b"", b'{"status":200}'),
        ("image/png", b"", b'{"status":200}'),
    ],
)  # fmt: skip
def test_a_body_stands_in_the_output_as_it_was_sent(kind: str, body: bytes, expected: bytes) -> None:
    assert made(body, kind) == (expected, "")
    release(TOOL, expected)


@pytest.mark.parametrize(
    ("kind", "body", "sub"),
    [
        (JSON, b'1,"status":500', "json syntax"), (JSON, b'1,"other":2', "json syntax"), (JSON, b"1}", "json syntax"),
        (JSON, b"<html>", "json syntax"), (JSON, b'{"a":1,"a":2}', "json dup_key"), (JSON, b"\xef\xbb\xbf{}", "json bom"),
        (JSON, b"{\0", "json encoding"), (JSON, b"NaN", "json number_range"), (JSON, b"[" * 65 + b"]" * 65, "json depth"),
        (JSON, b"\xff", "json encoding"), (JSON + "; charset=utf-16", b"{}", "charset"),
        (JSON + "; charset=utf-8; charset=utf-16", b"{}", "charset"), ("text/plain", b"\xff", "charset"),
        ("text/plain; charset=latin-1", b"a", "charset"), ("text/plain; charset=us-ascii", b"\xc3\xa4", "charset"),
        ("", b"{}", "content_type"), ("text/event-stream", b"data: {}\n\n", "content_type"),
        ("multipart/form-data; boundary=x", b"--x", "content_type"), ("application/octet-stream", b"{}", "content_type"),
        ("application/jsonp", b"{}", "content_type"), ("application/json, text/html", b"{}", "content_type"),
        ("application/octet-stream", b'{"status":200,"body":{}}', "content_type"), ("image/png", b"{}", "content_type"),
        ("\xff\r", b"{}", "content_type"),
    ],
)  # fmt: skip
def test_a_body_that_has_no_one_reading_is_kept_and_never_released(kind: str, body: bytes, sub: str) -> None:
    kept, why = made(body, kind)
    assert why == sub
    assert base64.b64decode(json.loads(kept)["base64"]) == body
    with pytest.raises(Refused):
        release(TOOL, kept)


@given(st.binary(max_size=40), st.sampled_from([JSON, "text/plain", "", "x/y", JSON + "; charset=utf-16"]), st.integers(200, 599))
def test_whatever_a_server_sends_the_output_is_json_with_its_own_status(body: bytes, kind: str, status: int) -> None:
    kept, sub = made(body, kind, status)
    value = json.loads(kept)
    assert value["status"] == status
    assert set(value) <= ({"status", "content_type", "base64"} if sub else {"status", "body"})


JSON_TEXT = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=8
)


@given(JSON_TEXT, st.sampled_from([None, 0, 2]))
def test_the_text_of_a_json_body_is_in_the_output_byte_for_byte(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent).encode()
    assert made(text) == (b'{"status":200,"body":' + text + b"}", "")


@pytest.mark.parametrize(
    ("body", "secret", "found"),
    [
        (b'{"authorization":"Bearer canary-77"}', "Bearer canary-77", True), (b"canary-77", "Bearer canary-77", True),
        (b"Bearer of news", "Bearer canary-77", False), (b"{}", "canary-77", False), (b"short", "short", False),
        (b"a b c d e", "a b c d e", True),
    ],
)  # fmt: skip
def test_an_echo_of_a_secret_is_heard(body: bytes, secret: str, found: bool) -> None:
    assert echoes(body, [secret]) is found
