"""Strict JSON in: against the standard library as an independent reader, and the number rule against exact decimals."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.errors import EvidenceError, Refused
from helm_ai_kernel.tcb.ijson import BYTES_MAX, DEPTH_MAX, HINTS, NUMBER_CHARS_MAX, parse, parse_evidence

PAGE = Path(__file__).resolve().parents[2] / "docs" / "spec" / "json.md"
ROWS = re.findall(r"^\| `(.+)` \| `(\w+)` \|$", PAGE.read_text("utf-8"), re.MULTILINE)


def sub_of(data: bytes, **options: Any) -> str:
    """The sub-reason for which `data` is refused, or "" where it is accepted."""
    refusal = refusal_of(data, **options)
    return refusal.sub if refusal else ""


def refusal_of(data: bytes, **options: Any) -> Refused | None:
    try:
        parse(data, **options)
    except Refused as refused:
        return refused
    return None


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types: `True` is not 1 and `1.0` is not 1."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


# The oracle: the standard library reads, hooks collect every fault, the number rule is exact decimals.


def number_fault(text: str) -> str:
    value, double = Decimal(text), float(text)
    if value == 0 and text.startswith("-"):
        return "number_precision"
    if double in (float("inf"), float("-inf")) or (double == int(double) and abs(double) > 2**53 - 1):
        return "number_range"
    return "" if value == Decimal(repr(double)) else "number_precision"


def oracle(data: bytes) -> tuple[set[str], Any]:
    faults: set[str] = set()
    members: list[Any] = []

    def number(text: str) -> int | float:
        faults.add(number_fault(text))
        double = float(text)
        return int(double) if double - double == 0 and double == int(double) else double

    def constant(text: str) -> float:
        faults.add("number_range")
        return 0.0

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(items)) != len(items):
            faults.add("dup_key")
        members.extend(items)
        return dict(items)

    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return {"encoding"}, None
    if text.startswith("\ufeff"):
        return {"bom"}, None
    try:
        value = json.loads(text, parse_int=number, parse_float=number, parse_constant=constant, object_pairs_hook=pairs)
    except json.JSONDecodeError:
        return {"syntax", "encoding"} if "\0" in text[:2] else {"syntax", "surrogate", "dup_key", "number_range"}, None
    try:
        json.dumps([value, members], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        faults.add("surrogate")
    return faults - {""}, value


def agrees(data: bytes) -> None:
    faults, value = oracle(data)
    sub = sub_of(data)
    assert sub in faults if sub else not faults and same(parse(data), value), (data, sub, faults)


# Documents as text, with everything that the profile must look at

NUMBERS = st.one_of(
    st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(2**53 - 9, 2**53 + 9).map(str),
    st.integers(-9, 9).map(str),
)
ODD_CHARS = st.sampled_from(
    ["a", '\\"', "\\\\", "\\/", "\\u0061", "\\ud83d\\ude00", "\\ud83d", "\\uDE00", "\\u0000", "é", "😀", "[", "{", ":-0,"]
)
STRINGS = st.lists(ODD_CHARS, max_size=4).map(lambda chars: '"' + "".join(chars) + '"')
SPACES = st.sampled_from(["", "", "", " ", "\n", "\t\r"])


def containers(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    spaced = st.tuples(SPACES, items, SPACES).map("".join)
    members = st.tuples(SPACES, STRINGS, SPACES, st.just(":"), spaced).map("".join)
    arrays = st.lists(spaced, max_size=4).map(lambda parts: f"[{','.join(parts)}]")
    return arrays | st.lists(members, max_size=4).map(lambda parts: f"{{{','.join(parts)}}}")


LEAVES = st.one_of(NUMBERS, STRINGS, st.sampled_from(["null", "true", "false", "NaN", "-Infinity", "-0", "-0.0"]))
DOCUMENTS = st.recursive(st.one_of(NUMBERS, STRINGS, LEAVES), containers, max_leaves=12)


@given(DOCUMENTS)
@example('{"a":-0,"a":NaN}')
@example('[NaN,"\\ud83d"]')
@example('"-0 ,-0" ')
@example('["\\ud83d\\ud83d\\ude00"]')
def test_every_document_is_judged_as_an_independent_reader_with_exact_decimals_judges_it(text: str) -> None:
    agrees(text.encode())


@given(st.text(st.sampled_from('[]{},:"\\/u0019-+.eEtrufalsn \n\x00\x1f\x7fé'), max_size=12))
def test_noise_that_looks_like_json_is_judged_as_an_independent_reader_judges_it(text: str) -> None:
    agrees(text.encode())


@given(st.binary(max_size=12), DOCUMENTS, st.integers(0, 200))
def test_bytes_spliced_into_a_document_end_in_a_value_or_a_refusal(noise: bytes, text: str, at: int) -> None:
    data = text.encode()
    agrees(data[:at] + noise + data[at:])


@given(NUMBERS)
@example("8.32626698553215")  # 15 digits always survive
@example("9.429199866759897")  # 16 need not
@example("8.5582381130219e-320")  # nor 14 below the normal doubles
@example("1e-999")
@example("9007199254740991")
@example("9007199254740992")
@example("-9007199254740992")
@example("9007199254740993.0")
@example("9007199254740992.5")
@example("9007199254740991.4")
@example("4.9e-324")
@example("5e-324")
@example("2e-324")
@example("1.7976931348623157e308")
@example("0e999")
@example("-0e1")
@example("0.1000000000000000055511151231257827")
@example("1.0000000000000000000000000000000000")
def test_a_number_is_accepted_if_and_only_if_its_decimal_value_survives_the_double(text: str) -> None:
    assert sub_of(text.encode()) == number_fault(text)


@given(st.integers(-(2**53) + 1, 2**53 - 1), st.integers(0, 20))
def test_an_integer_is_one_value_however_it_is_written(number: int, zeros: int) -> None:
    forms = [f"{number}", f"{number}.{'0' * (zeros + 1)}", f"{number}{'0' * zeros}e-{zeros}", f"{number}.0E+00"]
    values = [parse(form.encode()) for form in forms if number or not form.startswith("-")]
    assert all(same(value, number) for value in values)


@pytest.mark.parametrize(
    "text",
    ["-0", "-0.0", "-0e5", "[-0]", "[1,-0]", '{"a":-0}', '{"a" : -0 }', "\n-0\n", "[\t-0]", "[1,\r-0]", "[-0.00]", "-0E-1"],
)
def test_minus_zero_is_refused_wherever_a_value_stands(text: str) -> None:
    assert sub_of(text.encode()) == "number_precision"


@pytest.mark.parametrize(
    "text", ['"-0"', '",-0"', '"\\",-0"', '{":-0":1}', '["2024-01-02", "[-0]"]', "-0.5", "[-0.25]", "[1e-01]"]
)
def test_minus_zero_inside_a_string_or_a_longer_number_is_none(text: str) -> None:
    assert same(parse(text.encode()), json.loads(text))


@pytest.mark.parametrize(("document", "sub"), ROWS)
def test_the_specification_page_says_how_each_of_its_examples_fails(document: str, sub: str) -> None:
    assert sub_of(document.encode()) == sub


def test_the_specification_page_has_its_examples() -> None:
    assert len(ROWS) >= 18


@pytest.mark.parametrize(
    ("data", "sub"),
    [
        (b"\xef\xbb\xbf{}", "bom"),
        ('{"a":1}'.encode("utf-16"), "encoding"),
        ('{"a":1}'.encode("utf-16-le"), "encoding"),
        ('{"a":1}'.encode("utf-16-be"), "encoding"),
        ('{"a":1}'.encode("utf-32-be"), "encoding"),
        (b'"\xc0\xaf"', "encoding"),  # overlong
        (b'"\xed\xa0\xbd\xed\xb8\x80"', "encoding"),  # CESU-8
        (b'"\xf4\x90\x80\x80"', "encoding"),  # beyond U+10FFFF
        (b'{"\\udfff":1}', "surrogate"),
        (b'"\\ud83d\\ud83d\\ude00"', "surrogate"),
        (b'"a\x00"', "syntax"),
        (b"\xef\xbb\xbf", "bom"),
        ("\u00a0{}".encode(), "syntax"),
        ("{}\ufeff".encode(), "syntax"),
        (b"", "syntax"),
        (b" ", "syntax"),
        (b"/**/1", "syntax"),
        (b"12\x00", "syntax"),
        (b'{"a":1}{"a":1}', "syntax"),
    ],
)
def test_what_is_no_single_utf8_document_is_refused_by_name(data: bytes, sub: str) -> None:
    assert sub_of(data) == sub


@pytest.mark.parametrize("text", ["\u0000", "\uffff", "\U0010ffff", "\ufdd0", "😀", "\ufeff", "\x7f"])
def test_every_character_is_allowed_escaped_and_no_character_is_normalised(text: str) -> None:
    assert parse(json.dumps(text).encode()) == text
    assert parse(json.dumps({text: text}).encode()) == {text: text}


def test_normalisation_twins_are_three_keys() -> None:
    twins = {"\u00c5": 1, "A\u030a": 2, "\u212b": 3}
    assert parse(json.dumps(twins, ensure_ascii=False).encode()) == twins


@given(
    st.integers(DEPTH_MAX - 3, DEPTH_MAX + 3),
    st.lists(STRINGS.filter(lambda text: "\\ud83d" not in text and "\\uDE" not in text)),
)
def test_depth_is_counted_outside_strings_only(depth: int, strings: list[str]) -> None:
    opening = "".join("[" + (strings[i % len(strings)] + "," if strings else "") for i in range(depth - 1))
    data = (opening + "{}" + "]" * (depth - 1)).encode()
    assert sub_of(data) == ("depth" if depth > DEPTH_MAX else "")


@pytest.mark.parametrize(
    "deep",
    [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 65 + b"]" * 65, b"[[]," * 65, b'["\\"' + b"[" * 10 + b'",' * 1 + b"[" * 64],
)
def test_what_is_too_deep_is_refused_before_any_recursion(deep: bytes) -> None:
    assert sub_of(deep) == "depth"


@pytest.mark.parametrize(
    ("data", "sub"),
    [
        (b'"' + b'\\"' * (BYTES_MAX // 2 - 1), "syntax"),  # would be quadratic in a scan that tries each quote again
        (b"[" * 65 + b'"\\' * (BYTES_MAX // 2 - 40), "depth"),
        (b"[" + b"[]," * (BYTES_MAX // 3 - 1) + b"1]", ""),
        (b"[" + b"-0," * (BYTES_MAX // 3 - 1) + b"1]", "number_precision"),
        (b"{" + b",".join(b'"k%d":1' % i for i in range(90_000)) + b"}", ""),
        (b'"' + b"x" * (BYTES_MAX - 2) + b'"', ""),
        (b'"' + b"x" * (BYTES_MAX - 1) + b'"', "size"),
        (b"1e999999999", "number_range"),
        (b"1e-999999999", "number_precision"),
        (b"0e999999999", ""),
        (b"9" * 5000, "number_range"),
        (b"-" + b"9" * 4000, "number_range"),
        (b"9" * (BYTES_MAX - 1), "number_range"),
        (b"1." + b"0" * (NUMBER_CHARS_MAX - 2), ""),
        (b"1." + b"0" * (NUMBER_CHARS_MAX - 1), "number_precision"),
        (b"1e" + b"9" * (BYTES_MAX - 2), "number_precision"),
        (b"0." + b"1" * (BYTES_MAX - 2), "number_precision"),
    ],
)
def test_the_largest_documents_are_judged_without_a_stall(data: bytes, sub: str) -> None:
    assert sub_of(data) == sub


def test_the_size_is_checked_before_anything_else() -> None:
    assert sub_of(b"\xff" * 9, bytes_max=8) == "size" and sub_of(b"[1,2,3]", bytes_max=7) == ""


def test_a_refusal_repeats_nothing_of_the_document() -> None:
    for data in (b'{"hunter2":1,"hunter2":2}', b'["hunter2" x]', b'"hunter2\\ud800"', b"[31337.00000000000000000001]"):
        with pytest.raises(Refused) as caught:
            parse(data)
        assert caught.value.reason is Reason.ERR_JSON_NOT_IJSON and caught.value.hint == HINTS[caught.value.sub]
        assert "hunter2" not in str(caught.value) and "31337" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["18446744073709551616", "-9223372036854775809", "9" * 4300, "[9007199254740993, 1.5]", '{"id":12345678901234567890}']
)
def test_an_output_keeps_its_large_integers_exactly(text: str) -> None:
    assert same(parse(text.encode(), any_number=True), json.loads(text))


@given(NUMBERS)
def test_an_output_has_every_number_that_a_double_is_near_to(text: str) -> None:
    integral = re.fullmatch(r"-?\d+", text) is not None
    if not integral and float(text) in (float("inf"), float("-inf")):
        assert sub_of(text.encode(), any_number=True) == "number_range"
    else:
        assert parse(text.encode(), any_number=True) == (int(text) if integral else float(text))


@pytest.mark.parametrize("text", ["NaN", "[-Infinity]", "1e999", '{"a":[-1e999]}', "9" * 4301])
def test_an_output_has_no_number_beyond_every_double(text: str) -> None:
    assert sub_of(text.encode(), any_number=True) == "number_range"


@pytest.mark.parametrize(
    ("text", "sub"), [('{"a":1,"a":2}', "dup_key"), ('"\\ud800"', "surrogate"), ("[" * 65, "depth"), ("1 1", "syntax")]
)
def test_an_output_is_strict_in_everything_but_numbers(text: str, sub: str) -> None:
    assert sub_of(text.encode(), any_number=True) == sub


@given(DOCUMENTS)
def test_evidence_is_read_by_the_same_profile_and_fails_as_evidence(text: str) -> None:
    data = text.encode()
    sub = sub_of(data)
    if not sub:
        assert same(parse_evidence(data, bytes_max=BYTES_MAX), parse(data))
        return
    with pytest.raises(EvidenceError, match=sub) as caught:
        parse_evidence(data, bytes_max=BYTES_MAX)
    assert caught.value.finding is Finding.PACK_MALFORMED
