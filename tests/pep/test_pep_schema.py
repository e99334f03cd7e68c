"""Schemas as they are enforced: closed where they describe an object, never weaker than written, explained without values."""

import copy
import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helm_ai_kernel.pep.closing import closing
from helm_ai_kernel.pep.schema import Schema
from helm_ai_kernel.pep.vet import Pointer, Vetted, vet
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json

DRAFT_07 = "http://json-schema.org/draft-07/schema#"


def keeps(schema: Schema, value: Any) -> bool:
    return schema.violation(value, len(json.dumps(value))) is None


def address(**more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"street": {"type": "string"}}, **more}


NULL = {"type": "null"}
REF = {"$ref": "#/$defs/A"}
OLD_REF = {"$ref": "#/definitions/A"}

# What is closed: (what, schema, values that are kept, values that are refused only because the schema is closed)
CLOSED: list[tuple[str, Any, list[Any], list[Any]]] = [
    ("the root", {"properties": {"a": {}}}, [{}, {"a": 1}], [{"b": 1}]),
    ("a root that describes nothing", {"type": "object"}, [{}], [{"b": 1}]),
    ("a property", {"properties": {"a": address()}}, [{"a": {"street": "x"}}], [{"a": {"streeet": "x"}}]),
    ("items", {"properties": {"a": {"items": address()}}}, [{"a": [{}]}], [{"a": [{}, {"x": 1}]}]),
    ("prefixItems", {"properties": {"a": {"prefixItems": [True, address()]}}}, [{"a": [{"x": 1}, {}]}], [{"a": [1, {"x": 1}]}]),
    ("values of a map", {"additionalProperties": address()}, [{"any": {}}], [{"any": {"x": 1}}]),
    ("a definition", {"$defs": {"A": address()}, "properties": {"a": REF}}, [{"a": {}}], [{"a": {"x": 1}}]),
    (
        "an optional object",
        {"$defs": {"A": address()}, "properties": {"a": {"anyOf": [REF, NULL]}}},
        [{"a": None}, {"a": {}}],
        [{"a": {"x": 1}}],
    ),
    (
        "a union",
        {
            "$defs": {"A": address(), "B": {"properties": {"b": {}}}},
            "properties": {"a": {"oneOf": [REF, {"$ref": "#/$defs/B", "required": ["b"]}]}},
        },
        [],
        [{"a": {"x": 1}}],
    ),
    (
        "what inherits",
        {"$defs": {"A": address()}, "properties": {"a": {"allOf": [REF, {"properties": {"no": {}}}]}}},
        [{"a": {"street": "x", "no": 1}}],
        [{"a": {"x": 1}}],
    ),
    (
        "what extends",
        {"$defs": {"A": address()}, "properties": {"a": {**REF, "properties": {"no": {}}}}},
        [{"a": {"street": "x", "no": 1}}],
        [{"a": {"x": 1}}],
    ),
    (
        "what is used alone and in allOf",
        {"$defs": {"A": address()}, "properties": {"a": REF, "b": {"allOf": [REF, {"properties": {"no": {}}}]}}},
        [{"b": {"street": "x", "no": 1}}, {"a": {"street": "x"}}],
        [{"a": {"no": 1}}, {"b": {"x": 1}}],
    ),
    (
        "what a condition adds",
        {"properties": {"a": {"properties": {"k": {}}, "if": {"required": ["k"]}, "then": {"properties": {"v": {}}}}}},
        [{"a": {"k": 1, "v": 1}}],
        [{"a": {"v": 1}}],
    ),
    (
        "what adds a pattern",
        {"$defs": {"A": address()}, "properties": {"a": {"allOf": [REF, {"patternProperties": {"^x": {}}}]}}},
        [{"a": {"xy": 1}}],
        [{"a": {"y": 1}}],
    ),
    (
        "a choice without words",
        {"$defs": {"A": address(minProperties=1)}, "properties": {"a": {"anyOf": [REF, {"required": ["x"]}]}}},
        [{"a": {"street": ""}}],
        [{"a": {"x": 1}}],
    ),
    ("recursion", {"properties": {"next": {"$ref": "#"}}}, [{"next": {"next": {}}}], [{"next": {"next": {"x": 1}}}]),
    (
        "below a branch",
        {"anyOf": [{"properties": {"a": address()}}, {"properties": {"b": address()}}]},
        [{"a": {}}, {"b": {}}],
        [{"a": {"x": 1}, "b": {"x": 1}}],
    ),
    (
        "draft-07",
        {"$schema": DRAFT_07, "definitions": {"A": address()}, "properties": {"a": OLD_REF, "b": {"items": [address()]}}},
        [{"a": {}}, {"b": [{}, {"x": 1}]}],
        [{"a": {"x": 1}}, {"b": [{"x": 1}]}, {"c": 1}],
    ),
    (
        "draft-07 with dependencies",
        {"$schema": DRAFT_07, "properties": {"a": {}}, "dependencies": {"a": {"properties": {"b": {}}}, "b": ["a"]}},
        [{"a": 1, "b": 1}],
        [{"a": 1, "c": 1}],
    ),
]


