"""The page of the MCP door has the table of mediation, as it is in force."""

import re

import pytest

from docs.test_docs_spec import SPEC, rows
from helm_ai_kernel.app.kernel import DOOR as LIBRARY
from helm_ai_kernel.gateway import data, mcp, mcp_line
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


def test_the_doors_that_a_policy_can_name_are_those_that_there_are() -> None:
    (said,) = [line for line in (SPEC / "policy.md").read_text("utf-8").splitlines() if line.startswith("| `context.door` |")]
    assert set(re.findall(r"`([a-z-]+)`", said)) == {LIBRARY, *data.DOORS.values(), mcp.DOOR, mcp_line.DOOR}
    assert {row[1].strip("`") for row in rows(SPEC / "mcp.md", "way in")} == {mcp.DOOR, mcp_line.DOOR}
