"""A checkpoint: size and root of a log at one moment, signed by the log's key. It is what makes truncation and forks visible.

The bytes are a C2SP tlog-checkpoint in a signed note (c2sp.org/tlog-checkpoint, c2sp.org/signed-note; `docs/spec/log.md`), so
that any witness can cosign them. A checkpoint has one form: what was parsed is encoded again and compared.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .codes import Finding
from .digest import sha256
from .errors import EvidenceError
from .keys import SIG_BYTES, PublicKey, Purpose, Signer
from .merkle import HASH_BYTES

NOTE_BYTES_MAX = 1 << 17  # 16 post-quantum cosignatures of 5 kB, which every verifier must take, and as much again for the rest
SIGS_MAX = 64  # as many as a record may have
ORIGIN_CHARS_MAX = 256
SIZE_MAX = (1 << 53) - 1  # sizes also stand in JSON

KEY_HASH_BYTES = 4
TYPES = {Purpose.LOG: b"\x01", Purpose.WITNESS: b"\x04"}  # of signatures in notes, C2SP signed-note: a note's own, a cosignature
_DASH = "\N{EM DASH} "
_ORIGIN = re.compile(r"[!-*,-~]{1,256}\Z")  # visible ASCII without the plus: no two origins look alike
_SIZE = re.compile(r"(0|[1-9][0-9]{0,15})\Z")
_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f]")
# Unicode's White_Space, written out: `\s` and `str.isspace` differ from it and between languages
NAME = re.compile("[^+ \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]{1,256}\\Z")


def key_hash(name: str, key: PublicKey) -> bytes:
    """How a signature line names its key, which is a log's or a witness's (C2SP signed-note)."""
    return sha256(name.encode() + b"\n" + TYPES[key.purpose] + key.raw)[:KEY_HASH_BYTES]


def signature_line(name: str, sig: bytes) -> str:
    """`sig` with the key's hash before it."""
    return f"{_DASH}{name} {base64.b64encode(sig).decode()}\n"


