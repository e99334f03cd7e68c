"""Strict Ed25519 against public corpora, an independent curve in plain integers, and another library."""

import hashlib
import json
import pickle
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from corpora import corpus
from helm_ai_kernel.tcb import keys
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.keys import FORBIDDEN, L, P, PublicKey, Purpose, SecretKey

PAGE = Path(__file__).resolve().parents[2] / "docs" / "spec" / "keys.md"
SEED = st.binary(min_size=32, max_size=32)

# Which of the 914 CCTV vectors the strict profile accepts, the first vector in the lowest bit
CCTV_ACCEPTED = int(
    "800000000000000010000000020202020200000040020008002020202020000004002000800202020202000000400200080020202020200000040"
    "020008000000000000000000000000020000000000000200000000000000004000020000080000200000000000000004000020000080",
    16,
)

Point = tuple[int, int]
D = -121665 * pow(121666, -1, P) % P
ONE: Point = (0, 1)


def decode(data: bytes) -> Point | None:
    """RFC 8032 §5.1.3 without its canonicity checks: y is taken modulo p, and x = -0 is x = 0."""
    number = int.from_bytes(data, "little")
    y, odd = number % 2**255 % P, number >> 255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != square:
        return None
    return (P - x) % P if x % 2 != odd else x, y


def add(a: Point, b: Point) -> Point:
    k = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + k, -1, P) % P
    return x, (a[1] * b[1] + a[0] * b[0]) * pow(1 - k, -1, P) % P


def times(n: int, point: Point) -> Point:
    result = ONE
    while n:
        if n & 1:
            result = add(result, point)
        point, n = add(point, point), n >> 1
    return result


def encode(point: Point) -> bytes:
    return (point[1] | point[0] % 2 << 255).to_bytes(32, "little")


def is_canonical(data: bytes) -> bool:
    point = decode(data)
    return point is not None and encode(point) == data


def finding(raw: bytes, message: bytes, sig: bytes) -> Finding | None:
    try:
        PublicKey(Purpose.EXECUTION, raw).verify(message, sig)
    except EvidenceError as error:
        return error.finding
    return None


def openssl_accepts(raw: bytes, message: bytes, sig: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(sig, message)
    except InvalidSignature:
        return False
    return True


class Vector(NamedTuple):
    raw: bytes
    message: bytes
    sig: bytes
    flags: set[str]


def cctv() -> list[Vector]:
    items = json.loads((corpus("ed25519") / "cctv.json").read_bytes())
    assert len(items) == 914
    return [
        Vector(bytes.fromhex(item["key"]), item["msg"].encode(), bytes.fromhex(item["sig"]), set(item["flags"] or []))
        for item in items
    ]


def test_every_wycheproof_vector_is_decided_as_its_file_says() -> None:
    groups = json.loads((corpus("ed25519") / "wycheproof.json").read_bytes())["testGroups"]
    seen = {"valid": 0, "invalid": 0}
    for group in groups:
        raw = bytes.fromhex(group["publicKey"]["pk"])
        for test in group["tests"]:
            accepted = finding(raw, bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])) is None
            assert accepted == (test["result"] == "valid"), test["comment"]
            seen[test["result"]] += 1
    assert seen["valid"] > 50 and seen["invalid"] > 50


def test_the_strict_profile_accepts_no_low_order_and_no_non_canonical_point() -> None:
    accepted = 0
    for number, (raw, message, sig, flags) in enumerate(cctv()):
        strict = not flags & {"low_order_A", "low_order_R", "non_canonical_A", "non_canonical_R"}
        is_accepted = finding(raw, message, sig) is None
        assert is_accepted == (strict and openssl_accepts(raw, message, sig))
        accepted |= is_accepted << number
    assert accepted == CCTV_ACCEPTED, f"{accepted:#x}"


