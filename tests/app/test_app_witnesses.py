"""A running kernel shows its newest checkpoint to its witnesses, lets no call wait for them, and stops when one knows better."""

import asyncio
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.kernels import Place, Program
from gateway.witnessing import serving
from helm_ai_kernel.app import heartbeat, witnesses
from helm_ai_kernel.app.heartbeat import Heartbeat
from helm_ai_kernel.app.kernel import Kernel
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.credentials import keyfile
from helm_ai_kernel.gateway.witness import Witness
from helm_ai_kernel.gateway.witness_memory import Memory
from helm_ai_kernel.ledger.aside import aside
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.ledger.witnessed import Witnessed, carried
from helm_ai_kernel.net import witness as client
from helm_ai_kernel.net.listener import Head, Peer, Reply
from helm_ai_kernel.tcb import checkpoint
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.cosign import VerifierKey, cosign
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.keys import Purpose, SecretKey

TIME = 1_800_000_000


class Later:
    """A witness that answers when it may."""

    def __init__(self, asked: Witness, go: threading.Event) -> None:
        self.admit, self.refused, self._asked, self._go = asked.admit, asked.refused, asked, go

    async def answer(self, head: Head, body: bytes, peer: Peer) -> Reply:
        assert await asyncio.to_thread(self._go.wait, 30)
        return await self._asked.answer(head, body, peer)


@dataclass
class Outside:
    """Witnesses of one kernel, each in a folder beside it, at a port of its own; one can go away and come back."""

    place: Place
    up: dict[int, ExitStack] = field(default_factory=dict)
    ports: dict[int, int] = field(default_factory=dict)
    answers: dict[int, threading.Event] = field(default_factory=dict)
    now: int = TIME

    def key(self, number: int) -> VerifierKey:
        return VerifierKey(f"witness.example/w{number}", self.secret(number).public)

    def secret(self, number: int) -> SecretKey:
        return SecretKey.from_seed(bytes([number]) * 32, Purpose.WITNESS)

    def start(self, number: int) -> None:
        stack, folder = ExitStack(), self.place.folder / f"w{number}"
        folder.mkdir(exist_ok=True)
        memory = Memory.open(folder, self.key(number))
        stack.callback(memory.close)
        name, secret = self.key(number).name, self.secret(number)
        asked = Witness(
            name, secret, [witnesses.log_vkey(self.place.config)], memory, clock=lambda: self.now, tell=lambda _: None
        )
        go = self.answers[number] = threading.Event()
        go.set()

        self.ports[number] = stack.enter_context(serving(Later(asked, go)))
        self.up[number] = stack

    def answers_when(self, number: int) -> threading.Event:
        """Not before it is set."""
        self.answers[number].clear()
        return self.answers[number]

    def end(self, number: int) -> None:
        self.up.pop(number).close()

    def policy(self, *lines: str) -> None:
        named = [f"witness w{n} {self.key(n)} http://127.0.0.1:{port}" for n, port in self.ports.items()]
        text = "".join(line + "\n" for line in (*named, *lines))
        (self.place.paths.home / "witness-policy.txt").write_text(text, encoding="utf-8")

    @property
    def kept(self) -> Witnessed:
        return Witnessed(self.place.paths.store)

    def newest(self) -> tuple[int, dict[str, int]]:
        """The size of the newest cosigned note, and who cosigned it when."""
        note = self.kept.newest()
        asked = witnesses.of_config(self.place.config)
        assert note is not None and asked is not None
        return note.size, asked.policy.seen(note)


@pytest.fixture
def outside(place: Place) -> Iterator[Outside]:
    place.configure('[log]\nwitnesses = "witness-policy.txt"\n')
    outside = Outside(place)
    outside.start(1)
    outside.policy("quorum w1")
    yield outside
    for number in tuple(outside.up):
        outside.end(number)


def note(text: str = "") -> str:
    return text


async def beat(runtime: Runtime) -> int:
    """The size of the log when the round is over."""
    assert runtime.heartbeat is not None
    await runtime.heartbeat.beat()
    return runtime.ledger.writer.state.frontier.size


def program(place: Place) -> Program:
    return place.program(note)


def test_a_kernel_is_witnessed_from_its_start_on_and_again_when_nothing_happened(outside: Outside) -> None:
    with program(outside.place) as run:
        size = run.kernel.run(beat)
        assert outside.newest() == (size, {"w1": TIME})
        outside.now += 3600
        assert run.kernel.run(beat) == size
        assert outside.newest() == (size, {"w1": TIME + 3600})
        newest = outside.kept.newest()
        assert newest is not None
        first = carried(outside.kept.folder, newest)[1][size]
        assert witnesses.of_config(outside.place.config).policy.seen(first) == {"w1": TIME}  # type: ignore[union-attr]
        run["note"]("more")
        assert run.kernel.run(beat) == size + 3 == outside.newest()[0]  # the session, the decision and its outcome
    outside.place.check()