@pytest.mark.parametrize(("what", "schema", "kept", "refused"), CLOSED, ids=[case[0] for case in CLOSED])
def test_a_described_object_takes_nothing_else(what: str, schema: Any, kept: list[Any], refused: list[Any]) -> None:
    before = copy.deepcopy(schema)
    opened, closed = Schema.pin(schema, closed=False), Schema.pin(schema, closed=True)
    assert schema == before
    assert [value for value in kept if not keeps(closed, value) or not keeps(opened, value)] == []
    assert [value for value in refused if keeps(closed, value)] == []
    if what != "a union":
        assert [value for value in refused if not keeps(opened, value)] == []


OPEN: list[tuple[str, Any, Any]] = [
    ("what says so", {"properties": {"a": address(additionalProperties=True)}}, {"a": {"x": 1}}),
    ("what says what else", {"properties": {"a": address(unevaluatedProperties={"type": "integer"})}}, {"a": {"x": 1}}),
    ("a root that says so", {"additionalProperties": True}, {"x": 1}),
    ("an object that is not described", {"properties": {"a": {"type": "object"}}}, {"a": {"x": 1}}),
    ("anything", {"properties": {"a": {}, "b": True}}, {"a": {"x": 1}, "b": {"x": 1}}),
    (
        "a described object or any other",
        {
            "properties": {
                "a": {
                    "anyOf": [
                        address(required=["street"], additionalProperties=False),
                        {"type": "object", "additionalProperties": True},
                    ]
                }
            }
        },
        {"a": {"x": 1}},
    ),
    (
        "what is asked by contains",
        {"properties": {"a": {"contains": address(required=["street"])}}},
        {"a": [{"street": "x", "y": 1}]},
    ),
    ("what is asked by if", {"properties": {"a": {}}, "if": {"properties": {"a": address()}}, "else": False}, {"a": {"x": 1}}),
    (
        "what is asked by not",
        {"properties": {"a": {"not": {"properties": {"b": address(required=["x"])}, "required": ["b"]}}}},
        {"a": {}},
    ),
]


@pytest.mark.parametrize(("what", "schema", "value"), OPEN, ids=[case[0] for case in OPEN])
def test_what_says_otherwise_or_describes_nothing_stays_open(what: str, schema: Any, value: Any) -> None:
    assert keeps(Schema.pin(schema, closed=True), value)


def test_closing_never_lets_in_what_the_schema_keeps_out() -> None:
    # Closing the second branch alone would leave one match, and a `oneOf` of one match is kept.
    schema = {"properties": {"a": {"oneOf": [{"properties": {"b": {"type": "object"}}}, {"properties": {"b": address()}}]}}}
    value = {"a": {"b": {"x": 1}}}
    assert not keeps(Schema.pin(schema, closed=False), value)
    assert not keeps(Schema.pin(schema, closed=True), value)


