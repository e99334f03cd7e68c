"""A real ledger in a folder, with real keys, and the host that the executor sees: what the shell does, without a shell."""

import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from executor.desk import Desk
from executor.memory import summary
from executor.trust import APPROVAL, AT, EXECUTION, LOG, trust
from helm_ai_kernel.credentials import subjects
from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.executor.boundary import Boundary
from helm_ai_kernel.executor.host import Answer, Decide, Reply
from helm_ai_kernel.executor.recover import recover
from helm_ai_kernel.guardian.budget import Budget
from helm_ai_kernel.ledger import ledger as ledgers
from helm_ai_kernel.ledger.caused import Cause
from helm_ai_kernel.ledger.ledger import Ledger
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.ledger.statements import Document
from helm_ai_kernel.ledger.transaction import Ink, Session
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.call import Admitted, Call
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.decision import Outcome
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.envelope import Record
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.keys import Signer
from helm_ai_kernel.tcb.receipt import EffectBy, Receipt
from helm_ai_kernel.tcb.registry import Registry
from helm_ai_kernel.tcb.statement import Statement, StatementKind, sign
from models.chain_model import Link, is_whole, leaf, tree_root


@dataclass
class Home:
    folder: Path
    registry: Registry
    origin: str
    ended: list[str] = field(default_factory=list)  # why the writer would have ended the process

    @property
    def keys(self) -> Path:
        """Of subjects: beside the store, never in it."""
        return self.folder.with_name(self.folder.name + ".subjects")

    @property
    def vault(self) -> Subjects:
        """As a process that starts now reads it."""
        return Subjects(self.keys)

    @property
    def ink(self) -> Ink:
        return Ink(EXECUTION, self.registry, "test", self.vault)

    def open(self, *, budgets: Sequence[Budget] = (), heads: Path | None = None) -> Ledger:
        ink = self.ink
        return Ledger.open(self.folder, ink=ink, log_key=LOG, heads=heads, budgets=budgets, end=self.ended.append)

    @property
    def database(self) -> Path:
        return self.folder / ledgers.DATABASE

    def image(self, folder: Path) -> "Home":
        """What is on the disk right now, as a process that is killed at this moment leaves it."""
        folder.mkdir()
        for path in self.folder.glob(f"{ledgers.DATABASE}*"):
            if not path.name.endswith("-shm"):
                shutil.copyfile(path, folder / path.name)
        image = Home(folder, self.registry, self.origin)
        shutil.copytree(self.keys, image.keys, symlinks=True)
        return image

    def receipts(self) -> list[Receipt]:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as conn:
            return [Receipt.from_bytes(line, at) for at, line in conn.execute("SELECT idx, line FROM receipts ORDER BY idx")]

    def summary(self, since: int = 0) -> list[str]:
        return [summary(receipt) for receipt in self.receipts()[since:]]

    def pack(self, note: bytes, *boundaries: Boundary) -> bytes:
        """The evidence of the whole log. `boundaries` were in force at one time or another."""
        with Reader(self.folder, vault=self.vault) as reader:
            kept = [content for receipt in self.receipts() for content in reader.attachments(receipt.index).values()]
        held = {hashes.digest(content): content for content in kept if content is not None}
        policies = {p.digest: {**p.files, "manifest.json": p.manifest} for p in (b.policy for b in boundaries) if p is not None}
        catalogs = {boundary.catalog.digest: boundary.catalog.document for boundary in boundaries}
        lines = [receipt.line for receipt in self.receipts()]
        return pack.build(lines, note, self.registry.lines, policies, catalogs, held)

    def spoil(self, statement: str, *values: object) -> None:
        """Change the file behind the kernel's back; `mark('a')` is what it says for the idempotency key `a`."""
        with closing(sqlite3.connect(self.database)) as conn:
            conn.create_function("mark", 1, self.vault.mark)
            assert conn.execute(statement, values).rowcount == 1
            conn.commit()


def check_salts(answer: Answer, raw: bytes) -> None:
    """The caller can show what it asked and what it got: the salts open the hashes of its receipts, and no others."""
    assert answer.args_salt is not None
    body, asked = answer.decision.body, parse(raw)
    assert isinstance(asked, dict)
    args = canonical(asked["arguments"]) if "args_hash" in body else raw
    assert hashes.attachment_name(answer.args_salt, args) == body.get("args_hash", body.get("raw_hash"))
    assert (answer.output is None) == (answer.output_salt is None)
    if answer.output is not None and answer.output_salt is not None:
        assert answer.outcome is not None
        assert hashes.attachment_name(answer.output_salt, answer.output) == answer.outcome.body["output_hash"]


