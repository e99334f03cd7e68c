"""The signed record: every statement that anyone signs, on every surface, is one of these.

A signature is over the DSSE pre-authentication encoding of the payload type and the canonical body, so a signature of one
kind can never serve as another (DSSE v1; `docs/spec/record.md`). On disk a record is one canonical JSON line.
"""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import fields
from .codes import Finding
from .digest import Digest, leaf
from .errors import EvidenceError
from .ijson import Json, parse_evidence
from .jcs import canonical
from .keys import ED25519, PublicKey, Signer

LINE_BYTES_MAX = 1 << 20  # a record is a few hundred bytes; statements carry at most a catalogue's tool list
SIGS_MAX = 64  # more signers than any threshold that a person could manage

_TOP, _SIG = frozenset({"body", "sigs"}), frozenset({"key", "sig"})
_KEY_ID = re.compile(r"[a-z][a-z0-9-]{0,30}:[0-9a-f]{64}\Z")

KeyLookup = Callable[[str], PublicKey]  # key id -> key; raises EvidenceError(KEY_UNKNOWN)


def payload_type(kind: str) -> bytes:
    return b"application/vnd.helm." + kind.encode() + b".v1+json"


def pae(kind: str, payload: bytes) -> bytes:
    """DSSE v1 pre-authentication encoding: the bytes that are signed."""
    name = payload_type(kind)
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)


@dataclass(frozen=True, slots=True)
class Record:
    """A parsed record. `line` has no newline; `kind` and `signers` are repeated in the signed body."""

    kind: str
    body: dict[str, Json]
    payload: bytes  # JCS(body)
    sigs: tuple[tuple[str, bytes], ...]  # (key id, 64 bytes), sorted by key id
    line: bytes

    @property
    def leaf(self) -> Digest:
        return leaf(self.line)

    @classmethod
    def from_bytes(cls, line: bytes) -> "Record":
        """Raises `EvidenceError`: NON_CANONICAL, PACK_MALFORMED or UNSUPPORTED. Checks no signature."""
        record = cls.from_json(parse_evidence(line, bytes_max=LINE_BYTES_MAX))
        if record.line != line:
            raise EvidenceError(Finding.NON_CANONICAL, "the line is not the canonical form of what it says")
        return record

    @classmethod
    def unsafe_from_vetted(cls, line: bytes) -> "Record":
        """A line that `from_bytes` took before, here or in another process: only its body is read again."""
        body = fields.typed(fields.exact(parse_evidence(line, bytes_max=LINE_BYTES_MAX), _TOP), "body", dict)
        return cls(fields.text(body, "kind", bytes_max=32), body, b"", (), line)

    @classmethod
    def from_json(cls, value: Json) -> "Record":
        """A parsed line, or a record inside another (a person's statement inside its receipt)."""
        top = fields.exact(value, _TOP)
        body = fields.typed(top, "body", dict)
        kind = fields.text(body, "kind", bytes_max=32)
        if body.get("v") != 1 or type(body.get("v")) is not int:
            raise EvidenceError(Finding.UNSUPPORTED, "this verifier reads version 1 only")
        sigs = tuple(_sig(item) for item in fields.typed(top, "sigs", list))
        names = tuple(key for key, _ in sigs)
        if not 0 < len(sigs) <= SIGS_MAX or list(names) != sorted(set(names)):
            raise fields.wrong("`sigs` is empty, too long, unsorted or names a key twice")
        if fields.strings(body, "signers") != names:
            raise EvidenceError(Finding.SIG_INVALID, "`signers` in the body and the keys in `sigs` differ")
        payload = canonical(body)
        return cls(kind, body, payload, sigs, _line(payload, sigs))

    def to_bytes(self) -> bytes:
        return self.line

    def to_json(self) -> dict[str, Json]:
        return {"body": self.body, "sigs": [{"key": key, "sig": _b64(sig)} for key, sig in self.sigs]}

    def verify(self, lookup: KeyLookup) -> None:
        """Every signature, none skipped; raises `EvidenceError`. Who had to sign is the caller's question."""
        message = pae(self.kind, self.payload)
        for key, sig in self.sigs:
            lookup(key).verify(message, sig)


def seal(body: dict[str, Json], signers: Sequence[Signer]) -> Record:
    """Sign `body`, which gets its `signers` here. The one place where a record is signed."""
    ordered = sorted(signers, key=lambda signer: signer.public.id)
    body["signers"] = [signer.public.id for signer in ordered]
    kind = str(body["kind"])
    payload = canonical(body)
    message = pae(kind, payload)
    sigs = tuple((signer.public.id, signer.sign(message)) for signer in ordered)
    return Record(kind, body, payload, sigs, _line(payload, sigs))


def _line(payload: bytes, sigs: Sequence[tuple[str, bytes]]) -> bytes:
    """The canonical line: `body` sorts before `sigs`, and key ids and base64 have nothing to escape."""
    tail = ",".join(f'{{"key":"{key}","sig":"{_b64(sig)}"}}' for key, sig in sigs)
    return b'{"body":' + payload + b',"sigs":[' + tail.encode() + b"]}"


def _sig(item: Json) -> tuple[str, bytes]:
    if type(item) is dict and "proof" in item:
        raise EvidenceError(Finding.UNSUPPORTED, "a signature with a `proof` is of a scheme that is not known here")
    entry = fields.exact(item, _SIG)
    key, encoded = fields.text(entry, "key", bytes_max=96), fields.text(entry, "sig", bytes_max=88)
    if not _KEY_ID.match(key):
        raise EvidenceError(Finding.SIG_INVALID, "a key id is a scheme, a colon and 64 hex digits")
    if not key.startswith(ED25519 + ":"):
        raise EvidenceError(Finding.UNSUPPORTED, "a signature of a scheme that is not known here")
    try:
        sig = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise EvidenceError(Finding.SIG_INVALID, "a signature is not base64") from None
    if len(sig) != 64 or _b64(sig) != encoded:
        raise EvidenceError(Finding.SIG_INVALID, "a signature has more than one textual form or a wrong length")
    return key, sig


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
