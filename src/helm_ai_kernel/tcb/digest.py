"""The one hash of the product: SHA-256, written `sha256:` and 64 lowercase hex digits everywhere."""

import hashlib
import re
from collections.abc import Iterable
from typing import NewType

Digest = NewType("Digest", str)

_TEXT = re.compile(r"sha256:[0-9a-f]{64}\Z")
PREFIX = "sha256:"
SALT_BYTES = 32  # before the content of each attachment: without it, who guesses the content can prove the guess


def sha256(data: bytes) -> bytes:
    """The 32 raw bytes; everything else in the product that hashes calls this."""
    return hashlib.sha256(data).digest()


def digest(data: bytes) -> Digest:
    return Digest(PREFIX + hashlib.sha256(data).hexdigest())


def digest_of(parts: Iterable[bytes]) -> Digest:
    """Of what the parts are together."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return Digest(PREFIX + whole.hexdigest())


def text(raw: bytes) -> Digest:
    """The text form of 32 raw bytes."""
    return Digest(PREFIX + raw.hex())


def raw(value: Digest) -> bytes:
    return bytes.fromhex(value[len(PREFIX) :])


def is_digest(value: object) -> bool:
    return type(value) is str and _TEXT.match(value) is not None


def leaf(line: bytes) -> Digest:
    """RFC 6962 leaf hash of a record's line (without its newline)."""
    return digest(b"\x00" + line)


def attachment_name(salt: bytes, content: bytes) -> Digest:
    """The name of an attachment *is* the hash that receipts carry: `sha256(salt || content)`, salt of 32 fresh bytes."""
    return digest(salt + content)
