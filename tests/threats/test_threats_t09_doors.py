"""T9, the doors: what one agent, or whoever is beside it, can do to everybody else's calls and to the people who answer."""

from app.kernels import Place
from app.residents import up
from helm_ai_kernel.ledger.asked import HELD_BYTES_MAX, HELD_MAX
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
