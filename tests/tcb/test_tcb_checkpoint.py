"""One form for one checkpoint: whatever is changed in a note, it is no longer the log's."""

import base64
import hashlib
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.tcb import checkpoint, merkle
from helm_ai_kernel.tcb.checkpoint import SIZE_MAX, Checkpoint, is_origin
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.envelope import pae
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.keys import PublicKey, Purpose, SecretKey

PAGE = Path(__file__).resolve().parents[2] / "docs" / "spec" / "log.md"
LOG = SecretKey.from_seed(b"\x01" * 32, Purpose.LOG)
OTHER = SecretKey.from_seed(b"\x02" * 32, Purpose.LOG)
ORIGIN = "helm.local/0123456789abcdef/fedcba9876543210"
ROOT = merkle.leaf_hash(b"line")
NOTE = checkpoint.sign(ORIGIN, 42, ROOT, LOG).note
TEXT, BLANK, SIGNATURE = NOTE.rpartition(b"\n\n")
LINE = SIGNATURE.decode()

ORIGINS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="+"), min_size=1, max_size=256)


def refused(note: bytes, *, origin: str = ORIGIN, key: PublicKey = LOG.public) -> bool:
    try:
        Checkpoint.from_bytes(note).verify(origin, key)
    except EvidenceError as error:
        return error.finding is Finding.CHECKPOINT_SIG
    return False


def parses(note: bytes) -> bool:
    try:
        Checkpoint.from_bytes(note)
    except EvidenceError as error:
        return error.finding is not Finding.CHECKPOINT_SIG
    return True


@given(ORIGINS, st.integers(0, SIZE_MAX), st.binary(min_size=32, max_size=32))
def test_a_signed_checkpoint_reads_back_and_verifies(origin: str, size: int, root: bytes) -> None:
    signed = checkpoint.sign(origin, size, root, LOG)
    read = Checkpoint.from_bytes(signed.note)
    assert read == signed and read.to_bytes() == signed.note
    assert (read.origin, read.size, read.root) == (origin, size, root)
    read.verify(origin, LOG.public)
    signed.verify(origin, LOG.public)
    assert refused(signed.note, origin=origin, key=OTHER.public)


def test_the_bytes_are_those_of_c2sp() -> None:
    key_hash = hashlib.sha256(ORIGIN.encode() + b"\n\x01" + LOG.public.raw).digest()[:4]
    text = f"{ORIGIN}\n42\n{base64.b64encode(ROOT).decode()}\n".encode()
    name, encoded = re.fullmatch("— (\\S+) (\\S+)\n", LINE).groups()
    sig = base64.b64decode(encoded)
    assert text + b"\n" + SIGNATURE == NOTE and name == ORIGIN and sig[:4] == key_hash
    Ed25519PublicKey.from_public_bytes(LOG.public.raw).verify(sig[4:], text)


def test_the_example_of_c2sp_reads_back() -> None:
    example = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa "
        "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    )
    read = Checkpoint.from_bytes(example.encode())
    assert (read.origin, read.size, len(read.root)) == ("example.com/behind-the-sofa", 20852163, 32)
    assert [(name, len(sig)) for name, sig in read.sigs] == [("example.com/behind-the-sofa", 68)]


def test_no_changed_bit_is_accepted() -> None:
    assert not refused(NOTE)
    for place in range(len(NOTE)):
        for bit in range(8):
            assert refused(NOTE[:place] + bytes([NOTE[place] ^ 1 << bit]) + NOTE[place + 1 :]), (place, bit)


def test_no_byte_may_be_missing_or_added_anywhere() -> None:
    for place in range(len(NOTE)):
        assert refused(NOTE[:place]), place
        assert refused(NOTE[:place] + NOTE[place + 1 :]), place
        for byte in (b"\n", b" ", b"0", b"\r", b"=", b"\0"):
            assert refused(NOTE[:place] + byte + NOTE[place:]), (place, byte)
    for tail in (b"\n", b" ", b"\0", b"x", SIGNATURE[:-1]):
        assert refused(NOTE + tail), tail


