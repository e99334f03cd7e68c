"""A submission has one form, and its bounds are those of the protocol."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.tcb import checkpoint
from helm_ai_kernel.tcb.checkpoint import SIZE_MAX
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.wire.submission import PROOF_MAX, Submission, parse_size

NOTE = checkpoint.sign("example.com/log", 7, b"\x05" * 32, SecretKey.from_seed(b"\x01" * 32, Purpose.LOG))
HASHES = st.lists(st.binary(min_size=32, max_size=32), max_size=PROOF_MAX)
WHOLE = Submission(3, (b"\x01" * 32, b"\x02" * 32), NOTE).to_bytes()


@given(st.integers(0, SIZE_MAX), HASHES)
def test_a_submission_reads_back(old: int, proof: list[bytes]) -> None:
    sent = Submission(old, tuple(proof), NOTE)
    assert Submission.from_bytes(sent.to_bytes()) == sent


def test_the_bytes_are_those_of_c2sp() -> None:
    one, two = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
    assert f"old 3\n{one}\n{two}\n\n".encode() + NOTE.note == WHOLE


@pytest.mark.parametrize(
    "data",
    [
        b"", b"old 3", b"old 3\n\n", NOTE.note, b"old 3\n" + NOTE.note, WHOLE[4:], WHOLE.replace(b"old 3", b"old 03"),
        WHOLE.replace(b"old 3", b"old -3"), WHOLE.replace(b"old 3", b"old  3"), WHOLE.replace(b"old 3", b"Old 3"),
        WHOLE.replace(b"old 3", b"old \xd9\xa3"), WHOLE.replace(b"old 3", b"old 9007199254740992"), WHOLE.replace(b"\n", b"\r\n"),
        WHOLE.replace(b"AQEB", b"AQ==", 1), WHOLE.replace(b"old 3\n", b"old 3\nAAAA\n"), WHOLE + b"\n", b"\n" + WHOLE,
        Submission(3, (b"\x01" * 32,) * (PROOF_MAX + 1), NOTE).to_bytes(), WHOLE + b"x" * (1 << 18),
    ],
)  # fmt: skip
def test_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        Submission.from_bytes(data)


def test_a_size_is_the_whole_line() -> None:
    assert (parse_size(b"0"), parse_size(b"42")) == (0, 42)
    for text in (b"", b" 1", b"1 ", b"1\n", b"+1", b"1_0"):
        with pytest.raises(EvidenceError):
            parse_size(text)
