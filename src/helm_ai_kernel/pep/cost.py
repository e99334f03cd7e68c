"""What validating with a schema may cost: an upper bound in nanoseconds, from the schema once and from the value per call.

The engine has no budget of its own, and schemas multiply: a `$ref` taken twice doubles, an optional object inside an optional
object doubles with every level (measured: 0.4 s for 20 levels). What multiplies for one value is refused when pinned; what
multiplies with the depth of the value is bounded per call, by `ERR_SCHEMA_BUDGET`.
"""

from dataclasses import dataclass
from itertools import accumulate

from helm_ai_kernel.tcb.ijson import DEPTH_MAX, Json

from .keyword import Edge
from .vet import Place, Pointer, Vetted, at, refuse

BUDGET_NS = 1_000_000_000  # at worst a second for one call, by the bound; real calls take microseconds
VISIT_NS = 50  # one subschema against one value, measured on scalars; a lookup in an enum of objects is more
TESTS_MAX = 4096  # subschemas that one value meets in one place
_CAP = 1 << 40

Reached = dict[tuple[Edge, str | None], int]  # the property or position (None: any) -> what is met there


@dataclass(frozen=True, slots=True)
class Cost:
    """`visits[d]`: how many subschemas meet one value that is at most `d` levels deep; `text_ns[d]`: its patterns, per byte."""

    visits: tuple[int, ...]
    text_ns: tuple[int, ...]

    @property
    def byte_ns(self) -> int:
        """Whatever the instance looks like, it costs at most this per byte."""
        return self.visits[-1] * VISIT_NS + self.text_ns[-1]

    def bound_ns(self, value: Json, size: int) -> int:
        nodes, depth = measure(value)
        return nodes * self.visits[depth] * VISIT_NS + size * self.text_ns[depth]


def cost(vetted: Vetted, closed: frozenset[Pointer]) -> Cost:
    """Raises `Refused(ERR_SCHEMA_UNSAFE)` for a schema that meets one value too often. `closed`: see `closing.py`."""
    nodes = _nodes(vetted, closed)
    tests = [_tests(vetted.places[pointer]) for pointer in vetted.order]
    for pointer, met in zip(vetted.order, _here(nodes, tests), strict=True):
        if met > TESTS_MAX:
            refuse("expansion", f"a value at {at(pointer)} would be tested more than {TESTS_MAX} times", "pin a simpler tool")
    root = vetted.order.index(())
    visits = _levels(nodes, root, tests, BUDGET_NS // VISIT_NS)
    texts = [vetted.places[pointer].text_ns for pointer in vetted.order]
    return Cost(visits, _levels(nodes, root, texts, BUDGET_NS))


def measure(value: Json) -> tuple[int, int]:
    """Values in `value`, itself among them, and how deep they are nested; never deeper than the reader's cap."""
    if type(value) is dict:
        inner = [measure(item) for item in value.values()]
        return 1 + len(inner) + sum(nodes for nodes, _ in inner), 1 + max((depth for _, depth in inner), default=0)
    if type(value) is list:
        inner = [measure(item) for item in value]
        return 1 + sum(nodes for nodes, _ in inner), 1 + max((depth for _, depth in inner), default=0)
    return 1, 0


@dataclass(frozen=True, slots=True)
class _Node:
    """A place by number. `again`: how often what applies to the same value (`here`) is asked."""

    again: int
    here: tuple[int, ...]
    below: tuple[tuple[tuple[Edge, str | None], int], ...]


def _tests(place: Place) -> int:
    if type(place.schema) is not dict:
        return 1
    enum = place.schema.get("enum")
    if type(enum) is not list or all(type(item) is str for item in enum):  # strings are hashed, others are compared one by one
        return 1
    return 1 + len(enum) // 4


def _nodes(vetted: Vetted, closed: frozenset[Pointer]) -> list[_Node]:
    index = {pointer: number for number, pointer in enumerate(vetted.order)}
    nodes = []
    for pointer in vetted.order:
        steps = vetted.places[pointer].steps
        # An `unevaluated…` keyword asks everything that applies to the same value a second time.
        twice = pointer in closed or any(step.keyword in ("unevaluatedProperties", "unevaluatedItems") for step in steps)
        here = tuple(index[step.target] for step in steps if step.edge is Edge.HERE)
        below = [((s.edge, s.name), index[s.target]) for s in steps if s.edge in (Edge.OBJECT, Edge.ARRAY)]
        nodes.append(_Node(1 + twice, here, tuple(below)))
    return nodes


def _here(nodes: list[_Node], weights: list[int]) -> list[int]:
    """What one value meets at each place: the place itself and all that applies to the same value."""
    met: list[int] = []
    for node, weight in zip(nodes, weights, strict=True):
        met.append(min(_CAP, weight + node.again * sum(met[target] for target in node.here)))
    return met


def _levels(nodes: list[_Node], root: int, weights: list[int], enough: int) -> tuple[int, ...]:
    """For d = 0, 1, … the most that a value at most d levels below the root meets, over every path to it, as far as `enough`."""
    level = _here(nodes, weights)
    levels, before = [level[root]], list[int]()
    while len(levels) <= DEPTH_MAX and level != before and level[root] < enough:
        before, level = level, _deeper(nodes, level)
        levels.append(level[root])
    return tuple(accumulate(levels + [levels[-1]] * (DEPTH_MAX + 1 - len(levels)), max))


def _deeper(nodes: list[_Node], level: list[int]) -> list[int]:
    reached: list[Reached] = []
    deeper: list[int] = []
    for node in nodes:
        met: Reached = {}
        for key, target in node.below:
            met[key] = met.get(key, 0) + level[target]
        for target in node.here:
            for key, count in reached[target].items():
                met[key] = min(_CAP, met.get(key, 0) + node.again * count)
        reached.append(met)
        anywhere = {edge: met.get((edge, None), 0) for edge in (Edge.OBJECT, Edge.ARRAY)}
        most = max((count + (anywhere[edge] if name is not None else 0) for (edge, name), count in met.items()), default=0)
        deeper.append(min(_CAP, most))
    return deeper
