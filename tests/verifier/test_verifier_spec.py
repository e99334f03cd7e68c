"""The pages on packs and verification say what is there: their examples are run, their lists are the code's."""

import re
import shlex
import tarfile

import pytest

from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.findings import APART, NOT_PROVEN, PRECEDENCE, UNSEEN, Axis, Exit
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.verifier.__main__ import main
from needs import ROOT

PACK = (ROOT / "docs/spec/pack.md").read_text(encoding="utf-8")
VERIFICATION = (ROOT / "docs/spec/verification.md").read_text(encoding="utf-8")


def example(page: str) -> tuple[list[str], str]:
    """The command of the page's first example, and what it prints."""
    found = re.search(r"```console\n\$ ([^\n]+)\n(.*?)```", page, re.DOTALL)
    assert found is not None
    return shlex.split(found[1]), found[2]


def table(page: str, header: str) -> list[list[str]]:
    """The rows below that header, cell by cell."""
    lines = page.partition(header)[2].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_example_of_a_verification_is_what_the_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command, output = example(VERIFICATION)
    assert command[:3] == ["python", "-m", "helm_ai_kernel.verifier"]
    monkeypatch.chdir(ROOT)
    assert main(command[3:]) == Exit.INVALID
    assert capsys.readouterr().out == output


def test_the_example_of_a_pack_is_its_entries_and_its_manifest() -> None:
    command, output = example(PACK)
    assert command[:2] == ["tar", "-tf"]
    with tarfile.open(ROOT / command[2]) as archive:
        assert output.split() == archive.getnames()
        manifest = archive.extractfile("manifest.json")
        assert manifest is not None
        shown = re.search(r"```json\n(.*?)```", PACK, re.DOTALL)
        assert shown is not None and parse(shown[1].encode()) == parse(manifest.read())


def test_the_table_of_verdicts_is_that_of_the_code_and_so_is_their_order() -> None:
    assert [(int(row[0]), row[1]) for row in table(VERIFICATION, "| exit | verdict | when |")] == [
        (int(exit), exit.name) for exit in Exit
    ]
    assert f"Of several the first in {', '.join(str(int(exit)) for exit in PRECEDENCE)} is the verdict" in VERIFICATION


def test_the_table_of_axes_is_that_of_the_code() -> None:
    assert [row[0] for row in table(VERIFICATION, "| axis | fails by | unknown |")] == [f"`{axis.value}`" for axis in Axis]


def test_the_steps_are_numbered_without_a_gap_and_every_one_is_cited_in_the_code() -> None:
    steps = [row[0] for row in table(VERIFICATION, "| step | what must hold | otherwise |") if row[0]]
    assert steps == [f"V{number}" for number in range(1, 18)]
    rooms = [(ROOT / "src/helm_ai_kernel/tcb" / f"{file}.py").read_text() for file in ("checklist", "vetting", "heads")]
    assert [step for step in steps if not re.search(rf"\b{step}\b", "".join(rooms))] == []


def test_every_finding_of_a_pack_is_on_the_page() -> None:
    replays = {Finding.REPLAY_DIFFERS, Finding.NOT_REPLAYABLE}
    proofs = {Finding.CONSISTENCY_FAIL}  # of two sizes: docs/spec/log.md
    chains = {Finding.CHAIN_FORK, Finding.CHAIN_GAP, Finding.CHAIN_ORDER, Finding.LAMPORT_EQUAL, Finding.LAMPORT_REGRESSION}
    steps = VERIFICATION.partition("## Steps")[2].partition("## Verdict")[0]
    for finding in set(Finding) - replays - proofs:
        assert f"`{finding.value}`" in steps, finding
    assert chains <= {Finding(code) for code in re.findall(r"`([A-Z_]+)`", steps) if code in set(Finding)}


def test_what_is_not_proven_is_listed_as_every_report_lists_it() -> None:
    listed = re.findall(r"^- (.+)$", VERIFICATION.partition("what is not proven:")[2], re.MULTILINE)
    assert tuple(listed[:-3]) == NOT_PROVEN and listed[-1].startswith("anything after")
    assert listed[-3].startswith(UNSEEN) and listed[-2].startswith(APART)
