"""The few pieces of OpenSSH's formats that we read: length-prefixed strings, an Ed25519 public key, a private key file's head.

RFC 4253 §6.6, RFC 8709 §4, and OpenSSH's PROTOCOL.key. Only `ssh-ed25519`.
"""

import base64
import binascii
from collections.abc import Iterator

from helm_ai_kernel.tcb.digest import sha256

from .files import unavailable

KEY_TYPE = b"ssh-ed25519"
_MAGIC = b"openssh-key-v1\0"
_BEGIN, _END = b"-----BEGIN OPENSSH PRIVATE KEY-----", b"-----END OPENSSH PRIVATE KEY-----"


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def strings(data: bytes) -> Iterator[bytes]:
    """The strings that `data` consists of; raises ValueError where it does not."""
    place = 0
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        place += 4 + size
        if place > len(data):
            raise ValueError("a string is cut off")
        yield data[place - size : place]


def blob(raw: bytes) -> bytes:
    """A public key as ssh writes it."""
    return string(KEY_TYPE) + string(raw)


def raw_public(key_blob: bytes) -> bytes | None:
    """The 32 bytes of an Ed25519 public key; None for any other key."""
    try:
        parts = list(strings(key_blob))
    except ValueError:
        return None
    return parts[1] if len(parts) == 2 and parts[0] == KEY_TYPE and len(parts[1]) == 32 else None


def fingerprint(raw: bytes) -> str:
    """As `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(sha256(blob(raw))).decode().rstrip("=")


def public_line(raw: bytes, comment: str) -> bytes:
    """The content of a `.pub` file."""
    return KEY_TYPE + b" " + base64.b64encode(blob(raw)) + b" " + comment.encode() + b"\n"


def read_public_line(line: bytes) -> bytes:
    """The 32 bytes of the Ed25519 key in a `.pub` file; raises `OutsideError`."""
    parts = line.split(None, 2)
    try:
        raw = raw_public(base64.b64decode(parts[1], validate=True)) if len(parts) > 1 and parts[0] == KEY_TYPE else None
    except binascii.Error:
        raw = None
    if raw is None:
        raise unavailable("not an `ssh-ed25519` public key", "make one: ssh-keygen -t ed25519 -f FILE")
    return raw


def cipher(pem: bytes) -> bytes | None:
    """The cipher of a private key file (`b"none"` for one that anybody can use); None if it is no such file."""
    lines = pem.strip().splitlines()
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        return None
    try:
        data = base64.b64decode(b"".join(lines[1:-1]), validate=True)
        return next(strings(data.removeprefix(_MAGIC))) if data.startswith(_MAGIC) else None
    except (ValueError, StopIteration):  # binascii.Error is a ValueError
        return None
