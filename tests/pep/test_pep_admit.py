"""Bytes become a call or a refusal. A call is the canonical form of what was sent, and no look-alike of a name is admitted."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora import corpus
from helm_ai_kernel.pep.admit import admit, with_key
from helm_ai_kernel.pep.catalog import EMPTY, Catalog, entry, server_doc
from helm_ai_kernel.tcb.call import Call, Effect, Refusal
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.tcb.jcs import canonical

SCHEMA = {
    "type": "object",
    "properties": {
        "to": {"type": "string", "minLength": 1, "maxLength": 40},
        "cents": {"type": "integer", "minimum": 1, "maximum": 10_000},
        "note": {"type": ["string", "null"]},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
        "at": {"type": "object", "properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}}, "required": ["zip"]},
    },
    "required": ["to", "cents"],
}


def catalog(schema: Any = SCHEMA, **settings: Any) -> Catalog:
    raw = {"name": "pay", "description": "Pay.", "inputSchema": schema}
    return EMPTY.with_server(server_doc("shop", {"kind": "python"}, [entry("pay", raw, **settings)]))


SHOP = catalog(effect="payment", labels=["money"], destinations=["a.example"], wall_ms=7, output_bytes=8, require_key=True)
ECHO = catalog({"type": "object", "properties": {"s": {"type": "string"}}}, effect="read")


def request(arguments: Any, tool: Any = "shop/pay", **more: Any) -> bytes:
    return json.dumps({"tool": tool, "arguments": arguments, **more}).encode()


def call(raw: bytes, known: Catalog = SHOP) -> Call:
    admitted = admit(raw, known)
    assert isinstance(admitted, Call), admitted
    return admitted


def refusal(raw: bytes, known: Catalog = SHOP) -> Refusal:
    admitted = admit(raw, known)
    assert isinstance(admitted, Refusal), admitted
    assert admitted.raw == raw
    return admitted


GOOD = {"to": "Zoë", "cents": 100, "note": None, "tags": ["a", "b"], "at": {"zip": "01234"}}
ARGUMENTS = st.fixed_dictionaries(
    {"to": st.text(min_size=1, max_size=40), "cents": st.integers(1, 10_000)},
    optional={
        "note": st.none() | st.text(),
        "tags": st.lists(st.sampled_from("ab"), max_size=3),
        "at": st.fixed_dictionaries({"zip": st.from_regex("[0-9]{5}", fullmatch=True)}),
    },
)


@given(ARGUMENTS, *[st.none() | st.text(min_size=1, max_size=256)] * 2)
@settings(deadline=None)
def test_an_admitted_call_is_the_canonical_form_of_what_was_sent(
    arguments: dict[str, Any], key: str | None, subject: str | None
) -> None:  # fmt: skip
    more = {name: value for name, value in (("idempotency_key", key), ("subject", subject)) if value is not None}
    shuffled = dict(reversed(arguments.items()))
    admitted = call(request(shuffled, **more))
    assert admitted.args == canonical(arguments)
    assert admitted.view == parse(admitted.args) == arguments
    assert (admitted.key, admitted.subject) == (key, subject)


def test_a_call_carries_what_was_pinned_and_nothing_that_was_sent_besides() -> None:
    admitted, pinned = call(request(GOOD)), SHOP.tools["shop/pay"]
    assert (admitted.tool, admitted.pin, admitted.effect) == ("shop/pay", pinned.pin, Effect.PAYMENT)
    assert (admitted.labels, admitted.destinations) == (("money",), ("a.example",))
    assert (admitted.wall_ms, admitted.output_bytes, admitted.key_required, admitted.key) == (7, 8, True, None)


VIOLATIONS: list[tuple[str, Any, str]] = [
    ("to", 5, "type at /properties/to/type"),
    ("to", "", "minLength at /properties/to/minLength"),
    ("to", "a" * 41, "maxLength at /properties/to/maxLength"),
    ("to", None, "type at /properties/to/type"),
    ("cents", "100", "type at /properties/cents/type"),
    ("cents", 1.5, "type at /properties/cents/type"),
    ("cents", True, "type at /properties/cents/type"),
    ("cents", 0, "minimum at /properties/cents/minimum"),
    ("cents", 10_001, "maximum at /properties/cents/maximum"),
    ("note", 1, "type at /properties/note/type"),
    ("tags", "a", "type at /properties/tags/type"),
    ("tags", ["a", "c"], "enum at /properties/tags/items/enum"),
    ("tags", ["a"] * 4, "maxItems at /properties/tags/maxItems"),
    ("at", {}, "required at /properties/at/required"),
    ("at", {"zip": "1234"}, "pattern at /properties/at/properties/zip/pattern"),
    ("at", {"zip": "01234\n"}, "pattern at /properties/at/properties/zip/pattern"),
    ("at", {"zip": "01234", "x": 1}, "unevaluatedProperties at /properties/at/unevaluatedProperties"),
    ("extra", 1, "unevaluatedProperties at /unevaluatedProperties"),
    ("To", "x", "unevaluatedProperties at /unevaluatedProperties"),
    ("__proto__", {}, "unevaluatedProperties at /unevaluatedProperties"),
]


@pytest.mark.parametrize(("name", "value", "sub"), VIOLATIONS, ids=[f"{name}={value!r}"[:40] for name, value, _ in VIOLATIONS])
def test_any_single_change_that_breaks_the_schema_is_refused(name: str, value: Any, sub: str) -> None:
    raw = request({**GOOD, name: value})
    found = refusal(raw)
    assert (found.reason, found.sub) == (Reason.ERR_SCHEMA_VIOLATION, sub)
    assert (found.tool, found.pin, found.effect) == ("shop/pay", SHOP.tools["shop/pay"].pin, Effect.PAYMENT)
    assert found.args == canonical({**GOOD, name: value})
    assert found.hint


JSONS: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 12_000)
    | st.floats(allow_nan=False, allow_infinity=False, width=16)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["zip", "to", "x"]), inner, max_size=2),
    max_leaves=4,
)


def model(name: str, value: Any) -> bool:
    """Whether a field of `GOOD` may have that value, written by hand."""
    if name == "to":
        return type(value) is str and 1 <= len(value) <= 40
    if name == "cents":
        return (type(value) is int or (type(value) is float and value.is_integer())) and 1 <= value <= 10_000
    if name == "note":
        return value is None or type(value) is str
    if name == "tags":
        return type(value) is list and len(value) <= 3 and all(type(item) is str and item in ("a", "b") for item in value)
    zip_code = value.get("zip") if type(value) is dict and value.keys() == {"zip"} else None
    return type(zip_code) is str and len(zip_code) == 5 and zip_code.isascii() and zip_code.isdigit()


@given(st.sampled_from(sorted(GOOD)), JSONS)
@settings(deadline=None)
def test_one_field_with_any_value_is_decided_as_a_model_says(name: str, value: Any) -> None:
    admitted = admit(request({**GOOD, name: value}), SHOP)
    if isinstance(admitted, Refusal) and admitted.reason is Reason.ERR_JSON_NOT_IJSON:
        return  # -0.0
    assert isinstance(admitted, Call) is model(name, value)


NO_TOOL = b'{"tool":"no/tool","arguments":{},"subject":"customer-1"}'
SHAPES: list[tuple[bytes, str]] = [
    (b"[]", "fields"),
    (b'"shop/pay"', "fields"),
    (b"{}", "fields"),
    (b'{"tool":"shop/pay"}', "fields"),
    (b'{"arguments":{}}', "fields"),
    (b'{"tool":"shop/pay","arguments":{},"schema":{}}', "fields"),
    (b'{"tool":"shop/pay","arguments":{},"pin":"sha256:0"}', "fields"),
    (b'{"tool":"shop/pay","arguments":{},"idempotency_key":"k","x":1}', "fields"),
    (b'{"tool":7,"arguments":{}}', "tool"),
    (b'{"tool":["shop/pay"],"arguments":{}}', "tool"),
    (b'{"tool":"shop/pay","arguments":"{\\"to\\":\\"x\\",\\"cents\\":1}"}', "arguments"),
    (b'{"tool":"shop/pay","arguments":null}', "arguments"),
    (b'{"tool":"shop/pay","arguments":[]}', "arguments"),
    (b'{"tool":"shop/pay","arguments":{},"idempotency_key":null}', "idempotency_key"),
    (b'{"tool":"shop/pay","arguments":{},"idempotency_key":""}', "idempotency_key"),
    (b'{"tool":"shop/pay","arguments":{},"idempotency_key":7}', "idempotency_key"),
    (request({}, idempotency_key="k" * 257), "idempotency_key"),
    (b'{"tool":"shop/pay","arguments":{},"subject":null}', "subject"),
    (b'{"tool":"shop/pay","arguments":{},"subject":""}', "subject"),
    (b'{"tool":"shop/pay","arguments":{},"subject":["customer-1"]}', "subject"),
    (request({}, subject="s" * 257), "subject"),
    (b'{"tool":"shop/pay","arguments":{},"subject":7,"idempotency_key":7}', "idempotency_key"),
    (b'{"subject":"customer-1","arguments":{}}', "fields"),
]


@pytest.mark.parametrize("raw", [request(GOOD, subject="customer-1"), request({}, subject="customer-1"), NO_TOOL])
def test_whom_a_request_is_about_is_known_also_where_it_is_refused_for_its_tool_or_arguments(raw: bytes) -> None:
    admitted = admit(raw, SHOP)
    assert admitted.subject == "customer-1" and admitted.args is not None


@pytest.mark.parametrize(("raw", "sub"), SHAPES)
def test_what_is_not_an_execute_request_is_refused_before_any_tool_is_looked_up(raw: bytes, sub: str) -> None:
    found = refusal(raw)
    assert (found.reason, found.sub) == (Reason.ERR_UPSTREAM_SHAPE, sub)
    assert (found.tool, found.args, found.pin) == (None, None, None)


NOT_JSON: list[tuple[bytes, str]] = [
    (b"", "syntax"),
    (request(GOOD) + b"x", "syntax"),
    (request(GOOD) * 2, "syntax"),
    (request(GOOD)[:-1], "syntax"),
    (b"\xef\xbb\xbf" + request(GOOD), "bom"),
    (request(GOOD).decode().encode("utf-16"), "encoding"),
    (b'{"tool":"shop/pay","tool":"shop/pay","arguments":{}}', "dup_key"),
    (b'{"tool":"shop/pay","arguments":{"cents":1,"c\\u0065nts":1000}}', "dup_key"),
    (b'{"tool":"shop/pay","arguments":{"cents":NaN}}', "number_range"),
    (b'{"tool":"shop/pay","arguments":{"cents":1e999}}', "number_range"),
    (b'{"tool":"shop/pay","arguments":{"cents":9007199254740993}}', "number_range"),
    (b'{"tool":"shop/pay","arguments":' + b'{"a":' * 64 + b"1" + b"}" * 65, "depth"),
    (b'{"tool":"shop/pay","arguments":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001, "depth"),
    (request({"to": "a" * (1 << 20)}), "size"),
]


@pytest.mark.parametrize(("raw", "sub"), NOT_JSON, ids=[f"{sub} {n}" for n, (_, sub) in enumerate(NOT_JSON)])
def test_what_is_not_strict_json_is_refused_with_nothing_but_its_bytes(raw: bytes, sub: str) -> None:
    found = refusal(raw)
    assert (found.reason, found.sub) == (Reason.ERR_JSON_NOT_IJSON, sub)
    assert (found.tool, found.args) == (None, None)


LOOK_ALIKES = [
    "pay", "/pay", "shop/", "shop//pay", "Shop/pay", "shop/Pay", "SHOP/PAY", " shop/pay", "shop/pay ", "shop/pay\0",
    "shop/pay\n", "shop/p\u200day", "shop/p\u0430y", "shop%2Fpay", "shop\u2215pay", "shop/../shop/pay", "shop.pay", "shop__pay",
    "\u202eshop/pay", "shop/pa\u0301y", "\uff53hop/pay", "", "x" * 10_000, "shop/" + "pay" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("name", LOOK_ALIKES, ids=[ascii(name)[:40] for name in LOOK_ALIKES])
def test_a_name_is_compared_byte_for_byte(name: str) -> None:
    found = refusal(request(GOOD, tool=name))
    assert (found.reason, found.sub) == (Reason.ERR_TOOL_NOT_ALLOWED, "")
    assert found.tool == name[:256]
    assert found.args == canonical(GOOD)
    assert found.pin is None
    assert found.effect is None


@given(st.text(max_size=30))
@settings(deadline=None)
def test_no_name_but_the_pinned_one_is_admitted(name: str) -> None:
    assert isinstance(admit(request(GOOD, tool=name), SHOP), Call) is (name == "shop/pay")


def test_without_a_catalogue_there_is_no_tool() -> None:
    assert refusal(request(GOOD), EMPTY).reason is Reason.ERR_TOOL_NOT_ALLOWED


def naughty() -> list[str]:
    return [text for text in json.loads((corpus("strings") / "blns.json").read_bytes()) if type(text) is str]


def test_naughty_strings_are_never_tools_and_survive_unchanged_as_arguments() -> None:
    strings = naughty()
    assert len(strings) > 500
    for text in strings:
        assert refusal(request({"s": text}, tool=text), ECHO).reason is Reason.ERR_TOOL_NOT_ALLOWED
        assert refusal(request({"s": text}, tool="shop/" + text), ECHO).reason is Reason.ERR_TOOL_NOT_ALLOWED
        admitted = call(request({"s": text}), ECHO)
        assert admitted.view == json.loads(admitted.args) == {"s": text}
        assert refusal(request({text or " ": 1}), ECHO).reason is Reason.ERR_SCHEMA_VIOLATION


def test_twins_that_look_alike_stay_two_keys() -> None:
    twins = {"\u00c5": 1, "A\u030a": 2, "\u212b": 3}
    assert call(request(twins), catalog({"type": "object"}, closed=False)).view == twins


def test_changing_the_view_changes_nothing_that_is_dispatched() -> None:
    admitted = call(request(GOOD))
    before = admitted.args
    admitted.view.clear()
    assert admitted.args is before
    assert admitted.args == canonical(GOOD)


def test_arguments_that_take_too_long_to_check_are_refused() -> None:
    schema = {"type": "object", "properties": {"p": {"pattern": "(a|b)*a(a|b){200}c"}}}
    found = refusal(request({"p": "ab" * 200_000}), catalog(schema))
    assert (found.reason, found.sub) == (Reason.ERR_SCHEMA_BUDGET, "time")
    assert found.tool == "shop/pay"


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@settings(deadline=None)
def test_any_bytes_are_a_call_or_a_refusal(raw: bytes) -> None:
    assert isinstance(admit(raw, SHOP), Call | Refusal)


@given(ARGUMENTS, st.text(st.characters(codec="latin-1"), min_size=1, max_size=40))
def test_a_key_beside_a_request_is_the_key_in_it_and_changes_nothing_else(arguments: dict[str, Any], key: str) -> None:
    raw = request(arguments)
    plain, keyed = call(raw), call(with_key(raw, key))
    assert keyed.key == key
    assert (keyed.tool, keyed.args, keyed.subject) == (plain.tool, plain.args, plain.subject)
    assert with_key(with_key(raw, key), key) == with_key(raw, key)
    with pytest.raises(Refused, match="ERR_UPSTREAM_SHAPE"):
        with_key(with_key(raw, key), key + "x")


@given(st.binary(max_size=60) | st.sampled_from([b"[]", b"1", b'"a"', b"{", b'{"a":1,"a":2}', b"null"]))
def test_what_is_no_request_stays_so_with_a_key_beside_it(raw: bytes) -> None:
    alone, keyed = admit(raw, SHOP), admit(with_key(raw, "k"), SHOP)
    assert isinstance(alone, Refusal)
    assert isinstance(keyed, Refusal)
    assert keyed.reason == alone.reason
