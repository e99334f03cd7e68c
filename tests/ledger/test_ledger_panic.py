"""What ends in something that is no ordinary exception (a panic inside a library, no memory, no thread) ends closed."""

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from executor.desk import Desk, boundary, request
from executor.trust import LOG
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.ledger.ledger import Ledger
from helm_ai_kernel.ledger.writer import IDLE_S, WAL_BYTES_MAX, Pace
from helm_ai_kernel.tcb.call import Admitted
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Decision, Facts, Outcome, Status
from helm_ai_kernel.tcb.errors import OutsideError
from ledger.home import Home, LedgerHost, check_whole, documents, home, pin

ECHO = request({"tool": "desk/echo", "arguments": {"text": "a"}})


class Panic(BaseException):
    """What a Rust library raises where it gives up: no `Exception`."""


def panics(admitted: Admitted, facts: Facts) -> Decision:
    raise Panic


@pytest.mark.parametrize("inline_us", [0.0, 1e9], ids=["in the writer's thread", "on the loop"])
def test_a_panic_in_one_job_dispatches_nothing_of_its_group(tmp_path: Path, inline_us: float) -> None:
    here = home(tmp_path / "home")

    async def main() -> tuple[int, list[object]]:
        ledger = await opened(here, inline_us)
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


class Breaking:
    """The real connection, whose COMMIT raises once after it was made: nobody knows then whether it is durable."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self.armed = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)

    def execute(self, sql: str, *values: Any) -> Any:
        done = self._conn.execute(sql, *values)
        if sql == "COMMIT" and self.armed:
            self.armed = False
            raise MemoryError
        return done


@pytest.mark.parametrize("inline_us", [0.0, 1e9], ids=["in the writer's thread", "on the loop"])
def test_a_commit_that_ends_in_something_unknown_seals_and_answers_nobody_with_success(tmp_path: Path, inline_us: float) -> None:
    here = home(tmp_path / "home")

    async def main() -> list[object]:
        ledger = await opened(here, inline_us)
        session, desk = await ledger.session("agent", "python", None), Desk()
        ledger.writer._conn = Breaking(ledger.writer._conn)  # type: ignore[assignment]
        calls = [execute(ECHO, boundary(), LedgerHost(ledger, session, desk)) for _ in range(2)]
        results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30)
        with pytest.raises(OutsideError):
            await ledger.session("another", "python", None)
        ledger.abandon()
        assert not desk.effects
        return list(results)

    results = asyncio.run(main())
    assert [getattr(result, "reason", None) for result in results] == [Reason.ERR_SEALED] * 2
    assert here.ended


def test_a_thread_that_cannot_be_started_neither_loses_nor_repeats_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = home(tmp_path / "home")
    start, refused = threading.Thread.start, list[str]()

    def starts(thread: threading.Thread) -> None:
        if thread.name.startswith("helm-ledger") and not refused:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starts)

    async def main() -> bytes:
        ledger = await opened(here, -1.0)
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
        assert (await execute(ECHO, boundary(), host)).reason is Reason.OK
        await ledger.close()
        return ledger.checkpoint

    note = asyncio.run(main())
    assert refused and not here.ended
    check_whole(here, note)


def test_nothing_is_told_after_the_last_session_has_ended(tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    async def main() -> None:
        ledger = await opened(here, 1e9)
        session = await ledger.session("agent", "python", None)
        intent = await ledger.commit(session, boundary().admit(ECHO), boundary().decide)
        assert ledger.writer.kernel is not None
        ends = [ledger.end_session(each, "closed") for each in (session, ledger.writer.kernel)]
        *_, told = await asyncio.gather(*ends, ledger.settle(session, intent, Outcome(Status.UNKNOWN, 1)), return_exceptions=True)
        assert isinstance(told, OutsideError) and told.reason is Reason.ERR_SEALED
        ledger.abandon()

    asyncio.run(main())
    assert not here.ended


async def opened(here: Home, inline_us: float) -> Ledger:
    """With the desk's policy in force, committing on the loop or in the writer's thread."""
    pace, ink = Pace(inline_us, WAL_BYTES_MAX, IDLE_S), here.ink
    ledger = Ledger.open(here.folder, ink=ink, log_key=LOG, end=here.ended.append, pace=pace)
    await ledger.begin("test")
    await ledger.enact(pin(boundary(), here.origin), documents(boundary()))
    return ledger