def is_origin(value: str) -> bool:
    """Whether `value` can name a log."""
    return _ORIGIN.match(value) is not None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A parsed checkpoint. `sigs` are (name, key hash and signature) in the note's order: the log's, and any cosignatures."""

    origin: str
    size: int
    root: bytes  # 32
    sigs: tuple[tuple[str, bytes], ...]
    note: bytes

    @classmethod
    def from_bytes(cls, note: bytes) -> "Checkpoint":
        """Raises `EvidenceError(CHECKPOINT_SIG)`. Checks no signature."""
        text, lines = _split(note)
        head = text.split("\n")
        if len(head) != 4:  # three lines, and nothing after the last newline
            raise _wrong("the text is not origin, size and root; extension lines are not read here")
        origin, size, encoded, _ = head
        if not is_origin(origin):
            raise _wrong("the origin is not visible ASCII without spaces and plus signs")
        if not _SIZE.match(size) or int(size) > SIZE_MAX:
            raise _wrong("the size is not a decimal number without leading zeros up to 2^53-1")
        root = _base64(encoded)
        if len(root) != HASH_BYTES:
            raise _wrong("the root is not 32 bytes")
        sigs = tuple(_parse_sig(line) for line in lines)
        if _text(origin, int(size), root) + _signatures(sigs) != note:
            raise _wrong("the note is not the one form of what it says")
        return cls(origin, int(size), root, sigs, note)

    def to_bytes(self) -> bytes:
        return self.note

    @property
    def text(self) -> bytes:
        """What is signed."""
        return _text(self.origin, self.size, self.root)

    def with_lines(self, lines: bytes) -> "Checkpoint":
        """The same note with these signature lines behind its own; raises as `from_bytes`, and checks no signature."""
        added = Checkpoint.from_bytes(self.note + lines)
        if added.text != self.text:
            raise _wrong("what was to be added is not signature lines")
        return added

    def lines_of(self, name: str, hash: bytes) -> list[bytes]:
        """The signature lines (key hash and signature) in that name, by the key of that hash."""
        return [sig for line, sig in self.sigs if line == name and sig[:KEY_HASH_BYTES] == hash]

    def only(self, name: str, hash: bytes) -> "Checkpoint":
        """The same note with just these lines, of which there is one."""
        kept = tuple((name, sig) for sig in self.lines_of(name, hash))
        return Checkpoint(self.origin, self.size, self.root, kept, self.text + _signatures(kept))

    def verify(self, origin: str, key: PublicKey) -> None:
        """The log `origin`, whose key is `key`, signed this once; raises `EvidenceError(CHECKPOINT_SIG)`.

        Lines by keys that were not asked about prove nothing, and are ignored (C2SP signed-note).
        """
        if key.purpose is not Purpose.LOG:
            raise _wrong(f"a key for `{key.purpose}` does not sign checkpoints")
        if self.origin != origin:
            raise _wrong(f"the checkpoint is of log `{self.origin}`, not of `{origin}`")
        mine = self.lines_of(origin, key_hash(origin, key))
        if len(mine) != 1:
            raise _wrong(f"the log's key signed {len(mine)} times, not once")
        try:
            key.verify(self.text, mine[0][KEY_HASH_BYTES:])
        except EvidenceError as error:
            raise _wrong(error.detail) from None

    def signer(self, keys: Sequence[PublicKey]) -> PublicKey:
        """The one of these keys of the log that signed this; raises `EvidenceError(CHECKPOINT_SIG)`."""
        last = _wrong(f"no key is known for the log `{self.origin}`")
        for key in keys:
            try:
                self.verify(self.origin, key)
                return key
            except EvidenceError as error:
                last = error
        raise last


def sign(origin: str, size: int, root: bytes, signer: Signer) -> Checkpoint:
    """The one place where a checkpoint is signed. That it extends every earlier one is the caller's to know."""
    if signer.public.purpose is not Purpose.LOG:
        raise ValueError("a checkpoint is signed by a log key")
    if not is_origin(origin) or not 0 <= size <= SIZE_MAX or len(root) != HASH_BYTES:
        raise ValueError("no checkpoint has such an origin, size or root")
    text = _text(origin, size, root)
    sig = signer.sign(text)
    if len(sig) != SIG_BYTES:
        raise ValueError("an Ed25519 signature has 64 bytes")
    sigs = ((origin, key_hash(origin, signer.public) + sig),)
    return Checkpoint(origin, size, root, sigs, text + _signatures(sigs))


def _split(note: bytes) -> tuple[str, list[str]]:
    """The signed text with its last newline, and the signature lines, apart at the last empty line."""
    if len(note) > NOTE_BYTES_MAX:
        raise _wrong("the note is too large")
    try:
        decoded = note.decode()
    except UnicodeDecodeError:
        raise _wrong("the note is not UTF-8") from None
    if _CONTROLS.search(decoded):
        raise _wrong("the note has control characters")
    text, blank, rest = decoded.rpartition("\n\n")
    lines = rest.split("\n")
    if not blank or lines.pop() or not 0 < len(lines) <= SIGS_MAX:
        raise _wrong("the note is not a text, an empty line and whole signature lines")
    return text + "\n", lines


def _parse_sig(line: str) -> tuple[str, bytes]:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or not NAME.match(name):
        raise _wrong("a signature line is not a dash, a name and a signature")
    sig = _base64(encoded)
    if len(sig) <= KEY_HASH_BYTES:
        raise _wrong("a signature line has no signature")
    return name, sig


def _text(origin: str, size: int, root: bytes) -> bytes:
    return b"%s\n%d\n%s\n" % (origin.encode(), size, base64.b64encode(root))


def _signatures(sigs: tuple[tuple[str, bytes], ...]) -> bytes:
    return ("\n" + "".join(signature_line(name, sig) for name, sig in sigs)).encode()


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong("a root or signature is not base64") from None


def _wrong(detail: str) -> EvidenceError:
    return EvidenceError(Finding.CHECKPOINT_SIG, detail)