@pytest.mark.parametrize(
    "size", ["042", "00", "+42", "-1", "4_2", "42 ", " 42", "0x2a", "4e1", "٤٢", "²", "", "9007199254740992", "9" * 5000]
)
def test_a_size_has_one_form(size: str) -> None:
    assert not parses(NOTE.replace(b"\n42\n", b"\n" + size.encode() + b"\n"))


def test_a_root_has_one_form() -> None:
    root = base64.b64encode(ROOT)
    unused_bits = root[:-2] + bytes([root[-2] + 1]) + b"="
    assert base64.b64decode(unused_bits) == ROOT
    url = root.replace(b"+", b"-").replace(b"/", b"_")
    forms = [unused_bits, root.rstrip(b"="), root + b"=", root[:20] + b" " + root[20:], ROOT.hex().encode(), b""]
    for form in [*forms, base64.b64encode(ROOT[:31]), base64.b64encode(ROOT + b"\0"), *([url] if url != root else [])]:
        assert not parses(NOTE.replace(root, form)), form


@pytest.mark.parametrize(
    "origin",
    [
        "",
        " ",
        "a b",
        "a+b",
        "a\tb",
        "a\nb",
        "a\u2028b",
        "a\x00",
        "a\x7f",
        "é",
        "a\u200b",
        "\N{CYRILLIC SMALL LETTER A}",
        "a" * 257,
    ],
)
def test_an_origin_is_visible_ascii_without_spaces_and_plus(origin: str) -> None:
    assert not is_origin(origin)
    with pytest.raises(ValueError, match="no checkpoint has such"):
        checkpoint.sign(origin, 42, ROOT, LOG)
    assert not parses(NOTE.replace(ORIGIN.encode(), origin.encode()))


def test_an_origin_that_is_a_dash_or_ends_in_a_newline_is_none() -> None:
    assert is_origin("a") and is_origin("a" * 256) and not is_origin("a\n") and not is_origin("— a")


def test_extension_lines_are_refused() -> None:
    for extension in (b"x\n", b"\n", b"more\nlines\n", b"\nx\n"):
        assert not parses(TEXT + b"\n" + extension + b"\n" + SIGNATURE)


def test_cosignatures_are_kept_and_prove_nothing_for_the_log() -> None:
    witness = f"— witness.example/w1 {base64.b64encode(bytes(76)).decode()}\n"
    strange = f"— свидетель {base64.b64encode(b'12345').decode()}\n"
    namesake = LINE.replace(LINE.split(" ")[2], base64.b64encode(bytes(68)).decode() + "\n")
    for lines in ([LINE, witness], [witness, LINE, strange], [LINE, witness, witness], [namesake, LINE]):
        note = TEXT + BLANK + "".join(lines).encode()
        read = Checkpoint.from_bytes(note)
        assert len(read.sigs) == len(lines) and read.to_bytes() == note
        read.verify(ORIGIN, LOG.public)
    assert refused(TEXT + BLANK + (witness + strange).encode())


def test_the_log_signs_exactly_once() -> None:
    broken = base64.b64encode(checkpoint.sign(ORIGIN, 43, ROOT, LOG).sigs[0][1]).decode()
    second = f"— {ORIGIN} {broken}\n"
    for lines in ([LINE, LINE], [LINE, second], [second, LINE], [second]):
        assert refused(TEXT + BLANK + "".join(lines).encode())


