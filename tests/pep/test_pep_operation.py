"""Each argument has one place in a request, and none ends the place that it has."""

from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.pep.admit import admit
from helm_ai_kernel.pep.catalog import EMPTY, Catalog, entry, server_doc
from helm_ai_kernel.pep.operation import TARGET_BYTES_MAX, Operation
from helm_ai_kernel.tcb.call import Call, Refusal
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import EvidenceError, Refused
from helm_ai_kernel.tcb.jcs import canonical

SERVICE = {"kind": "http", "base": "https://api.example/v1", "addresses": ["global"], "secrets": {}, "ca": None}
SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string"}, "q": {"type": "string"}, "page": {"type": "integer"}, "exact": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}}, "note": {"type": "object"},
    },
    "required": ["id"],
}  # fmt: skip
GET = {"method": "GET", "path": "/items/{id}", "query": ["q", "page", "exact", "tags", "note"], "headers": {}, "body": "none"}
GET |= {"retry": False}
POST = GET | {"method": "POST", "query": ["q"], "body": "rest"}
FLAT = {**SCHEMA, "properties": {name: value for name, value in SCHEMA["properties"].items() if name != "note"}}
LISTED = GET | {"query": ["q", "page", "exact", "tags"]}


def definition(operation: Any, schema: Any = SCHEMA, **more: Any) -> dict[str, Any]:
    return {"name": "t", "description": "", "inputSchema": schema, "operation": operation, **more}


def pinned(operation: Any, schema: Any = SCHEMA, source: Any = SERVICE, **said: Any) -> Catalog:
    return EMPTY.with_server(server_doc("s", source, [entry("t", definition(operation, schema), **said)]))


def operation(value: Any, schema: Any = FLAT) -> Operation:
    return Operation.from_json(value, schema)


def why_not(value: Any, schema: Any = SCHEMA, source: Any = SERVICE, **said: Any) -> str:
    with pytest.raises(Refused) as caught:
        pinned(value, schema, source, **said)
    assert (caught.value.reason, caught.value.sub) == (Reason.ERR_SCHEMA_UNSAFE, "catalog")
    return caught.value.detail


def asked(catalog: Catalog, args: Any, **more: Any) -> Call | Refusal:
    return admit(canonical({"tool": "s/t", "arguments": args, **more}), catalog)


def test_arguments_go_where_the_pin_says() -> None:
    args = {"id": "ä b", "q": "a&b=c", "page": 2, "exact": True, "tags": ["x", "y z"]}
    placed = operation(LISTED).place(args)
    assert (placed.method, placed.body) == ("GET", None)
    assert placed.target == "/items/%C3%A4%20b?q=a%26b%3Dc&page=2&exact=true&tags=x&tags=y%20z"
    sent = operation(POST, SCHEMA).place({"id": "1", "note": {"b": 1, "a": 2}, "page": 3})
    assert (sent.target, sent.body) == ("/items/1", b'{"note":{"a":2,"b":1},"page":3}')
    assert operation(POST, SCHEMA).place({"id": "1"}).body == b"{}"
    between = operation(POST | {"path": "/a/v{id}.json", "query": []}, SCHEMA).place({"id": "/"})
    assert between.target == "/a/v%2F.json"
    assert operation(POST | {"path": "/", "query": []}, SCHEMA).place({}).target == "/"


ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
CALLS = st.fixed_dictionaries(
    {"id": ANY},
    optional={"q": ANY, "page": st.integers(-(2**53) + 1, 2**53 - 1), "exact": st.booleans(), "tags": st.lists(ANY, min_size=1)},
)


@given(CALLS)
def test_what_is_placed_reads_back_as_it_was_and_stays_in_its_place(args: dict[str, Any]) -> None:
    of = operation(LISTED)
    if of.unplaced(args, None) is not None:
        ends = "/\\\x7f" + "".join(map(chr, range(32)))
        assert not args["id"] or args["id"].partition(";")[0] in (".", "..") or any(char in args["id"] for char in ends)
        return
    target = of.place(args).target
    assert target.isascii() and target.isprintable() and " " not in target and "#" not in target
    path, mark, query = target.partition("?")
    assert [unquote(segment, errors="strict") for segment in path.split("/")] == ["", "items", args["id"]]
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(mark), max_num_fields=None)
    read: dict[str, Any] = {"id": args["id"]}
    for name, value in pairs:
        if name == "tags":
            read.setdefault("tags", []).append(value)
        else:
            read[name] = value
    if "page" in read:
        read["page"] = int(read["page"])
    if "exact" in read:
        read["exact"] = {"true": True, "false": False}[read["exact"]]
    assert read == args


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "/", "..\\x", "\\", "a\r\nX: y", "a\nb", "\0", "a\x7f", "../../admin"])
def test_an_argument_that_ends_its_segment_is_refused_before_it_is_a_call(text: str) -> None:
    refusal = asked(pinned(LISTED, FLAT), {"id": text})
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.sub) == (Reason.ERR_SCHEMA_VIOLATION, "operation path id")
    assert text not in refusal.sub or text in ("", ".")


