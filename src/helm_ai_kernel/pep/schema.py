"""A pinned schema as it is enforced: vetted, closed, compiled once, and asked with a bound on the cost.

The compiled forms hold nothing but the keywords that were vetted. A closed schema is enforced beside the one that was written,
never instead of it: closing a branch of a `oneOf` or a `not` would let values in that the tool's author keeps out.
"""

from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.ijson import Json

from .closing import closing
from .cost import BUDGET_NS, Cost, cost
from .keyword import EDGES, FORMATS, VALUES, Dialect, Edge
from .pattern import OPTIONS
from .vet import Pointer, Vetted, refuse, subschemas, vet

EXPLAIN_NS = BUDGET_NS // 10  # finding the first violation is slower than finding that there is one
CHOICES_NS = 50_000  # an error below `anyOf` or `oneOf` carries one for each branch and item, 17 µs each
SUB_MAX = 256  # what a receipt holds
HINT_MAX = 400

# What can be kept in more than one way, or by failing: its errors are costly, or say nothing.
_CHOICES = frozenset({"anyOf", "oneOf", "not", "if", "then", "else", "contains", "minContains", "maxContains"})


@dataclass(frozen=True, slots=True)
class Violation:
    """Why a value is refused: the code, `<keyword> at <pointer into the schema>`, and words for the caller."""

    reason: Reason
    sub: str
    hint: str


@dataclass(frozen=True, slots=True, eq=False)
class _Form:
    """One compiled form. `plain` is the same without choices, which makes its first error cheap to find."""

    full: jsonschema_rs.Validator
    plain: jsonschema_rs.Validator | None


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """`enforced` is the schema as it is enforced, for those who read types from it."""

    enforced: dict[str, Json]
    dialect: Dialect
    strict_numbers: bool  # `uniqueItems` takes quadratic time where integers beyond 2^53 are many
    _cost: Cost
    _forms: tuple[_Form, ...]

    @classmethod
    def pin(cls, schema: Json, *, closed: bool, accept_formats: tuple[str, ...] = ()) -> "Schema":
        """Raises `Refused(ERR_SCHEMA_UNSAFE)` for a schema that may not be pinned; never changes `schema`."""
        vetted = vet(schema, accept_formats=accept_formats)
        places = closing(vetted) if closed else frozenset()
        bound = cost(vetted, places)
        forms = [_form(vetted, frozenset())] + ([_form(vetted, places)] if places else [])
        return cls(_derive(vetted, (), places), vetted.dialect, "uniqueItems" in vetted.keywords(), bound, tuple(forms))

    def violation(self, value: Json, size: int) -> Violation | None:
        """None: `value`, of `size` bytes as JSON, keeps the schema."""
        if size * self._cost.byte_ns > BUDGET_NS and self._cost.bound_ns(value, size) > BUDGET_NS:
            hint = "send less at once, or nested less: checking this against the pinned schema could take too long"
            return Violation(Reason.ERR_SCHEMA_BUDGET, "time", hint)
        for form in self._forms:
            if not form.full.is_valid(value):
                return _explained(form, value, self._cost.bound_ns(value, size))
        return None


def _chooses(vetted: Vetted) -> set[Pointer]:
    """Places with a choice in them or in what applies to the same value."""
    found: set[Pointer] = set()
    for pointer in vetted.order:
        steps = vetted.places[pointer].steps
        here = {step.target for step in steps if step.edge is Edge.HERE}
        if here & found or any(step.keyword in _CHOICES for step in steps):
            found.add(pointer)
    return found


def _form(vetted: Vetted, closed: frozenset[Pointer]) -> _Form:
    full = _compile(_derive(vetted, (), closed), vetted.dialect, bool(closed))
    chooses = _chooses(vetted)
    if not chooses:
        return _Form(full, full)
    refs = [step.target for place in vetted.places.values() for step in place.steps if step.keyword == "$ref"]
    if any(_CHOICES & set(target) for target in refs):
        return _Form(full, None)  # a `$ref` into a choice would lead nowhere
    return _Form(full, _compile(_derive(vetted, (), closed, chooses), vetted.dialect, bool(closed)))


