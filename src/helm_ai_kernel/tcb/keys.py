"""Keys with one purpose for life, and the one signature primitive of the product: strict Ed25519.

Common libraries accept the identity point as a key, and then one signature verifies for every message. So the strict
profile stands here, explicit, and does not rest on what a library happens to refuse (RFC 8032; `docs/spec/keys.md`).
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from nacl.bindings import crypto_core_ed25519_is_valid_point, crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from .codes import Finding
from .digest import sha256
from .errors import EvidenceError

ED25519 = "ed25519"
P = 2**255 - 19  # the field
L = 2**252 + 27742317777372353535851937790883648493  # the order of the prime-order subgroup
RAW_BYTES = 32
SIG_BYTES = 64

_SIGN_BIT = 1 << 255  # the sign of x, above the 255 bits of y
_ORDER_8_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826  # y of two points; -y is that of the other two
_ZERO_X = (1, P - 1)  # the two y with x = 0, where the sign bit says "-0"
_SMALL_Y = (0, *_ZERO_X, _ORDER_8_Y, P - _ORDER_8_Y)  # orders 4, 1, 2, 8, 8: the whole 8-torsion
_LARGE_Y = range(P, 2**255)  # each is a second name of y - P

# Every encoding that is not canonical or is of low order: 38 with y >= p, 8 canonical points, 2 times "-0". Complete by
# enumeration, so one look-up is the whole check; an encoding outside it that is no point is the library's to refuse.
FORBIDDEN = frozenset((y | sign).to_bytes(RAW_BYTES, "little") for y in (*_SMALL_Y, *_LARGE_Y) for sign in (0, _SIGN_BIT))


class Purpose(StrEnum):
    """What a key may sign. A raw public key occurs once, in one purpose, ever."""

    ROOT = "root"  # the registry, policy bundles, override
    APPROVAL = "approval"  # a person's statements
    EXECUTION = "execution"  # receipts
    LOG = "log"  # checkpoints
    WITNESS = "witness"  # cosignatures
    RELEASE = "release"  # releases of the product


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Made by `register` from outside bytes. `id` names scheme, purpose and key at once, so that none can be swapped."""

    purpose: Purpose
    raw: bytes  # 32
    scheme: str = ED25519
    id: str = field(init=False)

    def __post_init__(self) -> None:
        if self.scheme != ED25519:
            raise EvidenceError(Finding.UNSUPPORTED, f"key scheme `{self.scheme[:32]}` is not known here")
        if len(self.raw) != RAW_BYTES:
            raise EvidenceError(Finding.KEY_WEAK, "a public key has 32 bytes")
        object.__setattr__(self, "id", _key_id(self.scheme, self.purpose, self.raw))

    @classmethod
    def register(cls, raw: bytes, purpose: Purpose) -> "PublicKey":
        """A key that may be believed from now on: a canonical point of prime order. Raises `EvidenceError(KEY_WEAK)`."""
        key = cls(purpose, raw)
        if raw in FORBIDDEN or not crypto_core_ed25519_is_valid_point(raw):
            raise EvidenceError(Finding.KEY_WEAK, "the public key is not a canonical point of prime order")
        return key

    def verify(self, message: bytes, sig: bytes) -> None:
        """Raises `EvidenceError`: SIG_INVALID, or KEY_WEAK for a key that was never registered."""
        if self.raw in FORBIDDEN:
            raise EvidenceError(Finding.KEY_WEAK, f"key `{self.id}` is not canonical or of low order")
        if len(sig) != SIG_BYTES or sig[:32] in FORBIDDEN or int.from_bytes(sig[32:], "little") >= L:
            raise EvidenceError(
                Finding.SIG_INVALID, "the signature is not in the strict form: R canonical and not of low order, S below L"
            )
        try:
            crypto_sign_open(sig + message, self.raw)
        except BadSignatureError:
            raise EvidenceError(Finding.SIG_INVALID, f"key `{self.id}` did not sign this") from None


class Signer(Protocol):
    """Whatever holds a secret key: a seed in memory, an agent, a device."""

    @property
    def public(self) -> PublicKey: ...

    def sign(self, message: bytes) -> bytes:
        """64 bytes. A signer outside this process raises `OutsideError(ERR_SIGNER_UNAVAILABLE)`."""
        ...


class SecretKey:
    """A secret key in memory. Neither `repr` nor a pickle shows it."""

    __slots__ = ("_public", "_secret")

    def __init__(self, public: PublicKey, secret: bytes) -> None:
        self._public = public
        self._secret = secret

    @classmethod
    def from_seed(cls, seed: bytes, purpose: Purpose) -> "SecretKey":
        """`seed` is 32 bytes from the system's generator, drawn by the caller (RFC 8032 §5.1.5)."""
        if len(seed) != RAW_BYTES:
            raise ValueError("a seed has 32 bytes")
        raw, secret = crypto_sign_seed_keypair(seed)
        return cls(PublicKey(purpose, raw), secret)

    @property
    def public(self) -> PublicKey:
        return self._public

    def sign(self, message: bytes) -> bytes:
        return crypto_sign(message, self._secret)[:SIG_BYTES]

    def __repr__(self) -> str:
        return f"SecretKey({self._public.id})"

    def __reduce__(self) -> str:
        raise TypeError("a secret key is not pickled")


def _key_id(scheme: str, purpose: Purpose, raw: bytes) -> str:
    """Each part after its length, so that no two lists of parts have the same bytes."""
    parts = (b"helm-key/v1", scheme.encode(), purpose.value.encode(), raw)
    return f"{scheme}:{sha256(b''.join(len(part).to_bytes(8, 'little') + part for part in parts)).hex()}"
