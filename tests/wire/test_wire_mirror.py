"""Headers are made from the body that was decided on, or there is no request."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire import mirror
from helm_ai_kernel.wire.era import Order
from helm_ai_kernel.wire.request import encode


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a b", "a b"), ("", "=?base64??="), (" a", "=?base64?IGE=?="), ("a ", "=?base64?YSA=?="), ("ü", "=?base64?w7w=?="),
        ("a\r\nb: c", "=?base64?YQ0KYjogYw==?="), ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
        ("\t", "=?base64?CQ==?="),
    ],
)  # fmt: skip
def test_what_would_not_arrive_as_it_is_goes_in_base64(text: str, value: str) -> None:
    assert mirror.encoded(text) == value


@given(st.text(max_size=20))
def test_every_text_makes_one_line_of_a_head(text: str) -> None:
    if any("\ud800" <= char <= "\udfff" for char in text):
        return
    head = encode("POST", "/", "a", [("mcp-name", mirror.encoded(text))], b"")
    assert head.count(b"\r\n") == 5


def schema(**annotated: Any) -> dict[str, Any]:
    return {"type": "object", "properties": dict(annotated)}


def named(header: Any, kind: Any = "string") -> dict[str, Any]:
    return {"type": kind, "x-mcp-header": header}


BAD = {
    "empty": schema(a=named("")),
    "a blank": schema(a=named("A B")),
    "a colon": schema(a=named("A:B")),
    "a line end": schema(a=named("A\n")),
    "too long": schema(a=named("a" * 55)),
    "no text": schema(a=named(1)),
    "a number": schema(a=named("A", "number")),
    "an object": schema(a=named("A", "object")),
    "no type": schema(a={"x-mcp-header": "A"}),
    "a union": schema(a=named("A", ["string", "null"])),
    "twice": schema(a=named("A"), b=named("a")),
    "the root": {"type": "string", "x-mcp-header": "A"},
    "in items": schema(a={"type": "array", "items": named("A")}),
    "in a choice": {"anyOf": [schema(a=named("A"))]},
    "in a definition": {"$defs": {"x": named("A")}},
    "behind a pattern": {"patternProperties": {"x": named("A")}},
    "too many": schema(**{f"p{number}": named(f"H{number}") for number in range(mirror.HEADERS_MAX + 1)}),
}


@pytest.mark.parametrize("name", BAD)
def test_an_annotation_that_has_no_one_meaning_refuses_the_tool(name: str) -> None:
    with pytest.raises(Refused) as refused:
        mirror.vet({"name": "t", "inputSchema": BAD[name]})
    assert refused.value.sub == "x_mcp_header"


def test_what_looks_like_an_annotation_in_data_is_none() -> None:
    mirror.vet({"name": "t", "inputSchema": {"properties": {"a": {"type": "object", "default": {"x-mcp-header": "A"}}}}})
    mirror.vet({"name": "t", "inputSchema": {"properties": {"x-mcp-header": {"type": "string"}}}})
    mirror.vet({"name": "t"})


def test_only_scalars_that_stand_there_go_into_headers() -> None:
    annotated = schema(a=named("A"), b=named("B", "boolean"), c=named("C", "integer"), d=named("D"), e=named("E"))
    args = canonical({"a": "x", "b": False, "c": -3, "d": None, "e": {"x": 1}})
    made = mirror.headers(Order("t", args), annotated)
    assert {name: value for name, value in made.items() if name.startswith("mcp-param-")} == {
        "mcp-param-a": "x", "mcp-param-b": "false", "mcp-param-c": "-3",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("order", "name"),
    [
        (Order("t", b"{}"), "t"), (Order("prompts/get", b'{"name":"p"}'), "p"),
        (Order("resources/read", b'{"uri":"a:b"}'), "a:b"),
        (Order("resources/list", b"{}"), None), (Order("prompts/get", b'{"name":1}'), None),
    ],
)  # fmt: skip
def test_the_name_is_that_of_the_body(order: Order, name: str | None) -> None:
    made = mirror.headers(order)
    assert (made.get("mcp-name"), made["mcp-method"]) == (name, order.method)
