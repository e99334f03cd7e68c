"""What must be true after any fault, asked of what is left on the disk and of the start that follows.

What was promised is there, and at most what was under way besides; nothing was done without an intent, and nothing twice;
after the start every intent has one outcome, and the log extends the checkpoint that the fault left.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faults import driver
from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.ledger import trustlog
from helm_ai_kernel.ledger.export import whole
from helm_ai_kernel.ledger.fsck import fsck
from helm_ai_kernel.ledger.ledger import TRUST
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.ledger.transaction import ARGS
from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.decision import Status
from helm_ai_kernel.tcb.digest import SALT_BYTES, Digest
from helm_ai_kernel.tcb.findings import Axis, Exit, Standing
from helm_ai_kernel.tcb.receipt import Kind, Receipt

SESSIONS = 2  # that the driver has open when it closes, each with an end of which nobody is told


@dataclass(frozen=True)
class Left:
    """What is on the disk."""

    receipts: list[Receipt]
    keys: list[str]  # of the intents
    checkpoint: bytes

    @classmethod
    def of(cls, folder: Path) -> "Left":
        with Reader(driver.store(folder), vault=Subjects(driver.keys(folder))) as reader:
            receipts = list(reader.receipts())
            kept = [reader.attachments(receipt.index)[ARGS] or b"" for receipt in receipts if receipt.is_intent]
            return cls(receipts, [json.loads(content[SALT_BYTES:])["key"] for content in kept], reader.checkpoint)


def check(folder: Path, said: Sequence[str], under_way: int = 1) -> Left:
    """`under_way`: how many receipts may be durable of which nobody was told yet. Returns what the start after it left."""
    before = Left.of(folder)
    size, leaves = promised(said)
    more = under_way + (SESSIONS if "closing" in said else 0)
    assert leaves <= {receipt.leaf for receipt in before.receipts}, "an acknowledged receipt is gone"
    assert size <= len(before.receipts) <= size + more, f"{size} were promised, {len(before.receipts)} are there"
    assert set(effects(folder)) <= set(before.keys), "an effect without an intent"

    asyncio.run(again(folder, sorted({*before.keys, *driver.KEYS})))
    after = Left.of(folder)
    assert [r.line for r in after.receipts[: len(before.receipts)]] == [r.line for r in before.receipts], "history was changed"
    assert max(Counter(effects(folder)).values()) == 1, "a key was dispatched twice"
    assert set(effects(folder)) | set(before.keys) == set(after.keys), "a key that nobody had was not taken"
    assert max(Counter(after.keys).values()) == 1, "a key was allowed twice"
    outcomes = Counter(str(r.body["decision"]) for r in after.receipts if r.kind is Kind.OUTCOME and r.status is not Status.LATE)
    assert outcomes == Counter(r.leaf for r in after.receipts if r.is_intent), "not exactly one outcome for each intent"
    count, damage = fsck(driver.store(folder), Subjects(driver.keys(folder)))
    assert (count, damage) == (len(after.receipts), []), damage
    extends(folder, before.checkpoint)
    return after


async def again(folder: Path, keys: Sequence[str]) -> None:
    """The start after the fault, and every caller tries again."""
    log = await driver.start(folder)
    await driver.calls(folder, log, keys)
    await driver.end(log)


def extends(folder: Path, head: bytes) -> None:
    """An outsider who kept that head accepts the log."""
    with Reader(driver.store(folder), vault=Subjects(driver.keys(folder))) as reader:
        data = b"".join(whole(reader))
    report = verify(data, Question(genesis=genesis(folder), known_heads=[head]))
    fresh = Standing.OK if Checkpoint.from_bytes(head).size else Standing.UNKNOWN  # every log extends the empty one
    assert (report.exit, report.axes[Axis.FRESHNESS]) == (Exit.VALID, fresh), report.to_text()


def promised(said: Sequence[str]) -> tuple[int, set[str]]:
    """How many receipts the callers know of, and which by name."""
    size, leaves = 0, set[str]()
    for line in said:
        word, _, value = line.partition(" ")
        if word == "size":
            size = int(value)
        elif word == "ack":
            size, leaves = size + 1, leaves | {value}
    return size, leaves


def genesis(folder: Path) -> Digest:
    return trustlog.load(driver.store(folder) / TRUST).genesis


def effects(folder: Path) -> list[str]:
    path = folder / "effects"
    return path.read_text().split() if path.exists() else []