NAMES = st.sampled_from(["a", "b", "c"])
TYPES = st.sampled_from(
    [{"type": "integer"}, {"type": "null"}, {"type": "object"}, {}, {"minProperties": 1}, {"type": ["object", "null"]}]
)


def described(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner | st.sampled_from([{"$ref": "#/$defs/x"}, {"$ref": "#/$defs/y"}]), min_size=1, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.just("object"),
            "properties": st.dictionaries(NAMES, inner | st.just({"$ref": "#/$defs/x"}), max_size=2),
            "patternProperties": st.dictionaries(st.just("c"), inner, max_size=1),
            "additionalProperties": inner,
            "allOf": some,
            "anyOf": some,
            "oneOf": some,
            "if": inner,
            "then": inner,
            "$ref": st.sampled_from(["#/$defs/x", "#/$defs/y"]),
        },
    )


SCHEMAS = st.recursive(TYPES, described, max_leaves=6)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([1, None]), lambda v: st.dictionaries(NAMES, v, max_size=3), max_leaves=5
)
DOCUMENTS = st.fixed_dictionaries(
    {"properties": st.dictionaries(NAMES, SCHEMAS, max_size=2), "$defs": st.fixed_dictionaries({"x": SCHEMAS, "y": SCHEMAS})}
)


def vetted(schema: Any) -> Vetted | Refused:
    try:
        return vet(schema)
    except Refused as refused:
        return refused


def pinned(schema: Any, closed: bool) -> Schema | Refused:
    try:
        return Schema.pin(schema, closed=closed)
    except Refused as refused:
        return refused


@given(DOCUMENTS, VALUES)
@settings(deadline=None, max_examples=150)
def test_a_closed_schema_keeps_nothing_that_the_written_one_refuses(schema: Any, value: Any) -> None:
    assume(isinstance(vetted(schema), Vetted))  # not a loop
    written = jsonschema_rs.Draft202012Validator(schema, offline=True).is_valid(value)
    assert keeps(Schema.pin(schema, closed=False), value) is written
    assert not keeps(Schema.pin(schema, closed=True), value) or written


def closed_at_each_property(schema: Any) -> Any:
    """A model of closing: beside everything that describes the object, at each property, and nowhere else."""
    walked = vet(schema)
    told = copy.deepcopy(schema)
    describes: set[Pointer] = set()
    for pointer in walked.order:
        place = walked.places[pointer]
        here = {step.target for step in place.steps if step.edge == "here" and step.keyword != "not"}
        if type(place.schema) is dict and ("properties" in place.schema or here & describes):
            describes.add(pointer)

    def close(node: Any, pointer: Pointer, position: bool) -> None:
        if type(node) is not dict:
            return
        for keyword in node.keys() & {"properties", "patternProperties", "$defs"}:
            for name, child in node[keyword].items():
                close(child, (*pointer, keyword, name), keyword != "$defs")
        for keyword in node.keys() & {"allOf", "anyOf", "oneOf"}:
            for index, child in enumerate(node[keyword]):
                close(child, (*pointer, keyword, str(index)), False)
        for keyword in node.keys() & {"additionalProperties", "then"}:
            close(node[keyword], (*pointer, keyword), keyword != "then")
        if position and "additionalProperties" not in node and (not pointer or pointer in describes):
            node["unevaluatedProperties"] = False

    close(told, (), True)
    return told


@given(DOCUMENTS, VALUES)
@settings(deadline=None, max_examples=150)
def test_closing_a_definition_means_the_same_as_closing_each_property(schema: Any, value: Any) -> None:
    assume(isinstance(vetted(schema), Vetted))
    model = jsonschema_rs.Draft202012Validator(closed_at_each_property(schema), offline=True).is_valid(value)
    form = Schema.pin(schema, closed=True)._forms[-1].full.is_valid(value)
    assert form is model


