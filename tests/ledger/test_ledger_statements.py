"""What a person's signed statement may change, and what it may not: every refusal has its code and changes nothing."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from executor.desk import POLICY, Desk, boundary, request
from executor.trust import APPROVAL, AT, EXECUTION, LOG, ROOT
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.guardian.budget import Budget
from helm_ai_kernel.ledger.ledger import Ledger
from helm_ai_kernel.ledger.statements import Document
from helm_ai_kernel.tcb import registry
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.envelope import Record, seal
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.events import End
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.receipt import Kind
from helm_ai_kernel.tcb.statement import Statement, StatementKind, sign
from ledger.home import Home, LedgerHost, check_whole, documents, home, pin, started

OTHER = boundary(POLICY + b'@id("no-echo") forbid (principal, action == Action::"desk/echo", resource);')
STRANGER = SecretKey.from_seed(b"?" * 32, Purpose.APPROVAL)
ECHO = request({"tool": "desk/echo", "arguments": {"text": "a"}})


def release(origin: str, tool: str, hold: Digest, *, nonce: str = "cd" * 16, signer: SecretKey = APPROVAL) -> Statement:
    return sign(StatementKind.RELEASE, {"tool": tool, "hold": hold}, log=origin, at=AT, nonce=nonce, signers=[signer])


def altered(statement: Statement) -> Statement:
    """The statement with one bit of its signature turned."""
    record = statement.record
    ((key, sig),) = record.sigs
    broken = replace(record, sigs=((key, bytes([sig[0] ^ 1]) + sig[1:]),))
    line = canonical(broken.to_json())
    return Statement.from_record(Record.from_bytes(line))


async def refused(here: Home, ledger: Ledger, statement: Statement) -> Reason:
    """The refusal's reason, after checking that nothing else came of it."""
    state, before, database = ledger.writer.state, here.receipts(), rows(here)
    with pytest.raises(Refused) as no:
        await ledger.enact(statement, documents(OTHER))
    assert ledger.writer.state == state and here.receipts() == before and rows(here) == database
    assert no.value.detail and no.value.hint
    return no.value.reason


def rows(here: Home) -> list[list[object]]:
    tables = ("holds", "statements", "documents", "claims", "intents", "budgets")
    with closing(sqlite3.connect(f"file:{here.database}?mode=ro", uri=True)) as conn:
        return [conn.execute(f"SELECT * FROM {table}").fetchall() for table in tables]


def within(tmp_path: Path, work: Callable[[Home, Ledger], Awaitable[None]], *budgets: Budget) -> Home:
    """Run `work` on a ledger where the desk's policy is in force, and look at the whole log afterwards."""
    here = home(tmp_path / "home")

    async def main() -> None:
        ledger = await started(here, boundary(), budgets=budgets)
        await work(here, ledger)
        await ledger.close()

    asyncio.run(main())
    check_whole(here)
    assert here.ended == []
    return here


def test_a_statement_that_is_not_for_this_log_this_state_and_by_this_role_is_refused(tmp_path: Path) -> None:
    async def work(here: Home, ledger: Ledger) -> None:
        assert boundary().policy is not None
        now = {"policy": boundary().policy.digest, "catalog": boundary().catalog.digest}
        new = {**now, "nonce": "cd" * 16}
        cases = {
            Reason.ERR_APPROVAL_KEY_ROLE: [pin(OTHER, here.origin, **new, signer=key) for key in (EXECUTION, LOG)],
            Reason.ERR_APPROVAL_SIGNATURE: [
                altered(pin(OTHER, here.origin, **new)),
                pin(OTHER, here.origin, **new, signer=STRANGER),
            ],
            Reason.ERR_APPROVAL_CONSUMED: [pin(OTHER, here.origin, **now), pin(boundary(), here.origin)],
            Reason.ERR_APPROVAL_INTENT_MISMATCH: [
                pin(OTHER, here.origin, **{**new, "policy": None}),
                pin(OTHER, here.origin, **{**new, "catalog": None}),
                pin(OTHER, here.origin, **{**new, "policy": digest(b"another")}),
                pin(OTHER, here.origin, **{**new, "catalog": digest(b"another")}),
                pin(OTHER, "helm.local/another/log", **new),
            ],
        }
        for reason, statements in cases.items():
            for statement in statements:
                assert await refused(here, ledger, statement) is reason

    within(tmp_path, work)


@pytest.mark.parametrize("reason", End)
def test_a_statement_by_a_revoked_key_is_refused_from_the_next_start_on(tmp_path: Path, reason: End) -> None:
    here = home(tmp_path / "home")
    since = AT if reason is End.COMPROMISE else None

    async def main() -> None:
        await (await started(here, boundary())).close()
        body = registry.revocation(here.registry, APPROVAL.public.id, reason, at=AT, since=since)
        here.registry = here.registry.fold(seal(body, [ROOT]).line)
        ledger = await started(here, boundary())
        assert boundary().policy is not None
        now = {"policy": boundary().policy.digest, "catalog": boundary().catalog.digest, "nonce": "cd" * 16}
        assert await refused(here, ledger, pin(OTHER, here.origin, **now)) is Reason.ERR_APPROVAL_SIGNATURE
        await ledger.enact(pin(OTHER, here.origin, **now, signer=ROOT), documents(OTHER))
        await ledger.close()

    asyncio.run(main())


