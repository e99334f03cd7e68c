"""What a kernel does when its disk is full, or breaks; a program, because the first needs a mount and the second ends its process."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from executor.desk import Desk, boundary, request
from executor.memory import EXECUTION, LOG
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.executor.host import Reply
from helm_ai_kernel.ledger.ledger import Ledger
from helm_ai_kernel.ledger.transaction import Ink
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from ledger.home import LedgerHost, check_whole, home, started

DISK = "2m"


def call(text: str) -> bytes:
    return request({"tool": "desk/echo", "arguments": {"text": text}, "key": text[:64]})


async def refused(host: LedgerHost, raw: bytes) -> None:
    try:
        answer = await execute(raw, boundary(), host)
    except OutsideError as error:
        assert error.reason is Reason.ERR_EVIDENCE_FULL, error
    else:
        raise AssertionError(f"answered on a full disk: {answer.reason}")


def fill(ballast: Path) -> None:
    with ballast.open("ab", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


async def full(folder: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], check=True)
    ballast = folder / "ballast"
    here = home(folder / "home")
    ledger = await started(here, boundary())
    desk = Desk()
    host = LedgerHost(ledger, await ledger.session("agent", "python", None), desk)
    assert (await execute(call("before"), boundary(), host)).reason is Reason.OK

    # no space for the intent: no effect
    fill(ballast)
    count, note = len(here.receipts()), ledger.checkpoint
    for n in range(3):
        await refused(host, call(f"refused {n}" + "x" * 3000))
    assert len(desk.effects) == 1 and len(here.receipts()) == count and ledger.checkpoint == note
    assert not list(ledger.open_intents()) and here.ended == []
    ballast.unlink()
    assert (await execute(call("refused 0" + "x" * 3000), boundary(), host)).reason is Reason.OK, (
        "a refused call has claimed nothing"
    )

    # no space for the outcome: the effect has happened, and nothing is released
    class Fills(Desk):
        async def call(self, name: str, args: bytes, *, key: str | None, wall_ms: int, output_bytes: int) -> Reply:
            reply = self.do(name, args)
            fill(ballast)
            return Reply(reply.kind, 1, output=b'"' + b"y" * 4000 + b'"')

    host.desk = Fills()
    await refused(host, call("no outcome"))
    assert len(host.desk.effects) == 1 and len(list(ledger.open_intents())) == 1
    ballast.unlink()
    again = await execute(call("no outcome"), boundary(), host)
    assert again.reason is Reason.ERR_IDEMPOTENCY_IN_FLIGHT and len(host.desk.effects) == 1

    # the process that died on a full disk is recovered by the next one
    ledger.abandon()
    ledger = await started(here, boundary())
    host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
    assert (await execute(call("no outcome"), boundary(), host)).reason is Reason.ERR_OUTCOME_UNKNOWN
    assert (await execute(call("after"), boundary(), host)).reason is Reason.OK
    await ledger.close()
    check_whole(here, ledger.checkpoint)
    assert here.ended == []
    print("whole")


async def broken(folder: Path) -> None:
    here = home(folder / "home")
    (await started(here, boundary())).abandon()
    ledger = Ledger.open(here.folder, ink=Ink(EXECUTION, here.registry, "test"), log_key=LOG)  # with the real end
    await ledger.begin("test")
    host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
    await execute(call("before"), boundary(), host)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    written = max(os.stat(path).st_size for path in here.folder.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (written + 1000, resource.RLIM_INFINITY))
    answer = await execute(call("x" * 3000), boundary(), host)
    print(f"answered {answer.reason}")


if __name__ == "__main__":
    asyncio.run({"full": full, "broken": broken}[sys.argv[1]](Path(sys.argv[2])))
