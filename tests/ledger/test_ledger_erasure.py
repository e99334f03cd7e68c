"""What was kept about a subject is gone once a person's erasure is durable, and nothing else changes: no proof, no promise."""

import asyncio
import json
import os
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from executor.desk import Desk, boundary
from executor.trust import APPROVAL, AT, EXECUTION
from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.executor.replay import replay
from helm_ai_kernel.ledger import trustlog
from helm_ai_kernel.ledger.asked import Challenges
from helm_ai_kernel.ledger.export import whole
from helm_ai_kernel.ledger.fsck import fsck
from helm_ai_kernel.ledger.jobs import Intent, late
from helm_ai_kernel.ledger.ledger import TRUST, Ledger
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.ledger.statements import enact
from helm_ai_kernel.ledger.transaction import Transaction
from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Outcome, Status, Verdict
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.receipt import Kind, Receipt
from helm_ai_kernel.tcb.statement import Statement, StatementKind, sign
from ledger.home import Home, LedgerHost, home, started

NAME = "customer-4711"
T = TypeVar("T")


@dataclass
class World:
    here: Home
    ledger: Ledger
    host: LedgerHost

    async def call(self, subject: str | None = NAME, *, key: str | None = None, tool: str = "echo", text: str = "a") -> Answer:
        return await execute(request(subject, key=key, tool=tool, text=text), boundary(), self.host)

    async def intend(self, subject: str | None = NAME, key: str | None = None) -> Receipt:
        admitted = boundary().admit(request(subject, key=key))
        return await self.ledger.commit(self.host.session, admitted, boundary().decide)

    def subject(self, name: str = NAME) -> bytes:
        found = self.here.vault.find(name)
        assert found is not None
        return found.id

    def erasure(self, count: int, subject: bytes | None = None, **how: Any) -> Statement:
        return erasure(self.here, self.subject() if subject is None else subject, count, **how)

    async def erase(self, count: int, subject: bytes | None = None, **how: Any) -> Receipt:
        return await self.ledger.enact(self.erasure(count, subject, **how), {})


def request(subject: str | None, *, key: str | None = None, tool: str = "echo", text: str = "a") -> bytes:
    named = {name: value for name, value in (("subject", subject), ("idempotency_key", key)) if value is not None}
    return json.dumps({"tool": f"desk/{tool}", "arguments": {"text": text}, **named}).encode()


def erasure(here: Home, subject: bytes, count: int, *, signer: Any = APPROVAL) -> Statement:
    content: Any = {"subject": subject.hex(), "count": count}
    return sign(StatementKind.ERASURE, content, log=here.origin, at=AT, nonce=os.urandom(16).hex(), signers=[signer])


def in_world(folder: Path, work: Callable[[World], Awaitable[T]], here: Home | None = None) -> T:
    """A ledger that is open for `work`; closed, it must be whole."""
    if here is None:
        here = home(folder / "home")
        trustlog.create(here.folder / TRUST, here.registry)
    there = here

    async def main() -> T:
        ledger = await started(there, boundary())
        assert ledger.scrubbed is not None
        await ledger.scrubbed
        try:
            host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
            return await work(World(there, ledger, host))
        finally:
            await ledger.close()

    result = asyncio.run(main())
    assert fsck(there.folder, there.vault)[1] == [] and exported(there)
    return result


def exported(here: Home) -> dict[str, bytes]:
    """The entries of the pack, which verifies and replays, as far as what is there."""
    with Reader(here.folder, vault=here.vault) as reader:
        data = b"".join(whole(reader))
    report = verify(data, Question(genesis=here.registry.genesis))
    assert report.exit is Exit.VALID, report.to_text()
    files = pack.read(data)
    assert replay(files).differs == ()
    return files


def attachments(here: Home, receipt: Receipt) -> dict[int, bytes | None]:
    with Reader(here.folder, vault=here.vault) as reader:
        return {slot: kept and kept[32:] for slot, kept in reader.attachments(receipt.index).items()}


