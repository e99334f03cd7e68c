"""What the single writer does when something goes wrong: with a disk, a connector's word, a session that is gone."""

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from executor.desk import Desk, boundary, request
from executor.trust import trust
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.executor.host import Reply
from helm_ai_kernel.guardian.budget import Budget
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Contract, Outcome, Status
from helm_ai_kernel.tcb.digest import attachment_name
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError, Refused
from helm_ai_kernel.tcb.receipt import Receipt
from ledger.home import Home, LedgerHost, check_whole, home, started

TESTS = Path(__file__).resolve().parent.parent
ECHO = request({"tool": "desk/echo", "arguments": {"text": "a"}, "key": "k"})


class Says(Desk):
    """A connector that says more than a receipt can hold."""

    sub = ""

    async def call(self, name: str, args: bytes, *, key: str | None, wall_ms: int, output_bytes: int) -> Reply:
        return replace(self.do(name, args), sub=self.sub)


@pytest.mark.parametrize("reply", ["failed", "unknown", "7"])
@pytest.mark.parametrize("sub", ["x" * 300, "\udc80", "\0"], ids=["long", "surrogate", "nul"])
def test_whatever_a_connector_says_ends_in_an_outcome_that_a_verifier_reads(sub: str, reply: str, tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    async def main() -> None:
        ledger = await started(here, boundary(), budgets=[Budget("two", 2)])
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Says(reply))
        host.desk.sub = sub  # type: ignore[attr-defined]
        await execute(ECHO, boundary(), host)
        assert not list(ledger.open_intents()) and here.ended == []
        await ledger.close()
        check_whole(here, ledger.checkpoint)

    asyncio.run(main())


def test_a_job_that_refuses_leaves_the_others_of_its_group_as_they_were(tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    async def main() -> None:
        ledger = await started(here, boundary(), budgets=[Budget("three", 3)])
        session = await ledger.session("agent", "python", None)
        calls = [request({"tool": "desk/echo", "arguments": {"text": text}, "key": text}) for text in "ab"]
        intents = [await ledger.commit(session, boundary().admit(raw), boundary().decide) for raw in calls]
        wrong = Outcome(Status.FAILED, 1, output=b"mine", reason=Reason.ERR_CONNECTOR_FAILED, sub="\udc80")
        right = Outcome(Status.OK, 1, output=b'"done"', contract=Contract.SCHEMA)
        refused, settled, other = await asyncio.gather(
            ledger.settle(session, intents[0], wrong),
            ledger.settle(session, intents[1], right),
            ledger.session("other", "python", None),
            return_exceptions=True,
        )
        assert isinstance(refused, Refused) and isinstance(settled, Receipt) and not isinstance(other, BaseException)
        assert settled.body["output_hash"] == attachment_name(settled.salt, b'"done"')
        assert here.ended == [] and list(ledger.open_intents()) == [intents[0].leaf]
        third = await ledger.commit(session, boundary().admit(ECHO), boundary().decide)
        assert third.body["facts"]["budget"] == {"three": 1}  # type: ignore[index,call-overload]
        ledger.abandon()
        check_whole(here)

    asyncio.run(main())


@pytest.mark.parametrize("name", ["x" * 300, "\udc80"], ids=["long", "surrogate"])
def test_a_session_whose_names_no_receipt_can_hold_is_refused_or_readable(name: str, tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    async def main() -> None:
        ledger = await started(here, boundary())
        for principal, door, client in ((name, "python", None), ("agent", name, None), ("agent", "python", name)):
            with suppress(Refused, OutsideError, EvidenceError):
                await ledger.session(principal, door, client)
        await ledger.close()
        assert here.ended == []
        check_whole(here, ledger.checkpoint)

    asyncio.run(main())


def test_a_session_that_ends_under_a_call_does_not_end_the_kernel(tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    async def main() -> None:
        ledger = await started(here, boundary())
        session = await ledger.session("agent", "python", None)

        async def before(step: str) -> None:
            if step == "settle":
                with suppress(Refused, OutsideError):
                    await ledger.end_session(session, "idle")

        host = LedgerHost(ledger, session, Desk(), before)
        assert (await execute(ECHO, boundary(), host)).output == b'"done"'
        assert here.ended == [] and not list(ledger.open_intents())
        await ledger.close()
        check_whole(here, ledger.checkpoint)

    asyncio.run(main())


def child(*args: str, prefix: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    """Run `ledger/full_disk.py` in a process of its own."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    script = str(TESTS / "ledger" / "full_disk.py")
    command = [*prefix, sys.executable, script, *args]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def on_a_small_disk(what: str, folder: Path) -> None:
    (folder / "disk").mkdir()
    probe = ("unshare", "-rm", "sh", "-c", f"mount -t tmpfs -o size=64k tmpfs {folder / 'disk'}")
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("no private mounts here: run as root, or allow user namespaces")
    done = child(what, str(folder), prefix=("unshare", "-rm"))
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr


def test_a_full_disk_refuses_before_any_effect_and_passes_when_there_is_space_again(tmp_path: Path) -> None:
    on_a_small_disk("full", tmp_path)


def test_a_full_disk_passes_also_where_a_group_was_partly_written_already(tmp_path: Path) -> None:
    on_a_small_disk("spilled", tmp_path)


def test_a_stop_that_found_the_disk_full_can_be_done_again(tmp_path: Path) -> None:
    on_a_small_disk("ending", tmp_path)


def test_what_is_queued_behind_a_failed_commit_is_neither_written_nor_answered(tmp_path: Path) -> None:
    done = child("queued", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "sealed\n"), done.stderr


def test_a_write_that_fails_ends_the_process_before_it_answers(tmp_path: Path) -> None:
    """RLIMIT_FSIZE fails the write as a broken disk does: with an error that is not `full`."""
    done = child("broken", str(tmp_path))
    assert done.returncode == 70 and done.stdout == "", done.stderr
    assert done.stderr.startswith("error: the evidence store failed and the kernel ends: ")
    here = Home(tmp_path / "home", *trust())

    async def main() -> None:
        ledger = await started(here, boundary())
        check_whole(here, ledger.checkpoint)
        assert not list(ledger.open_intents())
        await ledger.close()

    asyncio.run(main())
