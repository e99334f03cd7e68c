"""Every storage system call is a place where the process may die or the disk may fail (`faults.md` S1, S2, S3).

strace injects the fault at the n-th call of one kind on the store's files; afterwards a new process starts on what is left.
`make test` samples the places, `make faults` takes all of them.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import driver
import pytest
from needs import needs

from helm_ai_kernel.ledger.fsck import fsck
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb.decision import Status
from helm_ai_kernel.tcb.receipt import Kind

SYSCALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate", "openat", "unlink", "rename", "write")
FAULTS = ("signal=SIGKILL", "error=EIO", "error=ENOSPC")
MODES = ("calls", "recover", "export")
SAMPLED = 4  # places of each kind in `make test`
PYTHON = os.path.realpath(sys.executable)


def strace(folder: Path, mode: str, *options: str) -> tuple[subprocess.CompletedProcess[bytes], str]:
    """Run the driver under strace, looking at the store's own files only; returns what it said and the trace."""
    store, trace = folder / "store", folder / "trace"
    names = ("ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db-journal", "trust.jsonl", "pack.partial", "pack.tar")
    watched = [part for name in names for part in ("-P", str(store / name))] + ["-P", str(store)]
    command = ["strace", "-f", "-qq", "-o", str(trace), *watched, *options, sys.executable, driver.__file__, mode, str(store)]
    ended = subprocess.run(command, capture_output=True, timeout=60, check=False)
    return ended, trace.read_text(errors="replace") if trace.exists() else ""


def prepared(folder: Path, mode: str) -> Path:
    """A store as the mode meets it: fresh, with an intent that a crash left open, or with a finished log."""
    store = folder / "store"
    store.mkdir()
    driver.make(store)
    before = {"calls": [], "recover": ["leave"], "export": ["calls"]}[mode]
    for earlier in before:
        subprocess.run([sys.executable, driver.__file__, earlier, str(store)], check=True, capture_output=True, timeout=60)
    return folder


def places(template: Path, tmp: Path, mode: str) -> Counter[str]:
    """How often each system call touches the store in an undisturbed run."""
    folder = shutil.copytree(template, tmp / f"count-{mode}")
    _, trace = strace(folder, mode, "-e", f"trace={','.join(SYSCALLS)}")
    return Counter(match[1] for match in re.finditer(r"^\d+ +(\w+)\(", trace, re.MULTILINE))


def check(folder: Path, said: bytes) -> None:
    """The oracle: what was acknowledged is there, nothing was done without an intent, nothing twice, and a start works."""
    store = folder / "store"
    acked = set(re.findall(r"^ack (sha256:[0-9a-f]{64})$", said.decode(), re.MULTILINE))
    effects = (folder / "effects").read_text().split() if (folder / "effects").exists() else []

    async def restart() -> None:
        log = await driver.start(store)
        await log.close()

    asyncio.run(restart())
    count, damage = fsck(store, driver.LOG)
    assert damage == []
    with Reader(store) as reader:
        receipts = list(reader.receipts())
    assert len(receipts) == count
    leaves = {receipt.leaf for receipt in receipts}
    assert acked <= leaves, "an acknowledged receipt is gone"
    intents = [receipt for receipt in receipts if receipt.is_intent]
    outcomes = Counter(str(r.body["decision"]) for r in receipts if r.kind is Kind.OUTCOME and r.status is not Status.LATE)
    assert set(outcomes) == {receipt.leaf for receipt in intents}, "an intent without an outcome, or an outcome without one"
    assert set(outcomes.values()) <= {1}
    assert max(Counter(effects).values(), default=0) <= 1, "a key was dispatched twice"
    assert len(effects) <= len(intents), "an effect without an intent"
    named = {f"k{number}": f'"key":"k{number}"' for number in range(driver.CALLS)}
    assert set(effects) <= set(named)


def inject(template: Path, tmp: Path, mode: str, syscall: str, fault: str, when: str) -> None:
    folder = Path(shutil.copytree(template, tmp / f"{mode}-{syscall}-{fault.split('=')[1]}-{when}"))
    ended, trace = strace(folder, mode, "-e", f"trace={','.join(SYSCALLS)}", "-e", f"inject={syscall}:{fault}:when={when}")
    struck = "INJECTED" in trace or "SIGKILL" in trace
    assert struck or ended.returncode == 0, ended.stderr.decode()
    check(folder, ended.stdout)
    shutil.rmtree(folder)


def sampled(count: int, whole: bool) -> list[int]:
    """All places, or the first, the last and some between."""
    if whole or count <= SAMPLED:
        return list(range(1, count + 1))
    return sorted({1 + (count - 1) * step // (SAMPLED - 1) for step in range(SAMPLED)})


def sweep(tmp_path: Path, mode: str, *, whole: bool) -> None:
    needs("strace", "apt-get install strace")
    template = prepared(tmp_path / "template", mode) if (tmp_path / "template").mkdir() is None else tmp_path
    struck = 0
    for syscall, count in sorted(places(template, tmp_path, mode).items()):
        for fault in FAULTS:
            for place in sampled(count, whole):
                inject(template, tmp_path, mode, syscall, fault, str(place))
                struck += 1
            if fault != "signal=SIGKILL":
                inject(template, tmp_path, mode, syscall, fault, f"{1 + count // 2}+")
    assert struck, "no storage system call was seen"


@pytest.mark.parametrize("mode", MODES)
def test_a_fault_at_a_storage_call_loses_nothing_that_was_acknowledged(tmp_path: Path, mode: str) -> None:
    sweep(tmp_path, mode, whole=False)


@pytest.mark.whole
@pytest.mark.parametrize("mode", MODES)
def test_a_fault_at_every_storage_call_loses_nothing_that_was_acknowledged(tmp_path: Path, mode: str) -> None:
    sweep(tmp_path, mode, whole=True)
