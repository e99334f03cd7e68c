"""The public key of a certificate, found as a library finds it, and nothing where there is none."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.wire.spki import public_key
from net.loopback import certificate


def made(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate(folder, "api.example")[0].read_bytes())


def test_the_key_is_the_one_that_a_library_finds(tmp_path: Path) -> None:
    found = made(tmp_path)
    spki = found.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert public_key(found.public_bytes(serialization.Encoding.DER)) == spki


def test_a_certificate_that_is_cut_off_has_none(tmp_path: Path) -> None:
    der = made(tmp_path).public_bytes(serialization.Encoding.DER)
    for end in range(len(der)):
        with pytest.raises(EvidenceError):
            public_key(der[:end])


@given(st.binary(max_size=40))
def test_what_is_no_certificate_has_none(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        public_key(data)
