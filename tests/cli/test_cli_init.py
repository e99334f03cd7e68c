"""The first command: a kernel with a passphrase file or an ssh-agent, never over another one."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.kernels import OPEN, Place
from cli.terminal import Terminal
from helm_ai_kernel import Kernel
from helm_ai_kernel.app.config import load
from needs import needs


def test_a_kernel_is_made_with_a_passphrase_file_and_its_packs_verify_here(terminal: Terminal) -> None:
    passphrase = str(terminal.place.passphrase)
    said = terminal.done("init", "--home", "mine", "--passphrase-file", passphrase, "--format", "json")
    assert set(said.json) == {"home", "genesis", "log", "root", "approval"}
    assert said.json["home"] == str(Path("mine").absolute())
    pack = terminal.done("pack", "export", "--home", "mine").out.strip()
    assert Path(pack).parent == Path("mine/packs").absolute()
    assert terminal("pack", "verify", pack).code == 0
    assert terminal("replay", pack, "--verify").code == 0
    assert terminal.done("fsck", "--home", "mine").out == "0 receipts, no damage\n"


def test_the_text_says_where_everything_is_and_what_comes_next(terminal: Terminal) -> None:
    said = terminal.done("init", "--home", "mine", "--passphrase-file", str(terminal.place.passphrase))
    words = ("home      ", "people    ", "genesis   sha256:", "log       helm.local/", "Nothing is allowed yet")
    assert all(word in said.out for word in words)
    assert f"helm-ai-kernel policy apply --home {Path('mine').absolute()}" in said.out


def test_init_overwrites_nothing_and_asks_nothing_first(terminal: Terminal) -> None:
    before = (terminal.place.paths.store / "trust.jsonl").read_bytes()
    said = terminal("init")
    assert said.code == 2
    assert "is not empty, and nothing is overwritten" in said.error
    assert (terminal.place.paths.store / "trust.jsonl").read_bytes() == before
    (terminal.place.folder / "full").mkdir()
    (terminal.place.folder / "full/mine").touch()
    said = terminal("init", "--home", "full")
    assert said.hint == f"helm-ai-kernel init --home {terminal.place.folder}/full-2"
    assert terminal.type(said.hint + " --passphrase-file passphrase").code == 0


@pytest.mark.parametrize(("phrase", "says"), [("", "a passphrase of less than 8 bytes"), ("x" * 73, "of more than 72 bytes")])
def test_a_passphrase_that_cannot_protect_is_refused(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, phrase: str, says: str
) -> None:
    (terminal.place.folder / "weak").write_text(phrase + "\n")
    (terminal.place.folder / "weak").chmod(0o600)
    monkeypatch.setenv("HELM_PEOPLE", str(terminal.place.folder / "new-people"))
    said = terminal("init", "--home", "mine", "--passphrase-file", "weak")
    assert (said.code, Path("mine").exists()) == (2, False)
    assert says in said.error
    assert said.hint


def test_without_a_terminal_and_a_file_nobody_is_asked(terminal: Terminal) -> None:
    said = terminal("init", "--home", "mine")
    assert said.code == 2
    assert said.error.startswith("init: there is no terminal to ask for the passphrase")
    assert said.hint == "helm-ai-kernel init --home mine --passphrase-file FILE"
    assert terminal.type(said.hint.replace("FILE", "passphrase")).code == 0


def test_a_passphrase_file_that_is_not_there_is_named(terminal: Terminal) -> None:
    said = terminal("init", "--home", "mine", "--passphrase-file", "nothing")
    assert (said.code, said.error) == (2, "init: `nothing` could not be read: no such file or directory (ERR_SIGNER_UNAVAILABLE)")


def test_a_passphrase_file_that_others_can_read_is_refused(terminal: Terminal) -> None:
    terminal.place.passphrase.chmod(0o644)
    said = terminal("init", "--home", "mine", "--passphrase-file", "passphrase")
    assert (said.code, said.error) == (2, "init: `passphrase` is open to others (mode 0644) (ERR_SIGNER_UNAVAILABLE)")
    assert said.hint == f"chmod 600 {terminal.place.passphrase}"
    assert not Path("mine").exists()


@pytest.fixture
def agent(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real agent with one key; the key's fingerprint."""
    socket, key = place.folder / "agent", place.folder / "id"
    process = subprocess.Popen([needs("ssh-agent"), "-D", "-a", str(socket)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it listens
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run([needs("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        subprocess.run([needs("ssh-add"), "-q", str(key)], check=True, stderr=subprocess.DEVNULL)
        listed = subprocess.run([needs("ssh-add"), "-l"], check=True, capture_output=True, text=True)
        yield listed.stdout.split()[1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_a_key_of_an_ssh_agent_signs_pins_and_policies(
    place: Place, agent: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(place.folder / "agent"))  # `terminal` took it away
    monkeypatch.setenv("HELM_PEOPLE", str(place.folder / "others"))
    home = str(place.folder / "mine")
    terminal.done("init", "--home", home, "--ssh-agent", agent, "--passphrase-file", str(place.passphrase))
    assert not (place.folder / "others/keys/approval").exists()
    monkeypatch.setenv("HELM_HOME", home)
    with Kernel() as kernel:
        kernel.tool(effect="write")(note)
        kernel.call("python/note", {})
    assert load(kernel.config.paths).approval_key == "ssh-agent"
    assert terminal("tools", "pin", "python", "--yes").code == 0
    (kernel.config.paths.policy / "main.cedar").write_bytes(OPEN)
    assert terminal("policy", "apply", "--yes", "--ssh-agent").code == 0
    with Kernel() as kernel:
        kernel.tool(effect="write")(note)
        assert kernel.call("python/note", {}).output == b"1"
    pack = terminal.done("pack", "export").out.strip()
    assert terminal("pack", "verify", pack).code == 0
    subprocess.run([needs("ssh-add"), "-q", "-D"], check=True, stderr=subprocess.DEVNULL)
    (kernel.config.paths.policy / "main.cedar").write_bytes(OPEN + b"// edited\n")
    said = terminal("policy", "apply", "--yes")
    assert (said.code, "the agent does not hold SHA256:" in said.error) == (2, True)


def test_without_an_agent_its_key_cannot_be_used(terminal: Terminal) -> None:
    said = terminal("init", "--home", "mine", "--ssh-agent", "SHA256:nobody", "--passphrase-file", "passphrase")
    assert (said.code, Path("mine").exists()) == (2, False)
    assert "SSH_AUTH_SOCK is not set" in said.error


def note() -> int:
    return 1
