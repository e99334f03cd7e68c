"""Does a grant fit? Tables of conditions, and properties: what is not named may not be there, and no way out of a beginning."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from helm_ai_kernel.guardian.fit import duration, fits, words
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.statement import Allows


def allows(**where: Any) -> Allows:
    """Through the reader that a signed grant goes through."""
    said = {"principal": "ann", "pin": digest(b"pin"), "where": where, "calls": 20, "lasts_ms": 5_400_000}
    return Allows.from_json(said)


@pytest.mark.parametrize(
    ("condition", "fit", "unfit"),
    [
        ({"any": True}, [None, 1, "", [], {}], []),
        ({"equals": 1}, [1, 1.0], [True, "1", 2, 1.5, None, [1]]),
        ({"equals": True}, [True], [1, "true", False, None]),
        ({"equals": False}, [False], [0, None, ""]),
        ({"equals": None}, [None], [0, False, "", "null", [], {}]),
        ({"equals": 0}, [0, -0.0, 0.0], [False, None, ""]),
        ({"equals": "a"}, ["a"], ["A", " a", "a ", ["a"]]),
        ({"equals": "\u00e9"}, ["\u00e9"], ["e\u0301"]),
        ({"equals": {"a": 1, "b": [1]}}, [{"b": [1], "a": 1.0}], [{"a": 1}, {"a": 1, "b": [1], "c": 0}, {"a": True, "b": [1]}]),
        ({"equals": [1, 2]}, [[1, 2]], [[2, 1], [1], [1, 2, 3], [True, 2]]),
        ({"one_of": [1, "x", None]}, [1, 1.0, "x", None], [True, 2, "X", False, [1]]),
        ({"at_most": 10}, [10, 9.5, -5, 10.0, 0], [11, 10.000001, "1", True, False, None, [1]]),
        ({"at_least": 0}, [0, 1, 0.5, -0.0], [-1, -0.5, "1", True, None]),
        ({"at_most": 9007199254740991}, [9007199254740991, 9007199254740990], [9007199254740992.0, 1e300]),
        ({"at_most": 0.1}, [0.1, 0], [0.2, 0.10000000000000002]),
        ({"starts_with": "/tmp/"}, ["/tmp/", "/tmp/a", "/tmp/.a", "/tmp/a.b"], [
            "/tmp", "tmp/", "/TMP/a", " /tmp/a", "/tmp/../etc", "/tmp/a..b", "/tmp/..", "/tmp/%2e%2e/etc", "/tmp/a%", "/tmp/a\\b",
            1, None, ["/tmp/"], {"/tmp/": 1},
        ]),
        ({"starts_with": "a..b"}, [], ["a..b", "a..bc"]),
    ],
)  # fmt: skip
def test_a_condition_is_true_of_these_and_of_nothing_else(condition: Any, fit: list[Any], unfit: list[Any]) -> None:
    grant = allows(x=condition)
    assert [value for value in fit if not fits(grant, {"x": value})] == []
    assert [value for value in unfit if fits(grant, {"x": value})] == []


def test_every_argument_is_named_and_one_that_is_left_out_asks_for_nothing() -> None:
    grant = allows(x={"equals": 1}, y={"any": True})
    assert fits(grant, {"x": 1, "y": 2}) and fits(grant, {"x": 1}) and fits(grant, {})
    assert not fits(grant, {"x": 1, "z": 2}) and not fits(grant, {"x": 2, "y": 2})
    assert fits(allows(), {}) and not fits(allows(), {"x": None})


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


@given(ANY, ANY)
@example(1, True)
@example(0, False)
@example(1, 1.0)
def test_equal_is_what_has_the_same_canonical_form_and_one_of_is_equal_to_one(value: Any, other: Any) -> None:
    same = canonical(value) == canonical(other)
    assert fits(allows(x={"equals": other}), {"x": value}) is same
    assert fits(allows(x={"one_of": ["\ue000", other]}), {"x": value}) is same


@given(ANY, st.integers(-5, 5) | st.floats(-5, 5))
def test_only_numbers_have_bounds_and_each_is_within_one_or_both(value: Any, bound: float) -> None:
    most, least = fits(allows(x={"at_most": bound}), {"x": value}), fits(allows(x={"at_least": bound}), {"x": value})
    if type(value) in (int, float):
        assert (most, least) == (value <= bound, value >= bound)
    else:
        assert not most and not least


@given(st.text(min_size=1, max_size=3), st.text(max_size=6), st.sampled_from(["..", "%", "\\"]), st.text(max_size=6))
def test_no_text_with_a_way_out_fits_a_beginning_whatever_stands_around_it(begin: str, a: str, way: str, b: str) -> None:
    assert not fits(allows(x={"starts_with": begin}), {"x": begin + a + way + b})


@given(st.text(min_size=1, max_size=3), ANY)
def test_what_fits_a_beginning_is_text_that_begins_so(begin: str, value: Any) -> None:
    if fits(allows(x={"starts_with": begin}), {"x": value}):
        assert isinstance(value, str) and value[: len(begin)] == begin


@given(st.dictionaries(st.sampled_from("abc"), ANY), st.sampled_from("abcd"), ANY)
def test_a_grant_of_one_calls_arguments_fits_that_call_and_no_other(said: dict[str, Any], name: str, value: Any) -> None:
    grant, other = allows(**{key: {"equals": item} for key, item in said.items()}), {**said, name: value}
    assert fits(grant, said)
    assert fits(grant, other) is (canonical(other) == canonical(said))


def test_a_grant_in_words_says_each_condition_and_that_there_is_no_more() -> None:
    grant = allows(
        a={"any": True}, b={"equals": 1}, c={"one_of": [1, "x"]}, d={"at_most": 5}, e={"at_least": 0}, f={"starts_with": "/"}
    )
    assert words(grant, "shop/pay") == [
        "20 calls of `shop/pay` by `ann`, within 1 hour 30 minutes, without asking again",
        "`a` is anything",
        "`b` is exactly 1",
        '`c` is one of [1,"x"]',
        "`d` is at most 5",
        "`e` is at least 0",
        '`f` begins with "/"',
        "no other argument",
    ]


@pytest.mark.parametrize(
    ("ms", "said"),
    [(0, "0 ms"), (999, "999 ms"), (1000, "1 second"), (61_001, "1 minute 1 second 1 ms"), (90_000_000, "1 day 1 hour")],
)
def test_a_duration_is_said_whole(ms: int, said: str) -> None:
    assert duration(ms) == said