def test_dots_that_only_together_leave_the_path_are_refused_and_others_are_not() -> None:
    catalog = pinned(POST | {"path": "/x/.{id}"})
    assert asked(catalog, {"id": "."}).sub == "operation path id"  # type: ignore[union-attr]
    assert isinstance(asked(catalog, {"id": ".."}), Call)
    assert isinstance(asked(pinned(POST), {"id": "%2e%2e%2f"}), Call)
    assert pinned(POST).tools["s/t"].operation.place({"id": "%2e"}).target == "/items/%252e"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("path", "text"),
    [("/orders/{id};v=1/items", ".."), ("/orders/{id};v=1/items", "."), ("/a/.{id};v", "."), ("/a/{id}", "..;v=1")],
)
def test_dots_before_a_matrix_parameter_leave_the_path_too(path: str, text: str) -> None:
    """Servers take `;…` off a segment before they resolve it."""
    assert asked(pinned(POST | {"path": path}), {"id": text}).sub == "operation path id"  # type: ignore[union-attr]
    assert isinstance(asked(pinned(POST | {"path": path}), {"id": "7"}), Call)
    assert isinstance(asked(pinned(POST | {"path": "/a/v;{id}"}), {"id": ".."}), Call)


def test_nothing_is_sent_of_an_empty_array_and_that_alone_makes_two_calls_one_request() -> None:
    assert operation(LISTED).place({"id": "1", "tags": []}) == operation(LISTED).place({"id": "1"})
    assert operation(LISTED).place({"id": "1", "tags": [""]}) != operation(LISTED).place({"id": "1"})


@given(CALLS, CALLS)
def test_two_different_calls_are_two_different_requests(one: dict[str, Any], other: dict[str, Any]) -> None:
    of = operation(LISTED)
    assert (of.place(one) == of.place(other)) == (one == other)


def test_an_argument_without_a_place_a_long_request_and_a_key_that_no_header_holds_are_refused() -> None:
    opened = pinned(LISTED, FLAT, closed=False)
    assert asked(opened, {"id": "1", "other": 1}).sub == "operation rest"  # type: ignore[union-attr]
    assert asked(pinned(LISTED, FLAT), {"id": "1", "q": "x" * TARGET_BYTES_MAX}).sub == "operation size"  # type: ignore[union-attr]
    keyed = pinned(POST | {"idempotency_header": "idempotency-key"})
    for key in ("a\r\nX: y", "ä", "a b", " ", "\0"):
        refusal = asked(keyed, {"id": "1"}, idempotency_key=key)
        assert isinstance(refusal, Refusal) and refusal.sub == "operation idempotency_key"
        assert isinstance(asked(pinned(POST), {"id": "1"}, idempotency_key=key), Call)  # it goes into no header there
    assert isinstance(asked(keyed, {"id": "1"}, idempotency_key="k-1"), Call)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"method": "get"}, "method"), ({"method": "CONNECT"}, "method"), ({"method": "HEAD"}, "method"),
        ({"body": "all"}, "body"), ({"method": "GET"}, "body"), ({"path": "items"}, "begin"),
        ({"path": "/a/../b"}, "segments"), ({"path": "/./b"}, "segments"), ({"path": "/..;v=1/b"}, "segments"),
        ({"path": "/..;{id}"}, "segments"), ({"path": "//evil.example/x"}, "segments"),
        ({"path": "/a//b"}, "segments"), ({"path": "/%2e%2e/x"}, "segments"), ({"path": "/a?x=1"}, "segments"),
        ({"path": "/a#x"}, "segments"), ({"path": "/{id}{q}"}, "segments"), ({"path": "/{id"}, "segments"),
        ({"path": "/{}"}, "segments"), ({"path": "/a b"}, "segments"), ({"path": "/ä"}, "segments"),
        ({"path": "/a\r\nb"}, "segments"), ({"path": "/{id}/{id}"}, "two places"), ({"query": ["id"]}, "two places"),
        ({"query": ["q", "q"]}, "two places"), ({"query": ["nobody"]}, "`nobody`"), ({"query": ["note"]}, "scalar"),
        ({"path": "/{q}", "query": []}, "required"), ({"path": "/{tags}"}, "scalar"), ({"headers": {"Host": "evil"}}, "Host"),
        ({"headers": {"host": "evil"}}, "host"), ({"headers": {"a": "b\r\nc: d"}}, "visible"),
        ({"headers": {"a": ""}}, "visible"), ({"headers": {"a": " b"}}, "visible"), ({"headers": {"a": "ä"}}, "visible"),
        ({"headers": {"a": 1}}, "str"), ({"headers": {"content-length": "0"}}, "content-length"),
        ({"headers": {"transfer-encoding": "chunked"}}, "transfer-encoding"),
        ({"headers": {"connection": "close"}}, "connection"), ({"headers": {"cookie": "a=b"}}, "cookie"),
        ({"headers": {"accept-encoding": "gzip"}}, "accept-encoding"), ({"headers": {"proxy-authorization": "x"}}, "proxy"),
        ({"headers": {"a b": "x"}}, "`a b`"), ({"headers": {"a:b": "x"}}, "`a:b`"),
        ({"headers": {"content-type": "text/plain"}}, "JSON"), ({"idempotency_header": "host"}, "host"),
        ({"idempotency_header": "k", "headers": {"k": "1"}}, "set already"), ({"retry": 1}, "bool"),
        ({"retry": True}, "retry"), ({"extra": 1}, "extra"), ({"headers": None}, "dict"), ({"query": "q"}, "list"),
    ],
)  # fmt: skip
def test_an_operation_that_has_more_than_one_meaning_is_not_pinned(change: dict[str, Any], cause: str) -> None:
    assert cause in why_not(POST | change)


