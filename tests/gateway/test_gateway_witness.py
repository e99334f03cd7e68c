"""A witness vouches for one history of a log, whatever it is sent, in whatever order, by however many at once."""

import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.witnessing import KEY, LOG, NAME, ORIGIN, SIGNER, TIME, VKEY, History, serving, witness
from helm_ai_kernel.gateway import witness_memory
from helm_ai_kernel.gateway.witness import CLOCK_BACK_S, Witness
from helm_ai_kernel.gateway.witness_memory import KEPT_MAX, Memory
from helm_ai_kernel.tcb import checkpoint
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.cosign import VerifierKey, cosign, cosigned_at
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.wire.reply import Reply
from helm_ai_kernel.wire.submission import BYTES_MAX, SIZE_TYPE, Submission

TRUE = History()


def status(answer: Reply) -> int:
    return answer.status


def size_of(folder: Path) -> int:
    """What a witness that starts there now has cosigned last."""
    return next((note.size for note in witness_memory.remembered(folder, VKEY)), 0)


def test_a_tree_that_goes_on_is_cosigned_and_one_that_does_not_never_is(tmp_path: Path) -> None:
    with witness(tmp_path) as asked:
        for old, size in ((0, 3), (3, 3), (3, 8), (8, 13)):
            answer = asked.add_checkpoint(TRUE.sent(old, size))
            assert status(answer) == 200
            note = TRUE.note(size).with_lines(answer.body)
            assert cosigned_at(note, VKEY) == TIME and size_of(tmp_path) == size
        assert status(asked.add_checkpoint(History(fork=5).sent(13, 20))) == 422
        assert size_of(tmp_path) == 13


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"nonsense", 400),
        (TRUE.sent(9, 8), 400),
        (History(origin="another/log").sent(8, 9), 404),
        (History(key=SecretKey.from_seed(b"\x02" * 32, Purpose.LOG)).sent(8, 9), 403),
        (TRUE.sent(0, 9), 409),
        (TRUE.sent(7, 9), 409),
        (TRUE.sent(5, 5), 409),
        (TRUE.sent(9, 9), 409),
        (History(fork=2).sent(8, 8), 409),
        (History(fork=2).sent(8, 9), 422),
        (Submission(8, (), TRUE.note(9)).to_bytes(), 422),
        (Submission(8, (b"\x00" * 32,) * 4, TRUE.note(9)).to_bytes(), 422),
        (TRUE.sent(8, 8), 200),
        (TRUE.sent(8, 9), 200),
    ],
)
def test_what_is_answered_is_what_c2sp_says(tmp_path: Path, body: bytes, expected: int) -> None:
    with witness(tmp_path) as asked:
        assert status(asked.add_checkpoint(TRUE.sent(0, 8))) == 200
        answer = asked.add_checkpoint(body)
        assert status(answer) == expected
        assert (answer.fields[0][1] == SIZE_TYPE and answer.body == b"8\n") == (expected == 409)
        assert ("—".encode() in answer.body) == (expected == 200)
        assert size_of(tmp_path) == (9 if expected == 200 and body == TRUE.sent(8, 9) else 8)


def test_the_empty_tree_is_cosigned_and_proves_nothing_about_what_comes(tmp_path: Path) -> None:
    with witness(tmp_path) as asked:
        false = checkpoint.sign(ORIGIN, 0, b"\x05" * 32, KEY)
        assert status(asked.add_checkpoint(Submission(0, (), false).to_bytes())) == 422
        assert status(asked.add_checkpoint(Submission(0, (b"\x00" * 32,), TRUE.note(3)).to_bytes())) == 422
        assert [status(asked.add_checkpoint(TRUE.sent(0, size))) for size in (0, 0, 3, 0)] == [200, 200, 200, 409]


def test_two_logs_are_two_memories_and_a_rotated_key_counts(tmp_path: Path) -> None:
    other, new = History(origin="another/log"), SecretKey.from_seed(b"\x02" * 32, Purpose.LOG)
    logs = (LOG, VerifierKey(ORIGIN, new.public), VerifierKey("another/log", KEY.public))
    with witness(tmp_path, *logs) as asked:
        assert status(asked.add_checkpoint(TRUE.sent(0, 5))) == 200
        assert status(asked.add_checkpoint(other.sent(0, 2))) == 200
        assert status(asked.add_checkpoint(History(key=new).sent(5, 7))) == 200
    assert {note.origin: note.size for note in witness_memory.remembered(tmp_path, VKEY)} == {ORIGIN: 7, "another/log": 2}


