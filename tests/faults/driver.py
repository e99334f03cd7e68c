"""A small kernel to lose: `python driver.py MODE FOLDER`. Says on stdout what it was promised, at the moment it was promised it.

Modes: `make` an empty log; `calls` makes calls with real effects; `leave` leaves an intent open; `recover` starts and
closes; `export` writes the pack. Each acknowledged receipt is one line `ack LEAF`, each effect one line in `effects`.
"""

import asyncio
import os
import sys
from pathlib import Path

from helm_ai_kernel.executor.recover import recover
from helm_ai_kernel.ledger import ledger, trustlog
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.ledger.transaction import Ink
from helm_ai_kernel.tcb import registry as trust
from helm_ai_kernel.tcb.call import Admitted, Call, Effect
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Contract, Decision, Facts, Outcome, Status, Verdict
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.registry import Registry

AT = "2026-11-23T00:00:00.000Z"
ROOT = SecretKey.from_seed(b"r" * 32, Purpose.ROOT)
EXECUTION = SecretKey.from_seed(b"e" * 32, Purpose.EXECUTION)
LOG = SecretKey.from_seed(b"l" * 32, Purpose.LOG)
CALLS = 3


def make(folder: Path) -> None:
    registry = Registry.replay([trust.genesis([(ROOT, "owner")], threshold=1, at=AT, nonce="0" * 32)])
    origin = f"{registry.deployment}/{'0' * 16}"
    for key, name in ((EXECUTION, "kernel-execution"), (LOG, "kernel-log")):
        registry = registry.fold(trust.add(registry, key, name, origin, at=AT, roots=[ROOT]))
    trustlog.create(folder / ledger.TRUST, registry)
    ledger.create(folder, origin=origin, log_key=LOG)


async def start(folder: Path) -> ledger.Ledger:
    ink = Ink(EXECUTION, trustlog.load(folder / ledger.TRUST), "test")
    log = ledger.Ledger.open(folder, ink=ink, log_key=LOG)
    clean = await log.begin("driver")
    await recover(log, clean=clean)
    return log


def allow(admitted: Admitted, facts: Facts) -> Decision:
    """Every key once; what the guardian says to a claim is not the question here."""
    if facts.claim is not None:
        return Decision(Verdict.DENY, Reason.ERR_OUTCOME_UNKNOWN)
    return Decision(Verdict.ALLOW, Reason.OK, ("test",))


def call(key: str) -> Call:
    return Call("test/effect", digest(b"pin"), Effect.WRITE, b'{"key":"' + key.encode() + b'"}', {"key": key}, key=key)


async def calls(folder: Path, settle: bool) -> None:
    log = await start(folder)
    session = await log.session("local", "library", None)
    for number in range(CALLS):
        intent = await log.commit(session, call(f"k{number}"), allow)
        say(f"ack {intent.leaf}")
        if intent.verdict is not Verdict.ALLOW:
            continue
        effect(folder, f"k{number}")
        if settle:
            outcome = await log.settle(session, intent, Outcome(Status.OK, 1, output=b"true", contract=Contract.SHAPE))
            say(f"ack {outcome.leaf}")
    if settle:
        await log.close()
    else:
        os._exit(0)


async def recovered(folder: Path) -> None:
    log = await start(folder)
    say("started")
    await log.close()


def export(folder: Path) -> None:
    with Reader(folder) as reader:
        data = reader.export()
    partial = folder / "pack.partial"
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(partial, folder / "pack.tar")
    say("exported")


def effect(folder: Path, key: str) -> None:
    fd = os.open(folder.parent / "effects", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, f"{key}\n".encode())
    os.close(fd)


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def main(mode: str, folder: Path) -> None:
    if mode == "make":
        make(folder)
    elif mode == "export":
        export(folder)
    elif mode == "recover":
        asyncio.run(recovered(folder))
    else:
        asyncio.run(calls(folder, settle=mode == "calls"))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
