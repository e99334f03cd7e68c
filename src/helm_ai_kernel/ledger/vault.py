"""What is kept beside receipts, under the key of whom it is about: what the ledger asks of whoever holds these keys.

Content is encrypted before it reaches SQLite, so that the file, its WAL and its free pages never hold anything else.
"""

from typing import Protocol

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError


class Subject(Protocol):
    """Whom content is about: an id, which receipts may say, and a key, which they never do."""

    @property
    def id(self) -> bytes:
        """16 random bytes."""
        ...

    def seal(self, content: bytes, place: bytes) -> bytes:
        """Encrypt `content` for one place."""
        ...

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """The inverse of `seal`; raises `EvidenceError` for what was not sealed for that place under this key."""
        ...


class Vault(Protocol):
    """The keys of all subjects. Each method raises `OutsideError` where their files cannot be used."""

    def named(self, name: str) -> Subject:
        """The subject of that name, made where there is none, durable when it returns."""
        ...

    def of(self, id: bytes) -> Subject | None:
        """The subject with that id; None where its key is not here (any more)."""
        ...

    def mark(self, text: str) -> bytes:
        """A keyed hash: finds an idempotency key again that is not kept in clear."""
        ...

    def destroy(self, *ids: bytes) -> None:
        """The keys, and every copy of them, are gone when it returns; nothing happens where they are gone already."""
        ...


class NoKeys:
    """The vault of whoever has none of the keys, as of a backup: what is kept is there, and nobody opens it."""

    def named(self, name: str) -> Subject:
        raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, "nothing is kept where the keys of subjects are not")

    def of(self, id: bytes) -> Subject | None:
        return None

    def mark(self, text: str) -> bytes:
        return b""

    def destroy(self, *ids: bytes) -> None:
        """There is nothing to destroy."""


def place(origin: str, index: int, slot: int) -> bytes:
    """Of one attachment, in all logs: what was moved to another place does not open there."""
    return f"{origin} {index} {slot}".encode()


def opened(vault: Vault, origin: str, index: int, slot: int, subject: bytes, sealed: bytes) -> bytes | None:
    """Salt and content of a stored attachment; None where the key is not here.

    Raises `OutsideError(ERR_STORE_CORRUPT)` where a key that is here does not open it.
    """
    key = vault.of(subject)
    if key is None:
        return None
    try:
        return key.open(sealed, place(origin, index, slot))
    except EvidenceError as e:
        detail = f"what is kept beside receipt {index} is damaged: {e.detail}"
        raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint="helm-ai-kernel fsck") from None
