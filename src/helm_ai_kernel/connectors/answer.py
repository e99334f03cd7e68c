"""The answer of an HTTP API as the output of a tool: `{"status":200,"body":…}`.

A JSON body stands in it byte for byte as it was sent; text becomes a JSON string. What is hashed is what is released, so nothing
is rendered again. A body that has no one reading (faults 9.12) stands in it as bytes, under a name that no contract allows: it is
kept as evidence, and withheld. `docs/spec/connector-http.md` is the specification.
"""

import base64
import re
from collections.abc import Collection

from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire.response import Response

SECRET_CHARS_MIN = 8  # shorter parts of a secret (`Basic`, `Bearer`) are words of any answer

_JSON = re.compile(r"application/([a-z0-9.-]+\+)?json\Z")
_TEXT = re.compile(r"text/(?!event-stream\Z)[a-z0-9.+-]+\Z|application/(([a-z0-9.-]+\+)?xml|x-ndjson|yaml)\Z")


def output(response: Response, *, with_body: bool) -> tuple[bytes, str]:
    """The output, and why no contract allows it: "" where one may."""
    opening = b'{"status":%d' % response.status
    if not with_body or not response.body:
        return opening + b"}", ""
    body, sub = _body(response)
    if sub:
        kind = canonical(response.type.encode("ascii", "replace").decode()[:256])
        return opening + b',"content_type":' + kind + b',"base64":"' + base64.b64encode(response.body) + b'"}', sub
    return opening + b',"body":' + body + b"}", ""


def echoes(body: bytes, secrets: Collection[str]) -> bool:
    """Whether a secret stands in the body as it was sent, or a part of it between blanks."""
    parts = {part for secret in secrets for part in (secret, *secret.split()) if len(part) >= SECRET_CHARS_MIN}
    return any(part.encode() in body for part in parts)


def _body(response: Response) -> tuple[bytes, str]:
    """The body as JSON text, or why it has no one reading."""
    kind, charset = _type(response.type)
    if _JSON.match(kind) and charset in ("", "utf-8"):
        try:
            parse(response.body, bytes_max=len(response.body), any_number=True)  # alone: a part of JSON could be two members
        except Refused as refused:
            return b"", f"json {refused.sub}"
        return response.body.strip(b" \t\r\n"), ""
    if _TEXT.match(kind) and charset in ("", "utf-8", "us-ascii"):
        try:
            return canonical(response.body.decode("utf-8" if charset != "us-ascii" else "ascii")), ""
        except UnicodeDecodeError:
            return b"", "charset"
    return b"", "charset" if _JSON.match(kind) or _TEXT.match(kind) else "content_type"


def _type(text: str) -> tuple[str, str]:
    """Media type and charset in lower case; two charsets are one that nobody knows."""
    kind, *more = (part.strip().lower() for part in text.split(";"))
    charsets = [value.strip('"') for name, _, value in (part.partition("=") for part in more) if name.strip() == "charset"]
    return kind, charsets[0] if len(charsets) == 1 else "?" if charsets else ""
