"""The public key of a certificate, as it stands there: for whoever pins the key and not the certificate, which is renewed.

It finds one part of a certificate that TLS has verified already, and judges nothing (RFC 5280 §4.1).
"""

from helm_ai_kernel.tcb import fields

_SEQUENCE, _INTEGER, _VERSION = 0x30, 0x02, 0xA0
_BEFORE = (_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE, _SEQUENCE)  # serial number, algorithm, issuer, validity, subject


def public_key(certificate: bytes) -> bytes:
    """The bytes of `subjectPublicKeyInfo` (DER); raises `EvidenceError`."""
    start, end = _content(certificate, 0, _SEQUENCE)
    start, end = _content(certificate, start, _SEQUENCE)
    if certificate[start : start + 1] == bytes([_VERSION]):
        start = _content(certificate, start, _VERSION)[1]
    for tag in _BEFORE:
        start = _content(certificate, start, tag)[1]
    stop = _content(certificate, start, _SEQUENCE)[1]
    if stop > end:
        raise fields.wrong("the public key stands outside of the certificate")
    return certificate[start:stop]


def _content(der: bytes, at: int, tag: int) -> tuple[int, int]:
    """Where the content of the value at `at` begins and ends."""
    if at + 2 > len(der) or der[at] != tag:
        raise fields.wrong("the certificate has another shape")
    first, start = der[at + 1], at + 2
    if first >= 0x80:
        digits = first & 0x7F
        if not 1 <= digits <= 4:
            raise fields.wrong("the certificate has a length without an end")
        start += digits
        first = int.from_bytes(der[at + 2 : start], "big")
    if start + first > len(der):
        raise fields.wrong("the certificate is cut off")
    return start, start + first
