"""What a request of the stateless revision says of itself, and headers that say something else (faults 1.12)."""

import json
from typing import Any

import pytest

from helm_ai_kernel.gateway import mcp_modern
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.wire.mcp_message import HEADER_MISMATCH, INVALID_PARAMS, UNSUPPORTED_VERSION, Bad, Request, read

META = {mcp_modern.VERSION_META: "2026-07-28", mcp_modern.CAPABILITIES_META: {}}
FIELDS = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "say"}
SCHEMA = {
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "deep": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
        "plain": {"type": "string"},
    }
}


def request(meta: Any = META, method: str = "tools/call", **params: Any) -> Request:
    said = {"name": "say", "arguments": {}, "_meta": meta} | params
    message = read(json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": said}).encode())
    assert isinstance(message, Request)
    return message


def refused(work: Any) -> Bad:
    with pytest.raises(Bad) as caught:
        work()
    return caught.value


def test_headers_that_say_what_the_body_says_are_taken() -> None:
    assert mcp_modern.envelope(request(), FIELDS).capabilities == {}
    assert mcp_modern.envelope(request(), {**FIELDS, "mcp-name": "=?base64?c2F5?="}).level is None
    assert mcp_modern.envelope(request(), None).capabilities == {}  # a line has none


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mcp-method", "tools/list"), ("mcp-method", None), ("mcp-method", "TOOLS/CALL"), ("mcp-name", "drop"),
        ("mcp-name", None), ("mcp-name", "=?base64?c2F5?"), ("mcp-name", "=?base64?c2F5=?="),
        ("mcp-protocol-version", "2025-11-25"),
        ("mcp-protocol-version", None),
    ],
)  # fmt: skip
def test_a_header_that_says_something_else_or_nothing_is_refused(name: str, value: str | None) -> None:
    fields = {key: said for key, said in {**FIELDS, name: value}.items() if said is not None}
    bad = refused(lambda: mcp_modern.envelope(request(), fields))
    assert (bad.reason, bad.code, bad.number) == (Reason.ERR_MCP_HEADER_MISMATCH, HEADER_MISMATCH, b"7")


def test_what_the_request_does_not_say_of_itself_is_asked_for_and_no_other_revision_is_spoken() -> None:
    for missing in META:
        meta = {name: value for name, value in META.items() if name != missing}
        assert refused(lambda meta=meta: mcp_modern.envelope(request(meta), FIELDS)).code == INVALID_PARAMS
    other = {**META, mcp_modern.VERSION_META: "v9"}
    bad = refused(lambda: mcp_modern.envelope(request(other), {**FIELDS, "mcp-protocol-version": "v9"}))
    assert (bad.code, bad.data) == (UNSUPPORTED_VERSION, {"supported": ["2026-07-28"], "requested": "v9"})


@pytest.mark.parametrize(
    ("arguments", "fields", "agrees"),
    [
        ({"region": "eu"}, {"mcp-param-region": "eu"}, True),
        ({"region": "eu"}, {"mcp-param-region": "=?base64?ZXU=?="}, True),
        ({"region": "eu"}, {"mcp-param-region": "us"}, False),
        ({"region": "eu"}, {"mcp-param-region": "=?base64?ZXU?="}, False),
        ({"region": "eu"}, {}, False),
        ({}, {"mcp-param-region": "eu"}, False),
        ({}, {}, True),
        ({"region": None}, {}, True),
        ({"region": ""}, {"mcp-param-region": ""}, True),
        ({"deep": {"n": 42}}, {"mcp-param-n": "42"}, True),
        ({"deep": {"n": 42}}, {"mcp-param-n": "42.0"}, True),
        ({"deep": {"n": 42}}, {"mcp-param-n": "43"}, False),
        ({"deep": {"n": True}}, {"mcp-param-n": "true"}, True),
        ({"deep": {"n": 42}}, {"mcp-param-n": "4e1"}, False),
        ({"plain": "x"}, {"mcp-param-plain": "y"}, True),  # nobody mirrors it
    ],
)
def test_an_argument_that_a_header_repeats_is_what_the_header_says(
    arguments: dict[str, Any], fields: dict[str, str], agrees: bool
) -> None:
    def check() -> None:
        mcp_modern.check_parameters(request(arguments=arguments), fields, mcp_modern.mirrored(SCHEMA))

    if agrees:
        check()
    else:
        assert refused(check).reason is Reason.ERR_MCP_HEADER_MISMATCH
