"""The scanner agrees with the strict reader about where the parts of a document stand."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import DEPTH_MAX, parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire.span import elements, envelope, members

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


# What would be an envelope, were it not inside a string or a bracket.
BAIT = st.sampled_from(['","id":1,"jsonrpc":"2.0"}', '\\","id":1}', ',"id":1}', '"result":', '{"jsonrpc":"2.0","id":1,"result":'])
BAITED = st.recursive(BAIT | VALUE, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT | BAIT, inner, max_size=2))
ID = st.sampled_from([b"1", b"12", b'"1"', b"1.0", b"0", b"01", b"null", b"[1]", b'{"id":1}', b'",\\"id\\":1"'])
VERSION = st.sampled_from([b'"2.0"', b'"2.0"', b"2.0", rb'"2\u002e0"', b'"2.0,"'])
NAME = st.sampled_from([b"result", b"result", b"error", b"params"])
EXTRA = st.sampled_from([b"", b"", b"", b'"x":1', b'"id":2', b'"method":"m"'])


@settings(CALM, max_examples=400)
@given(NAME, BAITED, ID, VERSION, EXTRA, st.permutations(range(4)), st.lists(BLANK, min_size=20, max_size=20))
def test_an_envelope_that_is_found_from_its_ends_has_the_members_of_the_document(
    name: bytes, value: Any, number: bytes, version: bytes, extra: bytes, order: list[int], blanks: list[bytes]
) -> None:
    gaps = iter(blanks)
    parts = [b'"%s"\0:\0%s' % pair for pair in ((name, canonical(value)), (b"id", number), (b"jsonrpc", version))] + [extra]
    text = b"\0{\0" + b"\0,\0".join(parts[n] for n in order if parts[n]) + b"\0}\0"
    text = b"".join(piece + next(gaps, b"") for piece in text.split(b"\0"))
    found = envelope(text)
    try:
        value = parse(text)
    except Refused:
        return
    if number in (b"1", b"12") and version == b'"2.0"' and not extra and name != b"params":
        assert found is not None
    if found is not None and type(value) is dict and value.keys() == found.keys():
        assert found == members(text)


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


def test_nesting_as_deep_as_the_reader_takes_is_scanned() -> None:
    inner = b"[" * (DEPTH_MAX - 1) + b'"]"' + b"]" * (DEPTH_MAX - 1)
    text = b'{"a":' + inner + b',"b":' + inner + b"}"
    parse(text)
    assert members(text) == {"a": inner, "b": inner}
    assert elements(b"[" + inner + b"," + inner + b"]") == [inner, inner]


def test_a_long_string_of_backslashes_is_scanned_in_linear_time() -> None:
    inner = b"\\\\" * 500_000
    assert members(b'{"a":"' + inner + b'"}') == {"a": b'"' + inner + b'"'}
