"""A pack is written from the store as it is read: it is what the parts are together, whatever the order, and needs no memory."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trees
from executor.desk import boundary, request
from helm_ai_kernel.executor.recover import recover
from helm_ai_kernel.ledger import trustlog
from helm_ai_kernel.ledger.export import part, whole
from helm_ai_kernel.ledger.ledger import TRUST
from helm_ai_kernel.ledger.parts import CHUNK, Part, subtree
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb import checklist
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.merkle import leaf_hash, root
from ledger.home import Home, documents, home, pin

DENIED = request({"tool": "desk/unknown", "arguments": {"text": "x" * 300}})
BYTES_MAX = 250  # of memory for each receipt and what is kept beside it; one of these receipts has 1,100 bytes, and 400 beside it

MEASURED = """
import sys
from pathlib import Path
from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.ledger import fsck, store
from helm_ai_kernel.ledger.export import whole
from helm_ai_kernel.ledger.reader import Reader
store.CACHE_KIB = 256  # SQLite's cache has a bound of its own, which a small store does not reach
folder, vault = Path(sys.argv[1]), Subjects(Path(sys.argv[3]))
if sys.argv[2] == "export":
    with Reader(folder, vault=vault) as reader:
        size = sum(map(len, whole(reader)))
else:
    size, damage = fsck.fsck(folder, vault)
    assert not damage, damage
