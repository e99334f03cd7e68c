"""Every storage system call is a place where the process may die, or the disk fail (S1, S2, S3 of `docs/threat-model.md`).

After each fault a new process starts on what is left. `make test` samples the places, `make faults` takes all of them.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from faults import driver, inject, oracle
from faults.inject import EIO, FULL, KILL, Ended, Place
from helm_ai_kernel.cli import main as helm_ai_kernel
from helm_ai_kernel.credentials import keyfile
from helm_ai_kernel.ledger.writer import EXIT_SEALED
from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.findings import Exit, Report
from helm_ai_kernel.verifier.files import PackFile

DRIVER = Path(driver.__file__)
MODES = ("calls", "threaded", "recover")
WRITES = ("pwrite64", "fdatasync")
STORED = ("home/store/ledger.db", "home/store/ledger.db-wal")  # where a receipt is; the rest can be made again
CORE = [(syscall, file) for syscall in WRITES for file in STORED]
PACK = "home/packs/pack.tar"


def verified(pack: Path, genesis: Digest) -> Report:
    with PackFile(pack) as source:
        return verify(source, Question(genesis=genesis))


def prepared(folder: Path, mode: str) -> Path:
    """A home as the mode meets it: fresh, or after a crash that left intents open and a checkpoint that is behind."""
    folder.mkdir()
    driver.make(folder)
    for purpose, seed in driver.SEEDS.items():
        keyfile.write_machine(folder / "home" / "keys" / purpose, seed, purpose, driver.ORIGIN)
    for earlier in ["leave"] if mode in ("recover", "export") else []:
        with (folder / "said").open("wb") as said:
            subprocess.run(inject.python(DRIVER, earlier, folder), stdout=said, check=True, timeout=inject.TIMEOUT_S)
    return folder


def command(folder: Path, mode: str) -> list[str]:
    if mode == "export":
        return inject.command("pack", "export", "--home", folder / "home", "--out", folder / PACK)
    return inject.python(DRIVER, mode, folder)


def strike(template: Path, mode: str, place: Place, fault: str, *, on: bool = False) -> Ended:
    """One fault on a copy of the template, and what must be true after it."""
    folder = Path(shutil.copytree(template, template.parent / "case", symlinks=True))
    ended = inject.inject(command(folder, mode), folder, place, fault, on=on)
    assert "Traceback" not in ended.stderr, f"{place} {fault}: {ended.stderr}"
    if mode == "export":
        exported(folder, ended, fault)
    else:
        ends_well(ended, fault, on)
        oracle.check(folder, ended.said)
    shutil.rmtree(folder)
    return ended


def ends_well(ended: Ended, fault: str, on: bool) -> None:
    """What the process may do after a fault, before anybody starts again."""
    place = ended.struck
    if fault == KILL or place is None:
        return
    assert ended.code in (0, driver.REFUSED, EXIT_SEALED), ended.stderr
    unknown = fault == EIO or place.syscall == "fdatasync"  # a failed sync is never a full disk: what is on it is not known
    if unknown and place.syscall in WRITES and place.file in STORED:
        assert not [word for word in ended.said_after if word.startswith(("ack", "size"))], "acknowledged after the failure"
        if place.phase == "started":
            assert (ended.code, ended.said_after) == (EXIT_SEALED, []), ended
    if fault == FULL and place.phase == "started" and place.syscall == "pwrite64" and not on:
        assert ended.code == 0 and ended.said[-1] == "closing", "there is space again, and it does not work again"


def exported(folder: Path, ended: Ended, fault: str) -> None:
    """There is no pack, or a whole one; and the next export works."""
    pack = folder / PACK
    if pack.exists():
        genesis = oracle.genesis(folder)
        assert verified(pack, genesis).exit is Exit.INCOMPLETE, "whole, with the intents that are open"
        pack.unlink()
    elif fault != KILL:
        assert ended.code == 2 and ended.stderr.startswith("error: "), ended.stderr
    assert helm_ai_kernel(["pack", "export", "--home", str(folder / "home"), "--out", str(pack)]) == 0
    assert verified(pack, oracle.genesis(folder)).exit is Exit.INCOMPLETE
    oracle.check(folder, ended.said)


def sweep(tmp_path: Path, mode: str, faults: Sequence[tuple[Place, str]]) -> list[Ended]:
    return [strike(tmp_path / "template", mode, place, fault) for place, fault in faults]


def places(tmp_path: Path, mode: str) -> list[Place]:
    template = prepared(tmp_path / "template", mode)
    count = Path(shutil.copytree(template, tmp_path / "count", symlinks=True))
    return inject.places(command(count, mode), count)


@pytest.mark.parametrize(
    ("mode", "every", "others"), [("calls", CORE, 6), ("threaded", CORE[1::2], 0), ("recover", CORE[1:], 2), ("export", (), 6)]
)
def test_a_fault_at_a_storage_call_loses_nothing_that_was_acknowledged(
    tmp_path: Path, mode: str, every: Sequence[tuple[str, str]], others: int
) -> None:
    sweep(tmp_path, mode, inject.sampled(places(tmp_path, mode), mode, every, others))


@pytest.mark.whole
@pytest.mark.parametrize("fault", inject.FAULTS)
@pytest.mark.parametrize("mode", [*MODES, "export"])
def test_a_fault_at_every_storage_call_loses_nothing_that_was_acknowledged(tmp_path: Path, mode: str, fault: str) -> None:
    found = [place for place in places(tmp_path, mode) if inject.can(place, fault)]
    if mode == "threaded":  # what is different there
        found = [place for place in found if place.syscall in WRITES and place.phase == "started"]
    sweep(tmp_path, mode, [(place, fault) for place in found])


@pytest.mark.parametrize("every", [40, pytest.param(1, marks=pytest.mark.whole)])
def test_a_disk_that_stays_full_is_refused_and_nothing_is_acknowledged_on_it(tmp_path: Path, every: int) -> None:
    found = [place for place in places(tmp_path, "calls") if (place.syscall, place.file) == CORE[1] and place.phase == "started"]
    for place in found[::every]:
        ended = strike(tmp_path / "template", "calls", place, FULL, on=True)
        assert ended.code == driver.REFUSED and not [word for word in ended.said_after if not word.startswith("full")], place


@pytest.mark.parametrize("mode", [*MODES, "leave", "export"])
def test_whatever_was_acknowledged_outlasts_a_power_cut(tmp_path: Path, mode: str) -> None:
    """At each promise, and at the end."""
    folder = prepared(tmp_path / "case", mode)
    there = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    trace = inject.run(command(folder, mode), folder).trace
    promises = [n for n, line in enumerate(trace) if inject.said(line).startswith(("ack", "size"))]
    assert len(promises) >= 3 or mode == "export"
    for n in (*promises, len(trace)):
        assert inject.unsynced(trace[:n], folder, there) == set(), trace[n - 1 : n]


def test_a_start_writes_what_a_crash_left_in_the_wal_into_the_file_before_it_appends(tmp_path: Path) -> None:
    """What a failed sync left is in memory only and counts as written: nothing may be promised that lies behind it in the WAL."""
    order = [(place.syscall, place.file) for place in places(tmp_path, "recover")]
    database, wal = STORED
    assert order.index(("pwrite64", database)) < order.index(("fdatasync", database)) < order.index(("pwrite64", wal))
