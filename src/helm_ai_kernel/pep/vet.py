"""What a schema must be before it can be pinned: everything in it is known, bounded, and found in the same document.

Validators ignore what they do not know and fetch what they do not have; a typo then opens a hole and a `$ref` calls a stranger.
So a schema is vetted as it is written, before any validator sees it. `docs/spec/catalog.md` is the specification.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn
from urllib.parse import unquote

import jsonschema_rs

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical

from .keyword import ANNOTATIONS, EDGES, FORMATS, KEYWORDS, MAPS, META, NAMED, REBASING, URIS, Dialect, Edge
from .pattern import weigh

BYTES_MAX = 1 << 18  # of one schema; the largest in wide use (whole APIs as one tool) are about 100 KiB
PLACES_MAX = 4096  # subschemas; vetting stays below a second
DEPTH_MAX = 32  # subschemas inside each other; people write up to 10
CHAIN_MAX = 32  # subschemas for the same value that lead to each other, by `$ref` or `allOf`
PATTERNS_MAX = 128  # each is compiled several times

Pointer = tuple[str, ...]


class Step(NamedTuple):
    edge: Edge
    keyword: str
    name: str | None  # the one property or position that it applies to
    target: Pointer


@dataclass(slots=True)
class Place:
    """One subschema, the steps that lead on from it, and what its patterns cost per byte of text."""

    schema: Json  # a dict or a bool
    steps: list[Step] = field(default_factory=list)
    text_ns: int = 0


@dataclass(frozen=True, slots=True)
class Vetted:
    """A schema that may be compiled. `order` has every place after the places that apply to the same value."""

    dialect: Dialect
    places: Mapping[Pointer, Place]
    order: tuple[Pointer, ...]

    def keywords(self) -> set[str]:
        return {keyword for place in self.places.values() if type(place.schema) is dict for keyword in place.schema}


def vet(schema: Json, *, accept_formats: tuple[str, ...] = ()) -> Vetted:
    """Raises `Refused(ERR_SCHEMA_UNSAFE)`; its sub-reason is a row of the table in `docs/spec/catalog.md`."""
    if type(schema) is not dict:
        refuse("shape", "the schema is not an object")
    if len(canonical(schema)) > BYTES_MAX:
        refuse("size", f"the schema is longer than {BYTES_MAX} bytes", "pin a smaller tool")
    dialect = dialect_of(schema)
    _check_shape(schema, dialect)
    places = _walk(schema, dialect, accept_formats)
    for pointer, place in places.items():
        if type(place.schema) is dict and "$ref" in place.schema:
            place.steps.append(Step(Edge.HERE, "$ref", None, _target(str(place.schema["$ref"]), pointer, places)))
    return Vetted(dialect, places, _ordered(places))


def dialect_of(schema: Mapping[str, Json]) -> Dialect:
    uri = schema.get("$schema", META[Dialect.CURRENT])
    if type(uri) is not str or uri.removesuffix("#") not in URIS:
        refuse("dialect", f"`$schema` is `{str(uri)[:64]}`", "only JSON Schema 2020-12 and draft-07 can be pinned")
    return URIS[uri.removesuffix("#")]


def refuse(sub: str, detail: str, hint: str = "correct the schema upstream, then pin again") -> NoReturn:
    raise Refused(Reason.ERR_SCHEMA_UNSAFE, detail, sub=sub, hint=hint)


def at(pointer: Pointer) -> str:
    """An RFC 6901 pointer in backticks, cut to what a person reads."""
    return "`/" + "/".join(token.replace("~", "~0").replace("/", "~1") for token in pointer)[:160] + "`"


def _check_shape(schema: dict[str, Json], dialect: Dialect) -> None:
    """Against the dialect's own metaschema, which is built in; the URI is ours, because an unknown one would be fetched."""
    told = {**schema, "$schema": META[dialect]}
    if not jsonschema_rs.meta.is_valid(told):
        refuse("shape", f"the schema is not one of {dialect.value}: a keyword has a value that it cannot have")


