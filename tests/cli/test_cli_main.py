"""What all commands have in common: usage, help with examples that work, errors in one line, hints that work when typed."""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.kernels import Place
from cli.terminal import Terminal
from helm_ai_kernel import __version__
from helm_ai_kernel.app import resident
from helm_ai_kernel.cli import parser
from helm_ai_kernel.tcb.codes import Reason


def commands(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Every command that does something, at any depth."""
    inner = [action for action in top._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield top
    for action in inner:
        for choice in action.choices.values():
            yield from commands(choice)


COMMANDS = {command.prog.removeprefix("helm-ai-kernel "): command for command in commands(parser())}


def test_there_are_the_commands_that_are_documented() -> None:
    assert set(COMMANDS) == {
        "init", "explain", "fsck", "demo", "bench", "replay", "sessions", "tools list", "tools inspect", "tools pin",
        "tools release", "tools diff", "mcp login", "mcp logout", "mcp list", "mcp inspect", "mcp pin", "mcp release", "mcp diff", "policy check", "policy test", "policy apply", "receipts list", "receipts show", "receipts graph",
        "pack export", "pack verify", "pack show", "trust show", "trust log", "trust add", "trust rotate", "trust revoke",
        "trust threshold", "trust sign", "trust apply", "checkpoint", "witness init", "witness serve", "witness vkey",
        "witness log", "subjects", "erase", "backup", "restore", "pack redact", "up", "agents add", "agents list",
        "agents rotate", "agents remove", "approvals list", "approvals show", "approvals approve", "approvals deny",
        "approvals dispute", "approvals withdraw", "approvals override", "approvals grant", "approvals revoke", "freeze",
        "release",
    }  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_that_parses(terminal: Terminal, name: str) -> None:
    said = terminal.done(*name.split(), "--help")
    example = said.out.rstrip().rpartition("\nexample: ")[2]
    words = shlex.split(example)
    assert words[: 1 + len(name.split())] == ["helm-ai-kernel", *name.split()]
    args = parser().parse_args(words[1:])
    assert (args.what, args.format) == (name, "json" if "json" in words else "text")


@pytest.mark.parametrize(
    "argv", [(), ("tools",), ("mcp",), ("policy",), ("receipts",), ("pack",), ("trust",), ("witness",), ("agents",)]
)
def test_groups_have_help_too(terminal: Terminal, argv: tuple[str, ...]) -> None:
    assert "helm-ai-kernel" in terminal.done(*argv, "--help").out


def test_the_version_is_printed(terminal: Terminal) -> None:
    assert terminal.done("--version").out == f"helm-ai-kernel {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        ((), 2, "usage: the following arguments are required: COMMAND"),
        (("frobnicate",), 2, "usage: argument COMMAND: invalid choice: 'frobnicate'"),
        (("\x1b[31m",), 2, "usage: argument COMMAND: invalid choice"),
        (("tools",), 2, "tools: the following arguments are required: COMMAND"),
        (("tools", "pin"), 2, "tools pin: the following arguments are required: server"),
        (("tools", "pin", "x", "--ye"), 2, "usage: unrecognized arguments: --ye"),
        (("receipts", "list", "--newest", "-1"), 2, "receipts list: argument --newest: `-1` is not a whole number"),
        (("receipts", "list", "--session", "zz"), 2, "receipts list: argument --session: `zz` is not 32 hex digits"),
        (("pack", "verify"), 64, "pack verify: the following arguments are required: pack"),
        (("pack", "verify", "x", "--genesis", "sha256:0"), 64, "pack verify: argument --genesis: not `sha256:` and 64"),
        (("replay",), 64, "replay: the following arguments are required: pack"),
    ],
)
def test_a_wrong_usage_is_one_line_and_a_hint_that_works(terminal: Terminal, argv: tuple[str, ...], code: int, says: str) -> None:
    said = terminal(*argv)
    assert (said.code, said.out) == (code, "")
    assert said.error.startswith(says)
    assert terminal.type(said.hint).code == 0


FAILURES: list[tuple[str, int]] = [
    ("receipts show 99", 2),
    ("receipts show abc", 2),
    ("receipts graph abc", 1),
    ("tools inspect nobody", 2),
    ("tools pin nobody", 2),
    ("tools pin ../../etc/passwd", 2),
    ("tools release time/x", 1),
    ("tools diff nobody", 1),
    ("tools diff nobody --proposal", 2),
    ("mcp pin nobody", 2),
    ("agents rotate nobody", 1),
    ("agents remove nobody", 1),
    ("agents add x --burst 3", 1),
    ("agents list --home nowhere", 2),
    ("up --home nowhere", 2),
    ("up --ready-fd 99", 2),
    ("init", 2),
    ("trust rotate nobody", 2),
    ("trust revoke execution --reason compromise", 1),
    ("trust revoke execution --reason cessation", 1),
    ("trust threshold 1", 1),
    ("trust apply passphrase", 2),
    ("trust sign passphrase", 2),
    ("trust show --home nowhere", 2),
    ("fsck --home nowhere", 2),
    ("tools list --home nowhere", 2),
    ("policy check --home nowhere", 2),
    ("policy test --home nowhere", 2),
    ("receipts list --home nowhere", 2),
    ("pack verify nothing.tar", 64),
    ("pack verify home", 64),
    ("pack verify passphrase", 40),
    ("pack show nothing.tar", 2),
    ("pack show passphrase", 1),
    ("replay nothing.tar --verify", 64),
    ("replay passphrase", 40),
    ("replay passphrase --verify", 40),
    ("pack export --out nowhere/x.tar", 2),
    ("explain ERR_POLICY_DENI", 2),
    ("explain nonsense", 2),
]


@pytest.mark.parametrize(("line", "code"), FAILURES)
def test_a_failure_says_what_and_why_and_what_to_do(terminal: Terminal, line: str, code: int) -> None:
    said = terminal(*line.split())
    assert said.code == code
    if not said.out:  # else it is a report
        error, hint = said.err.splitlines()[-2:]
        assert error.startswith(f"error: {next(name for name in COMMANDS if line.startswith(name))}: ")
        assert hint.startswith("hint: ")
        if hint.startswith("hint: helm-ai-kernel ") and " init" not in hint:
            assert terminal.type(hint.removeprefix("hint: ")).code in (0, 40)
    assert terminal(*line.split(), "--format", "json").code == code


def test_a_hint_carries_the_home_that_was_given(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HELM_HOME")
    home = str(terminal.place.paths.home)
    for line in ("receipts show 99", "tools release a/b", "receipts graph abc", "init"):
        said = terminal(*line.split(), "--home", home)
        assert said.hint.endswith(f" --home {home}")
        assert terminal.type(said.hint).code == 0
    assert f"--home {home}" in terminal.done("policy", "check", "--home", home).out
    assert terminal("explain", "nonsense").hint == "helm-ai-kernel explain"


def test_init_is_what_the_hint_of_a_missing_kernel_says(terminal: Terminal) -> None:
    said = terminal("sessions", "--home", "new one")
    typed = terminal.type(said.hint + f" --passphrase-file {terminal.place.passphrase}")
    assert typed.code == 0
    assert terminal("sessions", "--home", "new one").code == 0


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained_also_in_lower_case(terminal: Terminal, reason: Reason) -> None:
    page = terminal.done("explain", reason.value.lower(), "--format", "json").json
    assert page["code"] == reason
    assert all(page[name] for name in ("meaning", "retry", "caller", "owner"))
    text = terminal.done("explain", reason.value).out
    assert text.startswith(f"## {reason}\n")
    assert page["meaning"] in text


def test_all_reasons_are_listed(terminal: Terminal) -> None:
    assert [row["code"] for row in terminal.done("explain", "--format", "json").json] == list(Reason)
    assert len(terminal.done("explain").out.splitlines()) == len(Reason)


def test_an_unreadable_configuration_is_named_with_its_key(terminal: Terminal) -> None:
    terminal.place.configure("[kernal]\n")
    said = terminal("tools", "list")
    assert said.code == 2
    assert said.error == "tools list: helm.toml: `kernal` is not known (ERR_POLICY_NOT_READY)"
    assert said.hint == "did you mean `kernel`?"


def test_our_own_bug_is_not_dressed_up(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("helm_ai_kernel.cli.evidence.Reader", broken)
    with pytest.raises(ZeroDivisionError):
        terminal("receipts", "list")


def test_a_reader_that_goes_away_is_no_failure_to_talk_about(place: Place) -> None:
    program = shlex.quote(str(Path(sys.executable).with_name("helm-ai-kernel")))
    line = f"{program} explain --format json | true; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.stdout, ended.stderr) == ("2\n", "")


def test_no_command_but_the_resident_kernel_loads_what_serves(terminal: Terminal) -> None:
    code = "import sys, helm_ai_kernel.cli; print([name for name in ('starlette', 'httptools', 'anyio') if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = ended.stdout.strip()
    assert loaded == "['httptools']", "of the witness, whose listener reads requests"
    said = " ".join(terminal.done("up", "--help").out.split())
    assert f"(default: {resident.WITHIN_S:.0f})" in said
    assert f"(default: {resident.WAIT_S:.0f})" in said
    assert resident.OPEN_LOOPBACK in said