def test_the_strict_profile_does_not_rest_on_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "crypto_sign_open", lambda signed, raw: signed[64:])  # a library that accepts everything
    monkeypatch.setattr(keys, "crypto_core_ed25519_is_valid_point", lambda raw: True)
    for raw in FORBIDDEN:
        with pytest.raises(EvidenceError, match="KEY_WEAK"):
            PublicKey.register(raw, Purpose.LOG)
    for raw, message, sig, flags in cctv():
        weak = bool(flags & {"low_order_A", "non_canonical_A"})
        bad = bool(flags & {"low_order_R", "non_canonical_R"})
        assert finding(raw, message, sig) == (Finding.KEY_WEAK if weak else Finding.SIG_INVALID if bad else None)
    secret = SecretKey.from_seed(bytes(32), Purpose.LOG)
    sig = secret.sign(b"m")
    for s in (L, L + 1, 2**253, 2**256 - 1, int.from_bytes(sig[32:], "little") + L):
        assert finding(secret.public.raw, b"m", sig[:32] + s.to_bytes(32, "little")) is Finding.SIG_INVALID
    assert finding(secret.public.raw, b"m", sig[:32] + (L - 1).to_bytes(32, "little")) is None


def test_registration_admits_exactly_the_canonical_points_of_prime_order() -> None:
    raws = {vector.raw for vector in cctv()} | {vector.sig[:32] for vector in cctv()} | FORBIDDEN
    raws |= {n.to_bytes(32, "little") for n in range(2, 12)}  # some are no points, some have another order
    for seed in range(4):  # each an honest key, and that key plus each low-order point
        honest = decode(SecretKey.from_seed(bytes([seed] * 32), Purpose.LOG).public.raw)
        assert honest is not None
        raws |= {encode(add(honest, point)) for raw in FORBIDDEN if is_canonical(raw) and (point := decode(raw))}
    admitted = 0
    for raw in raws:
        point = decode(raw)
        good = point is not None and is_canonical(raw) and point != ONE and times(L, point) == ONE
        if good:
            assert PublicKey.register(raw, Purpose.LOG).raw == raw
            admitted += 1
        else:
            with pytest.raises(EvidenceError) as caught:
                PublicKey.register(raw, Purpose.LOG)
            assert caught.value.finding is Finding.KEY_WEAK
    assert admitted >= 4 and len(raws) - admitted > 60


def test_the_forbidden_set_is_every_low_order_point_and_every_second_encoding() -> None:
    generator = next(point for y in range(2, 99) if (point := decode(y.to_bytes(32, "little"))) and times(4 * L, point) != ONE)
    torsion = {times(n * L, generator) for n in range(8)}
    assert len(torsion) == 8
    expected = set()
    for x, y in torsion:
        expected |= {(value | x % 2 << 255).to_bytes(32, "little") for value in (y, y + P) if value < 2**255}
        if x == 0:
            expected |= {(value | 1 << 255).to_bytes(32, "little") for value in (y, y + P) if value < 2**255}
    assert len(expected) == 14
    listed = set(re.findall(r"\b[0-9a-f]{64}\b", (corpus("ed25519") / "README.cctv.md").read_text(encoding="utf-8")))
    assert listed == {item.hex() for item in expected}
    above = {(y | sign << 255).to_bytes(32, "little") for y in range(P, 2**255) for sign in (0, 1)}
    assert expected | above == FORBIDDEN and not any(is_canonical(raw) for raw in above)


def test_the_identity_key_verifies_no_message_at_all() -> None:
    identity = (1).to_bytes(32, "little")
    universal = identity + bytes(32)  # R = identity, S = 0: valid for every message where order is not looked at
    assert finding(identity, b"any message", universal) is Finding.KEY_WEAK
    with pytest.raises(EvidenceError, match="KEY_WEAK"):
        PublicKey.register(identity, Purpose.ROOT)


