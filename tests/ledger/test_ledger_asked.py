"""Challenges: each for one key and one held call, once, for five minutes on whichever clock is further."""

from dataclasses import replace

import pytest

from helm_ai_kernel.ledger.asked import CHALLENGE_MS, CHALLENGES_MAX, Challenges
from helm_ai_kernel.tcb.ceremony import Ceremony, Requirement
from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.statement import Statement, StatementKind, sign

NOW = Clock(1_800_000_000_000, "b0" * 16, 5_000_000)
ANN, BOB = (SecretKey.from_seed(bytes([n]) * 32, Purpose.APPROVAL) for n in (1, 2))


def call(name: str = "a") -> Ceremony:
    of = digest(name.encode())
    return Ceremony(of, 1, of, "agent", "demo/pay", of, of, Requirement(not_by=("agent",)), NOW)


def said(nonce: str, about: Ceremony, signer: SecretKey = ANN) -> Statement:
    content = {"call": about.call, "intent": about.intent, "decision": "approve", "confirmation": digest(b"x")}
    return sign(StatementKind.APPROVAL, content, log="l/1", at="2026-01-02T03:04:05.678Z", nonce=nonce, signers=[signer])


def refused(challenges: Challenges, statement: Statement, now: Clock = NOW) -> bool:
    try:
        challenges.take(statement, now)
    except Refused as no:
        return no.reason is Reason.ERR_APPROVAL_CHALLENGE
    return False


def test_a_challenge_is_answered_once() -> None:
    challenges, about = Challenges(), call()
    nonce = challenges.give(about, ANN.public.id, NOW)
    assert not refused(challenges, said(nonce, about))
    assert refused(challenges, said(nonce, about))


def test_an_answer_that_is_wrong_uses_the_challenge_up() -> None:
    challenges, about = Challenges(), call()
    nonce = challenges.give(about, ANN.public.id, NOW)
    wrong = ("0" if nonce[0] != "0" else "1") + nonce[1:]
    assert refused(challenges, said(wrong, about))
    assert refused(challenges, said(nonce, about))


def test_a_challenge_is_for_one_key_and_one_call() -> None:
    challenges, about, other = Challenges(), call(), call("b")
    nonce = challenges.give(about, ANN.public.id, NOW)
    assert refused(challenges, said(nonce, about, BOB))
    assert refused(challenges, said(nonce, other))
    assert not refused(challenges, said(nonce, about))


def test_a_new_challenge_takes_the_place_of_the_one_before_it() -> None:
    challenges, about = Challenges(), call()
    first, second = (challenges.give(about, ANN.public.id, NOW) for _ in range(2))
    assert first != second
    assert refused(challenges, said(first, about))


@pytest.mark.parametrize(
    ("now", "good"),
    [
        (replace(NOW, wall_ms=NOW.wall_ms + CHALLENGE_MS, boot_ms=NOW.boot_ms + CHALLENGE_MS), True),
        (replace(NOW, wall_ms=NOW.wall_ms + CHALLENGE_MS + 1), False),
        (replace(NOW, boot_ms=NOW.boot_ms + CHALLENGE_MS + 1), False),
        (replace(NOW, wall_ms=NOW.wall_ms - 1), False),
        (replace(NOW, boot="b1" * 16, boot_ms=CHALLENGE_MS), True),
    ],
)
def test_a_challenge_lasts_five_minutes_on_both_clocks(now: Clock, good: bool) -> None:
    challenges, about = Challenges(), call()
    assert refused(challenges, said(challenges.give(about, ANN.public.id, NOW), about), now) is not good


def test_so_many_challenges_are_remembered_and_the_oldest_goes() -> None:
    challenges, about = Challenges(), call()
    first = challenges.give(about, ANN.public.id, NOW)
    others = [call(str(number)) for number in range(CHALLENGES_MAX)]
    nonces = [challenges.give(other, ANN.public.id, NOW) for other in others]
    assert len({*nonces, first}) == CHALLENGES_MAX + 1
    assert refused(challenges, said(first, about))
    assert not refused(challenges, said(nonces[0], others[0]))


def test_a_kernel_that_gave_no_challenge_takes_no_answer() -> None:
    assert refused(Challenges(), said("ab" * 16, call())) and Digest(call().call)
