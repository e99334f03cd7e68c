"""Canonical JSON out: against the reference package, against ECMAScript itself, and as the inverse of reading."""

import dataclasses
import datetime
import decimal
import enum
import json
import random
import struct
import subprocess
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import DEPTH_MAX, parse
from helm_ai_kernel.tcb.jcs import canonical, es6
from needs import needs

PAGE = Path(__file__).resolve().parents[2] / "docs" / "spec" / "json.md"
CHARS = st.characters(exclude_categories=("Cs",)) | st.sampled_from('"\\/\x00\x1f\x7f\u2028\ue000\uffff\U00010000\U0010ffff')
KEYS = st.text(CHARS, max_size=3)
INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.none() | st.booleans() | INTEGERS | st.text(CHARS, max_size=8)


def values(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves, lambda items: st.lists(items, max_size=4) | st.dictionaries(KEYS, items, max_size=4), max_leaves=10
    )


def bit_patterns(count: int) -> Iterator[float]:
    """Doubles with uniformly random bits (so every exponent alike), the same ones in every run."""
    for number in struct.unpack(f"<{count}d", random.Random(8785).randbytes(8 * count)):
        if number - number == 0:
            yield number


EDGES = [
    sign * edge
    for sign in (1, -1)
    for power in range(-324, 309)
    for edge in (float(f"1e{power}"), float(f"9.5e{power}" if power < 308 else "1e308"))
]
EDGES += [
    0.0,
    -0.0,
    5e-324,
    2.2250738585072014e-308,
    1.7976931348623157e308,
    2.0**53,
    2.0**53 + 2,
    1e21 - 2**17,
    123456789012345680000.0,
]


# Doubles in, their text out
SCRIPT = """
const bytes = require('fs').readFileSync(0);
const doubles = new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
process.stdout.write(Array.from(doubles, String).join('\\n'));
"""


@given(values(PLAIN | FLOATS))
@example({"\ue000": 1, "\U00010000": 2})
@example({"\ue000": 1.5, "\U00010000": {"\uffff": None, "\U0010ffff": []}})
@example([1e21, 1e-7, -0.0, 1e16, 123456789012345680000.0])
def test_canonical_bytes_are_those_of_the_reference_package(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(st.dictionaries(st.text("az\u00e9\ud7ff\ue000\uffff\U00010000\U0010ffff", max_size=3), st.none(), max_size=8))
def test_keys_are_in_the_order_of_their_utf16_units(value: dict[str, None]) -> None:
    keys = list(json.loads(canonical(value)))
    assert keys == sorted(value, key=lambda key: key.encode("utf-16-be"))


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.whole)])
def test_doubles_of_random_bits_are_written_as_the_reference_package_writes_them(count: int) -> None:
    assert [es6(number) for number in EDGES] == [rfc8785.dumps(number).decode() for number in EDGES]
    assert all(es6(number).encode() == rfc8785.dumps(number) for number in bit_patterns(count))


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.whole)])
def test_doubles_of_random_bits_are_written_as_ecmascript_writes_them(count: int) -> None:
    node = needs("node")  # ECMAScript's own Number::toString
    numbers = EDGES + list(bit_patterns(count))
    answer = subprocess.run(
        [node, "-e", SCRIPT], input=struct.pack(f"<{len(numbers)}d", *numbers), capture_output=True, check=True
    )
    assert list(map(es6, numbers)) == answer.stdout.decode().split("\n")


@given(values(PLAIN | FLOATS.filter(lambda number: abs(number) < 2**53)))
def test_reading_canonical_bytes_and_writing_them_again_gives_the_same_bytes(value: Any) -> None:
    line = canonical(value)
    assert canonical(parse(line)) == line


@given(values(PLAIN), st.sampled_from([None, 1]), st.booleans(), st.booleans())
def test_any_rendering_of_a_value_has_the_same_canonical_bytes(
    value: Any, indent: int | None, ascii_only: bool, sort: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only, sort_keys=sort)
    assert canonical(parse(text.encode())) == canonical(value)


