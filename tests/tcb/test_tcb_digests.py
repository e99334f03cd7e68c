"""Many digests in little memory: as a list that knows where each first stands, and no larger than it says."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb import digests as module
from helm_ai_kernel.tcb.digest import sha256, text
from helm_ai_kernel.tcb.digests import Digests

raws = st.integers(0, 40).map(lambda number: sha256(b"%d" % number))


@settings(deadline=None)
@given(st.lists(raws, max_size=200))
def test_it_is_a_list_that_knows_where_each_first_stands(items: list[bytes]) -> None:
    table = Digests()
    places = [table.append(raw) for raw in items]
    assert list(table) == items and len(table) == len(items)
    assert places == [items.index(raw) for raw in items]
    for raw in {*items, sha256(b"absent")}:
        expected = items.index(raw) if raw in items else -1
        assert table.find(raw) == expected
        assert table.get(text(raw)) == (None if expected < 0 else expected)


def test_it_grows_and_still_finds_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST", 2)
    table, items = Digests(), [sha256(b"%d" % number) for number in range(3000)]
    for raw in items:
        table.append(raw)
    assert [table.find(raw) for raw in items] == list(range(3000))


def test_a_digest_costs_at_most_fifty_bytes() -> None:
    tracemalloc.start()
    try:
        table = Digests()
        for number in range(60_000):
            table.append(sha256(b"%d" % number))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 50 * 60_000
