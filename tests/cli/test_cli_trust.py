"""Keys that come and go, as people do it: one owner in one command, two people with a file between them."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from app.kernels import OPEN, PASSPHRASE, Place
from cli.terminal import Said, Terminal
from helm_ai_kernel import Kernel
from helm_ai_kernel.app import trust
from helm_ai_kernel.app.config import Paths
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.credentials import keyfile
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.keys import Purpose
from needs import needs

SINCE = "2026-01-31T18:00:00.000Z"


def used(terminal: Terminal) -> Terminal:
    """A kernel that worked under its first keys."""
    with terminal.place.program(note) as program:
        program["note"]()
    return terminal


def note() -> str:
    return "done"


def works(place: Place) -> None:
    """The next start relies on the registry as it is, and everything that was ever recorded verifies."""
    with Kernel(config=place.config) as kernel:
        assert kernel.tool(effect="write")(note)() == "done"
    place.check()
    assert place.receipts()[-1].trust.size == trust.known(place.paths).size


def key(terminal: Terminal, purpose: str) -> dict[str, Any]:
    (found,) = [row for row in terminal.done("trust", "show", "--format", "json").json["keys"] if row["purpose"] == purpose]
    return found


def test_the_keys_in_force_and_the_events_are_listed(terminal: Terminal) -> None:
    shown = terminal.done("trust", "show", "--format", "json").json
    assert [row["purpose"] for row in shown["keys"]] == ["root", "approval", "execution", "log"]
    assert (shown["size"], shown["threshold"]) == (4, 1) and shown["keys"][0]["principal"] == "owner"
    text = terminal.done("trust", "show").out.splitlines()
    assert text[0] == f"genesis {shown['genesis']}"
    assert text[2].split() == [shown["keys"][0]["id"][8:20], "root", "owner", "since", "1"]
    log = terminal.done("trust", "log").out.splitlines()
    assert [line.split()[0] for line in log] == ["0", "1", "2", "3"]
    assert "add approval key of owner  by owner" in log[1]
    assert [body["event"] for body in terminal.done("trust", "log", "--format", "json").json] == ["genesis", "add", "add", "add"]


@pytest.mark.parametrize("purpose", ["execution", "log"])
def test_the_owner_rotates_a_key_of_the_machine_in_one_command(terminal: Terminal, purpose: str) -> None:
    old, file = key(used(terminal), purpose), terminal.place.paths.keys / purpose
    before = file.read_bytes()
    said = terminal.sign("trust", "rotate", purpose)
    assert said.code == 0, said
    assert f"rotate {purpose} key of kernel-{purpose}:" in said.out and "the kernel relies on it from its next start" in said.out
    assert key(terminal, purpose)["id"] != old["id"]
    assert file.read_bytes() != before and sorted(path.name for path in file.parent.iterdir() if path.is_file()) == [
        "execution",
        "log",
    ]
    pack = terminal.done("pack", "export").out.strip()
    assert terminal("pack", "verify", pack).code == 0  # also before the next start
    works(terminal.place)
    assert terminal.done("fsck").out.endswith("no damage\n")
    (ended,) = [row for row in terminal.done("trust", "show", "--all", "--format", "json").json["keys"] if row["until"]]
    assert (ended["id"], ended["state"]) == (old["id"], "ended")


def test_a_home_that_was_put_back_behind_a_rotation_is_found_and_goes_on_in_a_new_log_only(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its registry does not name the key by which the newest head was signed: that is no reason to take the head away."""
    monkeypatch.delenv("HELM_STATE")
    used(terminal)
    place = terminal.place
    shutil.copytree(place.paths.home, "yesterday", symlinks=True)
    assert terminal.sign("trust", "rotate", "log").code == 0
    with Kernel(config=place.config) as kernel:
        assert kernel.tool(effect="write")(note)() == "done"
    shutil.rmtree(place.paths.home)
    shutil.copytree("yesterday", place.paths.home, symlinks=True)
    with pytest.raises(OutsideError, match="ERR_STORE_ROLLBACK") as refused:
        place.program(note)
    assert "helm-ai-kernel restore --here" in refused.value.hint
    assert "by a key that this registry does not name" in refused.value.detail
    terminal.done("pack", "export", "--out", "put-back.tar")  # evidence, as it stands
    terminal.done("backup", "put-back-helm.tar")
    said = terminal.sign("restore", "--here")
    assert said.code == 0 and "Not named, and evidence to keep: the head that was signed last" in said.out, said
    used(terminal)
    place.check()
    origin = place.receipts()[0].log
    for purpose in (Purpose.EXECUTION, Purpose.LOG):
        keys = {entry.log: id for id, entry in trust.known(place.paths).in_force(purpose).items()}
        last = terminal.sign("trust", "revoke", keys.pop(origin), "--reason", "superseded")
        assert last.code != 0 and f"key of `{origin}` would be in force" in last.error, "another log's key is none of this one"
        assert terminal.sign("trust", "revoke", *keys.values(), "--reason", "cessation").code == 0  # of the log that ended
    used(terminal)


