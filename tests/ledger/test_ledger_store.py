"""The store on the disk: one writer, nothing believed that was changed behind its back, nothing answered that is not there."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from executor.desk import Desk, boundary, request
from executor.trust import AT, LOG, ROOT
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.executor.recover import recover
from helm_ai_kernel.ledger import store, trustlog
from helm_ai_kernel.ledger.export import whole
from helm_ai_kernel.ledger.fsck import fsck
from helm_ai_kernel.ledger.ledger import DATABASE, TRUST, Ledger
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb import registry
from helm_ai_kernel.tcb.checkpoint import Checkpoint, sign
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.envelope import seal
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.registry import Registry
from ledger.home import Home, LedgerHost, check_whole, home, started

TESTS = Path(__file__).resolve().parent.parent
ECHO = request({"tool": "desk/echo", "arguments": {"text": "a"}, "key": "k"})


def used(folder: Path) -> Home:
    """A home with a few calls in it, killed in the middle of its life: the last group is not under the stored checkpoint."""
    here = home(folder / "first")

    async def main() -> Home:
        ledger = await started(here, boundary())
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
        for text in ("a", "b", "c"):
            await execute(request({"tool": "desk/echo", "arguments": {"text": text}}), boundary(), host)
        image = here.image(folder / "killed")
        ledger.abandon()
        return image

    return asyncio.run(main())


def reason(open: Callable[[], object]) -> Reason:
    with pytest.raises(OutsideError) as error:
        open()
    assert error.value.detail and error.value.hint
    return error.value.reason


def test_a_second_opener_gets_err_store_locked_until_the_first_lets_go(tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    async def main() -> None:
        ledger = await started(here, boundary())
        assert reason(here.open) is Reason.ERR_STORE_LOCKED
        assert reason(here.open) is Reason.ERR_STORE_LOCKED, "a refused opener does not loosen the lock"
        await ledger.close()
        (await started(here, boundary())).abandon()

    asyncio.run(main())


def test_a_log_that_does_not_open_is_not_locked(tmp_path: Path) -> None:
    here = used(tmp_path)
    here.spoil("UPDATE log SET checkpoint=?", b"no note")
    assert reason(here.open) is Reason.ERR_STORE_CORRUPT
    assert reason(here.open) is Reason.ERR_STORE_CORRUPT


def test_a_killed_process_is_recovered_and_the_log_goes_on(tmp_path: Path) -> None:
    here = used(tmp_path)
    count = len(here.receipts())

    async def main() -> None:
        ledger = await started(here, boundary())
        assert here.summary(count) == ["session start", "recovery"]
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
        assert (await execute(ECHO, boundary(), host)).reason is Reason.OK
        await ledger.close()
        check_whole(here, ledger.checkpoint)

    asyncio.run(main())


def test_open_intents_become_unknown_after_abandon_and_their_keys_are_never_dispatched_again(tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    class Dies(Desk):
        async def call(self, *_: object, **__: object) -> object:  # type: ignore[override]
            raise asyncio.CancelledError

    async def dies() -> None:
        ledger = await started(here, boundary())
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Dies())
        with pytest.raises(asyncio.CancelledError):
            await execute(ECHO, boundary(), host)
        ledger.abandon()

    async def lives() -> None:
        ledger = await started(here, boundary())
        assert here.summary()[-3:] == ["session start", "recovery", "outcome UNKNOWN ERR_OUTCOME_UNKNOWN"]
        intent, outcome = (next(r for r in here.receipts() if r.is_intent), here.receipts()[-1])
        assert outcome.parents == (intent.leaf,) and outcome.session != intent.session and outcome.body["sub"] == "crash"
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
        assert (await execute(ECHO, boundary(), host)).reason is Reason.ERR_OUTCOME_UNKNOWN
        assert not host.desk.effects
        await ledger.close()
        check_whole(here, ledger.checkpoint)

    asyncio.run(dies())
    asyncio.run(lives())


SPOILED = {
    "a receipt line": "UPDATE receipts SET line=CAST(replace(line, 'OK', 'KO') AS BLOB) WHERE idx=(SELECT max(idx) {})",
    "a receipt line that became text": "UPDATE receipts SET line=CAST(line AS TEXT) WHERE idx=(SELECT max(idx) {})",
    "a receipt's leaf": "UPDATE receipts SET leaf=zeroblob(32) WHERE idx=(SELECT max(idx) {})",
    "a receipt that is gone": "DELETE FROM receipts WHERE idx=0",
    "a receipt in the middle that is gone": "DELETE FROM receipts WHERE idx=3",
    "a frontier of another tree": "UPDATE log SET frontier=CAST(substr(frontier, 1, length(frontier)-1) || x'00' AS BLOB)",
    "a frontier of another size": "UPDATE log SET frontier=CAST(x'0000000000000001' || zeroblob(32) AS BLOB)",
    "a frontier with a hash too few": "UPDATE log SET frontier=CAST(substr(frontier, 1, length(frontier)-32) AS BLOB)",
    "a frontier that became text": "UPDATE log SET frontier='frontier'",
    "an empty tree": "UPDATE log SET frontier=zeroblob(8)",
    "a checkpoint that nobody signed": "UPDATE log SET checkpoint=CAST(replace(checkpoint, 'helm', 'h3lm') AS BLOB)",
    "a checkpoint that became text": "UPDATE log SET checkpoint=CAST(checkpoint AS TEXT)",
    "an empty checkpoint": "UPDATE log SET checkpoint=zeroblob(0)",
    "another origin": "UPDATE log SET origin='helm.local/another/log'",
    "a log without its row": "DELETE FROM log",
}


@pytest.mark.parametrize("what", SPOILED)
def test_what_was_changed_behind_the_kernels_back_does_not_open(what: str, tmp_path: Path) -> None:
    here = used(tmp_path)
    here.spoil(SPOILED[what].format("FROM receipts"))
    assert reason(here.open) is Reason.ERR_STORE_CORRUPT


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE receipts SET line=CAST(line AS TEXT) WHERE idx=2",
        "UPDATE attachments SET content='text' WHERE slot=0 AND idx=(SELECT min(idx) FROM attachments WHERE slot=0)",
        "UPDATE documents SET content='text' WHERE name='policy'",
        "UPDATE log SET checkpoint='text'",
        "UPDATE log SET policy='text'",
        "DELETE FROM log",
    ],
)
def test_a_reader_says_that_the_store_is_damaged_and_never_more(change: str, tmp_path: Path) -> None:
    here = used(tmp_path)
    trustlog.create(here.folder / TRUST, here.registry)
    here.spoil(change)

    def look() -> None:
        with Reader(here.folder, vault=here.vault) as reader:
            list(reader.receipts())
            b"".join(whole(reader))

    assert reason(look) is Reason.ERR_STORE_CORRUPT


def test_a_checkpoint_by_another_key_does_not_open(tmp_path: Path) -> None:
    here = used(tmp_path)
    other = SecretKey.from_seed(b"!" * 32, Purpose.LOG)
    ink = here.ink
    assert reason(lambda: Ledger.open(here.folder, ink=ink, log_key=other)) is Reason.ERR_SIGNER_UNAVAILABLE
    with Reader(here.folder) as reader:
        last = Checkpoint.from_bytes(reader.checkpoint)
    here.spoil("UPDATE log SET checkpoint=?", sign(last.origin, last.size, last.root, other).note)
    assert reason(here.open) is Reason.ERR_STORE_CORRUPT


def grown(known: Registry, *, rotate: SecretKey | None = None) -> Registry:
    """One event more: another log key in the place of ours, or a witness."""
    if rotate is None:
        return known.fold(registry.add(known, SecretKey.from_seed(b"w" * 32, Purpose.WITNESS), "walt", None, at=AT, roots=[ROOT]))
    body = registry.rotation(known, rotate.public, known.keys[LOG.public.id], at=AT)
    return known.fold(seal(body, [ROOT, rotate]).line)


def test_a_log_goes_on_under_a_new_log_key_also_for_what_a_crash_left(tmp_path: Path) -> None:
    here = used(tmp_path)
    new = SecretKey.from_seed(b"!" * 32, Purpose.LOG)
    here.registry = grown(here.registry, rotate=new)
    ink = here.ink
    Ledger.open(here.folder, ink=ink, log_key=new).abandon()  # signs for the tail
    with Reader(here.folder) as reader:
        assert Checkpoint.from_bytes(reader.checkpoint).signer([LOG.public, new.public]) == new.public
        size = reader.size

    async def main() -> None:
        ledger = Ledger.open(here.folder, ink=ink, log_key=new)
        await recover(ledger, clean=await ledger.begin("test"))
        assert [receipt.trust.size for receipt in here.receipts()[size:]] == [here.registry.size, here.registry.size]
        await ledger.close()

    asyncio.run(main())
    assert reason(here.open) is Reason.ERR_SIGNER_UNAVAILABLE  # the old key opens it no more


def test_a_registry_that_was_put_back_does_not_open(tmp_path: Path) -> None:
    """What was revoked since would count again."""
    here = home(tmp_path / "home")
    old, here.registry = here.registry, grown(here.registry)

    async def main() -> None:
        await (await started(here, boundary())).close()

    asyncio.run(main())
    for registry_there in (old, grown(old, rotate=SecretKey.from_seed(b"!" * 32, Purpose.LOG))):
        other = Home(here.folder, registry_there, here.origin)
        assert reason(other.open) is Reason.ERR_STORE_CORRUPT
    here.open().abandon()


@pytest.mark.parametrize(
    "statement",
    [
        "PRAGMA application_id=1",
        "PRAGMA user_version=0",
        "PRAGMA journal_mode=DELETE",
        "CREATE TABLE more (x)",
        "CREATE VIEW more AS SELECT * FROM holds",
        "CREATE INDEX more ON holds (leaf)",
        "CREATE TRIGGER more AFTER INSERT ON holds BEGIN DELETE FROM holds; END",
        "ALTER TABLE holds ADD COLUMN more",
        "ALTER TABLE holds RENAME COLUMN leaf TO fruit",
        "DROP TABLE holds",
    ],
)
def test_a_file_that_is_not_our_format_does_not_open(statement: str, tmp_path: Path) -> None:
    here = used(tmp_path)
    with closing(sqlite3.connect(here.database)) as conn:
        conn.execute(statement)
    assert reason(here.open) is Reason.ERR_STORE_CORRUPT
    assert reason(lambda: Reader(here.folder)) is Reason.ERR_STORE_CORRUPT


def test_a_store_that_was_made_before_an_index_came_opens_without_it(tmp_path: Path) -> None:
    here = used(tmp_path)
    with closing(sqlite3.connect(here.database)) as conn:
        conn.execute("DROP INDEX receipts_standing")
    asyncio.run(recovered(here))
    assert here.ended == []


async def recovered(here: Home) -> None:
    ledger = await started(here, boundary())
    assert ledger.scrubbed is not None
    await ledger.scrubbed
    assert not ledger.writer.sealed
    await ledger.close()


def test_a_newer_format_is_said_and_never_guessed_at(tmp_path: Path) -> None:
    here = used(tmp_path)
    with closing(sqlite3.connect(here.database)) as conn:
        conn.execute(f"PRAGMA user_version={store.FORMAT + 1}")
    for look in (here.open, lambda: Reader(here.folder), lambda: fsck(here.folder, here.vault)):
        assert reason(look) is Reason.ERR_EVIDENCE_UNAVAILABLE


def test_what_a_dead_process_left_is_never_appended_to_while_somebody_reads_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = used(tmp_path)
    monkeypatch.setattr(store, "BUSY_S", 0)  # the reader does not end however long it is waited for
    with Reader(here.folder):
        assert reason(here.open) is Reason.ERR_STORE_LOCKED
        assert reason(here.open) is Reason.ERR_STORE_LOCKED, "and it let go of the lock"
    ledger = here.open()
    assert (here.folder / f"{DATABASE}-wal").stat().st_size == 0
    ledger.abandon()
    with Reader(here.folder):  # of a store that was closed: nothing is left in the WAL
        here.open().abandon()


def test_bytes_that_are_no_database_do_not_open(tmp_path: Path) -> None:
    here = used(tmp_path)
    for path in here.folder.glob(f"{DATABASE}-*"):
        path.unlink()
    here.database.write_bytes(b"\xff" * 8192)
    assert reason(here.open) is Reason.ERR_STORE_CORRUPT


def test_a_link_a_pipe_or_nothing_in_place_of_the_database_is_refused(tmp_path: Path) -> None:
    here = used(tmp_path)
    moved = here.database.rename(tmp_path / "elsewhere.db")
    assert reason(here.open) is Reason.ERR_EVIDENCE_UNAVAILABLE
    here.database.symlink_to(moved)
    assert reason(here.open) is Reason.ERR_STORE_CORRUPT
    here.database.unlink()
    os.mkfifo(here.database)
    assert reason(here.open) is Reason.ERR_STORE_CORRUPT
    here.database.unlink()
    here.database.mkdir()
    assert reason(here.open) is Reason.ERR_STORE_CORRUPT


def test_a_lock_that_cannot_be_taken_is_said_and_not_followed(tmp_path: Path) -> None:
    here = used(tmp_path)
    lock = here.folder / "lock"
    lock.symlink_to(tmp_path / "elsewhere")
    assert reason(here.open) in (Reason.ERR_STORE_CORRUPT, Reason.ERR_EVIDENCE_UNAVAILABLE)
    assert not (tmp_path / "elsewhere").exists()
    nowhere = Home(tmp_path / "nowhere", here.registry, here.origin)
    here.keys.rename(nowhere.keys)
    assert reason(nowhere.open) is Reason.ERR_EVIDENCE_UNAVAILABLE


@pytest.mark.parametrize("name", ["50%41", "what?", "a#b", "ä b", "mode=ro&x"])
def test_a_home_of_any_name_is_opened_where_it_was_made(name: str, tmp_path: Path) -> None:
    here = home(tmp_path / name)

    async def main() -> None:
        ledger = await started(here, boundary())
        await ledger.close()

    asyncio.run(main())
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, here.keys.name]


def test_a_new_log_never_overwrites_one(tmp_path: Path) -> None:
    here = used(tmp_path)
    before = here.database.read_bytes()
    with pytest.raises(FileExistsError):
        home(here.folder)
    assert here.database.read_bytes() == before
