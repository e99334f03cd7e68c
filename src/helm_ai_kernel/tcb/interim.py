"""What was released while a call was under way, before its outcome: how many messages, and a running hash over them.

The hash binds each message and their order, and whoever kept the messages computes it again; an outcome holds only the two
(`docs/spec/receipt.md`, Interim output).
"""

from dataclasses import dataclass

from . import digest as hashes
from . import fields
from .digest import sha256
from .ijson import Json

NONE_YET = bytes(32)  # the running hash before the first message


@dataclass(frozen=True, slots=True)
class Interim:
    """So many messages, and `hash` over them."""

    count: int = 0
    hash: bytes = NONE_YET

    def next(self, message: bytes) -> "Interim":
        """After one more message, by the bytes of it that were released."""
        return Interim(self.count + 1, sha256(self.hash + sha256(message)))

    def to_json(self) -> dict[str, Json]:
        return {"count": self.count, "hash": hashes.text(self.hash)}

    @classmethod
    def from_json(cls, value: Json) -> "Interim":
        """Raises `EvidenceError`; where nothing was released, nothing is said."""
        body = fields.exact(value, {"count", "hash"})
        count = fields.count(body, "count")
        if not count:
            raise fields.wrong("an `interim` of no message is left out")
        return cls(count, hashes.raw(fields.digest(body, "hash")))
