"""A rotation that is killed, or whose disk fails: the registry is the old one or the new one, and the kernel starts with both."""

import asyncio
import shutil
from pathlib import Path

import pytest

from faults import inject
from faults.inject import EIO, FULL, KILL, Place
from helm_ai_kernel.app import home, trust
from helm_ai_kernel.app.config import Paths, load
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.ledger.fsck import fsck

PASSPHRASE = "a passphrase"
REGISTRY, KEY = "home/store/.trust.jsonl.N", "home/keys/execution.next"


def paths(folder: Path) -> Paths:
    return Paths(folder / "home", folder / "people")


def command(folder: Path) -> list[str]:
    said = ("--home", folder / "home", "--passphrase-file", folder / "passphrase", "--yes")
    return inject.command("trust", "rotate", "execution", *said)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trust") / "template"
    folder.mkdir()
    (folder / "passphrase").write_text(PASSPHRASE + "\n")
    (folder / "passphrase").chmod(0o600)
    home.init(paths(folder), PASSPHRASE.encode)
    return folder


@pytest.fixture(scope="module")
def found(template: Path) -> list[Place]:
    folder = Path(shutil.copytree(template, template.parent / "count"))
    return inject.places(command(folder), folder)


def starts(folder: Path) -> int:
    """The size of the registry that a start relies on, which ends cleanly and leaves nothing behind."""

    async def main() -> int:
        runtime = await Runtime.open(load(paths(folder), {}))
        size = runtime.ledger.writer.state.frontier.size
        await runtime.close()
        return size

    assert asyncio.run(main()) == 1
    assert fsck(paths(folder).store, Subjects(paths(folder).subjects)) == (2, [])
    return trust.known(paths(folder)).size


def strike(template: Path, place: Place, fault: str) -> int:
    folder = Path(shutil.copytree(template, template.parent / "case"))
    try:
        ended = inject.inject(command(folder), folder, place, fault)
        assert "Traceback" not in ended.stderr, f"{place} {fault}: {ended.stderr}"
        size = starts(folder)
        assert ended.code != 0 or size == 5, f"{place} {fault}: what was said to be there is not"
        waits = (folder / KEY).exists()
        assert not (waits and size == 5), f"{place} {fault}: the new key still waits"
        return size
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("fault", [KILL, EIO, FULL])
@pytest.mark.parametrize(("syscall", "file"), [("rename", REGISTRY), ("fsync", REGISTRY), ("write", REGISTRY), ("rename", KEY)])
def test_a_rotation_that_meets_a_fault_happened_or_did_not(
    template: Path, found: list[Place], syscall: str, file: str, fault: str
) -> None:
    place = next(place for place in found if (place.syscall, place.file) == (syscall, file))
    assert strike(template, place, fault) == (5 if file == KEY else 4)


@pytest.mark.whole
@pytest.mark.parametrize("fault", inject.FAULTS)
def test_a_rotation_that_meets_a_fault_anywhere_happened_or_did_not(template: Path, found: list[Place], fault: str) -> None:
    for place in found:
        if inject.can(place, fault):
            strike(template, place, fault)


def test_what_a_rotation_leaves_outlasts_a_power_cut(template: Path) -> None:
    folder = Path(shutil.copytree(template, template.parent / "cut"))
    there = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert inject.unsynced(inject.run(command(folder), folder).trace, folder, there) == set()
