"""The chain rule and the Merkle root of the product against models that share no line with them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import trees
from helm_ai_kernel.tcb import merkle
from helm_ai_kernel.tcb.chain import Chains
from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.digest import Digest, digest, raw
from helm_ai_kernel.tcb.digests import Digests
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.receipt import Kind, Receipt, Trust
from models.chain_model import Link, is_whole, tree_root
from packs import relined, story

HEADS = (digest(b"a registry"), digest(b"the same registry, one event later"))
SESSIONS = ("0" * 32, "1" * 32, "2" * 32)


def test_the_models_import_nothing_of_the_product() -> None:
    for model in sorted(Path(__file__).parent.glob("*_model.py")):
        text = model.read_text()
        assert "helm_ai_kernel" not in text, f"{model.name} leans on the product"
        assert "importlib" not in text and "__import__" not in text


@dataclass(frozen=True)
class Step:
    """A receipt before it has a leaf: what a fault may change."""

    session: str
    seq: int
    prev: Digest
    anchor: Digest = HEADS[0]
    event: str = ""
    count: int = -1
    salt: int = 0  # makes two receipts of one place differ, as signatures do

    @property
    def leaf(self) -> Digest:
        return digest(repr(self).encode())


def honest(picks: Sequence[tuple[int, bool]]) -> list[Step]:
    """A log of up to three sessions: each pick appends to one of them, and may end it."""
    log: list[Step] = []
    heads: dict[str, Step] = {}
    for which, end in picks:
        session = SESSIONS[which]
        head = heads.get(session)
        if head is None:
            step = Step(session, 0, HEADS[which % 2], HEADS[which % 2], "start")
        elif head.event == "end":
            continue
        else:
            event, count = ("end", head.seq + 1) if end else ("", -1)
            step = Step(session, head.seq + 1, head.leaf, HEADS[which % 2], event, count)
        heads[session] = step
        log.append(step)
    return log


def relinked(log: Sequence[Step]) -> list[Step]:
    """The same receipts with every `prev` made to fit what now stands before it: a forger's best effort."""
    heads: dict[str, Digest] = {}
    out = []
    for step in log:
        out.append(replace(step, prev=heads.get(step.session, step.prev)))
        heads[step.session] = out[-1].leaf
    return out


def spoiled(log: list[Step], what: str, at: int, by: int) -> list[Step]:
    """`log` with one fault; where the log has no such place it stays as it is."""
    at %= len(log)
    other = (at + 1 + by) % len(log)
    step = log[at]
    if what == "drop":
        return log[:at] + log[at + 1 :]
    if what == "cut":
        return log[:at]
    if what == "repeat":
        return [*log[: other + 1], step, *log[other + 1 :]]
    if what == "swap":
        log[at], log[other] = log[other], log[at]
        return log
    changed = {
        "seq": {"seq": max(0, step.seq + (by % 5) - 2)},
        "prev": {"prev": log[other].leaf},
        "own prev": {"prev": step.leaf},
        "session": {"session": SESSIONS[by % 3]},
        "anchor": {"anchor": HEADS[by % 2]},
        "event": {"event": ("", "start", "end")[by % 3], "count": step.seq},
        "count": {"count": by - 2},
        "salt": {"salt": by},
    }[what]
    log[at] = replace(step, **changed)  # type: ignore[arg-type]
    return log


FAULTS = ("drop", "cut", "repeat", "swap", "seq", "prev", "own prev", "session", "anchor", "event", "count", "salt", "relink")


def receipt(step: Step, index: int) -> Receipt:
    body: dict[str, Json] = {"event": step.event, "count": step.count} if step.event else {}
    kind = Kind.SESSION if step.event else Kind.DECISION
    return Receipt(kind, "log", step.session, step.seq, step.prev, (), Trust(1, step.anchor), body, b"", step.leaf, index)


def accepts(log: Sequence[Step]) -> bool:
    receipts = [receipt(step, index) for index, step in enumerate(log)]
    index_of = Digests()
    for one in receipts:
        index_of.append(raw(one.leaf))
    chains, faults = Chains(index_of), 0
    for one in receipts:
        try:
            chains.append(one)
        except EvidenceError:
            faults += 1
    return faults == 0


