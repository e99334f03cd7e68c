"""A proof that is made from peaks is the proof that RFC 6962 makes from all leaves; a cosigned note stays what it was."""

import shlex
from pathlib import Path

import pytest

import trees
from helm_ai_kernel.ledger import witnessed
from helm_ai_kernel.ledger.proofs import consistency
from helm_ai_kernel.ledger.witnessed import Witnessed, carried
from helm_ai_kernel.tcb import checkpoint, merkle
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.cosign import VerifierKey, cosign, cosigned_at
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.merkle import Frontier
from helm_ai_kernel.tcb.pack import COSIGNED_MAX

LOG = SecretKey.from_seed(b"\x01" * 32, Purpose.LOG)
WITNESS = SecretKey.from_seed(b"\x02" * 32, Purpose.WITNESS)


def test_a_proof_from_peaks_is_the_proof_from_all_leaves_for_every_pair_of_sizes() -> None:
    leaves = [merkle.leaf_hash(b"%d" % index) for index in range(70)]
    old = Frontier()
    for size1 in range(1, 71):
        old = old.append(leaves[size1 - 1])
        for size2 in range(size1, 71):
            proof = consistency(old, leaves[size1:size2])
            assert list(proof) == trees.consistency_proof(leaves[:size2], size1), (size1, size2)
            merkle.verify_consistency(size1, old.root(), size2, merkle.root(leaves[:size2]), proof)


def signed(size: int) -> Checkpoint:
    return checkpoint.sign("example.com/log", size, bytes([size]) * 32, LOG)


def cosigned(size: int, *times: int) -> Checkpoint:
    """By the first witness at the first of these times, and so on; nobody cosigned at 0."""
    note = signed(size)
    lines = [cosign(note, f"witness.example/w{n}", WITNESS, time) for n, time in enumerate(times, 1) if time]
    return note.with_lines(b"".join(lines))


def anything(note: Checkpoint) -> bool:
    return True


def test_the_first_note_of_a_size_stays_and_the_newest_is_the_last(tmp_path: Path) -> None:
    kept = Witnessed(tmp_path)
    assert kept.newest() is None
    for size, time in ((3, 10), (3, 20), (12, 30), (5, 40), (12, 50)):
        kept.add(cosigned(size, time), anything)
    assert kept.newest() == cosigned(12, 50)
    assert carried(kept.folder, signed(12)) == (cosigned(12, 50), {3: cosigned(3, 10), 5: cosigned(5, 40), 12: cosigned(12, 30)})
    assert carried(kept.folder, signed(13)) == (signed(13), {3: cosigned(3, 10), 5: cosigned(5, 40), 12: cosigned(12, 30)})
    assert carried(kept.folder, signed(4)) == (signed(4), {3: cosigned(3, 10)})
    assert sorted(path.name for path in kept.folder.iterdir()) == [
        "0000000000000003.txt", "0000000000000005.txt", "0000000000000012.txt", "newest.txt",
    ]  # fmt: skip


def test_a_witness_that_was_down_the_last_time_still_counts_and_the_first_note_stays(tmp_path: Path) -> None:
    kept = Witnessed(tmp_path)
    for note in (cosigned(3, 10, 10, 10), cosigned(3, 20, 0, 20), cosigned(3, 30, 30, 0)):
        kept.add(note, anything)
    last, first = carried(kept.folder, signed(3))
    assert times(last) == {"w1": 30, "w2": 30, "w3": 10}
    assert first == {3: cosigned(3, 10, 10, 10)}
    (kept.folder / "0000000000000003.txt").write_bytes(b"nonsense")
    assert carried(kept.folder, signed(3)) == (cosigned(3, 30, 30, 0), {})


def other(size: int, origin: str) -> bytes:
    return checkpoint.sign(origin, size, b"\x06" * 32, SecretKey.from_seed(b"\x03" * 32, Purpose.LOG)).note


@pytest.mark.parametrize("foreign", [other(2**53 - 1, "x/y"), other(2**53 - 1, "example.com/log"), b"nonsense", b""])
def test_what_somebody_put_into_the_folder_keeps_no_note_out(tmp_path: Path, foreign: bytes) -> None:
    def believed(note: Checkpoint) -> bool:
        return cosigned_at(note, VerifierKey("witness.example/w1", WITNESS.public)) is not None

    kept = Witnessed(tmp_path)
    kept.add(cosigned(3, 10), believed)
    for name in ("newest.txt", "0000000000000009.txt"):
        (kept.folder / name).write_bytes(foreign)
    kept.add(cosigned(9, 20), believed)
    assert kept.newest() == cosigned(9, 20)
    assert (kept.folder / "0000000000000009.txt").read_bytes() == cosigned(9, 20).note
    kept.add(cosigned(5, 30), believed)  # by a command that is a step behind
    assert kept.newest() == cosigned(9, 20)


def times(note: Checkpoint) -> dict[str, int | None]:
    names = [f"witness.example/w{n}" for n in (1, 2, 3)]
    return {name[-2:]: cosigned_at(note, VerifierKey(name, WITNESS.public)) for name in names}


def test_only_as_many_sizes_are_kept_as_a_pack_can_carry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witnessed, "COSIGNED_MAX", 3)
    kept = Witnessed(tmp_path)
    for size in (3, 5, 12, 4, 20):
        kept.add(cosigned(size, size), anything)
    kept.mark("stays")
    kept.add(cosigned(21, 21), anything)
    assert sorted(path.name for path in kept.folder.iterdir()) == [
        "0000000000000012.txt", "0000000000000020.txt", "0000000000000021.txt", "another-history.txt", "newest.txt",
    ]  # fmt: skip
    assert carried(kept.folder, signed(30))[1].keys() == {12, 20, 21}


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


def test_a_store_that_cannot_tell_whether_it_is_marked_is_refused_too(tmp_path: Path) -> None:
    kept = Witnessed(tmp_path)
    kept.folder.write_bytes(b"no folder")
    with pytest.raises(OutsideError, match=r"ERR_EVIDENCE_UNAVAILABLE.*another-history\.txt"):
        kept.check()


def test_a_note_that_is_none_is_told_by_its_file(tmp_path: Path) -> None:
    kept = Witnessed(tmp_path)
    kept.add(cosigned(3, 10), anything)
    (kept.folder / "newest.txt").write_bytes(b"nonsense")
    with pytest.raises(OutsideError, match=r"ERR_STORE_CORRUPT.*newest\.txt"):
        kept.newest()


def test_files_that_somebody_put_there_keep_no_note_out(tmp_path: Path) -> None:
    kept = Witnessed(tmp_path)
    kept.folder.mkdir()
    for size in range(1000, 1000 + COSIGNED_MAX):
        (kept.folder / f"{size:016}.txt").touch()
    kept.add(cosigned(3, 10), anything)
    (kept.folder / "zzz.txt").write_bytes(cosigned(3, 99).note)  # by that name nobody keeps one
    assert carried(kept.folder, signed(3)) == (cosigned(3, 10), {})
