"""An `init` that is killed, or whose disk fails, leaves no kernel or a whole one, and can be done again."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from faults import inject
from faults.inject import KILL, Ended, Place
from helm_ai_kernel.app import home
from helm_ai_kernel.app.config import Paths, load
from helm_ai_kernel.credentials import keyfile
from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.ledger import trustlog
from helm_ai_kernel.ledger.fsck import fsck
from helm_ai_kernel.ledger.ledger import TRUST, Ledger
from helm_ai_kernel.ledger.transaction import Ink
from helm_ai_kernel.tcb.keys import Purpose

PASSPHRASE = "a passphrase"
FAILED = 2  # exit code of the command line: the world failed


def paths(folder: Path) -> Paths:
    return Paths(folder / "home", folder / "people")


def written(folder: Path) -> None:
    (folder / "passphrase").write_text(PASSPHRASE + "\n")
    (folder / "passphrase").chmod(0o600)


def command(folder: Path) -> list[str]:
    return inject.command("init", "--home", folder / "home", "--passphrase-file", folder / "passphrase")


def prepared(folder: Path) -> Path:
    """Somebody whose keys are there from an earlier kernel (their protection takes most of the time of an `init`)."""
    folder.mkdir()
    written(folder)
    home.init(paths(folder), PASSPHRASE.encode)
    shutil.rmtree(folder / "home")
    return folder


def strike(template: Path, place: Place, fault: str) -> None:
    folder = Path(shutil.copytree(template, template.parent / "case"))
    ended = inject.inject(command(folder), folder, place, fault)
    assert "Traceback" not in ended.stderr, f"{place} {fault}: {ended.stderr}"
    left(folder, ended, f"{place} {fault}")
    shutil.rmtree(folder)


def left(folder: Path, ended: Ended, what: str) -> None:
    where = paths(folder)
    if ended.code == FAILED:
        assert ended.stderr.startswith("error: "), what
        assert not list(folder.glob(".home*")), f"{what}: a failed `init` left its unfinished home"
    if not where.home.exists():
        assert ended.code != 0, what
        home.init(where, PASSPHRASE.encode)
    whole(where)


def whole(where: Paths) -> None:
    """A kernel that starts, whose keys are those that its registry names, and whose log is clean."""
    load(where, {})
    registry = trustlog.load(where.store / TRUST)
    log = keyfile.read_machine(where.keys / "log", Purpose.LOG)
    ink = Ink(keyfile.read_machine(where.keys / "execution", Purpose.EXECUTION), registry, "test", Subjects(where.subjects))
    approval = keyfile.read_public(where.people_keys / "approval.pub", Purpose.APPROVAL)
    assert approval.id in registry.keys

    async def start() -> None:
        ledger = Ledger.open(where.store, ink=ink, log_key=log)
        await ledger.begin("test")
        await ledger.close()

    asyncio.run(start())
    assert fsck(where.store, Subjects(where.subjects)) == (2, [])


def places(tmp_path: Path) -> list[Place]:
    template = prepared(tmp_path / "template")
    count = Path(shutil.copytree(template, tmp_path / "count"))
    return inject.places(command(count), count)


def sweep(tmp_path: Path, faults: Sequence[tuple[Place, str]]) -> None:
    for place, fault in faults:
        strike(tmp_path / "template", place, fault)


def test_an_init_that_meets_a_fault_leaves_no_kernel_or_a_whole_one(tmp_path: Path) -> None:
    sweep(tmp_path, inject.sampled(places(tmp_path), "init", (), 6))


@pytest.mark.whole
@pytest.mark.parametrize("fault", inject.FAULTS)
def test_an_init_that_meets_a_fault_anywhere_leaves_no_kernel_or_a_whole_one(tmp_path: Path, fault: str) -> None:
    sweep(tmp_path, [(place, fault) for place in places(tmp_path) if inject.can(place, fault)])


def once(tmp_path: Path, syscall: str, file: str) -> Path:
    """A first `init`, killed at the first such call."""
    (tmp_path / "count").mkdir()
    (tmp_path / "case").mkdir()
    for folder in (tmp_path / "count", tmp_path / "case"):
        written(folder)
    found = inject.places(command(tmp_path / "count"), tmp_path / "count")
    place = next(place for place in found if (place.syscall, place.file) == (syscall, file))
    inject.inject(command(tmp_path / "case"), tmp_path / "case", place, KILL)
    return tmp_path / "case"


def test_an_init_that_is_killed_while_it_writes_a_persons_key_can_be_done_again(tmp_path: Path) -> None:
    folder = once(tmp_path, "write", "people/keys/.root.N")
    home.init(paths(folder), PASSPHRASE.encode)
    whole(paths(folder))


def test_a_kernel_that_is_there_is_one_that_this_machine_trusts(tmp_path: Path) -> None:
    folder = once(tmp_path, "rename", "people/.trust.json.N")
    assert not paths(folder).home.exists() or home.trusted(paths(folder).trust)


def test_what_init_leaves_outlasts_a_power_cut(tmp_path: Path) -> None:
    written(tmp_path)
    assert inject.unsynced(inject.run(command(tmp_path), tmp_path).trace, tmp_path) == set()
