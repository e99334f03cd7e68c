from decimal import Decimal
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.guardian.rules import Read
from helm_ai_kernel.guardian.schema import (
    ITEMS_MAX,
    LONG_MAX,
    LONG_MIN,
    Record,
    Scalar,
    SetOf,
    Want,
    arguments_type,
    decimal,
    project,
)
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused

WHOLE = Want(whole=True)
LONG, STRING, BOOLEAN, DECIMAL = Scalar("Long"), Scalar("String"), Scalar("Boolean"), Scalar("decimal")


def typed(schema: Any, **root: Any) -> Any:
    return arguments_type({"type": "object", "properties": {"a": schema}, **root}).fields["a"]


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "integer"}, LONG),
        ({"type": "string", "enum": ["a"], "minLength": 1}, STRING),
        ({"type": "boolean"}, BOOLEAN),
        ({"type": "number"}, DECIMAL),
        ({"type": "array", "items": {"type": "string"}}, SetOf(STRING)),
        ({"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}, SetOf(SetOf(LONG))),
        ({"type": "object", "properties": {"b": {"type": "string"}}, "additionalProperties": False}, Record({"b": STRING})),
        (
            {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"], "unevaluatedProperties": False},
            Record({"b": STRING}, frozenset({"b"})),
        ),
        ({"type": "object", "properties": {"b": {"type": "null"}}, "additionalProperties": False}, Record({"b": None})),
        ({"$ref": "#/$defs/name"}, STRING),
        ({"$ref": "#/definitions/old"}, LONG),
        ({"$ref": "#/$defs/chain"}, STRING),
    ],
)
def test_what_cedar_can_hold_has_a_type(schema: Any, kind: Any) -> None:
    defs = {"name": {"type": "string"}, "chain": {"$ref": "#/$defs/name"}}
    assert typed(schema, **{"$defs": defs, "definitions": {"old": {"type": "integer"}}}) == kind


@pytest.mark.parametrize(
    "schema",
    [
        True, False, None, {}, [], "string",
        {"type": "null"}, {"type": ["string", "null"]}, {"type": ["string"]}, {"enum": ["a"]}, {"const": 1},
        {"anyOf": [{"type": "string"}, {"type": "null"}]}, {"oneOf": [{"type": "string"}]},
        {"type": "object"}, {"type": "object", "properties": {"b": {"type": "string"}}},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {}, "additionalProperties": False, "patternProperties": {"x": {}}},
        {"type": "array"}, {"type": "array", "items": True}, {"type": "array", "items": [{"type": "string"}]},
        {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "string"}},
        {"type": "array", "items": {"type": "null"}},
        {"$ref": "#/$defs/gone"}, {"$ref": "#"}, {"$ref": "other.json#/$defs/name"}, {"$ref": "#/$defs/loop"}, {"$ref": 1},
    ],
)  # fmt: skip
def test_what_cedar_cannot_hold_has_none(schema: Any) -> None:
    defs = {"name": {"type": "string"}, "loop": {"$ref": "#/$defs/loop"}}
    assert typed(schema, **{"$defs": defs}) is None


def test_a_property_that_cedar_would_read_as_an_escape_has_no_type() -> None:
    assert arguments_type({"type": "object", "properties": {"__entity": {"type": "string"}}}) == Record({"__entity": None})


def test_recursive_and_doubling_schemas_end() -> None:
    closed = {"type": "object", "additionalProperties": False}
    tree = {**closed, "properties": {"l": {"$ref": "#/$defs/tree"}, "r": {"$ref": "#/$defs/tree"}}}
    assert typed({"$ref": "#/$defs/tree"}, **{"$defs": {"tree": tree}}) is not None
    bomb = {str(n): {**closed, "properties": {k: {"$ref": f"#/$defs/{n + 1}"} for k in "abcdefgh"}} for n in range(12)}
    assert typed({"$ref": "#/$defs/0"}, **{"$defs": bomb}) is not None


@pytest.mark.parametrize(
    "root", [{}, {"type": "string"}, {"type": "object", "properties": []}, {"anyOf": []}, {"type": ["object"]}]
)
def test_a_root_that_is_no_object_has_no_arguments(root: dict[str, Any]) -> None:
    assert arguments_type(root) == Record({})


@settings(deadline=None)
@given(st.integers(LONG_MIN - 3, LONG_MIN + 3) | st.integers(LONG_MAX - 3, LONG_MAX + 3) | st.integers())
def test_an_integer_is_a_long_exactly_within_64_bits(value: int) -> None:
    if LONG_MIN <= value <= LONG_MAX:
        assert project(value, LONG, WHOLE) == value
    else:
        with pytest.raises(Refused) as refused:
            project(value, LONG, WHOLE)
        assert (refused.value.reason, refused.value.sub) == (Reason.ERR_POLICY_ERROR, "unheld args")


EDGE = [
    922337203685477.5,
    922337203685477.6,
    922337203685478.0,
    1e15,
    1e16,
    0.0001,
    0.00011,
    1e-5,
    0.1,
    -0.5,
    5e-324,
    1.7e308,
    19.99,
]
NUMBERS = st.floats() | st.integers() | st.sampled_from([*EDGE, *(-edge for edge in EDGE)])
NUMBERS |= st.integers(-(10**9), 10**9).map(lambda n: n / 10**4) | st.integers(LONG_MAX - 10**6, LONG_MAX).map(
    lambda n: n // 10**4
)


