"""Which schemas may be pinned: everything known, bounded, and in the same document."""

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema_rs
import pytest

from helm_ai_kernel.pep.admit import admit
from helm_ai_kernel.pep.catalog import EMPTY, entry, server_doc
from helm_ai_kernel.pep.keyword import ANNOTATIONS, EDGES, FORMATS, KEYWORDS, REBASING, URIS, VALUES, Dialect
from helm_ai_kernel.pep.release import release
from helm_ai_kernel.pep.schema import Schema, _compile
from helm_ai_kernel.pep.vet import BYTES_MAX, CHAIN_MAX, DEPTH_MAX, PATTERNS_MAX, PLACES_MAX
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused

DRAFT_07 = "http://json-schema.org/draft-07/schema#"


def pin(schema: Any, **settings: Any) -> Schema:
    return Schema.pin(schema, **{"closed": False, **settings})


def refused(schema: Any, **settings: Any) -> Refused:
    before = copy.deepcopy(schema)
    with pytest.raises(Refused) as caught:
        pin(schema, **settings)
    assert caught.value.reason is Reason.ERR_SCHEMA_UNSAFE
    assert schema == before
    return caught.value


def keeps(schema: Schema, value: Any) -> bool:
    return schema.violation(value, 1) is None


def doubling(levels: int, keyword: str) -> dict[str, Any]:
    """`levels` definitions, each the one before it taken twice."""
    definitions: dict[str, Any] = {"a0": {"maxLength": 3}}
    for level in range(levels):
        definitions[f"a{level + 1}"] = {keyword: [{"$ref": f"#/$defs/a{level}"}, {"$ref": f"#/$defs/a{level}"}]}
    return {"$defs": definitions, "properties": {"x": {"$ref": f"#/$defs/a{levels}"}}}


def nested(levels: int, keyword: str) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {keyword: schema}
    return schema


