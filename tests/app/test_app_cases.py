"""The section about tests of the policy page is executed: its cases over its policy, its fields, its bounds."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from app.kernels import Place
from helm_ai_kernel.app import cases, operate
from helm_ai_kernel.pep.catalog import EMPTY, Catalog, entry, server_doc
from helm_ai_kernel.tcb.decision import Verdict

PAGE = (Path(__file__).resolve().parents[2] / "docs/spec/policy.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TOOL, _, CASES = (text for name, text in BLOCKS if name == "json")
POLICY = next(text for name, text in BLOCKS if name == "cedar")


def catalog() -> Catalog:
    tool = json.loads(TOOL)
    server, name = tool["name"].split("/")
    schema = {word: value for word, value in tool["input_schema"].items() if word != "unevaluatedProperties"}
    pinned = entry(name, {"name": name, "inputSchema": schema})
    doc = server_doc(server, {"kind": "mcp-stdio", "command": ["x"], "env": []}, [{**pinned, "effect": tool["effect"]}])
    return EMPTY.with_server(doc)


def tried(place: Place, text: str) -> list[cases.Tried]:
    (place.paths.policy / "tests").mkdir(exist_ok=True)
    (place.paths.policy / "tests/page.json").write_text(text, encoding="utf-8")
    (place.paths.policy / "main.cedar").write_text(POLICY, encoding="utf-8")
    standing = operate.standing(place.config)
    proposal = operate.propose_policy(replace(standing, boundary=replace(standing.boundary, catalog=catalog())))
    return cases.run(place.config, proposal)


def test_the_cases_of_the_page_are_true_of_its_policy(place: Place) -> None:
    found = tried(place, CASES)
    assert len(found) == 7 and {one.got.verdict for one in found} == set(Verdict)
    assert [(one.case.name, one.got) for one in found if not one.ok] == []


@pytest.mark.parametrize("field", ["expect", "reason", "rules"])
def test_a_case_that_says_something_else_differs(place: Place, field: str) -> None:
    said = json.loads(CASES)
    other = {"expect": "DENY", "reason": "OK", "rules": ["data-only"]}[field]
    changed = [one for one in said if field in one and one[field] != other]
    assert changed
    found = tried(place, json.dumps([{**one, field: other} for one in changed]))
    assert not any(one.ok for one in found)


def test_the_fields_and_the_bounds_of_the_page_are_the_codes() -> None:
    section = PAGE.partition("\n## Tests\n")[2].partition("\n## ")[0]
    table = re.findall(r"^\| (`[^|]+) \| (always|optional) \|", section, re.MULTILINE)
    named = {when: {name for cell, at in table if at == when for name in re.findall(r"`(\w+)`", cell)} for _, when in table}
    assert named == {"always": cases._REQUIRED, "optional": cases._OPTIONAL}
    bound = f"At most {cases.FILES_MAX} files of {cases.FILE_BYTES_MAX >> 20} MiB, {cases.CASES_MAX:,} cases together."
    assert bound in section and f"1 to {cases.NAME_MAX} characters" in section