def test_a_decision_names_its_subject_by_an_id_and_exactly_where_the_caller_named_one(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        first, again = await world.call(), await world.call(tool="forbidden")
        unknown, own = await world.call(tool="nothing"), await world.call(None)
        named = {answer.decision.body.get("subject") for answer in (first, again, unknown)}
        assert named == {world.subject().hex()} and "subject" not in own.decision.body
        assert first.outcome is not None and "subject" not in first.outcome.body
        for answer in (first, again, unknown, own):
            assert NAME.encode() not in answer.decision.line
        other = await world.call("customer-4712")
        assert other.decision.body["subject"] not in named

    in_world(tmp_path, work)


def test_what_was_kept_about_a_subject_is_gone_and_everything_else_is_there(tmp_path: Path) -> None:
    async def work(world: World) -> tuple[Answer, Answer, Receipt]:
        about, other = await world.call(key="k", text="secret"), await world.call("customer-4712", key="k2")
        await world.call(tool="forbidden")
        return about, other, await world.erase(4)

    here = home(tmp_path / "home")
    trustlog.create(here.folder / TRUST, here.registry)
    about, other, enacted = in_world(tmp_path, work, here)
    assert attachments(here, about.decision) == {0: None, 1: None} and attachments(here, enacted) == {}
    assert attachments(here, other.decision) == {0: b'{"text":"a"}', 1: b"k2"}
    assert about.outcome is not None and attachments(here, about.outcome) == {2: None}
    files = exported(here)
    assert len([name for name in files if name.startswith("attachments/")]) == 3 and here.vault.find(NAME) is None


def test_the_principal_is_the_subject_of_calls_that_name_none(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        named = await world.call()
        own = await world.call(None)
        await execute(b"[]", boundary(), world.host)
        first = world.subject("agent")
        await world.erase(3, first)
        assert attachments(world.here, own.decision) == {0: None}
        assert attachments(world.here, named.decision) == {0: b'{"text":"a"}'}
        later = await world.call(None)
        assert later.verdict is Verdict.ALLOW and world.subject("agent") != first

    in_world(tmp_path, work)


def test_a_name_that_comes_back_has_a_new_id_and_can_be_erased_again(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        await world.call()
        first = world.subject()
        await world.erase(2)
        await world.call()
        assert world.subject() != first
        with pytest.raises(Refused):
            await world.erase(2, first)
        await world.erase(2)

    in_world(tmp_path, work)


def test_an_erasure_that_does_not_fit_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        await world.call()
        intent = await world.intend()
        unsigned = {"count": 3, "signer": EXECUTION}
        cases: list[tuple[dict[str, Any], Reason]] = [
            ({"count": 3}, Reason.ERR_APPROVAL_INTENT_MISMATCH),  # a call has no outcome yet
            ({"count": 3, "subject": bytes(16)}, Reason.ERR_APPROVAL_INTENT_MISMATCH),
            (unsigned, Reason.ERR_APPROVAL_KEY_ROLE),
        ]
        await refused(world, cases)
        await world.ledger.settle(world.host.session, intent, Outcome(Status.UNKNOWN, 1, reason=Reason.ERR_OUTCOME_UNKNOWN))
        await refused(world, [({"count": count}, Reason.ERR_APPROVAL_INTENT_MISMATCH) for count in (0, 2, 4)])
        await world.erase(3)
        await refused(world, [({"count": 0, "subject": bytes.fromhex(str(intent.body["subject"]))},
                               Reason.ERR_APPROVAL_INTENT_MISMATCH)])  # fmt: skip

    in_world(tmp_path, work)


async def refused(world: World, cases: list[tuple[dict[str, Any], Reason]]) -> None:
    for how, reason in cases:
        state, listed = world.ledger.writer.state, sorted(world.here.keys.iterdir())
        statement = world.erasure(**how)
        with pytest.raises(Refused) as no:
            await world.ledger.enact(statement, {})
        assert (no.value.reason, world.ledger.writer.state) == (reason, state), how
        assert sorted(world.here.keys.iterdir()) == listed and no.value.hint


def test_a_repeat_of_an_erased_call_is_another_call_and_is_not_made_again(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        first = await world.call(key="k")
        assert (await world.call(key="k")).reason is Reason.REPEATED
        await world.erase(3)
        for subject in (NAME, None, "customer-4712"):
            answer = await world.call(subject, key="k")
            assert (answer.verdict, answer.reason) == (Verdict.DENY, Reason.ERR_IDEMPOTENCY_MISMATCH)
            assert answer.decision.body["key"] == first.decision.body["key"]
        assert len(world.host.desk.effects) == 1

    in_world(tmp_path, work)


def test_a_key_that_was_used_about_one_subject_is_not_repeated_about_another(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        await world.call(key="k")
        for subject in ("customer-4712", None):
            assert (await world.call(subject, key="k")).reason is Reason.ERR_IDEMPOTENCY_MISMATCH
        assert (await world.call(key="k")).reason is Reason.REPEATED and len(world.host.desk.effects) == 1

    in_world(tmp_path, work)


def test_a_repeat_whose_answer_is_erased_on_its_way_is_refused_and_not_made_again(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        await world.call(key="k")
        repeat = await world.intend(key="k")
        assert repeat.reason is Reason.REPEATED
        await world.erase(3)
        with pytest.raises(OutsideError, match="was erased") as no:
            world.ledger.first_outcome(repeat)
        assert no.value.hint and len(world.host.desk.effects) == 1

    in_world(tmp_path, work)


def test_an_answer_that_comes_after_the_erasure_is_kept_as_nothing(tmp_path: Path) -> None:
    async def work(world: World) -> Receipt:
        intent = await world.intend()
        unknown = Outcome(Status.UNKNOWN, 1, reason=Reason.ERR_OUTCOME_UNKNOWN, sub="timeout")
        await world.ledger.settle(world.host.session, intent, unknown)
        await world.erase(1)
        answer = Outcome(Status.OK, 2, output=b'"secret"', reason=Reason.ERR_CONNECTOR_CONTRACT_DRIFT)
        return await world.ledger.late(world.host.session, intent, answer)

    here = home(tmp_path / "home")
    trustlog.create(here.folder / TRUST, here.registry)
    late = in_world(tmp_path, work, here)
    assert attachments(here, late) == {2: None} and exported(here)


def test_what_meets_an_erasure_in_its_own_group_is_refused_or_comes_before_it(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        await world.call(key="k")
        statement = world.erasure(3)
        asked = [world.intend(), world.ledger.enact(statement, {}), world.intend(), world.intend(None)]
        before, enacted, after, other = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(before, Receipt) and isinstance(other, Receipt)
        assert isinstance(enacted, Refused), "a call about it came first, and has no outcome yet"
        assert isinstance(after, Receipt)
        unknown = Outcome(Status.UNKNOWN, 1, reason=Reason.ERR_OUTCOME_UNKNOWN)
        for intent in (before, after, other):
            await world.ledger.settle(world.host.session, intent, unknown)
        final = world.erasure(5)
        enacted, late, other = await asyncio.gather(
            world.ledger.enact(final, {}), world.intend(key="k"), world.intend(None), return_exceptions=True
        )
        assert isinstance(enacted, Receipt) and isinstance(other, Receipt)
        assert isinstance(late, OutsideError) and "being erased" in late.detail
        await world.ledger.settle(world.host.session, other, unknown)
        assert (await world.call()).verdict is Verdict.ALLOW  # in the next group they are met anew

    in_world(tmp_path, work)


def full(_: Transaction) -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise error


def test_a_group_that_fails_erases_nothing(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        await world.call()
        writer, statement = world.ledger.writer, world.erasure(2)
        jobs = writer.submit(lambda tx: enact(tx, statement, {}, Challenges())), writer.submit(full)
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        assert [getattr(outcome, "reason", None) for outcome in outcomes] == [Reason.ERR_EVIDENCE_FULL] * 2
        assert (await world.call(key="k")).verdict is Verdict.ALLOW and world.here.vault.find(NAME) is not None
        assert (await world.erase(5)).kind is Kind.STATEMENT and world.here.vault.find(NAME) is None

    in_world(tmp_path, work)


def test_a_crash_between_statement_and_key_is_finished_by_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(world: World) -> Home:
        await world.call()
        image: list[Home] = []
        real = Subjects.destroy

        def dies(vault: Subjects, id: bytes) -> None:
            image.append(world.here.image(tmp_path / "image"))
            real(vault, id)

        with monkeypatch.context() as patch:
            patch.setattr(Subjects, "destroy", dies)
            await world.erase(2)
        return image[0]

    left = in_world(tmp_path, work)
    trustlog.create(left.folder / TRUST, left.registry)
    assert left.vault.find(NAME) is not None
    assert left.receipts()[-1].kind is Kind.STATEMENT, "the key outlives the statement, and never the other way round"

    async def begun(world: World) -> None:
        assert world.here.vault.find(NAME) is None

    in_world(tmp_path, begun, left)
    assert exported(left)


def test_a_key_that_cannot_be_destroyed_ends_the_process_and_nothing_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = home(tmp_path / "home")
    trustlog.create(here.folder / TRUST, here.registry)

    async def main() -> None:
        ledger = await started(here, boundary())
        world = World(here, ledger, LedgerHost(ledger, await ledger.session("agent", "python", None), Desk()))
        await world.call()

        def broken(vault: Subjects, id: bytes) -> None:
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, "a key could not be destroyed: input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(Subjects, "destroy", broken)
            with pytest.raises(OutsideError) as sealed:
                await world.erase(2)
        assert sealed.value.reason is Reason.ERR_SEALED and here.ended
        ledger.abandon()

    asyncio.run(main())
    here.open().abandon()
    assert here.vault.find(NAME) is None


@pytest.mark.parametrize("links_followed", [False, True])
def test_a_key_that_somebody_put_back_is_destroyed_at_the_next_start(tmp_path: Path, links_followed: bool) -> None:
    async def work(world: World) -> dict[str, bytes]:
        await world.call()
        kept = {path.name: path.read_bytes() for path in world.here.keys.iterdir() if path.is_symlink() == links_followed}
        await world.erase(2)
        return kept

    here = home(tmp_path / "home")
    trustlog.create(here.folder / TRUST, here.registry)
    for name, data in in_world(tmp_path, work, here).items():
        (here.keys / name).write_bytes(data)
        (here.keys / name).chmod(0o600)
    assert NAME.encode() in b"".join(path.read_bytes() for path in here.keys.iterdir())
    here.open().abandon()
    assert NAME.encode() not in b"".join(path.read_bytes() for path in here.keys.iterdir())


# -- what is erased and what is damaged


@pytest.fixture
def erased(tmp_path: Path) -> Home:
    """A home where one subject was erased and another was not."""

    async def work(world: World) -> Home:
        await world.call(key="k")
        await world.call("customer-4712", key="k2")
        await world.erase(3)
        await world.call()
        return world.here

    return in_world(tmp_path, work)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE attachments SET content=zeroblob(60) WHERE subject=:living AND slot=0",
        "UPDATE attachments SET content=(SELECT content FROM attachments WHERE subject=:living AND slot=0) "
        "WHERE subject=:living AND slot=1",
        "UPDATE attachments SET subject=:gone WHERE subject=:living AND slot=2",
        "UPDATE attachments SET subject=:gone, content=x'' WHERE subject=:living AND slot=0",
        "UPDATE attachments SET subject=:living WHERE subject=:gone AND slot=0",
        "UPDATE attachments SET subject=zeroblob(16) WHERE subject=:gone AND slot=0",
        "DELETE FROM attachments WHERE subject=:gone AND slot=2",
        "UPDATE claims SET key=zeroblob(32) WHERE key=mark('k2')",
        "UPDATE log SET mark=zeroblob(32)",
    ],
)  # fmt: skip
def test_what_was_not_erased_and_does_not_open_is_damage(erased: Home, change: str) -> None:
    with closing(sqlite3.connect(erased.database)) as conn:
        living = erased.vault.named("customer-4712").id
        (gone,) = conn.execute("SELECT subject FROM attachments WHERE idx=(SELECT min(idx) FROM attachments)").fetchone()
        conn.create_function("mark", 1, erased.vault.mark)
        assert conn.execute(
            change, {name: value for name, value in (("living", living), ("gone", gone)) if name in change}
        ).rowcount
        conn.commit()
    assert {damage.where for damage in fsck(erased.folder, erased.vault)[1]} & {"attachments", "claims", "log"}


def test_what_is_moved_under_a_destroyed_key_does_not_pass_for_erased(erased: Home) -> None:
    """A whole call, so that each receipt by itself could be of one that was erased: only the erasure's count tells."""
    living = erased.vault.named("customer-4712").id
    with closing(sqlite3.connect(erased.database)) as conn:
        gone, decision, outcome = conn.execute(
            "SELECT (SELECT subject FROM attachments ORDER BY idx LIMIT 1), min(idx), max(idx) FROM attachments WHERE subject=?",
            (living,),
        ).fetchone()
        conn.execute("UPDATE attachments SET subject=? WHERE subject=?", (gone, living))
        conn.commit()
    found = [damage.detail for damage in fsck(erased.folder, erased.vault)[1] if damage.where == "attachments"]
    assert any("is not kept what its erasure counted" in detail for detail in found) and decision < outcome


def test_what_is_kept_behind_an_erasure_under_the_destroyed_key_is_damage(tmp_path: Path) -> None:
    async def work(world: World) -> tuple[bytes, Receipt]:
        own = await world.call(None)  # about the principal: no receipt of it names the subject
        subject = world.subject("agent")
        await world.erase(2, subject)
        assert own.outcome is not None
        return subject, (await world.call(None)).decision

    here = home(tmp_path / "home")
    trustlog.create(here.folder / TRUST, here.registry)
    subject, later = in_world(tmp_path, work, here)
    with closing(sqlite3.connect(here.database)) as conn:
        conn.execute("UPDATE attachments SET subject=? WHERE idx>=?", (subject, later.index))
        conn.commit()
    found = [damage.detail for damage in fsck(here.folder, here.vault)[1] if damage.where == "attachments"]
    assert found and all("under a key that was destroyed before" in detail for detail in found)


def test_an_answer_in_the_group_of_the_erasure_is_kept_as_nothing(tmp_path: Path) -> None:
    """The key is still there then: what is written with it would be under a destroyed key a moment later."""

    async def work(world: World) -> Receipt:
        intent = await world.intend()
        unknown = Outcome(Status.UNKNOWN, 1, reason=Reason.ERR_OUTCOME_UNKNOWN, sub="timeout")
        await world.ledger.settle(world.host.session, intent, unknown)
        statement, session = world.erasure(1), world.host.session
        answer = Outcome(Status.OK, 2, output=b'"secret"', reason=Reason.ERR_CONNECTOR_CONTRACT_DRIFT)
        writer, named = world.ledger.writer, Intent(intent.index, intent.leaf)
        erased = writer.submit(lambda tx: enact(tx, statement, {}, Challenges()))
        came = writer.submit(lambda tx: late(tx, session, "desk/echo", named, answer))
        await erased
        return await came

    here = home(tmp_path / "home")
    trustlog.create(here.folder / TRUST, here.registry)
    receipt = in_world(tmp_path, work, here)
    with closing(sqlite3.connect(here.database)) as conn:
        assert conn.execute("SELECT content FROM attachments WHERE idx=?", (receipt.index,)).fetchall() == [(b"",)]


def test_a_key_that_is_lost_is_damage_and_no_erasure(erased: Home) -> None:
    lost = erased.vault.named("customer-4712").id
    (erased.keys / lost.hex()).unlink()
    found = fsck(erased.folder, erased.vault)[1]
    assert "attachments" in {damage.where for damage in found} and any(lost.hex() in damage.detail for damage in found)
    with Reader(erased.folder, vault=erased.vault) as reader, pytest.raises(OutsideError, match="nobody erased it"):
        b"".join(whole(reader))

    async def main() -> str:
        ledger = erased.open()
        await ledger.begin("test")
        assert ledger.scrubbed is not None
        await ledger.scrubbed
        ledger.abandon()
        return ledger.writer.sealed

    assert lost.hex() in asyncio.run(main())


def test_a_store_under_the_secret_of_another_kernel_does_not_open(erased: Home, tmp_path: Path) -> None:
    other = home(tmp_path / "other")
    assert fsck(erased.folder, other.vault)[1] != []
    erased.keys.rename(tmp_path / "away")
    other.keys.rename(erased.keys)
    with pytest.raises(OutsideError) as no:
        erased.open()
    assert no.value.reason is Reason.ERR_SIGNER_UNAVAILABLE


def test_an_erasure_beside_the_scrub_and_a_reader_is_no_damage(tmp_path: Path) -> None:
    """Both began before it, and meet a key that is gone: the log says so by then."""

    async def work(world: World) -> None:
        for number in range(40):
            await world.call(text=str(number))
        with Reader(world.here.folder, vault=world.here.vault) as reader:
            size = reader.size
            await world.erase(80)
            assert pack.read(b"".join(whole(reader))) and size == reader.size

    here = home(tmp_path / "home")
    trustlog.create(here.folder / TRUST, here.registry)
    in_world(tmp_path, work, here)

    async def beside() -> str:
        ledger = here.open()
        await ledger.begin("test")
        world = World(here, ledger, LedgerHost(ledger, await ledger.session("agent", "python", None), Desk()))
        for number in range(40):
            await world.call(text=str(number))
        await world.erase(80)
        assert ledger.scrubbed is not None
        await ledger.scrubbed
        await ledger.close()
        return ledger.writer.sealed

    assert asyncio.run(beside()) == "the store was let go of"
