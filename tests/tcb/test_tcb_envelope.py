"""The signed record: one text, one meaning, and a signature that is good for nothing else."""

import base64
import json
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.tcb import events, receipt, statement
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.envelope import LINE_BYTES_MAX, SIGS_MAX, Record, pae, payload_type, seal
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.keys import PublicKey, Purpose, SecretKey

KINDS = sorted({*(kind.value for kind in receipt.Kind), *(kind.value for kind in statement.StatementKind), events.KIND})
SIGNERS = [SecretKey.from_seed(bytes([n]) * 32, Purpose.APPROVAL) for n in range(4)]
KEYS = {signer.public.id: signer.public for signer in SIGNERS}
ONE = SIGNERS[0]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=6),
    lambda items: st.lists(items, max_size=3) | st.dictionaries(st.text(max_size=4), items, max_size=3),
    max_leaves=6,
)
BODIES = st.dictionaries(st.text(max_size=6).filter(lambda key: key not in ("v", "kind", "signers")), VALUES, max_size=4)


def lookup(key: str) -> PublicKey:
    try:
        return KEYS[key]
    except KeyError:
        raise EvidenceError(Finding.KEY_UNKNOWN, "no such key") from None


def body_of(kind: str = "decision", **more: Any) -> dict[str, Any]:
    return {"v": 1, "kind": kind, **more}


def line_of(change: Callable[[dict[str, Any]], None]) -> bytes:
    """A good record's canonical line after one change to its JSON."""
    value = json.loads(seal(body_of(tool="files/read"), SIGNERS[:2]).line)
    change(value)
    return canonical(value)


def finding_of(line: bytes) -> Finding | None:
    """How a verifier fails: first the reading, then the signatures."""
    try:
        Record.from_bytes(line).verify(lookup)
    except EvidenceError as error:
        return error.finding
    return None


@given(BODIES, st.sampled_from(KINDS), st.lists(st.sampled_from(SIGNERS), min_size=1, unique=True))
def test_a_sealed_record_reads_back_as_itself_and_verifies(content: dict[str, Any], kind: str, signers: list[SecretKey]) -> None:
    record = seal(body_of(kind, **content), signers)
    assert Record.from_bytes(record.line) == record
    assert Record.from_json(record.to_json()) == record
    assert record.to_bytes() == canonical(record.to_json()) and record.leaf == digest(b"\x00" + record.line)
    record.verify(lookup)


@given(BODIES, st.data())
def test_a_record_with_any_byte_changed_is_no_evidence(content: dict[str, Any], data: st.DataObject) -> None:
    line = bytearray(seal(body_of(**content), SIGNERS[:2]).line)
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= data.draw(st.integers(1, 255))
    assert finding_of(bytes(line)) is not None


@given(BODIES, st.data())
def test_a_record_cut_anywhere_is_no_record(content: dict[str, Any], data: st.DataObject) -> None:
    line = seal(body_of(**content), [ONE]).line
    assert finding_of(line[: data.draw(st.integers(0, len(line) - 1))]) in (Finding.PACK_MALFORMED, Finding.NON_CANONICAL)


def test_a_signature_of_one_kind_serves_for_no_other_kind() -> None:
    """Every kind's body under every kind's payload type, and under none: only the diagonal verifies."""
    for kind in KINDS:
        signed = body_of(kind, signers=[ONE.public.id])
        payload = canonical(signed)
        messages = {other: pae(other, payload) for other in KINDS}
        messages |= {
            "raw": payload,
            "typed": payload_type(kind) + payload,
            "sshsig": b"SSHSIG" + payload,
            "note": payload + b"\n",
        }
        for name, message in messages.items():
            sig = base64.b64encode(ONE.sign(message)).decode()
            line = canonical({"body": signed, "sigs": [{"key": ONE.public.id, "sig": sig}]})
            assert finding_of(line) == (None if name == kind else Finding.SIG_INVALID), (kind, name)