@given(SEED, st.binary(max_size=300), st.integers(0, 511))
def test_signatures_agree_with_another_library_and_no_changed_bit_is_accepted(seed: bytes, message: bytes, bit: int) -> None:
    mine, theirs = SecretKey.from_seed(seed, Purpose.EXECUTION), Ed25519PrivateKey.from_private_bytes(seed)
    sig = mine.sign(message)
    assert sig == theirs.sign(message)
    assert mine.public.raw == theirs.public_key().public_bytes_raw()
    mine.public.verify(message, sig)
    changed = (int.from_bytes(sig, "little") ^ 1 << bit).to_bytes(64, "little")
    assert finding(mine.public.raw, message, changed) is Finding.SIG_INVALID
    assert openssl_accepts(mine.public.raw, message, sig) and not openssl_accepts(mine.public.raw, message, changed)
    assert finding(mine.public.raw, message + b"\0", sig) is Finding.SIG_INVALID


@given(SEED, SEED)
def test_a_signature_of_one_key_is_none_of_another(seed: bytes, other: bytes) -> None:
    if seed != other:
        sig = SecretKey.from_seed(seed, Purpose.LOG).sign(b"m")
        assert finding(SecretKey.from_seed(other, Purpose.LOG).public.raw, b"m", sig) is Finding.SIG_INVALID


@pytest.mark.parametrize("length", [0, 1, 31, 32, 63, 65, 96, 128])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    secret = SecretKey.from_seed(bytes(32), Purpose.LOG)
    sig = (secret.sign(b"m") + bytes(64))[:length]
    assert finding(secret.public.raw, b"m", sig) is Finding.SIG_INVALID


def test_a_signature_and_its_message_cannot_be_cut_elsewhere() -> None:
    secret = SecretKey.from_seed(bytes(32), Purpose.LOG)
    signed = secret.sign(b"message") + b"message"
    for cut in (62, 63, 65, 66):
        assert finding(secret.public.raw, signed[cut:], signed[:cut]) is Finding.SIG_INVALID


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_public_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(EvidenceError, match="KEY_WEAK"):
        PublicKey.register(bytes(length), Purpose.LOG)


def test_an_unknown_scheme_is_unsupported_and_never_valid() -> None:
    with pytest.raises(EvidenceError, match="UNSUPPORTED"):
        PublicKey(Purpose.APPROVAL, SecretKey.from_seed(bytes(32), Purpose.APPROVAL).public.raw, "webauthn-es256")


@given(SEED)
def test_a_key_id_is_the_hash_of_each_part_after_its_length(seed: bytes) -> None:
    raw = SecretKey.from_seed(seed, Purpose.ROOT).public.raw
    ids = set()
    for purpose in Purpose:
        parts = [b"helm-key/v1", b"ed25519", str(purpose).encode(), raw]
        hashed = hashlib.sha256(b"".join(len(part).to_bytes(8, "little") + part for part in parts)).hexdigest()
        assert PublicKey.register(raw, purpose).id == "ed25519:" + hashed
        ids.add(hashed)
    assert len(ids) == len(Purpose)


def test_the_example_of_the_page_is_true() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    example = json.loads(block)
    secret = SecretKey.from_seed(bytes.fromhex(example["seed"]), Purpose(example["purpose"]))
    key = PublicKey.register(bytes.fromhex(example["public"]), Purpose(example["purpose"]))
    assert secret.public == key and key.id == example["id"]
    assert secret.sign(example["message"].encode()).hex() == example["sig"]
    key.verify(example["message"].encode(), bytes.fromhex(example["sig"]))


def test_a_secret_key_shows_and_copies_its_secret_nowhere() -> None:
    seed = bytes(range(32))
    secret = SecretKey.from_seed(seed, Purpose.ROOT)
    assert repr(secret) == str(secret) == f"SecretKey({secret.public.id})"
    assert seed.hex() not in repr(secret) and not hasattr(secret, "__dict__")
    with pytest.raises(TypeError):
        pickle.dumps(secret)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_seed_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SecretKey.from_seed(bytes(length), Purpose.ROOT)
