"""The proof of what happened, in a file: exported, verified with and without what only the verifier can bring, decided again."""

import shutil
from pathlib import Path

import pytest

from app.kernels import PASSPHRASE
from cli.terminal import Terminal
from helm_ai_kernel.app import home
from helm_ai_kernel.app.config import Paths
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.registry import Registry
from helm_ai_kernel.tcb.registry import genesis as genesis_of
from helm_ai_kernel.verifier.document import document
from packs import AT, Deployment, Log, repack, short


def note(text: str) -> str:
    return text


@pytest.fixture
def exported(terminal: Terminal) -> Terminal:
    """A log with a pack of it, `evidence.tar`."""
    with terminal.place.program(note) as program:
        program["note"]("hello")
        program.kernel.call("python/unknown", {})
    terminal.done("pack", "export", "--out", "evidence.tar")
    return terminal


def genesis(terminal: Terminal) -> str:
    return home.trusted(terminal.place.paths.trust)[0]


def stranger(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine: the pack, and nothing of ours."""
    monkeypatch.setenv("HELM_PEOPLE", str(terminal.place.folder / "nobody"))
    monkeypatch.delenv("HELM_HOME")


def test_a_pack_is_one_file_that_says_what_it_is(exported: Terminal) -> None:
    said = exported.done("pack", "export", "--format", "json").json
    assert said["bytes"] == Path(said["pack"]).stat().st_size == Path("evidence.tar").stat().st_size
    assert Path(said["pack"]).parent == exported.place.paths.packs
    assert Path(said["pack"]).read_bytes() == Path("evidence.tar").read_bytes()
    inside = exported.done("pack", "show", "evidence.tar", "--format", "json").json
    assert [row["index"] for row in inside["receipts"]] == list(range(9))
    assert {"manifest.json", "receipts.jsonl", "checkpoint.txt", "trust.jsonl"} <= {row["name"] for row in inside["files"]}
    text = exported.done("pack", "show", "evidence.tar").out
    assert "decision  ALLOW OK python/note" in text
    assert text.endswith("nothing here was verified; next: helm-ai-kernel pack verify evidence.tar\n")
    assert sorted(path.name for path in Path().glob(".*evidence*")) == []  # nothing half written is left


def test_the_receipts_alone_are_lines_as_they_were_signed(exported: Terminal) -> None:
    lines = [receipt.line.decode() for receipt in exported.place.receipts()]
    assert exported.done("pack", "export", "--jsonl").out.splitlines() == lines
    said = exported.done("pack", "export", "--jsonl", "--out", "receipts.jsonl", "--format", "json").json
    assert Path(said["receipts"]).read_text().splitlines() == lines


def test_this_machine_verifies_its_own_packs_at_once(exported: Terminal) -> None:
    said = exported("pack", "verify", "evidence.tar", "--format", "json")
    assert (said.code, said.json["verdict"], said.json["exit"]) == (0, "VALID", 0)
    assert said.json["not_proven"]
    text = exported("pack", "verify", "evidence.tar")
    assert (text.code, text.out.splitlines()[0]) == (0, "VALID (exit 0)")


def test_a_stranger_without_the_genesis_gets_unanchored_and_with_it_valid(
    exported: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = genesis(exported)
    stranger(exported, monkeypatch)
    said = exported("pack", "verify", "evidence.tar")
    assert (said.code, said.out.splitlines()[0]) == (20, "UNANCHORED (exit 20)")
    assert exported("pack", "verify", "evidence.tar", "--genesis", known).code == 0
    wrong = exported("pack", "verify", "evidence.tar", "--genesis", "sha256:" + "0" * 64)
    assert wrong.code == 40
    assert exported("replay", "evidence.tar", "--verify").code == 20
    assert exported("replay", "evidence.tar", "--verify", "--genesis", known).code == 0
    assert exported("replay", "evidence.tar").code == 0  # which verifies nothing, and says only that


def test_a_trust_file_of_others_does_not_vouch_for_us(exported: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Paths(exported.place.folder / "other", exported.place.folder / "others")
    home.init(other, lambda: PASSPHRASE)
    monkeypatch.setenv("HELM_PEOPLE", str(other.people))
    assert exported("pack", "verify", "evidence.tar").code == 20


def test_a_head_that_was_kept_makes_a_rollback_and_a_fork_visible(exported: Terminal) -> None:
    store = exported.place.paths.store
    shutil.copytree(store, "before")
    with Reader(store) as reader:
        Path("old.txt").write_bytes(reader.checkpoint)
    with exported.place.program(note) as program:
        program["note"]("more")
    with Reader(store) as reader:
        Path("new.txt").write_bytes(reader.checkpoint)
    exported.done("pack", "export", "--out", "new.tar")
    assert exported("pack", "verify", "new.tar", "--known-head", "old.txt").code == 0
    assert exported("pack", "verify", "new.tar", "--known-head", "new.txt").code == 0
    back = exported("pack", "verify", "evidence.tar", "--known-head", "new.txt", "--format", "json")
    assert (back.code, back.json["axes"]["freshness"]) != (0, "ok")
    shutil.rmtree(store)
    shutil.copytree("before", store)  # someone restores a copy and goes on from there
    with pytest.raises(OutsideError, match="ERR_STORE_ROLLBACK"), exported.place.program(note):
        pass  # a start compares with the head that is kept outside the store
    exported.done("pack", "export", "--out", "put-back.tar")  # which is evidence
    shutil.rmtree(exported.place.paths.heads)  # and someone takes that away, too
    with exported.place.program(note) as program:
        program["note"]("another history")
    exported.done("pack", "export", "--out", "fork.tar")
    forked = exported("pack", "verify", "fork.tar")
    assert forked.code == 30 and "SPLIT_VIEW" in forked.out, "this machine keeps the head that it verified last"
    shutil.rmtree(exported.place.paths.seen)
    assert exported("pack", "verify", "fork.tar").code == 0, "to whoever has seen neither it is one history of two"
    assert exported("pack", "verify", "fork.tar", "--known-head", "new.txt").code == 30
    missing = exported("pack", "verify", "fork.tar", "--known-head", "nothing.txt")
    assert missing.code == 64 and "`nothing.txt` cannot be read: No such file" in missing.error


def test_the_page_is_written_beside_the_answer_and_has_nothing_of_the_pack(exported: Terminal) -> None:
    said = exported("pack", "verify", "evidence.tar", "--html", "verify.html", "--format", "json")
    page = Path("verify.html").read_bytes()
    assert (said.code, said.json["verdict"], said.json["page"]) == (0, "VALID", {"path": "verify.html", "digest": digest(page)})
    assert page == document()
    text = exported("pack", "verify", "evidence.tar", "--genesis", "sha256:" + "0" * 64, "--html", "other.html")
    assert text.code == 40  # the page is for whoever wants to see why
    assert text.out.splitlines()[-2:] == [
        "the page, to drop the pack on: other.html", f"  {digest(page)}, the same for every pack",
    ]  # fmt: skip
    assert Path("other.html").read_bytes() == page
    assert "page" not in exported("pack", "verify", "evidence.tar", "--format", "json").json


def test_a_page_that_cannot_be_written_is_no_verdict(exported: Terminal) -> None:
    data = Path("evidence.tar").read_bytes()
    Path("folder").mkdir()
    for out, cause in (
        ("absent/verify.html", "`absent/verify.html`: no such file or directory"),
        ("folder", "`folder`: is a directory"),
        (".", "`.`: device or resource busy"),
        ("evidence.tar", "`evidence.tar`: this is what is verified: write the page elsewhere"),
    ):
        said = exported("pack", "verify", "evidence.tar", "--html", out)
        assert (said.code, said.out) == (64, "") and said.error.endswith(cause), said.err
    assert Path("evidence.tar").read_bytes() == data
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []  # nothing half written is left


def test_the_help_of_verify_shows_how_to_get_the_page(exported: Terminal) -> None:
    assert "example: helm-ai-kernel pack verify evidence.tar --html verify.html" in exported("pack", "verify", "--help").out


def test_a_recorded_unknown_is_complete_unless_it_must_be_resolved(terminal: Terminal) -> None:
    def raises() -> None:
        raise ValueError

    with terminal.place.program(raises) as program:
        program.kernel.call("python/raises", {})
    terminal.done("pack", "export", "--out", "evidence.tar")
    assert terminal("pack", "verify", "evidence.tar").code == 0
    assert terminal("pack", "verify", "evidence.tar", "--require-resolved").code == 12


def test_a_pack_exported_beside_a_running_kernel_verifies(terminal: Terminal) -> None:
    with terminal.place.program(note) as program:
        for _ in range(3):
            program["note"]("a")
            terminal.done("pack", "export", "--out", "now.tar", "--force")
            assert terminal("pack", "verify", "now.tar").code in (0, 12)  # 12: an intent whose outcome is not covered yet
            assert terminal("replay", "now.tar").code == 0


def test_one_changed_byte_is_invalid_and_nothing_is_decided_from_it(exported: Terminal) -> None:
    data = bytearray(Path("evidence.tar").read_bytes())
    at = data.index(b'"verdict":"DENY"')
    data[at + 11 : at + 15] = b"DENI"
    Path("changed.tar").write_bytes(data)
    assert exported("pack", "verify", "changed.tar").code == 40
    said = exported("replay", "changed.tar", "--verify")
    assert (said.code, said.out) == (40, "")
    assert said.err.splitlines()[-1] == "hint: helm-ai-kernel pack verify changed.tar"


def test_every_decision_is_derived_again(exported: Terminal) -> None:
    said = exported("replay", "evidence.tar", "--verify", "--format", "json")
    assert (said.code, said.json["verdict"], said.json["decisions"], said.json["differs"]) == (0, "VALID", 2, [])
    assert said.json["verify"]["verdict"] == "VALID"
    assert "verify" not in exported("replay", "evidence.tar", "--format", "json").json
    assert exported("replay", "evidence.tar", "--verify").out.splitlines() == [
        "the pack: VALID", "VALID: 2 decisions, 1 outcomes, 0 differ, 0 not replayable",
    ]  # fmt: skip


def test_a_file_without_end_is_not_read_to_its_end(exported: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helm_ai_kernel.cli.packs.REPLAY_BYTES_MAX", 1 << 16)
    said = exported("replay", "/dev/zero")
    assert said.code == 64 and "`/dev/zero` is larger than 65536 bytes" in said.error
    for command, code in (("verify", 64), ("show", 2)):
        said = exported("pack", command, "/dev/zero")
        assert said.code == code and "`/dev/zero` is not a file" in said.error


def test_a_part_does_not_take_the_place_of_a_head_that_it_cannot_be_compared_with(exported: Terminal) -> None:
    """Otherwise whoever forked a log would show a part of the other history first."""
    assert exported("pack", "verify", "evidence.tar").code == 0
    (kept,) = exported.place.paths.seen.iterdir()
    before = kept.read_bytes()
    with exported.place.program(note) as program:
        program["note"]("more")
    exported.done("pack", "export", "--receipt", "3", "--out", "part.tar")
    assert exported("pack", "verify", "part.tar").out.startswith("VALID")
    assert kept.read_bytes() == before
    exported.done("pack", "export", "--out", "newer.tar")
    assert exported("pack", "verify", "newer.tar").code == 0
    assert kept.read_bytes() != before, "a whole pack extends it"
    assert exported("pack", "verify", "evidence.tar").code == 25


def test_what_was_seen_is_of_one_log_under_one_genesis(exported: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment that calls itself by our name has another registry: what it shows takes nothing's place."""
    ours, mallet = short(), Deployment("mallet")
    first = [(mallet.root, "mallet")]
    line = genesis_of(first, threshold=1, at=AT, nonce="0" * 32, deployment=ours.deployment.registry.deployment)
    mallet.registry, mallet.origin = Registry.replay([line]), ours.deployment.origin
    mallet.enrol(mallet.execution, "kernel", mallet.origin)
    mallet.enrol(mallet.log, "kernel", mallet.origin)
    theirs = Log(mallet)
    for _ in range(9):
        theirs.end(theirs.start_kernel())
    ours.end(ours.kernel)
    for name, log in (("theirs.tar", theirs), ("ours.tar", ours)):
        Path(name).write_bytes(log.pack())
        assert exported("pack", "verify", name, "--genesis", log.genesis).code == 0, name
    assert len(list(exported.place.paths.seen.iterdir())) == 2


def test_a_pack_that_says_it_is_of_another_log_than_its_head_is_invalid_and_no_wrong_question(exported: Terminal) -> None:
    assert exported("pack", "verify", "evidence.tar").code == 0
    entries = dict(pack.read(Path("evidence.tar").read_bytes()))
    Path("lie.tar").write_bytes(repack(entries, log="helm.local-x/y"))
    assert exported("pack", "verify", "lie.tar").code == 40


def test_replay_verifies_as_pack_verify_does(exported: Terminal) -> None:
    """With what this machine has seen: of a history that contradicts it nothing is decided again."""
    shutil.copytree(exported.place.paths.home, "before", symlinks=True)
    with exported.place.program(note) as program:
        program["note"]("one history")
    exported.done("pack", "export", "--out", "new.tar")
    assert exported("pack", "verify", "new.tar").code == 0
    for folder in (exported.place.paths.home, exported.place.paths.heads):
        shutil.rmtree(folder)
    shutil.copytree("before", exported.place.paths.home, symlinks=True)
    with exported.place.program(note) as program:
        program["note"]("another history")
    exported.done("pack", "export", "--out", "fork.tar")
    for argv in (("pack", "verify", "fork.tar"), ("replay", "fork.tar", "--verify")):
        assert exported(*argv).code == 30, argv
    assert exported("replay", "fork.tar").code == 0
    assert exported("pack", "verify", "evidence.tar").code == 25
    older = exported("replay", "evidence.tar", "--verify")  # it holds, and is older than what was seen
    assert older.code == 25 and older.out.startswith("the pack: STALE\nVALID: 2 decisions")