@pytest.mark.parametrize(
    "line",
    [
        "",
        "—\n",
        "— \n",
        "— name\n",
        "— name \n",
        "—  AAAAAAA=\n",
        "- name AAAAAAA=\n",
        "—name AAAAAAA=\n",
        "— na+me AAAAAAA=\n",
        "— na\u2003me AAAAAAA=\n",
        "— na\u0085me AAAAAAA=\n",
        "— na\tme AAAAAAA=\n",
        "— na\0me AAAAAAA=\n",
        "— na\x1fme AAAAAAA=\n",
        "— name AAAAAAA\n",
        "— name AAAAAAB=\n",
        "— name AAAAAA==\n",
        "— name AAAAAAA= \n",
        "— name AAAAAAA= x\n",
        "— name AAAAAAA=\r\n",
        "— name AAAAAAA=",
    ],
)
def test_a_signature_line_has_one_form(line: str) -> None:
    assert parses(TEXT + BLANK + "— name AAAAAAA=\n".encode())
    assert not parses(TEXT + BLANK + line.encode())


def test_a_note_is_bounded() -> None:
    line = "— name AAAAAAA=\n".encode()
    assert parses(TEXT + BLANK + line * 64)
    assert not parses(TEXT + BLANK + line * 65)
    big = f"— name {base64.b64encode(bytes(5000)).decode()}\n".encode()
    assert parses(TEXT + BLANK + big * 16)
    assert not parses(TEXT + BLANK + big * 32)
    assert not parses(b"") and not parses(b"\n") and not parses(b"\n\n") and not parses(b"\xff" + NOTE)


def test_only_a_log_key_signs_and_verifies_checkpoints() -> None:
    for purpose in Purpose:
        if purpose is not Purpose.LOG:
            secret = SecretKey.from_seed(b"\x01" * 32, purpose)
            assert refused(NOTE, key=secret.public)
            with pytest.raises(ValueError, match="log key"):
                checkpoint.sign(ORIGIN, 42, ROOT, secret)


def test_a_checkpoint_of_another_log_is_refused() -> None:
    assert refused(NOTE, origin="helm.local/0123456789abcdef/0000000000000000")
    stranger = checkpoint.sign("elsewhere/log", 42, ROOT, LOG)
    assert refused(TEXT + BLANK + stranger.note.rpartition(b"\n\n")[2])
    relabelled = stranger.note.rpartition(b"\n\n")[2].replace(b"elsewhere/log", ORIGIN.encode())
    assert refused(TEXT + BLANK + relabelled)


def test_a_name_beside_the_signature_is_not_the_origin() -> None:
    text = b"elsewhere/log" + TEXT.removeprefix(ORIGIN.encode()) + b"\n"
    key_hash = base64.b64decode(LINE.split(" ")[2])[:4]  # the log's own, and its own signature, over another log's text
    line = f"— {ORIGIN} {base64.b64encode(key_hash + LOG.sign(text)).decode()}\n"
    assert parses(text + b"\n" + line.encode())
    assert refused(text + b"\n" + line.encode())


@given(st.text(max_size=40), st.binary(max_size=200))
def test_a_checkpoint_and_a_record_are_never_the_same_signed_bytes(kind: str, payload: bytes) -> None:
    signed = pae(kind, payload)
    assert not is_origin(signed.partition(b"\n")[0].decode("utf-8", "replace"))


@pytest.mark.parametrize("size", [-1, SIZE_MAX + 1])
def test_no_checkpoint_is_signed_that_would_not_be_read(size: int) -> None:
    with pytest.raises(ValueError, match="no checkpoint has such"):
        checkpoint.sign(ORIGIN, size, ROOT, LOG)
    with pytest.raises(ValueError, match="no checkpoint has such"):
        checkpoint.sign(ORIGIN, 1, ROOT[:31], LOG)


def test_the_example_of_the_page_is_true() -> None:
    (note,) = re.findall(r"```\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    read = Checkpoint.from_bytes(note.encode())
    leaves = [merkle.leaf_hash(line) for line in (b"a", b"b", b"c")]
    assert (read.size, read.root) == (3, merkle.root(leaves))
    read.verify("example.com/deployment/0123456789abcdef", LOG.public)
