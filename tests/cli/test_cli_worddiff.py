"""Two texts as one: nothing that changed is left out, nothing hidden stays hidden, and no text can write a mark."""

import re

from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.cli import worddiff
from helm_ai_kernel.cli.worddiff import COLOURS, PLAIN, inline, member

WORDS = st.lists(st.sampled_from(["pay", "the", "invoice", " ", "\n", "[-", "+}", "{+", "é", "\u200b", ".", "\\"]), max_size=30)


def test_words_that_went_and_came_are_marked_where_they_stood() -> None:
    assert inline("Pay the invoice.", "Pay every invoice now.") == "Pay [-the-]{+every+} invoice{+ now+}."
    assert inline("a b c", "a b c") == "a b c"
    assert inline("", "new") == "{+new+}"
    assert inline("old", "") == "[-old-]"


def test_changes_with_only_a_blank_between_them_are_one() -> None:
    assert inline("one two three", "uno dos three") == "[-one two-]{+uno dos+} three"


def test_hidden_and_confusable_characters_and_line_ends_are_visible() -> None:
    assert inline("pay", "p\u0430y") == "[-pay-]{+p\\u{430}y+}"
    assert inline("a b", "a\u00a0b") == "a[- -]{+\\u{a0}+}b"
    assert inline("a", "a\x1b[31m\n") == "a{+\\u{1b}[31m\\u{a}+}"


def test_a_text_cannot_write_a_mark() -> None:
    shown = inline("x", "x [-gone-] {+come+}")
    assert shown == "x{+ \\u{5b}-gone-\\u{5d} \\u{7b}+come+\\u{7d}+}"


def unescaped(text: str) -> str:
    return re.sub(r"\\u\{([0-9a-f]+)\}", lambda found: chr(int(found[1], 16)), text)


def side(shown: str, kept: str, dropped: str) -> str:
    without = re.sub(dropped, "", shown)
    return unescaped(re.sub(kept, lambda found: found[1], without))


@given(WORDS, WORDS)
def test_both_texts_can_be_read_from_it(before: list[str], after: list[str]) -> None:
    old, new = "".join(before), "".join(after)
    shown = inline(old, new)
    if " ... " in shown:
        return
    gone, come = r"\[-(.*?)-\]", r"\{\+(.*?)\+\}"
    assert (side(shown, gone, come), side(shown, come, gone)) == (old, new)


def test_what_is_the_same_far_from_a_change_is_left_out() -> None:
    same = "word " * 1000
    shown = inline(same + "old " + same, same + "new " + same)
    assert "[-old-]{+new+}" in shown and len(shown) < 400


def test_a_long_change_is_cut_and_says_so() -> None:
    shown = inline("a", "b" * 30_000)
    assert shown.endswith("+} and 10,000 characters more")


def test_texts_with_very_many_words_do_not_take_for_ever() -> None:
    old, new = " ".join(map(str, range(40_000))), " ".join(map(str, range(40_000, 0, -1)))
    assert len(inline(old, new)) < 3 * worddiff.CHANGED_CHARS_MAX


def test_members_that_come_and_go_are_whole() -> None:
    assert [*member("a", None, "text", PLAIN)] == ["a: {+text+}"]
    assert [*member("a", {"b": 1}, None, PLAIN)] == ['a: [-{"b": 1}-]']
    assert [*member("a", [1], {"b": "é"}, PLAIN)] == ['a: [-[1]-]{+{"b": "\\u{5c}u00e9"}+}']


def test_colours_are_beside_the_marks() -> None:
    assert inline("a", "b", COLOURS) == "\x1b[31m[-a-]\x1b[0m\x1b[32m{+b+}\x1b[0m"
    assert worddiff.paint({}, text=True) is PLAIN  # no terminal here
