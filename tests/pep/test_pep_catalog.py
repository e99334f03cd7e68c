"""The catalogue: one canonical document, exact keys, pins that are computed and never believed."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.pep import cost, pattern, tool, vet
from helm_ai_kernel.pep.admit import admit
from helm_ai_kernel.pep.catalog import EMPTY, Catalog, entry, server_doc
from helm_ai_kernel.tcb.call import Effect, Refusal
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.jcs import canonical

PAGE = Path(__file__).resolve().parent.parent.parent / "docs/spec/catalog.md"
PYTHON = {"kind": "python", "module": "shop.tools"}
STDIO = {"kind": "mcp-stdio", "command": ["uvx", "mcp-server-time"], "env": ["TZ"]}
OBJECT = {"type": "object"}


def raw(name: str = "pay", **more: Any) -> dict[str, Any]:
    return {"name": name, "description": "Pay someone.", "inputSchema": OBJECT, **more}


def doc(*entries: dict[str, Any], server: str = "shop", source: dict[str, Any] = PYTHON) -> dict[str, Any]:
    return server_doc(server, source, entries or [entry("pay", raw())])


def refused(work: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        work()
    return caught.value


def test_an_unclassified_tool_is_destructive_and_the_other_defaults_are_the_careful_ones() -> None:
    catalog = EMPTY.with_server(doc())
    pay = catalog.tools["shop/pay"]
    assert pay.effect is Effect.DESTRUCTIVE
    assert (pay.closed, pay.key_required, pay.labels, pay.destinations, pay.accept_formats) == (True, False, (), (), ())
    assert (pay.wall_ms, pay.output_bytes) == (30_000, 1 << 20)
    assert (pay.kind, pay.output, pay.input_schema) == ("python", None, {"type": "object", "unevaluatedProperties": False})
    assert catalog.sources == {"shop": PYTHON}


def test_what_a_person_says_about_a_tool_is_what_is_in_force() -> None:
    said = entry(
        "pay", raw(), effect=Effect.PAYMENT, labels=["money", "eu"], destinations=["api.example.com:443"], wall_ms=5,
        output_bytes=9, require_key=True, closed=False, accept_formats=["int32"],
    )  # fmt: skip
    pay = EMPTY.with_server(doc(said)).tools["shop/pay"]
    assert (pay.effect, pay.labels, pay.destinations) == (Effect.PAYMENT, ("eu", "money"), ("api.example.com:443",))
    assert (pay.wall_ms, pay.output_bytes, pay.key_required, pay.closed, pay.accept_formats) == (5, 9, True, False, ("int32",))


def test_the_pin_covers_every_byte_of_the_definition_and_not_its_order() -> None:
    given_ = raw(title="Pay", annotations={"readOnlyHint": True}, outputSchema=OBJECT, _meta={"any": [1, "x"]})
    first = entry("pay", given_)
    assert first["pin"] == digest(canonical(given_))
    assert entry("pay", dict(reversed(given_.items())))["pin"] == first["pin"]
    pins = {first["pin"]}
    for name in given_.keys() - {"inputSchema"}:
        pins.add(entry("pay", {**given_, name: "changed"})["pin"])
        pins.add(entry("pay", {key: value for key, value in given_.items() if key != name})["pin"])
    pins.add(entry("pay", {**given_, "inputSchema": {"type": "object", "description": ""}})["pin"])
    assert len(pins) == 2 * (len(given_) - 1) + 2


def test_the_definition_is_kept_untouched_and_apart_from_the_callers() -> None:
    mine = raw(annotations={"title": "t"}, inputSchema={"type": "object", "properties": {"a": {"type": "string"}}, "x-b": 1})
    before = copy.deepcopy(mine)
    catalog = EMPTY.with_server(doc(entry("pay", mine), source=STDIO))
    assert mine == before
    mine["inputSchema"]["properties"].clear()
    assert catalog.tools["shop/pay"].raw == before


NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True)
TOOLS = st.from_regex(r"[A-Za-z0-9_.-]{1,128}", fullmatch=True)


@given(st.dictionaries(NAMES, st.sets(TOOLS, max_size=2), max_size=3), st.data())
@settings(deadline=None, max_examples=25)
def test_a_catalogue_is_its_document_whatever_the_order_it_was_built_in(servers: dict[str, set[str]], data: Any) -> None:
    def build(names: list[str]) -> Catalog:
        catalog = EMPTY
        for server in names:
            tools = data.draw(st.permutations(sorted(servers[server])))
            catalog = catalog.with_server(server_doc(server, PYTHON, [entry(name, raw(name)) for name in tools]))
        return catalog

    one, other = build(sorted(servers)), build(data.draw(st.permutations(sorted(servers))))
    assert one.document == other.document
    assert one.digest == other.digest == digest(one.document)
    again = Catalog.from_bytes(one.to_bytes())
    assert again.tools.keys() == {f"{server}/{name}" for server, names in servers.items() for name in names}
    assert again.digest == one.digest
    for server in servers:
        one = one.without_server(server)
    assert one.document == EMPTY.document


def test_a_server_takes_the_place_of_the_one_of_its_name() -> None:
    catalog = EMPTY.with_server(doc()).with_server(doc(entry("get", raw("get"))))
    assert list(catalog.tools) == ["shop/get"]
    assert catalog.without_server("other").digest == catalog.digest


def test_nothing_of_a_catalogue_can_be_changed() -> None:
    catalog = EMPTY.with_server(doc())
    for change in (
        lambda: catalog.tools.__setitem__("a", 1),  # type: ignore[attr-defined]
        lambda: setattr(catalog, "digest", ""),
        lambda: setattr(catalog.tools["shop/pay"], "effect", Effect.READ),
    ):
        with pytest.raises((AttributeError, TypeError)):
            change()


SERVER_NAMES = ["", "Shop", "-a", "_a", "a/b", "a b", "a.b", "a" * 65, "a\n", "ä", 7, None]
TOOL_NAMES = ["", "a b", "a/b", "a\n", "ä", "a" * 129, "pay ", "p\u0430y", "a\u200d", "%2f", 7, None]
WRONG: list[tuple[str, Any]] = [
    *((f"server name {name!r}", lambda d, name=name: d.update(server=name)) for name in SERVER_NAMES),
    *((f"tool name {name!r}", lambda d, name=name: (tool_of(d).update(name=name), pinned(d, name=name))) for name in TOOL_NAMES),
    *((f"without {key}", lambda d, key=key: d.pop(key)) for key in ("v", "server", "source", "tools")),
    *((f"a tool without {key}", lambda d, key=key: tool_of(d).pop(key)) for key in entry("pay", raw())),
    ("an unknown key", lambda d: d.update(more=1)),
    ("an unknown key of a tool", lambda d: tool_of(d).update(more=1)),
    ("version 2", lambda d: d.update(v=2)),
    ("version true", lambda d: d.update(v=True)),
    ("tools that are no list", lambda d: d.update(tools={})),
    ("a tool twice", lambda d: d["tools"].append(d["tools"][0])),
    ("tools out of order", lambda d: d["tools"].insert(0, entry("zap", raw("zap")))),
    ("a pin of something else", lambda d: tool_of(d).update(pin=digest(b""))),
    ("a pin that is no digest", lambda d: tool_of(d).update(pin="sha256:0")),
    ("a definition that changed", lambda d: tool_of(d)["raw"].update(description="Pay me.")),
    ("a definition of another tool", lambda d: pinned(d, name="other")),
    ("another dialect", lambda d: tool_of(d).update(dialect="draft-07")),
    ("an unknown dialect", lambda d: tool_of(d).update(dialect="draft-04")),
    ("an unknown effect", lambda d: tool_of(d).update(effect="harmless")),
    ("closed as a number", lambda d: tool_of(d).update(closed=1)),
    ("require_key as a word", lambda d: tool_of(d).update(require_key="yes")),
    ("labels out of order", lambda d: tool_of(d).update(labels=["b", "a"])),
    ("a label twice", lambda d: tool_of(d).update(labels=["a", "a"])),
    ("a label with a space", lambda d: tool_of(d).update(labels=["a b"])),
    ("too many labels", lambda d: tool_of(d).update(labels=[f"{n:03}" for n in range(65)])),
    ("a destination with a space", lambda d: tool_of(d).update(destinations=["a b"])),
    ("a destination that is no string", lambda d: tool_of(d).update(destinations=[1])),
    ("a format with a space", lambda d: tool_of(d).update(accept_formats=["a b"])),
    ("no time", lambda d: tool_of(d).update(limits={"wall_ms": 0, "output_bytes": 1})),
    ("a day", lambda d: tool_of(d).update(limits={"wall_ms": 86_400_000, "output_bytes": 1})),
    ("too much output", lambda d: tool_of(d).update(limits={"wall_ms": 1, "output_bytes": (1 << 24) + 1})),
    ("true as a limit", lambda d: tool_of(d).update(limits={"wall_ms": True, "output_bytes": 1})),
    ("an unknown limit", lambda d: tool_of(d).update(limits={"wall_ms": 1, "output_bytes": 1, "fuel": 1})),
    ("a definition without a schema", lambda d: pinned(d, inputSchema=None)),
    ("a schema that is no object's", lambda d: pinned(d, inputSchema={"type": "string"})),
    ("a schema of several types", lambda d: pinned(d, inputSchema={"type": ["object", "null"]})),
    ("a schema that is a boolean", lambda d: pinned(d, inputSchema=True)),
    ("a function with more than a function has", lambda d: pinned(d, annotations={})),
    ("a function without words", lambda d: pinned(d, description=None)),
    ("a source of an unknown kind", lambda d: d.update(source={"kind": "http"})),
    ("a source that is no object", lambda d: d.update(source="python")),
    ("a module that is a path", lambda d: d.update(source={"kind": "python", "module": "../x"})),
    ("a module and more", lambda d: d.update(source={"kind": "python", "path": "x"})),
    ("no command", lambda d: d.update(source={**STDIO, "command": []})),
    ("a command in one string", lambda d: d.update(source={**STDIO, "command": "uvx x"})),
    ("an empty word", lambda d: d.update(source={**STDIO, "command": ["uvx", ""]})),
    ("a word with a zero byte", lambda d: d.update(source={**STDIO, "command": ["uvx\0"]})),
    ("no env", lambda d: d.update(source={"kind": "mcp-stdio", "command": ["x"]})),
    ("a value in env", lambda d: d.update(source={**STDIO, "env": ["TOKEN=secret"]})),
    ("env as an object", lambda d: d.update(source={**STDIO, "env": {"TOKEN": "secret"}})),
]


def tool_of(document: dict[str, Any]) -> dict[str, Any]:
    return document["tools"][0]


def pinned(document: dict[str, Any], **changes: Any) -> None:
    """The definition changed, and its pin with it."""
    definition = {**tool_of(document)["raw"], **changes}
    definition = {key: value for key, value in definition.items() if value is not None}
    tool_of(document).update(raw=definition, pin=digest(canonical(definition)))


@pytest.mark.parametrize(("what", "change"), WRONG, ids=[what for what, _ in WRONG])
def test_what_is_not_exactly_a_server_is_refused(what: str, change: Any) -> None:
    document = json.loads(json.dumps(doc()))
    EMPTY.with_server(document)
    change(document)
    error = refused(lambda: EMPTY.with_server(document))
    assert (error.reason, error.sub) == (Reason.ERR_SCHEMA_UNSAFE, "catalog")
    assert error.hint


def test_an_unsafe_schema_says_whose_it_is() -> None:
    for which in ("inputSchema", "outputSchema"):
        error = refused(lambda which=which: EMPTY.with_server(doc(entry("pay", raw(**{which: {**OBJECT, "requierd": []}})))))
        assert (error.reason, error.sub) == (Reason.ERR_SCHEMA_UNSAFE, "keyword")
        assert f"`{which}` of `pay`" in error.detail
        assert "`requierd`" in error.detail


@pytest.mark.parametrize(
    ("document", "sub"),
    [
        (b'{"servers":[],"v":1} ', "catalog"),
        (b'{"v":1,"servers":[]}', "catalog"),
        (b'{"servers":[],"v":1.0}', "catalog"),
        (b'{"servers":{},"v":1}', "catalog"),
        (b"[]", "catalog"),
        (b'{"servers":[],"servers":[],"v":1}', "dup_key"),
        (b"", "syntax"),
    ],
)
def test_a_document_that_is_not_canonical_is_refused(document: bytes, sub: str) -> None:
    assert refused(lambda: Catalog.from_bytes(document)).sub == sub


def test_servers_out_of_order_or_twice_are_refused() -> None:
    one, two = doc(server="a"), doc(server="b")
    for servers in ([two, one], [one, one]):
        document = canonical({"v": 1, "servers": json.loads(json.dumps(servers))})
        assert refused(lambda document=document: Catalog.from_bytes(document)).sub == "catalog"


def test_the_dialect_of_the_input_schema_is_recorded_and_the_output_schema_says_its_own() -> None:
    old = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
    made = entry("pay", raw(inputSchema=old, outputSchema={"prefixItems": [True]}))
    assert made["dialect"] == "draft-07"
    pay = EMPTY.with_server(doc(made)).tools["shop/pay"]
    assert pay.output is not None
    assert (pay.dialect, pay.input.dialect, pay.output.dialect) == ("draft-07", "draft-07", "2020-12")


def examples() -> list[Any]:
    return [json.loads(text) for text in re.findall(r"^```json\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)]


def test_the_first_example_of_the_page_can_be_pinned_as_it_stands() -> None:
    first = examples()[0]
    catalog = EMPTY.with_server(first)
    assert json.loads(catalog.document) == {"v": 1, "servers": [first]}
    assert first == server_doc(first["server"], first["source"], [rebuilt(item) for item in first["tools"]])
    assert catalog.digest in PAGE.read_text("utf-8")


def test_the_table_of_the_page_is_what_happens() -> None:
    catalog = EMPTY.with_server(examples()[0])
    rows = re.findall(r"^\| `(\{\"to\".*?\})` \| (?:`(.*?)` )?\|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(rows) == 9
    for arguments, sub in rows:
        admitted = admit(b'{"tool":"bank/send_money","arguments":%s}' % arguments.encode(), catalog)
        assert (admitted.sub if isinstance(admitted, Refusal) else "") == sub


def rebuilt(item: dict[str, Any]) -> dict[str, Any]:
    said = ("effect", "labels", "destinations", "require_key", "closed", "accept_formats")
    return entry(item["name"], item["raw"], **item["limits"], **{name: item[name] for name in said})


def test_the_page_lists_every_sub_reason_and_every_bound() -> None:
    text = PAGE.read_text("utf-8")
    source = "".join(path.read_text("utf-8") for path in Path(vet.__file__).parent.glob("*.py"))
    subs = set(re.findall(r'refuse\(\s*"([a-z_0-9]+)"', source)) | set(re.findall(r'sub="([a-z_0-9]+)"', source))
    assert {"keyword", "ref", "ref_loop", "expansion", "pattern", "format", "catalog"} <= subs
    assert {sub for sub in subs if f"| `{sub}` |" not in text} == set()
    bounds = [vet.BYTES_MAX, vet.PLACES_MAX, vet.DEPTH_MAX, vet.CHAIN_MAX, vet.PATTERNS_MAX, cost.TESTS_MAX, pattern.CHARS_MAX]
    bounds += [pattern.PROGRAM_BYTES_MAX, tool.OUTPUT_BYTES_MAX, tool.WALL_MS_MAX, tool.WALL_MS, tool.OUTPUT_BYTES, tool.LIST_MAX]
    assert [bound for bound in bounds if f"{bound:,}" not in text] == []


NULLS: dict[str, Any] = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "loud": {"type": "boolean"}, "times": {"type": "integer"}},
    "required": ["text"],
}


def test_arguments_take_null_only_where_a_person_said_so_by_name() -> None:
    given_ = raw(inputSchema=NULLS)
    strict = EMPTY.with_server(doc(entry("pay", given_))).tools["shop/pay"]
    wider = EMPTY.with_server(doc({**entry("pay", given_), "nullable": ["loud"]})).tools["shop/pay"]
    for args, by_schema, said in (
        ({"text": "x", "loud": None}, False, True),
        ({"text": "x", "loud": True}, True, True),
        ({"text": "x", "loud": "x"}, False, False),
        ({"text": "x", "times": None}, False, False),
        ({"text": None}, False, False),
    ):
        assert (strict.input.violation(args, 99) is None, wider.input.violation(args, 99) is None) == (by_schema, said), args
    assert wider.raw == strict.raw and wider.pin == strict.pin


@pytest.mark.parametrize("names", [["text"], ["other"], ["loud", "loud"], ["times", "loud"], [], "loud", [7]])
def test_what_is_no_argument_that_may_be_left_out_takes_no_null(names: Any) -> None:
    assert refused(lambda: EMPTY.with_server(doc({**entry("pay", raw(inputSchema=NULLS)), "nullable": names}))).sub == "catalog"


def test_an_argument_that_is_referred_to_takes_no_null() -> None:
    shared = {**NULLS, "properties": {**NULLS["properties"], "again": {"$ref": "#/properties/loud"}}}
    assert (
        refused(lambda: EMPTY.with_server(doc({**entry("pay", raw(inputSchema=shared)), "nullable": ["loud"]}))).sub == "catalog"
    )
