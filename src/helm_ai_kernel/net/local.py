"""Asking a server on this machine over its unix socket: one request, bounded in time and bytes.

Who answers is what the system says of the other end: it must be this user, or root. A path alone proves nothing.
"""

import http.client
import os
import socket
from pathlib import Path

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

from .unix import peer_uid

CONNECT_S = 2.0  # a server that is alive takes a connection at once
ANSWER_S = 60.0  # for each part of an answer: a statement waits for the disk, and for a policy to be compiled
ANSWER_BYTES_MAX = 1 << 20  # a receipt, or a refusal


def listens(path: Path) -> bool:
    """Whether somebody takes connections there."""
    try:
        _connected(path).close()
    except OSError:
        return False
    return True


def ask(path: Path, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
    """Status and body of the answer; raises `OutsideError(ERR_EVIDENCE_UNAVAILABLE)` where there is none."""
    connection = http.client.HTTPConnection("localhost")
    try:
        connection.sock = _connected(path)
        _check(connection.sock)
        connection.sock.settimeout(ANSWER_S)
        connection.request(method, target, body or None, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        said = answer.read(ANSWER_BYTES_MAX + 1)
    except (OSError, http.client.HTTPException) as error:
        cause = (getattr(error, "strerror", "") or str(error) or type(error).__name__).lower()
        detail = f"the kernel at `{path}` gave no answer, so what was asked may have happened: {cause}"
        raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint="helm-ai-kernel receipts list") from None
    finally:
        connection.close()
    return answer.status, said


def _connected(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(CONNECT_S)
        sock.connect(str(path))
    except BaseException:
        sock.close()
        raise
    return sock


def _check(sock: socket.socket) -> None:
    if (uid := peer_uid(sock)) not in (0, os.geteuid()):
        raise ConnectionRefusedError(0, f"it belongs to user {uid}")
