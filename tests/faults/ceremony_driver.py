"""A kernel with one call that waits for a person, to lose at any step: `python ceremony_driver.py FOLDER`.

Time is a count of how often it was read, so that every run makes the same system calls: a timelock passes by `wait`.
"""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

from faults import driver
from faults.driver import AT, patient, say
from helm_ai_kernel.guardian.asking import asking
from helm_ai_kernel.ledger import ledger, writer
from helm_ai_kernel.ledger.ledger import Ledger
from helm_ai_kernel.ledger.transaction import Session
from helm_ai_kernel.tcb.call import Admitted
from helm_ai_kernel.tcb.ceremony import Act, Requirement, confirmation
from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.decision import Contract, Decision, Facts, Outcome, Status, Verdict
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.keys import SecretKey
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.tcb.statement import StatementKind, sign

KEY = "paid"
APPROVER = driver.APPROVAL
READ_MS, TIMELOCK_MS = 10, 3_600_000
ASKED = Requirement(timelock_ms=TIMELOCK_MS, expires_ms=10 * TIMELOCK_MS)
STEPS = 12  # at most: what a ceremony takes from any state on


class Time:
    """Goes on by `READ_MS` whenever it is read. A process that starts begins behind every one before it."""

    def __init__(self, at_ms: int) -> None:
        self.at_ms = at_ms

    def now(self) -> writer.Moment:
        self.at_ms += READ_MS
        return writer.Moment(AT, Clock(1_767_323_045_678 + self.at_ms, "a" * 32, self.at_ms))

    def wait(self) -> None:
        self.at_ms += TIMELOCK_MS


def use(time: Time) -> None:
    writer.now = time.now
    ledger.now = time.now


def rule(_: Admitted, facts: Facts) -> Decision:
    return asking([ASKED], facts)


async def call(log: Ledger, session: Session) -> Receipt:
    """Made, or made again: without an idempotency key, so that nothing but the ceremony keeps it from running twice."""
    wanted = replace(driver.admitted(KEY), key=None)
    said = await patient("call", lambda: log.commit(session, wanted, rule))
    say(f"ack {said.leaf}")
    return said


async def speak(log: Ledger, about: Digest, act: Act, signer: SecretKey = APPROVER) -> None:
    """The person answers a challenge of their own; where the disk is full, with a new one."""

    async def said() -> Receipt:
        held, key = log.writer.state.approvals.held[about], signer.public.id
        nonce = log.challenge(about, key)
        content: dict[str, Json] = {"call": about, "decision": act.value, "intent": held.intent}
        content["confirmation"] = confirmation(held.intent, nonce, key, act)
        return await log.enact(sign(StatementKind.APPROVAL, content, log=log.origin, at=AT, nonce=nonce, signers=[signer]), {})

    done = await patient(act.value, said)
    say(f"ack {done.leaf}")


async def dispatch(folder: Path, log: Ledger, session: Session, intent: Receipt) -> None:
    driver.effect(folder, KEY)
    outcome = Outcome(Status.OK, 1, output=b"true", contract=Contract.SHAPE)
    done = await patient("settle", lambda: log.settle(session, intent, outcome))
    say(f"ack {done.leaf}")


async def ceremony(folder: Path, log: Ledger, time: Time) -> None:
    """From wherever it is to one dispatch."""
    session = await driver.opened(log)
    for _ in range(STEPS):
        said = await call(log, session)
        if said.verdict is Verdict.ALLOW:
            await dispatch(folder, log, session, said)
            return
        (held,) = log.writer.state.approvals.held.values()
        if held.approvals:
            time.wait()
        else:
            await speak(log, held.call, Act.APPROVE)
    raise AssertionError("it never goes on")


async def refused(log: Ledger) -> None:
    """The same call again is another one, and a person says no."""
    session = await driver.opened(log)
    said = await call(log, session)
    assert said.verdict is Verdict.ESCALATE
    (held,) = log.writer.state.approvals.held
    await speak(log, held, Act.DENY)
    assert (await call(log, session)).verdict is Verdict.DENY


async def main(folder: Path) -> None:
    time = Time(0)
    use(time)
    log = await driver.start(folder)
    await ceremony(folder, log, time)
    await refused(log)
    await driver.end(log)


if __name__ == "__main__":
    driver.TELLS = True
    try:
        asyncio.run(main(Path(sys.argv[1])))
    except OutsideError as error:
        sys.stderr.write(f"error: {error}\n")
        os._exit(driver.REFUSED)
