"""Asking a witness for its cosignature (C2SP tlog-witness): one request, bounded in time and bytes, no redirects, no proxies.

What comes back is somebody's word: the caller verifies a cosignature. That a witness has another tree is told by nothing but the
connection, so it is TLS, or does not leave this machine.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from helm_ai_kernel.tcb.checkpoint import NOTE_BYTES_MAX
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.findings import visible
from helm_ai_kernel.wire.submission import PATH, SIZE_TYPE, Submission, parse_size

CONNECT_S = 5.0  # for each address of the host, and for each part of an answer
WHOLE_S = 15.0  # from the connection to the last byte: nobody holds us by answering slowly
ANSWER_BYTES_MAX = NOTE_BYTES_MAX  # signature lines, which have to fit into a note


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The lines that the witness answered with. Nothing about them is verified."""

    lines: bytes


@dataclass(frozen=True, slots=True)
class Conflict:
    """The witness cosigned a tree of this size last, and not the one that was named; or another one of the same size."""

    size: int


@dataclass(frozen=True, slots=True)
class Inconsistent:
    """The witness does not accept the proof: what it cosigned is no part of what was sent."""


Said = Cosigned | Conflict | Inconsistent


def check_url(url: str) -> SplitResult:
    """`url` as one that is asked; raises `OutsideError`."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise _failed(url, "it is no URL", "correct the witness policy") from None
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or "@" in parts.netloc:
        raise _failed(url, "a witness has a URL of `https`, without user, query and fragment", "correct the witness policy")
    if parts.scheme == "http" and not _is_loopback(host):
        raise _failed(url, "without TLS anybody on the way could speak for the witness", "use https")
    if not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
        raise _failed(url, "a URL is written in visible ASCII", "correct the witness policy")
    return parts


def submit(url: str, submission: Submission) -> Said:
    """Ask the witness with that submission prefix; raises `OutsideError(ERR_EVIDENCE_UNAVAILABLE)` where it does not answer."""
    parts = check_url(url)
    connection = _connection(parts)
    try:
        connection.connect()
        end = threading.Timer(WHOLE_S, _cut, (connection.sock,))
        end.daemon = True
        end.start()
        try:
            headers = {"Content-Type": "text/plain; charset=utf-8", "Connection": "close"}
            connection.request("POST", parts.path.rstrip("/") + PATH, submission.to_bytes(), headers)
            answer = connection.getresponse()
            body = answer.read(ANSWER_BYTES_MAX + 1)
            if answer.length and len(body) <= ANSWER_BYTES_MAX:
                raise http.client.IncompleteRead(body, answer.length)
        finally:
            end.cancel()
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: TLS that was cut in the middle
        cause = (getattr(error, "strerror", "") or str(error) or type(error).__name__).lower()
        raise _failed(url, visible(cause.strip(), 200)) from None
    finally:
        connection.close()
    return _read(url, answer.status, answer.getheader("Content-Type", ""), body)


def _read(url: str, status: int, kind: str, body: bytes) -> Said:
    if len(body) > ANSWER_BYTES_MAX:
        raise _failed(url, f"it answered with more than {ANSWER_BYTES_MAX} bytes")
    if status == 200:
        return Cosigned(body)
    if status == 409 and kind.partition(";")[0].strip().lower() == SIZE_TYPE:
        with suppress(EvidenceError):
            if body.endswith(b"\n"):
                return Conflict(parse_size(body[:-1]))
    if status == 422:
        return Inconsistent()
    said = visible(" ".join(body[:200].decode("ascii", "replace").split()), 200)
    if status in (403, 404):
        raise _failed(url, f"it answered {status} and does not know this log's key: {said}", "helm-ai-kernel checkpoint --vkey")
    raise _failed(url, f"it answered {status}: {said}")


def _connection(parts: SplitResult) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, parts.port, timeout=CONNECT_S, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, parts.port, timeout=CONNECT_S)


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _failed(url: str, cause: str, hint: str = "") -> OutsideError:
    shown = url[:200].encode("ascii", "backslashreplace").decode()
    hint = hint or "the next round asks again; see to the witness"
    return OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, f"the witness at `{shown}`: {cause}", hint=hint)
