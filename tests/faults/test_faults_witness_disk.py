"""Whatever happens to a witness at a system call, or to its power: what it answered with a cosignature it has not forgotten."""

import shutil
import sys
from pathlib import Path

import pytest

from faults import inject
from faults.inject import CHANGES, FAULTS
from gateway.witnessing import VKEY, History, witness
from helm_ai_kernel.gateway import witness_memory

DRIVER = """
import sys
from pathlib import Path
from gateway.witnessing import History, witness
folder, last = Path(sys.argv[1]) / "w", 0
try:
    folder.mkdir(exist_ok=True)
    with witness(folder) as asked:
        print("started", flush=True)
        for size in (1, 2, 4):
            for fork in (None, 0):
                if asked.add_checkpoint(History(fork).sent(last, size)).status == 200:
                    last = size
                    print("cosigned", size, fork, flush=True)
except OSError:
    sys.exit(3)
"""
REFUSED = 3


def command(folder: Path) -> list[str]:
    return [sys.executable, "-c", DRIVER, str(folder)]


def places(folder: Path) -> list[inject.Place]:
    folder.mkdir()
    found = [place for place in inject.places(command(folder), folder) if place.syscall in CHANGES and place.file != "w"]
    assert "cosigned 4 None" in (folder / "said").read_text(encoding="utf-8")
    return found


def strike(folder: Path, place: inject.Place, fault: str) -> None:
    folder.mkdir()
    ended = inject.inject(command(folder), folder, place, fault)
    assert fault == inject.KILL or ended.code in (0, REFUSED), ended.stderr
    said = [word.split()[1:] for word in ended.said if word.startswith("cosigned")]
    assert len({fork for _, fork in said}) <= 1, f"two histories: {ended.said}"
    size, fork = (int(said[-1][0]), said[-1][1]) if said else (0, "None")
    one, other = (History(), History(fork=0)) if fork == "None" else (History(fork=0), History())
    memory = folder / "w"
    memory.mkdir(exist_ok=True)
    kept = next(iter(witness_memory.remembered(memory, VKEY)), None) if (memory / "logs").exists() else None
    assert size <= (kept.size if kept else 0), (place, fault, ended.said)
    with witness(memory) as asked:  # it starts again, and goes on from what it knows
        if said and kept is not None:
            assert asked.add_checkpoint(other.sent(kept.size, 9)).status == 422
            assert asked.add_checkpoint(one.sent(1, 1)).status == (200 if kept.size == 1 else 409)
            assert asked.add_checkpoint(one.sent(kept.size, 9)).status == 200
    shutil.rmtree(folder)


def test_a_fault_at_a_system_call_makes_it_forget_nothing_that_it_cosigned(tmp_path: Path) -> None:
    every = [(syscall, "w/logs") for syscall in ("fsync",)]
    for place, fault in inject.sampled(places(tmp_path / "count"), "witness", every, 9):
        strike(tmp_path / "case", place, fault)


@pytest.mark.whole
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_every_system_call_makes_it_forget_nothing_that_it_cosigned(tmp_path: Path, fault: str) -> None:
    for place in places(tmp_path / "count"):
        if inject.can(place, fault):
            strike(tmp_path / "case", place, fault)


def test_a_power_cut_takes_nothing_that_was_cosigned(tmp_path: Path) -> None:
    trace = inject.run(command(tmp_path), tmp_path).trace
    promises = [n for n, line in enumerate(trace) if inject.said(line).startswith("cosigned")]
    assert len(promises) == 3
    for n in promises:
        taken = inject.unsynced(trace[:n], tmp_path) - {"w"}  # its folder is `witness init`'s
        assert taken == set(), trace[n - 1 : n]
