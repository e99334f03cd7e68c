"""An erasure that is interrupted at any system call is not there, or is ended by the next start: there is no half of one."""

import asyncio
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from faults import driver, inject, oracle
from faults.inject import EIO, KILL, Place
from helm_ai_kernel.credentials.subjects import SECRET, Subjects
from helm_ai_kernel.ledger.fsck import fsck
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.ledger.writer import EXIT_SEALED
from helm_ai_kernel.tcb.receipt import Kind

DRIVER = Path(driver.__file__)
KEYS = "home/keys/subjects"


def prepared(folder: Path) -> Path:
    """A home in which something is kept about the subject."""
    folder.mkdir()
    driver.make(folder)
    subprocess.run(inject.python(DRIVER, "about", folder), stdout=subprocess.PIPE, check=True, timeout=inject.TIMEOUT_S)
    return folder


def places(tmp_path: Path) -> list[Place]:
    """Where the erasure itself touches the disk: from when the kernel is ready until it closes."""
    template = prepared(tmp_path / "template")
    count = Path(shutil.copytree(template, tmp_path / "count", symlinks=True))
    found = inject.places(inject.python(DRIVER, "erase", count), count)
    return [place for place in found if place.phase == "started" and inject.can(place, KILL)]


def strike(template: Path, place: Place, fault: str) -> None:
    folder = Path(shutil.copytree(template, template.parent / "case", symlinks=True))
    ended = inject.inject(inject.python(DRIVER, "erase", folder), folder, place, fault)
    assert fault == KILL or ended.code in (0, driver.REFUSED, EXIT_SEALED), ended.stderr
    acknowledged = any(word.startswith("ack ") for word in ended.said)
    assert not acknowledged or named(folder) == set(), f"{place} {fault}: acknowledged, and the key is still there"
    assert damage(folder) == [], f"{place} {fault}"

    asyncio.run(again(folder))
    with Reader(driver.store(folder), vault=Subjects(driver.keys(folder))) as reader:
        erased = sum(receipt.kind is Kind.STATEMENT for receipt in reader.receipts()) == 2  # the first is the policy's
        kept = [content for receipt in reader.receipts() for content in reader.attachments(receipt.index).values()]
    everything = b"".join(path.read_bytes() for path in driver.keys(folder).iterdir() if path.name != SECRET)
    assert erased >= acknowledged, "an acknowledged erasure is gone"
    assert len(kept) == driver.KEPT * len(driver.KEYS) and {content is None for content in kept} == {erased}, f"{place} {fault}"
    assert named(folder) == (set() if erased else {driver.SUBJECT}) and (driver.SUBJECT.encode() in everything) != erased
    assert not list(driver.keys(folder).glob(".*")) and damage(folder) == []
    with Reader(driver.store(folder)) as reader:
        oracle.extends(folder, reader.checkpoint)
    shutil.rmtree(folder)


async def again(folder: Path) -> None:
    await driver.end(await driver.start(folder))


def named(folder: Path) -> set[str]:
    return {subject.name for subject in Subjects(driver.keys(folder)).listed()}


def damage(folder: Path) -> list[object]:
    return [*fsck(driver.store(folder), Subjects(driver.keys(folder)))[1]]


@pytest.mark.parametrize("others", [4, pytest.param(1000, marks=pytest.mark.whole)])
def test_an_erasure_that_is_interrupted_anywhere_is_whole_or_not_there_behind_the_next_start(tmp_path: Path, others: int) -> None:
    """Killed at each call that touches a key, and at some others; where the disk fails, the key is not said to be gone."""
    found = places(tmp_path)
    keys = [place for place in found if place.file.startswith(KEYS)]
    assert {place.syscall for place in keys} >= {"unlink", "rename", "write", "fsync"}
    rest = [place for place in found if place not in keys]
    dice = random.Random("erasure")
    for place in [*keys, *dice.sample(rest, min(others, len(rest)))]:
        strike(tmp_path / "template", place, KILL)
    for place in keys if others > len(keys) else [place for place in keys if place.syscall == "fsync"][:1]:
        strike(tmp_path / "template", place, EIO)