def test_what_others_signed_is_not_kept_and_not_answered(tmp_path: Path) -> None:
    stranger = SecretKey.from_seed(b"\x09" * 32, Purpose.WITNESS)
    note = TRUE.note(4).with_lines(cosign(TRUE.note(4), "other.example", stranger, 5))
    with witness(tmp_path) as asked:
        answer = asked.add_checkpoint(Submission(0, (), note).to_bytes())
        assert status(answer) == 200 and answer.body.count(b"\n") == 1
    (kept,) = witness_memory.remembered(tmp_path, VKEY)
    assert [name for name, _ in kept.sigs] == [ORIGIN, NAME]


# -- a log that shows two histories


def test_both_notes_of_a_log_that_equivocates_are_kept_and_told(tmp_path: Path) -> None:
    said: list[str] = []
    with witness(tmp_path, tell=said.append) as asked:
        asked.add_checkpoint(TRUE.sent(0, 8))
        for _ in range(2):
            asked.add_checkpoint(History(fork=2).sent(8, 8))
    kept = [Checkpoint.from_bytes(path.read_bytes()) for path in witness_memory.evidence(tmp_path)]
    assert {note.root for note in kept} == {TRUE.note(8).root, History(fork=2).note(8).root}
    for note in kept:
        note.verify(ORIGIN, KEY.public)
    assert len(said) == 2 and "two roots for size 8" in said[0]
    assert TRUE.note(8).note.decode() in said[1] and History(fork=2).note(8).note.decode() in said[1]
    assert not witness_memory.suspected(tmp_path)


def test_a_proof_that_does_not_hold_is_a_suspicion_and_called_that(tmp_path: Path) -> None:
    said: list[str] = []
    with witness(tmp_path, tell=said.append) as asked:
        asked.add_checkpoint(TRUE.sent(0, 8))
        for _ in range(2):
            assert status(asked.add_checkpoint(History(fork=2).sent(8, 9))) == 422
    kept = [Checkpoint.from_bytes(path.read_bytes()) for path in witness_memory.suspected(tmp_path)]
    assert {note.root for note in kept} == {TRUE.note(8).root, History(fork=2).note(9).root}
    assert not witness_memory.evidence(tmp_path)
    assert len(said) == 1 and said[0].startswith("warning: ") and "anybody can send" in said[0]


def test_who_has_genuine_notes_and_no_key_frames_no_log_and_hides_no_fork(tmp_path: Path) -> None:
    said: list[str] = []
    with witness(tmp_path, tell=said.append) as asked:
        asked.add_checkpoint(TRUE.sent(0, 3))
        for size in range(4, 6 + KEPT_MAX):
            assert status(asked.add_checkpoint(Submission(3, (b"\x00" * 32,), TRUE.note(size)).to_bytes())) == 422
        assert not witness_memory.evidence(tmp_path) and not [line for line in said if line.startswith("error: ")]
        assert len(witness_memory.suspected(tmp_path)) == KEPT_MAX
        assert status(asked.add_checkpoint(TRUE.sent(3, 4))) == 200
        assert status(asked.add_checkpoint(History(fork=1).sent(4, 4))) == 409
    kept = [Checkpoint.from_bytes(path.read_bytes()) for path in witness_memory.evidence(tmp_path)]
    assert {note.root for note in kept} == {TRUE.note(4).root, History(fork=1).note(4).root}
    assert [line for line in said if line.startswith("error: ")] and History(fork=1).note(4).note.decode() in said[-1]


@pytest.mark.parametrize("hindrance", ["full", "broken"])
def test_the_first_proof_against_a_log_is_told_whether_it_is_kept_or_not(tmp_path: Path, hindrance: str) -> None:
    said: list[str] = []
    with witness(tmp_path) as asked:
        asked.add_checkpoint(TRUE.sent(0, 70))
        for fork in range(KEPT_MAX if hindrance == "full" else 0):
            asked.add_checkpoint(History(fork=fork).sent(70, 70))
    if hindrance == "broken":
        (tmp_path / "evidence").rmdir()
        (tmp_path / "evidence").symlink_to("/proc")
    with witness(tmp_path, tell=said.append) as asked:  # a process that told nothing yet
        for _ in range(2):
            assert status(asked.add_checkpoint(History(fork=69).sent(70, 70))) == 409
    assert len([line for line in said if History(fork=69).note(70).note.decode() in line]) == 1
    assert [line for line in said if "is not kept" in line or "nothing more is kept" in line]