@settings(deadline=None)
@given(NUMBERS)
def test_a_number_is_a_decimal_exactly_when_its_text_has_four_places_and_fits(value: float) -> None:
    text = decimal(value)
    exact = Decimal(repr(value)) if value - value == 0 else None
    fits = exact is not None and exact == round(exact, 4) if exact is not None and abs(exact) < 10**20 else False
    assert (text is not None) == (fits and exact is not None and LONG_MIN <= exact * 10**4 <= LONG_MAX)
    if text is not None:
        assert Decimal(text) == exact


@settings(deadline=None)
@given(st.integers(-(10**18), 10**18).map(lambda n: n / 10**4).filter(lambda x: decimal(x) is not None))
def test_cedar_reads_the_decimal_that_was_written(value: float) -> None:
    request = {"principal": 'A::"a"', "action": 'Action::"a"', "resource": 'A::"a"'}
    context = {"x": project(value, DECIMAL, WHOLE)}
    rule = f'permit(principal, action, resource) when {{ context.x == decimal("{decimal(value)}") }};'
    assert cedarpy.is_authorized({**request, "context": context}, rule, []).allowed


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=6,
)
TYPES = st.recursive(
    st.sampled_from([LONG, STRING, BOOLEAN, DECIMAL]),
    lambda inner: inner.map(SetOf) | st.dictionaries(st.sampled_from(["a", "b"]), st.none() | inner, max_size=2).map(Record),
    max_leaves=4,
)


def fits(value: Any, kind: Any) -> bool:
    """The definition, once more: does all of the value have the type?"""
    if isinstance(kind, SetOf):
        return isinstance(value, list) and all(fits(item, kind.element) for item in value)
    if isinstance(kind, Record):
        return isinstance(value, dict) and all(fits(value[name], kind.fields.get(name)) for name in value)
    if kind == LONG:
        return type(value) is int and LONG_MIN <= value <= LONG_MAX
    if kind == DECIMAL:
        return type(value) in (int, float) and decimal(value) is not None
    return kind is not None and type(value) is {"String": str, "Boolean": bool}[kind.name]


def plain(value: Any) -> Any:
    """A projection back to JSON, decimals as their text."""
    if isinstance(value, dict):
        return Decimal(value["__extn"]["arg"]) if "__extn" in value else {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return Decimal(repr(value)) if isinstance(value, float) else value


@settings(deadline=None)
@given(VALUES, TYPES)
def test_what_is_read_whole_is_projected_whole_or_refused(value: Any, kind: Any) -> None:
    if fits(value, kind):
        assert plain(project(value, kind, WHOLE)) == plain(value)
    else:
        with pytest.raises(Refused) as refused:
            project(value, kind, WHOLE)
        assert refused.value.sub.startswith("unheld args")


def test_only_what_is_read_is_projected_and_only_that_can_refuse() -> None:
    kind = Record({"a": LONG, "b": Record({"c": STRING, "d": None}), "e": None})
    want = Want.of([Read(("a",), True), Read(("b", "c"), True)])
    value: Any = {"a": 1, "b": {"c": "x", "d": None, "zz": 1}, "e": None, "zz": None}
    assert project(value, kind, want) == {"a": 1, "b": {"c": "x"}}
    assert project({"b": {}}, kind, want) == {"b": {}}
    for wrong, sub in [({"a": "1"}, "unheld args.a"), ({"b": 5}, "unheld args.b"), ({"b": {"c": None}}, "unheld args.b.c")]:
        with pytest.raises(Refused) as refused:
            project(wrong, kind, want)  # type: ignore[arg-type]
        assert refused.value.sub == sub


@settings(deadline=None)
@given(st.permutations(["d", "a", "c", "b"]), st.permutations(["d", "a", "c", "b"]))
def test_what_does_not_fit_is_reported_by_name_in_any_order_of_reads_and_values(reads: list[str], names: list[str]) -> None:
    kind, value = Record(dict.fromkeys("abcd", LONG)), {name: 1 if name == "a" else None for name in names}
    for want in (Want.of(Read((name,), True) for name in reads), WHOLE):
        with pytest.raises(Refused) as refused:
            project(value, kind, want)  # type: ignore[arg-type]
        assert refused.value.sub == "unheld args.b"


def test_a_set_of_more_elements_than_cedar_takes_in_good_time_is_not_held() -> None:
    kind, read = Record({"a": SetOf(Scalar("decimal"))}), Want.of([Read(("a",), True)])
    assert len(project({"a": [1.5] * ITEMS_MAX}, kind, read)["a"]) == ITEMS_MAX  # type: ignore[arg-type,call-overload,index]
    with pytest.raises(Refused) as refused:
        project({"a": [1.5] * (ITEMS_MAX + 1)}, kind, read)
    assert refused.value.sub == "unheld args.a"
    assert project({"a": [1.5] * (ITEMS_MAX + 1)}, kind, Want()) == {}  # what no rule reads is not looked at


def test_asking_whether_an_argument_is_there_refuses_where_it_is_and_has_no_type() -> None:
    kind = Record({"a": Record({"b": LONG})})
    asks = Want.of([Read(("a",), False), Read(("zz",), False)])
    assert project({"a": {"b": 1}}, kind, asks) == {"a": {}}
    with pytest.raises(Refused) as refused:
        project({"a": {}, "zz": 1}, kind, asks)
    assert refused.value.sub == "unheld args.zz"


def test_a_name_that_only_the_caller_wrote_is_not_repeated() -> None:
    with pytest.raises(Refused) as refused:
        project({"secret-name": 1}, Record({"a": LONG}), WHOLE)
    assert "secret" not in refused.value.sub + refused.value.detail
