"""Reading a record's fields: what is there is exactly what was asked for, or it is refused; nothing is made to fit."""

import calendar
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from helm_ai_kernel.tcb import fields
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import EvidenceError

NAMES = st.sets(st.sampled_from("abcdef"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
TYPES = (bool, int, float, str, list, dict)
DIGEST = digest(b"x")


class Colour(StrEnum):
    RED = "red"


def finding(reading: Any, *args: Any, **more: Any) -> Finding | None:
    try:
        reading(*args, **more)
    except EvidenceError as error:
        return error.finding
    return None


@given(NAMES, NAMES, NAMES)
def test_an_object_has_all_that_is_required_and_nothing_beyond_what_is_optional(
    there: set[str], required: set[str], optional: set[str]
) -> None:
    value = dict.fromkeys(there, 1)
    expected = None if required <= there <= required | optional else Finding.PACK_MALFORMED
    assert finding(fields.exact, value, required, optional) is expected
    if expected is None:
        assert fields.exact(value, required, optional) is value


@given(JSON)
def test_what_is_no_object_has_no_fields(value: Any) -> None:
    if type(value) is not dict:
        assert finding(fields.exact, value, set()) is Finding.PACK_MALFORMED


def test_a_refusal_names_the_field() -> None:
    with pytest.raises(EvidenceError, match="field `b` is missing"):
        fields.exact({"a": 1}, {"a", "b", "c"})
    with pytest.raises(EvidenceError, match="field `c` is unknown"):
        fields.exact({"a": 1, "c": 1, "d": 1}, {"a"}, {"d"})


@given(JSON, st.sampled_from(TYPES))
@example(True, int)
@example(1, bool)
@example(1.0, int)
@example(1, float)
@example("1", int)
def test_a_type_is_exact_and_a_bool_is_no_int(value: Any, kind: type) -> None:
    expected = None if type(value) is kind else Finding.PACK_MALFORMED
    assert finding(fields.typed, {"a": value}, "a", kind) is expected


def test_a_subclass_is_another_type() -> None:
    class Two(IntEnum):
        TWO = 2

    assert finding(fields.typed, {"a": Two.TWO}, "a", int) is Finding.PACK_MALFORMED
    assert finding(fields.typed, {"a": Colour.RED}, "a", str) is Finding.PACK_MALFORMED


READERS = [
    (fields.typed, (str,)),
    (fields.text, ()),
    (fields.count, ()),
    (fields.digest, ()),
    (fields.digest_or_null, ()),
    (fields.time, ()),
    (fields.hex32, ()),
    (fields.strings, ()),
    (fields.one_of, (Colour,)),
]


@pytest.mark.parametrize(("reading", "more"), READERS, ids=lambda item: getattr(item, "__name__", ""))
def test_no_reader_takes_what_is_absent_and_only_one_takes_null(reading: Any, more: Any) -> None:
    assert finding(reading, {"b": "x"}, "a", *more) is Finding.PACK_MALFORMED
    allowed = reading is fields.digest_or_null
    assert finding(reading, {"a": None}, "a", *more) is (None if allowed else Finding.PACK_MALFORMED)


@given(JSON)
def test_a_reader_returns_the_value_itself_or_refuses(value: Any) -> None:
    for reading, more in READERS:
        if finding(reading, {"a": value}, "a", *more) is None:
            read = reading({"a": value}, "a", *more)
            assert (list(read) if type(read) is tuple else read) == value


def test_a_text_is_counted_in_characters() -> None:
    for character in "aé€\U0001f600":
        assert fields.text({"a": character * 8}, "a", bytes_max=8) == character * 8
        assert finding(fields.text, {"a": character * 9}, "a", bytes_max=8) is Finding.PACK_MALFORMED


@given(st.integers(-(2**53) + 1, 2**53 - 1))
@example(0)
@example(-1)
def test_a_count_is_a_whole_number_from_zero(value: int) -> None:
    assert finding(fields.count, {"a": value}, "a") is (None if value >= 0 else Finding.PACK_MALFORMED)


@pytest.mark.parametrize(
    "value",
    [
        DIGEST.upper(),
        DIGEST.removeprefix("sha256:"),
        DIGEST[:-1],
        DIGEST + "0",
        DIGEST + "\n",
        " " + DIGEST,
        DIGEST.replace("sha256", "sha512"),
        DIGEST[:-1] + "g",
        DIGEST[:-1] + "\N{FULLWIDTH DIGIT ONE}",
        "",
        7,
    ],
)
def test_a_digest_has_one_form(value: Any) -> None:
    for reading in (fields.digest, fields.digest_or_null):
        assert fields.digest({"a": DIGEST}, "a") == DIGEST
        assert finding(reading, {"a": value}, "a") is Finding.PACK_MALFORMED


@given(st.datetimes(), st.integers(0, 999))
def test_a_time_of_the_calendar_is_one(moment: Any, ms: int) -> None:
    text = f"{moment.year:04}-{moment.strftime('%m-%dT%H:%M:%S')}.{ms:03}Z"
    assert fields.time({"a": text}, "a") == text


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05.67Z",
        "2026-01-02T03:04:05.6789Z",
        "2026-01-02T03:04:05.678+00:00",
        "2026-01-02T03:04:05.678z",
        "2026-01-02t03:04:05.678Z",
        "2026-01-02 03:04:05.678Z",
        "2026-1-02T03:04:05.678Z",
        "2026-13-02T03:04:05.678Z",
        "2026-00-02T03:04:05.678Z",
        "2026-01-32T03:04:05.678Z",
        "2026-01-00T03:04:05.678Z",
        "2026-01-02T24:04:05.678Z",
        "2026-01-02T03:60:05.678Z",
        "2026-01-02T03:04:60.678Z",
        "02026-01-02T03:04:05.678Z",
        "2026-01-02T03:04:05.678Z\n",
        "\N{ARABIC-INDIC DIGIT TWO}026-01-02T03:04:05.678Z",
        "",
        1767323045678,
    ],
)
def test_a_time_has_one_form(value: Any) -> None:
    assert finding(fields.time, {"a": value}, "a") is Finding.PACK_MALFORMED


