"""The verifier as a person runs it: arguments in, a report on stdout, one line on stderr when the question was wrong."""

import json
import re
from pathlib import Path

import pytest

from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.pack import PACK_BYTES_MAX
from helm_ai_kernel.verifier.__main__ import main
from needs import ROOT
from packs import short

PACKS = ROOT / "vectors/pack"


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    path = tmp_path / "evidence.tar"
    path.write_bytes(short().pack())
    return path


def test_a_valid_pack_is_reported_on_stdout_and_nothing_on_stderr(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(pack), "--genesis", short().genesis]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("VALID (exit 0)\n") and err == ""


def test_json_is_one_document_that_says_the_same(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(pack), "--format", "json"]) == 20
    report = json.loads(capsys.readouterr().out)
    assert list(report) == [
        "verdict", "exit", "axes", "receipts", "sessions", "findings", "omitted", "log", "size", "root", "part",
        "witnessed", "not_proven",
    ]  # fmt: skip
    assert list(report["axes"]) == ["integrity", "signers", "completeness", "freshness", "witnesses"]
    assert [found["code"] for found in report["findings"]] == ["UNANCHORED"]
    assert list(report["findings"][0]) == ["code", "step", "where", "detail"]
    assert (report["verdict"], report["exit"], report["receipts"], report["sessions"], report["size"]) == (
        "UNANCHORED",
        20,
        6,
        2,
        6,
    )


def test_a_known_head_is_read_from_its_file(pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = tmp_path / "head.txt"
    head.write_bytes(short().checkpoint())
    assert main([str(pack), "--genesis", short().genesis, "--known-head", str(head)]) == 0
    assert re.search(r"freshness +ok\n", capsys.readouterr().out)
    head.write_bytes(b"")
    assert main([str(pack), "--genesis", short().genesis, "--known-head", str(head)]) == 64


def test_an_unknown_outcome_counts_when_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    story = PACKS / "whole_story"
    args = [str(story / "pack.tar"), "--genesis", (story / "genesis.txt").read_text().strip()]
    assert (main(args), main([*args, "--require-resolved"])) == (0, 12)
    assert "INCOMPLETE (exit 12)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["evidence.tar", "--genesis", "sha256:12"],
        ["evidence.tar", "--genesis", "SHA256:" + "0" * 64],
        ["evidence.tar", "--genesis", "0" * 64],
        ["evidence.tar", "--format", "yaml"],
        ["evidence.tar", "--insecure"],
        ["evidence.tar", "other.tar"],
        ["absent.tar"],
        ["."],
        ["evidence.tar", "--known-head", "absent.txt"],
        ["evidence.tar", "--max-age", "12"],
        ["evidence.tar", "--max-age", "999999d"],
    ],
)
def test_a_wrong_question_is_one_line_a_hint_and_64(
    args: list[str], pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(pack.parent)
    try:
        code = main(args)
    except SystemExit as stop:
        code = int(str(stop.code))
    out, err = capsys.readouterr()
    assert code == Exit.USAGE and out == ""
    assert re.fullmatch(r"error: verify: [^\n]+\nhint: [^\n]+\n", err), err


def test_a_file_larger_than_any_pack_is_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sparse.tar"
    with path.open("wb") as file:
        file.truncate(PACK_BYTES_MAX + 1)
    assert main([str(path)]) == 64
    assert "larger than" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_in_a_pack_reaches_the_terminal_as_it_is(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    spoof = PACKS / "report_spoof_fail"
    assert main([str(spoof / "pack.tar"), "--genesis", (spoof / "genesis.txt").read_text().strip(), "--format", form]) == 40
    out = capsys.readouterr().out
    assert "VALID (exit 0)" in out  # the attempt is there to be seen,
    assert not any(line.startswith("VALID") for line in out.splitlines())  # and is no line of its own
    assert out.isascii() and all(line.isprintable() for line in out.split("\n"))


def test_the_file_names_of_the_question_are_escaped_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["\x1b[2J\u202e.tar"]) == 64
    assert capsys.readouterr().err.isascii()


def test_help_ends_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "example: python -m helm_ai_kernel.verifier evidence.tar --genesis sha256:" in capsys.readouterr().out