def _walk(schema: dict[str, Json], dialect: Dialect, accept_formats: tuple[str, ...]) -> dict[Pointer, Place]:
    places: dict[Pointer, Place] = {}
    patterns = 0
    stack: list[tuple[Pointer, Json, int]] = [((), schema, 1)]
    while stack:
        pointer, node, depth = stack.pop()
        place = places[pointer] = Place(node)
        if depth > DEPTH_MAX or len(places) > PLACES_MAX:
            refuse("depth", f"more than {DEPTH_MAX} schemas inside each other, or {PLACES_MAX} in all", "pin a smaller tool")
        if type(node) is not dict:
            continue
        for keyword, value in node.items():
            _check_keyword(keyword, value, node, pointer, dialect, accept_formats)
            weights = [weigh(text) for text in _patterns(keyword, value)]
            place.text_ns += sum(weights)
            patterns += len(weights)
            for name, child in subschemas(keyword, value):
                target = (*pointer, keyword) if name is None else (*pointer, keyword, name)
                place.steps.append(Step(EDGES[keyword], keyword, name if keyword in NAMED else None, target))
                stack.append((target, child, depth + 1))
        if patterns > PATTERNS_MAX:
            refuse("pattern", f"more than {PATTERNS_MAX} patterns", "pin a smaller tool")
    return places


def _patterns(keyword: str, value: Json) -> list[str]:
    if keyword == "pattern":
        return [str(value)]
    return list(value) if keyword == "patternProperties" and type(value) is dict else []


def subschemas(keyword: str, value: Json) -> Iterator[tuple[str | None, Json]]:
    """The schemas that are the value of `keyword`, with their names or positions."""
    if keyword in MAPS and type(value) is dict:
        yield from ((name, child) for name, child in value.items() if type(child) is not list)  # draft-07 `dependencies`
    elif keyword in EDGES and type(value) is list:
        yield from ((str(index), child) for index, child in enumerate(value))
    elif keyword in EDGES:
        yield None, value


def _check_keyword(
    keyword: str, value: Json, node: Mapping[str, Json], pointer: Pointer, dialect: Dialect, accept_formats: tuple[str, ...]
) -> None:
    if keyword in ANNOTATIONS or keyword.startswith("x-") or (keyword == "$schema" and not pointer):
        return
    if keyword in REBASING:
        refuse("ref", f"`{keyword}` at {at(pointer)} changes what a `$ref` means", "refer with `#/$defs/…` only")
    if keyword not in KEYWORDS[dialect]:
        refuse("keyword", f"`{keyword[:64]}` at {at(pointer)} is not a keyword of {dialect.value}, and would be ignored")
    if keyword == "format" and value not in FORMATS[dialect] and value not in accept_formats:
        hint = f"accept it as an annotation that nothing checks: `--accept-format {str(value)[:64]}`"
        refuse("format", f"the format `{str(value)[:64]}` at {at(pointer)} cannot be checked", hint)
    if keyword == "multipleOf" and type(value) is not int:
        refuse("multiple_of", f"`multipleOf` at {at(pointer)} is not a whole number: no two validators agree on others")
    beside = node.keys() - ANNOTATIONS - {"$ref", "$schema", "$defs", "definitions"}
    if keyword == "$ref" and dialect is Dialect.DRAFT_07 and any(not name.startswith("x-") for name in beside):
        refuse("ref", f"what stands beside `$ref` at {at(pointer)} is ignored by draft-07", "wrap the `$ref` in `allOf`")


def _target(ref: str, pointer: Pointer, places: Mapping[Pointer, Place]) -> Pointer:
    """The place that `ref` names (RFC 6901 §6); one that was vetted, so never an example or a default."""
    if ref == "#":
        return ()
    tokens = tuple(token.replace("~1", "/").replace("~0", "~") for token in unquote(ref[2:]).split("/"))
    if not ref.startswith("#/") or tokens not in places:
        refuse("ref", f"`$ref` at {at(pointer)} is `{ref[:64]}`", "only a schema in the same document can be named: `#/$defs/…`")
    return tokens


def _ordered(places: Mapping[Pointer, Place]) -> tuple[Pointer, ...]:
    """Every place after those that apply to the same value; refuses those that lead back to themselves without descending."""
    heights: dict[Pointer, int] = {}
    path: set[Pointer] = set()

    def visit(pointer: Pointer) -> int:
        if pointer in heights:
            return heights[pointer]
        if pointer in path or len(path) > CHAIN_MAX:
            refuse("ref_loop", f"{at(pointer)} leads back to itself, or on through more than {CHAIN_MAX} schemas, for one value")
        path.add(pointer)
        height = 1 + max((visit(step.target) for step in places[pointer].steps if step.edge is Edge.HERE), default=0)
        path.remove(pointer)
        if height > CHAIN_MAX:
            refuse("ref_loop", f"{at(pointer)} leads on through more than {CHAIN_MAX} schemas for one value")
        heights[pointer] = height
        return height

    for pointer in places:
        visit(pointer)
    return tuple(heights)