def test_a_stolen_execution_key_is_replaced_and_then_revoked_and_old_receipts_count_no_more(terminal: Terminal) -> None:
    old = key(used(terminal), "execution")["id"]
    assert terminal.sign("trust", "rotate", "execution").code == 0
    said = terminal.sign("trust", "revoke", old[8:20], "--reason", "compromise", "--since", "2026-01-31T19:00:00+01:00")
    assert said.code == 0, said
    assert f'since      "{SINCE}"' in said.out
    with Kernel(config=terminal.place.config) as kernel:
        assert kernel.tool(effect="write")(note)() == "done"  # the kernel goes on
    pack = terminal.done("pack", "export").out.strip()
    report = terminal("pack", "verify", pack)
    assert report.code == 40 and "KEY_COMPROMISED_UNANCHORED" in report.out


@pytest.mark.parametrize("purpose", ["execution", "log", "approval"])
def test_a_theft_that_is_found_stops_no_kernel_and_damages_no_store(terminal: Terminal, purpose: str) -> None:
    """What is in force was put there under the key: who revoked it decides what becomes of that."""
    old = key(used(terminal), purpose)["id"]
    assert terminal.sign("trust", "rotate", purpose).code == 0
    assert terminal.sign("trust", "revoke", old, "--reason", "compromise", "--since", SINCE).code == 0
    for _ in range(2):
        with Kernel(config=terminal.place.config) as kernel:
            assert kernel.tool(effect="write")(note)() == "done"
    assert terminal.done("fsck").out.endswith("no damage\n")
    report = terminal("pack", "verify", terminal.done("pack", "export").out.strip())
    assert report.code == (0 if purpose == "log" else 40)  # another key signs the whole log by now


def test_the_owner_rotates_the_approval_key_and_signs_policy_with_the_new_one(terminal: Terminal) -> None:
    used(terminal)
    assert terminal.sign("trust", "rotate", "approval").code == 0
    assert (terminal.place.paths.people_keys / "approval-4.pub").exists()
    (terminal.place.paths.policy / "main.cedar").write_bytes(OPEN + b"// edited\n")
    assert terminal.sign("policy", "apply").code == 0
    works(terminal.place)


def test_the_owner_rotates_the_root_and_signs_with_the_new_one_from_then_on(terminal: Terminal) -> None:
    used(terminal)
    assert terminal.sign("trust", "rotate", "root").code == 0
    assert terminal.sign("trust", "rotate", "execution").code == 0
    (line,) = [line for line in terminal.done("trust", "log").out.splitlines() if "rotate execution" in line]
    new = keyfile.read_public(terminal.place.paths.people_keys / "root-4.pub", Purpose.ROOT).id
    assert new[8:20] in line
    works(terminal.place)


def bob(folder: Path) -> Paths:
    """A second person, with a key on another machine."""
    people = folder / "bobs"
    (people / "keys").mkdir(parents=True)
    keyfile.write_person(people / "keys/root", b"\x0b" * 32, Purpose.ROOT, PASSPHRASE, comment="bob")
    return Paths(folder / "none", people)


def elsewhere(terminal: Terminal, other: Paths, monkeypatch: pytest.MonkeyPatch, *argv: str) -> Said:
    """What the second person types: no kernel there, only their own keys."""
    with monkeypatch.context() as there:
        there.setenv("HELM_HOME", str(other.home))
        there.setenv("HELM_PEOPLE", str(other.people))
        return terminal.sign(*argv)


