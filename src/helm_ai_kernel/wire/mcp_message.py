"""One message of an MCP client, and the bytes of what it is answered: JSON-RPC 2.0, from the server's end, in every era.

What is passed on (the arguments of a call, an answer to a server's question) stays the text that it was; what is read is read
once, strictly. An id is a string or a whole number, and is echoed as the text that it was: `1`, `"1"` and `1.0` are three
different things, and the last is none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical

from .span import members

MESSAGE_BYTES_MAX = 1 << 20  # as a body at every door: a call has at most so many
PARAMS_MAX = 256  # members of `params`: no method has more than ten; where each stands is looked up
ID_CHARS_MAX = 256  # a UUID has 36

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION = -32020, -32021, -32022  # MCP 2026-07-28
NULL = b"null"

_NUMBER = re.compile(rb"(?:0|-?[1-9][0-9]{0,15})\Z")


class Bad(Refused):
    """A message that is answered with an error of the protocol, and is not looked at any further."""

    def __init__(self, reason: Reason, code: int, detail: str, *, number: bytes = NULL, sub: str = "", data: Json = None) -> None:
        super().__init__(reason, detail, sub=sub)
        self.code = code
        self.number = number  # the id, as text
        self.data = data


@dataclass(frozen=True, slots=True)
class Request:
    """`id` is its text; `params` are the members as they stood, `meta` is what `_meta` says."""

    id: bytes
    method: str
    params: Mapping[str, bytes]
    meta: Mapping[str, Json]
    values: Mapping[str, Json] = field(repr=False)  # of `params`, read

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        return value if type(value) is str else None

    @property
    def progress(self) -> str | int | None:
        """By which its client wants to hear of progress."""
        token = self.meta.get("progressToken")
        return token if type(token) in (str, int) else None  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Notification:
    method: str
    params: Mapping[str, bytes]
    values: Mapping[str, Json] = field(repr=False)

    @property
    def about(self) -> bytes:
        """The id of the request that it is about, as `Request.id` is written; empty where it names none."""
        number = self.values.get("requestId")
        return canonical(number) if type(number) is str else self.params.get("requestId", b"")


@dataclass(frozen=True, slots=True)
class Response:
    """The client's answer to a request of ours. One of the two is there."""

    id: bytes
    result: bytes | None = field(repr=False)
    error: bytes | None = field(repr=False)


Message: TypeAlias = Request | Notification | Response


@dataclass(frozen=True, slots=True)
class Said:
    """A response; `code` is that of an error, by which HTTP chooses its status."""

    data: bytes = field(repr=False)
    code: int | None = None


def read(raw: bytes) -> Message:
    """Raises `Bad`, with the id where there is one."""
    try:
        value = parse(raw, bytes_max=MESSAGE_BYTES_MAX, any_number=True)  # the PEP reads arguments again, and more strictly
    except Refused as refused:
        raise Bad(refused.reason, PARSE_ERROR, refused.detail, sub=refused.sub) from None
    if type(value) is list:
        detail = "a batch: requests are sent one by one since revision 2025-06-18"
        raise Bad(Reason.ERR_MCP_BATCH_UNSUPPORTED, INVALID_REQUEST, detail)
    if type(value) is not dict or value.get("jsonrpc") != "2.0":
        raise _misshapen("not one JSON-RPC 2.0 message")
    parts = members(raw)
    number = _id(value, parts)
    if "method" not in value:
        return _response(value, parts, number)
    method, params = value["method"], value.get("params", {})
    if type(method) is not str or not value.keys() <= {"jsonrpc", "id", "method", "params"}:
        raise _misshapen("`method` is a string, beside `jsonrpc`, `id` and `params`", number or NULL)
    if type(params) is not dict:
        raise _misshapen("`params` is an object", number or NULL)
    if len(params) > PARAMS_MAX:
        raise _misshapen(f"`params` has more than {PARAMS_MAX} members", number or NULL)
    meta, spans = params.get("_meta", {}), members(parts["params"]) if "params" in parts else {}
    if type(meta) is not dict:
        raise Bad(Reason.ERR_UPSTREAM_SHAPE, INVALID_PARAMS, "`_meta` is an object", number=number or NULL)
    if number is None:
        return Notification(method, spans, params)
    return Request(number, method, spans, meta, params)


def result(number: bytes, raw: bytes) -> Said:
    return Said(b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (number, raw))


def error(number: bytes, code: int, message: str, data: Json = None) -> Said:
    said: dict[str, Json] = {"code": code, "message": message}
    return raw_error(number, code, canonical(said if data is None else {**said, "data": data}))


def raw_error(number: bytes, code: int, raw: bytes) -> Said:
    return Said(b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (number, raw), code)


def request(number: bytes, method: str, params: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":%b}' % (number, canonical(method), params)


def notification(method: str, params: bytes = b"{}") -> bytes:
    return b'{"jsonrpc":"2.0","method":%b,"params":%b}' % (canonical(method), params)


def spliced(parts: Mapping[str, bytes]) -> bytes:
    """An object of these members, each value as it stands."""
    return b"{" + b",".join(canonical(name) + b":" + value for name, value in parts.items()) + b"}"


def _id(value: dict[str, Json], parts: Mapping[str, bytes]) -> bytes | None:
    """Its text; None where there is no id at all."""
    if "id" not in value:
        return None
    number = value["id"]
    if type(number) is str and 0 < len(number) <= ID_CHARS_MAX:
        return canonical(number)
    if type(number) is int and _NUMBER.match(parts["id"]):
        return parts["id"]
    raise Bad(Reason.ERR_MCP_ID_CONFLICT, INVALID_REQUEST, "an `id` is a string or a whole number", sub="id")


def _response(value: dict[str, Json], parts: Mapping[str, bytes], number: bytes | None) -> Response:
    if number is None or ("result" in value) is ("error" in value) or len(value) != 3:
        raise _misshapen("neither a request nor an answer", number or NULL)
    if type(value.get("result", value.get("error"))) is not dict:
        raise _misshapen("an answer is an object", number)
    return Response(number, parts.get("result"), parts.get("error"))


def _misshapen(detail: str, number: bytes = NULL) -> Bad:
    return Bad(Reason.ERR_UPSTREAM_SHAPE, INVALID_REQUEST, detail, number=number)
