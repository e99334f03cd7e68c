"""The page about witnesses is true: its example is made again from published seeds, its numbers are the code's."""

import re
from pathlib import Path

from gateway.witnessing import witness
from helm_ai_kernel.app.config import HEARTBEAT_S
from helm_ai_kernel.app.heartbeat import KEEP_S, LAST_S
from helm_ai_kernel.cli.witness import PORT
from helm_ai_kernel.gateway import witness_memory
from helm_ai_kernel.gateway.witness import BOUNDS, CLOCK_BACK_S
from helm_ai_kernel.tcb import checkpoint, merkle
from helm_ai_kernel.tcb.checkpoint import SIGS_MAX, Checkpoint
from helm_ai_kernel.tcb.cosign import LISTED_MAX, POLICY_BYTES_MAX, TIME_MAX, WITNESSES_MAX, WitnessPolicy, cosign, cosigned_at
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.wire.submission import BYTES_MAX, PROOF_MAX, Submission

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/spec/witness.md").read_text(encoding="utf-8")
NOTE, POLICY, MESSAGE, REQUEST = (text.encode() for text in re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
LEAVES = [merkle.leaf_hash(line) for line in (b"a", b"b", b"c")]
ORIGIN = "example.com/deployment/0123456789abcdef"
LOG = SecretKey.from_seed(b"\x01" * 32, Purpose.LOG)
WITNESSES = {f"witness.example/w{n}": SecretKey.from_seed(bytes([n + 1]) * 32, Purpose.WITNESS) for n in (1, 2, 3)}


def test_the_note_is_what_the_published_keys_sign() -> None:
    note = checkpoint.sign(ORIGIN, 3, merkle.root(LEAVES), LOG)
    lines = [cosign(note, name, WITNESSES[name], time) for name, time in (("witness.example/w1", 1_800_000_000),
                                                                       ("witness.example/w3", 1_800_000_007))]  # fmt: skip
    assert note.with_lines(b"".join(lines)).note == NOTE


def test_by_the_policy_of_the_page_it_is_witnessed_since_then() -> None:
    policy = WitnessPolicy.from_bytes(POLICY)
    note = Checkpoint.from_bytes(NOTE)
    note.verify(policy.logs[0].name, policy.logs[0].key)
    assert {one.vkey.name: one.vkey.key for one in policy.witnesses} == {name: key.public for name, key in WITNESSES.items()}
    since = policy.since(policy.seen(note))
    assert since is not None and f"witnessed, since {since}:" in PAGE


def test_the_message_of_the_page_is_what_the_first_witness_signed() -> None:
    (sig,) = [sig for name, sig in Checkpoint.from_bytes(NOTE).sigs if name == "witness.example/w1"]
    WITNESSES["witness.example/w1"].public.verify(MESSAGE, sig[12:])


def test_the_request_of_the_page_is_accepted_by_a_witness_that_has_the_size_it_names(tmp_path: Path) -> None:
    sent = Submission.from_bytes(REQUEST)
    assert sent.checkpoint.note == NOTE[: len(sent.checkpoint.note)]
    first = Submission(0, (), checkpoint.sign(ORIGIN, 2, merkle.root(LEAVES[:2]), LOG))
    with witness(tmp_path, WitnessPolicy.from_bytes(POLICY).logs[0]) as asked:
        assert [asked.add_checkpoint(body).status for body in (first.to_bytes(), REQUEST)] == [200, 200]


def test_the_numbers_of_the_page_are_the_codes() -> None:
    assert POLICY_BYTES_MAX == 64 << 10 and "at most 64 KiB" in PAGE
    assert f"At most {LISTED_MAX} logs, {WITNESSES_MAX} witnesses (a note has room for {SIGS_MAX} signatures," in PAGE
    assert f"and one is the log's) and {LISTED_MAX} groups" in PAGE
    assert f"const WITNESSES_MAX = {WITNESSES_MAX};" in (ROOT / "src/helm_ai_kernel/verifier/page/quorum.js").read_text(
        encoding="utf-8"
    )
    assert f"a time from 1 to {TIME_MAX} " in PAGE and f"up to {PROOF_MAX} hashes" in PAGE
    assert f"more than {CLOCK_BACK_S} seconds behind" in PAGE and f"up to {witness_memory.KEPT_MAX} files" in PAGE
    assert (BOUNDS.sizes.head, BOUNDS.head_s, BOUNDS.body_s, BOUNDS.idle_s) == (8 << 10, 10, 10, 60)
    assert f"a head of at most 8 KiB and a body of at most {BYTES_MAX} bytes, each in at most ten seconds" in PAGE
    assert (LAST_S, KEEP_S) == (3, 1) and "waits for it, at most three seconds;" in PAGE and "has one second more" in PAGE
    assert f"127.0.0.1:{PORT}" in PAGE and f"heartbeat_s = {HEARTBEAT_S} " in PAGE
    assert cosigned_at(Checkpoint.from_bytes(NOTE), WitnessPolicy.from_bytes(POLICY).witnesses[1].vkey) is None