UNSAFE: list[tuple[str, str, Any]] = [
    ("shape", "a list", []),
    ("shape", "a boolean at the root", True),
    ("shape", "a type that does not exist", {"type": "objct"}),
    ("shape", "a type twice", {"type": ["string", "string"]}),
    ("shape", "properties that are a list", {"properties": []}),
    ("shape", "a negative length", {"minLength": -1}),
    ("shape", "a list in items of 2020-12", {"items": [{}]}),
    ("dialect", "an unknown $schema", {"$schema": "http://127.0.0.1:9/schema"}),
    ("dialect", "draft-04", {"$schema": "http://json-schema.org/draft-04/schema#"}),
    ("dialect", "a $schema that is no string", {"$schema": 7}),
    ("keyword", "a typo", {"requierd": ["a"]}),
    ("keyword", "a typo in a definition that nothing uses", {"$defs": {"a": {"maxLenght": 3}}}),
    ("keyword", "a typo below not", {"not": {"properties": {"a": {"enmu": [1]}}}}),
    ("keyword", "OpenAPI's nullable", {"properties": {"a": {"type": "string", "nullable": True}}}),
    ("keyword", "a draft-07 keyword in 2020-12", {"dependencies": {"a": ["b"]}}),
    ("keyword", "a 2020-12 keyword in draft-07", {"$schema": DRAFT_07, "unevaluatedProperties": False}),
    ("keyword", "$schema below the root", {"properties": {"a": {"$schema": DRAFT_07}}}),
    ("ref", "a remote $ref", {"$ref": "https://example.com/schema"}),
    ("ref", "a file", {"$ref": "file:///etc/passwd"}),
    ("ref", "a relative $ref", {"$ref": "other.json#/a"}),
    ("ref", "an empty $ref", {"properties": {"a": {"$ref": ""}}}),
    ("ref", "a $ref to an anchor", {"$defs": {"a": {"$anchor": "x"}}, "properties": {"a": {"$ref": "#x"}}}),
    ("ref", "a $ref to an anchor that is not there", {"properties": {"a": {"$ref": "#x"}}}),
    ("ref", "$id at the root", {"$id": "https://example.com/root"}),
    ("ref", "$id that rebases", {"properties": {"a": {"$id": "http://127.0.0.1:9/", "$ref": "#/x"}}}),
    ("ref", "$dynamicRef", {"$dynamicRef": "#x"}),
    ("ref", "$dynamicAnchor", {"$dynamicAnchor": "x"}),
    ("ref", "$recursiveRef", {"$recursiveRef": "#"}),
    ("ref", "$vocabulary", {"$vocabulary": {}}),
    ("ref", "what ends like a pointer", {"$defs": {"a": {}}, "properties": {"p": {"$ref": "x:$defs/a"}}}),
    ("ref", "nothing there", {"$ref": "#/$defs/nothing"}),
    ("ref", "into a default", {"default": {"a": {}}, "properties": {"a": {"$ref": "#/default/a"}}}),
    ("ref", "into an example", {"examples": [{"type": "string"}], "properties": {"a": {"$ref": "#/examples/0"}}}),
    ("ref", "into an annotation", {"x-hidden": {"requierd": 1}, "properties": {"a": {"$ref": "#/x-hidden"}}}),
    ("ref", "into an enum", {"enum": [{}], "properties": {"a": {"$ref": "#/enum/0"}}}),
    ("ref", "an index with a zero in front", {"allOf": [{}], "properties": {"a": {"$ref": "#/allOf/00"}}}),
    ("ref", "not UTF-8", {"$defs": {"\ufffd": {}}, "properties": {"a": {"$ref": "#/$defs/%FF%FE"}}}),
    (
        "ref",
        "beside $ref in draft-07",
        {"$schema": DRAFT_07, "definitions": {"a": {}}, "properties": {"a": {"$ref": "#/definitions/a", "maximum": 3}}},
    ),
    ("ref_loop", "itself", {"$defs": {"a": {"$ref": "#/$defs/a"}}}),
    ("ref_loop", "the root", {"allOf": [{"$ref": "#"}]}),
    (
        "ref_loop",
        "two that take turns",
        {"$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}},
    ),
    ("ref_loop", "through if", {"$defs": {"a": {"if": {"$ref": "#/$defs/a"}}}}),
    ("ref_loop", "through dependentSchemas", {"$defs": {"a": {"dependentSchemas": {"x": {"$ref": "#/$defs/a"}}}}}),
    ("ref_loop", "a long chain", {"$defs": {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(4000)} | {"a4000": {}}}),
    *(("expansion", f"doubling {n} times by {k}", doubling(n, k)) for n in (12, 14) for k in ("allOf", "anyOf", "oneOf")),
    *(("ref_loop", f"doubling {n} times", doubling(n, "allOf")) for n in (16, 40, 400)),
    (
        "expansion",
        "doubling by unevaluatedProperties",
        {"anyOf": [doubling(10, "anyOf")["$defs"]["a0"]]}
        | {
            "$defs": {"a0": {}}
            | {f"a{n + 1}": {"allOf": [{"$ref": f"#/$defs/a{n}"}], "unevaluatedItems": {}} for n in range(13)},
        },
    ),
    ("pattern", "lookahead", {"pattern": "^(?=a)b"}),
    ("pattern", "a backreference", {"properties": {"a": {"pattern": "(a)\\1"}}}),
    ("pattern", "a property's pattern", {"patternProperties": {"(?!a)": {}}}),
    ("pattern", "too large", {"pattern": "(\\p{L}{100}){100}"}),
    ("pattern", "too long", {"pattern": "a" * 5000}),
    ("pattern", "too many", {"properties": {f"p{n}": {"pattern": "a"} for n in range(PATTERNS_MAX + 1)}}),
    ("format", "unknown", {"format": "int32"}),
    ("format", "uuid, which draft-07 does not know", {"$schema": DRAFT_07, "format": "uuid"}),
    ("multiple_of", "cents", {"multipleOf": 0.01}),
    ("depth", "not in not", nested(DEPTH_MAX, "not")),
    ("depth", "items in items", nested(DEPTH_MAX, "items")),
    ("depth", "too many", {"properties": {f"p{n}": {} for n in range(PLACES_MAX)}}),
    ("size", "a long description", {"description": "a" * BYTES_MAX}),
]


@pytest.mark.parametrize(("sub", "what", "schema"), UNSAFE, ids=[f"{sub}: {what}" for sub, what, _ in UNSAFE])
@pytest.mark.parametrize("closed", [False, True])
def test_what_is_unknown_unbounded_or_elsewhere_is_refused(sub: str, what: str, schema: Any, closed: bool) -> None:
    error = refused(schema, closed=closed)
    assert error.sub == sub
    assert error.hint


SAFE: list[tuple[str, Any]] = [
    ("nothing", {}),
    ("booleans below the root", {"properties": {"a": True, "b": False}, "items": False}),
    (
        "recursion that descends",
        {"properties": {"next": {"$ref": "#"}, "all": {"items": {"$ref": "#/$defs/n"}}}, "$defs": {"n": {"$ref": "#"}}},
    ),
    (
        "annotations",
        {name: {} for name in ("x-anything", "default", "contentSchema")} | {"examples": [{"requierd": 1}], "title": "t"},
    ),
    ("places with a name, and two with the same", {"$defs": {"a": {"$anchor": "x"}, "b": {"$anchor": "x"}}, "$ref": "#/$defs/a"}),
    ("the deepest", nested(DEPTH_MAX - 1, "not")),
    (
        "the longest chain",
        {"$defs": {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(CHAIN_MAX - 1)} | {f"a{CHAIN_MAX - 1}": {}}},
    ),
    ("properties named like keywords", {"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}, "requierd": True}}),
    ("values that look like schemas", {"enum": [{"$ref": "http://127.0.0.1:9/"}], "const": {"requierd": []}}),
    (
        "draft-07",
        {"$schema": DRAFT_07, "items": [{}], "additionalItems": False, "dependencies": {"a": ["b"], "c": {}}, "definitions": {}},
    ),
    (
        "draft-07 with words beside $ref",
        {
            "$schema": DRAFT_07[:-1],
            "definitions": {"a": {}},
            "properties": {"a": {"$ref": "#/definitions/a", "description": "d"}},
        },
    ),
    (
        "2020-12 with definitions",
        {"$schema": next(iter(URIS)), "definitions": {"a": {}}, "$ref": "#/definitions/a", "maximum": 3},
    ),
    ("doubling, a little", doubling(8, "oneOf")),
]


@pytest.mark.parametrize(("what", "schema"), SAFE, ids=[what for what, _ in SAFE])
@pytest.mark.parametrize("closed", [False, True])
def test_what_is_known_and_bounded_can_be_pinned(what: str, schema: Any, closed: bool) -> None:
    before = copy.deepcopy(schema)
    pin(schema, closed=closed)
    assert schema == before


def test_a_ref_is_read_as_a_pointer_with_its_escapes() -> None:
    definitions = {"a/b": {"const": 1}, "a~b": {"const": 2}, "a%b": {"const": 3}, "ü": {"const": 4}, "": {"const": 5}}
    refs = {"#/$defs/a~1b": 1, "#/$defs/a~0b": 2, "#/$defs/a%25b": 3, "#/$defs/%C3%BC": 4, "#/$defs/": 5}
    for ref, value in refs.items():
        schema = pin({"$defs": definitions, "properties": {"p": {"$ref": ref}}})
        assert [n for n in range(6) if keeps(schema, {"p": n})] == [value]


def test_only_what_was_vetted_is_compiled() -> None:
    schema = pin(
        {"type": "object", "x-a": {"$id": "x"}, "default": {"$ref": "#/no"}, "$anchor": "t", "$schema": next(iter(URIS))}
    )
    assert schema.enforced == {"type": "object"}


def test_each_keyword_is_in_one_list() -> None:
    assert not EDGES.keys() & VALUES
    assert not KEYWORDS[Dialect.CURRENT] & (ANNOTATIONS | REBASING)
    assert EDGES.keys() | VALUES == KEYWORDS[Dialect.CURRENT] | KEYWORDS[Dialect.DRAFT_07]


WRONG = {
    "date-time": "2026-13-01T00:00:00Z",
    "date": "2026-02-30",
    "time": "25:00:00Z",
    "email": "@",
    "idn-email": "@",
    "hostname": "-a",
    "idn-hostname": "-a",
    "ipv4": "1.2.3",
    "ipv6": "1::2::3",
    "uri": "a b",
    "uri-reference": "a b",
    "iri": "a b",
    "iri-reference": "a b",
    "uri-template": "{",
    "json-pointer": "a",
    "relative-json-pointer": "/",
    "regex": "(",
    "duration": "P",
    "uuid": "0",
}


@pytest.mark.parametrize("dialect", Dialect)
def test_every_listed_format_is_checked(dialect: Dialect) -> None:
    uri = next(uri for uri, known in URIS.items() if known is dialect)
    assert FORMATS[dialect] <= WRONG.keys()
    for name in FORMATS[dialect]:
        assert not keeps(pin({"$schema": uri, "format": name}), WRONG[name])


def test_a_format_that_was_accepted_is_an_annotation() -> None:
    schema = pin({"properties": {"n": {"type": "integer", "format": "int32"}}}, accept_formats=("int32",))
    assert keeps(schema, {"n": 2**40})
    assert "format" not in str(schema.enforced)
    assert refused({"format": "int64"}, accept_formats=("int32",)).sub == "format"


@contextmanager
def canary() -> Iterator[tuple[str, list[str]]]:
    """A server on loopback, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def calls_home(url: str) -> Iterator[Any]:
    yield {"$ref": f"{url}/ref"}
    yield {"$schema": f"{url}/schema"}
    yield {"$id": f"{url}/id", "$ref": "other"}
    yield {"$dynamicRef": f"{url}/dynamic"}
    yield {"$recursiveRef": f"{url}/recursive"}
    yield {"properties": {"a": {"$id": f"{url}/", "$ref": "b"}}}
    yield {"properties": {"a": {"$schema": f"{url}/schema"}}}
    yield {"$schema": DRAFT_07, "definitions": {"a": {"$ref": f"{url}/07"}}, "properties": {"a": {"$ref": "#/definitions/a"}}}
    yield {"default": {"$ref": f"{url}/default"}, "x-a": {"$schema": f"{url}/x", "$id": f"{url}/y"}}
    yield {"enum": [{"$ref": f"{url}/enum", "$schema": f"{url}/enum"}], "const": {"$id": f"{url}/const", "$ref": "c"}}
    yield {"contentSchema": {"$ref": f"{url}/content"}, "examples": [{"$ref": f"{url}/example"}]}
    yield {"$vocabulary": {f"{url}/vocabulary": True}}


def test_no_schema_makes_the_kernel_call_anyone() -> None:
    with canary() as (url, asked):
        pinned = 0
        for schema in calls_home(url):
            called = {"type": "object", **schema}
            for schemas in ({"inputSchema": called}, {"inputSchema": {"type": "object"}, "outputSchema": called}):
                try:
                    tool = entry("t", {"name": "t", **schemas})
                    catalog = EMPTY.with_server(server_doc("s", {"kind": "mcp-stdio", "command": ["x"], "env": []}, [tool]))
                except Refused:
                    continue
                pinned += 1
                admit(b'{"tool":"s/t","arguments":{"a":{}}}', catalog)
                with suppress(Refused):
                    release(catalog.tools["s/t"], b'{"content":[],"structuredContent":{"a":{}}}')
        assert pinned == 6  # those that hold an address only where nothing reads it
        assert asked == []


def test_the_validator_is_offline_also_without_the_vetting() -> None:
    with canary() as (url, asked):
        for dialect in Dialect:
            for closed in (False, True):
                with pytest.raises(Refused):
                    _compile({"$ref": f"{url}/ref"}, dialect, closed)
        assert asked == []


def test_the_canary_hears_a_validator_that_calls_home() -> None:
    with canary() as (url, asked):
        jsonschema_rs.Draft202012Validator({"$ref": f"{url}/ref"})
        assert asked == ["/ref"]
