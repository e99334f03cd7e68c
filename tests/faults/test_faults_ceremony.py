"""kill -9 and a failing disk at every storage call of an approval ceremony, and clients that are killed in the middle of theirs.

Whatever was said and acknowledged is there, an approval lets one dispatch happen and never a second, and the pack verifies.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from app.kernels import Place
from app.residents import up
from faults import ceremony_driver, driver, inject, oracle
from faults.ceremony_driver import KEY, TIMELOCK_MS, Time
from faults.inject import FULL, KILL, Ended
from faults.inject import Place as Point
from faults.test_faults_storage import CORE, ends_well
from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.ledger.fsck import fsck
from helm_ai_kernel.tcb.ceremony import Act
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Status
from helm_ai_kernel.tcb.receipt import Kind, Receipt
from needs import needs
from threats.ceremony import SENT, office

DRIVER = Path(ceremony_driver.__file__)


async def again(folder: Path, taken: bool) -> None:
    """The start after the fault. An approval that was used is used; one that was not goes on to its dispatch."""
    time = Time(2 * TIMELOCK_MS)  # behind every clock that the process before it read
    ceremony_driver.use(time)
    log = await driver.start(folder)
    used = Reason.ERR_APPROVAL_CONSUMED in log.writer.state.approvals.ended.values()
    assert used is taken, "an approval was used, or it was not"
    if not taken:
        await ceremony_driver.ceremony(folder, log, time)
    await driver.end(log)


def check(folder: Path, said: list[str]) -> list[Receipt]:
    before = oracle.Left.of(folder)
    size, leaves = oracle.promised(said)
    more = 1 + (oracle.SESSIONS if "closing" in said else 0)
    assert leaves <= {receipt.leaf for receipt in before.receipts}, "an acknowledged receipt is gone"
    assert size <= len(before.receipts) <= size + more, f"{size} were promised, {len(before.receipts)} are there"
    assert set(oracle.effects(folder)) <= set(before.keys), "an effect without an intent"
    asyncio.run(again(folder, bool(before.keys)))
    after = oracle.Left.of(folder)
    assert [r.line for r in after.receipts[: len(before.receipts)]] == [r.line for r in before.receipts], "history was changed"
    assert len(oracle.effects(folder)) <= 1 and after.keys == [KEY], "one approval, and not one dispatch"
    outcomes = Counter(str(r.body["decision"]) for r in after.receipts if r.kind is Kind.OUTCOME and r.status is not Status.LATE)
    assert outcomes == Counter(r.leaf for r in after.receipts if r.is_intent), "not exactly one outcome for each intent"
    count, damage = fsck(driver.store(folder), Subjects(driver.keys(folder)))
    assert (count, damage) == (len(after.receipts), []), damage
    oracle.extends(folder, before.checkpoint)
    return after.receipts


def prepared(folder: Path) -> Path:
    folder.mkdir()
    driver.make(folder)
    return folder


def strike(template: Path, place: Point, fault: str, *, on: bool = False) -> Ended:
    folder = Path(shutil.copytree(template, template.parent / "case", symlinks=True))
    ended = inject.inject(inject.python(DRIVER, folder), folder, place, fault, on=on)
    assert "Traceback" not in ended.stderr, f"{place} {fault}: {ended.stderr}"
    ends_well(ended, fault, on)
    check(folder, ended.said)
    shutil.rmtree(folder)
    return ended


def places(tmp_path: Path) -> list[Point]:
    prepared(tmp_path / "template")
    count = Path(shutil.copytree(tmp_path / "template", tmp_path / "count", symlinks=True))
    return inject.places(inject.python(DRIVER, count), count)


def steps(found: list[Point]) -> list[Point]:
    """What makes each receipt durable, from the first call on: hold, approval, wait, intent, outcome, hold, denial, refusal."""
    return [place for place in found if (place.syscall, place.file) == CORE[3] and place.phase == "started"]


def test_a_ceremony_that_nobody_disturbs_ends_in_one_dispatch(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "case")
    ended = inject.run(inject.python(DRIVER, folder), folder)
    assert ended.code == 0, ended.stderr
    told = [f"{r.kind.value} {r.body.get('reason', '')}".strip() for r in check(folder, ended.said)]
    assert [line for line in told if not line.startswith(("session", "recovery"))] == [
        "statement", "decision ERR_APPROVAL_REQUIRED", "statement", "decision ERR_APPROVAL_PENDING_TIMELOCK", "decision OK",
        "outcome", "decision ERR_APPROVAL_REQUIRED", "statement", "decision ERR_APPROVAL_DENIED",
    ]  # fmt: skip


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.whole)])
def test_a_kill_at_any_step_of_a_ceremony_loses_nothing_and_runs_nothing_twice(tmp_path: Path, every: int) -> None:
    """At each receipt: before it is durable, which is behind the one before it."""
    found = steps(places(tmp_path))
    assert len(found) >= 8
    for place in found[2::every] if every > 1 else found:
        strike(tmp_path / "template", place, KILL)


def test_a_fault_at_a_storage_call_of_a_ceremony_loses_nothing(tmp_path: Path) -> None:
    for place, fault in inject.sampled(places(tmp_path), "ceremony", (), 3):
        strike(tmp_path / "template", place, fault)


@pytest.mark.whole
@pytest.mark.parametrize("fault", inject.FAULTS)
def test_a_fault_at_every_storage_call_of_a_ceremony_loses_nothing(tmp_path: Path, fault: str) -> None:
    for place in places(tmp_path):
        if inject.can(place, fault):
            strike(tmp_path / "template", place, fault)


@pytest.mark.parametrize("every", [30, pytest.param(1, marks=pytest.mark.whole)])
def test_a_disk_that_is_full_in_the_middle_of_a_ceremony_approves_and_dispatches_nothing(tmp_path: Path, every: int) -> None:
    found = [place for place in places(tmp_path) if (place.syscall, place.file) == CORE[1] and place.phase == "started"]
    for place in found[::every]:
        ended = strike(tmp_path / "template", place, FULL, on=True)
        assert ended.code == driver.REFUSED and not [word for word in ended.said_after if not word.startswith("full")], place


CLIENT = ("connect", "sendto", "recvfrom")


@pytest.mark.parametrize("nth", [1, 2, pytest.param(3, marks=pytest.mark.whole), pytest.param(4, marks=pytest.mark.whole)])
@pytest.mark.parametrize("syscall", CLIENT)
def test_a_person_whose_program_is_killed_anywhere_says_it_once_or_not_at_all(place: Place, syscall: str, nth: int) -> None:
    """At the nth time that it speaks with the kernel or hears from it: whether it is there, its challenge, its statement."""
    at = office(place)
    with up(place) as kernel:
        index = str(at.call(kernel).value["helm"]["receipt"]["index"])
        words = ("approvals", "approve", index, "--home", place.paths.home, "--yes", "--passphrase-file", place.passphrase)
        killed = subprocess.run(
            [
                needs("strace"), "-f", "-qq", "-o", str(place.folder / "trace"), "-e", f"trace={syscall}",
                "-e", f"inject={syscall}:{KILL}:when={nth}", *inject.command(*words),
            ],
            env={**os.environ, "HELM_PEOPLE": str(place.paths.people)}, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert killed.returncode in (-signal.SIGKILL, *((0,) if nth > 2 else ())), killed.stderr
        (held,) = at.held()
        if not held.ceremony.approvals:
            assert at.call(kernel).status == 202
            at.say(held, Act.APPROVE, place.approver)
        assert [at.call(kernel).status for _ in range(2)] == [200, 202] and at.done == [["send", SENT]]
        kernel.end()
    assert sum(b'"decision":"approve"' in receipt.line for receipt in place.receipts()) == 1
    place.check()


def test_an_agent_that_is_gone_while_it_waits_gets_nothing_done(place: Place) -> None:
    """Killed while it waits for a person: the approval is of the next one who asks, and nothing runs for nobody."""
    at = office(place)
    with up(place) as kernel:
        waiting = kernel.connection("data")
        said = json.dumps({"tool": "tools/send", "arguments": SENT})
        fields = {"authorization": f"Bearer {at.tokens['ann']}", "content-type": "application/json", "prefer": "wait=60"}
        waiting.request("POST", "/mcp/v1/execute", said, fields)
        while not at.held():
            pass
        waiting.close()
        while "helm_answers_total" not in (text := at.metrics(kernel)) or 'plane="data",status' not in text:
            at.say(at.one(), Act.DISPUTE, place.approver)  # whoever waits is woken, and found to be gone
        at.say(at.one(), Act.APPROVE, place.approver)
        assert (at.held()[0].held.state.value, at.done) == ("complete", [])
        assert (at.call(kernel).status, at.done) == (200, [["send", SENT]])
        kernel.end()
    place.check()
