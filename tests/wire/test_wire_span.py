"""The scanner agrees with the strict reader about where the parts of a document stand."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire.span import elements, members

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the first draw builds tables; machines are shared

TEXT = st.text(max_size=8)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT | st.sampled_from(['"', "\\", '\\"', "{", "]", ",:"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
BLANK = st.sampled_from([b"", b" ", b"\t", b"\r", b"  \t"])


@settings(CALM, max_examples=200)
@given(st.dictionaries(TEXT, VALUE, max_size=5), st.lists(BLANK, min_size=30, max_size=30))
def test_each_member_is_the_bytes_that_stood_there(value: dict[str, Any], blanks: list[bytes]) -> None:
    gaps = iter(blanks)
    parts = {key: canonical(item) for key, item in value.items()}
    middle = b",".join(
        next(gaps) + canonical(key) + next(gaps) + b":" + next(gaps) + part + next(gaps) for key, part in parts.items()
    )
    text = next(gaps) + b"{" + middle + b"}" + next(gaps)
    parse(text)
    assert members(text) == parts


@settings(CALM, max_examples=200)
@given(st.lists(VALUE, max_size=5), st.lists(BLANK, min_size=12, max_size=12))
def test_each_element_is_the_bytes_that_stood_there(value: list[Any], blanks: list[bytes]) -> None:
    gaps = iter(blanks)
    parts = [canonical(item) for item in value]
    text = b"[" + b",".join(next(gaps) + part + next(gaps) for part in parts) + b"]"
    parse(text)
    assert elements(text) == parts


@pytest.mark.parametrize("text", [b"{}", b"{ }", b" {\t} "])
def test_an_empty_object_has_no_members(text: bytes) -> None:
    assert members(text) == {}


@pytest.mark.parametrize("text", [b"[]", b"[ ]"])
def test_an_empty_array_has_no_elements(text: bytes) -> None:
    assert elements(text) == []


def test_a_key_written_with_escapes_is_the_key_that_it_means() -> None:
    assert members(rb'{"\u0072esult" : 1.0e0}') == {"result": b"1.0e0"}


def test_a_number_keeps_its_spelling() -> None:
    assert members(b'{"a":18446744073709551616,"b":[1.50,-0]}') == {"a": b"18446744073709551616", "b": b"[1.50,-0]"}


def test_a_long_string_of_backslashes_is_scanned_in_linear_time() -> None:
    inner = b"\\\\" * 500_000
    assert members(b'{"a":"' + inner + b'"}') == {"a": b'"' + inner + b'"'}
