"""A job that ends in something that is no ordinary exception (a panic inside a library) takes its whole group with it, closed."""

import asyncio
from pathlib import Path

import pytest

from executor.desk import Desk, boundary, request
from executor.trust import EXECUTION, LOG
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.ledger.ledger import Ledger
from helm_ai_kernel.ledger.transaction import Ink
from helm_ai_kernel.ledger.writer import IDLE_S, WAL_BYTES_MAX, Pace
from helm_ai_kernel.tcb.call import Admitted
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Decision, Facts
from helm_ai_kernel.tcb.errors import OutsideError
from ledger.home import LedgerHost, documents, home, pin

ECHO = request({"tool": "desk/echo", "arguments": {"text": "a"}})


class Panic(BaseException):
    """What a Rust library raises where it gives up: no `Exception`."""


def panics(admitted: Admitted, facts: Facts) -> Decision:
    raise Panic


@pytest.mark.parametrize("inline_us", [0.0, 1e9], ids=["in the writer's thread", "on the loop"])
def test_a_panic_in_one_job_dispatches_nothing_of_its_group(tmp_path: Path, inline_us: float) -> None:
    here = home(tmp_path / "home")

    async def main() -> tuple[int, list[object]]:
        pace = Pace(inline_us, WAL_BYTES_MAX, IDLE_S)
        ink = Ink(EXECUTION, here.registry, "test")
        ledger = Ledger.open(here.folder, ink=ink, log_key=LOG, end=here.ended.append, pace=pace)
        await ledger.begin("test")
        await ledger.enact(pin(boundary(), here.origin), documents(boundary()))
        session, desk = await ledger.session("agent", "python", None), Desk()
        good = asyncio.create_task(execute(ECHO, boundary(), LedgerHost(ledger, session, desk)))
        bad = asyncio.create_task(ledger.commit(session, boundary().admit(ECHO), panics))
        results = await asyncio.gather(good, bad, return_exceptions=True)
        ledger.abandon()
        return len(desk.effects), list(results)

    effects, results = asyncio.run(main())
    assert effects == 0
    assert [result.reason for result in results if isinstance(result, OutsideError)] == [Reason.ERR_SEALED] * 2
    assert here.ended and not [line for line in here.summary() if "ALLOW" in line]
