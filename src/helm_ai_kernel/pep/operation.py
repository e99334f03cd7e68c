"""An operation of an HTTP API as a pinned tool: where each argument goes in the request, vetted once and for all.

Every argument has exactly one place: a segment of the path, the query, or the body. Placing is exact: two different calls never
become the same request, except that an empty array in the query is sent as what it is there, nothing; and no argument ends a
segment, a line or the path. `docs/spec/connector-http.md` is the specification.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from helm_ai_kernel.tcb import fields
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical

from .service import check_header

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})  # HEAD and OPTIONS answer about the API, not for it
WITHOUT_BODY = frozenset({"GET"})  # a body there has no meaning (RFC 9110 §9.3.1), and intermediaries drop it
PATH_CHARS_MAX = 1024
TARGET_BYTES_MAX = 7 << 10  # with the base path below the 8 KiB that servers take
HEADERS_MAX = 16
HEADER_CHARS_MAX = 1024

_LITERAL = r"([A-Za-z0-9._~!$&'()*+,;=:@-]*)"
_SEGMENT = re.compile(_LITERAL + r"(?:\{([A-Za-z0-9_][A-Za-z0-9_.-]{0,63})\}" + _LITERAL + r")?\Z")
_NAME = re.compile(r"[A-Za-z0-9_$][A-Za-z0-9_.$\[\]-]{0,63}\Z")
_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?\Z")
_KEY = re.compile(r"[!-~]+\Z")
_JSON_TYPE = re.compile(r"application/([a-z0-9.-]+\+)?json\Z")
_ENDS_SEGMENT = re.compile(r"[/\\\x00-\x1f\x7f]")  # also decoded: servers decode before they route
_SCALARS = frozenset({"string", "integer", "number", "boolean"})


@dataclass(frozen=True, slots=True)
class Placed:
    """A request without its base: `target` is percent-encoded, `body` canonical JSON."""

    method: str
    target: str = field(repr=False)
    body: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Why arguments that keep the schema are no request all the same. `sub` names a place of the pin, never a value."""

    sub: str
    hint: str


@dataclass(frozen=True, slots=True)
class Operation:
    method: str
    path: tuple[tuple[str, str | None, str], ...]  # segments: what stands before the argument, its name, what stands behind
    query: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]
    body: bool  # what is left of the arguments is the body
    idempotency_header: str | None
    retry: bool

    @classmethod
    def from_json(cls, value: Json, schema: Mapping[str, Json]) -> "Operation":
        """The operation of a tool with that `inputSchema`; raises `EvidenceError`."""
        body = fields.exact(value, {"method", "path", "query", "headers", "body", "retry"}, {"idempotency_header"})
        method, rest = fields.text(body, "method"), fields.text(body, "body")
        if method not in METHODS:
            raise fields.wrong(f"field `method` is not one of {', '.join(sorted(METHODS))}")
        if rest not in ("rest", "none") or (rest == "rest" and method in WITHOUT_BODY):
            raise fields.wrong("field `body` is neither `none` nor, where the method has a body, `rest`")
        headers = _headers(fields.typed(body, "headers", dict), rest == "rest")
        key = check_header(fields.text(body, "idempotency_header")) if "idempotency_header" in body else None
        if key is not None and (key in dict(headers) or key == "content-type"):
            raise fields.wrong("field `idempotency_header` names a header that is set already")
        path, query = _path(fields.text(body, "path", bytes_max=PATH_CHARS_MAX)), fields.strings(body, "query")
        _check_places([name for _, name, _ in path if name is not None], query, schema, rest == "rest")
        return cls(method, path, query, headers, rest == "rest", key, fields.typed(body, "retry", bool))

    def unplaced(self, args: Mapping[str, Json], key: str | None) -> Unplaced | None:
        """Why arguments that keep the tool's schema, or this idempotency key, make no request; None where they make one."""
        for before, name, after in self.path:
            text = "" if name is None else _text(args[name])
            if name is not None and (not text or _ENDS_SEGMENT.search(text) or _leaves(before + text + after)):
                hint = f"`{name}` is one segment of a path: not empty, `.` or `..`, also before a `;`, and without `/`"
                return Unplaced(f"operation path {name}", hint)
        if not self.body and not args.keys() <= self._placed():
            return Unplaced("operation rest", "send only the arguments that the operation places")
        if len(self.place(args).target) > TARGET_BYTES_MAX:
            return Unplaced("operation size", f"the path and the query of a request have at most {TARGET_BYTES_MAX} bytes")
        if self.idempotency_header is not None and key is not None and not _KEY.match(key):
            return Unplaced("operation idempotency_key", "the key goes into a header: visible ASCII characters, no blanks")
        return None

    def place(self, args: Mapping[str, Json]) -> Placed:
        """The request of arguments of which `unplaced` says nothing."""
        segments = (before + ("" if name is None else _quoted(args[name])) + after for before, name, after in self.path)
        pairs = [(name, item) for name in self.query if name in args for item in _items(args[name])]
        query = "&".join(f"{quote(name, safe='')}={_quoted(item)}" for name, item in pairs)
        rest = {name: value for name, value in args.items() if name not in self._placed()}
        target = "/" + "/".join(segments) + ("?" + query if query else "")
        return Placed(self.method, target, canonical(rest) if self.body else None)

    def _placed(self) -> set[str]:
        return {*self.query, *(name for _, name, _ in self.path if name is not None)}


