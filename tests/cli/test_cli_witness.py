"""Both sides of a witness as people type them: one who runs a witness, one whose log is cosigned."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from app.kernels import OPEN
from cli.terminal import Terminal
from gateway.witnessing import serving
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.cli import main
from helm_ai_kernel.credentials import keyfile
from helm_ai_kernel.gateway.witness import Witness
from helm_ai_kernel.gateway.witness_memory import Memory
from helm_ai_kernel.ledger.witnessed import Witnessed
from helm_ai_kernel.net.witness import Cosigned, submit
from helm_ai_kernel.tcb import checkpoint
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.cosign import VerifierKey
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.keys import Purpose
from helm_ai_kernel.wire.submission import Submission

NAME = "witness.example/w1"


def made(terminal: Terminal, folder: str = "w1", name: str = NAME) -> VerifierKey:
    return VerifierKey.from_text(
        terminal.done("witness", "init", "--dir", folder, "--name", name, "--format", "json").json["vkey"]
    )


def configured(terminal: Terminal, *lines: str) -> None:
    terminal.place.configure('[log]\nwitnesses = "witness-policy.txt"\n')
    (terminal.place.paths.home / "witness-policy.txt").write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def running(stack: ExitStack, terminal: Terminal, folder: str = "w1") -> str:
    """The URL of what `witness serve` would serve there."""
    name, key = keyfile.read_named(Path(folder) / "key", Purpose.WITNESS)
    log = VerifierKey.from_text(terminal.done("checkpoint", "--vkey").out.strip())
    memory = Memory.open(Path(folder), VerifierKey(name, key.public))
    stack.callback(memory.close)
    return f"http://127.0.0.1:{stack.enter_context(serving(Witness(name, key, [log], memory)))}"


def test_a_witness_is_made_once_and_tells_its_key(terminal: Terminal) -> None:
    vkey = made(terminal)
    assert (vkey.name, vkey.key.purpose) == (NAME, Purpose.WITNESS)
    assert terminal.done("witness", "vkey", "--dir", "w1").out == f"{vkey}\n"
    assert Path("w1").stat().st_mode & 0o777 == 0o700 and Path("w1/key").stat().st_mode & 0o777 == 0o600
    again = terminal("witness", "init", "--dir", "w1", "--name", NAME)
    assert again.code == 2 and "exists already" in again.error


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("init", "--dir", "w", "--name", "a b"), "no spaces"),
        (("init", "--dir", "w", "--name", "a+b"), "no `+`"),
        (("serve", "--dir", "w"), "could not be read"),
        (("serve", "--dir", "w1"), "no log is named"),
        (("serve", "--dir", "w1", "--logs", "nowhere"), "`nowhere`: no such file"),
        (("serve", "--dir", "w1", "--log", "nonsense"), "a verifier key is"),
        (("serve", "--dir", "w1", "--listen", "8795x"), "is not HOST:PORT"),
        (("serve", "--dir", "w1", "--listen", "127.0.0.1:99999"), "is not HOST:PORT"),
        (("log", "--dir", "w"), "could not be read"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(terminal: Terminal, argv: tuple[str, ...], says: str) -> None:
    made(terminal)
    said = terminal("witness", *argv)
    assert said.code in (1, 2) and says in said.error


@pytest.mark.parametrize(
    ("options", "says", "hints"),
    [
        (("--listen", "0.0.0.0:0"), "other machines can reach `0.0.0.0`, and there is no TLS", "listen at 127.0.0.1"),
        (("--listen", "[::]:0"), "other machines can reach `::`, and there is no TLS", "configure TLS"),
        (("--listen", "witness.example:0"), "`witness.example` is no address", "listen at 127.0.0.1"),
        (("--tls-certificate", "w1/key"), "TLS needs a certificate and its key", "witness serve --help"),
        (("--tls-certificate", "w1/key", "--tls-key", "w1/key"), "TLS cannot be configured with `w1/key`", "PEM"),
    ],
)
def test_a_witness_is_open_to_other_machines_only_through_tls(
    terminal: Terminal, options: tuple[str, ...], says: str, hints: str
) -> None:
    made(terminal)
    log = terminal.done("checkpoint", "--vkey").out.strip()
    said = terminal("witness", "serve", "--dir", "w1", "--log", log, *options)
    assert said.code in (1, 2) and says in said.error and hints in said.err


def test_the_key_of_a_witness_is_no_log_to_watch(terminal: Terminal) -> None:
    said = terminal("witness", "serve", "--dir", "w1", "--log", str(made(terminal)))
    assert said.code == 2 and "the key of a witness, not of a log" in said.error


def test_the_newest_head_is_told_byte_for_byte(terminal: Terminal) -> None:
    data = terminal.done("checkpoint", "--format", "json").json
    assert main(["checkpoint"]) == 0
    note = Checkpoint.from_bytes(terminal.capsys.readouterr().out.encode())
    assert (data["log"], data["size"], data["root"], data["note"]) == (
        note.origin,
        note.size,
        note.root.hex(),
        note.note.decode(),
    )
    vkey = VerifierKey.from_text(terminal.done("checkpoint", "--vkey").out.strip())
    note.verify(vkey.name, vkey.key)


def test_a_checkpoint_is_cosigned_and_kept(terminal: Terminal) -> None:
    with ExitStack() as stack:
        vkey = made(terminal)
        configured(terminal, f"witness one {vkey} {running(stack, terminal)}", "quorum one")
        said = terminal.done("checkpoint", "--witness", "--format", "json")
        note = Checkpoint.from_bytes(said.json["note"].encode())
        assert Witnessed(terminal.place.paths.store).newest() == note
        assert said.json["seen"] == {"one": said.json["since"]}
        assert said.err == f"cosigned by a quorum since {said.json['since']}\n"
    shown = terminal.done("witness", "log", "--dir", "w1", "--format", "json").json
    assert shown["evidence"] == [] and shown["logs"] == [
        {"log": note.origin, "size": note.size, "root": note.root.hex(), "at": said.json["since"]}
    ]
    assert shown["suspected"] == []
    for kind, says in (("evidence", "evidence of another history: "), ("suspected", "suspicion of another history, no proof: ")):
        (Path("w1") / kind / "a").mkdir()
        (Path("w1") / kind / "a/b.txt").write_bytes(b"")
        assert f"{says}w1/{kind}/a/b.txt\n" in terminal.done("witness", "log", "--dir", "w1").out
    assert f"size {note.size}  {note.origin}" in terminal.done("witness", "log", "--dir", "w1").out


def test_without_a_quorum_the_answer_is_no_and_says_who_was_missing(terminal: Terminal) -> None:
    with ExitStack() as stack:
        lines = [f"witness one {made(terminal)} {running(stack, terminal)}"]
        lines += [f"witness two {made(terminal, 'w2', 'witness.example/w2')}", "group both all one two", "quorum both"]
        configured(terminal, *lines)
        said = terminal("checkpoint", "--witness", "--format", "json")
    assert said.code == 1 and said.json["since"] is None and Witnessed(terminal.place.paths.store).newest() is None
    assert "`witness.example/w2`: the policy has no URL for it" in said.err and "1 of 2 witnesses cosigned" in said.err


def test_a_witness_that_has_seen_another_history_is_told_with_both_heads(terminal: Terminal) -> None:
    with ExitStack() as stack:
        vkey = made(terminal)
        url = running(stack, terminal)
        configured(terminal, f"witness one {vkey} {url}", "quorum one")
        key = keyfile.read_machine(terminal.place.paths.keys / "log", Purpose.LOG)
        origin = terminal.done("checkpoint", "--format", "json").json["log"]
        elsewhere = checkpoint.sign(origin, 7, b"\x05" * 32, key)  # by a copy of the kernel, with its key
        assert isinstance(submit(url, Submission(0, (), elsewhere)), Cosigned)
        said = terminal("checkpoint", "--witness")
    assert said.code == 2 and "(ERR_STORE_ROLLBACK)" in said.error and "SPLIT_VIEW" in said.error
    assert "(ERR_STORE_ROLLBACK)" in terminal.sign("policy", "apply").error  # no start goes on from it
    assert terminal.done("pack", "export").out
    assert "here: size 0, root e3b0c442" in said.error and "cosigned: size 7, which is more than was ever" in said.error


def note(text: str = "") -> str:
    return text


def test_a_kernel_executes_nothing_any_more_once_the_command_beside_it_found_another_history(terminal: Terminal) -> None:
    with ExitStack() as stack:
        vkey = made(terminal)
        url = running(stack, terminal)
        configured(terminal, f"witness one {vkey} {url}", "quorum one")
        terminal.place.configure("heartbeat_s = 0\n")
        run = terminal.place.program(note)
        assert run["note"]("before") == "before"
        key = keyfile.read_machine(terminal.place.paths.keys / "log", Purpose.LOG)
        elsewhere = checkpoint.sign(run.kernel.run(origin), 70, b"\x05" * 32, key)
        assert isinstance(submit(url, Submission(0, (), elsewhere)), Cosigned)
        assert "(ERR_STORE_ROLLBACK)" in terminal("checkpoint", "--witness").error
    with pytest.raises(OutsideError, match=r"ERR_SEALED.*another-history\.txt"):
        terminal.place.sign(run.kernel, None, OPEN + b"\n")
    with pytest.raises(OutsideError, match=r"ERR_SEALED.*another-history\.txt"):
        run["note"]("after")
    with pytest.raises(OutsideError, match="ERR_SEALED"):
        run.kernel.close()
    assert terminal.place.told("decision") == ["decision ALLOW OK python/note"]


async def origin(runtime: Runtime) -> str:
    return runtime.ledger.origin


def test_without_a_policy_it_says_where_to_name_one(terminal: Terminal) -> None:
    said = terminal("checkpoint", "--witness")
    assert said.code == 1 and "no witness policy is named" in said.error and "[log] witnesses" in said.hint


def test_a_wrong_policy_is_told_with_its_line(terminal: Terminal) -> None:
    configured(terminal, "# nothing", "quorum none")
    said = terminal("checkpoint", "--witness")
    assert said.code == 1 and "line 2: `quorum none`" in said.error and "docs/spec/witness.md" in said.hint
