"""The ProofGraph: its edges are those of the receipts, its faults are found at the receipt, its drawing is safe to look at."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.graph import Link, ProofGraph, causes, check_causes, draw
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
    assert len(GRAPH.edges) == len(set(GRAPH.edges))
    assert {edge.cause for edge in GRAPH.edges} <= GRAPH.receipts.keys()
    sessions = len({receipt.session for receipt in STORY})
    assert sum(edge.link is Link.SESSION for edge in GRAPH.edges) == len(STORY) - sessions
    for receipt in STORY:
        check_causes(receipt, {other.leaf: other.index for other in STORY})


@settings(deadline=None)
@given(st.permutations(range(len(STORY))))
def test_the_graph_does_not_depend_on_the_order_of_the_receipts(order: list[int]) -> None:
    graph = ProofGraph.of(STORY[index] for index in order)
    assert set(graph.edges) == set(GRAPH.edges)


def node(name: int, *parents: int) -> Receipt:
    """A receipt with a leaf of our choosing: a cycle of real hashes cannot be found."""
    leaves = [digest(b"%d" % parent) for parent in parents]
    return Receipt(
        Kind.RECOVERY, "log", "0" * 32, 0, digest(b""), tuple(leaves), Trust(1, digest(b"")), {}, b"", digest(b"%d" % name), name
    )


def faults(log: list[Receipt]) -> list[Finding]:
    """What the checklist says of each receipt's causes, in the order in which they are written."""
    index_of = {receipt.leaf: index for index, receipt in enumerate(log)}
    found = []
    for index, receipt in enumerate(log):
        try:
            check_causes(replace(receipt, index=index), index_of)
        except EvidenceError as error:
            found.append(error.finding)
    return found


@settings(deadline=None)
@given(st.permutations(range(5)), st.integers(1, 5))
def test_a_cycle_is_found_in_whatever_order_it_is_written(order: list[int], size: int) -> None:
    """Five receipts, of which the first so many name each other in a ring and the others the one before."""
    nodes = [node(name, (name - 1) % size if name < size else name - 1) for name in range(5)]
    found = faults([nodes[name] for name in order])
    assert set(found) & {Finding.CHAIN_ORDER, Finding.DAG_CYCLE}


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), max_size=3), max_size=6))
def test_a_log_whose_causes_all_come_before_has_no_cycle_and_no_loose_end(parents: list[list[int]]) -> None:
    log = [node(name, *named) for name, named in enumerate(parents)]
    assert (faults(log) == []) == all(parent < name for name, named in enumerate(parents) for parent in named)


def test_a_receipt_that_names_itself_is_a_cycle() -> None:
    assert faults([node(7, 7)]) == [Finding.DAG_CYCLE]


def test_an_edge_from_nowhere_dangles() -> None:
    assert faults([node(0), node(1, 0, 9)]) == [Finding.DAG_DANGLING]


def test_a_cause_must_come_before_its_effect() -> None:
    assert faults([node(1, 2), node(2)]) == [Finding.CHAIN_ORDER]
    assert faults([node(2), node(1, 2)]) == []


def test_a_long_line_and_a_wide_node_need_no_recursion() -> None:
    line = [node(0), *(node(name, name - 1) for name in range(1, 5000)), node(5000, *range(5000))]
    assert faults(line) == []
    assert faults([node(0, 5000), *line[1:]]) == [Finding.CHAIN_ORDER]
    assert len(ProofGraph.of(line).edges) == 2 * 5000 - 1


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
