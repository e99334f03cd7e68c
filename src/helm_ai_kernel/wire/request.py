"""The bytes of an HTTP/1.1 request: what could be read as another one is refused where the request is made (faults 9.5)."""

import re
from collections.abc import Iterable

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused

HEAD_BYTES_MAX = 16 << 10  # the target has at most 8 KiB, and a pin a few fields of 1 KiB

_METHOD = re.compile(r"[A-Z]{1,16}\Z")
_TARGET = re.compile(r"/[!-~]*\Z")
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}\Z")  # RFC 9110 §5.1
_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?\Z")  # stricter than §5.5: no obs-text, no tab, no blanks at the ends
_AUTHORITY = re.compile(r"[a-z0-9.:\[\]-]{1,261}\Z")


def encode(method: str, target: str, authority: str, headers: Iterable[tuple[str, str]], body: bytes | None) -> bytes:
    """A whole request; raises `Refused(ERR_UPSTREAM_SHAPE)`, whose words hold no value of a header."""
    if not _METHOD.match(method) or not _TARGET.match(target) or not _AUTHORITY.match(authority):
        raise _refused("request_line", "the method, the target or the host cannot stand in a request")
    fields = [("host", authority), *headers]
    if body is not None:
        fields.append(("content-length", str(len(body))))
    seen: set[str] = set()
    for name, value in fields:
        if not _NAME.match(name) or name.lower() in seen:
            raise _refused("header", "the name of a header is no token, or stands there twice")
        if not _VALUE.match(value):
            raise _refused("header", f"the value of the header `{name}` is not made of visible ASCII characters and blanks")
        seen.add(name.lower())
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
    head = "\r\n".join(lines).encode("ascii")
    if len(head) > HEAD_BYTES_MAX:
        raise _refused("size", f"the head of the request has more than {HEAD_BYTES_MAX} bytes")
    return head + (body or b"")


def _refused(sub: str, detail: str) -> Refused:
    return Refused(Reason.ERR_UPSTREAM_SHAPE, detail, sub=sub)
