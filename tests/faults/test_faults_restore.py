"""A backup or a restore that is killed, or whose disk fails: the old home is as it was, and a new one is whole or not there."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from faults import inject
from faults.inject import KILL, Ended, Place
from helm_ai_kernel.app import home
from helm_ai_kernel.app.config import Paths, load
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.ledger import succession
from helm_ai_kernel.ledger.fsck import fsck
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.receipt import Kind

PASSPHRASE = "a passphrase"
BACKUP, RESTORE, HERE = "backup", "restore", "here"


def paths(folder: Path, name: str = "home") -> Paths:
    return Paths(folder / name, folder / "people")


def command(folder: Path, what: str) -> list[str]:
    signed = ("--passphrase-file", folder / "passphrase", "--yes")
    if what == BACKUP:
        return inject.command("backup", folder / "new.tar", "--home", folder / "home")
    if what == RESTORE:
        return inject.command("restore", folder / "old.tar", "--home", folder / "new", *signed)
    return inject.command("restore", "--here", "--home", folder / "home", *signed)


def start(where: Paths) -> list[str]:
    """A process that begins and ends: what its log says then."""

    async def main() -> None:
        await (await Runtime.open(load(where, {}))).close()

    asyncio.run(main())
    with Reader(where.store) as reader:
        return [receipt.kind.value for receipt in reader.receipts()]


@pytest.fixture(autouse=True)
def heads_beside_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HELM_STATE")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kernel that ran twice, a backup of it after the first time, and yesterday's store."""
    folder = tmp_path_factory.mktemp("restore") / "template"
    folder.mkdir()
    (folder / "passphrase").write_text(PASSPHRASE + "\n")
    (folder / "passphrase").chmod(0o600)
    home.init(paths(folder), PASSPHRASE.encode)
    start(paths(folder))
    ended = inject.run(inject.command("backup", folder / "old.tar", "--home", folder / "home"), folder)
    assert ended.code == 0, ended.stderr
    shutil.copytree(folder / "home/store", folder / "yesterday")
    start(paths(folder))
    return folder


def case(template: Path, name: str, what: str) -> Path:
    folder = Path(shutil.copytree(template, template.parent / name))
    if what == HERE:
        shutil.rmtree(folder / "home/store")
        shutil.move(folder / "yesterday", folder / "home/store")
    return folder


def strike(template: Path, what: str, place: Place, fault: str) -> None:
    folder = case(template, "case", what)
    try:
        ended = inject.inject(command(folder, what), folder, place, fault)
        assert "Traceback" not in ended.stderr, f"{what} {place} {fault}: {ended.stderr}"
        CHECKS[what](folder, ended, f"{what} {place} {fault}")
    finally:
        shutil.rmtree(folder)


def backed_up(folder: Path, ended: Ended, case: str) -> None:
    """The kernel goes on, and what has the name of a backup is one."""
    assert len(start(paths(folder))) == 6, case
    assert ended.code != 0 or (folder / "new.tar").exists(), case
    if (folder / "new.tar").exists():
        again = inject.command("restore", folder / "new.tar", "--home", folder / "new")
        said = inject.run([*again, "--passphrase-file", str(folder / "passphrase"), "--yes"], folder)
        assert said.code == 0, f"{case}: {said.stderr}"


def restored(folder: Path, ended: Ended, case: str) -> None:
    assert len(start(paths(folder))) == 6, case
    if not (folder / "new").exists():
        assert ended.code != 0, case
        if ended.code > 0:
            assert not list(folder.glob(".new*")), f"{case}: a failed restore left its unfinished home"
        again = inject.run(command(folder, RESTORE), folder)
        assert again.code == 0, f"{case}: {again.stderr}"
    whole(paths(folder, "new"), case)


def gone_on(folder: Path, ended: Ended, case: str) -> None:
    """The store that was put back is refused as before, or the new log goes on; never anything between."""
    try:
        start(paths(folder))
    except OutsideError as e:
        if e.reason is not Reason.ERR_STORE_ROLLBACK or ended.code == 0:
            raise
        again = inject.run(command(folder, HERE), folder)
        assert again.code == 0, f"{case}: {again.stderr}"
    whole(paths(folder), case)


def whole(where: Paths, case: str) -> None:
    """A log that names what was found of the one before it, which is beside it; and both are without damage."""
    kinds = start(where)
    assert kinds[:3] == [Kind.SESSION, Kind.RECOVERY, Kind.SESSION], case
    assert fsck(where.store) == (len(kinds), []), case
    assert not list(where.store.glob("*next*")), case
    (before,) = (where.store / succession.BEFORE).iterdir()
    assert sorted(path.name for path in before.iterdir()) == ["ledger.db"], case
    with Reader(where.store) as reader:
        heads = list(reader.receipts())[1].body["heads"]
    assert isinstance(heads, list) and len(heads) == 2, case
    origin = str(heads[0]).partition("\n")[0]
    with Reader.of_ended(where.store, origin) as reader:
        assert len(list(reader.receipts())) == 2, case


CHECKS = {BACKUP: backed_up, RESTORE: restored, HERE: gone_on}


def places(template: Path, what: str) -> list[Place]:
    folder = case(template, "count", what)
    try:
        return inject.places(command(folder, what), folder)
    finally:
        shutil.rmtree(folder)


def sweep(template: Path, what: str, faults: Sequence[tuple[Place, str]]) -> None:
    for place, fault in faults:
        strike(template, what, place, fault)


@pytest.mark.parametrize("what", CHECKS)
def test_a_change_that_meets_a_fault_leaves_one_whole_store_or_the_other(template: Path, what: str) -> None:
    sweep(template, what, inject.sampled(places(template, what), what, (), 1))


@pytest.mark.whole
@pytest.mark.parametrize("fault", inject.FAULTS)
@pytest.mark.parametrize("what", CHECKS)
def test_a_change_that_meets_a_fault_anywhere_leaves_one_whole_store_or_the_other(template: Path, what: str, fault: str) -> None:
    sweep(template, what, [(place, fault) for place in places(template, what) if inject.can(place, fault)])


@pytest.mark.whole
def test_every_step_of_the_change_is_finished_by_the_next_start(template: Path) -> None:
    """Killed at each, so that what comes behind it was not done (in a process: `tests/ledger/test_ledger_succession.py`)."""
    found = [place for place in places(template, HERE) if place.syscall in ("rename", "rmdir", "unlink") and "next" in place.file]
    assert len(found) > 4, found
    sweep(template, HERE, [(place, KILL) for place in found])


@pytest.mark.parametrize("what", CHECKS)
def test_what_was_said_to_be_done_outlasts_a_power_cut(template: Path, what: str) -> None:
    folder = case(template, "cut", what)
    there = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert inject.unsynced(inject.run(command(folder, what), folder).trace, folder, there) == set()
    shutil.rmtree(folder)
