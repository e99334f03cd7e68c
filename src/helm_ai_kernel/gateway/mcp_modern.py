"""The stateless revision (2026-07-28): what each request must say of itself, and questions that travel as results.

Everything is decided by the body. Headers repeat it for whoever stands between us; where they say something else, two readers of
one request would see two requests, and it is refused (MCP 2026-07-28, transports, "standard headers").
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.wire.mcp_message import HEADER_MISMATCH, INVALID_PARAMS, NULL, UNSUPPORTED_VERSION, Bad, Notification, Request
from helm_ai_kernel.wire.mediation import MODERN

_PREFIX = "io.modelcontextprotocol/"
VERSION_META, CAPABILITIES_META, LEVEL_META = f"{_PREFIX}protocolVersion", f"{_PREFIX}clientCapabilities", f"{_PREFIX}logLevel"
SUBSCRIPTION_META, INFO_META = f"{_PREFIX}subscriptionId", f"{_PREFIX}serverInfo"
VERSION_FIELD, METHOD_FIELD, NAME_FIELD = "mcp-protocol-version", "mcp-method", "mcp-name"
NAMED: Mapping[str, str] = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}

_ENCODED = re.compile(r"=\?base64\?([A-Za-z0-9+/]*={0,2})\?=\Z")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a request says of its client."""

    capabilities: Mapping[str, Json]
    level: str | None


def is_modern(request: Request) -> bool:
    return VERSION_META in request.meta


def envelope(request: Request, fields: Mapping[str, str] | None) -> Envelope:
    """`fields`: of HTTP, in lower case; None where there are none. Raises `Bad` for the first thing that is not right."""
    missing = [name for name in (VERSION_META, CAPABILITIES_META) if name not in request.meta]
    if missing:
        raise _params(request, f"`_meta` does not say {' and '.join(missing)}")
    version, capabilities, level = request.meta[VERSION_META], request.meta[CAPABILITIES_META], request.meta.get(LEVEL_META)
    if fields is not None:
        check_headers(request, fields)
    if type(version) is not str or type(capabilities) is not dict or (level is not None and type(level) is not str):
        raise _params(request, "`_meta` has a version and capabilities of another type")
    if version not in MODERN:
        raise unsupported(version, request.id)
    return Envelope(capabilities, level)


def unsupported(version: str, number: bytes) -> Bad:
    data: Json = {"supported": list(MODERN), "requested": version[:64]}
    return Bad(Reason.ERR_UPSTREAM_SHAPE, UNSUPPORTED_VERSION, "unsupported protocol version", number=number, data=data)


def check_named(message: Request | Notification, fields: Mapping[str, str]) -> None:
    """Of the revisions that have sessions: headers need not repeat the body, but must not contradict it. Raises as below."""
    said: list[tuple[str, Json]] = [(METHOD_FIELD, message.method)]
    if message.method in NAMED:
        said.append((NAME_FIELD, message.values.get(NAMED[message.method])))
    for name, value in said:
        if name in fields and decoded(fields[name]) != value:
            raise mismatch(message, f"the header `{name}` does not say what the body says")


def check_headers(request: Request, fields: Mapping[str, str]) -> None:
    """Raises `Bad(ERR_MCP_HEADER_MISMATCH)`."""
    said: list[tuple[str, Json]] = [(VERSION_FIELD, request.meta.get(VERSION_META)), (METHOD_FIELD, request.method)]
    if request.method in NAMED and NAMED[request.method] in request.values:
        said.append((NAME_FIELD, request.values[NAMED[request.method]]))
    for name, value in said:
        sent = decoded(fields.get(name))
        if sent is None or sent != value:
            raise mismatch(request, f"the header `{name}` does not say what the body says")


def check_parameters(request: Request, fields: Mapping[str, str], mirrored: Mapping[tuple[str, ...], str]) -> None:
    """`mirrored`: the places of the arguments that headers repeat, each with the name behind `Mcp-Param-`."""
    arguments = request.values.get("arguments", {})
    for path, name in mirrored.items():
        value: Json = arguments
        for step in path:
            value = value.get(step) if type(value) is dict else None
        sent = fields.get(f"mcp-param-{name.lower()}")
        if not _agrees(value, None if sent is None else decoded(sent), sent is not None):
            raise mismatch(request, f"the header `Mcp-Param-{name}` does not say what the argument says")


def mirrored(schema: Json) -> dict[tuple[str, ...], str]:
    """The arguments of a pinned tool that headers repeat: each property with `x-mcp-header`, by its place."""
    found: dict[tuple[str, ...], str] = {}
    todo: list[tuple[tuple[str, ...], Json]] = [((), schema)]
    while todo:
        path, part = todo.pop()
        if type(part) is not dict:
            continue
        name = part.get("x-mcp-header")
        if path and type(name) is str:
            found[path] = name
        below = part.get("properties")
        todo += [((*path, step), one) for step, one in below.items()] if type(below) is dict else []
    return found


def decoded(value: str | None) -> str | None:
    """What a header says; None where it says nothing that can be read in one way."""
    found = None if value is None else _ENCODED.match(value)
    if found is None:
        return value
    try:
        data = base64.b64decode(found[1], validate=True)
        return data.decode() if base64.b64encode(data).decode() == found[1] else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def mismatch(message: Request | Notification, detail: str) -> Bad:
    number = message.id if isinstance(message, Request) else NULL
    return Bad(Reason.ERR_MCP_HEADER_MISMATCH, HEADER_MISMATCH, detail, number=number)


def _agrees(value: Json, sent: str | None, there: bool) -> bool:
    if value is None or type(value) not in (str, int, bool, float):
        return not there
    if sent is None:
        return False
    if type(value) is bool:
        return sent == ("true" if value else "false")
    if type(value) is str:
        return sent == value
    return re.fullmatch(r"-?[0-9]{1,20}(\.0{1,20})?", sent) is not None and int(sent.partition(".")[0]) == value


def _params(request: Request, detail: str) -> Bad:
    return Bad(Reason.ERR_UPSTREAM_SHAPE, INVALID_PARAMS, detail, number=request.id)
