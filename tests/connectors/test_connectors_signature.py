"""A signature becomes an exact, closed schema, or is refused with what to write instead."""

import dataclasses
import enum
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helm_ai_kernel.connectors.output import encode
from helm_ai_kernel.connectors.signature import Unbound, derive
from helm_ai_kernel.pep.admit import admit
from helm_ai_kernel.pep.catalog import EMPTY, entry, server_doc
from helm_ai_kernel.tcb.call import Call, Effect, Refusal
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.tcb.jcs import canonical

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the first draw builds tables; machines are shared


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


@dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0
    tags: list[str] = dataclasses.field(default_factory=list)
    norm: float = dataclasses.field(init=False, default=0.0)


class Options(TypedDict):
    deep: bool
    limit: NotRequired[int]


class Partial(TypedDict, total=False):
    a: int


@dataclass
class Loop:
    next: "Loop | None"


class Pair(NamedTuple):
    a: int


def everything(
    text: Annotated[str, "what to write"],
    count: int,
    ratio: float,
    flag: bool,
    items: list[int],
    table: dict[str, list[float]],
    maybe: str | None,
    kind: Literal["a", 1, True],
    colour: Colour,
    point: Point,
    options: Options,
    partial: Partial,
    limit: int = 10,
    shade: Colour = Colour.RED,
    far: float = math.inf,
    none: str | None = None,
    *,
    level: Level = Level.LOW,
) -> Point | None:
    """Does everything.

    In two paragraphs.
    """
    return None


SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "description": "what to write"},
        "count": {"type": "integer"},
        "ratio": {"type": "number"},
        "flag": {"type": "boolean"},
        "items": {"type": "array", "items": {"type": "integer"}},
        "table": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "number"}}},
        "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "kind": {"enum": ["a", 1, True]},
        "colour": {"enum": ["red", "blue"]},
        "point": {
            "type": "object",
            "properties": {
                "x": {"type": "number"},
                "y": {"type": "number", "default": 0.0},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["x"],
            "additionalProperties": False,
        },
        "options": {
            "type": "object",
            "properties": {"deep": {"type": "boolean"}, "limit": {"type": "integer"}},
            "required": ["deep"],
            "additionalProperties": False,
        },
        "partial": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": [], "additionalProperties": False},
        "limit": {"type": "integer", "default": 10},
        "shade": {"enum": ["red", "blue"], "default": "red"},
        "far": {"type": "number"},
        "none": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "level": {"enum": [1], "default": 1},
    },
    "required": sorted(
        ["text", "count", "ratio", "flag", "items", "table", "maybe", "kind", "colour", "point", "options", "partial"]
    ),
    "additionalProperties": False,
}


def test_every_supported_type_has_its_exact_closed_schema() -> None:
    raw = derive(everything).raw
    assert raw["inputSchema"] == SCHEMA
    assert (raw["name"], raw["description"]) == ("everything", "Does everything.\n\nIn two paragraphs.")
    assert raw["outputSchema"] == {"anyOf": [SCHEMA["properties"]["point"], {"type": "null"}]}  # type: ignore[index]
    canonical(raw)  # it can be pinned


ARGS = {
    "text": "t", "count": 1, "ratio": 2, "flag": True, "items": [1], "table": {"k": [1]}, "maybe": None, "kind": True,
    "colour": "blue", "point": {"x": 1}, "options": {"deep": False}, "partial": {},
}  # fmt: skip


def test_arguments_become_values_of_the_annotated_types() -> None:
    bound = derive(everything).bind(canonical(ARGS))
    assert bound["ratio"] == 2.0 and type(bound["ratio"]) is float
    assert bound["kind"] is True and bound["colour"] is Colour.BLUE
    assert bound["point"] == Point(1.0) and bound["options"] == {"deep": False}
    assert "limit" not in bound  # the function's own default holds
    assert derive(everything).bind(canonical({**ARGS, "kind": 1}))["kind"] == 1


WRONG: list[dict[str, Any]] = [
    {"text": 1}, {"count": "1"}, {"count": True}, {"count": 1.5}, {"ratio": "1"}, {"ratio": True}, {"flag": 1}, {"items": {}},
    {"items": ["a"]}, {"table": []}, {"table": {"k": 1}}, {"maybe": 1}, {"kind": "b"}, {"colour": "RED"}, {"point": {}},
    {"point": {"x": 1, "z": 1}}, {"point": {"x": 1, "norm": 1}}, {"point": None}, {"options": {}},
    {"options": {"deep": True, "x": 1}}, {"more": 1}, {"limit": None},
]  # fmt: skip


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_arguments_that_do_not_fit_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Unbound) as refused:
        derive(everything).bind(canonical({**ARGS, **change}))
    assert (refused.value.reason, refused.value.sub) == (Reason.ERR_SCHEMA_VIOLATION, "arguments")


def test_the_pinned_schema_admits_exactly_what_the_function_takes() -> None:
    pinned = entry("everything", derive(everything).raw, effect=Effect.READ)
    catalog = EMPTY.with_server(server_doc("python", {"kind": "python"}, [pinned]))
    for change in [{}, {"kind": 1}, {"maybe": "x"}, {"limit": 3}, {"point": {"x": 1, "y": 2, "tags": ["a"]}}, *WRONG]:
        admitted = admit(canonical({"tool": "python/everything", "arguments": {**ARGS, **change}}), catalog)
        assert isinstance(admitted, Refusal if change in WRONG else Call), change


