"""The tree against the probes of transparency-dev/merkle, the definition in RFC 6962, and every small change to small proofs."""

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trees
from corpora import corpus
from helm_ai_kernel.tcb import merkle
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.merkle import EMPTY_ROOT, HASH_BYTES, Frontier
from helm_ai_kernel.tcb.part import Inclusion

SIZE_MAX = 70  # past 64, so that every shape up to six levels and a ragged seventh occurs
FAILS = (Finding.INCLUSION_FAIL, Finding.PACK_MALFORMED)  # it leads elsewhere, or cannot be a proof of that size at all
LEAVES = [merkle.leaf_hash(b"%d" % n) for n in range(SIZE_MAX)]


ROOTS = [trees.root(LEAVES[:size]) for size in range(SIZE_MAX + 1)]


def finding(check: Callable[..., object], *arguments: object) -> Finding | None:
    try:
        check(*arguments)
    except EvidenceError as error:
        return error.finding
    return None


def included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> Finding | None:
    """As a pack's proof of one receipt, which is read before it is judged."""
    if len(leaf) != HASH_BYTES or len(root) != HASH_BYTES or size < 0:
        return Finding.PACK_MALFORMED  # what a line is hashed to, and what a checkpoint signs, is otherwise

    def check() -> None:
        named = ["sha256:" + item.hex() for item in trees.left_to_right(proof, index, size)]
        body = {"hashes": named, "kind": "inclusion", "ranges": [[index, 1]], "v": 1}
        made = Inclusion.from_bytes(json.dumps(body, separators=(",", ":")).encode(), 1)
        if made.root(size, [leaf]) != root:
            raise EvidenceError(Finding.INCLUSION_FAIL, "it leads elsewhere")

    return finding(check)


def consistent(size1: int, root1: bytes, size2: int, root2: bytes, proof: Sequence[bytes]) -> Finding | None:
    return finding(merkle.verify_consistency, size1, root1, size2, root2, proof)


def probes(kind: str) -> list[Path]:
    return sorted((corpus("merkle") / kind).rglob("*.json"))


def hashes(values: Sequence[str] | None) -> list[bytes]:
    return [base64.b64decode(value or "") for value in values or []]


def test_every_inclusion_probe_is_decided_as_its_file_says() -> None:
    paths = probes("inclusion")
    assert len(paths) > 90
    for path in paths:
        probe = json.loads(path.read_bytes())
        root, leaf = hashes([probe["root"], probe["leafHash"]])
        found = included(leaf, probe["leafIdx"], probe["treeSize"], hashes(probe["proof"]), root)
        assert (found in FAILS) == probe["wantErr"] and found in (*FAILS, None), path


def test_every_consistency_probe_is_decided_as_its_file_says() -> None:
    paths = probes("consistency")
    assert len(paths) > 90
    for path in paths:
        probe = json.loads(path.read_bytes())
        root1, root2 = hashes([probe["root1"], probe["root2"]])
        found = consistent(probe["size1"], root1, probe["size2"], root2, hashes(probe["proof"]))
        assert found is (Finding.CONSISTENCY_FAIL if probe["wantErr"] else None), path


@given(st.lists(st.binary(max_size=80), max_size=200))
def test_the_frontier_has_the_root_of_all_that_was_appended(data: list[bytes]) -> None:
    leaves = [merkle.leaf_hash(item) for item in data]
    frontier = Frontier()
    for leaf in leaves:
        frontier = Frontier.from_bytes(frontier.append(leaf).to_bytes())
    assert frontier.size == len(leaves)
    assert frontier.root() == merkle.root(leaves) == trees.root(leaves)


def test_every_proof_of_inclusion_verifies_and_no_changed_one_does() -> None:
    for size in range(1, SIZE_MAX + 1):
        for index in range(size):
            proof, root = trees.inclusion_proof(LEAVES[:size], index), ROOTS[size]
            assert included(LEAVES[index], index, size, proof, root) is None
            for changed in changes(proof):
                assert included(LEAVES[index], index, size, changed, root) in FAILS
            for other in {(index + 1) % size, index ^ 1, size - 1 - index} - {index}:
                assert included(LEAVES[index], other, size, proof, root) in FAILS
                assert included(LEAVES[other], index, size, proof, root) in FAILS
            assert included(LEAVES[index], index, size, proof, ROOTS[size - 1]) in FAILS


def test_every_proof_of_consistency_verifies_and_no_changed_one_does() -> None:
    for size2 in range(1, SIZE_MAX + 1):
        for size1 in range(1, size2 + 1):
            proof = trees.consistency_proof(LEAVES[:size2], size1)
            root1, root2 = ROOTS[size1], ROOTS[size2]
            assert consistent(size1, root1, size2, root2, proof) is None
            for changed in changes(proof):
                assert consistent(size1, root1, size2, root2, changed) is Finding.CONSISTENCY_FAIL
            assert consistent(size1, ROOTS[size1 - 1], size2, root2, proof) is Finding.CONSISTENCY_FAIL
            assert consistent(size1, root1, size2, ROOTS[size2 - 1], proof) is Finding.CONSISTENCY_FAIL
            if size1 != size2:
                assert consistent(size1, root2, size2, root1, proof) is Finding.CONSISTENCY_FAIL