def test_a_record_relabelled_as_another_kind_fails() -> None:
    for kind, other in product(KINDS, KINDS):
        value = json.loads(seal(body_of(kind), [ONE]).line)
        value["body"]["kind"] = other
        assert finding_of(canonical(value)) == (None if other == kind else Finding.SIG_INVALID)


@given(st.text(max_size=8), st.binary(max_size=16), st.text(max_size=8), st.binary(max_size=16))
def test_no_two_pairs_of_kind_and_payload_are_signed_as_the_same_bytes(
    kind: str, payload: bytes, kind2: str, payload2: bytes
) -> None:
    assert (pae(kind, payload) == pae(kind2, payload2)) == ((kind, payload) == (kind2, payload2))


def test_what_is_signed_is_the_pre_authentication_encoding_of_dsse() -> None:
    assert pae("decision", b"{}") == b"DSSEv1 37 application/vnd.helm.decision.v1+json 2 {}"


def respelt(line: bytes) -> list[bytes]:
    value = json.loads(line)
    turned = {"sigs": value["sigs"], "body": value["body"]}
    return [
        line + b"\n",
        b" " + line,
        json.dumps(value).encode(),
        json.dumps(turned, separators=(",", ":")).encode(),
        line.replace(b'"v":1', b'"v":1.0'),
        line.replace(b'"v":1', b'"v":1e0'),
        line.replace(b"files/read", b"files\\/read"),
        line.replace(b"files/read", b"\\u0066iles/read"),
    ]


@pytest.mark.parametrize("at", range(8))
def test_the_same_record_in_another_spelling_is_not_canonical(at: int) -> None:
    line = seal(body_of(tool="files/read"), [ONE]).line
    other = respelt(line)[at]
    assert json.loads(other) == json.loads(line) and finding_of(other) is Finding.NON_CANONICAL


