"""What a door answers, and the bytes that say it.

A value that was built from what somebody sent (a tool's name, a session, an echo) cannot begin a second field or a second answer:
that is refused where the reply is made, before it is anybody's. Framing, and what goes from hop to hop, is written here alone.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Verdict
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical

from .status import STATUS

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
JSON = ("Content-Type", "application/json")
BODILESS = frozenset({204, 304})  # RFC 9110 §6.4.1

Fields = tuple[tuple[str, str], ...]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_VALUE = re.compile(r"(?:[!-~\xa0-\xff](?:[ -~\xa0-\xff]*[!-~\xa0-\xff])?)?")
_OURS = frozenset({
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length",
    "x-content-type-options", "cache-control",
})  # fmt: skip
_ALWAYS = "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: "
_PHRASES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. An iterator is sent in chunks as it yields; it is closed when the client goes."""

    status: int
    fields: Fields = ()
    body: bytes | AsyncIterator[bytes] = b""

    def __post_init__(self) -> None:
        """Raises `Refused(ERR_HTTP_AMBIGUOUS)` for a field that could be read as more than one."""
        if self.status < 200 or self.status not in _PHRASES or (self.status in BODILESS and self.body):
            raise ValueError(f"a reply with status {self.status} and this body")
        for name, value in self.fields:
            if not _is_name(name) or not _VALUE.fullmatch(value):
                raise Refused(Reason.ERR_HTTP_AMBIGUOUS, "a header field of an answer is not one line of Latin-1", sub="field")


@lru_cache(maxsize=256)
def _is_name(name: str) -> bool:
    """Raises `ValueError` for one that only the front writes. Doors write the same names again and again."""
    if name.lower() in _OURS:
        raise ValueError(f"`{name}` is written by the front")
    return _NAME.fullmatch(name) is not None


def head_bytes(reply: Reply, *, keeps_open: bool, chunked: bool) -> bytes:
    """The status line and the fields. `chunked`: the body is an iterator's, of a length that nobody knows."""
    lines = [_PHRASES[reply.status]]
    lines += [f"{name}: {value}\r\n" for name, value in reply.fields]
    if chunked:
        lines.append("Transfer-Encoding: chunked\r\n")
    elif isinstance(reply.body, bytes) and reply.status not in BODILESS:
        lines.append(f"Content-Length: {len(reply.body)}\r\n")
    if reply.status == HTTPStatus.UPGRADE_REQUIRED:
        lines.append("Upgrade: HTTP/1.1\r\n")  # RFC 9110 §15.5.22: what is spoken instead
    return ("".join(lines) + _ALWAYS + ("keep-alive\r\n\r\n" if keeps_open else "close\r\n\r\n")).encode("latin-1")


def chunk(piece: bytes) -> bytes:
    """One chunk; nothing for an empty piece, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""


def refusal(
    reason: Reason, message: str, *, hint: str = "", status: int = 0, fields: Fields = (), helm: Mapping[str, Json] | None = None
) -> Reply:
    """`{"error","helm"}`, the one form that all doors have.

    `status`: of a refusal that says more by it than its reason does, as 404. `helm`: what is told of the call besides.
    """
    error: dict[str, Json] = {"message": message, "type": "helm_refused", "code": reason.value}
    told: dict[str, Json] = {"verdict": Verdict.DENY.value, "reason": reason.value, "hint": hint, **(helm or {})}
    return Reply(status or STATUS[reason], (JSON, *fields), canonical({"error": error, "helm": told}))