def test_a_statement_brings_exactly_what_it_puts_into_force(tmp_path: Path) -> None:
    async def work(here: Home, ledger: Ledger) -> None:
        assert boundary().policy is not None
        now = {"policy": boundary().policy.digest, "catalog": boundary().catalog.digest}
        statement, whole = pin(OTHER, here.origin, **now, nonce="cd" * 16), documents(OTHER)
        more = Document("file", b"permit (principal, action, resource);")
        for brought in (
            *({k: v for k, v in whole.items() if k != name} for name in whole),
            {**whole, digest(more.content): more},
        ):
            with pytest.raises(Refused) as error:
                await ledger.enact(statement, brought)
            assert error.value.reason is Reason.ERR_APPROVAL_INTENT_MISMATCH
        await ledger.enact(statement, whole)

    within(tmp_path, work)


def test_a_used_statement_is_refused_also_after_a_restart(tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    async def main() -> None:
        ledger = await started(here, boundary())
        await ledger.close()
        ledger = await started(here, boundary())
        assert await refused(here, ledger, pin(boundary(), here.origin)) is Reason.ERR_APPROVAL_CONSUMED
        await ledger.close()

    asyncio.run(main())


@pytest.mark.parametrize("signer", [APPROVAL, ROOT], ids=["approval", "root"])
def test_an_activation_comes_into_force_with_its_receipt_and_stays_after_a_restart(tmp_path: Path, signer: SecretKey) -> None:
    here = home(tmp_path / "home")
    assert boundary().policy is not None and OTHER.policy is not None
    now = {"policy": boundary().policy.digest, "catalog": boundary().catalog.digest}

    async def main() -> None:
        ledger = await started(here, boundary())
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk())
        assert (await execute(ECHO, boundary(), host)).reason is Reason.OK
        await ledger.enact(pin(OTHER, here.origin, **now, nonce="ef" * 16, signer=signer), documents(OTHER))
        assert (await execute(ECHO, boundary(), host)).reason is Reason.ERR_POLICY_NOT_READY, (
            "admitted under what was in force before"
        )
        assert (await execute(ECHO, OTHER, host)).reason is Reason.ERR_POLICY_DENY
        await ledger.close()
        ledger = await started(here, OTHER)
        assert ledger.writer.state.policy == OTHER.policy.digest
        for name, document in documents(OTHER).items():
            assert ledger.document(name) == document.content
        await ledger.close()

    asyncio.run(main())
    check_whole(here)


def test_drift_holds_the_tool_until_a_person_releases_exactly_that_hold(tmp_path: Path) -> None:
    async def work(here: Home, ledger: Ledger) -> None:
        desk = Desk("7")
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), desk)
        answer = await execute(ECHO, boundary(), host)
        assert answer.output is None and here.summary()[-1] == "hold ERR_CONNECTOR_CONTRACT_DRIFT"
        hold = here.receipts()[-1].leaf
        desk.reply = '"done"'
        assert (await execute(ECHO, boundary(), host)).reason is Reason.ERR_TOOL_HALTED
        for wrong in (
            release(here.origin, "desk/echo", digest(b"another hold")),
            release(here.origin, "desk/wipe", hold),
            release(here.origin, "desk/none", hold),
        ):
            assert await refused(here, ledger, wrong) is Reason.ERR_APPROVAL_INTENT_MISMATCH
        assert (
            await refused(here, ledger, release(here.origin, "desk/echo", hold, signer=EXECUTION)) is Reason.ERR_APPROVAL_KEY_ROLE
        )
        assert (await execute(ECHO, boundary(), host)).reason is Reason.ERR_TOOL_HALTED
        receipt = await ledger.enact(release(here.origin, "desk/echo", hold), {})
        assert receipt.parents == (hold,)
        assert (await execute(ECHO, boundary(), host)).output == b'"done"'
        again = release(here.origin, "desk/echo", hold, nonce="ee" * 16)
        assert await refused(here, ledger, again) is Reason.ERR_APPROVAL_INTENT_MISMATCH
        assert len(desk.effects) == 2

    within(tmp_path, work)


def test_a_hold_survives_a_restart(tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    async def main(reply: str) -> Reason:
        ledger = await started(here, boundary())
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk(reply))
        answer = await execute(ECHO, boundary(), host)
        ledger.abandon()
        return answer.reason

    assert asyncio.run(main("7")) is Reason.OK
    assert asyncio.run(main('"done"')) is Reason.ERR_TOOL_HALTED


@pytest.mark.parametrize(("reply", "left"), [('"done"', 1), ("failed", 2), ("unknown", 1), ("7", 1)])
def test_a_reservation_goes_back_only_where_nothing_was_applied(tmp_path: Path, reply: str, left: int) -> None:
    async def work(here: Home, ledger: Ledger) -> None:
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk(reply))
        await execute(ECHO, boundary(), host)
        decision, outcome = (next(r for r in here.receipts() if r.kind == kind) for kind in ("decision", "outcome"))
        assert decision.body["reserved"] == {"two": 1} and decision.body["facts"]["budget"] == {"two": 2}  # type: ignore[index,call-overload]
        assert outcome.body["spent"] == {"two": 2 - left}
        await execute(request({"tool": "desk/keyed", "arguments": {"text": "a"}, "key": "k"}), boundary(), host)
        after = here.receipts()[-2 if reply != "7" else -3]
        assert after.body["facts"]["budget"] == {"two": left}  # type: ignore[index,call-overload]

    within(tmp_path, work, Budget("two", 2))


def test_a_statement_before_the_log_has_begun_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    here = home(tmp_path / "home")

    async def main() -> None:
        ledger = await started(here, boundary())
        host = LedgerHost(ledger, await ledger.session("agent", "python", None), Desk("7"))
        await execute(ECHO, boundary(), host)
        await ledger.close()
        hold = next(receipt.leaf for receipt in here.receipts() if receipt.kind is Kind.HOLD)
        ledger = here.open()
        assert await refused(here, ledger, release(here.origin, "desk/echo", hold)) is Reason.ERR_POLICY_NOT_READY
        await ledger.close()

    asyncio.run(main())
