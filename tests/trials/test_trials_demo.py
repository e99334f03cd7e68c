"""The demo, run once: the document that it promises, the effects that it claims, and evidence that stands without it."""

import io
import re
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from helm_ai_kernel.cli import main
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb.ijson import parse
from needs import ROOT, upstream

README = ROOT / "README.md"


def said(*argv: str) -> tuple[int, str]:
    out = io.StringIO()
    with redirect_stdout(out):
        code = main(argv)
    return code, out.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "place"


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Any]:
    code, out = said("demo", "--upstream", str(upstream()), "--folder", str(folder), "--format", "json")
    assert code == 0
    document: Any = parse(out.encode(), bytes_max=len(out))
    return dict(document)


def test_the_document_is_the_promised_one(told: dict[str, Any], folder: Path) -> None:
    assert set(told) == {"calls", "pack", "genesis", "verify", "replay", "home"}
    for call in told["calls"]:
        assert set(call) == {"door", "tool", "verdict", "reason", "outcome", "receipt"}
        assert set(call["receipt"]) == {"leaf", "index", "session", "seq"}
        assert call["door"] == "execute"
    assert set(told["replay"]) == {"verdict", "exit", "decisions", "differs"}
    assert (told["home"], told["pack"]) == (str(folder / "home"), str(folder / "home/packs/demo.tar"))


def test_all_verdicts_and_outcomes_are_real(told: dict[str, Any]) -> None:
    calls = [(call["tool"], call["verdict"], call["reason"], call["outcome"]) for call in told["calls"]]
    assert calls == [
        ("desk/append_note", "DENY", "ERR_TOOL_NOT_ALLOWED", None),
        ("time/convert_time", "ALLOW", "OK", "OK"),
        ("desk/append_note", "ALLOW", "OK", "OK"),
        ("desk/format_disk", "DENY", "ERR_TOOL_NOT_ALLOWED", None),
        ("time/convert_time", "DENY", "ERR_SCHEMA_VIOLATION", None),
        ("desk/send_mail", "DENY", "ERR_POLICY_DENY", None),
        ("desk/wipe", "ESCALATE", "ERR_APPROVAL_REQUIRED", None),
        ("desk/pay", "ESCALATE", "ERR_APPROVAL_REQUIRED", None),
        ("desk/pay", "ALLOW", "OK", "OK"),
        ("desk/pay", "ALLOW", "REPEATED", "OK"),
        ("desk/temperature", "ALLOW", "ERR_CONNECTOR_CONTRACT_DRIFT", "DRIFT"),
        ("desk/temperature", "DENY", "ERR_TOOL_HALTED", None),
        ("desk/temperature", "ALLOW", "OK", "OK"),
        ("desk/append_note", "DENY", "ERR_FROZEN", None),
        ("desk/append_note", "ALLOW", "OK", "OK"),
        ("desk/pay", "ALLOW", "ERR_OUTCOME_UNKNOWN", "UNKNOWN"),
        ("desk/pay", "DENY", "ERR_OUTCOME_UNKNOWN", None),
    ]


def test_what_was_approved_is_what_was_dispatched_and_it_went_once(told: dict[str, Any]) -> None:
    held, went, again = (call["receipt"] for call in told["calls"][7:10])
    with Reader(Path(told["home"]) / "store") as reader:
        receipts = list(reader.receipts())
    asked, outcome = receipts[held["index"]], receipts[went["index"]]
    intent = next(receipt for receipt in receipts if receipt.leaf == outcome.body["decision"])
    (approval,) = intent.body["relies"]  # type: ignore[misc]
    assert asked.leaf in intent.parents and approval in intent.parents
    statement = next(receipt for receipt in receipts if receipt.leaf == approval)
    assert statement.body["statement"]["body"]["call"] == asked.leaf  # type: ignore[index,call-overload]
    assert again == went


def test_what_it_says_was_recorded_is_in_the_log(told: dict[str, Any]) -> None:
    with Reader(Path(told["home"]) / "store") as reader:
        receipts = list(reader.receipts())
    for call in told["calls"]:
        receipt, named = receipts[call["receipt"]["index"]], call["receipt"]
        assert (receipt.leaf, receipt.session, receipt.seq) == (named["leaf"], named["session"], named["seq"])
        assert receipt.body.get("status") == call["outcome"] or call["outcome"] is None
    kinds = Counter(receipt.kind.value for receipt in receipts)
    assert (kinds["hold"], kinds["recovery"]) == (2, 1)  # a tool that broke its contract, and a freeze


def test_what_was_allowed_happened_once_and_what_was_not_did_not(told: dict[str, Any], folder: Path) -> None:
    effects = {path.name: path.read_text().splitlines() for path in (folder / "desk").iterdir()}
    assert effects == {
        "notes.txt": ["buy milk", "buy bread"],
        "payments.txt": ["alice 420000", "bob 500"],
    }


def test_its_evidence_verifies_and_every_decision_comes_out_again(told: dict[str, Any]) -> None:
    assert (told["verify"]["verdict"], told["verify"]["exit"]) == ("VALID", 0)
    assert (told["replay"]["verdict"], told["replay"]["exit"], told["replay"]["differs"]) == ("VALID", 0, [])
    assert said("pack", "verify", told["pack"], "--genesis", told["genesis"])[0] == 0
    assert said("replay", told["pack"], "--verify", "--genesis", told["genesis"])[0] == 0
    assert said("fsck", "--home", told["home"])[0] == 0


def test_the_story_has_what_the_readme_shows_and_ends_with_commands_that_work(folder: Path) -> None:
    told = folder.parent / "told"
    code, out = said("demo", "--upstream", str(upstream()), "--folder", str(told))
    assert code == 0
    excerpts = re.findall(r"^```text\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert [line for excerpt in excerpts for line in excerpt.splitlines() if line not in out.splitlines()] == []
    assert len(excerpts) == 2
    shown = out[out.index("$ helm-ai-kernel approvals show") :]
    assert 'cents = 420000\n        to = "alice"\n' in shown.partition("$ helm-ai-kernel approvals approve")[0]
    commands = [line.split() for line in out.splitlines() if line.startswith("  helm-ai-kernel ")]
    assert len(commands) == 2
    for words in commands:
        assert said(*words[1:])[0] == 0
    assert all(char == "\n" or " " <= char <= "~" for char in out)


def test_a_server_that_is_not_installed_is_named(capsys: "pytest.CaptureFixture[str]") -> None:
    assert main(["demo", "--upstream", "no-such-server"]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "error: demo: the MCP server `no-such-server` is not installed (ERR_CONNECTOR_FAILED)"
    assert hint == "hint: pip install mcp-server-time"