def test_a_definition_that_is_only_ever_a_whole_object_is_closed_itself() -> None:
    schema = {"$defs": {"A": address()}, "properties": {"a": {"anyOf": [REF, NULL]}, "b": {"items": REF}}}
    assert closing(vet(schema)) == {(), ("$defs", "A")}
    assert Schema.pin(schema, closed=True).enforced["$defs"] == {"A": address(unevaluatedProperties=False)}
    shared = {**schema, "properties": {**schema["properties"], "c": {"allOf": [REF, {"properties": {}}]}}}
    assert ("$defs", "A") not in closing(vet(shared))


# What a refusal says: the keyword and its place in the schema.
SUBS: list[tuple[Any, Any, str]] = [
    ({"type": "object"}, [], "type at /type"),
    ({"required": ["a"]}, {}, "required at /required"),
    ({"properties": {"a": {"type": "integer"}}}, {"a": 1.5}, "type at /properties/a/type"),
    ({"properties": {"a~/b": {"const": 1}}}, {"a~/b": 2}, "const at /properties/a~0~1b/const"),
    ({"properties": {"a": {"items": {"format": "email"}}}}, {"a": ["x"]}, "format at /properties/a/items/format"),
    ({"properties": {"a": False}}, {"a": 1}, "falseSchema at /properties/a"),
    ({"$defs": {"n": {"maximum": 3}}, "properties": {"a": {"$ref": "#/$defs/n"}}}, {"a": 4}, "maximum at /$defs/n/maximum"),
    ({"properties": {"a": {"anyOf": [{"type": "string"}, NULL]}}}, {"a": 1}, "anyOf at /properties/a/anyOf"),
    ({"anyOf": [{}, {}], "properties": {"a": {"minLength": 2}}}, {"a": "x"}, "minLength at /properties/a/minLength"),
    (
        {"anyOf": [{"properties": {"a": {"minimum": 1}}, "type": "object"}, NULL]},
        {"a": 0},
        "minimum at /anyOf/0/properties/a/minimum",
    ),
    ({"oneOf": [{"properties": {"a": {"minimum": 1}}}, {"properties": {"a": {"minimum": 2}}}]}, {"a": 0}, "oneOf at /oneOf"),
    ({"oneOf": [{"minProperties": 0}, {"maxProperties": 1}]}, {"a": 0}, "oneOf at /oneOf"),
    ({"not": {"required": ["a"]}}, {"a": 1}, "not at /not"),
    ({"properties": {"a": {}}}, {"b": 1}, "unevaluatedProperties at /unevaluatedProperties"),
    ({"properties": {"a": {}}, "additionalProperties": False}, {"b": 1}, "additionalProperties at /additionalProperties"),
    (
        {"allOf": [{"$ref": "#/anyOf/0"}], "anyOf": [{"maxProperties": 1}]},
        {"a": 1, "b": 2},
        "maxProperties at /anyOf/0/maxProperties",
    ),
]


@pytest.mark.parametrize(("schema", "value", "sub"), SUBS, ids=[sub for _, _, sub in SUBS])
def test_a_violation_names_the_keyword_and_its_place_in_the_schema(schema: Any, value: Any, sub: str) -> None:
    violation = Schema.pin(schema, closed="unevaluated" in sub).violation(value, 20)
    assert violation is not None
    assert violation.reason is Reason.ERR_SCHEMA_VIOLATION
    assert violation.sub == sub


def test_a_hint_names_what_is_missing_and_what_is_too_much() -> None:
    schema = Schema.pin({"properties": {"a": {"required": ["b"]}}}, closed=True)
    missing, extra = schema.violation({"a": {}}, 8), schema.violation({"c": 1}, 8)
    assert missing is not None and missing.hint == "`/a` needs `b`"
    assert extra is not None and extra.hint == "`/` may not have `c`"


