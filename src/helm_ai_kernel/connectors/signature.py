"""A Python function as a tool: its definition is derived from its signature, and what has no exact schema is refused.

There is one table of types, and each row says both how a value looks as JSON and how it becomes a Python value again. A
constraint that cannot be expressed is never dropped silently: a wider schema than the author wrote would be a hole.
"""

import dataclasses
import enum
import inspect
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical

DEPTH_MAX = 16  # of an annotation; a class that contains itself ends here
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")
_TYPES = "str, int, float, bool, list[T], dict[str, T], T | None, Literal, Enum, a dataclass or a TypedDict"

Build = Callable[[Json], object]


class Unbound(Refused):
    """These arguments do not fit the function, which did not begin."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a type looks as JSON, and how such a value becomes one of it; `build` raises ValueError for any other."""

    schema: dict[str, Json]
    build: Build


@dataclass(frozen=True, slots=True)
class Signature:
    raw: dict[str, Json]  # name, description, inputSchema, and outputSchema where the return type is annotated
    params: Shape

    def bind(self, args: bytes) -> dict[str, Any]:
        """Keyword arguments; raises `Unbound(ERR_SCHEMA_VIOLATION)`, which the PEP has made impossible for what it pinned."""
        try:
            bound = self.params.build(parse(args, bytes_max=len(args)))
        except (ValueError, Refused) as error:
            raise Unbound(Reason.ERR_SCHEMA_VIOLATION, str(error), sub="arguments") from None
        return typing.cast(dict[str, Any], bound)


def derive(function: Callable[..., object], name: str | None = None) -> Signature:
    """Raises `Refused(ERR_SCHEMA_UNSAFE)`, with what to write instead, for a signature that has no exact schema."""
    name = name or str(getattr(function, "__name__", ""))
    if not _NAME.match(name):
        raise _refused(f"`{name[:64]}` is not a tool name", "give the function a name of letters, digits, `_`, `-` and `.`")
    hints = _hints(function)
    fields: dict[str, tuple[Shape, bool]] = {}
    for parameter in inspect.signature(function).parameters.values():
        where = f"parameter `{parameter.name}` of `{name}`"
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise _refused(f"{where} has no name of its own in a call", "replace it by named parameters")
        if parameter.name not in hints:
            raise _refused(f"{where} has no annotation", f"annotate it with {_TYPES}")
        shape = _shape(hints[parameter.name], where)
        required = parameter.default is parameter.empty
        fields[parameter.name] = (shape if required else _with_default(shape, parameter.default), required)
    params = _object(fields, dict)
    raw: dict[str, Json] = {"name": name, "description": inspect.getdoc(function) or "", "inputSchema": params.schema}
    output = hints.get("return", Any)
    if output is not Any:
        raw["outputSchema"] = _shape(output, f"the return type of `{name}`").schema
    return Signature(raw, params)


def _shape(annotation: Any, where: str, depth: int = 0) -> Shape:
    if depth > DEPTH_MAX:
        raise _refused(f"{where} is nested deeper than {DEPTH_MAX}, or contains itself", "flatten it")
    for kind, scalar in _SCALARS:
        if annotation is kind:
            return scalar
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _annotated(annotation, where, depth)
    if origin in (typing.Union, types.UnionType):
        return _optional(arguments, where, depth)
    if origin is typing.Literal:
        return _choice([(value, value) for value in arguments], where)
    if origin is list:
        return _list(_shape(arguments[0], where, depth + 1))
    if origin is dict and arguments[0] is str:
        return _map(_shape(arguments[1], where, depth + 1))
    if isinstance(annotation, enum.EnumMeta):
        members: list[enum.Enum] = list(annotation)
        return _choice([(member.value, member) for member in members], where)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return _dataclass(annotation, where, depth)
    if typing.is_typeddict(annotation):
        return _typed_dict(annotation, where, depth)
    raise _refused(f"{where}: `{_text(annotation)}` has no exact schema", f"use {_TYPES}")


def _exactly(*kinds: type) -> Build:
    def build(value: Json) -> object:
        if type(value) not in kinds:
            raise ValueError(f"not of type {kinds[0].__name__}")
        return value

    return build


def _float(value: Json) -> object:
    if type(value) is not float and type(value) is not int:
        raise ValueError("not a number")
    return float(value)


_SCALARS: tuple[tuple[Any, Shape], ...] = (
    (str, Shape({"type": "string"}, _exactly(str))),
    (int, Shape({"type": "integer"}, _exactly(int))),
    (float, Shape({"type": "number"}, _float)),
    (bool, Shape({"type": "boolean"}, _exactly(bool))),
    (type(None), Shape({"type": "null"}, _exactly(type(None)))),
)