def test_a_stale_proof_of_another_root_of_the_same_size_is_evidence_too(tmp_path: Path) -> None:
    with witness(tmp_path) as asked:
        asked.add_checkpoint(TRUE.sent(0, 8))
        assert status(asked.add_checkpoint(History(fork=2).sent(3, 8))) == 409
    assert len(witness_memory.evidence(tmp_path)) == 2


def test_evidence_is_bounded(tmp_path: Path) -> None:
    with witness(tmp_path) as asked:
        asked.add_checkpoint(TRUE.sent(0, 70))
        for fork in range(69):
            assert status(asked.add_checkpoint(History(fork=fork).sent(70, 70))) == 409
    assert len(witness_memory.evidence(tmp_path)) == KEPT_MAX and not witness_memory.suspected(tmp_path)


# -- time, and what is written down


def test_a_clock_that_went_back_is_not_believed(tmp_path: Path) -> None:
    for now, expected in ((TIME, TIME), (TIME - CLOCK_BACK_S, TIME), (TIME - CLOCK_BACK_S - 1, None), (TIME + 9, TIME + 9)):
        with witness(tmp_path, clock=lambda now=now: now) as asked:  # type: ignore[misc]
            answer = asked.add_checkpoint(TRUE.sent(size_of(tmp_path), 4))
            assert status(answer) == (503 if expected is None else 200)
            assert expected is None or cosigned_at(TRUE.note(4).with_lines(answer.body), VKEY) == expected


def test_what_cannot_be_written_down_is_not_cosigned(tmp_path: Path) -> None:
    with witness(tmp_path) as asked:
        asked.add_checkpoint(TRUE.sent(0, 4))
        shutil.move(tmp_path / "logs", tmp_path / "away")
        answer = asked.add_checkpoint(TRUE.sent(4, 6))
        assert status(answer) == 503 and "—".encode() not in answer.body
        shutil.move(tmp_path / "away", tmp_path / "logs")
        assert status(asked.add_checkpoint(TRUE.sent(4, 5))) == 200


def test_one_process_has_the_memory(tmp_path: Path) -> None:
    with witness(tmp_path), pytest.raises(OutsideError, match="ERR_STORE_LOCKED"):
        Memory.open(tmp_path, VKEY)
    Memory.open(tmp_path, VKEY).close()


def test_a_memory_that_was_changed_is_refused_at_the_start(tmp_path: Path) -> None:
    with witness(tmp_path) as asked:
        asked.add_checkpoint(TRUE.sent(0, 8))
    (path,) = (tmp_path / "logs").iterdir()
    whole = path.read_bytes()
    older = TRUE.note(3).with_lines(cosign(TRUE.note(3), NAME, SecretKey.from_seed(b"\x08" * 32, Purpose.WITNESS), TIME))
    forged = whole.replace(b"\n8\n", b"\n3\n")
    for data in (b"", whole[:-1], forged, TRUE.note(8).note, older.note, whole + b"x" * (1 << 17)):
        path.write_bytes(data)
        with pytest.raises(OutsideError, match="ERR_STORE_CORRUPT"):
            Memory.open(tmp_path, VKEY)
    path.write_bytes(whole)
    path.rename(path.with_name("0" * 32 + ".txt"))
    with pytest.raises(OutsideError, match="ERR_STORE_CORRUPT"):
        Memory.open(tmp_path, VKEY)


# -- any order, and many at once

