"""The end of the thread that a kernel runs in: the store is let go of however it ends, and a bounded end is one."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from app.kernels import Place, copy, made
from helm_ai_kernel.app import runtime as runtimes
from helm_ai_kernel.app import thread as threads
from helm_ai_kernel.app.kernel import Kernel
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.connectors import python
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from ledger.full_disk import DISK, fill

LONG_S = 60.0  # never reached: a test that waits for it has failed


def note(text: str) -> str:
    return text


def check_free(place: Place) -> None:
    """Somebody else may open the store, in this process too, and its log is whole."""
    with Kernel(config=place.config) as again:
        assert again.call("python/other", {}).reason is Reason.ERR_TOOL_NOT_ALLOWED


def check_thread_gone() -> None:
    assert "helm-kernel" not in [thread.name for thread in threading.enumerate()]


def test_a_close_that_fails_on_a_sealed_store_lets_go_of_it(place: Place) -> None:
    async def damaged(runtime: Runtime) -> None:
        runtime.ledger.writer.seal("a receipt was changed")

    program = place.program(note)
    program.kernel.run(damaged)
    with pytest.raises(OutsideError, match="a receipt was changed"):
        program.kernel.close()
    check_thread_gone()
    check_free(place)


def on_full_disk(master: Path, disk: Path) -> None:
    """The body of the next test, in a process of its own."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)], check=True)
    made(master)
    place = copy(master, disk)
    program = place.program(note)
    program["note"]("a")
    fill(disk / "ballast")
    try:
        program.kernel.close()
    except OutsideError as error:
        print(error.reason)
    (disk / "ballast").unlink()
    check_thread_gone()
    check_free(place)
    assert place.told()[:3] == ["decision ALLOW OK python/note", "outcome OK", "recovery"]
    print("whole")


def test_a_close_that_fails_on_a_full_disk_lets_go_of_the_store(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    private = ["unshare", "-rm"]
    probe = [*private, "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no private mounts here")
    code = "import sys, pathlib, app.test_app_thread as here; here.on_full_disk(*map(pathlib.Path, sys.argv[1:]))"
    tests = Path(__file__).resolve().parent.parent
    argv = [*private, sys.executable, "-c", code, str(tmp_path / "master"), str(disk)]
    done = subprocess.run(argv, cwd=tests, capture_output=True, text=True, timeout=LONG_S, check=False)
    assert done.stdout.split() == ["ERR_EVIDENCE_FULL", "whole"], done.stderr


def test_a_close_that_is_interrupted_lets_go_of_the_store(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    began, release = threading.Event(), threading.Event()

    def slow() -> None:
        began.set()
        release.wait(LONG_S)

    real = Runtime.close

    async def interrupted(self: Runtime, *, within_s: float | None = None) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await real(self, within_s=within_s)

    monkeypatch.setattr(Runtime, "close", interrupted)
    program = place.program(slow)
    threading.Thread(target=program.kernel.call, args=("python/slow", {}), daemon=True).start()
    began.wait(LONG_S)
    with pytest.raises(KeyboardInterrupt):
        program.kernel.close()
    monkeypatch.setattr(Runtime, "close", real)
    check_thread_gone()
    check_free(place)
    assert "outcome UNKNOWN ERR_OUTCOME_UNKNOWN crash" in place.told()
    release.set()


def closing(kernel: Kernel) -> Callable[[], None]:
    """Close it within no time, in a thread; then wait for that."""
    failed: list[BaseException] = []

    def close() -> None:
        try:
            kernel.close(within_s=0.0)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=close, daemon=True)
    thread.start()

    def ended() -> None:
        thread.join(LONG_S)
        assert not thread.is_alive()
        for error in failed:
            raise error

    return ended


def test_a_bounded_close_ends_what_never_ends(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "SETTLE_S", 0.05)
    began = threading.Event()

    async def forever(_: Runtime) -> None:
        began.set()
        await asyncio.Event().wait()

    program = place.program(note)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(program.kernel.run, forever)
        began.wait(LONG_S)
        closing(program.kernel)()
        assert isinstance(asked.exception(LONG_S), CancelledError)
    check_thread_gone()
    place.check()


def test_a_call_that_does_not_let_go_is_unknown_when_a_bounded_close_ends(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "SETTLE_S", 0.05)
    monkeypatch.setattr(python, "CLOSE_S", 0.05)
    began = threading.Event()

    async def stubborn() -> None:
        began.set()
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    program = place.program(stubborn)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(program.kernel.call, "python/stubborn", {})
        began.wait(LONG_S)
        closing(program.kernel)()
        assert isinstance(asked.exception(LONG_S), CancelledError)
    assert place.told()[-1] == "outcome UNKNOWN ERR_OUTCOME_UNKNOWN closed"
    place.check()


def test_a_bounded_close_says_that_a_function_blocks_the_kernels_loop(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "STUCK_S", 0.05)
    began, release = threading.Event(), threading.Event()

    async def blocks() -> None:
        began.set()
        release.wait(LONG_S)

    program = place.program(blocks)
    asked = threading.Thread(target=program.kernel.call, args=("python/blocks", {}), daemon=True)
    asked.start()
    began.wait(LONG_S)
    with pytest.raises(OutsideError, match="an async function blocks its event loop") as caught:
        closing(program.kernel)()
    assert caught.value.hint
    with pytest.raises(OutsideError, match="ERR_STORE_LOCKED"):  # it still writes there: nobody else may
        Kernel(config=place.config).call("python/blocks", {})
    release.set()
    asked.join(LONG_S)
    assert not asked.is_alive()


def test_no_fork_is_the_process_that_it_came_from() -> None:
    assert threads.process() == threads.process()
    code = "import os; from helm_ai_kernel.app.thread import process; os.fork() or os.fork(); os.write(1, b'%d' % process()[1])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LONG_S, check=False)
    assert sorted(done.stdout) == ["0", "1", "2"]