def test_the_days_of_a_month_are_not_counted() -> None:
    """As the page says: a time is information, and two readers must agree without a calendar."""
    assert calendar.monthrange(2026, 2)[1] == 28
    assert fields.time({"a": "2026-02-31T00:00:00.000Z"}, "a")


@pytest.mark.parametrize("value", ["0" * 31, "0" * 33, "A" * 32, "g" * 32, "0" * 31 + "\n", "0" * 32 + "\n", "", 0])
def test_an_id_is_32_lowercase_hex_digits(value: Any) -> None:
    assert fields.hex32({"a": "0123456789abcdef" * 2}, "a")
    assert finding(fields.hex32, {"a": value}, "a") is Finding.PACK_MALFORMED


@given(st.lists(JSON, max_size=4))
def test_a_list_of_strings_holds_strings_only(value: list[Any]) -> None:
    expected = None if all(type(item) is str for item in value) else Finding.PACK_MALFORMED
    assert finding(fields.strings, {"a": value}, "a") is expected


def test_an_unknown_word_is_unsupported_and_what_is_no_word_is_malformed() -> None:
    assert fields.one_of({"a": "red"}, "a", Colour) is Colour.RED
    for word in ("RED", "Red", "", "red ", "r" * 5000):
        assert finding(fields.one_of, {"a": word}, "a", Colour) is Finding.UNSUPPORTED
    for value in (None, 1, True, ["red"], {"red": 1}):
        assert finding(fields.one_of, {"a": value}, "a", Colour) is Finding.PACK_MALFORMED


def test_an_unknown_word_is_not_quoted_at_length() -> None:
    with pytest.raises(EvidenceError) as caught:
        fields.one_of({"a": "r" * 5000}, "a", Colour)
    assert len(caught.value.detail) < 120
