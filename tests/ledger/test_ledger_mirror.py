"""A store that is put back, and a copy that runs beside the first: what a start and a running kernel notice by themselves."""

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.desk import Desk, boundary, request
from helm_ai_kernel.disk import durable
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.ledger.ledger import Ledger
from helm_ai_kernel.ledger.mirror import Head, Mirror
from helm_ai_kernel.ledger.signer import CheckpointSigner, first
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from ledger.home import Home, LedgerHost, check_whole, documents, home, pin

ECHO = request({"tool": "desk/echo", "arguments": {"text": "a"}})


async def begun(here: Home, heads: Path) -> Ledger:
    ledger = here.open(heads=heads)
    try:
        await ledger.begin("test")
        if ledger.writer.state.policy is None:
            await ledger.enact(pin(boundary(), here.origin), documents(boundary()))
    except BaseException:
        ledger.abandon()
        raise
    return ledger


async def call(ledger: Ledger) -> None:
    host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
    assert (await execute(ECHO, boundary(), host)).reason is Reason.OK


async def used(here: Home, heads: Path) -> str:
    """One process, with a call; the head that it leaves."""
    ledger = await begun(here, heads)
    await call(ledger)
    await ledger.close()
    return f"size {ledger.writer.state.frontier.size}, root {ledger.writer.state.frontier.root().hex()}"


def test_a_store_that_was_put_back_is_refused_and_both_heads_are_named(tmp_path: Path) -> None:
    here, heads = home(tmp_path / "home"), tmp_path / "heads"

    async def main() -> None:
        older = await used(here, heads)
        yesterday = here.image(tmp_path / "yesterday")
        newer = await used(here, heads)
        with pytest.raises(OutsideError) as error:
            yesterday.open(heads=heads)
        assert error.value.reason is Reason.ERR_STORE_ROLLBACK
        assert older in error.value.detail and newer in error.value.detail and older != newer
        assert await used(here, heads) != newer  # the right one goes on

    asyncio.run(main())
    check_whole(here)


def test_a_store_whose_history_was_written_again_is_refused_however_long_it_is(tmp_path: Path) -> None:
    """By somebody with the real keys, without the mirror."""
    here, heads = home(tmp_path / "home"), tmp_path / "heads"

    async def main() -> None:
        await used(here, heads)
        other = here.image(tmp_path / "other")
        await used(here, heads)
        for _ in range(3):
            await used(other, tmp_path / "elsewhere")
        assert len(other.receipts()) > len(here.receipts())
        with pytest.raises(OutsideError) as error:
            other.open(heads=heads)
        assert error.value.reason is Reason.ERR_STORE_ROLLBACK

    asyncio.run(main())


def test_a_head_that_lags_behind_a_killed_kernel_is_gone_on_from(tmp_path: Path) -> None:
    here, heads = home(tmp_path / "home"), tmp_path / "heads"

    async def main() -> None:
        await used(here, heads)
        ledger = await begun(here, heads)
        for _ in range(3):
            await call(ledger)
        killed = here.image(tmp_path / "killed")  # before the head of these calls is written
        ledger.writer._mirror = None
        await ledger.close()
        await used(killed, heads)
        check_whole(killed)

    asyncio.run(main())


def test_of_a_store_and_its_copy_that_run_beside_each_other_the_second_to_tell_its_head_ends(tmp_path: Path) -> None:
    here, heads = home(tmp_path / "home"), tmp_path / "heads"

    async def main() -> None:
        await used(here, heads)
        copy = here.image(tmp_path / "copy")
        first, second = await begun(here, heads), await begun(copy, heads)
        await call(first)
        await call(second)
        await first.close()
        with pytest.raises(OutsideError) as error:
            await second.close()
        assert error.value.reason is Reason.ERR_STORE_ROLLBACK
        await used(here, heads)
        with pytest.raises(OutsideError) as error:
            copy.open(heads=heads)
        assert error.value.reason is Reason.ERR_STORE_ROLLBACK

    asyncio.run(main())


