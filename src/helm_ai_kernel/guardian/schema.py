"""What Cedar sees of a call: a type for each tool's arguments, made from its pinned schema, and the values that have it.

Cedar holds strings, booleans, 64-bit integers, decimals of four places, sets and records. What a pinned schema allows beyond
that (null, unions, open objects, `anyOf`, …) has no type and cannot be read by a rule; a value that does not fit its type
refuses the call as soon as a rule reads it. Nothing is rounded, and nothing that a rule reads is left out in silence: a
`forbid` that does not see its argument would be an allow.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from helm_ai_kernel.tcb.call import Effect
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json

from .rules import Read

TYPE_DEPTH_MAX = 16  # deeper than a person writes into a condition; ends recursive schemas
TYPE_NODES_MAX = 4096  # per tool; ends schemas that double with every `$ref`
ITEMS_MAX = 4096  # of a set that a rule reads: Cedar takes 50 us for each decimal, in the transaction that everyone waits for
LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1
DECIMAL_PLACES = 4

_SCALARS = {"string": "String", "integer": "Long", "boolean": "Boolean", "number": "decimal"}


class ToolFace(Protocol):
    """What the policy knows of a pinned tool."""

    @property
    def name(self) -> str: ...  # "server/tool"

    @property
    def effect(self) -> Effect: ...

    @property
    def input_schema(self) -> Mapping[str, Json]: ...  # as it is enforced


class CatalogFace(Protocol):
    @property
    def digest(self) -> Digest: ...

    @property
    def tools(self) -> Mapping[str, ToolFace]: ...


@dataclass(frozen=True, slots=True)
class Scalar:
    name: str  # String, Long, Boolean, decimal


@dataclass(frozen=True, slots=True)
class SetOf:
    element: "Type"


@dataclass(frozen=True, slots=True)
class Record:
    """`fields` has every declared property; None is one that Cedar cannot hold."""

    fields: Mapping[str, "Type | None"]
    required: frozenset[str] = frozenset()


Type = Scalar | SetOf | Record


@dataclass(slots=True)
class Want:
    """What rules read of a value: all of it, or only what is below."""

    whole: bool = False
    below: dict[str, "Want"] = field(default_factory=dict)

    @classmethod
    def of(cls, reads: Iterable[Read]) -> "Want":
        """In the order of names, so that of two values that do not fit a replay reports the same one."""
        root = cls()
        for read in sorted(reads, key=lambda read: read.path):
            node = root
            for name in read.path:
                node = node.below.setdefault(name, cls())
            node.whole = node.whole or read.whole
        return root


def arguments_type(schema: Mapping[str, Json]) -> Record:
    """The record of a tool's arguments; of an open root, too, what it declares."""
    reader = _Reader(schema)
    found = reader.record(schema, 0)
    return found if found is not None else Record({})


class _Reader:
    """One walk over one schema, with its bounds."""

    def __init__(self, root: Mapping[str, Json]) -> None:
        self._root = root
        self._left = TYPE_NODES_MAX

    def record(self, schema: Mapping[str, Json], depth: int) -> Record | None:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if schema.get("type") != "object" or type(properties) is not dict or type(required) is not list:
            return None
        typed = {name: None if name.startswith("__") else self._type(inner, depth + 1) for name, inner in properties.items()}
        return Record(typed, frozenset(name for name in required if type(name) is str and name in typed))

    def _type(self, schema: Json, depth: int) -> Type | None:
        self._left -= 1
        schema = self._followed(schema)
        if type(schema) is not dict or depth > TYPE_DEPTH_MAX or self._left < 0:
            return None
        kind = schema.get("type")
        if type(kind) is not str:
            return None
        if kind in _SCALARS:
            return Scalar(_SCALARS[kind])
        if kind == "array" and "prefixItems" not in schema and type(schema.get("items")) is dict:
            element = self._type(schema["items"], depth + 1)
            return None if element is None else SetOf(element)
        closed = schema.get("additionalProperties") is False or schema.get("unevaluatedProperties") is False
        return self.record(schema, depth) if kind == "object" and closed and "patternProperties" not in schema else None

    def _followed(self, schema: Json) -> Json:
        """The target of a plain `{"$ref": "#/$defs/name"}`; anything more is left to the validator, and untyped here."""
        for _ in range(TYPE_DEPTH_MAX):
            if type(schema) is not dict or "$ref" not in schema:
                return schema
            ref, target = schema["$ref"], None
            for place in ("$defs", "definitions"):
                names = self._root.get(place)
                if type(ref) is str and type(names) is dict and ref.startswith(f"#/{place}/"):
                    target = names.get(ref.removeprefix(f"#/{place}/"))
            schema = target
        return None


