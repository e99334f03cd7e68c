"""What the head of a request means, if it means one thing: the rules for a request line and for fields that were split already.

Every field stands once, the body has one length, the host has one name, and nothing asks for another protocol. What two readers
could understand differently is refused, not repaired: between them is where requests are smuggled (RFC 9112 §11.2).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused

from .status import STATUS

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})  # others are 501, CONNECT and TRACE among them
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})  # a body elsewhere is read by some and skipped by others: refused

_HOST = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9._-]{0,252})|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?"
)  # RFC 3986 §3.2.2, without userinfo
_LENGTH = re.compile(r"0|[1-9][0-9]{0,15}")
_PROTOCOLS = frozenset({"upgrade", "http2-settings"})  # a field that changes the protocol, or its token in `Connection`


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large one request may be."""

    line: int = 8 << 10  # bytes of the request line, with its line end: a base URL with a token has 100
    head: int = 32 << 10  # bytes of line and fields: a browser with many cookies sends 8 KiB, our clients 500
    fields: int = 100  # a browser sends 20
    body: int = 1 << 20  # bytes; a call has at most so many (`tcb/envelope.py`)
    chunks: int = 4 << 10  # of a chunked body: 256 bytes each, and who sends smaller ones costs more than they say


class Wrong(Refused):
    """A request that is not read any further: its connection has no known position any more and is closed."""

    def __init__(self, reason: Reason, detail: str, status: int = 0) -> None:
        super().__init__(reason, detail)
        self.status = status or STATUS[reason]


@dataclass(frozen=True, slots=True)
class Head:
    """A request line and header fields that have exactly one meaning."""

    method: str
    path: str  # percent-encoded as sent; begins with one `/`
    query: str  # without `?`
    host: str  # the one `Host`, in lower case
    fields: Mapping[str, str]  # names in lower case, each once; values without blanks around them

    @property
    def has_body(self) -> bool:
        return "transfer-encoding" in self.fields or self.fields.get("content-length", "0") != "0"


def ambiguous(detail: str, status: int = 0) -> Wrong:
    return Wrong(Reason.ERR_HTTP_AMBIGUOUS, detail, status)


def too_much(detail: str, status: int = 413) -> Wrong:
    return Wrong(Reason.ERR_REQUEST_BOUNDS, detail, status)


def unmediated(detail: str, status: int = 501) -> Wrong:
    return Wrong(Reason.ERR_UNMEDIATED_TRANSPORT, detail, status)


def understood(method: str, target: str, split: Iterable[tuple[bytes, bytes]]) -> Head:
    """The head that these say; raises `Wrong`. They are visible ASCII, blanks and tabs: the guard in `http1.py` saw to it."""
    fields: dict[str, str] = {}
    for raw, value in split:
        name = _name(raw)
        if name in fields:
            raise ambiguous(f"the field `{name}` stands twice")
        fields[name] = value.decode("ascii").strip(" \t")
    _one_protocol(fields)
    host = fields.get("host")
    if host is None:
        raise ambiguous("there is no `Host`")
    host = host.lower()
    if not _HOST.fullmatch(host):
        raise ambiguous("the `Host` is not a name or an address, and a port")
    if "transfer-encoding" in fields or "content-length" in fields:
        _one_length(method, fields)
    if fields.get("content-encoding", "identity").lower() != "identity":
        raise Wrong(Reason.ERR_BODY_ENCODING, "the body is encoded, and only bodies that are not are read")
    if fields.get("expect", "100-continue").lower() != "100-continue":
        raise ambiguous("something else than `100-continue` is expected", 417)
    path, _, query = target.partition("?")
    return Head(method, path, query, host, fields)


def keeps_open(head: Head) -> bool:
    """Whether another request may follow on the connection (RFC 9112 §9.3)."""
    return head.fields.get("connection", "").lower() != "close"


@lru_cache(maxsize=256)
def _name(raw: bytes) -> str:
    """Clients send the same names again and again."""
    return raw.decode("ascii").lower()


def _one_protocol(fields: Mapping[str, str]) -> None:
    connection = fields.get("connection", "close").lower()
    tokens = [token.strip(" \t") for token in connection.split(",")]
    if "upgrade" in fields or "http2-settings" in fields or not _PROTOCOLS.isdisjoint(tokens):
        if "websocket" in fields.get("upgrade", "").lower():
            raise unmediated("WebSocket is not governed here", 426)
        raise unmediated("the request asks for another protocol")
    if connection not in ("close", "keep-alive"):  # others name fields that the next reader would not see
        raise ambiguous("`Connection` is neither `close` nor `keep-alive`")


def _one_length(method: str, fields: Mapping[str, str]) -> None:
    coding, length = fields.get("transfer-encoding"), fields.get("content-length")
    if coding is not None and length is not None:
        raise ambiguous("the body has a `Content-Length` and a `Transfer-Encoding`")
    if coding is not None and coding.lower() != "chunked":
        raise ambiguous("the `Transfer-Encoding` is not `chunked`, once")
    if length is not None and not _LENGTH.fullmatch(length):
        raise ambiguous("the `Content-Length` is not one decimal number")
    if method not in WITH_BODY and length != "0":
        raise ambiguous(f"a {method} has a body")
