from pathlib import Path

import pytest

from helm_ai_kernel.guardian.reasons import PAGES, Retry, document, hint, page, text
from helm_ai_kernel.tcb.codes import Reason

SPEC = Path(__file__).resolve().parents[2] / "docs/spec/reasons.md"


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_page_and_a_hint(reason: Reason) -> None:
    shown = page(reason)
    for said in (shown.meaning, shown.caller, shown.owner):
        assert said == said.strip() and said.isprintable() and len(said) > 10
    assert shown.meaning.endswith(".") and not shown.caller.endswith(".") and not shown.owner.endswith(".")
    assert f"helm-ai-kernel explain {reason}" in hint(reason) and "\n" not in hint(reason)
    assert f"## {reason}\n" in text(reason) and shown.retry.value in text(reason)


def test_there_is_no_page_for_anything_else_and_each_is_its_own() -> None:
    assert list(PAGES) == list(Reason)
    assert len({shown.meaning for shown in PAGES.values()}) == len(PAGES)


def test_only_what_is_no_refusal_needs_no_retry() -> None:
    assert {reason for reason, shown in PAGES.items() if shown.retry is Retry.NOT_NEEDED} == {Reason.OK, Reason.REPEATED}


def test_the_page_of_the_specification_is_made_from_the_pages() -> None:
    assert SPEC.read_text(encoding="utf-8") == document()