def sig_as(spell: Callable[[bytes], str]) -> bytes:
    def change(value: dict[str, Any]) -> None:
        value["sigs"][0]["sig"] = spell(base64.b64decode(value["sigs"][0]["sig"]))

    return line_of(change)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def loose_bits(sig: bytes) -> str:
    """Another last character with the same 64 bytes: only the four bits that are dropped differ."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    text = b64(sig)
    other = text[:-3] + alphabet[alphabet.index(text[-3]) + 1] + "=="
    assert base64.b64decode(other) == sig
    return other


@pytest.mark.parametrize(
    "spell",
    [
        lambda sig: b64(sig).rstrip("="),
        lambda sig: b64(sig)[:-1],
        lambda sig: b64(sig)[:-2] + "\n=",
        lambda sig: b64(sig)[:40] + " " + b64(sig)[41:],
        lambda sig: b64(b"\xff" * 64).replace("/", "_"),
        lambda sig: b64(sig[:63]),
        lambda sig: b64(sig + b"\x00"),
        lambda sig: b64(sig)[:-2] + "é=",
        lambda sig: sig.hex()[:88],
        lambda sig: "",
        loose_bits,
    ],
)
def test_a_signature_has_exactly_one_spelling(spell: Callable[[bytes], str]) -> None:
    line = sig_as(spell)
    with pytest.raises(EvidenceError) as caught:
        Record.from_bytes(line)
    assert caught.value.finding is Finding.SIG_INVALID


def changed(field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda record: record["body"].__setitem__(field, value)


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda record: record.__setitem__("note", 1), Finding.PACK_MALFORMED),
        (lambda record: record.pop("sigs"), Finding.PACK_MALFORMED),
        (lambda record: record.pop("body"), Finding.PACK_MALFORMED),
        (lambda record: record.__setitem__("body", []), Finding.PACK_MALFORMED),
        (lambda record: record.__setitem__("sigs", {}), Finding.PACK_MALFORMED),
        (lambda record: record["sigs"].clear(), Finding.PACK_MALFORMED),
        (lambda record: record["sigs"].reverse(), Finding.PACK_MALFORMED),
        (lambda record: record["sigs"].append(record["sigs"][1]), Finding.PACK_MALFORMED),
        (lambda record: record["sigs"].__setitem__(0, "x"), Finding.PACK_MALFORMED),
        (lambda record: record["sigs"][0].pop("key"), Finding.PACK_MALFORMED),
        (lambda record: record["sigs"][0].__setitem__("proof", None), Finding.UNSUPPORTED),  # another scheme
        (lambda record: record["sigs"][0].__setitem__("sig", None), Finding.PACK_MALFORMED),
        (lambda record: record["sigs"].pop(), Finding.SIG_INVALID),  # a signer that did not sign
        (lambda record: record["sigs"][0].__setitem__("key", "ed25519:00"), Finding.SIG_INVALID),
        (lambda record: record["body"]["signers"].pop(), Finding.SIG_INVALID),  # a signature that the body does not name
        (lambda record: record["body"]["signers"].reverse(), Finding.SIG_INVALID),
        (lambda record: record["body"].pop("signers"), Finding.PACK_MALFORMED),
        (changed("signers", None), Finding.PACK_MALFORMED),
        (changed("signers", [1, 2]), Finding.PACK_MALFORMED),
        (lambda record: record["body"].pop("kind"), Finding.PACK_MALFORMED),
        (changed("kind", 1), Finding.PACK_MALFORMED),
        (changed("kind", "k" * 33), Finding.PACK_MALFORMED),
        (lambda record: record["body"].pop("v"), Finding.UNSUPPORTED),
        (changed("v", 2), Finding.UNSUPPORTED),
        (changed("v", "1"), Finding.UNSUPPORTED),
        (changed("v", True), Finding.UNSUPPORTED),  # which equals 1 in Python
        (changed("tool", "files/write"), Finding.SIG_INVALID),
        (changed("more", None), Finding.SIG_INVALID),
    ],
)
def test_a_record_of_another_shape_is_refused(change: Callable[[dict[str, Any]], None], finding: Finding) -> None:
    assert finding_of(line_of(change)) is finding


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"null", b"{}", b'{"body":{},"body":{}}', b'{"a":NaN}', b"\xff", b"[" * 65],
)
def test_what_is_no_strict_object_is_malformed(line: bytes) -> None:
    assert finding_of(line) is Finding.PACK_MALFORMED


def test_a_record_has_a_bounded_length_and_number_of_signatures() -> None:
    frame = len(seal(body_of(pad=""), [ONE]).line)
    crowd = [SecretKey.from_seed(bytes([n]) * 32, Purpose.APPROVAL) for n in range(SIGS_MAX + 1)]
    for over, expected in ((0, None), (1, Finding.PACK_MALFORMED)):
        assert finding_of(seal(body_of(pad="x" * (LINE_BYTES_MAX - frame + over)), [ONE]).line) is expected
        line = seal(body_of(), crowd[: SIGS_MAX + over]).line
        if expected:
            assert finding_of(line) is expected
        else:
            assert len(Record.from_bytes(line).sigs) == SIGS_MAX


def test_every_signature_is_checked_also_after_a_good_one() -> None:
    for at in range(3):
        value = json.loads(seal(body_of(), SIGNERS[:3]).line)
        value["sigs"][at]["sig"] = b64(SIGNERS[3].sign(b"other"))
        assert finding_of(canonical(value)) is Finding.SIG_INVALID


def test_an_unknown_key_is_named_as_such() -> None:
    stranger = SecretKey.from_seed(b"\x99" * 32, Purpose.APPROVAL)
    assert finding_of(seal(body_of(), [ONE, stranger]).line) is Finding.KEY_UNKNOWN


def test_a_record_inside_another_keeps_its_signatures() -> None:
    inner = seal(body_of("approval", intent="x"), [ONE])
    outer = Record.from_bytes(seal(body_of("statement", statement=inner.to_json()), SIGNERS[1:]).line)
    found = Record.from_json(outer.body["statement"])
    found.verify(lookup)
    assert found == inner and found.leaf == inner.leaf