def test_every_property_has_a_place() -> None:
    assert "`page`" in why_not(GET | {"query": ["q", "exact", "tags"]}, FLAT)
    assert "scalar" in why_not(GET)  # an object in a query
    assert "missing" in why_not({name: value for name, value in POST.items() if name != "retry"})
    union = {**FLAT, "properties": {**FLAT["properties"], "id": {"type": ["string", "integer"]}}}
    assert "scalar" in why_not(LISTED, union)  # "1" and 1 would be the same request


def test_only_what_reads_or_has_an_idempotency_header_may_be_sent_again() -> None:
    assert pinned(POST | {"retry": True}, effect="read").tools["s/t"].operation.retry  # type: ignore[union-attr]
    assert pinned(POST | {"retry": True, "idempotency_header": "k"}).tools["s/t"].operation.retry  # type: ignore[union-attr]
    assert "sent again" in why_not(POST | {"retry": True}, effect="write")


def test_a_header_that_holds_a_secret_is_set_by_nothing_else() -> None:
    secret = SERVICE | {"secrets": {"authorization": "TOKEN"}}
    assert "secret" in why_not(POST | {"headers": {"authorization": "x"}}, source=secret)
    assert "secret" in why_not(POST | {"idempotency_header": "authorization"}, source=secret)
    assert pinned(POST, source=secret).sources["s"] == secret


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"base": "http://api.example"}, "https"), ({"base": "ftp://api.example"}, "base"),
        ({"base": "https://api.example/"}, "base"), ({"base": "https://user@api.example"}, "base"),
        ({"base": "https://api.example:80@evil.example"}, "base"), ({"base": "https://evil.example#@api.example"}, "base"),
        ({"base": "https://api.example?x"}, "base"), ({"base": "https://api.example:443"}, "anyway"),
        ({"base": "https://api.example:22"}, "port"), ({"base": "https://api.example:25"}, "port"),
        ({"base": "https://api.example:65536"}, "port"), ({"base": "https://api.example:0443"}, "base"),
        ({"base": "https://api.example/a/../b"}, ".."), ({"base": "https://api.example//b"}, "base"),
        ({"base": "https://api.example/%2e"}, "base"), ({"base": "https://127.1"}, "DNS"),
        ({"base": "https://2130706433"}, "DNS"), ({"base": "https://API.example"}, "DNS"),
        ({"base": "https://api.example."}, "DNS"), ({"base": "https://api.example\r\nX: y"}, "base"),
        ({"base": "https://[::1]"}, "loopback"), ({"base": "https://[api.example]"}, "base"),
        ({"base": "https://::1"}, "base"), ({"base": "https://[fe80::1%lo]"}, "base"),
        ({"base": "https://169.254.169.254"}, "metadata"), ({"base": "https://[::ffff:8.8.8.8]"}, "canonical"),
        ({"addresses": []}, "addresses"), ({"addresses": ["metadata"]}, "addresses"),
        ({"addresses": ["private", "global"]}, "sorted"), ({"addresses": ["all"]}, "addresses"),
        ({"secrets": {"host": "X"}}, "host"), ({"secrets": {"a": "X Y"}}, "variable"), ({"secrets": {"A": "X"}}, "`A`"),
        ({"secrets": {"a": 1}}, "str"), ({"ca": "ca.pem"}, "ca"), ({"ca": 1}, "ca"), ({"extra": 1}, "extra"),
    ],
)  # fmt: skip
def test_a_service_that_could_be_somewhere_else_is_not_pinned(change: dict[str, Any], cause: str) -> None:
    assert cause in why_not(POST, source=SERVICE | change)


def test_a_service_of_this_machine_is_written_as_such() -> None:
    local = SERVICE | {"base": "http://127.0.0.1:8080", "addresses": ["loopback"]}
    assert pinned(POST, source=local).sources["s"] == local
    assert "https" in why_not(POST, source=local | {"addresses": ["global", "loopback"]})


def test_the_definition_of_an_operation_has_exactly_its_fields() -> None:
    for raw in (definition(POST, annotations={}), {"name": "t", "description": "", "inputSchema": SCHEMA}):
        with pytest.raises(Refused, match=r"operation|annotations"):
            EMPTY.with_server(server_doc("s", SERVICE, [entry("t", raw)]))
    with pytest.raises(EvidenceError):
        Operation.from_json(POST, {"type": "object"})
