"""Evidence for others: a part of a log with what belongs to it, and a pack without what was said."""

import errno
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.terminal import Said, Terminal
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.graph import causes
from helm_ai_kernel.tcb.part import Inclusion
from helm_ai_kernel.tcb.receipt import Kind, Receipt
from packs import repack


def note(text: str) -> str:
    return text


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    """A log of two processes, with calls, a repeat under a key, a mismatch, and a denial."""
    with terminal.place.program(note) as program:
        program["note"]("hello")
        for text in ("one", "one", "two"):
            program.kernel.call("python/note", {"text": text}, key="a key")
        program.kernel.call("python/unknown", {})
    with terminal.place.program(note) as program:
        program["note"]("again")
    terminal.done("pack", "export", "--out", "whole.tar")
    return terminal


def inside(name: str) -> dict[str, bytes]:
    with tarfile.open(name) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def receipts(name: str) -> list[Receipt]:
    return [Receipt.from_bytes(line) for line in pack.lines(inside(name)[pack.RECEIPTS])]


def places(name: str) -> list[int]:
    """Where in the log the receipts of a part stand."""
    proof = Inclusion.from_bytes(inside(name)[pack.INCLUSION], len(receipts(name)))
    return [place for first, count in proof.ranges for place in range(first, first + count)]


def valid(terminal: Terminal, name: str) -> Said:
    said = terminal("pack", "verify", name, "--format", "json")
    assert (said.code, said.json["part"]) == (0, True), said.out
    return said


def test_a_session_is_a_part_that_verifies_by_itself(terminal: Terminal) -> None:
    session = next(r.session for r in terminal.place.receipts() if r.body.get("principal") == "local")
    said = terminal.done("pack", "export", "--session", session, "--out", "part.tar", "--format", "json").json
    wanted = {r.index for r in terminal.place.receipts() if r.session == session}
    assert wanted <= {*places("part.tar")} and said["part"]["receipts"] == len(places("part.tar")) < said["part"]["of"]
    valid(terminal, "part.tar")
    assert set(inside("part.tar")) - {pack.INCLUSION} <= set(inside("whole.tar"))
    assert said["part"]["of"] == len(terminal.place.receipts())


def test_one_receipt_brings_its_causes_and_the_outcomes_of_its_intents(terminal: Terminal) -> None:
    log = terminal.place.receipts()
    at = {receipt.leaf: receipt.index for receipt in log}
    for receipt in log:
        terminal.done("pack", "export", "--receipt", str(receipt.index), "--out", "part.tar", "--force")
        here = {*places("part.tar")}
        assert receipt.index in here
        for place in here:
            assert {at[cause] for cause in causes(log[place])} <= here
            if log[place].is_intent:
                assert any(log[other].body.get("decision") == log[place].leaf for other in here)
        valid(terminal, "part.tar")
    terminal.done("pack", "export", "--receipt", log[5].leaf, "--receipt", "2", "--out", "part.tar", "--force")
    assert {2, 5} <= {*places("part.tar")}


def test_a_key_that_was_claimed_elsewhere_is_in_the_part(terminal: Terminal) -> None:
    log = terminal.place.receipts()
    mismatch = next(r for r in log if r.reason.value == "ERR_IDEMPOTENCY_MISMATCH")
    terminal.done("pack", "export", "--receipt", mismatch.leaf, "--out", "part.tar")
    assert "attachments/" + str(mismatch.body["key"])[7:] in inside("part.tar")
    valid(terminal, "part.tar")


def test_a_time_is_a_part_by_the_kernels_clock(terminal: Terminal) -> None:
    log = terminal.place.receipts()
    second = [r for r in log if r.kind is Kind.SESSION and r.body.get("principal") == "kernel" and r.body["event"] == "start"][-1]
    at = str(second.body["at"])
    terminal.done("pack", "export", "--since", at, "--out", "part.tar")
    assert {r.index for r in log if str(r.body["at"]) >= at} <= {*places("part.tar")}
    valid(terminal, "part.tar")
    terminal.done("pack", "export", "--until", at, "--out", "part.tar", "--force")
    assert {len(log) - 1, *(r.index for r in log if str(r.body["at"]) <= at)} <= {*places("part.tar")}
    valid(terminal, "part.tar")
    terminal.done("pack", "export", "--since", "2000-01-01T00:00:00Z", "--out", "part.tar", "--force")
    assert places("part.tar") == list(range(len(log)))
    valid(terminal, "part.tar")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--session", "0" * 32), "no receipt is in this part"),
        (("--since", "2100-01-01T00:00:00Z"), "no receipt is in this part"),
        (("--receipt", "999"), "no receipt is named `999`"),
        (("--receipt", "1", "--since", "2000-01-01"), "one of them at a time"),
        (("--jsonl", "--receipt", "1"), "one of them at a time"),
    ],
)
def test_a_part_of_nothing_and_two_ways_at_once_are_refused(terminal: Terminal, argv: tuple[str, ...], says: str) -> None:
    said = terminal("pack", "export", "--out", "part.tar", *argv)
    assert said.code in (1, 2) and says in said.error
    assert not Path("part.tar").exists()
    assert terminal.type(said.hint).code == 0


