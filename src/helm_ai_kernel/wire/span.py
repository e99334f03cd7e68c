"""Where the parts of a document stand: the bytes of a member as they are, for whoever hashes and releases exactly those.

A scanner, not a reader: it may be asked only about text that `ijson.parse` has accepted, and it decides nothing.
"""

import re

from helm_ai_kernel.tcb.ijson import parse

_MARK = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[][{},:]')  # a whole string, or a mark outside strings; possessive: linear
_QUOTE, _OPEN, _CLOSE = ord('"'), frozenset(b"[{"), frozenset(b"]}")
_BLANK = b" \t\r\n"


def members(text: bytes) -> dict[str, bytes]:
    """The members of an object, each value as it stands in `text`, which `ijson.parse` has accepted."""
    pieces = _pieces(text)
    if pieces == [b""]:
        return {}
    return {str(parse(key, bytes_max=len(key))): value for key, value in zip(pieces[::2], pieces[1::2], strict=True)}


def elements(text: bytes) -> list[bytes]:
    """The elements of an array, each as it stands in `text`, which `ijson.parse` has accepted."""
    pieces = _pieces(text)
    return [] if pieces == [b""] else pieces


def _pieces(text: bytes) -> list[bytes]:
    """What stands between the marks of the outermost level."""
    pieces: list[bytes] = []
    depth = start = 0
    for mark in _MARK.finditer(text):
        place = mark.start()
        sign = text[place]
        if sign in _OPEN:
            depth += 1
            if depth == 1:
                start = place + 1
        elif sign != _QUOTE:
            if depth == 1:
                pieces.append(text[start:place].strip(_BLANK))
                start = place + 1
            depth -= sign in _CLOSE
    return pieces
