"""A witness that is another process: what it finds that nobody inside can find, and what kills and crowds cannot make it do.

The rows are T6.8 and S6: a copy of a kernel that runs beside the first, a store that was put back together with the head that is
kept outside it. Both are whole, both were signed with the log's own key: only who remembers can tell.
"""

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.kernels import Place, Program
from faults.inject import command
from gateway.witnessing import LOG, History
from helm_ai_kernel.app import heartbeat
from helm_ai_kernel.app.kernel import Kernel
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.app.witnesses import log_vkey
from helm_ai_kernel.credentials import keyfile
from helm_ai_kernel.gateway import witness_memory
from helm_ai_kernel.net.witness import Conflict, Cosigned, Said, submit
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.cosign import VerifierKey, cosigned_at
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.keys import Purpose
from helm_ai_kernel.wire.submission import Submission

NAME = "witness.example/w1"


class Served:
    """`helm-ai-kernel witness serve` in a folder."""

    def __init__(self, folder: Path, log: VerifierKey) -> None:
        self.folder = folder
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        keyfile.write_machine(folder / "key", os.urandom(32), Purpose.WITNESS, NAME)
        self.vkey = VerifierKey(NAME, keyfile.read_machine(folder / "key", Purpose.WITNESS, NAME).public)

    def start(self) -> None:
        argv = command("witness", "serve", "--dir", self.folder, "--listen", "127.0.0.1:0", "--log", self._log)
        errors = (self.folder / "errors").open("ab")
        with errors:
            self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().split()[-1]
        assert self._process.stdout.readline() == f"vkey {self.vkey}\n"

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None and self._process.stdout is not None
        self._process.send_signal(number)
        self._process.stdout.close()
        return self._process.wait(30)

    def ask(self, sent: bytes) -> Said:
        return submit(self.url, Submission.from_bytes(sent))

    @property
    def size(self) -> int:
        return next((note.size for note in witness_memory.remembered(self.folder, self.vkey)), 0)


def served(tmp_path: Path, log: VerifierKey) -> Iterator[Served]:
    folder = tmp_path / "w1"
    folder.mkdir(mode=0o700)
    witness = Served(folder, log)
    witness.start()
    yield witness
    witness.send(signal.SIGCONT)
    assert witness.end() == 0


@pytest.fixture
def outside(place: Place, tmp_path: Path) -> Iterator[Served]:
    """A witness of that kernel."""
    for witness in served(tmp_path, log_vkey(place.config)):
        place.configure('[log]\nwitnesses = "witness-policy.txt"\n')
        text = f"witness w1 {witness.vkey} {witness.url}\nquorum w1\n"
        (place.paths.home / "witness-policy.txt").write_text(text, encoding="utf-8")
        yield witness


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Served]:
    """A witness of a log that the test itself signs for."""
    yield from served(tmp_path, LOG)


def note(text: str = "") -> str:
    return text


def restarted(place: Place) -> Program:
    """The same program once more: its functions are pinned and allowed."""
    kernel = Kernel(config=place.config)
    return Program(kernel, {"note": kernel.tool(effect="write")(note)})


async def beat(runtime: Runtime) -> str:
    """Why the kernel is sealed after a round, if it is."""
    assert runtime.heartbeat is not None
    await runtime.heartbeat.beat()
    return runtime.ledger.writer.sealed


def check_sealed(run: Program, captured: str) -> None:
    """It stopped, told both heads, and executes nothing any more."""
    assert re.search(
        r"SPLIT_VIEW: .* here: size \d+, root [0-9a-f]{64}; the witness `witness\.example/w1` cosigned: size \d+", captured
    )
    assert "ERR_STORE_ROLLBACK" in captured
    with pytest.raises(OutsideError, match=r"ERR_SEALED.*SPLIT_VIEW"):
        run["note"]("no more")
    with pytest.raises(OutsideError, match="ERR_SEALED"):
        run.kernel.close()


# -- T6.8, S6


