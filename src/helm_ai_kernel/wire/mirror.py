"""What a request of 2026-07-28 says in its headers beside its body: the method, the name, and arguments that a tool asks for.

The headers are made from the body that was decided on, never the other way round. Where a definition asks for headers in a way
that two readers could understand differently, its tool is refused: what the server would check is then not what it runs.
"""

import base64
import re
from collections.abc import Iterator, Mapping

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json, parse

from .era import MODERN, Order

ANNOTATION = "x-mcp-header"
PARAM = "mcp-param-"
HEADERS_MAX = 64  # of one tool; a head of a request has 16 KiB
NAME_CHARS_MAX = 54  # with the prefix 64, as every header that is sent has at most

_NAMED = {"prompts/get": "name", "resources/read": "uri"}
_TOKEN = re.compile(rf"[!#$%&'*+\-.^_`|~0-9A-Za-z]{{1,{NAME_CHARS_MAX}}}\Z")
_PLAIN = re.compile(r"[!-~](?:[ -~]*[!-~])?\Z")
_ENCODED = re.compile(r"=\?base64\?.*\?=\Z", re.DOTALL)
_TYPES = frozenset({"string", "integer", "boolean"})  # not `number`: its text differs between languages
_ONE = frozenset(
    {
        "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then",
        "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip
_LIST = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_MAP = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties"})


def headers(order: Order, schema: Json = None) -> dict[str, str]:
    """The headers of a request; `schema` is the `inputSchema` of the tool that is called."""
    made = {"mcp-protocol-version": MODERN, "mcp-method": encoded(order.method)}
    if order.method == "tools/call":
        made["mcp-name"] = encoded(order.name)
        places = dict(annotated(schema))
        arguments = parse(order.args, bytes_max=len(order.args)) if places else None
        for path, header in places.items():
            text = _text(_at(arguments, path))
            if text is not None:
                made[PARAM + header.lower()] = encoded(text)
    elif order.method in _NAMED:
        params = parse(order.args, bytes_max=len(order.args))
        name = params.get(_NAMED[order.method]) if type(params) is dict else None
        if type(name) is str:
            made["mcp-name"] = encoded(name)
    return made


def encoded(text: str) -> str:
    """`text` as the value of a header: as it stands, or in base64 where it would not arrive as it is."""
    if _PLAIN.match(text) and not _ENCODED.match(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def annotated(schema: Json) -> Iterator[tuple[tuple[str, ...], str]]:
    """The arguments that go into headers too: where they stand, and in which. Raises `Refused(ERR_UPSTREAM_SHAPE)`."""
    seen: set[str] = set()
    for path, node in _schemas(schema):
        if ANNOTATION not in node:
            continue
        name, kind = node[ANNOTATION], node.get("type")
        if not path:
            raise _refused("stands where no argument has one place")
        if type(name) is not str or not _TOKEN.match(name):
            raise _refused("names no header")
        if type(kind) is not str or kind not in _TYPES:
            raise _refused("is on something else than a string, an integer or a boolean")
        if name.lower() in seen or len(seen) == HEADERS_MAX:
            raise _refused("names a header that another one names, or there are too many")
        seen.add(name.lower())
        yield path, name


def vet(definition: Mapping[str, Json]) -> None:
    """Raises `Refused(ERR_UPSTREAM_SHAPE)` for a tool whose headers cannot be made."""
    for _ in annotated(definition.get("inputSchema")):
        pass


def _schemas(root: Json) -> Iterator[tuple[tuple[str, ...] | None, dict[str, Json]]]:
    """Every schema in a schema; its path is None where not only `properties` lead to it."""
    stack: list[tuple[tuple[str, ...] | None, Json]] = [((), root)]
    while stack:
        path, node = stack.pop()
        if type(node) is not dict:
            continue
        yield path, node
        for keyword, value in node.items():
            if keyword == "properties" and type(value) is dict:
                stack.extend((None if path is None else (*path, name), item) for name, item in value.items())
            elif keyword in _MAP and type(value) is dict:
                stack.extend((None, item) for item in value.values())
            elif keyword in _LIST and type(value) is list:
                stack.extend((None, item) for item in value)
            elif keyword in _ONE:
                stack.append((None, value))


def _at(value: Json, path: tuple[str, ...]) -> Json:
    for name in path:
        value = value.get(name) if type(value) is dict else None
    return value


def _text(value: Json) -> str | None:
    """None, and no header, where nothing stands there, or what is no scalar."""
    if type(value) is bool:
        return "true" if value else "false"
    return str(value) if type(value) in (str, int) else None


def _refused(what: str) -> Refused:
    return Refused(Reason.ERR_UPSTREAM_SHAPE, f"an annotation `{ANNOTATION}` {what}", sub="x_mcp_header")
