"""Held calls, from the question to the dispatch: through the library, real keys, a real store, and a verifier at the end."""

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.kernels import Place, Program
from helm_ai_kernel import Kernel
from helm_ai_kernel.app import asks, operate
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.executor.host import Answer, Patience
from helm_ai_kernel.executor.replay import replay
from helm_ai_kernel.ledger import writer
from helm_ai_kernel.ledger.export import whole
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.ceremony import Act
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Verdict
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.receipt import Receipt

OPEN = b'@id("open") permit (principal, action, resource);\n'
ASK = OPEN + b'@id("ask") @require("approval") %s forbid (principal, action, resource);\n'


class Desk:
    """People at the desk of a running program, and what it was asked to do for real."""

    def __init__(self, place: Place, notes: bytes = b"") -> None:
        self.place = place
        self.done: list[int] = []

        def pay(amount: int) -> str:
            self.done.append(amount)
            return f"paid {amount}"

        self.program: Program = place.program(pay)
        self.policy(notes)

    def __enter__(self) -> "Desk":
        return self

    def __exit__(self, *_: object) -> None:
        self.program.kernel.close()

    def policy(self, notes: bytes) -> None:
        self.place.sign(self.program.kernel, None, ASK % notes)

    def pay(self, amount: int = 5, **how: Any) -> Answer:
        return self.program.kernel.call("python/pay", {"amount": amount}, **how)

    def run(self, work: Callable[[Runtime], Any]) -> Any:
        return self.program.kernel.run(work)

    def held(self) -> asks.Waiting:
        (one,) = asks.waiting(self.place.config)
        return one

    def held_of(self, amount: int) -> asks.Waiting:
        return next(one for one in asks.waiting(self.place.config) if one.arguments == b'{"amount":%d}' % amount)

    def say(self, act: Act, signer: SecretKey | None = None, call: asks.Waiting | None = None) -> Receipt:
        about = call or self.held()
        found: Receipt = self.run(lambda runtime: asks.say(runtime, about, act, signer or self.place.approver))
        return found

    def verified(self) -> None:
        """The pack is valid, and every decision follows again."""
        self.program.kernel.close()
        self.place.check()
        with Reader(self.place.paths.store, vault=self.place.vault) as reader:
            report = replay(pack.read(b"".join(whole(reader))))
        assert report.exit == 0, report.to_json()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Moves the clocks that the kernel reads: the wall's and the machine's, in ms."""
    real, moved = writer.now, [0, 0]

    def now() -> writer.Moment:
        moment = real()
        at = moment.clock
        return moment._replace(clock=replace(at, wall_ms=at.wall_ms + moved[0], boot_ms=at.boot_ms + moved[1]))

    for module in (writer, "helm_ai_kernel.ledger.ledger", "helm_ai_kernel.app.waiting"):
        monkeypatch.setattr(*((module, "now", now) if not isinstance(module, str) else (f"{module}.now", now)))

    def move(wall_ms: int, boot_ms: int) -> None:
        moved[0] += wall_ms
        moved[1] += boot_ms

    return move


def test_an_approved_call_is_dispatched_once_when_it_is_made_again(place: Place) -> None:
    with Desk(place) as desk:
        first = desk.pay()
        assert (first.verdict, first.reason, desk.done) == (Verdict.ESCALATE, Reason.ERR_APPROVAL_REQUIRED, [])
        assert desk.pay().verdict is Verdict.ESCALATE and len(asks.waiting(place.config)) == 1
        assert desk.held().arguments == b'{"amount":5}'
        desk.say(Act.APPROVE)
        assert desk.pay(6).verdict is Verdict.ESCALATE  # another call
        again = desk.pay()
        assert (again.verdict, again.output, desk.done) == (Verdict.ALLOW, b'"paid 5"', [5])
        assert desk.pay().verdict is Verdict.ESCALATE and desk.done == [5]  # a third one is a new call
        desk.verified()


def test_a_caller_that_waits_gets_the_result_when_a_person_has_approved(place: Place) -> None:
    with Desk(place) as desk:

        async def work(runtime: Runtime) -> Answer:
            raw = b'{"tool":"python/pay","arguments":{"amount":7}}'
            call = asyncio.create_task(runtime.call(raw, principal="local", door="library", patience=Patience(60)))
            while not runtime.ledger.writer.state.approvals.held:  # noqa: ASYNC110  (the log says when, and nothing else does)
                await asyncio.sleep(0)
            about = await asyncio.to_thread(asks.waiting, place.config)
            await asks.say(runtime, about[0], Act.APPROVE, place.approver)
            return await call

        answer = desk.run(work)
        assert (answer.verdict, answer.output, desk.done) == (Verdict.ALLOW, b'"paid 7"', [7])
        desk.verified()


def test_a_caller_that_went_away_uses_no_approval_up(place: Place) -> None:
    with Desk(place) as desk:

        async def work(runtime: Runtime) -> list[Answer]:
            raw = b'{"tool":"python/pay","arguments":{"amount":7}}'
            waits = [True]
            gone = runtime.call(raw, principal="local", door="library", patience=Patience(60, lambda: waits[0]))
            call = asyncio.create_task(gone)
            while not runtime.ledger.writer.state.approvals.held:  # noqa: ASYNC110  (the log says when, and nothing else does)
                await asyncio.sleep(0)
            about = await asyncio.to_thread(asks.waiting, place.config)
            waits[0] = False
            await asks.say(runtime, about[0], Act.APPROVE, place.approver)
            return [await call, await runtime.call(raw, principal="local", door="library")]

        first, second = desk.run(work)
        assert (first.verdict, second.verdict, desk.done) == (Verdict.ESCALATE, Verdict.ALLOW, [7])
        desk.verified()


def test_a_denied_call_stays_denied_and_silence_ends_it(place: Place, clock: Callable[[int, int], None]) -> None:
    with Desk(place, b'@expires("10m")') as desk:
        desk.pay()
        desk.say(Act.DENY)
        assert desk.pay().reason is Reason.ERR_APPROVAL_DENIED
        with pytest.raises(Refused) as refused:
            desk.say(Act.APPROVE)
        assert refused.value.reason is Reason.ERR_APPROVAL_DENIED
        clock(600_001, 600_001)
        assert desk.pay().reason is Reason.ERR_APPROVAL_EXPIRED
        assert desk.pay().verdict is Verdict.ESCALATE  # it may be asked again
        clock(600_001, 600_001)
        assert desk.run(lambda runtime: runtime.ledger.lapse()) == 1
        assert asks.waiting(place.config) == [] and desk.done == []
        desk.verified()
        assert [r.kind.value for r in place.receipts()].count("lapse") == 1


@pytest.mark.parametrize("moved", [(30_000, 29_000), (29_000, 30_000), (86_400_000, 5)])
def test_a_timelock_is_over_when_both_clocks_say_so(
    place: Place, clock: Callable[[int, int], None], moved: tuple[int, int]
) -> None:
    with Desk(place, b'@timelock("30s") @expires("2d")') as desk:
        desk.pay()
        desk.say(Act.APPROVE)
        clock(*moved)
        assert desk.pay().reason is Reason.ERR_APPROVAL_PENDING_TIMELOCK and desk.done == []
        clock(30_000, 30_000)
        assert desk.pay().verdict is Verdict.ALLOW and desk.done == [5]
        desk.verified()


def test_a_clock_that_went_back_stops_an_approved_call(place: Place, clock: Callable[[int, int], None]) -> None:
    with Desk(place) as desk:
        desk.pay()
        desk.say(Act.APPROVE)
        clock(-3_600_000, 0)
        assert desk.pay().reason is Reason.ERR_CLOCK_UNTRUSTED and desk.done == []
        clock(3_600_001, 0)
        assert desk.pay().verdict is Verdict.ALLOW
        desk.verified()


def test_two_approvers_are_two_people_and_a_dispute_begins_again(place: Place) -> None:
    second, again = place.adds("bob"), place.adds("owner")
    with Desk(place, b'@approvers("2")') as desk:
        desk.pay()
        desk.say(Act.APPROVE)
        for signer in (place.approver, again):  # the same person, with whichever key
            with pytest.raises(Refused, match="has approved this call already"):
                desk.say(Act.APPROVE, signer)
        assert desk.pay().reason is Reason.ERR_APPROVAL_REQUIRED
        desk.say(Act.DISPUTE, second)
        desk.say(Act.APPROVE, second)
        assert desk.pay().reason is Reason.ERR_APPROVAL_REQUIRED
        desk.say(Act.APPROVE)
        desk.say(Act.WITHDRAW, second)
        assert desk.pay().reason is Reason.ERR_APPROVAL_REQUIRED and desk.done == []
        desk.say(Act.APPROVE, second)
        assert desk.pay().verdict is Verdict.ALLOW and desk.done == [5]
        desk.verified()


def test_who_asks_does_not_approve_and_with_four_eyes_neither_does_the_owner(place: Place) -> None:
    itself, other = place.adds("local"), place.adds("bob")
    place.paths.config.write_text(place.paths.config.read_text().replace("[approval]", "[approval]\nfour_eyes = true"))
    with Desk(place) as desk:
        desk.pay()
        for signer in (itself, place.approver):
            with pytest.raises(Refused) as refused:
                desk.say(Act.APPROVE, signer)
            assert refused.value.reason is Reason.ERR_APPROVAL_SELF
        desk.say(Act.APPROVE, other)
        assert desk.pay().verdict is Verdict.ALLOW
        desk.verified()


def test_a_statement_without_the_kernels_challenge_counts_for_nothing(place: Place) -> None:
    with Desk(place) as desk:
        desk.pay()
        call = desk.held()

        async def made_up(runtime: Runtime) -> Receipt:
            class Mine:
                origin = runtime.origin
                enact = runtime.enact

                async def challenge(self, call: object, key: str) -> str:
                    return "ab" * 16

            return await asks.say(Mine(), call, Act.APPROVE, place.approver)  # type: ignore[arg-type]

        async def for_another(runtime: Runtime) -> Receipt:
            stranger = SecretKey.from_seed(b"\x07" * 32, Purpose.APPROVAL)
            nonce = await runtime.challenge(call.ceremony.call, stranger.public.id)

            class Theirs:
                origin = runtime.origin
                enact = runtime.enact

                async def challenge(self, call: object, key: str) -> str:
                    return nonce

            return await asks.say(Theirs(), call, Act.APPROVE, place.approver)  # type: ignore[arg-type]

        for attack in (made_up, for_another):
            with pytest.raises(Refused) as refused:
                desk.run(attack)
            assert refused.value.reason is Reason.ERR_APPROVAL_CHALLENGE
        root = place.root()
        for signer, reason in (
            (root, Reason.ERR_APPROVAL_KEY_ROLE),
            (SecretKey.from_seed(b"\x08" * 32, Purpose.APPROVAL), Reason.ERR_APPROVAL_SIGNATURE),
        ):
            with pytest.raises(Refused) as refused:
                desk.say(Act.APPROVE, signer)
            assert refused.value.reason is reason
        assert desk.pay().verdict is Verdict.ESCALATE and desk.done == []
        desk.verified()


def test_what_waits_outlasts_the_process_and_goes_on_once_in_the_next(place: Place) -> None:
    with Desk(place) as desk:
        desk.pay()
        desk.say(Act.APPROVE)
        desk.verified()
    with Desk(place) as desk:
        assert desk.pay().verdict is Verdict.ALLOW and desk.done == [5]
        desk.program.kernel.close()
    with Desk(place) as desk:
        assert desk.pay().verdict is Verdict.ESCALATE and desk.done == []
        desk.verified()


def test_of_two_that_race_one_is_dispatched(place: Place) -> None:
    with Desk(place) as desk:
        desk.pay()
        desk.say(Act.APPROVE)
        raw = b'{"tool":"python/pay","arguments":{"amount":5}}'

        async def race(runtime: Runtime) -> list[Answer]:
            calls = (runtime.call(raw, principal="local", door="library") for _ in range(16))
            return list(await asyncio.gather(*calls))

        answers = desk.run(race)
        assert [a.verdict for a in answers].count(Verdict.ALLOW) == 1 and desk.done == [5]
        desk.verified()


def test_a_stricter_policy_wins_while_a_call_waits_and_a_laxer_one_changes_nothing(place: Place) -> None:
    second = place.adds("bob")
    with Desk(place) as desk:
        desk.pay()
        desk.say(Act.APPROVE)
        desk.policy(b'@approvers("2")')
        assert desk.pay().verdict is Verdict.ESCALATE
        desk.say(Act.APPROVE)
        assert desk.pay().verdict is Verdict.ESCALATE and desk.done == []
        place.sign(desk.program.kernel, None, b'@id("open") permit (principal, action, resource);\n')
        assert desk.pay(6).verdict is Verdict.ALLOW  # nobody was asked about this one
        assert desk.pay().verdict is Verdict.ESCALATE and desk.done == [6]
        desk.say(Act.APPROVE, second)
        assert desk.pay().verdict is Verdict.ALLOW and desk.done == [6, 5]
        desk.policy(b"")
        desk.pay(8)
        place.sign(desk.program.kernel, None, b'@id("no") forbid (principal, action, resource);\n')
        desk.say(Act.APPROVE)
        assert desk.pay(8).reason is Reason.ERR_POLICY_DENY
        desk.verified()


def test_an_override_skips_quorum_and_timelock_and_nothing_else(place: Place) -> None:
    with Desk(place, b'@approvers("2") @timelock("1h") @expires("2d")') as desk:
        desk.pay()
        call = desk.held()
        desk.run(lambda runtime: asks.override(runtime, call, [place.root()]))
        assert desk.pay(6).verdict is Verdict.ESCALATE
        assert desk.pay().verdict is Verdict.ALLOW and desk.done == [5]
        with pytest.raises(Refused) as refused:
            desk.run(lambda runtime: asks.override(runtime, call, [place.root()]))
        assert refused.value.reason is Reason.ERR_APPROVAL_CONSUMED
        desk.pay(7)
        with pytest.raises(Refused) as refused:
            desk.run(lambda runtime: asks.override(runtime, desk.held_of(7), [place.approver]))
        assert refused.value.reason is Reason.ERR_APPROVAL_KEY_ROLE
        desk.verified()


def test_a_grant_lets_calls_pass_that_fit_so_many_times_until_it_is_revoked(
    place: Place, clock: Callable[[int, int], None]
) -> None:
    with Desk(place) as desk:
        desk.pay(1)
        pin = desk.held().ceremony.pin

        def granting(calls: int) -> Callable[[Runtime], Any]:
            where: Any = {"amount": {"at_most": 10}}
            content: Any = {
                "principal": "local",
                "tool": "python/pay",
                "pin": pin,
                "where": where,
                "calls": calls,
                "lasts_ms": 60_000,
            }
            return lambda runtime: asks.grant(runtime, content, [place.approver])

        desk.run(granting(2))
        assert desk.pay(11).verdict is Verdict.ESCALATE
        assert [desk.pay(10).verdict, desk.pay(1).verdict] == [Verdict.ALLOW] * 2
        assert desk.pay(10).verdict is Verdict.ESCALATE and desk.done == [10, 1]
        desk.run(granting(5))
        assert desk.pay(3).verdict is Verdict.ALLOW
        (left,) = [grant for grant in asks.grants(place.config) if grant.left]
        desk.run(lambda runtime: asks.revoke(runtime, left.statement, [place.approver]))
        assert desk.pay(4).verdict is Verdict.ESCALATE
        desk.run(granting(5))
        clock(60_001, 0)
        assert desk.pay(2).verdict is Verdict.ESCALATE
        desk.verified()


def test_nobody_is_asked_where_nobody_is_there(place: Place) -> None:
    place.paths.config.write_text(place.paths.config.read_text().replace("[approval]", "[approval]\nunattended = true"))
    with Desk(place) as desk:
        answer = desk.pay()
        assert (answer.verdict, answer.reason) == (Verdict.DENY, Reason.ERR_APPROVAL_REQUIRED)
        assert asks.waiting(place.config) == []
        desk.pay(6)
        later = asks.standing(place.config).unasked  # a person may look at them afterwards
        assert [(one.principal, one.tool, one.arguments) for one in later] == [
            ("local", "python/pay", b'{"amount":6}'), ("local", "python/pay", b'{"amount":5}'),
        ]  # fmt: skip
        desk.verified()
    with Reader(place.paths.store) as reader:
        assert len(list(reader.page(after=-1, limit=9, kind="decision"))) == 2


@pytest.mark.parametrize("scope", ["all", "server:python", "agent:local"])
def test_a_freeze_stops_calls_also_after_a_restart_until_a_person_releases_it(place: Place, scope: str) -> None:
    with Desk(place) as desk:
        desk.pay()
        desk.say(Act.APPROVE)
        frozen = desk.run(lambda runtime: runtime.freeze(scope, "uid 0"))
        assert desk.pay().reason is Reason.ERR_FROZEN
        with pytest.raises(Refused):
            desk.run(lambda runtime: runtime.freeze(scope, "uid 0"))
        desk.verified()
    with Desk(place) as desk:
        assert desk.pay().reason is Reason.ERR_FROZEN and desk.done == []
        desk.run(lambda runtime: asks.unfreeze(runtime, scope, frozen.leaf, [place.approver]))
        assert desk.pay().verdict is Verdict.ALLOW and desk.done == [5]
        desk.verified()


def test_a_freeze_of_another_stops_nothing_here(place: Place) -> None:
    with Desk(place) as desk:
        for scope in ("server:other", "agent:bob", "session:" + "0" * 32):
            desk.run(lambda runtime, scope=scope: runtime.freeze(scope, "uid 0"))
        for scope in ("", "tool:python/pay", "python/pay", "server:", "all "):
            with pytest.raises(Refused):
                desk.run(lambda runtime, scope=scope: runtime.freeze(scope, "uid 0"))
        assert desk.pay().verdict is Verdict.ESCALATE
        desk.verified()


def test_an_evaluation_holds_claims_and_dispatches_nothing(place: Place) -> None:
    raw = b'{"tool":"python/pay","arguments":{"amount":5},"idempotency_key":"k"}'
    with Desk(place) as desk:

        async def asked(runtime: Runtime) -> Answer:
            return await runtime.evaluate(raw, principal="local", door="library")

        assert desk.run(asked).verdict is Verdict.ESCALATE and asks.waiting(place.config) == []
        desk.pay(key="k")
        desk.say(Act.APPROVE)
        assert [desk.run(asked).verdict for _ in range(2)] == [Verdict.ALLOW] * 2 and desk.done == []
        assert desk.pay(key="k").verdict is Verdict.ALLOW and desk.done == [5]
        assert desk.run(asked).reason is Reason.REPEATED
        desk.verified()


def test_no_more_calls_wait_than_a_person_can_look_at(place: Place) -> None:
    with Desk(place) as desk:
        answers = [desk.pay(n) for n in range(66)]
        assert [a.verdict for a in answers] == [Verdict.ESCALATE] * 64 + [Verdict.DENY] * 2
        assert desk.pay(3).verdict is Verdict.ESCALATE  # one that waits already
        desk.verified()


def test_a_held_call_whose_subject_was_erased_is_not_shown_and_not_found(place: Place) -> None:
    with Desk(place) as desk:
        desk.pay(subject="carol")
        subject = place.vault.named("carol")
        with Reader(place.paths.store) as reader:
            count, _ = reader.about()[subject.id]
        desk.run(lambda runtime: operate.erase(runtime, subject.id, count, [place.approver]))
        assert asks.waiting(place.config) == []
        assert desk.pay(subject="carol").verdict is Verdict.ESCALATE and desk.done == []
    place.check()


def test_what_is_kept_of_a_ceremony_is_refused_when_it_was_touched(place: Place) -> None:
    with Desk(place) as desk:
        desk.pay()
        desk.say(Act.APPROVE)
        desk.pay()
        desk.program.kernel.close()
    conn = sqlite3.connect(place.paths.store / "ledger.db")
    conn.execute("UPDATE receipts SET kind='decision' WHERE kind='asked' AND instr(line, CAST('relies' AS BLOB))")
    conn.commit()
    conn.close()
    kernel = Kernel(config=place.config)

    async def scrubbed(runtime: Runtime) -> str:
        assert runtime.ledger.scrubbed is not None
        await runtime.ledger.scrubbed
        return runtime.ledger.writer.sealed

    assert "its session, number, kind or leaf hash is not that of the line" in kernel.run(scrubbed)
    with pytest.raises(OutsideError):
        kernel.close()


def test_a_question_about_a_held_call_of_which_more_is_asked_by_now_leaves_the_log_whole(place: Place) -> None:
    raw = b'{"tool":"python/pay","arguments":{"amount":5}}'
    with Desk(place) as desk:
        desk.pay()
        desk.policy(b'@approvers("2")')

        async def asked(runtime: Runtime) -> Answer:
            return await runtime.evaluate(raw, principal="local", door="library")

        assert desk.run(asked).verdict is Verdict.ESCALATE
        desk.verified()
    kernel = Kernel(config=place.config)

    async def scrubbed(runtime: Runtime) -> str:
        assert runtime.ledger.scrubbed is not None
        await runtime.ledger.scrubbed
        return runtime.ledger.writer.sealed

    assert kernel.run(scrubbed) == ""
    kernel.close()


def test_a_freeze_is_released_as_a_freeze_and_a_tool_as_a_tool(place: Place) -> None:
    with Desk(place) as desk:
        frozen = desk.run(lambda runtime: runtime.freeze("all", "uid 0"))
        with pytest.raises(Refused) as refused:
            desk.run(lambda runtime: operate.release(runtime, "all", frozen.leaf, [place.approver]))
        assert refused.value.reason is Reason.ERR_APPROVAL_INTENT_MISMATCH
        assert desk.pay().reason is Reason.ERR_FROZEN
        desk.verified()


@pytest.mark.parametrize("by", ["", "p" * 257])
def test_a_freeze_by_nobody_or_by_a_name_that_no_receipt_takes_is_refused(place: Place, by: str) -> None:
    with Desk(place) as desk:
        with pytest.raises(Refused):
            desk.run(lambda runtime: runtime.freeze("all", by))
        assert desk.pay().verdict is Verdict.ESCALATE
        desk.verified()


def test_what_was_disputed_goes_by_no_grant_also_when_it_is_held_again_for_more(place: Place) -> None:
    with Desk(place) as desk:
        desk.pay()
        ceremony = desk.held().ceremony
        desk.say(Act.DISPUTE)
        desk.policy(b'@expires("30m")')
        assert desk.pay().verdict is Verdict.ESCALATE
        where: Any = {"amount": {"any": True}}
        content: Any = {"principal": "local", "tool": "python/pay", "pin": ceremony.pin, "where": where, "calls": 9}
        desk.run(lambda runtime: asks.grant(runtime, {**content, "lasts_ms": 60_000}, [place.approver]))
        assert desk.pay().verdict is Verdict.ESCALATE and desk.pay(6).verdict is Verdict.ALLOW
        assert desk.done == [6]
        desk.verified()


def test_an_approval_whose_key_was_revoked_is_not_shown_as_one(place: Place) -> None:
    bob = place.adds("bob")
    with Desk(place) as desk:
        desk.pay()
        desk.say(Act.APPROVE, bob)
        desk.program.kernel.close()
    place.revokes(bob)
    with Desk(place) as desk:
        assert asks.to_json(desk.held())["state"] == "waiting"
        assert desk.pay().verdict is Verdict.ESCALATE and desk.done == []
        desk.verified()


def test_silence_ends_a_call_whose_approval_counts_no_more(place: Place, clock: Callable[[int, int], None]) -> None:
    bob = place.adds("bob")
    with Desk(place, b'@expires("10m") @timelock("1h")') as desk:
        desk.pay()
        desk.say(Act.APPROVE, bob)
        desk.program.kernel.close()
    place.revokes(bob)
    with Desk(place, b'@expires("10m") @timelock("1h")') as desk:
        clock(600_001, 600_001)  # no time at all for a call that was approved
        assert desk.run(lambda runtime: runtime.ledger.lapse()) == 1
        assert asks.waiting(place.config) == [] and desk.done == []
        desk.verified()


def test_of_many_that_wait_one_goes_on_and_the_others_ask_for_no_call_more(place: Place) -> None:
    with Desk(place) as desk:
        raw = b'{"tool":"python/pay","arguments":{"amount":7}}'

        async def work(runtime: Runtime) -> list[Answer]:
            calls = [
                asyncio.create_task(runtime.call(raw, principal="local", door="library", patience=Patience(60)))
                for _ in range(5)
            ]  # fmt: skip
            while not runtime.ledger.writer.state.approvals.held:  # noqa: ASYNC110  (the log says when, and nothing else does)
                await asyncio.sleep(0)
            about = await asyncio.to_thread(asks.waiting, place.config)
            await asks.say(runtime, about[0], Act.APPROVE, place.approver)
            return [await call for call in calls]

        answers = desk.run(work)
        assert sorted(answer.verdict for answer in answers) == [Verdict.ALLOW] + [Verdict.ESCALATE] * 4
        assert desk.done == [7] and asks.waiting(place.config) == []
        desk.verified()


def test_people_find_the_decisions_that_people_had_a_part_in(place: Place) -> None:
    with Desk(place) as desk:
        desk.pay()
        desk.say(Act.APPROVE)
        desk.pay()
        desk.verified()
    with Reader(place.paths.store) as reader:
        found = [receipt.verdict for receipt in reader.page(after=-1, limit=9, kind="decision")]
    assert found == [Verdict.ESCALATE, Verdict.ALLOW]
