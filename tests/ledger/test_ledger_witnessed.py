"""A proof that is made from peaks is the proof that RFC 6962 makes from all leaves; a cosigned note stays what it was."""

import shlex
from pathlib import Path

import pytest

from helm_ai_kernel.ledger.proofs import consistency
from helm_ai_kernel.ledger.witnessed import Witnessed
from helm_ai_kernel.tcb import checkpoint, merkle
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.cosign import cosign
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.merkle import Frontier

LOG = SecretKey.from_seed(b"\x01" * 32, Purpose.LOG)
WITNESS = SecretKey.from_seed(b"\x02" * 32, Purpose.WITNESS)


def test_a_proof_from_peaks_is_the_proof_from_all_leaves_for_every_pair_of_sizes() -> None:
    leaves = [merkle.leaf_hash(b"%d" % index) for index in range(70)]
    old = Frontier()
    for size1 in range(1, 71):
        old = old.append(leaves[size1 - 1])
        for size2 in range(size1, 71):
            proof = consistency(old, leaves[size1:size2])
            assert list(proof) == merkle.consistency_proof(leaves[:size2], size1), (size1, size2)
            merkle.verify_consistency(size1, old.root(), size2, merkle.root(leaves[:size2]), proof)


def cosigned(size: int, time: int) -> Checkpoint:
    note = checkpoint.sign("example.com/log", size, bytes([size]) * 32, LOG)
    return note.with_lines(cosign(note, "witness.example/w1", WITNESS, time))


def test_the_first_note_of_a_size_stays_and_the_newest_is_the_last(tmp_path: Path) -> None:
    kept = Witnessed(tmp_path)
    assert kept.newest() is None and not list(kept.notes())
    for size, time in ((3, 10), (3, 20), (12, 30), (5, 40), (12, 50)):
        kept.add(cosigned(size, time))
    assert list(kept.notes()) == [cosigned(3, 10), cosigned(5, 40), cosigned(12, 30)]
    assert kept.newest() == cosigned(12, 50)
    assert sorted(path.name for path in kept.folder.iterdir()) == [
        "0000000000000003.txt", "0000000000000005.txt", "0000000000000012.txt", "newest.txt",
    ]  # fmt: skip


def test_a_marked_store_is_refused_until_a_person_moves_the_mark_away(tmp_path: Path) -> None:
    kept = Witnessed(tmp_path / "a store")
    kept.folder.parent.mkdir()
    kept.check()
    kept.mark("both heads")
    with pytest.raises(OutsideError, match="ERR_STORE_ROLLBACK") as caught:
        kept.check()
    *_, old, new = shlex.split(caught.value.hint)
    Path(old).rename(new)
    kept.check()


def test_a_note_that_is_none_is_told_by_its_file(tmp_path: Path) -> None:
    kept = Witnessed(tmp_path)
    kept.add(cosigned(3, 10))
    (kept.folder / "newest.txt").write_bytes(b"nonsense")
    with pytest.raises(OutsideError, match=r"ERR_STORE_CORRUPT.*newest\.txt"):
        kept.newest()
