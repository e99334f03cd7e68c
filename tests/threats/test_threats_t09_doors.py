"""T9, the doors: what one agent, or whoever is beside it, can do to everybody else's calls and to the people who answer."""

from concurrent.futures import ThreadPoolExecutor

from app.kernels import Place
from app.residents import up
from helm_ai_kernel.app import agents
from helm_ai_kernel.gateway.identity import Limits
from helm_ai_kernel.ledger.asked import HELD_BYTES_MAX, HELD_MAX
from helm_ai_kernel.tcb.ceremony import Act
from helm_ai_kernel.tcb.ijson import BYTES_MAX
from threats.ceremony import SENT, office

LARGE = "x" * (BYTES_MAX - 1000)
POLL_BYTES_MAX = 4096  # a receipt with its rows: no second copy of the arguments


def stored(place: Place) -> int:
    return sum(file.stat().st_size for file in place.paths.store.glob("ledger.db*"))


def test_one_agent_that_holds_calls_of_a_megabyte_takes_neither_the_kernel_nor_the_people_along(place: Place) -> None:
    at = office(place, b"", "ann", "bob")
    with up(place) as kernel:
        said = []
        for n in range(8):
            said.append(at.call(kernel, sent={"amount": n, "to": LARGE}))
        held = [answer.status for answer in said].count(202)
        assert held <= HELD_BYTES_MAX // len(LARGE) + 1 < HELD_MAX
        refused = said[-1]
        assert (refused.status, refused.code, refused.value["helm"]["verdict"]) == (403, "ERR_APPROVAL_REQUIRED", "DENY")
        assert at.call(kernel, sent={"amount": 0, "to": LARGE}).status == 202  # what waits already can be asked after
        assert at.call(kernel, who="bob").status == 202 and at.call(kernel, tool="tools/note").status == 200
        listed = kernel.ask("control", "GET", "/v1/approvals", token=at.operator)
        assert listed.status == 200 and len(listed.value["held"]) == held + 1
        assert len(listed.data) < HELD_BYTES_MAX + 2 * BYTES_MAX
        kernel.end()
    place.check()


def test_a_poll_is_a_receipt_and_no_second_copy_of_the_call(place: Place) -> None:
    at, polls = office(place), 16
    with up(place) as kernel:
        large = {"amount": 1, "to": LARGE}
        for sent in (large, SENT):
            at.call(kernel, sent=sent)
        before, count = stored(place), len(place.receipts())
        for _ in range(polls):
            assert at.call(kernel, sent=large).status == 202
        assert len(place.receipts()) == count + polls
        assert stored(place) - before < polls * POLL_BYTES_MAX + (1 << 20)  # SQLite's log of writes is folded now and then
        kernel.end()
    assert stored(place) < 2 * BYTES_MAX + polls * POLL_BYTES_MAX
    place.check()


def test_an_agent_with_a_rate_polls_at_that_rate_and_fills_no_disk(place: Place) -> None:
    at, polls = office(place, b"", "ann", limits=Limits(per_s=1, burst=3)), 40
    with up(place) as kernel:
        first = at.call(kernel)
        count = len(place.receipts())
        answers = [at.call(kernel) for _ in range(polls)]
        refused = [answer for answer in answers if answer.status == 429]
        assert first.status == 202 and {answer.status for answer in answers} == {202, 429}
        assert all(answer.code == "ERR_RATE_LIMITED" and int(answer.fields["retry-after"]) > 0 for answer in refused)
        kernel.end()
    kinds = [receipt.kind.value for receipt in place.receipts()[count:]]
    assert kinds.count("decision") == polls - len(refused)
    gaps = [receipt.body["counts"] for receipt in place.receipts() if receipt.kind.value == "gap"]
    assert sum(count["ERR_RATE_LIMITED"] for count in gaps) == len(refused)  # type: ignore[index,call-overload,misc]
    assert len(at.held()) == 1
    place.check()