@pytest.mark.parametrize("args", [b"[]", b"null", b"{", b'{"a":1,"a":2}'])
def test_arguments_that_are_no_object_are_refused(args: bytes) -> None:
    with pytest.raises(Unbound):
        derive(everything).bind(args)


def test_a_function_without_anything_has_an_empty_closed_schema_and_no_output_schema() -> None:
    def nothing():  # type: ignore[no-untyped-def]
        pass

    empty = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    assert derive(nothing).raw == {"name": "nothing", "description": "", "inputSchema": empty}
    assert derive(nothing).bind(b"{}") == {}


def test_any_as_return_type_is_no_output_schema_and_none_is_null() -> None:
    def anything() -> Any: ...
    def none() -> None: ...

    assert "outputSchema" not in derive(anything).raw
    assert derive(none).raw["outputSchema"] == {"type": "null"}


def bad_bare(a): ...  # type: ignore[no-untyped-def]
def bad_any(a: Any) -> None: ...
def bad_object(a: object) -> None: ...
def bad_bytes(a: bytes) -> None: ...
def bad_tuple(a: tuple[int, ...]) -> None: ...
def bad_set(a: set[str]) -> None: ...
def bad_list(a: list) -> None: ...  # type: ignore[type-arg]
def bad_dict(a: dict) -> None: ...  # type: ignore[type-arg]
def bad_keys(a: dict[int, str]) -> None: ...
def bad_union(a: int | str) -> None: ...
def bad_union_none(a: int | str | None) -> None: ...
def bad_constraint(a: Annotated[int, 7]) -> None: ...
def bad_constraints(a: Annotated[int, "text", ["x"]]) -> None: ...
def bad_literal(a: Literal[b"x"]) -> None: ...
def bad_loop(a: Loop) -> None: ...
def bad_class(a: BaseException) -> None: ...
def bad_name(a: Pair) -> None: ...
def bad_forward(a: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821
def bad_args(*a: int) -> None: ...
def bad_kwargs(**a: int) -> None: ...
def bad_positional(a: int, /) -> None: ...
def bad_return() -> bytes: ...  # type: ignore[empty-body]


@pytest.mark.parametrize("name", [name for name in globals() if name.startswith("bad_")])
def test_a_signature_without_an_exact_schema_is_refused_with_a_hint(name: str) -> None:
    with pytest.raises(Refused) as refused:
        derive(globals()[name])
    assert refused.value.reason is Reason.ERR_SCHEMA_UNSAFE and refused.value.hint


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ü", "x" * 129, "<lambda>"])
def test_a_name_that_is_no_tool_name_is_refused(name: str) -> None:
    function = lambda: None  # noqa: E731
    function.__name__ = name
    with pytest.raises(Refused, match="tool name"):
        derive(function)


TEXT = st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def as_doubles(value: Any) -> Any:
    """RFC 8785 writes a double beyond 2^53 as an integer that is near it: the same double, another integer."""
    if isinstance(value, list):
        return [as_doubles(item) for item in value]
    if isinstance(value, dict):
        return {key: as_doubles(item) for key, item in value.items()}
    return float(value) if type(value) in (int, float) and abs(value) < 2**1000 else value


@CALM
@given(JSON)
def test_what_a_function_returns_is_written_so_that_the_contract_reader_gets_the_same_value(value: Any) -> None:
    written = encode(value)
    assert written is not None
    assert as_doubles(parse(written, any_number=True)) == as_doubles(value)


@CALM
@given(st.dictionaries(TEXT, st.integers() | TEXT, max_size=5))
def test_integers_of_any_size_are_written_whole_and_keys_in_canonical_order(value: dict[str, Any]) -> None:
    written = encode(value)
    assert written is not None and parse(written, any_number=True) == value
    assert list(parse(written, any_number=True)) == list(parse(canonical(dict.fromkeys(value))))  # type: ignore[arg-type]


def test_dataclasses_enums_and_tuples_are_written_as_their_schema_says() -> None:
    value = {"p": Point(1.0, tags=["a"]), "c": [Colour.RED, Level.LOW], "t": (1, 2**70)}
    assert encode(value) == b'{"c":["red",1],"p":{"tags":["a"],"x":1,"y":0},"t":[1,1180591620717411303424]}'


LOOP: list[Any] = []
LOOP.append(LOOP)
NOT_JSON = [
    b"x",
    {1, 2},
    float("nan"),
    float("inf"),
    "\ud800",
    {1: 2},
    {"\ud800": 2**70},
    {2**70: 2**70},
    object(),
    LOOP,
    Point,
    10**5000,
]


@pytest.mark.parametrize("value", NOT_JSON, ids=[str(index) for index in range(len(NOT_JSON))])
def test_what_json_does_not_have_is_not_written(value: object) -> None:
    assert encode(value) is None
    assert encode([2**70, value]) is None