SECRET = "canary-7f3a"
HOLDERS = [
    {"properties": {"a": {"type": "integer"}}},
    {"properties": {"a": {"enum": ["x"]}}},
    {"properties": {"a": {"pattern": "^x"}}},
    {"additionalProperties": {"type": "integer"}},
    {"propertyNames": {"maxLength": 3}},
    {"additionalProperties": False},
    {"patternProperties": {"^c": {"type": "integer"}}},
    {"not": {}},
    {"properties": {"a": {"oneOf": [{"const": 1}, {"const": 2}]}}},
    {"properties": {"a": {"format": "date"}}},
    {"unevaluatedProperties": False},
    {"maxProperties": 0},
    {"dependentRequired": {"a": ["b"]}},
]


@pytest.mark.parametrize("schema", HOLDERS, ids=str)
def test_nothing_of_a_value_goes_into_the_sub_reason(schema: Any) -> None:
    pinned = Schema.pin(schema, closed=False)
    violations = [pinned.violation(value, 40) for value in ({"a": SECRET}, {SECRET: 1, "a": 1}, {SECRET: SECRET})]
    assert any(violations)
    assert SECRET not in "".join(violation.sub for violation in violations if violation is not None)


def test_a_sub_reason_fits_into_a_receipt() -> None:
    name = "p" * 300
    violation = Schema.pin({"properties": {name: {"type": "integer"}}}, closed=True).violation({name: ""}, 400)
    assert violation is not None and len(violation.sub) == 256
    many = Schema.pin({}, closed=True).violation({f"{n}" * 90: 1 for n in range(50)}, 9000)
    assert many is not None and len(many.hint) <= 400


def test_a_violation_that_is_costly_to_find_is_still_one() -> None:
    rows = {"items": {"anyOf": [{"properties": {f"c{n}": {"type": "integer"}}, "required": [f"c{n}"]} for n in range(30)]}}
    schema = Schema.pin({"properties": {"rows": rows, "n": {"type": "integer"}}}, closed=False)
    value: dict[str, Json] = {"rows": [{"c0": "x"} for _ in range(2000)], "n": 1}
    hidden, plain = schema.violation(value, 24_000), schema.violation({**value, "n": "x"}, 24_000)
    assert hidden is not None and (hidden.reason, hidden.sub) == (Reason.ERR_SCHEMA_VIOLATION, "schema")
    assert plain is not None and plain.sub == "type at /properties/n/type"


def test_validators_agree_with_json_on_what_python_confuses() -> None:
    pin = Schema.pin({"properties": {"n": {"enum": [1, False]}, "m": {"multipleOf": 3}, "u": {"uniqueItems": True}}}, closed=True)
    assert keeps(pin, {"n": 1, "m": 9007199254740990, "u": [1, True, 0, False, "1"]})
    assert not keeps(pin, {"n": True})
    assert not keeps(pin, {"n": 0})
    assert not keeps(pin, {"m": 9007199254740991})
    assert not keeps(pin, {"u": [{"a": 1, "b": 2}, {"b": 2, "a": 1}]})


def test_an_integer_has_no_fraction_and_true_is_none() -> None:
    schema = Schema.pin({"type": "integer", "minimum": 0}, closed=False)
    assert [keeps(schema, value) for value in (0, 1.0, 1.5, True, "1", None, -1)] == [
        True,
        True,
        False,
        False,
        False,
        False,
        False,
    ]


JSONS: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, True, False, 0, 2, 0.5, "", "a", "object", "#", "#/$defs/x", "date", "^a$", DRAFT_07]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "properties",
                    "items",
                    "anyOf",
                    "$ref",
                    "$defs",
                    "x",
                    "enum",
                    "format",
                    "pattern",
                    "dependencies",
                    "required",
                    "$schema",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(JSONS, st.booleans(), JSONS)
@settings(deadline=None, max_examples=200)
def test_any_json_is_pinned_or_refused_and_then_decides(schema: Any, closed: bool, value: Any) -> None:
    schema_or_refused = pinned(schema, closed)
    if isinstance(schema_or_refused, Refused):
        assert schema_or_refused.reason is Reason.ERR_SCHEMA_UNSAFE
        assert schema_or_refused.sub
    else:
        violation = schema_or_refused.violation(value, 50)
        assert violation is None or violation.sub