def test_a_kernel_that_ends_keeps_nobody_waiting_for_a_person(place: Place) -> None:  # 9.23
    at = office(place)
    with up(place) as kernel, ThreadPoolExecutor(4) as many:
        waiting = [many.submit(at.call, kernel, prefer="wait=300") for _ in range(4)]
        while 'plane="data"' not in at.metrics(kernel) and sum(r.kind.value == "decision" for r in place.receipts()) < 4:
            pass
        assert kernel.end() == (0, "")
        assert [future.result().value["helm"]["verdict"] for future in waiting] == ["ESCALATE"] * 4
    assert at.done == [] and len(at.held()) == 1
    place.check()
    with up(place) as kernel:  # it waits for them, and what they say counts
        at.say(at.one(), Act.APPROVE, place.approver)
        assert at.call(kernel).status == 200
        kernel.end()


def test_what_waits_for_a_person_is_told_to_people_and_to_nobody_else(place: Place) -> None:  # 9.24
    canary = "canary-7f3a91"
    at = office(place, b"", "ann", "bob")
    with up(place) as kernel:
        held = at.call(kernel, sent={"to": canary})
        nonce = at.challenge(kernel, at.one().ceremony.call, place.approver.public.id).value["nonce"]
        no = at.attack(kernel, at.one(), place.approver, nonce="0" * 32)
        for who in ("ann", "bob"):
            told = kernel.ask("data", "GET", "/mcp/v1/capabilities", token=at.tokens[who]).data
            assert canary.encode() not in told
        other = at.call(kernel, who="bob", sent={"to": "x"})
        texts = [held.data, no.data, other.data, at.metrics(kernel).encode()]
        for path in ("/v1/receipts", "/v1/tools", "/v1/policy", "/v1/trust", "/readyz", "/checkpoint"):
            texts.append(kernel.ask("control", "GET", path, token=at.operator).data)
        for secret in (canary, str(nonce), at.operator, at.tokens["ann"]):
            assert not any(secret.encode() in text for text in texts), secret
        assert canary.encode() in kernel.ask("control", "GET", "/v1/approvals", token=at.operator).data
        code, said = kernel.end()
    assert (code, said) == (0, "")
    assert not any(canary.encode() in receipt.line for receipt in place.receipts())
    assert not any(canary.encode() in file.read_bytes() for file in place.paths.home.rglob("*") if file.is_file())


def test_who_is_taken_away_finds_what_was_approved_closed(place: Place) -> None:  # 9.13
    at = office(place, b"", "ann", "bob")
    with up(place) as kernel:
        at.call(kernel)
        at.say(at.one(), Act.APPROVE, place.approver)
        stolen = at.tokens["ann"]
        made = agents.rotate(place.paths, "ann").token
        assert at.call(kernel).status == 401
        at.tokens["ann"] = stolen[:-1] + ("A" if stolen[-1] != "A" else "B")
        assert at.call(kernel).status == 401 and at.done == []
        at.tokens["ann"] = at.tokens["bob"]  # another agent with the same call: another person's question
        assert at.call(kernel).status == 202 and at.done == []
        at.tokens["ann"] = made or ""
        assert at.call(kernel).status == 200 and at.done == [["send", SENT]]
        kernel.end()
    place.check()


def test_a_held_call_is_of_its_agent_whichever_session_is_named(place: Place) -> None:  # 9.20
    at = office(place, b"", "ann", "bob")
    with up(place) as kernel:
        own = at.call(kernel).fields["helm-session"]
        at.say(at.one(), Act.APPROVE, place.approver)
        for session in (own, "0" * 32):
            no = at.call(kernel, who="bob", helm_session=session)
            assert (no.status, no.code) == (409, "ERR_SESSION_ENDED") and at.done == []
        assert at.call(kernel, helm_session="0" * 32).status == 409 and at.done == []
        assert at.call(kernel, helm_session=own).status == 200
        kernel.end()
    place.check()