def test_a_part_of_a_log_whose_leaves_somebody_changed_is_refused(terminal: Terminal) -> None:
    with sqlite3.connect(terminal.place.paths.store / "ledger.db") as conn:
        conn.execute("UPDATE receipts SET leaf=zeroblob(32) WHERE idx=4")
    conn.close()
    said = terminal("pack", "export", "--receipt", "1", "--out", "part.tar")
    assert said.code == 2 and "the leaves in the store are not those that were signed" in said.error


def test_without_attachments_a_part_still_verifies(terminal: Terminal) -> None:
    terminal.done("pack", "export", "--receipt", "5", "--without-attachments", "--out", "part.tar")
    assert not [name for name in inside("part.tar") if name.startswith("attachments/")]
    valid(terminal, "part.tar")


def without(name: str, gone: Callable[[str], bool]) -> dict[str, bytes]:
    return {entry: data for entry, data in inside(name).items() if not gone(entry) and entry != pack.MANIFEST}


def test_a_redacted_pack_has_no_attachment_and_all_else_of_it(terminal: Terminal) -> None:
    said = terminal.done("pack", "redact", "whole.tar", "--out", "less.tar", "--format", "json").json
    held = [name for name in inside("whole.tar") if name.startswith("attachments/")]
    assert said["dropped"] == said["withheld"] == len(held) > 4
    assert without("less.tar", lambda name: False) == without("whole.tar", lambda name: name.startswith("attachments/"))
    assert terminal("pack", "verify", "less.tar").code == 0
    terminal.done("pack", "export", "--without-attachments", "--out", "same.tar")
    assert Path("less.tar").read_bytes() == Path("same.tar").read_bytes()


def test_attachments_are_kept_by_receipt_and_dropped_by_name(terminal: Terminal) -> None:
    log = terminal.place.receipts()
    call = next(r for r in log if r.is_intent and "key" in r.body)
    terminal.done("pack", "redact", "whole.tar", "--out", "kept.tar", "--keep", call.leaf)
    own = {"attachments/" + str(call.body[name])[7:] for name in ("args_hash", "key")}
    assert {name for name in inside("kept.tar") if name.startswith("attachments/")} == own
    assert terminal("pack", "verify", "kept.tar").code == 0
    terminal.done("pack", "redact", "whole.tar", "--out", "dropped.tar", "--drop", str(call.body["args_hash"]))
    assert set(inside("whole.tar")) - set(inside("dropped.tar")) == {"attachments/" + str(call.body["args_hash"])[7:]}
    assert terminal("pack", "verify", "dropped.tar").code == 0
    for argv, says in (
        (("--keep", "sha256:" + "0" * 64), "is in the pack"),
        (("--drop", "sha256:" + "0" * 64), "no attachment `sha256:0000"),
    ):
        said = terminal("pack", "redact", "whole.tar", "--out", "never.tar", *argv)
        assert said.code == 1 and says in said.error and not Path("never.tar").exists()


def test_a_part_is_redacted_like_a_whole_pack(terminal: Terminal) -> None:
    terminal.done("pack", "export", "--receipt", "5", "--out", "part.tar")
    terminal.done("pack", "redact", "part.tar", "--out", "less.tar")
    valid(terminal, "less.tar")


def test_what_is_no_pack_is_not_redacted_and_nothing_is_overwritten(terminal: Terminal) -> None:
    data = Path("whole.tar").read_bytes()
    Path("torn.tar").write_bytes(data[:-512])
    Path("other.tar").write_bytes(data.replace(b'"withheld":0', b'"withheld":1', 1))
    for wrong in ({"size": 1}, {"root": digest(b"")}, {"log": "helm.local/another"}):
        Path(f"{min(wrong)}.tar").write_bytes(repack(inside("whole.tar"), **wrong))
    for name in ("torn.tar", "other.tar", "size.tar", "root.tar", "log.tar"):
        said = terminal("pack", "redact", name, "--out", "less.tar")
        assert said.code == 1 and not Path("less.tar").exists(), said
    said = terminal("pack", "redact", "whole.tar", "--out", "./whole.tar")
    assert (said.code, said.error) == (1, "pack redact: the pack that is read is not overwritten")
    assert Path("whole.tar").read_bytes() == data


def test_what_a_pack_holds_is_one_document_of_two_lists(terminal: Terminal) -> None:
    said = terminal.done("pack", "show", "whole.tar", "--format", "json").json
    assert [row["name"] for row in said["files"]] == list(inside("whole.tar"))
    assert [row["leaf"] for row in said["receipts"]] == [r.leaf for r in terminal.place.receipts()]


