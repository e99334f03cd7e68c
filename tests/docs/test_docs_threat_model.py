"""A sentence of the threat model that claims to be true names the tests that prove it, and they exist."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs/threat-model.md"
THREATS = [f"T{n}" for n in range(1, 11)]
STATUSES = {"true", "partly", "not built"}
ROOMS = {
    "tcb",
    "pep",
    "guardian",
    "executor",
    "wire",
    "ledger",
    "connectors",
    "credentials",
    "app",
    "verifier",
    "cli",
    "trials",
    "gateway",
    "net",
    "—",
}


class Row(NamedTuple):
    section: str
    sentence: str
    status: str
    rooms: tuple[str, ...]
    tests: tuple[str, ...]


@cache
def rows() -> tuple[Row, ...]:
    """Every row of every table whose header is `sentence | status | room | tests`."""
    found, section, inside = [], "", False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line[3:]
        if not line.startswith("|"):
            inside = False
        elif line == "| sentence | status | room | tests |":
            inside = True
        elif inside and not line.startswith("|---"):
            sentence, status, rooms, tests = (cell.strip() for cell in line.strip("|").split("|"))
            names = re.findall(r"`([^`]+)`", tests)
            found.append(Row(section, sentence, status, tuple(re.split(r", ", rooms)), tuple(names)))
    return tuple(found)


@cache
def functions(path: Path) -> frozenset[str]:
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@pytest.mark.parametrize("threat", THREATS)
def test_every_threat_has_its_section_and_its_sentences(threat: str) -> None:
    assert [row for row in rows() if re.match(rf"{threat}[ :]", row.section)]


def test_no_row_of_a_table_escaped_this_reading() -> None:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if re.search(r"\| (true|partly|not built) \|", line)]
    assert len(lines) == len(rows()) > 60


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.section.split()[0]} {row.sentence[:60]}")
def test_a_claim_names_tests_that_exist_and_nothing_else_names_any(row: Row) -> None:
    assert row.status in STATUSES
    assert set(row.rooms) <= ROOMS
    assert bool(row.tests) == (row.status != "not built")
    for test in row.tests:
        file, _, name = test.partition("::")
        path = ROOT / file
        assert file.startswith("tests/"), f"`{test}` is not written `tests/...::test_name`"
        assert path.is_file(), f"`{file}` is not there"
        assert name.startswith("test_"), f"`{test}` is not written `tests/...::test_name`"
        assert name in functions(path), f"`{file}` has no `{name}`"
