"""A small kernel to lose: `python driver.py MODE FOLDER`. It says on stdout what it was promised, at the moment of the promise.

`size N`: the writer answered for so many receipts. `ack LEAF`: this receipt is durable. `full STEP`: refused for want of space,
and tried again. Each effect is a line in `FOLDER/effects`; the store is in `FOLDER/home/store`.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

from helm_ai_kernel.credentials import subjects
from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.executor.recover import recover
from helm_ai_kernel.ledger import ledger, trustlog
from helm_ai_kernel.ledger.ledger import Ledger
from helm_ai_kernel.ledger.statements import Document
from helm_ai_kernel.ledger.transaction import Ink, Session
from helm_ai_kernel.ledger.writer import Pace
from helm_ai_kernel.tcb import registry as trust
from helm_ai_kernel.tcb.call import Admitted, Call, Effect
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Contract, Decision, Facts, Outcome, Status, Verdict
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.registry import Registry
from helm_ai_kernel.tcb.statement import StatementKind, sign

AT = "2026-11-23T00:00:00.000Z"
ROOT = SecretKey.from_seed(b"r" * 32, Purpose.ROOT)
APPROVAL = SecretKey.from_seed(b"a" * 32, Purpose.APPROVAL)
SEEDS = {Purpose.EXECUTION: b"e" * 32, Purpose.LOG: b"l" * 32}
EXECUTION, LOG = (SecretKey.from_seed(seed, purpose) for purpose, seed in SEEDS.items())
FIRST = Registry.replay([trust.genesis([(ROOT, "owner")], threshold=1, at=AT, nonce="0" * 32)])
ORIGIN = f"{FIRST.deployment}/{'0' * 16}"
CATALOG = canonical({"v": 1, "servers": []})
POLICY = canonical({"v": 1, "catalog": digest(CATALOG), "files": {}, "protected": []})
IN_FORCE = {"policy": digest(POLICY), "catalog": digest(CATALOG)}
KEYS = ("k0", "k1")
LEFT = ("k0", "left")  # of them `leave` settles none
CALLERS, OWN = 16, 4  # of `crowd`: each caller has so many keys of its own, and all want `KEYS` too
INLINE = Pace(inline_us=1e9, wal_bytes_max=3000, idle_s=3600)  # the WAL is folded every few receipts, and nothing depends on time
THREAD = Pace(inline_us=-1.0, wal_bytes_max=3000, idle_s=3600)
TRIES = 3
TELLS = __name__ == "__main__"
REFUSED = 3  # exit code: the store said no, in words

T = TypeVar("T")


def store(folder: Path) -> Path:
    return folder / "home" / "store"


def keys(folder: Path) -> Path:
    """Where a real home has the keys of subjects."""
    return folder / "home" / "keys" / "subjects"


def make(folder: Path) -> None:
    """A home with an empty log."""
    store(folder).mkdir(parents=True)
    (folder / "home" / "helm.toml").write_text("")
    (folder / "home" / "packs").mkdir()
    keys(folder).parent.mkdir()
    subjects.make(keys(folder))
    registry = FIRST.fold(trust.add(FIRST, APPROVAL, "owner", None, at=AT, roots=[ROOT]))
    for key, name in ((EXECUTION, "kernel-execution"), (LOG, "kernel-log")):
        registry = registry.fold(trust.add(registry, key, name, ORIGIN, at=AT, roots=[ROOT]))
    trustlog.create(store(folder) / ledger.TRUST, registry)
    ledger.create(store(folder), origin=ORIGIN, log_key=LOG, vault=Subjects(keys(folder)))


async def start(folder: Path, pace: Pace = INLINE) -> Ledger:
    log = await patient("start", lambda: _started(folder, pace))
    say("started")
    return log


async def _started(folder: Path, pace: Pace) -> Ledger:
    """As the product starts: what fails before it is ready lets go of everything."""
    vault = Subjects(keys(folder))
    vault.sweep()
    ink = Ink(EXECUTION, trustlog.load(store(folder) / ledger.TRUST), "test", vault)
    log = Ledger.open(store(folder), ink=ink, log_key=LOG, pace=pace)
    try:
        clean = await log.begin("driver")
        if log.scrubbed is not None:
            await log.scrubbed  # so that every run makes the same system calls in the same order
        size(log)
        await recover(Told(log), clean=clean)
    except BaseException:
        log.abandon()
        raise
    return log


class Told:
    """The log as recovery sees it, saying how far it came."""

    def __init__(self, log: Ledger) -> None:
        self.log = log

    def open_intents(self) -> Iterable[Digest]:
        return self.log.open_intents()

    async def recovered(self, open_count: int) -> None:
        await self.log.recovered(open_count)
        size(self.log)

    async def conclude(self, decision: Digest, outcome: Outcome) -> None:
        await self.log.conclude(decision, outcome)
        size(self.log)


async def end(log: Ledger) -> None:
    say("closing")
    await patient("close", log.close)


async def calls(folder: Path, log: Ledger, keys: Iterable[str], *, settled: bool = True) -> None:
    session = await opened(log)
    for key in keys:
        await call(folder, log, session, key, settled)


async def opened(log: Ledger) -> Session:
    """A session in which calls may be allowed: a person has put a policy in force."""
    if log.writer.state.policy is None:
        content: dict[str, Json] = {
            "policy": {"from": None, "to": digest(POLICY)},
            "catalog": {"from": None, "to": digest(CATALOG)},
        }
        statement = sign(StatementKind.PIN, content, log=log.origin, at=AT, nonce="0" * 32, signers=[APPROVAL])
        documents = {digest(data): Document(name, data) for name, data in (("policy", POLICY), ("catalog", CATALOG))}
        done = await patient("enact", lambda: log.enact(statement, documents))
        say(f"ack {done.leaf}")
    session = await patient("session", lambda: log.session("local", "library", None))
    size(log)
    return session


async def crowd(folder: Path, log: Ledger) -> None:
    """Many callers at once, each in its own order; nobody waits for anybody."""
    session = await opened(log)
    await asyncio.gather(*(_caller(folder, log, session, n) for n in range(CALLERS)))


async def _caller(folder: Path, log: Ledger, session: Session, n: int) -> None:
    for key in [*KEYS[n % 2 :], *(f"own-{n}-{i}" for i in range(OWN)), *KEYS[: n % 2]]:
        await call(folder, log, session, key, True)


async def call(folder: Path, log: Ledger, session: Session, key: str, settled: bool) -> None:
    intent = await patient(f"commit {key}", lambda: log.commit(session, admitted(key), allow))
    say(f"ack {intent.leaf}")
    if intent.verdict is not Verdict.ALLOW:
        return
    effect(folder, key)
    outcome = Outcome(Status.OK, 1, output=b"true", contract=Contract.SHAPE)
    if settled:
        done = await patient(f"settle {key}", lambda: log.settle(session, intent, outcome))
        say(f"ack {done.leaf}")


def admitted(key: str) -> Call:
    return Call("test/effect", digest(b"pin"), Effect.WRITE, b'{"key":"' + key.encode() + b'"}', {"key": key}, key=key)


def allow(_: Admitted, facts: Facts) -> Decision:
    """Every key once; what the guardian says to a claim is not the question here."""
    if facts.claim is not None:
        return Decision(Verdict.DENY, Reason.ERR_OUTCOME_UNKNOWN)
    return Decision(Verdict.ALLOW, Reason.OK, ("test",))


async def patient(step: str, work: Callable[[], Awaitable[T]]) -> T:
    """A full disk passes, or it does not."""
    for tries in range(TRIES):
        try:
            return await work()
        except OutsideError as error:
            if error.reason is not Reason.ERR_EVIDENCE_FULL or tries == TRIES - 1:
                raise
            say(f"full {step}")
    raise AssertionError


def effect(folder: Path, key: str) -> None:
    fd = os.open(folder / "effects", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, f"{key}\n".encode())
    os.close(fd)


def size(log: Ledger) -> None:
    say(f"size {log.writer.state.frontier.size}")


def say(text: str) -> None:
    if TELLS:
        os.write(1, f"{text}\n".encode())


async def main(mode: str, folder: Path) -> None:
    log = await start(folder, THREAD if mode == "threaded" else INLINE)
    if mode == "leave":
        await calls(folder, log, LEFT, settled=False)
        os._exit(0)
    if mode == "crowd":
        await crowd(folder, log)
    elif mode != "recover":
        await calls(folder, log, KEYS)
    await end(log)


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
    except OutsideError as error:
        sys.stderr.write(f"error: {error}\n")
        os._exit(REFUSED)