def links(log: Sequence[Step]) -> list[Link]:
    return [Link(s.session, s.seq, s.prev, s.leaf, s.anchor, s.event, s.count) for s in log]


picks = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([False, False, False, False, True])), min_size=1, max_size=14)
faults = st.lists(st.tuples(st.sampled_from(FAULTS), st.integers(0, 20), st.integers(0, 6)), max_size=3)


@given(picks)
def test_an_honest_log_is_whole_for_the_product_and_for_the_model(chosen: list[tuple[int, bool]]) -> None:
    log = honest(chosen)
    assert accepts(log) and is_whole(links(log))


@settings(max_examples=400, deadline=None)
@given(picks, faults)
@example([(0, False), (0, False), (0, False)], [("drop", 1, 0), ("relink", 0, 0)])
@example([(0, False), (0, False), (0, True), (0, False)], [("event", 2, 0)])
def test_product_and_model_agree_on_every_spoiled_log(chosen: list[tuple[int, bool]], what: list[tuple[str, int, int]]) -> None:
    log = honest(chosen)
    for fault, at, by in what:
        if log:
            log = relinked(log) if fault == "relink" else spoiled(log, fault, at, by)
    assert accepts(log) == is_whole(links(log))


def test_every_single_fault_is_tried_and_most_are_seen() -> None:
    """Agreement alone could be two readers that accept everything."""
    chosen = [(0, False), (1, False), (0, False), (1, False), (0, False), (1, True), (0, True)]
    refused = 0
    tried = 0
    for fault in FAULTS[:-1]:
        for at in range(len(chosen)):
            for by in range(7):
                log = spoiled(honest(chosen), fault, at, by)
                if log != honest(chosen):
                    tried += 1
                    refused += not accepts(log)
                    assert accepts(log) == is_whole(links(log)), (fault, at, by)
    assert tried > 300 and refused > 0.75 * tried


moves = st.lists(
    st.tuples(st.sampled_from(["drop", "cut", "repeat", "swap"]), st.integers(0, 40), st.integers(0, 40)), max_size=2
)


@settings(max_examples=60, deadline=None)
@given(moves)
def test_the_checklist_finds_a_broken_chain_exactly_where_the_model_says_so(what: list[tuple[str, int, int]]) -> None:
    """Packs of real receipts in another order, with the log's own signature under the tree that results."""
    log = story()
    lines = list(log.lines)
    for fault, at, by in what:
        at, by = at % len(lines), by % len(lines)
        if fault == "swap":
            lines[at], lines[by] = lines[by], lines[at]
        lines = {
            "drop": lines[:at] + lines[at + 1 :],
            "cut": lines[: at + 1],
            "repeat": [*lines[:by], lines[at], *lines[by:]],
        }.get(fault, lines)
    report = verify(relined(log, lines), Question(genesis=log.genesis))
    links = [link(Receipt.from_bytes(line)) for line in lines]
    assert is_whole(links) == all(found.step != "V7" for found in report.findings)
    assert is_whole(links) or report.exit is Exit.INVALID


def link(one: Receipt) -> Link:
    count = one.body.get("count", -1)
    assert isinstance(count, int)
    return Link(one.session, one.seq, one.prev, one.leaf, one.trust.head, str(one.body.get("event", "")), count)


@given(st.lists(st.binary(max_size=8), max_size=80))
def test_the_root_is_that_of_the_recursive_definition(lines: list[bytes]) -> None:
    leaves = [hashlib.sha256(b"\0" + line).digest() for line in lines]
    frontier = merkle.Frontier()
    for one in leaves:
        frontier = frontier.append(one)
    assert merkle.root(leaves) == frontier.root() == tree_root(leaves)


@given(st.integers(1, 40), st.data())
def test_every_consistency_proof_leads_to_the_roots_of_the_model(size: int, data: st.DataObject) -> None:
    leaves = [merkle.leaf_hash(b"%d" % n) for n in range(size)]
    older = data.draw(st.integers(1, size))
    proof = trees.consistency_proof(leaves, older)
    merkle.verify_consistency(older, tree_root(leaves[:older]), size, tree_root(leaves), proof)
    other_root = tree_root([*leaves[: older - 1], b"x" * 32])
    with pytest.raises(EvidenceError):
        merkle.verify_consistency(older, other_root, size, tree_root(leaves), proof)
