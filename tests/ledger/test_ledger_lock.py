"""A fork copies all but the right to write: one process holds the store; its children neither keep, loosen nor use it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from ledger.home import Home, check_whole, home

TESTS = Path(__file__).resolve().parent.parent

HEAD = """
import asyncio, os, signal, sys
from pathlib import Path
from executor.desk import boundary
from executor.trust import trust
from helm_ai_kernel.tcb.errors import OutsideError
from ledger.home import Home, started
here = Home(Path(sys.argv[1]), *trust())

def child(code):
    '''What a fork prints, and its exit.'''
    pid = os.fork()
    if pid == 0:
        try:
            code()
        finally:
            sys.stdout.flush()
            os._exit(0)
    return pid

async def main():
    ledger = await started(here, boundary())
"""


def command(here: Home, body: str) -> list[str]:
    """A process that opens the log, and does `body` with it inside its event loop."""
    code = HEAD + "".join(f"    {line}\n" for line in body.strip().splitlines()) + "asyncio.run(main())\n"
    return [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, str(here.folder)]  # 3.12 warns: a fork with threads


def program(here: Home, body: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(here, body), cwd=TESTS, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False
    )


def test_a_child_of_a_killed_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    here, fifo = home(tmp_path / "home"), tmp_path / "fifo"
    os.mkfifo(fifo)
    body = f"child(lambda: open({str(fifo)!r}).read())\nos.kill(os.getpid(), signal.SIGKILL)"
    parent = subprocess.Popen(command(here, body), cwd=TESTS)
    with fifo.open("w"):  # the child lives until this is closed
        assert parent.wait(60) == -signal.SIGKILL
        here.open().abandon()


def test_a_child_signs_nothing_and_says_why(tmp_path: Path) -> None:
    here = home(tmp_path / "home")
    done = program(here, """
session = await ledger.session("agent", "python", None)
waiting = asyncio.ensure_future(ledger.session("queued", "python", None))
await asyncio.sleep(0)
pid = os.fork()
if pid == 0:
    for work in (waiting, ledger.session("child", "python", None), ledger.end_session(session, "closed"), ledger.close()):
        try:
            await work
            print("signed", flush=True)
        except OutsideError as error:
            print(error, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
await waiting
await ledger.close()
""")  # fmt: skip
    why = "ERR_SEALED: nothing is executed any more: this process is a fork of the one that has the store open"
    assert done.stdout.splitlines() == [why] * 4, done.stderr
    assert done.returncode == 0, done.stderr
    events = [receipt.body.get("event") for receipt in check_whole(here)]
    assert events.count("start") == events.count("end") == 3  # the parent's sessions, and no others


def test_a_child_that_lets_go_does_not_loosen_its_parents_lock(tmp_path: Path) -> None:
    here = home(tmp_path / "home")
    done = program(here, """
os.waitpid(child(ledger.abandon), 0)
os.waitpid(child(ledger._lock.release), 0)
print("held", flush=True)
try:
    here.open()
except OutsideError as error:
    print(error.reason)
await ledger.close()
""")  # fmt: skip
    assert done.stdout.split() == ["held", "ERR_STORE_LOCKED"], done.stderr
    check_whole(here)


def test_a_child_does_not_open_what_was_open_in_its_parent(tmp_path: Path) -> None:
    here, other = home(tmp_path / "home"), home(tmp_path / "other")
    done = program(here, f"""
readable, writable = os.pipe()
def opens():
    os.read(readable, 1)
    try:
        here.open()
    except OutsideError as error:
        print(error.reason, error.hint, flush=True)
    Home(Path({str(other.folder)!r}), *trust()).open().abandon()
    print("another", flush=True)
pid = child(opens)
await ledger.close()
os.write(writable, b"x")
os.waitpid(pid, 0)
here.open().abandon()
""")  # fmt: skip
    locked, another = done.stdout.splitlines()
    assert locked.startswith("ERR_STORE_LOCKED start that process instead of forking it") and another == "another"
    assert done.returncode == 0, done.stderr
