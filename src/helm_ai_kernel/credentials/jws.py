"""Signatures of others over JSON: keys from a JWK set, and the compact form of JWS, read so that it has one meaning.

A key has one algorithm, and a signature counts for that one only: what a header says chooses nothing but the key. Shared secrets
and `none` do not exist here, and a header that brings its own key, or asks for what is not understood, is refused (RFC 8725 §3).
"""

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.keys import FORBIDDEN

ALGORITHMS = ("ES256", "EdDSA", "RS256")
TOKEN_CHARS_MAX = 8 << 10  # it stands in a header; a usual one has 1,000
KEYS_MAX = 64  # an issuer has two to four
KEYS_BYTES_MAX = 128 << 10
RSA_BITS = range(2048, 8193)  # below it is broken, above it verifying takes as long as somebody likes

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\Z")
_KEY_IN_HEADER = frozenset({"jwk", "jku", "x5c", "x5u", "crit"})

_Public: TypeAlias = RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Key:
    algorithm: str
    public: _Public


Keys = Mapping[str, Key]  # by `kid`


def keys(data: bytes) -> Keys:
    """The keys of a JWK set that can verify here; raises `Refused` for what is no such set.

    Keys of other kinds and uses are passed over, as RFC 7517 §5 says; of two with one `kid` neither is anybody's.
    """
    value = parse(data, bytes_max=KEYS_BYTES_MAX, any_number=True)
    listed = value.get("keys") if type(value) is dict else None
    if type(listed) is not list or len(listed) > KEYS_MAX:
        raise _no("keys", f"this is no JWK set of at most {KEYS_MAX} keys")
    found: dict[str, Key] = {}
    twice: set[str] = set()
    for item in listed:
        kid = item.get("kid") if type(item) is dict else None
        if type(item) is dict and type(kid) is str and kid:
            twice |= {kid} & found.keys()
            key = _key(item)
            found |= {} if key is None else {kid: key}
    return {kid: key for kid, key in found.items() if kid not in twice}


def verified(token: str, known: Keys, algorithms: Collection[str]) -> tuple[Mapping[str, Json], Mapping[str, Json]]:
    """Header and payload of a compact JWS that one of these keys signed; raises `Refused(ERR_UNAUTHENTICATED)`."""
    found = _COMPACT.match(token) if len(token) <= TOKEN_CHARS_MAX else None
    if found is None:
        raise _no("form", "the token is no signed one")
    head, payload, signature = (_raw(part) for part in found.groups())
    header = _object(head)
    algorithm, kid = header.get("alg"), header.get("kid")
    if type(algorithm) is not str or algorithm not in algorithms or algorithm not in ALGORITHMS:
        raise _no("alg", "the token is signed in a way that is not accepted")
    if _KEY_IN_HEADER & header.keys():
        raise _no("header", "the token brings a key of its own, or wants something to be understood that is not")
    key = known.get(kid) if type(kid) is str else None
    if key is None:
        raise _no("kid", "the token names no key that is known")
    if key.algorithm != algorithm or not _signed(key.public, signature, token.rpartition(".")[0].encode()):
        raise _no("signature", "the token was not signed by that key")
    return header, _object(payload)


def _key(jwk: Mapping[str, Json]) -> Key | None:
    """None for what cannot verify here. Whatever is wrong with a key, it is nobody's."""
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or type(operations) is not list or "verify" not in operations or "d" in jwk:
        return None
    kind = (jwk.get("kty"), jwk.get("crv"))
    try:
        if kind[0] == "RSA":
            key = Key("RS256", _rsa(jwk))
        elif kind == ("EC", "P-256"):
            numbers = ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), ec.SECP256R1())
            key = Key("ES256", numbers.public_key())
        elif kind == ("OKP", "Ed25519"):
            key = Key("EdDSA", _edwards(jwk))
        else:
            return None
    except (ValueError, KeyError, Refused):
        return None
    return key if jwk.get("alg", key.algorithm) == key.algorithm else None


def _rsa(jwk: Mapping[str, Json]) -> RSAPublicKey:
    public = RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"])).public_key()
    if public.key_size not in RSA_BITS or public.public_numbers().e not in (3, 65537):
        raise ValueError
    return public


def _edwards(jwk: Mapping[str, Json]) -> Ed25519PublicKey:
    raw = _raw(str(jwk["x"]))
    if raw in FORBIDDEN:  # one signature of such a key verifies for every message
        raise ValueError
    return Ed25519PublicKey.from_public_bytes(raw)


def _signed(public: _Public, signature: bytes, message: bytes) -> bool:
    try:
        if isinstance(public, RSAPublicKey):
            public.verify(signature, message, padding.PKCS1v15(), SHA256())
        elif isinstance(public, ec.EllipticCurvePublicKey):
            if len(signature) != 64:  # RFC 7518 §3.4
                return False
            pair = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
            public.verify(encode_dss_signature(*pair), message, ec.ECDSA(SHA256()))
        else:
            if len(signature) != 64 or signature[:32] in FORBIDDEN:
                return False
            public.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _raw(text: str) -> bytes:
    """Raises `Refused` for what is not the one way to write these bytes."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not raw or base64.urlsafe_b64encode(raw).rstrip(b"=") != text.encode("ascii", "replace"):
        raise _no("form", "a part of the token is not base64url")
    return raw


def _number(value: Json) -> int:
    if type(value) is not str or len(value) > TOKEN_CHARS_MAX:
        raise ValueError
    return int.from_bytes(_raw(value), "big")


def _object(data: bytes) -> Mapping[str, Json]:
    try:
        value = parse(data, bytes_max=TOKEN_CHARS_MAX)
    except Refused as refused:
        raise _no("json", f"a part of the token is not strict json ({refused.sub})") from None
    if type(value) is not dict:
        raise _no("json", "a part of the token is no json object")
    return value


def _no(sub: str, detail: str) -> Refused:
    return Refused(Reason.ERR_UNAUTHENTICATED, detail, sub=f"jwt_{sub}")
