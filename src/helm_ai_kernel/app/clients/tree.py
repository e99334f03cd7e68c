"""Where things stand in a configuration file: nodes with their spans, and changes as edits of the text between them.

Nothing is written anew but what is meant: a file that a person wrote keeps its comments, its order and its odd spaces. Each
syntax makes these nodes from its text (`jsonc.py`, `yaml.py`, `toml.py`); the edits are the same for all.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Other:
    """A value that is neither a string, a list nor a map, as it stands in the text: it is compared, and never understood."""

    source: str


@dataclass(frozen=True, slots=True)
class Scalar:
    start: int  # of characters, from the begin of the text
    end: int
    value: str | Other


@dataclass(frozen=True, slots=True)
class List:
    start: int  # of the bracket, or of the first dash
    end: int
    items: tuple["Node", ...]
    flow: bool = True  # in brackets


@dataclass(frozen=True, slots=True)
class Member:
    key: Scalar
    value: "Node"
    prefix: str = ""  # of a dotted key of TOML


@dataclass(frozen=True, slots=True)
class Map:
    start: int
    end: int
    members: tuple[Member, ...]
    flow: bool = True


Node: TypeAlias = Scalar | List | Map
Path: TypeAlias = tuple[str | int, ...]
Words: TypeAlias = tuple[str, ...]
Edit: TypeAlias = tuple[int, int, str]  # from, to, what stands there then


class Unknown(Exception):
    """This cannot be changed where it stands; why."""


@dataclass(frozen=True, slots=True)
class Put:
    """Another value for a key."""

    key: str
    value: str | Words


@dataclass(frozen=True, slots=True)
class Rename:
    key: str
    new: str


@dataclass(frozen=True, slots=True)
class Prepend:
    """Words at the begin of a list."""

    key: str
    words: Words


@dataclass(frozen=True, slots=True)
class Drop:
    """The first so many items of a list go."""

    key: str
    count: int


@dataclass(frozen=True, slots=True)
class Add:
    """A new key with a list, before another key: what a person wrote behind that one stays behind it."""

    key: str
    words: Words
    before: str


@dataclass(frozen=True, slots=True)
class Remove:
    key: str


Change: TypeAlias = Put | Rename | Prepend | Drop | Add | Remove


def plain(node: Node) -> Any:
    """The value, as dicts, lists, strings and `Other`. A key that is there twice has an `Other`: readers differ about it."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, List):
        return [plain(item) for item in node.items]
    value: dict[str, Any] = {}
    for member in node.members:
        key, item = str(member.key.value), plain(member.value)
        value[key] = Other(f"twice: {value[key]} {item}") if key in value else item
    return value


def changed(value: dict[str, Any], changes: Sequence[Change]) -> dict[str, Any]:
    """What the map must be afterwards: the model that every edit is compared with."""
    new = dict(value)
    for change in changes:
        match change:
            case Put(key, what):
                new[key] = list(what) if isinstance(what, tuple) else what
            case Rename(key, name):
                new[name] = new.pop(key)
            case Prepend(key, words):
                new[key] = [*words, *new[key]]
            case Drop(key, count):
                new[key] = new[key][count:]
            case Add(key, words, _):
                new[key] = list(words)
            case Remove(key):
                del new[key]
    return new


def spliced(text: str, edits: Sequence[Edit]) -> str:
    parts, at = [], 0
    for start, end, new in sorted(edits):
        if start < at:
            raise Unknown("two changes of one place")
        parts += [text[at:start], new]
        at = end
    return "".join([*parts, text[at:]])


def edits(text: str, node: Map, changes: Sequence[Change]) -> Iterator[Edit]:
    """Raises `Unknown`."""
    for change in changes:
        member = _member(node, change.before if isinstance(change, Add) else change.key)
        match change:
            case Put(_, what):
                yield _put(text, member.value, what)
            case Rename(_, name):
                yield member.key.start, member.key.end, _key(text, member, name)
            case Prepend(_, words):
                yield _prepended(text, _list(member), words)
            case Drop(_, count):
                yield _dropped(text, _list(member), count)
            case Add(key, words, _):
                yield _added(text, node, member, f"{_key(text, member, key)}{_between(text, member)}{_literal(words)}")
            case Remove(_):
                yield _removed(text, node, member)


