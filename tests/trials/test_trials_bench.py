"""The benchmarks print the promised document; what they measure is nobody's test."""

from typing import Any

import pytest

from helm_ai_kernel.cli import main
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.trials import bench


def test_a_chosen_line_is_measured_and_printed_as_one_document(capsys: "pytest.CaptureFixture[str]") -> None:
    assert main(["bench", "--only", "canonicalise", "--format", "json"]) == 0
    document: Any = parse(capsys.readouterr().out.encode())
    assert set(document) == {"machine", "lines"}
    assert {"cpu", "cores", "python", "sqlite"} <= set(document["machine"])
    (line,) = document["lines"]
    assert set(line) == {"name", "unit", "p50", "p99", "n", "note"}
    assert (line["name"], line["unit"]) == ("canonicalise_200B", "us")
    assert 0 < line["p50"] <= line["p99"]


def test_the_text_is_one_line_for_each(capsys: "pytest.CaptureFixture[str]") -> None:
    assert main(["bench", "--only", "canonicalise"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[0] == "canonicalise_200B"


def test_what_is_measured_runs(capsys: "pytest.CaptureFixture[str]", monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times each, which measures nothing. What writes to the disk takes too long for a test."""
    monkeypatch.setattr(bench, "_timed", lambda work, n: [float(bool(work()) or 1) for _ in range(3)])
    assert main(["bench", "--only", "canonicalise,verdict", "--format", "json"]) == 0
    document: Any = parse(capsys.readouterr().out.encode())
    names = [line["name"] for line in document["lines"]]
    assert names == ["canonicalise_200B", "verdict_memory"]
