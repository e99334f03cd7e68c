"""An authorization server's signing keys, and the tokens that they sign: good ones, and any other."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

ISSUER, RESOURCE, NOW = "https://issuer.example", "https://kernel.example/mcp", 1_800_000_000


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def compact(header: bytes, payload: bytes, signature: bytes) -> str:
    return f"{b64(header)}.{b64(payload)}.{b64(signature)}"


@dataclass
class Signing:
    """One key of each kind; `kid` is its algorithm."""

    modulus: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    p256: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    edwards: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        of, at = self.modulus.public_key().public_numbers(), self.p256.public_key().public_numbers()
        point = {"x": b64(at.x.to_bytes(32, "big")), "y": b64(at.y.to_bytes(32, "big"))}
        raw = self.edwards.public_key().public_bytes_raw()
        return {
            "keys": [
                {"kty": "RSA", "kid": "RS256", "use": "sig", "alg": "RS256", "n": number(of.n), "e": number(of.e)},
                {"kty": "EC", "kid": "ES256", "crv": "P-256", **point},
                {"kty": "OKP", "kid": "EdDSA", "crv": "Ed25519", "x": b64(raw)},
            ]
        }

    @property
    def document(self) -> bytes:
        return json.dumps(self.jwks()).encode()

    def sign(self, algorithm: str, message: bytes) -> bytes:
        if algorithm == "RS256":
            return self.modulus.sign(message, padding.PKCS1v15(), SHA256())
        if algorithm == "ES256":
            r, s = decode_dss_signature(self.p256.sign(message, ec.ECDSA(SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return self.edwards.sign(message)

    def raw(self, header: bytes, payload: bytes, algorithm: str = "ES256") -> str:
        """Signed, whatever it says."""
        return compact(header, payload, self.sign(algorithm, f"{b64(header)}.{b64(payload)}".encode()))

    def token(self, algorithm: str = "ES256", header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A good one, but for what is said; None leaves a claim out."""
        head = {"typ": "at+jwt", "alg": algorithm, "kid": algorithm, **(header or {})}
        body = {"iss": ISSUER, "aud": RESOURCE, "sub": "agent-7", "client_id": "c", "iat": NOW, "exp": NOW + 300, "jti": "1"}
        body |= {"scope": "mcp:tools mcp:read", **claims}
        parts = ({name: value for name, value in part.items() if value is not None} for part in (head, body))
        encoded = [json.dumps(part).encode() for part in parts]
        return self.raw(encoded[0], encoded[1], algorithm)
