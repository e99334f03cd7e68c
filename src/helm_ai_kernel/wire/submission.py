"""What a log sends to a witness: which tree the witness has, what proves that the new one contains it, and the new checkpoint.

C2SP tlog-witness, the body of `add-checkpoint` (`docs/spec/witness.md`). It has one form: what was parsed is encoded again and
compared.
"""

import base64
import binascii
import re
from dataclasses import dataclass

from helm_ai_kernel.tcb.checkpoint import NOTE_BYTES_MAX, SIZE_MAX, Checkpoint
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.merkle import HASH_BYTES

PROOF_MAX = 63  # hashes; so many levels has a tree of 2^63 leaves (tlog-witness)
PATH = "/add-checkpoint"
SIZE_TYPE = "text/x.tlog.size"  # of the answer that says which size the witness has
BYTES_MAX = NOTE_BYTES_MAX + (PROOF_MAX + 1) * 48  # a hash in base64 has 44 characters

_SIZE = re.compile(rb"(0|[1-9][0-9]{0,15})\Z")


@dataclass(frozen=True, slots=True)
class Submission:
    """`old`: the size that the witness has cosigned last, as far as the sender knows."""

    old: int
    proof: tuple[bytes, ...]  # 32 each
    checkpoint: Checkpoint

    @classmethod
    def from_bytes(cls, data: bytes) -> "Submission":
        """Raises `EvidenceError` (PACK_MALFORMED, or CHECKPOINT_SIG for the note in it). Checks neither proof nor signature."""
        if len(data) > BYTES_MAX:
            raise _wrong("the request is too large")
        head, blank, note = data.partition(b"\n\n")
        first, *lines = head.split(b"\n")
        if not blank or len(lines) > PROOF_MAX or not first.startswith(b"old "):
            raise _wrong("the request is not an old size, hashes, an empty line and a checkpoint")
        found = cls(parse_size(first[4:]), tuple(map(_hash, lines)), Checkpoint.from_bytes(note))
        if found.to_bytes() != data:
            raise _wrong("the request is not the one form of what it says")
        return found

    def to_bytes(self) -> bytes:
        hashes = b"".join(base64.b64encode(item) + b"\n" for item in self.proof)
        return b"old %d\n%s\n%s" % (self.old, hashes, self.checkpoint.note)


def parse_size(text: bytes) -> int:
    """A size without leading zeros; raises `EvidenceError(PACK_MALFORMED)`."""
    if not _SIZE.match(text) or int(text) > SIZE_MAX:
        raise _wrong("a size is a decimal number without leading zeros up to 2^53-1")
    return int(text)


def _hash(line: bytes) -> bytes:
    try:
        item = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        item = b""
    if len(item) != HASH_BYTES:
        raise _wrong("a hash of the proof is not base64 of 32 bytes")
    return item


def _wrong(detail: str) -> EvidenceError:
    return EvidenceError(Finding.PACK_MALFORMED, detail)
