"""What a kernel does when its disk is full, or breaks. A program: one needs a mount, the other ends its process."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from executor.desk import Desk, boundary, request
from executor.trust import LOG
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.executor.host import Reply
from helm_ai_kernel.ledger.ledger import Ledger
from helm_ai_kernel.ledger.writer import GROUP_MAX
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from ledger.home import Home, LedgerHost, check_whole, home, started

DISK = "2m"


def call(text: str) -> bytes:
    return request({"tool": "desk/echo", "arguments": {"text": text}, "key": text[:64]})


async def refused(work: Awaitable[object]) -> None:
    try:
        await work
    except OutsideError as error:
        if error.reason is not Reason.ERR_EVIDENCE_FULL:
            raise
    else:
        raise AssertionError("answered on a full disk")


def fill(ballast: Path) -> None:
    with ballast.open("ab", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


class Fills(Desk):
    """A tool that fills the kernel's disk."""

    ballast: Path

    async def call(self, name: str, args: bytes, *, key: str | None, wall_ms: int, output_bytes: int) -> Reply:
        reply = self.do(name, args)
        fill(self.ballast)
        return replace(reply, output=b'"' + b"y" * 4000 + b'"')


async def full(folder: Path) -> None:
    ballast = folder / "disk" / "ballast"
    here = home(folder / "disk" / "home")
    ledger = await started(here, boundary())
    host = LedgerHost(ledger, await ledger.session("agent", "python", None), Fills())
    host.desk.ballast = ballast  # type: ignore[attr-defined]

    # no space for the intent: no effect
    fill(ballast)
    count, note = len(here.receipts()), ledger.checkpoint
    for n in range(3):
        await refused(execute(call(f"refused {n}" + "x" * 3000), boundary(), host))
    assert not host.desk.effects and len(here.receipts()) == count and ledger.checkpoint == note
    assert not list(ledger.open_intents()) and here.ended == []
    killed = here.image(folder / "killed")  # now: what a refused commit leaves in the files can be opened, and is one log

    # no space for the outcome: the effect has happened, and nothing is released; what was refused had claimed nothing
    ballast.unlink()
    await refused(execute(call("refused 0" + "x" * 3000), boundary(), host))
    assert len(host.desk.effects) == 1 and len(list(ledger.open_intents())) == 1
    ballast.unlink()
    again = await execute(call("refused 0" + "x" * 3000), boundary(), host)
    assert again.reason is Reason.ERR_IDEMPOTENCY_IN_FLIGHT and len(host.desk.effects) == 1

    # the process that died on a full disk is recovered by the next one
    ledger.abandon()
    ledger = await started(here, boundary())
    host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
    assert (await execute(call("refused 0" + "x" * 3000), boundary(), host)).reason is Reason.ERR_OUTCOME_UNKNOWN
    assert (await execute(call("after"), boundary(), host)).reason is Reason.OK
    await ledger.close()
    check_whole(here, ledger.checkpoint)
    assert here.ended == []

    ledger = await started(killed, boundary())
    check_whole(killed, ledger.checkpoint)
    await ledger.close()
    print("whole")


async def ending(folder: Path) -> None:
    """A stop on a full disk is refused, and done again when there is space: no session is forgotten."""
    ballast = folder / "disk" / "ballast"
    here = home(folder / "disk" / "home")
    ledger = await started(here, boundary())
    for _ in range(20):
        await ledger.session("agent" * 50, "python", None)
    fill(ballast)
    await refused(ledger.close())
    ballast.unlink()
    await ledger.close()
    receipts = check_whole(here, ledger.checkpoint)
    events = [receipt.body.get("event") for receipt in receipts]
    assert events.count("end") == events.count("start") == 21

    # and whoever only lets go is not stopped by it
    ledger = await started(here, boundary())
    fill(ballast)
    with suppress(OutsideError):
        ledger.abandon()
    ballast.unlink()
    ledger = await started(here, boundary())
    await ledger.close()
    check_whole(here, ledger.checkpoint)
    print("whole")


async def spilled(folder: Path) -> None:
    """A group that outgrows SQLite's cache is written before its commit; what fails then makes it forget its own pages."""
    ballast = folder / "disk" / "ballast"
    here = home(folder / "disk" / "home")
    ledger = await started(here, boundary())
    host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
    ledger.writer._conn.execute("PRAGMA cache_size=5")
    ballast.write_bytes(bytes(1 << 20))
    work = [execute(call(f"{n} " + "x" * 60000), boundary(), host) for n in range(24)]
    answers = await asyncio.gather(*work, return_exceptions=True)
    assert {getattr(answer, "reason", None) for answer in answers} == {Reason.ERR_EVIDENCE_FULL}, answers
    ballast.unlink()
    assert (await execute(call("after"), boundary(), host)).reason is Reason.OK
    await ledger.close()
    check_whole(here, ledger.checkpoint)
    print("whole")


async def broken(folder: Path) -> None:
    here = home(folder / "home")
    (await started(here, boundary())).abandon()
    ledger = Ledger.open(here.folder, ink=here.ink, log_key=LOG)  # with the real end
    await ledger.begin("test")
    host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
    await execute(call("before"), boundary(), host)
    break_disk(here)
    answer = await execute(call("x" * 3000), boundary(), host)
    print(f"answered {answer.reason}")


async def queued(folder: Path) -> None:
    """The end does not end the process here, and the disk works again: even so nothing more may happen."""
    here = home(folder / "home")
    (await started(here, boundary())).abandon()

    def end(why: str) -> None:
        here.ended.append(why)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    ledger = Ledger.open(here.folder, ink=here.ink, log_key=LOG, end=end)
    await ledger.begin("test")
    host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
    count = len(here.receipts())
    work = [asyncio.create_task(execute(call(f"{n}"), boundary(), host)) for n in range(GROUP_MAX + 8)]
    break_disk(here)
    answers = await asyncio.gather(*work, return_exceptions=True)
    assert {type(answer) for answer in answers} == {OutsideError}, [
        answer for answer in answers if type(answer) is not OutsideError
    ]
    assert {answer.reason for answer in answers if isinstance(answer, OutsideError)} == {Reason.ERR_SEALED}
    assert len(here.ended) == 1 and len(here.receipts()) == count and not host.desk.effects
    print("sealed")


def break_disk(here: Home) -> None:
    """From now on writes fail as those of a broken disk do: with an error that is not `full`."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    written = max(os.stat(path).st_size for path in here.folder.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (written + 1000, resource.RLIM_INFINITY))


if __name__ == "__main__":
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what in ("full", "ending", "spilled"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder / "disk")], check=True)
    asyncio.run({"full": full, "ending": ending, "spilled": spilled, "broken": broken, "queued": queued}[what](folder))