status = Path("/proc/self/status").read_text()  # `ru_maxrss` would be at least what our parent has
print(1024 * int(status.split("VmHWM:")[1].split()[0]), size)
"""


def grown(folder: Path, *sizes: int) -> list[Home]:
    """A log, and a copy of it at each size: everything is denied, and kept."""
    here = home(folder / "log")
    trustlog.create(here.folder / TRUST, here.registry)

    async def until(size: int) -> None:
        ledger = here.open()
        await recover(ledger, clean=await ledger.begin("test"))
        if ledger.writer.state.policy is None:
            await ledger.enact(pin(boundary(), here.origin), documents(boundary()))
        session, admitted = await ledger.session("agent", "python", None), boundary().admit(DENIED)
        while (left := size - ledger.writer.state.frontier.size - 2) > 0:  # two sessions end
            await asyncio.gather(*(ledger.commit(session, admitted, boundary().decide) for _ in range(min(500, left))))
        await ledger.close()

    copies = []
    for size in sizes:
        asyncio.run(until(size))
        copies.append(copied(here, folder / str(size)))
    return copies


def copied(here: Home, folder: Path) -> Home:
    copy = Home(Path(shutil.copytree(here.folder, folder)), here.registry, here.origin)
    shutil.copytree(here.keys, copy.keys, symlinks=True)
    return copy


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[Home]:
    return grown(tmp_path_factory.mktemp("export"), 1_000, 16_000)


def measured(here: Home, what: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, here.folder, what, here.keys], capture_output=True, check=True, text=True
    )
    peak, _ = map(int, done.stdout.split())
    return peak


@pytest.mark.parametrize("what", ["export", "fsck"])
def test_memory_grows_by_no_more_than_the_names_of_what_is_there(logs: list[Home], what: str) -> None:
    small, large = (measured(here, what) for here in logs)
    assert (large - small) / 15_000 < (BYTES_MAX if what == "export" else 2 * BYTES_MAX)


def pieces(here: Home, *, attachments: bool = True) -> list[bytes]:
    with Reader(here.folder, vault=here.vault) as reader:
        return list(whole(reader, attachments=attachments))


def test_a_pack_in_pieces_is_the_pack_that_is_made_in_memory(logs: list[Home]) -> None:
    here = logs[0]
    with Reader(here.folder, vault=here.vault) as reader:
        note = reader.checkpoint
    assert b"".join(pieces(here)) == here.pack(note, boundary())
    assert checklist.verify(b"".join(pieces(here)), checklist.Question(genesis=here.registry.genesis)).exit == 0


def test_no_piece_is_larger_than_what_one_receipt_keeps(logs: list[Home]) -> None:
    assert max(map(len, pieces(logs[0]))) < 1 << 15


def test_what_does_not_open_is_no_export_and_the_log_without_it_is(logs: list[Home], tmp_path: Path) -> None:
    here = copied(logs[0], tmp_path / "copy")
    here.spoil("UPDATE attachments SET content=zeroblob(99) WHERE idx=(SELECT min(idx) FROM attachments)")
    with pytest.raises(OutsideError) as error:
        pieces(here)
    assert error.value.reason is Reason.ERR_STORE_CORRUPT
    report = checklist.verify(b"".join(pieces(here, attachments=False)), checklist.Question(genesis=here.registry.genesis))
    assert report.exit == 0


def test_what_is_erased_meanwhile_ends_the_export_and_not_with_half_of_it(logs: list[Home], tmp_path: Path) -> None:
    """By another process: the one that exports has met the key already."""
    here = copied(logs[0], tmp_path / "copy")
    with Reader(here.folder, vault=here.vault) as reader:
        parts = whole(reader)
        assert next(parts)
        (subject,) = here.vault.listed()
        here.vault.destroy(subject.id)
        with pytest.raises(OutsideError):
            list(parts)


def test_progress_is_told_from_none_to_all_and_never_back(logs: list[Home]) -> None:
    told: list[tuple[int, int]] = []
    with Reader(logs[0].folder, vault=logs[0].vault) as reader:
        for _ in whole(reader, progress=lambda done, of: told.append((done, of))):
            pass
    assert told[0][0] == 0 and told[-1] == (2000, 2000) and told == sorted(told)


@given(st.data())
def test_the_root_of_any_subtree_is_made_of_chunks(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 3 * CHUNK // 2))
    leaves = [hashes.sha256(bytes([number & 255])) for number in range(size)]
    assert subtree(leaves.__getitem__, 0, size) == root(leaves)


@given(chosen=st.sets(st.integers(0, 999), min_size=1, max_size=12))
@settings(max_examples=20)
def test_any_choice_of_receipts_is_a_part_that_verifies(logs: list[Home], chosen: set[int]) -> None:
    here = logs[0]
    with Reader(here.folder, vault=here.vault) as reader:
        choice = Part(reader)
        for place in chosen:
            choice.add_receipt(str(place))
        ranges = choice.ranges()
        data = b"".join(part(reader, ranges, choice.inclusion(ranges)))
    assert chosen <= {place for first, count in ranges for place in range(first, first + count)}
    report = checklist.verify(data, checklist.Question(genesis=here.registry.genesis))
    assert (report.exit, report.part) == (0, True), report.to_text()


def test_the_proof_of_one_receipt_is_its_inclusion_proof_from_left_to_right(logs: list[Home]) -> None:
    with Reader(logs[0].folder, vault=logs[0].vault) as reader:
        choice = Part(reader)
        choice.add_receipt("500")
        place, last = (place for first, count in choice.ranges() for place in range(first, first + count))
        assert last == 999
        proof = choice.inclusion([(place, 1)])
        line = next(reader.lines(place, place + 1))
        leaves = list(reader.leaves(0, 1000))
    assert list(proof.hashes) == trees.left_to_right(trees.inclusion_proof(leaves, place), place, 1000)
    assert proof.root(1000, [leaf_hash(line)]) == root(leaves)


@pytest.mark.parametrize("bound", ["pack.PACK_BYTES_MAX", "pack.MANIFEST_BYTES_MAX", "ENTRY_BYTES_MAX"])
def test_a_pack_that_nobody_would_read_is_not_made(logs: list[Home], monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(f"helm_ai_kernel.ledger.export.{bound}", 100)
    with Reader(logs[0].folder, vault=logs[0].vault) as reader, pytest.raises(OutsideError, match="than anybody reads"):
        whole(reader)
