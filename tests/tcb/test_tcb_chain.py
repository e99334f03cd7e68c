"""The chain rule by itself; `tests/models/` compares it with a second statement of the rule."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from helm_ai_kernel.tcb.chain import Chain, Chains
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.digest import digest, raw
from helm_ai_kernel.tcb.digests import Digests
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.receipt import SEQ_MAX, Kind, Receipt
from packs import short, story

LOG = short().receipts
AGENT = [receipt for receipt in LOG if receipt.session == LOG[2].session]  # start, ALLOW, outcome, end
START, ALLOW, OUTCOME, END = AGENT


def chained(*receipts: Receipt) -> Chain:
    chain = Chain.begin(receipts[0])
    for receipt in receipts[1:]:
        chain = chain.next(receipt)
    return chain


def test_every_session_of_a_log_is_a_chain() -> None:
    log = story().receipts
    for session in {receipt.session for receipt in log}:
        own = [receipt for receipt in log if receipt.session == session]
        chain = chained(*own)
        assert (chain.seq, chain.leaf) == (own[-1].seq, own[-1].leaf)


def test_an_ended_session_is_known_as_ended() -> None:
    assert chained(*AGENT).ended and not chained(*AGENT[:-1]).ended


def other(receipt: Receipt, **changes: object) -> Receipt:
    """Another receipt in that place: its leaf differs, as that of other bytes does."""
    changed = replace(receipt, **changes)  # type: ignore[arg-type]
    return replace(changed, leaf=digest(repr(changed).encode()))


@pytest.mark.parametrize(
    ("finding", "before", "receipt"),
    [
        (Finding.CHAIN_ORDER, [START, ALLOW], other(OUTCOME, session="0" * 32)),
        (Finding.DUPLICATE, [START, ALLOW], ALLOW),
        (Finding.SESSION_DUPLICATE, [START, ALLOW], other(START)),
        (Finding.CHAIN_ORDER, AGENT, other(OUTCOME, seq=4, prev=END.leaf)),
        (Finding.CHAIN_FORK, [START, ALLOW], other(ALLOW)),
        (Finding.LAMPORT_EQUAL, [START, ALLOW], other(OUTCOME, seq=1)),
        (Finding.LAMPORT_REGRESSION, [START, ALLOW, OUTCOME], other(END, seq=1)),
        (Finding.CHAIN_GAP, [START, ALLOW], other(OUTCOME, seq=3)),
        (Finding.CHAIN_GAP, [START], OUTCOME),
        (Finding.CHAIN_ORDER, [START, ALLOW, OUTCOME], other(OUTCOME, prev=digest(b"elsewhere"))),
        (Finding.CHAIN_ORDER, [START], other(ALLOW, kind=Kind.SESSION, body={"event": "start"})),
        (Finding.CHAIN_GAP, [START, ALLOW, OUTCOME], other(END, body={**END.body, "count": 4})),
    ],
)
def test_what_may_not_follow_is_named(finding: Finding, before: list[Receipt], receipt: Receipt) -> None:
    with pytest.raises(EvidenceError) as raised:
        chained(*before).next(receipt)
    assert raised.value.finding is finding


@pytest.mark.parametrize(
    ("finding", "receipt"),
    [
        (Finding.CHAIN_GAP, ALLOW),
        (Finding.CHAIN_ORDER, other(START, kind=Kind.DECISION)),
        (Finding.CHAIN_ORDER, other(START, body={"event": "end", "count": 0})),
        (Finding.CHAIN_GAP, other(START, prev=digest(b"elsewhere"))),
    ],
)
def test_only_a_start_begins_a_session(finding: Finding, receipt: Receipt) -> None:
    with pytest.raises(EvidenceError) as raised:
        Chain.begin(receipt)
    assert raised.value.finding is finding


def test_the_number_after_the_last_one_is_refused() -> None:
    last = Chain(START.session, SEQ_MAX, START.prev, START.leaf)
    with pytest.raises(EvidenceError, match="CHAIN_GAP"):
        last.next(other(ALLOW, seq=SEQ_MAX + 1))


def faults(log: list[Receipt]) -> list[tuple[int, Finding]]:
    """What `Chains` says about this order of receipts, by place."""
    log = [replace(receipt, index=index) for index, receipt in enumerate(log)]
    index_of = Digests()
    for receipt in log:
        index_of.append(raw(receipt.leaf))
    chains, found = Chains(index_of), []
    for receipt in log:
        try:
            chains.append(receipt)
        except EvidenceError as error:
            found.append((receipt.index, error.finding))
    return found


def test_one_fault_is_one_finding_and_the_rest_is_judged_as_before() -> None:
    log = story().receipts
    agent = [receipt for receipt in log if receipt.session == log[2].session]
    middle = agent[3]
    removed = [receipt for receipt in log if receipt is not middle]
    assert faults(removed) == [(agent[4].index - 1, Finding.CHAIN_GAP)]
    assert faults([*log, middle]) == [(len(log), Finding.DUPLICATE)]
    twin = other(middle)
    assert faults([*log[: middle.index + 1], twin, *log[middle.index + 1 :]]) == [(middle.index + 1, Finding.CHAIN_FORK)]


def test_a_fault_is_named_by_the_whole_log() -> None:
    log = list(AGENT[:3])
    assert faults([START, OUTCOME, ALLOW]) == [(1, Finding.CHAIN_ORDER), (2, Finding.CHAIN_ORDER)]
    assert faults([ALLOW, START, OUTCOME])[0] == (0, Finding.CHAIN_ORDER)
    assert faults([*log, other(ALLOW)]) == [(3, Finding.CHAIN_FORK)]


@pytest.mark.parametrize("change", [lambda log: log[1:], lambda log: log[:1] + log[2:]])
def test_a_missing_receipt_is_a_gap(change: Callable[[list[Receipt]], list[Receipt]]) -> None:
    assert {finding for _, finding in faults(change(list(AGENT)))} == {Finding.CHAIN_GAP}
