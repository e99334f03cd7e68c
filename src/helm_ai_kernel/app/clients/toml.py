"""TOML into nodes with their spans: where `tomlkit` prints a value that we put there is where the value stands.

`tomlkit` keeps every character of a file but tells no places. So each value that is asked for is changed to a mark, printed,
found and put back; a place that does not come out exactly is not changed.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Array, InlineTable

from .tree import List, Map, Member, Node, Other, Scalar, Unknown

_MARK = "helm-mark"
_KEY = re.compile(
    r"""(?P<prefix>(?:[A-Za-z0-9_"'-]+[ \t]*\.[ \t]*)*)(?P<key>[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')[ \t]*=[ \t]*\Z"""
)


def plain(text: str) -> Any:
    """The values, by the reader of the standard library; raises `Unknown`."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Unknown(str(error).lower()) from None


def entry(text: str, at: Iterable[str | int]) -> Map:
    """The table there; raises `Unknown`."""
    try:
        document = tomlkit.parse(text)
        if document.as_string() != text:
            raise Unknown("it would not be printed as it stands")
        table: Any = document
        for step in at:
            table = table[step]
        return Map(0, 0, tuple(_members(text, document, table)), isinstance(table, InlineTable))
    except (TOMLKitError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise Unknown(f"it cannot be placed: {error}") from None


def _members(text: str, document: tomlkit.TOMLDocument, table: Any) -> Iterator[Member]:
    for key in list(table):
        value = table[key]
        if isinstance(value, AoT) or (isinstance(value, dict) and not isinstance(value, InlineTable)):
            continue  # a table of its own, elsewhere
        start, end = _place(text, document, table, key)
        before = text[text.rfind("\n", 0, start) + 1 : start]
        name = _KEY.search(before)
        if name is None:
            raise Unknown(f"`{key}` has no key where it stands")
        shift = start - len(before)
        node: Node = Scalar(start, end, str(value) if isinstance(value, str) else Other(text[start:end]))
        if isinstance(value, Array):
            places = [_place(text, document, value, index) for index in range(len(value))]
            words = (str(item) if isinstance(item, str) else Other(str(item)) for item in value)
            items = (Scalar(*place, word) for place, word in zip(places, words, strict=True))
            node = List(start, end, tuple(items))
        yield Member(Scalar(shift + name.start("key"), shift + name.end("key"), key), node, name["prefix"])


def _place(text: str, document: tomlkit.TOMLDocument, container: Any, key: str | int) -> tuple[int, int]:
    mark, value = f"{_MARK}-{len(text)}", container[key]
    container[key] = tomlkit.string(mark)
    printed = document.as_string()
    container[key] = value
    start, added = printed.find(f'"{mark}"'), len(mark) + 2
    end = len(text) - (len(printed) - start - added)
    exact = start >= 0 and text[:start] == printed[:start] and text[end:] == printed[start + added :]
    if not exact or mark in text or document.as_string() != text:
        raise Unknown(f"`{key}` has no place of its own")
    return start, end
