"""Does a grant fit these arguments? And what it allows, in words: a person reads them before they sign."""

from collections.abc import Mapping

from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.statement import Allows, Condition

_SAYS = {
    Condition.ANY: "is anything",
    Condition.EQUALS: "is exactly {}",
    Condition.ONE_OF: "is one of {}",
    Condition.AT_MOST: "is at most {}",
    Condition.AT_LEAST: "is at least {}",
    Condition.STARTS_WITH: "begins with {}",
}
_WAYS_OUT = ("..", "%", "\\")  # what begins with `/tmp/` may end elsewhere: such a value is for a person to look at
_UNITS = (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1000))


def fits(allows: Allows, arguments: Mapping[str, Json]) -> bool:
    """Every argument is as its condition says; one that the grant does not name may not be there."""
    return arguments.keys() <= allows.where.keys() and all(_holds(allows.where[name], arguments[name]) for name in arguments)


def words(allows: Allows, tool: str) -> list[str]:
    """One line for the call, one for each argument."""
    calls = "one call" if allows.calls == 1 else f"{allows.calls} calls"
    lines = [f"{calls} of `{tool}` by `{allows.principal}`, within {duration(allows.lasts_ms)}, without asking again"]
    for name, condition in sorted(allows.where.items()):
        ((word, value),) = condition.items()
        lines.append(f"`{name}` " + _SAYS[Condition(word)].format(canonical(value).decode()))
    return [*lines, "no other argument"]


def duration(ms: int) -> str:
    """`1 hour 30 minutes`: the whole of it, the largest units first."""
    said: list[str] = []
    for name, unit in _UNITS:
        count, ms = divmod(ms, unit)
        if count:
            said.append(f"{count} {name}{'s' if count > 1 else ''}")
    return " ".join([*said, f"{ms} ms"] if ms or not said else said)


def _holds(condition: Mapping[str, Json], value: Json) -> bool:
    ((word, bound),) = condition.items()
    match Condition(word):
        case Condition.ANY:
            return True
        case Condition.EQUALS:
            return _same(value, bound)
        case Condition.ONE_OF:
            return isinstance(bound, list) and any(_same(value, item) for item in bound)
        case Condition.STARTS_WITH:
            if not isinstance(value, str) or not isinstance(bound, str) or any(way in value for way in _WAYS_OUT):
                return False
            return value.startswith(bound)
        case Condition.AT_MOST | Condition.AT_LEAST:
            if not _number(value) or not _number(bound):
                return False
            return value <= bound if word == Condition.AT_MOST else value >= bound  # type: ignore[operator]
    return False


def _number(value: Json) -> bool:
    return type(value) in (int, float)


def _same(value: Json, other: Json) -> bool:
    """As JSON: `1` is not `true`."""
    return canonical(value) == canonical(other)