@pytest.mark.parametrize("length", ["behind", "as long", "ahead"])
def test_a_copy_that_runs_beside_the_first_is_found_by_whoever_shows_its_head_second(
    place: Place, outside: Served, tmp_path: Path, capfd: pytest.CaptureFixture[str], length: str
) -> None:
    with place.program(note):
        pass
    shutil.copytree(place.folder, tmp_path / "copy")
    other = Place(tmp_path / "copy")
    with restarted(place) as first:
        for index in range(2):
            first["note"](str(index))
        assert first.kernel.run(beat) == "" and not witness_memory.evidence(outside.folder)
        if length != "behind":
            grow_unseen(other, 0 if length == "as long" else 6)
        second = restarted(other)
        why = second.kernel.run(beat)
        told = re.search(r"here: size (\d+), .* cosigned: size (\d+)", why)
        assert told is not None
        ours, theirs = map(int, told.groups())
        assert {"behind": ours < theirs, "as long": ours == theirs, "ahead": ours > theirs}[length], why
        check_sealed(second, capfd.readouterr().err)
        assert first.kernel.run(beat) == "" and first["note"]("the first goes on") == "the first goes on"
    place.check()
    proofs, suspected = witness_memory.evidence(outside.folder), witness_memory.suspected(outside.folder)
    assert (len(proofs), len(suspected)) == {"behind": (0, 0), "as long": (2, 0), "ahead": (0, 2)}[length]
    kept = [Checkpoint.from_bytes(path.read_bytes()) for path in (*proofs, *suspected)]
    assert sorted(note.size for note in kept) == ([] if length == "behind" else sorted([ours, theirs]))
    for one in kept:  # both histories, signed by the log
        one.verify(log_vkey(place.config).name, log_vkey(place.config).key)


def grow_unseen(other: Place, calls: int) -> None:
    """A copy that is run without its witnesses: so many calls, and one that is refused."""
    text = other.paths.config.read_text(encoding="utf-8")
    other.configure("heartbeat_s = 0\n")
    with restarted(other) as run:
        for index in range(calls):
            run["note"](f"other {index}")
        run.kernel.call("python/unknown", {})
    other.paths.config.write_text(text, encoding="utf-8")


def test_a_store_that_was_put_back_together_with_its_mirrored_head_is_found(
    place: Place, outside: Served, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with place.program(note):
        pass
    shutil.copytree(place.folder, tmp_path / "yesterday")
    with restarted(place) as run:
        for index in range(4):
            run["note"](str(index))
        assert run.kernel.run(beat) == ""
    shutil.rmtree(place.folder)
    shutil.copytree(tmp_path / "yesterday", place.folder)
    run = restarted(place)
    assert "which is more than was ever appended here" in run.kernel.run(beat)
    check_sealed(run, capfd.readouterr().err)


def test_a_witness_that_is_stopped_delays_no_call_and_no_end_for_long(
    place: Place, outside: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "LAST_S", 0.2)
    with place.program(note) as run:
        assert run.kernel.run(beat) == ""
        outside.send(signal.SIGSTOP)
    with restarted(place) as run:
        for index in range(20):
            assert run["note"](str(index)) == str(index)
    outside.send(signal.SIGCONT)
    place.check()


# -- crowds and kills


def test_a_crowd_never_makes_it_roll_back(alone: Served) -> None:
    true, signed, lock = History(), [0], threading.Lock()

    def grow(start: int) -> None:
        old = 0
        for size in range(start, 60, 6):
            while old <= size:
                said = alone.ask(true.sent(old, size))
                if isinstance(said, Cosigned):
                    assert cosigned_at(true.note(size).with_lines(said.lines), alone.vkey)
                    with lock:
                        signed.append(size)
                    break
                assert isinstance(said, Conflict)
                old = said.size

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(grow, range(1, 7)))
    assert alone.size == max(signed) >= 54 and not witness_memory.evidence(alone.folder)
    assert not witness_memory.suspected(alone.folder)


def test_a_kill_at_any_moment_leaves_it_with_all_that_it_ever_cosigned(alone: Served) -> None:
    true, signed = History(), [0]

    def grow(until: threading.Event) -> None:
        """Until the connection breaks; a size is counted when its cosignature is here."""
        try:
            while not until.is_set():
                size = signed[-1] + 1
                said = alone.ask(true.sent(signed[-1], size))
                if isinstance(said, Cosigned):
                    signed.append(size)
                elif isinstance(said, Conflict):  # it wrote that down and was killed before it had answered
                    assert said.size == size
                    signed.append(said.size)
        except OutsideError:
            return

    for moment in (0.01, 0.03, 0.07):
        until = threading.Event()
        thread = threading.Thread(target=grow, args=(until,))
        thread.start()
        thread.join(moment)  # somewhere in the middle of the stream of submissions
        alone.end(signal.SIGKILL)
        until.set()
        thread.join(30)
        assert signed[-1] <= alone.size <= signed[-1] + 1
        alone.start()
    alone.ask(true.sent(alone.size, 40 + alone.size))
    last = alone.size
    for size in range(1, last + 1, 7):  # neither a smaller tree nor another one of any size, whatever is said about the old one
        for history in (true, History(fork=0)):
            said = alone.ask(history.sent(min(size, last), size))
            assert isinstance(said, Conflict) == (size < last or history is not true)


def test_two_processes_do_not_share_a_memory(alone: Served) -> None:
    argv = command("witness", "serve", "--dir", alone.folder, "--listen", "127.0.0.1:0", "--log", LOG)
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2 and "another witness has" in ended.stderr
