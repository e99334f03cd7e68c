"""The ProofGraph: its edges are those of the receipts, its faults are found without recursion, its drawing is safe to look at."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.graph import Edge, Link, ProofGraph, causes, check_causes, draw
from helm_ai_kernel.tcb.receipt import Kind, Receipt, Trust
from packs import Log, short, story

STORY = story().receipts
GRAPH = ProofGraph.of(STORY)


def kinds(link: Link) -> set[tuple[str, str]]:
    """Which kinds of receipt that link joins in the story."""
    return {
        (GRAPH.receipts[edge.cause].kind.value, GRAPH.receipts[edge.effect].kind.value)
        for edge in GRAPH.edges
        if edge.link is link
    }


def test_the_links_of_the_story_join_what_they_are_named_after() -> None:
    assert kinds(Link.OUTCOME) == {("decision", "outcome")}
    assert kinds(Link.REPEAT) == {("decision", "decision")}
    assert kinds(Link.HOLD) == {("outcome", "hold")}
    assert kinds(Link.HELD) == {("hold", "decision")}
    assert kinds(Link.RELEASE) == {("hold", "statement")}


def test_a_graph_of_what_a_kernel_wrote_has_no_fault_and_no_second_edge() -> None:
    GRAPH.check()
    assert not GRAPH.dangling() and not GRAPH.cyclic()
    assert len(GRAPH.edges) == len(set(GRAPH.edges))
    sessions = len({receipt.session for receipt in STORY})
    assert sum(edge.link is Link.SESSION for edge in GRAPH.edges) == len(STORY) - sessions
    for receipt in STORY:
        check_causes(receipt, {other.leaf: other.index for other in STORY})


@settings(deadline=None)
@given(st.permutations(range(len(STORY))))
def test_the_graph_does_not_depend_on_the_order_of_the_receipts(order: list[int]) -> None:
    graph = ProofGraph.of(STORY[index] for index in order)
    assert set(graph.edges) == set(GRAPH.edges) and not graph.cyclic()


def node(name: int, *parents: int) -> Receipt:
    """A receipt with a leaf of our choosing: a cycle of real hashes cannot be found."""
    leaves = [digest(b"%d" % parent) for parent in parents]
    return Receipt(
        Kind.RECOVERY, "log", "0" * 32, 0, digest(b""), tuple(leaves), Trust(1, digest(b"")), {}, b"", digest(b"%d" % name), name
    )


def test_a_cycle_and_what_lies_behind_it_are_found() -> None:
    graph = ProofGraph.of([node(0), node(1, 0, 3), node(2, 1), node(3, 2), node(4, 3), node(5, 0)])
    assert graph.cyclic() == tuple(digest(b"%d" % name) for name in (1, 2, 3, 4))
    with pytest.raises(EvidenceError, match="DAG_CYCLE"):
        graph.check()


def test_a_receipt_that_names_itself_is_a_cycle() -> None:
    assert ProofGraph.of([node(7, 7)]).cyclic() == (digest(b"7"),)
    with pytest.raises(EvidenceError) as raised:
        check_causes(node(7, 7), {digest(b"7"): 7})
    assert raised.value.finding is Finding.DAG_CYCLE


def test_an_edge_from_nowhere_dangles() -> None:
    graph = ProofGraph.of([node(0), node(1, 0, 9)])
    assert graph.dangling() == (Edge(digest(b"9"), digest(b"1"), Link.CAUSE),)
    with pytest.raises(EvidenceError, match="DAG_DANGLING"):
        graph.check()


def test_a_cause_must_come_before_its_effect() -> None:
    with pytest.raises(EvidenceError, match="CHAIN_ORDER"):
        check_causes(node(1, 2), {digest(b"1"): 1, digest(b"2"): 2})
    with pytest.raises(EvidenceError, match="DAG_DANGLING"):
        check_causes(node(1, 2), {digest(b"1"): 1})


def test_a_long_line_and_a_wide_node_need_no_recursion() -> None:
    line = [node(0), *(node(name, name - 1) for name in range(1, 5000)), node(5000, *range(5000))]
    assert not ProofGraph.of(line).cyclic()
    assert len(ProofGraph.of([*line, node(0, 5000)]).cyclic()) == 5001


def test_the_most_telling_link_wins_over_a_parent() -> None:
    outcome = next(receipt for receipt in STORY if receipt.kind is Kind.OUTCOME)
    assert causes(outcome) == {Digest(str(outcome.body["decision"])): Link.OUTCOME}


def test_a_session_is_drawn_with_the_causes_behind_each_line() -> None:
    log = short().receipts
    assert list(draw(ProofGraph.of(log), log[2].session[:8])) == [
        f"session {log[2].session}",
        "  #2      start agent at mcp-stdio",
        "  #3      ALLOW demo/add",
        "  #4      outcome OK after 7 ms  <- outcome #3",
        "  #5      end closed",
    ]


def test_every_receipt_is_drawn_once() -> None:
    lines = list(draw(GRAPH))
    assert len(lines) == len(STORY) + len({receipt.session for receipt in STORY})
    assert {line.split()[0] for line in lines if line.startswith(" ")} == {f"#{receipt.index}" for receipt in STORY}


@settings(deadline=None)
@given(st.text(min_size=1, max_size=40))
def test_a_drawing_is_printable_ascii_whatever_receipts_say(text: str) -> None:
    log = Log()
    log.start_kernel()
    log.hold(log.receipts[0].leaf)
    hold = replace(log.receipts[1], body={**log.receipts[1].body, "tool": text})
    start = replace(log.receipts[0], body={**log.receipts[0].body, "principal": text, "door": text})
    for line in draw(ProofGraph.of([start, hold])):
        assert line.isascii() and line.isprintable()