def _path(text: str) -> tuple[tuple[str, str | None, str], ...]:
    if not text.startswith("/"):
        raise fields.wrong("field `path` does not begin with `/`")
    segments = text[1:].split("/")
    found = [_SEGMENT.match(segment) for segment in segments]
    parts = [(match[1], match[2], match[3] or "") for match in found if match]
    literal = [before for before, name, _ in parts[:-1] if name is None]
    if len(parts) < len(segments) or "" in literal or any(map(_leaves, segments)):
        raise fields.wrong("field `path` is not made of segments, each literal or with one `{name}`, none of them `.` or `..`")
    return tuple(parts)


def _leaves(segment: str) -> bool:
    """Whether it is no name but a step. Servers take parameters (`;…`, RFC 3986 §3.3) off a segment before they resolve it."""
    return segment.partition(";")[0] in (".", "..")


def _headers(value: dict[str, Json], with_body: bool) -> tuple[tuple[str, str], ...]:
    if len(value) > HEADERS_MAX:
        raise fields.wrong(f"field `headers` has more than {HEADERS_MAX} members")
    for name in value:
        said = fields.text(value, check_header(name), bytes_max=HEADER_CHARS_MAX)
        if not _VALUE.match(said):
            raise fields.wrong(f"the header `{name[:64]}` is not made of visible ASCII characters and blanks between them")
        if name == "content-type" and not (with_body and _JSON_TYPE.match(said)):
            raise fields.wrong("the header `content-type` says that a body is JSON, where there is a body")
    return tuple(sorted((name, str(said)) for name, said in value.items()))


def _check_places(path: list[str], query: tuple[str, ...], schema: Mapping[str, Json], rest: bool) -> None:
    """Every place has its property, and without a body every property its place."""
    placed = [*path, *query]
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if type(properties) is not dict or type(required) is not list:
        raise fields.wrong("`inputSchema` does not list its properties")
    if len(set(placed)) < len(placed):
        raise fields.wrong("an argument has two places")
    for name in placed:
        described = properties.get(name)
        kind = described.get("type") if type(described) is dict else None
        if kind == "array" and type(described) is dict and name in query:  # repeated: `tag=a&tag=b`
            items = described.get("items")
            kind = items.get("type") if type(items) is dict else None
        if type(kind) is not str or kind not in _SCALARS:
            raise fields.wrong(f"`{name[:64]}` is no property with one scalar `type` in `inputSchema`")
        if name in path and name not in required:
            raise fields.wrong(f"`{name[:64]}` stands in the path and is not required")
        if not _NAME.match(name):
            raise fields.wrong(f"`{name[:64]}` cannot stand in a query")
    if not rest and (left := sorted(properties.keys() - set(placed))):
        raise fields.wrong(f"`{left[0][:64]}` has no place: name it in `path` or `query`, or send a body")


def _items(value: Json) -> list[Json]:
    return value if type(value) is list else [value]


def _text(value: Json) -> str:
    return value if type(value) is str else canonical(value).decode()


def _quoted(value: Json) -> str:
    """Everything but the unreserved characters of RFC 3986 §2.3, as UTF-8."""
    return quote(_text(value), safe="")
