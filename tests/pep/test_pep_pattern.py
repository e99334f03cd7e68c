"""Patterns: the same in ECMA-262 and here, linear, and weighed."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.pep.pattern import CHARS_MAX, PLAIN_NS, PROGRAM_NS, weigh
from helm_ai_kernel.pep.schema import Schema
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused

FOREIGN = [
    "(?i)abc", "(?m)^a$", "(?s:a)", "(?x) a", "(?P<n>a)", "a(?i:b)",  # flags and names of the engine, not of ECMA-262
    "[a&&b]", "[a-z--b]", "[a~~b]", "[[:alpha:]]", "[[a]]", "[]", "[^]", "[]a]", "[^]a]",  # read its own way
    r"\Aa", r"a\z", r"a\Z", r"\<a", r"a\>", r"\b{start}", r"\x{41}", r"\pL", r"\ha", r"\ea", r"\8", r"\Q",
    "(?=a)b", "(?!a)b", "(?<=a)b", "(?<!a)b", r"(a)\1", r"(?<n>a)\k<n>",  # not linear
    "(", "[", "a{2,1}", "*", "a" * (CHARS_MAX + 1), "(a{1000}){1000}", "\\",
]  # fmt: skip


@pytest.mark.parametrize("pattern", FOREIGN)
def test_what_ecma_262_reads_differently_or_is_not_linear_is_refused(pattern: str) -> None:
    with pytest.raises(Refused) as caught:
        weigh(pattern)
    assert caught.value.reason is Reason.ERR_SCHEMA_UNSAFE
    assert caught.value.sub == "pattern"


PLAIN = [
    "^abc$", "^[a-z0-9_-]{1,63}$", r"^\d{4}-\d{2}-\d{2}$", "^sha256:[0-9a-f]{64}$", r"^\S+$", "^[A-Z]{2}[0-9]{3,}$", "^a*$",
    "^.*$",
]  # fmt: skip
OTHER = [
    r"^[^@]+@[^@]+\.[a-z]{2,}$", "a|b", r"^(https?://)?[\w.-]+(/.*)?$", r"\(?\d{3}\)?", r"[(?m)]", r"^\/", r"\u0041", r"\p{L}",
    "^(?:a|b)+$", "(?<year>[0-9]{4})", r"[\]\[&]", r"[\w\-.]+", "é+", "^a+b+$",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PLAIN)
def test_a_fixed_beginning_with_one_repetition_costs_little(pattern: str) -> None:
    assert weigh(pattern) == PLAIN_NS


@pytest.mark.parametrize("pattern", OTHER)
def test_other_patterns_weigh_as_much_as_their_program(pattern: str) -> None:
    assert weigh(pattern) >= PROGRAM_NS * 512 // 1024


def test_a_larger_program_weighs_more() -> None:
    weights = [weigh(f"(a|b)*a(a|b){{{states}}}") for states in (1, 20, 200, 1000)]
    assert weights == sorted(set(weights))


def test_a_dollar_is_the_end_of_the_text_and_not_of_a_line() -> None:
    schema = Schema.pin({"pattern": "^abc$"}, closed=False)
    assert schema.violation("abc", 5) is None
    for text in ("abc\n", "abc\nx", "\nabc", "x\nabc\n", "abc\u2028", "abc\r\n"):
        assert schema.violation(text, 9) is not None


def test_digits_are_ascii_digits() -> None:
    schema = Schema.pin({"pattern": r"^\d+$"}, closed=False)
    assert schema.violation("123", 5) is None
    assert schema.violation("\uff11\uff12", 11) is not None


def weighed(pattern: str) -> int | Refused:
    try:
        return weigh(pattern)
    except Refused as refused:
        return refused


@given(st.text(st.sampled_from(string.ascii_lowercase + string.digits + r"\^$.|?*+(){}[]-&~<>:=!pPuxk,"), max_size=24))
@settings(deadline=None, max_examples=300)
def test_any_text_is_weighed_or_refused_and_what_is_weighed_can_be_pinned(pattern: str) -> None:
    weight = weighed(pattern)
    if isinstance(weight, Refused):
        assert weight.sub == "pattern"
        return
    assert weight >= PLAIN_NS
    Schema.pin({"pattern": pattern, "patternProperties": {pattern: True}}, closed=False).violation("a", 3)