def test_a_second_person_signs_on_another_machine(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    other = bob(used(terminal).place.folder)
    public = str(other.people_keys / "root.pub")
    said = terminal.sign("trust", "add", "--purpose", "root", "--principal", "bob", "--public", public, "--out", "event.json")
    assert said.code == 0 and "still to sign: " in said.out, said
    assert terminal("trust", "apply", "event.json").code == 1  # not yet
    assert terminal.sign("trust", "sign", "event.json").code == 1  # none of the owner's keys is asked for
    said = elsewhere(terminal, other, monkeypatch, "trust", "sign", "event.json")
    assert said.code == 0 and "add root key of bob:" in said.out and "all have signed" in said.out, said
    assert "event 4: add root key of bob" in terminal.done("trust", "apply", "event.json").out
    terminal.sign("trust", "threshold", "2", "--signer", "owner", "--signer", "bob", "--out", "two.json")
    assert elsewhere(terminal, other, monkeypatch, "trust", "sign", "two.json").code == 0
    terminal.done("trust", "apply", "two.json")
    said = terminal.sign("trust", "rotate", "log")
    assert said.code == 2 and said.hint == "--signer NAME for each; there are: bob, owner"
    assert terminal.sign("trust", "rotate", "log", "--signer", "owner", "--signer", "bob").code == 0
    works(terminal.place)  # nothing happened yet: the old log key is in use
    assert elsewhere(terminal, other, monkeypatch, "trust", "sign", "trust-6.json").code == 0
    terminal.done("trust", "apply", "trust-6.json")
    works(terminal.place)
    assert terminal("trust", "apply", "trust-6.json").code == 1  # once
    assert terminal.done("trust", "show", "--format", "json").json["threshold"] == 2


def test_what_was_edited_after_it_was_signed_is_refused(terminal: Terminal) -> None:
    before = trust.known(terminal.place.paths)
    body: Any = {"event": "threshold", "v": 1, "kind": "trust", "seq": 4, "prev": before.head, "at": SINCE, "threshold": 1}
    Path("event.json").write_bytes(trust.Draft.of(body, [key(terminal, "root")["id"]]).to_bytes())
    assert terminal.sign("trust", "sign", "event.json").code == 0
    event = json.loads(Path("event.json").read_bytes())
    event["body"]["at"] = SINCE.replace("2026", "2027")
    Path("edited.json").write_text(json.dumps(event))
    said = terminal("trust", "apply", "edited.json")
    assert said.code == 1 and said.error.startswith("trust apply: the registry refuses this: ") and "SIG_INVALID" in said.error
    assert trust.known(terminal.place.paths) == before
    assert terminal("trust", "apply", "event.json").code == 0  # control


@pytest.mark.parametrize(
    "line",
    [
        "trust revoke execution --reason superseded",
        "trust revoke root --reason cessation --signer owner",
        "trust threshold 2",
        "trust threshold 0",
    ],
)
def test_what_would_shut_the_kernel_for_good_is_refused(terminal: Terminal, line: str) -> None:
    before = trust.known(terminal.place.paths).lines
    said = terminal.sign(*line.split())
    assert said.code in (1, 2) and said.error and said.hint
    assert trust.known(terminal.place.paths).lines == before


def test_without_consent_nothing_is_signed_and_no_person_gets_a_key(terminal: Terminal) -> None:
    for line in ("trust rotate root", "trust rotate execution", "trust threshold 1"):
        said = terminal(*line.split(), "--passphrase-file", str(terminal.place.passphrase))
        assert said.code == 1 and said.error.endswith(": nothing was signed")
    held = sorted(path.name for path in terminal.place.paths.people_keys.iterdir())
    assert held == ["approval", "approval.pub", "root", "root.pub"]
    assert trust.known(terminal.place.paths).size == 4


def test_beside_a_running_kernel_nothing_is_asked_and_nothing_changes(terminal: Terminal) -> None:
    async def nothing(_: Runtime) -> None: ...

    with Kernel(config=terminal.place.config) as kernel:
        kernel.run(nothing)
        for argv in (("trust", "rotate", "log"), ("trust", "threshold", "1")):
            said = terminal.sign(*argv)
            assert said.code == 2 and "ERR_STORE_LOCKED" in said.error and said.out == ""
        assert terminal.done("trust", "show").code == 0
    assert trust.known(terminal.place.paths).size == 4


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"body":{},"sigs":[]}', b"\xff", b"1" * 2_000_000])
@pytest.mark.parametrize("verb", ["sign", "apply"])
def test_a_file_that_is_no_event_is_refused(terminal: Terminal, data: bytes, verb: str) -> None:
    Path("event.json").write_bytes(data)
    said = terminal("trust", verb, "event.json")
    assert said.code == 2 and "this is no drafted event" in said.error


def test_what_a_stranger_wrote_into_a_draft_reaches_no_terminal_raw(terminal: Terminal) -> None:
    """`Terminal` checks every character."""
    evil = "\x1b]0;owned\x07\u202e"
    body: Any = {"event": "add", "v": 1, "kind": "trust", "seq": 4, "prev": evil, "at": evil}
    body["key"] = {"purpose": evil, "principal": evil, "log": evil}
    Path("event.json").write_bytes(trust.Draft.of(body, [evil]).to_bytes())
    assert terminal("trust", "sign", "event.json", "--yes").code == 1
    assert terminal("trust", "apply", "event.json").code == 1


def test_an_agent_that_holds_the_root_key_signs(place: Place, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    socket = place.folder / "agent"
    process = subprocess.Popen([needs("ssh-agent"), "-D", "-a", str(socket)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline()  # it listens
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        ask = place.folder / "ask"
        ask.write_text(f"#!/bin/sh\necho '{PASSPHRASE.decode()}'\n")
        ask.chmod(0o700)
        env = {**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        root = str(place.paths.people_keys / "root")
        subprocess.run([needs("ssh-add"), "-q", root], env=env, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        assert terminal("trust", "rotate", "execution", "--ssh-agent", "--yes").code == 0
    finally:
        process.terminate()
        process.communicate()
    assert trust.known(place.paths).size == 5