STEPS = st.lists(
    st.tuples(st.sampled_from([None, 0, 2, 5]), st.integers(0, 9), st.integers(0, 9), st.booleans()), min_size=1, max_size=12
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_all_that_was_ever_cosigned_is_one_history(steps: list[tuple[int | None, int, int, bool]]) -> None:
    with TemporaryDirectory() as name:
        folder, cosigned = Path(name), [(0, [])]
        for fork, old, size, starts in steps:
            history = History(fork)
            last, leaves = cosigned[-1]
            with witness(folder) as asked:  # a process that starts anew each time
                answer = asked.add_checkpoint(history.sent(last if starts else old, size))
            grows = size >= last and history.leaves(size)[:last] == leaves
            assert (status(answer) == 200) == (grows and (starts or old == last))
            if status(answer) == 200:
                cosigned.append((size, history.leaves(size)))


def test_many_at_once_never_roll_back(tmp_path: Path) -> None:
    signed: list[int] = []
    lock = threading.Lock()

    def submit(asked: Witness, sizes: range) -> None:
        old = 0
        for size in sizes:
            while old <= size:
                answer = asked.add_checkpoint(TRUE.sent(old, size))
                if status(answer) == 200:
                    with lock:
                        signed.append(size)
                    break
                old = int(answer.body)

    with witness(tmp_path) as asked:
        threads = [threading.Thread(target=submit, args=(asked, range(start, 40, 3))) for start in (1, 2, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not witness_memory.evidence(tmp_path)
    assert size_of(tmp_path) == max(signed) == 39


def test_two_that_race_from_the_same_size_do_not_both_win(tmp_path: Path) -> None:
    for attempt in range(10):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with witness(folder) as asked, ThreadPoolExecutor(2) as pool:
            asked.add_checkpoint(TRUE.sent(0, 5))
            answers = list(pool.map(asked.add_checkpoint, [TRUE.sent(5, 6), History(fork=5).sent(5, 6)]))
        assert sorted(map(status, answers)) == [200, 409]


# -- doors of it


def sent(port: int, data: bytes) -> bytes:
    """Everything that comes back until the witness closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def post(port: int, body: bytes, *fields: str, line: str = "POST /add-checkpoint HTTP/1.1") -> bytes:
    lines = [line, f"Host: 127.0.0.1:{port}", f"Content-Length: {len(body)}", "Connection: close", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET / HTTP/1.1", 200),
        ("GET /healthz HTTP/1.1", 200),
        ("GET /?x HTTP/1.1", 404),
        ("GET /add-checkpoint HTTP/1.1", 405),
        ("PUT /add-checkpoint HTTP/1.1", 405),
        ("POST / HTTP/1.1", 404),
        ("POST /add-checkpoint/ HTTP/1.1", 404),
        ("POST /add-checkpoint?x HTTP/1.1", 404),
        ("POST /add-checkpoint HTTP/1.1", 400),
        ("POST /add-checkpoint HTTP/1.0", 400),
    ],
)
def test_there_is_one_door(tmp_path: Path, line: str, expected: int) -> None:
    with witness(tmp_path) as asked, serving(asked) as port:
        answer = sent(port, post(port, b"", line=line))
        assert answer.startswith(b"HTTP/1.1 %d " % expected) and b"Content-Type: text/plain; charset=utf-8\r\n" in answer
        assert (str(VerifierKey(NAME, SIGNER.public)).encode() in answer) == (expected == 200)


def test_a_checkpoint_of_whatever_type_comes_through_the_front(tmp_path: Path) -> None:
    with witness(tmp_path) as asked, serving(asked) as port:
        for old, kind in (
            (0, ()),
            (3, ("Content-Type: text/plain; charset=utf-8",)),
            (3, ("Content-Type: application/octet-stream",)),
        ):
            assert sent(port, post(port, TRUE.sent(old, 3), *kind)).startswith(b"HTTP/1.1 200 ")
        evil = post(port, TRUE.sent(3, 4)).replace(b"127.0.0.1", b"evil.example", 1)
        assert sent(port, evil).startswith(b"HTTP/1.1 421 ") and size_of(tmp_path) == 3
        assert sent(port, post(port, TRUE.sent(3, 4), "Origin: http://evil.example")).startswith(b"HTTP/1.1 403 ")
        assert sent(port, post(port, b"x" * (BYTES_MAX + 1))[:500]).startswith(b"HTTP/1.1 413 ")
        assert sent(port, b"GET / HTTP/1.1\r\nX: " + b"x" * (8 << 10)).startswith(b"HTTP/1.1 431 ")
    assert size_of(tmp_path) == 3
