"""What `docs/spec/` says is what is there: its table of flows, its examples, its links, its codes."""

import json
import re
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.decision import Verdict
from helm_ai_kernel.tcb.envelope import Record
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.tcb.receipt import Kind, Receipt
from helm_ai_kernel.tcb.statement import Statement, StatementKind

ROOT = Path(__file__).resolve().parent.parent.parent
SPEC = ROOT / "docs/spec"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
VECTORS = sorted((ROOT / "vectors/flows").glob("*.json"))

BEGUN = ["session start", "recovery"]
RECOVERED = [*BEGUN, "outcome UNKNOWN ERR_OUTCOME_UNKNOWN"]

# Codes that no test reaches, each with its reason. A code that a test reaches must not stand here.
UNREACHED: dict[str, str] = {}


def rows(page: Path, header: str) -> list[list[str]]:
    """The cells of the table whose first column is headed `header`."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {header} |")) + 2
    table = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def vector(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_table_of_flows_is_the_vectors() -> None:
    table = {name.strip("`"): rest for name, *rest in rows(SPEC / "flows.md", "flow")}
    files = {path.stem: vector(path) for path in VECTORS}
    assert table.keys() == files.keys()
    for name, (steps, receipts, effects) in table.items():
        flow = files[name]
        assert flow["flow"] == name
        assert (steps.split(" · "), receipts.split(" → "), int(effects)) == (flow["steps"], flow["receipts"], flow["effects"])


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_a_flow_has_a_crash_at_every_step_that_follows_from_its_steps(path: Path) -> None:
    flow = vector(path)
    assert [crash["before"] for crash in flow["crashes"]] == flow["steps"]
    reports = "report" in flow["steps"]
    assert Verdict(flow["answer"]).value == (flow["given"]["before"] if reports else flow["receipts"])[0].split()[1]
    assert flow["effects"] == flow["steps"].count("dispatch")
    done: list[str] = []
    for crash in flow["crashes"]:
        committed, settled = not {"commit", "report"}.isdisjoint(done), "settle" in done or "dispatch" not in flow["steps"]
        assert crash["log"] == (flow["receipts"] if committed and settled else flow["receipts"][: int(committed)])
        assert crash["effects"] == done.count("dispatch")
        assert crash["recovered"] == (RECOVERED if committed and not settled else BEGUN)
        done.append(crash["before"])


def test_the_table_of_crashes_is_that_of_an_allowed_call() -> None:
    crashes = vector(ROOT / "vectors/flows/unary.json")["crashes"]
    table = rows(SPEC / "flows.md", "dies before")
    assert [row[0] for row in table] == [crash["before"] for crash in crashes]
    for (_, log, effects, appended, _), crash in zip(table, crashes, strict=True):
        assert int(effects) == crash["effects"]
        assert ("nothing" in log, "intent" in log, "outcome" in log.partition("(")[0]) == (
            not crash["log"], bool(crash["log"]), len(crash["log"]) > 1
        )  # fmt: skip
        assert appended.split(" → ") == crash["recovered"]


def test_every_code_that_a_flow_names_is_a_reason() -> None:
    named = {word for path in VECTORS for line in vector(path)["receipts"] for word in line.split() if word.startswith("ERR_")}
    assert named <= {reason.value for reason in Reason}


def fences(page: Path, language: str) -> Iterator[tuple[str, str]]:
    """The examples of a page in that language, each with the last line before it that says anything."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text[: found.start()].rstrip().rpartition("\n")[2], found[1]


@pytest.mark.parametrize("page", sorted(SPEC.glob("*.md")), ids=lambda page: page.stem)
def test_every_json_example_is_in_the_profile_and_every_marked_one_is_a_record(page: Path) -> None:
    for mark, example in fences(page, "json"):
        value = parse(example.encode())
        if mark == "<!-- record -->":
            line = example.strip()
            understood(Record.from_json(value) if "\n" in line else Record.from_bytes(line.encode()))
    for _, lines in fences(page, "jsonl"):
        for line in lines.splitlines():
            understood(Record.from_bytes(line.encode()))


def understood(record: Record) -> None:
    if record.kind in {kind.value for kind in Kind}:
        Receipt.from_record(record)
    elif record.kind in {kind.value for kind in StatementKind}:
        Statement.from_record(record)
    else:
        assert record.kind == "trust"


def test_the_index_of_the_specification_names_every_page() -> None:
    listed = set(re.findall(r"\]\(([a-z-]+\.md)\)", (SPEC / "README.md").read_text(encoding="utf-8")))
    assert listed == {page.name for page in SPEC.glob("*.md")} - {"README.md"}


def prose(page: Path) -> str:
    """The page without code, where brackets are no links."""
    text = re.sub(r"^(```|~~~).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists() and path.is_relative_to(ROOT), f"{page.name}: `{target}` is not there"
        assert not anchor or anchor in anchors(path), f"{page.name}: `{target}` has no such heading"


@cache
def all_tests() -> str:
    files = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__).resolve()]
    files += (path for path in (ROOT / "vectors").rglob("*") if path.is_file())
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in sorted(files))


@pytest.mark.parametrize("codes", [Reason, Finding])
def test_every_code_is_reached_by_a_test_or_says_why_not(codes: type[StrEnum]) -> None:
    reached = {code.value for code in codes if re.search(rf"(?:{codes.__name__}\.|[\"'`: ]){code.value}\b", all_tests())}
    excepted = UNREACHED.keys() & {code.value for code in codes}
    assert not reached & excepted, "reached by now: take it off the list"
    assert {code.value for code in codes} == reached | excepted


def test_the_codes_have_one_spelling_each() -> None:
    values = sorted([reason.value for reason in Reason] + [finding.value for finding in Finding])
    assert all(a != b for a, b in pairwise(values))
    assert all(code.name == code.value for codes in (Reason, Finding) for code in codes)
