"""A part of a log: whatever is chosen can be proven, and nothing else is. Its form and its story are in the vectors."""

from contextlib import suppress
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trees
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.merkle import leaf_hash, root, walk
from helm_ai_kernel.tcb.part import Inclusion, Places

sizes = st.integers(1, 70)


@cache
def leaves(size: int) -> list[bytes]:
    return [leaf_hash(b"%d" % number) for number in range(size)]


def ranged(places: list[int]) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for place in places:
        if found and sum(found[-1]) == place:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((place, 1))
    return tuple(found)


def proof(size: int, places: list[int]) -> Inclusion:
    hashes: list[bytes] = []

    def other(start: int, end: int) -> bytes:
        hashes.append(root(leaves(size)[start:end]))
        return hashes[-1]

    own = iter([leaves(size)[place] for place in places])
    walk(size, ranged(places), lambda: next(own), other)
    return Inclusion(ranged(places), tuple(hashes))


@st.composite
def chosen(draw: st.DrawFn) -> tuple[int, list[int]]:
    size = draw(sizes)
    return size, sorted(draw(st.sets(st.integers(0, size - 1), min_size=1)))


@settings(deadline=None)
@given(chosen())
def test_any_choice_leads_to_the_root_and_reads_back_as_it_was_written(part: tuple[int, list[int]]) -> None:
    size, places = part
    made = proof(size, places)
    if places[-1] == size - 1:
        made.check(len(places), size)
    else:
        with pytest.raises(EvidenceError):
            made.check(len(places), size)
    assert made.root(size, [leaves(size)[place] for place in places]) == root(leaves(size))
    assert Inclusion.from_bytes(made.to_bytes(), len(places)) == made


@settings(deadline=None)
@given(chosen(), st.data())
def test_no_other_leaf_or_hash_does(part: tuple[int, list[int]], data: st.DataObject) -> None:
    size, places = part
    made, own = proof(size, places), [leaves(size)[place] for place in places]
    wrong = data.draw(st.integers(0, len(own) - 1))
    changes = [(made, size, [*own[:wrong], leaf_hash(b"other"), *own[wrong + 1 :]])]
    if made.hashes:
        at = data.draw(st.integers(0, len(made.hashes) - 1))
        changes.append((Inclusion(made.ranges, (*made.hashes[:at], leaf_hash(b"x"), *made.hashes[at + 1 :])), size, own))
        changes.append((Inclusion(made.ranges, made.hashes[:-1]), size, own))
    changes.append((Inclusion(made.ranges, (*made.hashes, leaf_hash(b"more"))), size, own))
    for inclusion, claimed, lines in changes:
        with suppress(EvidenceError):
            assert inclusion.root(claimed, lines) != root(leaves(size))


@settings(deadline=None)
@given(sizes, st.data())
def test_for_one_receipt_it_has_the_hashes_of_its_inclusion_proof(size: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, size - 1))
    path = trees.inclusion_proof(leaves(size), place)
    assert list(proof(size, [place]).hashes) == trees.left_to_right(path, place, size)


@settings(deadline=None)
@given(chosen(), st.integers(0, 80))
def test_each_line_has_its_place_and_so_many_stand_below_a_size(part: tuple[int, list[int]], below: int) -> None:
    _, places = part
    found = Places(ranged(places))
    assert [found[line] for line in range(len(places))] == places
    assert found.below(below) == sum(place < below for place in places)


def test_a_proof_for_a_log_that_nobody_could_write_ends_soon() -> None:
    with pytest.raises(EvidenceError):
        Inclusion(((1 << 52, 1),), ()).root(1 << 53, [leaf_hash(b"")])