def test_a_running_kernel_that_learns_of_a_second_one_executes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helm_ai_kernel.ledger.writer.MIRROR_S", -1.0)  # with every group
    here, heads = home(tmp_path / "home"), tmp_path / "heads"

    async def main() -> None:
        ledger = await begun(here, heads)
        await call(ledger)
        (kept,) = heads.iterdir()
        kept.write_bytes(kept.read_bytes().replace(b'"v":1', b'"v":1 '))
        with pytest.raises(OutsideError) as error:
            await call(ledger)
        assert error.value.reason is Reason.ERR_SEALED
        ledger.abandon()

    asyncio.run(main())
    assert "another kernel of the same log" in here.ended[0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-9],
        lambda data: data.replace(b'"v":1', b'"v":2'),
        lambda data: data.replace(b"helm.local", b"helm.other"),
        lambda data: data.replace(b'"frontier":"00', b'"frontier":"01'),
    ],
    ids=["empty", "cut", "version", "origin", "frontier"],
)
def test_a_head_that_is_none_is_refused_and_the_hint_is_what_ends_it(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    here, heads = home(tmp_path / "home"), tmp_path / "heads"
    asyncio.run(used(here, heads))
    (kept,) = heads.iterdir()
    kept.write_bytes(damage(kept.read_bytes()))
    with pytest.raises(OutsideError) as error:
        here.open(heads=heads)
    assert error.value.reason is Reason.ERR_STORE_CORRUPT and str(kept) in error.value.detail
    kept.rename(f"{kept}.old")
    asyncio.run(used(here, heads))


def test_a_head_that_cannot_be_written_only_lags(tmp_path: Path) -> None:
    here, heads = home(tmp_path / "home"), tmp_path / "heads"

    async def main() -> None:
        ledger = await begun(here, heads)
        for kept in heads.iterdir() if heads.exists() else ():
            kept.unlink()
        mirror = ledger.writer._mirror
        assert mirror is not None
        mirror.path, mirror._mine = Path("/proc/no/such/place"), (None,)
        await call(ledger)
        await ledger.close()

    asyncio.run(main())
    check_whole(here)


def signing(folder: Path) -> tuple[Mirror, CheckpointSigner]:
    """A mirror that has the first head, and what signs the next ones."""
    key = SecretKey.from_seed(b"\x01" * 32, Purpose.LOG)
    frontier, note = first(key, "a/b")
    signer = CheckpointSigner(key, "a/b", frontier, note)
    mirror = Mirror(folder, "a/b", [key.public])
    assert mirror.read() is None
    mirror.write(Head(signer.last, signer.frontier))
    return mirror, signer


def grown(signer: CheckpointSigner) -> Head:
    signer.extend([bytes(32)])
    return Head(signer.last, signer.frontier)


@pytest.mark.parametrize("step", ["sync_directory", "write"])
def test_a_write_that_fails_before_or_behind_its_rename_is_no_other_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    mirror, signer = signing(tmp_path)

    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "input/output error")

    for _ in range(2):
        with monkeypatch.context() as broken:
            broken.setattr(durable, step, failing)
            mirror.write(grown(signer))
    head = grown(signer)
    mirror.write(head)
    assert mirror.path.read_bytes() == head.to_bytes()
    mirror.path.write_bytes(head.to_bytes() + b" ")
    with pytest.raises(OutsideError, match="ERR_STORE_ROLLBACK"):
        mirror.write(grown(signer))


def test_a_head_that_cannot_be_read_while_the_kernel_runs_only_lags(tmp_path: Path) -> None:
    mirror, signer = signing(tmp_path)
    mirror.path.rename(tmp_path / "away")
    mirror.path.mkdir()  # opening it fails, whoever asks
    mirror.write(grown(signer))
    mirror.path.rmdir()
    (tmp_path / "away").rename(mirror.path)
    head = grown(signer)
    mirror.write(head)
    assert mirror.path.read_bytes() == head.to_bytes()