SMALL = values(st.sampled_from([None, True, False, 0, 1, "", "0", "null", "a", ":", '"', "a:b", "|"]))


@given(SMALL, SMALL)
@example({"a": None}, {})
@example({"a": ""}, {"a": None})
@example({"a:b": "c"}, {"a": "b:c"})
@example([["a"], "b"], ["a", ["b"]])
@example([True], [1])
def test_two_values_have_the_same_bytes_only_if_they_are_the_same_value(a: Any, b: Any) -> None:
    """No field boundary, and no null, empty or missing field, can be mistaken for another in what is hashed."""
    assert (canonical(a) == canonical(b)) == (json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True))


@pytest.mark.parametrize(
    "line",
    [b'{ "a":1}', b'{"b":1,"a":2}', b'"\\/"', b'"\\u0041"', b"1.0", b"[1E2]", b"[1]\n", b'"\\u000a"', b'"\\u00e9"', b"1e-1"],
)
def test_another_rendering_is_recognised_as_not_canonical(line: bytes) -> None:
    assert canonical(parse(line)) != line


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Mapped(dict[str, int]):
    pass


class Listed(list[int]):
    pass


class Named(enum.StrEnum):
    A = "a"


class Numbered(enum.IntEnum):
    A = 1


@dataclasses.dataclass
class Point:
    x: int


LOOP: list[Any] = []
LOOP.append(LOOP)
TOO_DEEP = json.loads("[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1))

FOREIGN = [
    *[(value, "number_range") for value in (float("nan"), float("inf"), -float("inf"), 2**53, -(2**53), 2**64, 10**400)],
    *[(value, "surrogate") for value in ("\ud800", "a\udfff", {"\ud800": 1}, {"\udc00\ud800": None})],
    *[
        (value, "type")
        for value in ((), (1,), b"a", bytearray(), {1}, frozenset(), 1j, object(), decimal.Decimal(1), uuid.UUID(int=0))
    ],
    *[
        (value, "type")
        for value in (datetime.datetime(2024, 1, 1), datetime.date(2024, 1, 1), datetime.time(0), Point(1), orjson.Fragment(b"1"))
    ],
    *[
        (value, "type")
        for value in (Text("a"), Whole(1), Mapped(a=1), Listed([1]), Named.A, Numbered.A, OrderedDict(a=1), {"a": 1}.keys())
    ],
    *[({key: 1}, "type") for key in (1, 1.5, None, True, b"a", (), Text("a"), Named.A)],
    *[({key: 1, "😀": 1.5}, "type") for key in (1, None, b"a", Text("a"), Named.A)],
    *[(value, "depth") for value in (LOOP, TOO_DEEP)],
]


@pytest.mark.parametrize(("value", "sub"), FOREIGN, ids=lambda item: type(item).__name__)
def test_what_has_no_canonical_form_is_refused_wherever_it_hides(value: Any, sub: str) -> None:
    for holder in (value, [value], {"k": value}, [1.5, value], ["😀", {"k": [value]}], {"😀": value}):
        with pytest.raises(Refused) as caught:
            canonical(holder)
        assert (caught.value.reason, caught.value.sub) == (Reason.ERR_JSON_NOT_IJSON, sub)


@pytest.mark.parametrize("leaf", [1, 1.5])
def test_a_value_as_deep_as_reading_allows_is_written(leaf: float) -> None:
    deep = json.loads("[" * DEPTH_MAX + str(leaf) + "]" * DEPTH_MAX)
    assert parse(canonical(deep)) == deep


def test_the_specification_page_shows_what_the_kernel_writes() -> None:
    page = PAGE.read_text("utf-8")
    sent, written = (block.split("\n```")[0].encode() for block in page.split("```json\n")[1:3])
    assert canonical(parse(sent)) == written
    assert f"`{digest(written)}`" in page
