"""What differs between a server as it is pinned and as it is now: every member of every definition, the set of names, the source.

Nothing here trusts what it compares. Renames and shadowing are said because a person cannot see them in a list of members.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from helm_ai_kernel.pep.methods import METHODS
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.jcs import canonical

PARTS_MAX = 500  # of one tool, that are listed one by one
MENTION_CHARS_MIN = 5  # a shorter name is a word of the language more often than a tool

Entry = Mapping[str, Any]
_NOTHING: Any = object()


class Part(NamedTuple):
    """A member that differs: where (`inputSchema/properties/to`), and its values; None where it is not there."""

    at: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Change:
    """`how`: `changed`, `new`, `gone`, `renamed` or `refused`."""

    tool: str
    how: str
    parts: tuple[Part, ...] = ()
    before: str = ""  # the name that it had
    why: str = ""  # it was refused


@dataclass(frozen=True, slots=True)
class Difference:
    server: str
    source: tuple[Part, ...] = ()
    tools: tuple[Change, ...] = ()
    notes: tuple[str, ...] = field(default=())  # what a person should know, and is no difference

    def __bool__(self) -> bool:
        return bool(self.source or self.tools)


def compare(
    server: str, pinned: Entry | None, now: Entry, refused: Mapping[str, Refused], others: Mapping[str, Sequence[Entry]]
) -> Difference:
    """`pinned` and `now` are catalogue documents of the server; `others`: the entries that are pinned of every other one."""
    before = {} if pinned is None else {tool["name"]: tool["raw"] for tool in pinned["tools"]}
    after = {tool["name"]: tool["raw"] for tool in now["tools"]}
    left_out = sorted(name for name in after.keys() - before.keys() if name in METHODS and pinned is not None)
    for name in left_out:  # a method's definition is ours: that it could be pinned, too, is no change of the server
        del after[name]
    renamed = _renamed(before, after)
    changes = [Change(new, "renamed", tuple(_parts(before[old], after[new])), before=old) for old, new in sorted(renamed.items())]
    for name in sorted((before.keys() | after.keys()) - renamed.keys() - set(renamed.values())):
        if name in refused:
            continue
        if name not in before or name not in after:
            changes.append(Change(name, "new" if name in after else "gone", tuple(_parts(before.get(name), after.get(name)))))
        elif parts := tuple(_parts(before[name], after[name])):
            changes.append(Change(name, "changed", parts))
    changes += [Change(name, "refused", why=why.detail) for name, why in sorted(refused.items())]
    source = tuple(_parts({} if pinned is None else pinned["source"], now["source"]))
    notes = [f"could be pinned, too: {', '.join(left_out)}"] if left_out else []
    return Difference(server, source, tuple(changes), (*notes, *shadows(now, others)))


def shadows(now: Entry, others: Mapping[str, Sequence[Entry]]) -> Iterator[str]:
    """Names of another server's tools: taken again, or spoken of where a model reads them."""
    names = {tool["name"] for tool in now["tools"] if tool["name"] not in METHODS}
    said = {tool["name"]: " ".join(_texts(tool["raw"])) for tool in now["tools"] if tool["name"] in names}
    said["its instructions"] = str(now["source"].get("instructions", ""))
    for other, tools in sorted(others.items()):
        theirs = sorted(tool["name"] for tool in tools if tool["name"] not in METHODS)
        folded = {name.casefold(): name for name in theirs}
        for name in sorted(names):
            if name in theirs:
                yield f"SHADOWS `{name}`, which is also a tool of `{other}`"
            elif name.casefold() in folded:
                yield f"SHADOWS `{folded[name.casefold()]}` of `{other}`: `{name}` differs in letter case only"
        for where, text in said.items():
            spoken = [name for name in theirs if name not in names and _mentions(text, other, name)]
            if spoken:
                yield f"MENTIONS {', '.join(f'`{name}`' for name in spoken)} of `{other}`: in {where}"


def _mentions(text: str, server: str, name: str) -> bool:
    """By its whole name; by its own only where that is no word of the language, or is quoted."""
    own = re.escape(name)
    if re.search(rf"(?<![\w/-]){re.escape(server)}(/|__){own}(?![\w-])", text):
        return True
    if len(name) >= MENTION_CHARS_MIN and re.search(r"[a-z][A-Z]|[_.\-0-9]", name):
        return re.search(rf"(?<![\w-]){own}(?![\w-])", text) is not None
    return re.search(rf"""[`'"]{own}[`'"]""", text) is not None


def _renamed(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> dict[str, str]:
    """Old names to new ones: where of the tools with the very same schemas exactly one is gone and exactly one is new."""
    gone, new = (_by_schemas(one, names) for one, names in ((before, before.keys() - after), (after, after.keys() - before)))
    return {gone[key][0]: new[key][0] for key in gone.keys() & new.keys() if len(gone[key]) == len(new[key]) == 1}


def _by_schemas(tools: Mapping[str, Entry], names: "set[str]") -> dict[bytes, list[str]]:
    found: dict[bytes, list[str]] = {}
    for name in names:
        schemas = {key: value for key, value in tools[name].items() if key in ("inputSchema", "outputSchema")}
        if name not in METHODS:
            found.setdefault(canonical(schemas), []).append(name)
    return found


def _parts(before: Any, after: Any, at: str = "") -> Iterator[Part]:
    """What differs, as deep as both are objects, in the order of names; lists are compared as a whole."""
    found = 0
    stack: list[Part] = [Part(at, before, after)]
    while stack:
        part = stack.pop()
        if isinstance(part.before, dict) and isinstance(part.after, dict) and found < PARTS_MAX:
            for name in sorted(part.before.keys() | part.after.keys(), reverse=True):
                old, new = part.before.get(name, _NOTHING), part.after.get(name, _NOTHING)
                if old is _NOTHING or new is _NOTHING or canonical(old) != canonical(new):
                    where = f"{part.at}/{name}" if part.at else name
                    stack.append(Part(where, None if old is _NOTHING else old, None if new is _NOTHING else new))
        else:
            found += 1
            yield part


def _texts(value: Any) -> Iterator[str]:
    """Every text inside, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