def home(folder: Path) -> Home:
    folder.mkdir(exist_ok=True)
    registry, origin = trust()
    here = Home(folder, registry, origin)
    subjects.make(here.keys)
    ledgers.create(folder, origin=origin, log_key=LOG, vault=here.vault)
    return here


@dataclass
class LedgerHost:
    """One session. `before` is called with the name of each step, before the step."""

    ledger: Ledger
    session: Session
    desk: Desk
    before: Callable[[str], Awaitable[None]] | None = None
    causes: tuple[Cause, ...] = ()
    offered: Receipt | None = None

    async def commit(self, admitted: Admitted, decide: Decide, effect_by: EffectBy = EffectBy.KERNEL) -> Receipt:
        await self._step("commit")
        receipt = await self.ledger.commit(self.session, admitted, decide, effect_by=effect_by, causes=self.causes)
        self.offered = receipt if receipt.is_offer else self.offered
        return receipt

    async def dispatch(self, call: Call, intent: Receipt) -> Reply:
        await self._step("dispatch")
        name = call.tool.partition("/")[2]
        return await self.desk.call(name, call.args, key=call.key, wall_ms=call.wall_ms, output_bytes=call.output_bytes)

    async def settle(self, intent: Receipt, outcome: Outcome) -> Receipt:
        await self._step("settle")
        return await self.ledger.settle(self.session, intent, outcome)

    async def report(self, offer: Receipt, outcome: Outcome) -> Receipt:
        await self._step("report")
        return await self.ledger.report(self.session, offer, outcome)

    async def answer(self, decision: Receipt, outcome: Receipt | None, output: bytes | None) -> Answer:
        await self._step("answer")
        salt = outcome.salt if outcome is not None and output is not None else None
        if decision.repeats is not None:
            outcome, salt, output = self.ledger.first_outcome(decision)
        assert decision.verdict is not None
        note, hint = self.ledger.checkpoint, decision.hint
        return Answer(decision.verdict, decision.reason, decision, outcome, output, salt, decision.salt or None, note, hint)

    async def _step(self, name: str) -> None:
        if self.before is not None:
            await self.before(name)


def change(before: Digest | None, after: Digest) -> dict[str, Json]:
    return {"from": before, "to": after}


def pin(
    boundary: Boundary,
    origin: str,
    *,
    policy: Digest | None = None,
    catalog: Digest | None = None,
    nonce: str = "ab" * 16,
    signer: Signer = APPROVAL,
) -> Statement:
    """A person puts `boundary` in force, over the policy and catalogue given."""
    assert boundary.policy is not None
    content: dict[str, Json] = {
        "policy": change(policy, boundary.policy.digest),
        "catalog": change(catalog, boundary.catalog.digest),
    }
    return sign(StatementKind.PIN, content, log=origin, at=AT, nonce=nonce, signers=[signer])


def documents(boundary: Boundary) -> dict[Digest, Document]:
    assert boundary.policy is not None
    files = {hashes.digest(content): Document("file", content) for content in boundary.policy.files.values()}
    files[boundary.policy.digest] = Document("policy", boundary.policy.manifest)
    return files | {boundary.catalog.digest: Document("catalog", boundary.catalog.document)}


async def started(here: Home, boundary: Boundary, *, budgets: Sequence[Budget] = ()) -> Ledger:
    """Open, recover, and put `boundary` in force where nothing is yet."""
    ledger = here.open(budgets=budgets)
    clean = await ledger.begin("test")
    await recover(ledger, clean=clean)
    if ledger.writer.state.policy is None:
        await ledger.enact(pin(boundary, here.origin), documents(boundary))
    return ledger


def check_whole(here: Home, note: bytes | None = None) -> list[Receipt]:
    """Chains unbroken, one tree, and the checkpoint signs for it: by the model and by recomputing, not by the ledger's word."""
    receipts = here.receipts()
    links = [
        Link(r.session, r.seq, r.prev, r.leaf, r.trust.head, str(r.body.get("event", "")), int(str(r.body.get("count", -1))))
        for r in receipts
    ]
    assert is_whole(links)
    leaves = [leaf(receipt.line) for receipt in receipts]
    assert leaves == [hashes.raw(receipt.leaf) for receipt in receipts]
    if note is not None:
        signed = Checkpoint.from_bytes(note)
        signed.verify(here.origin, LOG.public)
        assert (signed.size, signed.root) == (len(leaves), tree_root(leaves))
    for receipt in receipts:
        Record.from_bytes(receipt.line).verify(lambda key: here.registry.key(key, at_size=here.registry.size).key)
    return receipts
