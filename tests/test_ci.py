"""The checks check themselves: a skipped test cannot pass for one that ran, and CI runs what the README tells people to run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from needs import APT, MAY_SKIP, ROOT

SKIPS = """
import pytest
def test_tool(): pytest.skip("`strace` is not installed: apt-get install strace")
def test_corpus(): pytest.skip("the public corpus `jcs` is not at /x: place it there to run this test")
@pytest.mark.skipif(True, reason="no time")
def test_mark(): pass
"""


@pytest.mark.parametrize(("ci", "expected"), [("true", {"failed": 1, "error": 1, "skipped": 1}), ("", {"skipped": 3})])
def test_a_skip_fails_in_ci_unless_it_is_a_corpus_beside_the_checkout(tmp_path: Path, ci: str, expected: dict[str, int]) -> None:
    for name in ("conftest.py", "needs.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path)
    (tmp_path / "test_skips.py").write_text(SKIPS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    env = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT / "tests")}  # for what a conftest imports
    run = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (failed|error|skipped)", run.stdout.splitlines()[-1])}
    assert counts == expected


def test_ci_installs_every_tool_that_a_test_may_need_and_runs_the_commands_of_the_readme() -> None:
    script = ROOT / ".ci/run"
    lines = script.read_text().splitlines()
    assert os.access(script, os.X_OK)
    assert {"set -euo pipefail", "make .envs/mcpb/ready", "make test", "make check"} <= set(lines)
    for package in set(APT.values()):
        assert any(f"missing+=({package})" in line for line in lines), package


def test_no_test_skips_past_the_helper_for_a_reason_that_ci_must_not_have() -> None:
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if path.name not in ("needs.py", "corpora.py", "conftest.py", "test_ci.py"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"pytest\.(importorskip|mark\.skip)", text), f"{path}: use tests/needs.py"
            for reason in re.findall(r"pytest\.skip\((.*)", text):
                assert reason.lstrip("f\"'").startswith(MAY_SKIP), f"{path}: use tests/needs.py"