def test_a_note_that_nobody_of_the_policy_cosigned_keeps_no_newer_one_out(outside: Outside) -> None:
    with program(outside.place) as run:
        run.kernel.run(beat)
        newest = outside.kept.newest()
        assert newest is not None
        key = keyfile.read_machine(outside.place.paths.keys / "log", Purpose.LOG)
        larger = checkpoint.sign(newest.origin, 2**53 - 1, b"\x05" * 32, key)
        larger = larger.with_lines(cosign(larger, outside.key(1).name, outside.secret(9), TIME))
        (outside.kept.folder / "newest.txt").write_bytes(larger.note)
        run["note"]("more")
        assert run.kernel.run(beat) == outside.newest()[0] > newest.size


def test_the_next_process_goes_on_with_what_was_cosigned(outside: Outside) -> None:
    with program(outside.place) as run:
        before = run.kernel.run(beat)
    for _ in range(2):
        with program(outside.place) as run:
            run["note"]("more")
            assert run.kernel.run(beat) == outside.newest()[0] > before


def test_a_witness_that_lost_its_memory_is_proven_everything_again(outside: Outside) -> None:
    with program(outside.place) as run:
        run.kernel.run(beat)
        outside.end(1)
        for path in (outside.place.folder / "w1/logs").iterdir():
            path.unlink()
        outside.start(1)
    outside.policy("quorum w1")
    with program(outside.place) as run:
        assert run.kernel.run(beat) == outside.newest()[0]


def test_a_quorum_that_is_not_reached_keeps_nothing_and_is_told_once_until_it_is(
    outside: Outside, capfd: pytest.CaptureFixture[str]
) -> None:
    outside.start(2)
    outside.policy("group both all w1 w2", "quorum both")
    outside.end(2)
    with program(outside.place) as run:
        for _ in range(3):
            run.kernel.run(beat)
        assert outside.kept.newest() is None
        run["note"]("calls go on")
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 2 and re.match(r"warning: .* `http://127\.0\.0\.1:\d+`: connection refused", said[0])
    assert said[1].startswith("hint: ")
    outside.start(2)
    outside.policy("group both all w1 w2", "quorum both")
    with program(outside.place) as run:
        run.kernel.run(beat)
        assert outside.newest()[1] == {"w1": TIME, "w2": TIME}
    assert capfd.readouterr().err == ""


def test_a_witness_that_speaks_for_another_key_counts_for_nothing(outside: Outside, capfd: pytest.CaptureFixture[str]) -> None:
    stranger = VerifierKey("witness.example/w1", outside.secret(9).public)
    path = outside.place.paths.home / "witness-policy.txt"
    path.write_text(path.read_text(encoding="utf-8").replace(str(outside.key(1)), str(stranger)), encoding="utf-8")
    with program(outside.place) as run:
        run.kernel.run(beat)
    assert outside.kept.newest() is None
    assert "without the cosignature of its key" in capfd.readouterr().err


def test_without_a_policy_or_with_heartbeat_zero_nobody_is_asked(place: Place) -> None:
    async def none(runtime: Runtime) -> bool:
        return runtime.heartbeat is None

    with program(place) as run:
        assert run.kernel.run(none)
    place.configure('[log]\nwitnesses = "/nowhere"\nheartbeat_s = 0\n')
    with program(place) as run:
        assert run.kernel.run(none)


def test_a_policy_that_cannot_be_asked_starts_nothing(outside: Outside) -> None:
    path = outside.place.paths.home / "witness-policy.txt"
    whole = path.read_text(encoding="utf-8")
    for text, failure, match in (
        (whole.replace("quorum w1", "quorum none"), Refused, "line 2: `quorum none`"),
        (whole.replace("http://127.0.0.1", "http://witness.example"), OutsideError, "without TLS"),
        (None, OutsideError, "cannot be read: no such file"),
    ):
        path.unlink() if text is None else path.write_text(text, encoding="utf-8")
        with pytest.raises(failure, match=match):
            program(outside.place)
    path.write_text(whole, encoding="utf-8")
    with program(outside.place) as run:
        run["note"]("the lock was never taken, or given back")


