"""Where a closed schema is closed: at the root, and at each described object that does not say itself what else it may hold.

`unevaluatedProperties: false` belongs beside *everything* that describes the same object. In a branch of an `allOf` it would
refuse what the other branches describe, so it stands at the property, unless a single branch describes all there is: then it
stands there, which means the same, asks nothing twice, and shows the type of the object to those who read it.
"""

from .keyword import Edge
from .vet import Pointer, Step, Vetted

# What describes the values of a property or of items. `not`, `if`, `contains` and `propertyNames` ask: nothing closes below them.
_POSITIONS = frozenset(
    {
        "properties", "patternProperties", "additionalProperties", "unevaluatedProperties", "items", "prefixItems",
        "additionalItems", "unevaluatedItems",
    }
)  # fmt: skip
_ASKS = frozenset({"not", "if", "contains", "propertyNames", "$ref"})  # what is behind a `$ref` is visited where it stands
_SAYS = frozenset({"additionalProperties", "unevaluatedProperties"})
_SPEAKS = _SAYS | {"properties", "patternProperties"}


def closing(vetted: Vetted) -> frozenset[Pointer]:
    """The places that get `unevaluatedProperties: false`."""
    describes = _with(vetted, {"properties"})
    speaks = _with(vetted, _SPEAKS)
    refs = {pointer: step.target for pointer, place in vetted.places.items() for step in place.steps if step.keyword == "$ref"}
    alone = set(refs.values())  # definitions that are only ever the whole description of an object
    while True:
        closed, passed_on = _spread(vetted, describes, speaks, alone)
        shared = {target for pointer, target in refs.items() if pointer not in passed_on}
        if not alone & shared:
            return frozenset(closed)
        alone -= shared


def _with(vetted: Vetted, keywords: set[str] | frozenset[str]) -> set[Pointer]:
    """Places that have one of `keywords`, themselves or in what applies to the same value."""
    found: set[Pointer] = set()
    for pointer in vetted.order:
        schema, steps = vetted.places[pointer].schema, vetted.places[pointer].steps
        here = {step.target for step in steps if step.edge is Edge.HERE and step.keyword != "not"}
        if type(schema) is dict and (schema.keys() & keywords or here & found):
            found.add(pointer)
    return found


def _spread(
    vetted: Vetted, describes: set[Pointer], speaks: set[Pointer], alone: set[Pointer]
) -> tuple[set[Pointer], set[Pointer]]:
    """The places to close, and the places whose `$ref` took it on."""
    closed: set[Pointer] = set()
    passed_on: set[Pointer] = set()
    stack: list[tuple[Pointer, bool]] = [((), True)]
    while stack:
        pointer, position = stack.pop()
        stack += [(s.target, s.keyword in _POSITIONS) for s in vetted.places[pointer].steps if s.keyword not in _ASKS]
        while position:
            schema = vetted.places[pointer].schema
            if type(schema) is not dict or schema.keys() & _SAYS or (pointer and pointer not in describes):
                break
            step = _only(vetted, pointer, speaks) if pointer in describes else None
            if step is None or (step.keyword == "$ref" and step.target not in alone):
                closed.add(pointer)
                break
            if step.keyword == "$ref":
                passed_on.add(pointer)
            pointer = step.target
    return closed, passed_on


def _only(vetted: Vetted, pointer: Pointer, speaks: set[Pointer]) -> Step | None:
    """The step to the one place that says all about an object here; None where this place, or more than one, does."""
    schema, steps = vetted.places[pointer].schema, vetted.places[pointer].steps
    speaking = [step for step in steps if step.edge is Edge.HERE and step.target in speaks]
    if type(schema) is not dict or schema.keys() & _SPEAKS or len(speaking) != 1:
        return None
    step = speaking[0]
    if step.keyword in ("$ref", "allOf"):
        return step
    others = [other.target for other in steps if other.keyword == step.keyword and other is not step]
    return step if step.keyword in ("anyOf", "oneOf") and all(_is_no_object(vetted, other) for other in others) else None


def _is_no_object(vetted: Vetted, pointer: Pointer) -> bool:
    """Whether no object keeps this schema, as far as its `type` says."""
    schema = vetted.places[pointer].schema
    kinds = schema.get("type") if type(schema) is dict else None
    return (type(kinds) is str and kinds != "object") or (type(kinds) is list and "object" not in kinds)
