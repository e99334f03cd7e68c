from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.guardian.budget import CALLS_MAX, Budget, Per
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused

DAILY = Budget("daily", 10, Per.DAY, ("fs/*", "web/get"), ("ann",))


def test_a_budget_covers_its_tools_and_principals_by_exact_name() -> None:
    assert DAILY.covers("ann", "fs/read") and DAILY.covers("ann", "web/get")
    others = [
        ("bob", "fs/read"),
        ("Ann", "fs/read"),
        ("ann", "web/post"),
        ("ann", "fsx/read"),
        ("ann", "FS/read"),
        ("ann", "f/fs/x"),
    ]
    assert not any(DAILY.covers(principal, tool) for principal, tool in others)
    everyone = Budget("all", 1)
    assert everyone.covers("anyone", "any/tool")


@settings(deadline=None)
@given(st.integers(0, CALLS_MAX), st.integers(0, CALLS_MAX))
def test_what_is_left_and_what_was_used_make_the_budget_and_nothing_is_below_zero(calls: int, used: int) -> None:
    left = Budget("b", calls).left(used)
    assert left == calls - used if used <= calls else left == 0


@settings(deadline=None)
@given(st.integers(0, 253_402_300_799_999))
def test_a_day_is_a_day_of_utc(wall_ms: int) -> None:
    start = wall_ms - wall_ms % 86_400_000
    assert DAILY.window("s", wall_ms) == DAILY.window("t", start) == DAILY.window("u", start + 86_399_999)
    if start + 86_400_000 < 253_402_300_800_000:
        assert DAILY.window("s", wall_ms) != DAILY.window("s", start + 86_400_000)


def test_the_windows_of_a_session_of_a_day_and_of_all_time_are_three_things() -> None:
    assert DAILY.window("s1", 1_763_900_000_000) == "day 2025-11-23"
    session, total = replace(DAILY, per=Per.SESSION), replace(DAILY, per=Per.TOTAL)
    assert session.window("s1", 0) == session.window("s1", 10**12) != session.window("s2", 0)
    assert total.window("s1", 0) == total.window("s2", 10**12)
    assert len({budget.window("s", 0) for budget in (DAILY, session, total)}) == 3


def test_a_budget_is_read_from_its_table() -> None:
    table = {"calls": 10, "per": "day", "tools": ["fs/*", "web/get"], "principals": ["ann"]}
    assert Budget.from_config("daily", table) == DAILY
    assert Budget.from_config("total", {"calls": 0}) == Budget("total", 0, Per.TOTAL, ("*",), None)


@pytest.mark.parametrize(
    ("name", "table", "word"),
    [
        ("daily", {"calls": 1, "toolz": ["*"]}, "tools"),
        ("daily", {}, "calls"),
        ("daily", {"calls": True}, "calls"),
        ("daily", {"calls": -1}, "calls"),
        ("daily", {"calls": 1.0}, "calls"),
        ("daily", {"calls": "1"}, "calls"),
        ("daily", {"calls": 2**53}, "calls"),
        ("daily", {"calls": 1, "per": "week"}, "day"),
        ("daily", {"calls": 1, "per": ["day"]}, "day"),
        ("daily", {"calls": 1, "tools": "fs/*"}, "tools"),
        ("daily", {"calls": 1, "tools": []}, "tools"),
        ("daily", {"calls": 1, "tools": ["fs"]}, "server/tool"),
        ("daily", {"calls": 1, "tools": ["*/read"]}, "server/tool"),
        ("daily", {"calls": 1, "tools": ["f*/read"]}, "server/tool"),
        ("daily", {"calls": 1, "principals": []}, "principals"),
        ("daily", {"calls": 1, "principals": [1]}, "principals"),
        ("Daily", {"calls": 1}, "name"),
        ("", {"calls": 1}, "name"),
    ],
)
def test_a_table_that_says_anything_else_is_refused_with_a_hint(name: str, table: dict[str, object], word: str) -> None:
    with pytest.raises(Refused) as refused:
        Budget.from_config(name, table)
    assert refused.value.reason is Reason.ERR_POLICY_NOT_READY
    assert word in refused.value.detail + refused.value.hint