def quoted(word: str) -> str:
    """A string as JSON, as a flow scalar of YAML and as a basic string of TOML: one form that all three read alike."""
    text = json.dumps(word, ensure_ascii=False)
    return "".join(c if c.isprintable() or ord(c) > 0xFFFF else f"\\u{ord(c):04x}" for c in text)


def _literal(words: Sequence[str]) -> str:
    return f"[{', '.join(map(quoted, words))}]"


def _member(node: Map, key: str) -> Member:
    found = [member for member in node.members if member.key.value == key]
    if len(found) != 1:
        raise Unknown(f"`{key}` is there {len(found)} times")
    return found[0]


def _list(member: Member) -> List:
    if not isinstance(member.value, List):
        raise Unknown(f"`{member.key.value}` is no list")
    return member.value


def _key(text: str, like: Member, name: str) -> str:
    return quoted(name) if text[like.key.start] in "\"'" else name


def _between(text: str, like: Member) -> str:
    between = text[like.key.end : like.value.start]
    return between if between.strip() in (":", "=") and "\n" not in between else ": "  # where there can be comments it is this


def _newline(text: str) -> str:
    end = text.find("\n")
    return "\r\n" if end > 0 and text[end - 1] == "\r" else "\n"


def _indent(text: str, at: int) -> str | None:
    """What is before a place on its line, where that is only space."""
    before = text[text.rfind("\n", 0, at) + 1 : at]
    return before if not before.strip() else None


def _column(text: str, at: int) -> str:
    """As much space as there is before a place on its line."""
    indent = _indent(text, at)
    return indent if indent is not None else " " * (at - text.rfind("\n", 0, at) - 1)


def _put(text: str, node: Node, what: str | Words) -> Edit:
    new = quoted(what) if isinstance(what, str) else _literal(what)
    ends_line = node.end > node.start and text[node.end - 1] == "\n"  # a block scalar of YAML
    return node.start, node.end, new + (_newline(text) if ends_line else "")


def _prepended(text: str, node: List, words: Words) -> Edit:
    if not node.flow:
        return node.start, node.start, "".join(f"- {quoted(word)}{_newline(text)}{_column(text, node.start)}" for word in words)
    if not node.items:
        return node.start + 1, node.start + 1, ", ".join(map(quoted, words))
    first = node.items[0].start
    gap = text[node.start + 1 : first]
    own_line = gap if "\n" in gap and not gap.strip() else " "
    return first, first, ", ".join(map(quoted, words)) + "," + own_line


def _dropped(text: str, node: List, count: int) -> Edit:
    places = [item.start if node.flow else text.rindex("-", node.start, item.start) for item in node.items]
    if count < len(places):
        return places[0], places[count], ""
    if not node.flow:
        return node.start, node.items[-1].end, "[]"
    comma = re.compile(r"\s*,").match(text, node.items[-1].end)
    return places[0], comma.end() if comma else node.items[-1].end, ""


def _added(text: str, node: Map, before: Member, new: str) -> Edit:
    at = before.key.start - len(before.prefix)
    indent = _indent(text, at) if node.flow else _column(text, at)
    comma = "," if node.flow else ""
    return at, at, f"{before.prefix}{new}{comma}{' ' if indent is None else _newline(text) + indent}"


def _removed(text: str, node: Map, member: Member) -> Edit:
    start, after = member.key.start - len(member.prefix), [m for m in node.members if m.key.start > member.key.start]
    if node.flow or _indent(text, start) is None:
        if after:
            return start, min(m.key.start - len(m.prefix) for m in after), ""
        before = [m.value.end for m in node.members if m.key.start < member.key.start]
        return max(before, default=start), member.value.end, ""
    end = text.find("\n", member.value.end)
    return text.rfind("\n", 0, start) + 1, len(text) if end < 0 else end + 1, ""