def test_another_history_seals_the_kernel_and_both_heads_are_told(outside: Outside, capfd: pytest.CaptureFixture[str]) -> None:
    run = program(outside.place)
    run.kernel.run(beat)
    forged = forge_memory(outside)
    run.kernel.close()
    run = program_until_sealed(outside)
    said = capfd.readouterr().err
    assert re.search(r"error: SPLIT_VIEW: .* here: size \d+, root [0-9a-f]{64}; the witness .* cosigned: size \d+", said)
    assert f"size {forged.size} with another root" in said and "ERR_STORE_ROLLBACK" in said
    with pytest.raises(OutsideError, match=r"ERR_SEALED.*SPLIT_VIEW"):
        run["note"]("nothing is executed any more")
    with pytest.raises(OutsideError, match="ERR_SEALED"):
        run.kernel.close()
    for _ in range(2):  # a restart does not forget it
        with pytest.raises(OutsideError, match=r"ERR_STORE_ROLLBACK.*another-history\.txt"):
            Kernel(config=outside.place.config).run(beat)
    mark = outside.kept.folder / "another-history.txt"
    assert f"size {forged.size} with another root" in mark.read_text(encoding="utf-8")
    mark.unlink()
    with pytest.raises(OutsideError, match="ERR_SEALED"):
        program_until_sealed(outside).kernel.close()


async def newest(runtime: Runtime) -> bytes:
    return runtime.ledger.checkpoint


def forge_memory(outside: Outside) -> Checkpoint:
    """Now the first witness has seen another tree of that size; its port is another one."""
    (path,) = (outside.place.folder / "w1/logs").iterdir()
    outside.end(1)
    forged = forge(outside, Checkpoint.from_bytes(path.read_bytes()))
    path.write_bytes(forged.note)
    outside.start(1)
    outside.policy("quorum w1")
    return forged


def asked_of(outside: Outside) -> witnesses.Witnesses:
    asked = witnesses.of_config(outside.place.config)
    assert asked is not None
    return asked


class Failing(Reader):
    """One that opens so many times: the world is out of files, or of memory."""

    left = 0

    def __init__(self, folder: Path) -> None:
        type(self).left -= 1
        if self.left < 0:
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, "too many open files")
        super().__init__(folder)


@pytest.mark.parametrize("opens", [0, 1])
def test_what_a_witness_found_is_no_warning_because_the_store_cannot_be_read(
    outside: Outside, monkeypatch: pytest.MonkeyPatch, opens: int
) -> None:
    """A 409 about the same size needs no reading, a 422 the one for its proof."""
    with program(outside.place) as run:
        run.kernel.run(beat)
        note = run.kernel.run(newest)
    size = forge_memory(outside).size
    if opens:
        with Reader(outside.place.paths.store) as reader:
            note = reader.checkpoint
    assert (size < Checkpoint.from_bytes(note).size) == bool(opens)
    asked = asked_of(outside)
    monkeypatch.setattr(witnesses, "Reader", Failing)
    monkeypatch.setattr(Failing, "left", opens)
    with pytest.raises(
        OutsideError, match=rf"ERR_STORE_ROLLBACK.*size {size} with another root than the [0-9a-f]{{64}} "
    ) as caught:
        asked.round(note)
    assert Checkpoint.from_bytes(note).root.hex() in caught.value.detail
    assert (outside.kept.folder / "another-history.txt").exists()


def test_a_witness_that_found_another_history_is_heard_while_another_one_says_nothing(outside: Outside) -> None:
    with program(outside.place) as run:
        run.kernel.run(beat)
        note = run.kernel.run(newest)
    forge_memory(outside)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        outside.ports[2] = deaf.getsockname()[1]
        outside.policy("group any any w1 w2", "quorum any")
        with pytest.raises(OutsideError, match="ERR_STORE_ROLLBACK"):
            asked_of(outside).round(note)
        check_still_asked(deaf)


def check_still_asked(deaf: socket.socket) -> None:
    """Whoever asked it waits for its answer, and nothing that matters waits for whoever asked."""
    deaf.settimeout(30)
    connection, _ = deaf.accept()
    with connection:
        connection.settimeout(30)
        received = b""
        while not (b"\r\n\r\n" in received and received.endswith(b"=\n")):  # a signature of 68 bytes ends so
            received += connection.recv(1 << 16)
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(1)


def forge(outside: Outside, last: Checkpoint) -> Checkpoint:
    """The same size with another root, signed by the log's own key and cosigned, as if the witness had seen that first."""
    key = keyfile.read_machine(outside.place.paths.keys / "log", Purpose.LOG)
    forged = checkpoint.sign(last.origin, last.size, b"\x05" * 32, key)
    return forged.with_lines(cosign(forged, outside.key(1).name, outside.secret(1), TIME))


def program_until_sealed(outside: Outside) -> Program:
    kernel = Kernel(config=outside.place.config)
    run = Program(kernel, {"note": kernel.tool(effect="write")(note)})

    async def sealed(runtime: Runtime) -> None:
        assert runtime.heartbeat is not None
        await runtime.heartbeat.beat()
        assert runtime.ledger.writer.sealed

    kernel.run(sealed)
    return run


