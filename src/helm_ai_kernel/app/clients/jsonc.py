"""JSON with comments and trailing commas, as clients read it, into nodes with their spans. Everything else is refused.

A scanner of our own: what is asked of it is where things stand, which no reader of values tells, and what a library that writes
the file anew would lose. Strings with escapes are decoded by the one reader of JSON.
"""

import re
from collections.abc import Callable

from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import parse

from .tree import List, Map, Member, Node, Other, Scalar, Unknown

DEPTH_MAX = 100  # clients nest ten levels; Python's own limit is far above

_TOKEN = re.compile(
    r"""(?P<gap>(?:[ \t\r\n]+|//[^\r\n]*|/\*.*?\*/)+)
    |(?P<string>"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+")
    |(?P<mark>[][{},:])
    |(?P<word>(?:true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?![A-Za-z0-9_.+-]))""",
    re.VERBOSE | re.DOTALL,
)


def tree(text: str) -> Map:
    """The one object of the text; raises `Unknown`, which names the line."""
    if not text.strip():  # some clients make an empty file, and read it as one without servers
        return Map(0, 0, ())
    node = _Scanner(text).document()
    if not isinstance(node, Map):
        raise Unknown("it is no object")
    return node


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.kind, self.token = "", ""
        self.start = 0  # of the token
        self._next()

    def document(self) -> Node:
        node = self._value(0)
        if self.kind != "end":
            raise self._wrong("something is behind the document")
        return node

    def _next(self) -> None:
        """The next token that is no gap."""
        self.kind = "gap"
        while self.kind == "gap":
            self.start = self.at
            found = _TOKEN.match(self.text, self.at)
            if found is None:
                self.kind, self.token = ("end", "") if self.at == len(self.text) else ("bad", self.text[self.at])
                return
            self.kind, self.token, self.at = str(found.lastgroup), found.group(), found.end()

    def _wrong(self, why: str) -> Unknown:
        line = self.text.count("\n", 0, self.start) + 1
        return Unknown(f"line {line}, column {self.start - self.text.rfind(chr(10), 0, self.start)}: {why}")

    def _value(self, depth: int) -> Node:
        start, token = self.start, self.token
        if depth > DEPTH_MAX:
            raise self._wrong(f"more than {DEPTH_MAX} levels")
        if self.kind in ("string", "word"):
            return self._scalar()
        if self.kind != "mark" or token not in "[{":
            raise self._wrong("no value is here" if self.kind != "end" else "the text ends here")
        self._next()
        if token == "[":
            items: list[Node] = []
            self._members("]", lambda: items.append(self._value(depth + 1)))
            return List(start, self._closed(), tuple(items))
        members: list[Member] = []
        self._members("}", lambda: members.append(self._member(depth)))
        return Map(start, self._closed(), tuple(members))

    def _members(self, close: str, take: Callable[[], None]) -> None:
        while self.token != close or self.kind != "mark":
            take()
            if self.kind == "mark" and self.token == ",":
                self._next()
            elif self.token != close or self.kind != "mark":
                raise self._wrong(f"neither `,` nor `{close}`")

    def _closed(self) -> int:
        end = self.at
        self._next()
        return end

    def _member(self, depth: int) -> Member:
        if self.kind != "string":
            raise self._wrong("no key is here")
        key = self._scalar()
        if self.kind != "mark" or self.token != ":":
            raise self._wrong("no `:` is behind the key")
        self._next()
        return Member(key, self._value(depth + 1))

    def _scalar(self) -> Scalar:
        start, end, token = self.start, self.at, self.token
        value = _string(token) if self.kind == "string" else Other(token)
        self._next()
        return Scalar(start, end, value)


def _string(token: str) -> str | Other:
    if "\\" not in token:
        return token[1:-1]
    try:
        value = parse(token.encode(), bytes_max=len(token.encode()))
    except (Refused, UnicodeEncodeError):  # half a character: it is kept, and never understood
        return Other(token)
    return value if isinstance(value, str) else Other(token)