def cedar_type(kind: Type) -> dict[str, Json]:
    """In Cedar's JSON schema format; what it cannot hold is not in it."""
    match kind:
        case Scalar("decimal"):
            return {"type": "Extension", "name": "decimal"}
        case Scalar(name):
            return {"type": name}
        case SetOf(element):
            return {"type": "Set", "element": cedar_type(element)}
    held = {name: inner for name, inner in kind.fields.items() if inner is not None}
    return _record({name: {**cedar_type(inner), "required": name in kind.required} for name, inner in held.items()})


_STRINGS: dict[str, Json] = {"type": "Set", "element": {"type": "String"}}
CONTEXT: Mapping[str, dict[str, Json]] = {
    "destinations": _STRINGS,  # where the pin says that this tool may reach
    "door": {"type": "String"},  # the door through which the session came
    "labels": _STRINGS,  # the pin's labels
    "now": {"type": "Long"},  # Unix time in milliseconds, by the kernel's clock
    "touches_kernel": {"type": "Boolean"},  # the arguments name one of the kernel's directories
}


def cedar_schema(arguments: Mapping[str, Record], effects: Mapping[str, Effect]) -> dict[str, Json]:
    """The schema that rules are checked against. An effect class without tools is an action itself, or no rule could name it."""
    used = set(effects.values())
    actions: dict[str, Json] = {e.value: {} if e in used else {"appliesTo": _applies(Record({}))} for e in Effect}
    for tool, record in arguments.items():
        actions[tool] = {"memberOf": [{"id": effects[tool].value}], "appliesTo": _applies(record)}
    return {"": {"entityTypes": {"Agent": {}, "Server": {}}, "actions": actions}}


def _applies(arguments: Record) -> dict[str, Json]:
    context = _record({**CONTEXT, "args": cedar_type(arguments)})
    return {"principalTypes": ["Agent"], "resourceTypes": ["Server"], "context": context}


def _record(attributes: Mapping[str, Json]) -> dict[str, Json]:
    return {"type": "Record", "attributes": dict(attributes)}


def project(value: Json, kind: Type | None, want: Want, path: str = "args") -> Json:
    """`value` as Cedar reads it, as far as rules read it; raises `Refused(ERR_POLICY_ERROR)` for what does not fit its type.

    `path` is made of names that rules and pins have written, never of the caller's.
    """
    match kind:
        case Record() if type(value) is dict:
            return _fields(value, kind, want, path)
        case SetOf(element) if type(value) is list and len(value) <= ITEMS_MAX:
            return [project(item, element, Want(whole=True), path) for item in value]
        case Scalar("String") if type(value) is str:
            return value
        case Scalar("Boolean") if type(value) is bool:
            return value
        case Scalar("Long") if type(value) is int and LONG_MIN <= value <= LONG_MAX:
            return value
        case Scalar("decimal") if type(value) is int or type(value) is float:
            text = decimal(value)
            if text is not None:
                return {"__extn": {"fn": "decimal", "arg": text}}
    raise unheld(path)


def _fields(value: Mapping[str, Json], kind: Record, want: Want, path: str) -> dict[str, Json]:
    if not want.whole:
        read = [(name, inner) for name, inner in want.below.items() if name in value]
    elif value.keys() <= kind.fields.keys():
        read = [(name, Want(whole=True)) for name in sorted(value)]
    else:
        raise unheld(path)
    return {name: project(value[name], kind.fields.get(name), inner, f"{path}.{name}") for name, inner in read}


def unheld(path: str) -> Refused:
    return Refused(Reason.ERR_POLICY_ERROR, f"`{path}` has a value that cedar cannot hold", sub=f"unheld {path}"[:200])


def decimal(value: int | float) -> str | None:
    """Cedar's text of a number whose shortest JSON text has at most four places, else None. Integer arithmetic only."""
    if type(value) is int and not LONG_MIN <= value <= LONG_MAX:
        return None
    whole, _, places = repr(value).partition(".")
    if not (whole.removeprefix("-") + places).isdecimal() or len(places) > DECIMAL_PLACES:
        return None  # an exponent (beyond the range, or beyond four places), infinite, or no number
    scaled = int(whole + places.ljust(DECIMAL_PLACES, "0"))
    return f"{whole}.{places or '0'}" if LONG_MIN <= scaled <= LONG_MAX else None