def changes(proof: list[bytes]) -> list[list[bytes]]:
    """A hash more or less at each end, and in each place: a changed bit, a swap with its neighbour, and bytes moved into it."""
    out = [[*proof, EMPTY_ROOT], [EMPTY_ROOT, *proof]]
    for place, item in enumerate(proof):
        before, after = proof[:place], proof[place + 1 :]
        out.append([*before, *after])
        out.append([*before, bytes([item[0] ^ 1]) + item[1:], *after])
        out.append([*before, item[:-1], *after])
        out.append([*before, item + b"\0", *after])
        if after:
            out.append([*before, after[0], item, *after[1:]])
            out.append([*before, item + after[0][:1], after[0][1:], *after[1:]])
            out.append([*before, item[1:], after[0] + item[:1], *after[1:]])
    return out


def test_a_node_cannot_pass_for_a_leaf() -> None:
    pair = LEAVES[0] + LEAVES[1]  # 64 bytes that hash like a node, were it not for the first byte
    assert merkle.leaf_hash(pair) != merkle.node_hash(LEAVES[0], LEAVES[1])
    assert included(merkle.leaf_hash(pair), 0, 2, [LEAVES[2]], ROOTS[3]) in FAILS
    inner = merkle.node_hash(LEAVES[0], LEAVES[1])
    assert included(inner, 0, 4, trees.inclusion_proof(LEAVES[:4], 0)[1:], ROOTS[4]) in FAILS


def test_a_proof_is_as_long_as_its_index_and_size_demand() -> None:
    for size in range(1, 10):
        for index in range(size):
            proof = trees.inclusion_proof(LEAVES[:size], index)
            for size2, index2 in ((n, i) for n in range(-1, 10) for i in range(-2, 10)):
                if included(LEAVES[index], index2, size2, proof, ROOTS[size]) is None:
                    assert 0 <= index2 < size2
                    assert len(proof) == len(trees.inclusion_proof(LEAVES[:size2], index2))
        for size1 in range(1, size + 1):
            proof = trees.consistency_proof(LEAVES[:size], size1)
            for small, large in ((a, b) for b in range(-1, 10) for a in range(-2, 10)):
                if consistent(small, ROOTS[size1], large, ROOTS[size], proof) is None:
                    assert 0 < small <= large
                    assert len(proof) == len(trees.consistency_proof(LEAVES[:large], small))


@pytest.mark.parametrize("index", [-1, 1, 2, 2**64, -(2**64)])
def test_no_leaf_is_outside_its_tree(index: int) -> None:
    assert included(LEAVES[0], index, 1, [], ROOTS[1]) in FAILS


def test_the_empty_tree_proves_nothing() -> None:
    assert merkle.root([]) == Frontier().root() == EMPTY_ROOT == hashlib.sha256(b"").digest()
    assert included(LEAVES[0], 0, 0, [], EMPTY_ROOT) in FAILS
    assert included(EMPTY_ROOT, 0, 0, [], EMPTY_ROOT) in FAILS
    for size2, proof in ((0, []), (1, []), (1, [ROOTS[1]]), (-1, [])):
        assert consistent(0, EMPTY_ROOT, size2, ROOTS[max(size2, 0)], proof) is Finding.CONSISTENCY_FAIL
    assert consistent(-1, EMPTY_ROOT, 1, ROOTS[1], []) is Finding.CONSISTENCY_FAIL


def test_a_tree_is_not_consistent_with_a_smaller_one() -> None:
    proof = trees.consistency_proof(LEAVES[:7], 4)
    assert consistent(4, ROOTS[4], 7, ROOTS[7], proof) is None
    assert consistent(7, ROOTS[7], 4, ROOTS[4], proof) is Finding.CONSISTENCY_FAIL
    assert consistent(7, ROOTS[7], 4, ROOTS[4], []) is Finding.CONSISTENCY_FAIL


def test_a_huge_size_costs_no_more_than_its_digits() -> None:
    assert included(LEAVES[0], 2**60, 2**61, [LEAVES[1]] * 61, ROOTS[2]) in FAILS
    assert consistent(2**60, ROOTS[1], 2**61, ROOTS[3], [LEAVES[1]]) is Finding.CONSISTENCY_FAIL


@given(st.integers(0, 100), st.integers(-33, 33))
def test_a_frontier_of_another_length_is_refused(size: int, change: int) -> None:
    frontier = Frontier()
    for n in range(size):
        frontier = frontier.append(merkle.leaf_hash(b"%d" % n))
    data = frontier.to_bytes()
    assert Frontier.from_bytes(data) == frontier
    cut = data[:change] if change < 0 else data + bytes(change)
    if cut != data:
        assert finding(Frontier.from_bytes, cut) is Finding.PACK_MALFORMED
