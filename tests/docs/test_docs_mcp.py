"""The page of the MCP door has the table of mediation, as it is in force."""

import pytest

from docs.test_docs_spec import SPEC, rows
from helm_ai_kernel.wire.era import Era
from helm_ai_kernel.wire.mediation import LEGACY, MODERN, NOTICES, QUESTIONS, REQUESTS, SAID

TABLES = {"request": REQUESTS, "notice": NOTICES, "question": QUESTIONS, "said": SAID}


@pytest.mark.parametrize("header", TABLES)
def test_every_row_of_mediation_stands_on_the_page_and_no_other(header: str) -> None:
    expected = [
        [f"`{method}`", "both" if row.eras == set(Era) else next(iter(row.eras)).value, row.how.value, row.why]
        for method, row in TABLES[header].items()
    ]
    assert rows(SPEC / "mcp.md", header) == expected


def test_the_revisions_are_named() -> None:
    named = {era: revisions.split() for era, revisions, _ in rows(SPEC / "mcp.md", "era")}
    assert named == {"legacy": list(LEGACY), "modern": list(MODERN)}
