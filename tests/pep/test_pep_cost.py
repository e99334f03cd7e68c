"""What validating may cost is bounded: when pinned for one value, per call for depth, size and text."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.pep.closing import closing
from helm_ai_kernel.pep.cost import BUDGET_NS, VISIT_NS, cost, measure
from helm_ai_kernel.pep.keyword import Edge
from helm_ai_kernel.pep.schema import Schema
from helm_ai_kernel.pep.vet import Pointer, Vetted, vet
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import DEPTH_MAX, Json


def wrapped(value: Json, levels: int, key: str = "a") -> Json:
    for _ in range(levels):
        value = {key: value}
    return value


def optional(levels: int) -> dict[str, Any]:
    """An object that may be null, in which one may be null, …; the second branch keeps the first from being all there is."""
    definitions: dict[str, Any] = {"o0": {"type": "integer"}}
    for level in range(levels):
        inner = {"type": "object", "properties": {"a": {"$ref": f"#/$defs/o{level}"}}}
        other = {"type": "object", "properties": {"b": {}}, "required": ["b"]}
        definitions[f"o{level + 1}"] = {"anyOf": [inner, other, {"type": "null"}]}
    return {"$defs": definitions, "properties": {"a": {"$ref": f"#/$defs/o{levels}"}}}


def visits(vetted: Vetted, closed: frozenset[Pointer], pointer: Pointer, value: Json) -> int:
    """A model that asks as the engine does at worst: every subschema, and all that applies to one value twice where closed."""
    place = vetted.places[pointer]
    again = 1 + (pointer in closed or any(step.keyword.startswith("unevaluated") for step in place.steps))
    count = 1
    for step in place.steps:
        if step.edge is Edge.HERE:
            count += again * visits(vetted, closed, step.target, value)
        elif step.keyword == "propertyNames" and type(value) is dict:
            count += sum(visits(vetted, closed, step.target, name) for name in value)
        elif step.edge is Edge.OBJECT and type(value) is dict:
            named = [value[step.name]] if step.name in value else []
            below = named if step.keyword == "properties" else list(value.values())
            count += sum(visits(vetted, closed, step.target, item) for item in below)
        elif step.edge is Edge.ARRAY and type(value) is list:
            below = value if step.name is None else value[int(step.name) : int(step.name) + 1]
            count += sum(visits(vetted, closed, step.target, item) for item in below)
    return count


NAMES = ("a", "b")
REFS = st.sampled_from([{"$ref": "#/$defs/x"}, {"$ref": "#/$defs/y"}, {"$ref": "#"}])


def combined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from(NAMES), inner | REFS, max_size=2),
            "patternProperties": st.dictionaries(st.sampled_from(["a", "^b"]), inner, max_size=1),
            "additionalProperties": inner | REFS,
            "propertyNames": inner,
            "items": inner | REFS,
            "prefixItems": several,
            "contains": inner,
            "allOf": several,
            "anyOf": several,
            "oneOf": several,
            "not": inner,
            "unevaluatedItems": inner,
        },
    )


LEAVES: st.SearchStrategy[Any] = st.sampled_from([{}, True, {"type": "integer"}, {"type": "object"}, {"maxLength": 2}])
SCHEMAS = st.recursive(LEAVES, combined, max_leaves=12)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([1, "a", None]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=2),
    max_leaves=8,
)


@given(SCHEMAS, SCHEMAS, SCHEMAS, VALUES, st.booleans())
@settings(deadline=None, max_examples=150)
def test_the_bound_is_never_below_what_a_model_counts(root: Any, x: Any, y: Any, value: Any, close: bool) -> None:
    schema = {"allOf": [root], "$defs": {"x": x, "y": y}}
    try:
        vetted = vet(schema)
        closed = closing(vetted) if close else frozenset[Pointer]()
        bound = cost(vetted, closed)
    except Refused:
        return  # a loop
    assert visits(vetted, closed, (), value) * VISIT_NS <= bound.bound_ns(value, 0)


@given(VALUES)
def test_a_value_is_measured_as_it_is(value: Any) -> None:
    def depth(node: Any) -> int:
        if type(node) not in (dict, list):
            return 0
        return 1 + max(map(depth, node.values() if type(node) is dict else node), default=0)

    def nodes(node: Any) -> int:
        if type(node) is dict:
            return 1 + sum(1 + nodes(item) for item in node.values())
        return 1 + sum(map(nodes, node)) if type(node) is list else 1

    assert measure(value) == (nodes(value), depth(value))


def test_what_doubles_with_the_depth_of_the_arguments_is_refused_where_they_are_deep() -> None:
    schema = Schema.pin(optional(24), closed=True)
    assert schema.violation(wrapped(None, 9), 99) is None
    violation = schema.violation(wrapped(None, 24), 199)
    assert violation is not None
    assert violation.reason is Reason.ERR_SCHEMA_BUDGET
    assert violation.sub == "time"


SELF = {"$ref": "#"}
TWICE = [
    ("two patterns", {"patternProperties": {"^a": SELF, "a$": SELF}}, "a"),
    ("a name and a pattern", {"properties": {"a": SELF}, "patternProperties": {"^a": SELF}}, "a"),
    ("two branches", {"allOf": [{"properties": {"a": SELF}}, {"properties": {"a": SELF}, "minProperties": 0}]}, "a"),
    ("a condition", {"if": {"properties": {"a": SELF}}, "then": {"properties": {"a": SELF}}}, "a"),
    ("a name and a dependency", {"properties": {"a": SELF}, "dependentSchemas": {"a": {"properties": {"a": SELF}}}}, "a"),
    ("a place and any", {"prefixItems": [SELF], "contains": SELF}, ""),
    ("any and any", {"items": SELF, "contains": SELF}, ""),
]


@pytest.mark.parametrize(("what", "schema", "key"), TWICE, ids=[what for what, _, _ in TWICE])
def test_recursion_that_visits_a_value_twice_is_bounded_by_depth(what: str, schema: Any, key: str) -> None:
    pinned = Schema.pin(schema, closed=False)

    def reason(levels: int) -> Reason:
        value: Json = wrapped({}, levels, key) if key else []
        for _ in range(0 if key else levels):
            value = [value]
        violation = pinned.violation(value, 400)
        return Reason.OK if violation is None else violation.reason

    assert reason(5) is not Reason.ERR_SCHEMA_BUDGET
    assert reason(40) is Reason.ERR_SCHEMA_BUDGET


def test_recursion_by_different_names_is_not() -> None:
    schema = Schema.pin(
        {"allOf": [{"properties": {"a": SELF}}, {"properties": {"b": SELF}}], "properties": {"c": SELF}}, closed=False
    )
    assert schema.violation(wrapped(wrapped({}, 20, "a"), 20, "b"), 1 << 20) is None


def test_a_recursive_choice_is_bounded_and_not_refused() -> None:
    tree = {"type": "object", "properties": {"op": {}, "all": {"items": {"$ref": "#"}}, "none": {"items": {"$ref": "#"}}}}
    schema = Schema.pin({**tree, "anyOf": [{"required": ["all"]}, {"required": ["none"]}]}, closed=True)
    value: Json = {"all": []}
    for _ in range(20):
        value = {"none": [value, {"all": []}]}
    assert schema.violation(value, 999) is None


@pytest.mark.parametrize("closed", [False, True])
def test_a_chain_that_visits_each_value_once_is_never_out_of_budget(closed: bool) -> None:
    node = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}, "v": {}}}
    schema = Schema.pin({"$defs": {"n": node}, "$ref": "#/$defs/n"}, closed=closed)
    assert schema.violation(wrapped(None, DEPTH_MAX - 1, "next"), 1 << 20) is None


def test_a_large_text_is_no_reason_to_refuse() -> None:
    properties = {f"p{n}": {"anyOf": [{"type": "string", "pattern": "^[a-z]{1,64}$"}, {"type": "null"}]} for n in range(50)}
    schema = Schema.pin({"type": "object", "properties": {**properties, "content": {"type": "string"}}}, closed=True)
    assert schema.violation({"content": "a" * 1_000_000, "p0": "a"}, 1_000_030) is None


def test_a_costly_pattern_bounds_the_text() -> None:
    schema = Schema.pin({"type": "object", "properties": {"p": {"pattern": "(a|b)*a(a|b){200}c"}}}, closed=False)
    assert schema.violation({"p": "ab" * 100}, 208) is not None  # checked, and wrong
    violation = schema.violation({"p": "ab" * 400_000}, 800_008)
    assert violation is not None
    assert violation.reason is Reason.ERR_SCHEMA_BUDGET


def test_a_large_enum_of_objects_weighs_more_than_one_of_strings() -> None:
    plain = Schema.pin({"items": {"enum": [f"v{n}" for n in range(4000)]}}, closed=False)
    heavy = Schema.pin({"items": {"enum": [{"v": n} for n in range(4000)]}}, closed=False)
    values: list[Json] = [{"v": n % 4000} for n in range(40_000)]
    assert heavy.violation(values[:1000], 8000) is None
    over = heavy.violation(values, 400_000)
    assert over is not None and over.reason is Reason.ERR_SCHEMA_BUDGET
    assert plain.violation([f"v{n % 4000}" for n in range(40_000)], 400_000) is None


def test_the_budget_is_a_second() -> None:
    assert BUDGET_NS == 10**9