def _annotated(annotation: Any, where: str, depth: int) -> Shape:
    inner, *notes = typing.get_args(annotation)
    if len(notes) != 1 or type(notes[0]) is not str:
        raise _refused(f"{where}: only one description can stand in `Annotated`", "check other constraints in the function")
    shape = _shape(inner, where, depth + 1)
    return Shape({**shape.schema, "description": notes[0]}, shape.build)


def _optional(arguments: tuple[Any, ...], where: str, depth: int) -> Shape:
    others = [argument for argument in arguments if argument is not type(None)]
    if len(others) != 1 or len(others) == len(arguments):
        raise _refused(f"{where}: a union has more than one meaning", "only `T | None` is possible")
    inner = _shape(others[0], where, depth + 1)
    schema: dict[str, Json] = {"anyOf": [inner.schema, {"type": "null"}]}
    return Shape(schema, lambda value: None if value is None else inner.build(value))


def _choice(members: list[tuple[Any, object]], where: str) -> Shape:
    values = [value for value, _ in members]
    if not values or not all(type(value) in (str, int, bool, type(None)) for value in values):
        raise _refused(f"{where}: a choice of other values than strings, integers and booleans", "use strings")
    by_text = {canonical(value): member for value, member in members}  # in Python, 1 equals True

    def build(value: Json) -> object:
        text = canonical(value)
        if text not in by_text:
            raise ValueError("not one of the choices")
        return by_text[text]

    return Shape({"enum": values}, build)


def _list(item: Shape) -> Shape:
    def build(value: Json) -> object:
        if type(value) is not list:
            raise ValueError("not a list")
        return [item.build(element) for element in value]

    return Shape({"type": "array", "items": item.schema}, build)


def _map(item: Shape) -> Shape:
    def build(value: Json) -> object:
        if type(value) is not dict:
            raise ValueError("not an object")
        return {key: item.build(element) for key, element in value.items()}

    return Shape({"type": "object", "additionalProperties": item.schema}, build)


def _dataclass(kind: type, where: str, depth: int) -> Shape:
    hints = _hints(kind)
    fields: dict[str, tuple[Shape, bool]] = {}
    for field in dataclasses.fields(kind):
        if not field.init:
            continue
        shape = _shape(hints[field.name], f"{where}, field `{field.name}`", depth + 1)
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        fields[field.name] = (shape if required else _with_default(shape, field.default), required)
    return _object(fields, kind)


def _typed_dict(kind: Any, where: str, depth: int) -> Shape:
    fields: dict[str, tuple[Shape, bool]] = {}
    for name, hint in _hints(kind).items():
        required = name in kind.__required_keys__
        if typing.get_origin(hint) in (typing.Required, typing.NotRequired):  # where annotations are strings the class misses it
            required = typing.get_origin(hint) is typing.Required
            hint = typing.get_args(hint)[0]
        fields[name] = (_shape(hint, f"{where}, key `{name}`", depth + 1), required)
    return _object(fields, dict)


def _object(fields: dict[str, tuple[Shape, bool]], make: Callable[..., object]) -> Shape:
    """A closed object; `make` gets its members as keywords."""
    required = {name for name, (_, needed) in fields.items() if needed}

    def build(value: Json) -> object:
        if type(value) is not dict or not required <= value.keys() <= fields.keys():
            raise ValueError("not an object with exactly these members")
        return make(**{name: fields[name][0].build(item) for name, item in value.items()})

    schema: dict[str, Json] = {
        "type": "object",
        "properties": {name: shape.schema for name, (shape, _) in fields.items()},
        "required": [*sorted(required)],
        "additionalProperties": False,
    }
    return Shape(schema, build)


def _with_default(shape: Shape, default: object) -> Shape:
    """A default is part of what a tool does: a change of it changes the pin. Only where JSON has no word for it, it cannot."""
    value = default.value if isinstance(default, enum.Enum) else default
    if type(value) not in (str, int, float, bool):
        return shape
    try:
        canonical(typing.cast(Json, value))
    except Refused:
        return shape
    return Shape({**shape.schema, "default": typing.cast(Json, value)}, shape.build)


def _hints(thing: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(thing, include_extras=True)
    except (NameError, TypeError, SyntaxError, AttributeError) as error:
        cause = f"{type(error).__name__.lower()}: {error}"[:120]
        raise _refused(
            f"the annotations of `{_text(thing)}` do not evaluate: {cause}", "define what they name at module level"
        ) from None


def _text(thing: Any) -> str:
    return str(getattr(thing, "__name__", thing))[:64]


def _refused(detail: str, hint: str) -> Refused:
    return Refused(Reason.ERR_SCHEMA_UNSAFE, detail, sub="signature", hint=hint)