def test_heads_that_witnesses_saw_are_in_the_pack(terminal: Terminal) -> None:
    store = terminal.place.paths.store
    with Reader(store) as reader:
        older = reader.checkpoint
    with terminal.place.program(note) as program:
        program["note"]("more")
    with Reader(store) as reader:
        newest = reader.checkpoint
    seen = store / "witnessed"
    seen.mkdir()
    line = "\N{EM DASH} witness.example/w AAAAAGFiY2Q=\n".encode()
    (seen / f"{1:016}.txt").write_bytes(older + line)
    (seen / "newest.txt").write_bytes(newest + line)
    (seen / f"{2:016}.txt").write_bytes(b"nothing")
    (seen / f"{3:016}.txt").write_bytes(older.replace(b"helm.local", b"helm.other"))
    terminal.done("pack", "export", "--out", "seen.tar")
    entries = inside("seen.tar")
    assert entries[pack.CHECKPOINT] == newest + line
    size = int(older.split(b"\n")[1])
    assert {name: data for name, data in entries.items() if name.startswith("cosigned/")} == {
        f"cosigned/{size}.txt": older + line
    }
    assert terminal("pack", "verify", "seen.tar").code == 0
    (seen / f"{0:016}.txt").write_bytes(newest + line.replace(b"GF", b"GJ"))  # the first of the same size: it says since when
    terminal.done("pack", "export", "--out", "twice.tar")
    entries, now = inside("twice.tar"), newest.split(b"\n")[1].decode()
    assert entries[pack.CHECKPOINT] == newest + line
    assert entries[f"cosigned/{now}.txt"] == (seen / f"{0:016}.txt").read_bytes()
    assert terminal("pack", "verify", "twice.tar").code == 0
    terminal.done("pack", "export", "--receipt", "3", "--out", "part.tar")
    assert inside("part.tar")[pack.CHECKPOINT] == newest + line and not any("cosigned" in name for name in inside("part.tar"))
    valid(terminal, "part.tar")
    shutil.rmtree(seen)


KILLED = """
import os, signal, sys
from helm_ai_kernel import cli
from helm_ai_kernel.cli import exports
real = exports.export.whole
def whole(*args, **kwargs):
    for piece in real(*args, **kwargs):
        yield piece
        if b"hello" in piece:
            yield bytes(1 << 20)  # so that it is written
            os.kill(os.getpid(), signal.SIGKILL)
exports.export.whole = whole
cli.main(sys.argv[1:])
"""


def test_an_export_that_is_killed_leaves_nothing_of_what_was_said(terminal: Terminal) -> None:
    def there() -> set[str]:
        return {str(path) for path in Path().rglob("*")}

    before = there()
    for out in ((), ("--out", "killed.tar"), ("--out", "whole.tar", "--force")):
        ended = subprocess.run([sys.executable, "-c", KILLED, "pack", "export", *out], check=False)
        assert ended.returncode == -signal.SIGKILL and there() == before


def without_unnamed_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a file system is that has none (NFS)."""
    real = os.open

    def opens(path: object, flags: int, *args: object, **kwargs: object) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", opens)


@pytest.mark.parametrize("unnamed", [True, False])
def test_what_holds_contents_is_its_owners_and_replaces_nothing_unless_it_is_said(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, unnamed: bool
) -> None:
    if not unnamed:
        without_unnamed_files(monkeypatch)
    session = next(receipt.session for receipt in terminal.place.receipts())
    for argv in (("export",), ("export", "--jsonl"), ("export", "--session", session), ("redact", "whole.tar")):
        said = terminal.done("pack", *argv, "--out", "out", "--format", "json").json
        data = Path("out").read_bytes()
        assert len(data) == said["bytes"] and stat.S_IMODE(Path("out").stat().st_mode) == 0o600, argv
        Path("out").write_bytes(b"mine")
        no = terminal("pack", *argv, "--out", "out")
        assert (no.code, no.error) == (1, f"pack {argv[0]}: `out` is there, and nothing is overwritten")
        assert Path("out").read_bytes() == b"mine"
        assert terminal.type(no.hint).code == 0 and Path("out").read_bytes() == data
        Path("out").unlink()
    packs = terminal.place.paths.packs
    for _ in range(2):
        path = Path(terminal.done("pack", "export", "--format", "json").json["pack"])
        assert path.parent == packs and stat.S_IMODE(path.stat().st_mode) == 0o600  # by its own name it may be made again
    assert not list(packs.glob(".*")) and not list(Path().glob(".*out*"))
    lost = terminal("pack", "export", "--out", "nowhere/out")
    assert lost.code == 2 and "nowhere/out" in lost.error


def test_a_device_is_not_replaced_by_a_pack(terminal: Terminal) -> None:
    os.mkfifo("pipe")
    said = terminal("pack", "export", "--out", "pipe", "--force")
    assert said.code == 1 and "`pipe` is no file" in said.error and Path("pipe").is_fifo()