def _derive(vetted: Vetted, pointer: Pointer, closed: frozenset[Pointer], chooses: set[Pointer] | None = None) -> Any:
    """The schema without annotations; closed at `closed`; with `chooses`, also without choices and what depends on them."""
    node = vetted.places[pointer].schema
    if type(node) is not dict:
        return node
    unsettled = chooses is not None and pointer in chooses
    out: dict[str, Any] = {}
    for keyword, value in node.items():
        if unsettled and (keyword in _CHOICES or keyword.startswith("unevaluated")):
            continue
        if keyword in EDGES:
            inner = {
                name: _derive(vetted, (*pointer, keyword) if name is None else (*pointer, keyword, name), closed, chooses)
                for name, _ in subschemas(keyword, value)
            }
            if type(value) is list:
                out[keyword] = list(inner.values())
            else:
                out[keyword] = {**value, **inner} if type(value) is dict and None not in inner else inner[None]
        elif keyword in VALUES and not (keyword == "format" and value not in FORMATS[vetted.dialect]):
            out[keyword] = value
    if pointer in closed and not unsettled:
        out["unevaluatedProperties"] = False
    if closed and "dependencies" in out:  # which `unevaluatedProperties` does not look into
        apart: dict[str, Any] = out.pop("dependencies")
        out["dependentRequired"] = {name: value for name, value in apart.items() if type(value) is list}
        out["dependentSchemas"] = {name: value for name, value in apart.items() if type(value) is not list}
    return out


def _compile(schema: dict[str, Any], dialect: Dialect, closed: bool) -> jsonschema_rs.Validator:
    """draft-07 cannot say what closing means. 2019-09 can, and reads all else that was vetted alike."""
    kind: type[jsonschema_rs.Validator] = jsonschema_rs.Draft202012Validator
    if dialect is Dialect.DRAFT_07:
        kind = jsonschema_rs.Draft201909Validator if closed else jsonschema_rs.Draft7Validator
    try:
        return kind(schema, validate_formats=True, ignore_unknown_formats=False, pattern_options=OPTIONS, offline=True)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        refuse("shape", f"the validator refuses the schema: {str(error).splitlines()[0][:200]}")


def _explained(form: _Form, value: Json, bound_ns: int) -> Violation:
    """The first violation, as far as naming it is cheap. Only names of the schema go into `sub`."""
    asked = [(form.plain, EXPLAIN_NS), (form.full, EXPLAIN_NS if form.full is form.plain else CHOICES_NS)]
    for validator, most_ns in asked:
        if validator is not None and bound_ns <= most_ns:
            try:
                validator.validate(value)
            except jsonschema_rs.ValidationError as error:
                return _violation(_meant(error))
    hint = "the value breaks the pinned schema; send less at once to learn where"
    return Violation(Reason.ERR_SCHEMA_VIOLATION, "schema", hint)


def _meant(error: jsonschema_rs.ValidationError) -> jsonschema_rs.ValidationError:
    """Of a choice, the error in the one branch for values of this type: an optional object says what is wrong with the object."""
    kinds = (jsonschema_rs.ValidationErrorKind.AnyOf, jsonschema_rs.ValidationErrorKind.OneOfNotValid)
    while isinstance(error.kind, kinds):
        place = error.instance_path
        branches = [
            branch for branch in error.kind.context if all((e.kind.name, e.instance_path) != ("type", place) for e in branch)
        ]
        if len(branches) != 1 or not branches[0]:
            break
        error = branches[0][0]
    return error


def _violation(error: jsonschema_rs.ValidationError) -> Violation:
    keyword = error.kind.name
    where = "`/" + _pointer(error.instance_path) + "`"
    match error.kind:
        case jsonschema_rs.ValidationErrorKind.Required(property=name):
            hint = f"{where} needs `{name}`"
        case (
            jsonschema_rs.ValidationErrorKind.UnevaluatedProperties(unexpected=names)
            | jsonschema_rs.ValidationErrorKind.AdditionalProperties(unexpected=names)
        ):
            hint = f"{where} may not have {', '.join(f'`{name}`' for name in names[:8])}"
        case _:
            hint = f"{where} breaks `{keyword}`"
    return Violation(Reason.ERR_SCHEMA_VIOLATION, f"{keyword} at /{_pointer(error.schema_path)}"[:SUB_MAX], hint[:HINT_MAX])


def _pointer(path: list[str | int]) -> str:
    return "/".join(str(token).replace("~", "~0").replace("/", "~1") for token in path)
