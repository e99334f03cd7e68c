"""What validating with a schema may cost: an upper bound in nanoseconds, from the schema once and from the value per call.

The engine has no budget of its own, and schemas multiply: a `$ref` taken twice doubles, an optional object inside an optional
object doubles with every level (measured: 0.4 s for 20 levels). What multiplies for one value is refused when pinned; what
multiplies with the depth of the value is bounded per call, by `ERR_SCHEMA_BUDGET`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from helm_ai_kernel.tcb.ijson import DEPTH_MAX, Json

from .keyword import Edge
from .vet import Place, Pointer, Step, Vetted, at, refuse

BUDGET_NS = 1_000_000_000  # at worst a second for one call, by the bound; real calls take microseconds
VISIT_NS = 50  # one subschema against one value, measured on scalars; a lookup in an enum of objects is more
TESTS_MAX = 4096  # subschemas that one value meets in one place
_CAP = 1 << 40

Reached = dict[tuple[Edge, str | None], int]  # the property or position (None: any) -> what is met there


@dataclass(frozen=True, slots=True)
class Cost:
    """`visits[d]`: how many subschemas meet one value that is at most `d` levels deep; `text_ns`: patterns per byte."""

    visits: tuple[int, ...]
    text_ns: int

    @property
    def byte_ns(self) -> int:
        """Whatever the instance looks like, it costs at most this per byte."""
        return self.visits[-1] * VISIT_NS + self.text_ns

    def bound_ns(self, value: Json, size: int) -> int:
        nodes, depth = measure(value)
        return nodes * self.visits[min(depth, DEPTH_MAX)] * VISIT_NS + size * self.text_ns


def cost(vetted: Vetted, closing: frozenset[Pointer]) -> Cost:
    """Raises `Refused(ERR_SCHEMA_UNSAFE)` for a schema that meets one value too often. `closing`: see `schema.py`."""
    tests = _levels(vetted, closing, _tests)
    for pointer, count in tests[0].items():
        if count > TESTS_MAX:
            refuse("expansion", f"a value at {at(pointer)} would be tested more than {TESTS_MAX} times", "pin a simpler tool")
    visits = accumulate((level[()] for level in tests), max)
    texts = _levels(vetted, closing, lambda place: place.text_ns)
    return Cost(tuple(visits), max(level[()] for level in texts))


def measure(value: Json) -> tuple[int, int]:
    """Values in `value`, itself among them, and how deep they are nested; never deeper than the reader's cap."""
    if type(value) is dict:
        inner = [measure(item) for item in value.values()]
        return 1 + len(inner) + sum(nodes for nodes, _ in inner), 1 + max((depth for _, depth in inner), default=0)
    if type(value) is list:
        inner = [measure(item) for item in value]
        return 1 + sum(nodes for nodes, _ in inner), 1 + max((depth for _, depth in inner), default=0)
    return 1, 0


def _tests(place: Place) -> int:
    if type(place.schema) is not dict:
        return 1
    enum = place.schema.get("enum")
    if type(enum) is not list or all(type(item) is str for item in enum):  # strings are hashed, others are compared one by one
        return 1
    return 1 + len(enum) // 4


def _levels(vetted: Vetted, closing: frozenset[Pointer], weight: Callable[[Place], int]) -> list[dict[Pointer, int]]:
    """For d = 0, 1, … the most that a value d levels below a value that meets the place may meet, over every path to it."""
    again = {p: 2 if p in closing or _is_unevaluated(place) else 1 for p, place in vetted.places.items()}
    level: dict[Pointer, int] = {}
    for pointer in vetted.order:
        place = vetted.places[pointer]
        here = sum(level[step.target] for step in place.steps if step.edge is Edge.HERE)
        level[pointer] = min(_CAP, weight(place) + again[pointer] * here)
    levels = [level]
    below: dict[Pointer, int] = {}
    while len(levels) <= DEPTH_MAX and level != below:
        below, level = level, {}
        reached: dict[Pointer, Reached] = {}
        for pointer in vetted.order:
            met = _met(vetted.places[pointer].steps, below, reached, again[pointer])
            reached[pointer] = met
            level[pointer] = min(_CAP, max((_at(met, key) for key in met), default=0))
        levels.append(level)
    return levels + [levels[-1]] * (DEPTH_MAX + 1 - len(levels))


def _is_unevaluated(place: Place) -> bool:
    """Such a keyword asks everything that applies to the same value a second time."""
    return any(step.keyword in ("unevaluatedProperties", "unevaluatedItems") for step in place.steps)


def _met(steps: list[Step], below: dict[Pointer, int], reached: dict[Pointer, Reached], again: int) -> Reached:
    met: Reached = {}
    for step in steps:
        if step.edge is Edge.HERE:
            for key, count in reached[step.target].items():
                met[key] = min(_CAP, met.get(key, 0) + again * count)
        elif step.edge is not Edge.NOWHERE:
            key = (step.edge, step.name)
            met[key] = min(_CAP, met.get(key, 0) + below[step.target])
    return met


def _at(met: Reached, key: tuple[Edge, str | None]) -> int:
    edge, name = key
    return met[key] + (met.get((edge, None), 0) if name is not None else 0)