def test_whatever_a_round_runs_into_is_told_and_the_next_one_comes(
    outside: Outside, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Out of threads, out of memory, a bug: what ends one round must not end all, or a second history would never be found."""
    asked = asked_of(outside)
    real, start = asked.round, threading.Thread.start
    failures: list[Exception] = [KeyError("a bug"), MemoryError(), RuntimeError("can't start new thread")]

    def short(thread: threading.Thread) -> None:
        if len(failures) == 3 and thread.name == "helm-heartbeat":
            raise failures.pop()
        start(thread)

    async def work(runtime: Runtime) -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def round(note: bytes) -> witnesses.Round:
            if failures:
                raise failures.pop()
            done = real(note)
            loop.call_soon_threadsafe(over.set)
            return done

        monkeypatch.setattr(asked, "round", round)
        monkeypatch.setattr(threading.Thread, "start", short)
        beating = Heartbeat(runtime.ledger, asked, 0.001)
        await asyncio.wait_for(over.wait(), 30)
        await beating.stop()
        assert not runtime.ledger.writer.sealed

    outside.place.configure("heartbeat_s = 0\n")
    with program(outside.place) as run:
        run.kernel.run(work)
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert ["can't start new thread" in said[0], "MemoryError" in said[1], "a bug" in said[2]] == [True] * 3
    assert outside.newest()[1] == {"w1": TIME}


def test_a_round_begins_when_the_one_before_it_is_over(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once could keep the older note behind the newer one."""
    asked = asked_of(outside)
    real, begun, go = asked.round, [0], threading.Event()

    async def work(runtime: Runtime) -> None:
        loop, entered = asyncio.get_running_loop(), asyncio.Event()

        def round(note: bytes) -> witnesses.Round:
            begun[0] += 1
            loop.call_soon_threadsafe(entered.set)
            assert go.wait(30)
            return real(note)

        async def beside(work: Callable[[], witnesses.Round], name: str) -> witnesses.Round:
            threads.append(name)
            return await aside(work, name)

        threads: list[str] = []
        monkeypatch.setattr(asked, "round", round)
        monkeypatch.setattr(heartbeat, "aside", beside)
        beating = Heartbeat(runtime.ledger, asked, 3600)
        await asyncio.wait_for(entered.wait(), 30)
        second = asyncio.create_task(beating.beat())
        for _ in range(5):
            await asyncio.sleep(0)  # it has all the turns that it needs to begin
        assert threads == ["helm-heartbeat"]
        go.set()
        await asyncio.wait_for(second, 30)
        assert len(threads) == begun[0] == 2
        await beating.stop()

    outside.place.configure("heartbeat_s = 0\n")
    with program(outside.place) as run:
        run.kernel.run(work)


def test_a_program_that_ends_before_its_first_round_waits_for_it_and_is_told_of_another_history(
    outside: Outside, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A copy that makes one call in each of its processes would never be found."""
    with program(outside.place) as run:
        run.kernel.run(beat)
    forge_memory(outside)
    ends = outside.answers_when(1)
    kernel = Kernel(config=outside.place.config)
    close = kernel._hands.close

    async def closing() -> None:  # what comes last before the log itself is closed
        ends.set()
        await close()

    monkeypatch.setattr(kernel._hands, "close", closing)
    assert kernel.tool(effect="write")(note)("its only call") == "its only call"
    with pytest.raises(OutsideError, match=r"ERR_SEALED.*SPLIT_VIEW"):
        kernel.close()
    assert "ERR_STORE_ROLLBACK" in capfd.readouterr().err
    with pytest.raises(OutsideError, match=r"ERR_STORE_ROLLBACK.*another-history\.txt"):
        Kernel(config=outside.place.config).run(beat)


def test_what_was_answered_when_a_short_program_ends_counts_though_somebody_says_nothing(
    outside: Outside, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with program(outside.place) as run:
        run.kernel.run(beat)
    before = outside.newest()[0]
    monkeypatch.setattr(heartbeat, "LAST_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        outside.ports[2] = deaf.getsockname()[1]
        outside.policy("group any any w1 w2", "quorum any")
        with program(outside.place) as run:
            run["note"]("one call")
        assert outside.newest()[0] > before and outside.newest()[1] == {"w1": TIME}
    assert "`witness.example/w2`: it had not answered when the process ended" in capfd.readouterr().err


def test_a_witness_that_answers_nothing_keeps_no_call_waiting_and_no_end_for_long(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CONNECT_S", 60.0)
    monkeypatch.setattr(heartbeat, "LAST_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # the system accepts, nobody answers
        outside.ports[1] = deaf.getsockname()[1]
        outside.policy("quorum w1")
        with program(outside.place) as run:
            for index in range(20):
                assert run["note"](str(index)) == str(index)
        check_still_asked(deaf)
    outside.place.check()
