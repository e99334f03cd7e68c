"""Where the parts of a document stand: the bytes of a member as they are, for whoever hashes and releases exactly those.

A scanner, not a reader: what it says holds only of text that `ijson.parse` accepts, and it decides nothing.
"""

import re
from functools import cache

from helm_ai_kernel.tcb.ijson import DEPTH_MAX, parse

ENVELOPE_BYTES_MAX = 256  # of what may stand behind the result of an answer; a usual one has 30

_BLANKS = " \t\r\n"
_B = f"[{_BLANKS}]*+"  # possessive, as all that repeats without end: linear time, whatever comes in
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_BESIDE = rf'(?:("jsonrpc"){_B}:{_B}"2\.0"|"id"{_B}:{_B}([1-9][0-9]{{0,17}})){_B}'  # a result: our ids look like this
_BEFORE = re.compile(rf'{_B}\{{{_B}(?:{_BESIDE},{_B}){{0,2}}"(result|error)"{_B}:'.encode())
_BEHIND = re.compile(rf"(?:,{_B}{_BESIDE}){{0,2}}\}}{_B}\Z".encode())


def members(text: bytes) -> dict[str, bytes]:
    """The members of an object, each value as it stands in `text`, which `ijson.parse` accepts."""
    pieces = elements(text)
    return {str(parse(key, bytes_max=len(key))): value for key, value in zip(pieces[::2], pieces[1::2], strict=True)}


def elements(text: bytes) -> list[bytes]:
    """The elements of an array (the keys and values of an object), each as it stands in `text`, which `ijson.parse` accepts."""
    start, end = len(text) - len(text.lstrip()) + 1, len(text.rstrip()) - 1
    pieces = (piece.strip() for piece in _piece().findall(text, start, end))
    return [piece for piece in pieces if piece]  # in what is empty there may be blanks


def envelope(text: bytes) -> dict[str, bytes] | None:
    """The members of an answer that is written as everybody writes one, found from both ends without a look at the result.

    They are `jsonrpc`, an `id` like ours, and `result` or `error`, in any order. None for everything else. In text that
    `ijson.parse` accepts, what is found at either end stands outside strings and outermost; what is left is the result
    if there is no fourth member, which is the caller's to see.
    """
    before = _BEFORE.match(text)
    behind = before and _BEHIND.search(text, max(before.end(), len(text) - ENVELOPE_BYTES_MAX))
    if before is None or behind is None:
        return None
    versions, ids = ([found for found in pair if found] for pair in zip(before.groups()[:2], behind.groups(), strict=True))
    if len(versions) != 1 or len(ids) != 1:
        return None
    return {"jsonrpc": b'"2.0"', "id": ids[0], before[3].decode(): text[before.end() : behind.start()].strip()}


@cache  # at the first use: it takes some milliseconds
def _piece() -> "re.Pattern[bytes]":
    """What stands between two marks of one level: whole strings, whole brackets, and everything else but marks."""
    inside = ""
    for _ in range(DEPTH_MAX):
        inside = rf'(?:[^\[\]{{}}"]++|{_STRING}|[\[{{]{inside}[\]}}])*+'
    return re.compile(rf'(?:[^\[\]{{}}",:]++|{_STRING}|[\[{{]{inside}[\]}}])++'.encode())
