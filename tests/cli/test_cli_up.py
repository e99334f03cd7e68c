"""Commands beside a resident kernel: it holds the store, and what a person signs reaches it; and those that say who may call."""

import signal
from typing import Any

import pytest

from app.kernels import OPEN, Place
from app.residents import OverUnix, prepared, up
from cli.terminal import Terminal
from helm_ai_kernel.app import agents, operate
from net.test_net_tls import Authority


def test_what_a_person_signs_reaches_the_kernel_that_runs_and_counts_from_the_next_call_on(
    place: Place, terminal: Terminal
) -> None:
    token = prepared(place)
    with up(place) as kernel:
        assert kernel.execute("tools/say", token).status == 200
        (place.paths.policy / "main.cedar").write_bytes(b'@id("no") forbid (principal, action, resource);\n')
        assert terminal.sign("policy", "apply").code == 0
        assert kernel.execute("tools/say", token).code == "ERR_POLICY_DENY"
        assert "in force already" in terminal.done("policy", "apply", "--yes").out
        (place.paths.policy / "main.cedar").write_bytes(OPEN)
        assert terminal.sign("policy", "apply").code == 0
        assert kernel.execute("tools/say", token).status == 200
        assert terminal.sign("erase", "ann").code == 0
        assert terminal.done("pack", "export", "--out", str(place.folder / "p.tar"))
        assert "ERR_STORE_LOCKED" in terminal("trust", "rotate", "log", "--yes").error
        assert kernel.end() == (0, "")
    assert len(place.told("statement")) == 5
    place.check()


def test_a_refusal_beside_the_kernel_is_the_commands_own(place: Place, terminal: Terminal) -> None:
    prepared(place)
    wrong = place.folder / "wrong"
    with up(place) as kernel:
        assert "is not held" in terminal.sign("tools", "release", "tools/say").error
        wrong.write_text("another passphrase\n")
        wrong.chmod(0o600)
        (place.paths.policy / "main.cedar").write_bytes(OPEN + b"// changed\n")
        said = terminal("policy", "apply", "--yes", "--passphrase-file", str(wrong))
        assert said.code == 2
        assert kernel.end() == (0, "")
    assert len(place.told("statement")) == 2


def test_a_kernel_that_stops_while_a_person_signs_is_no_answer_and_no_second_try(
    place: Place, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(place)
    sign = operate.sign
    (place.paths.policy / "main.cedar").write_bytes(OPEN + b"// changed\n")
    with up(place) as kernel:

        def late(*args: Any, **kwargs: Any) -> Any:
            assert kernel.end() == (0, "")
            return sign(*args, **kwargs)

        monkeypatch.setattr(operate, "sign", late)
        assert "gave no answer" in terminal.sign("policy", "apply").error
    assert len(place.told("statement")) == 2


def test_a_socket_that_a_dead_kernel_left_is_no_resident_kernel(place: Place, terminal: Terminal) -> None:
    prepared(place)
    with up(place) as kernel:
        kernel.end(signal.SIGKILL)
    assert (place.paths.run / "control.sock").exists()
    (place.paths.policy / "main.cedar").write_bytes(OPEN + b"// another\n")
    assert terminal.sign("policy", "apply").code == 0
    with up(place) as kernel:
        connection = OverUnix(place.paths.run / "control.sock")
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
        assert kernel.end() == (0, "")


def test_who_calls_is_managed_by_commands_that_tell_a_token_once(place: Place, terminal: Terminal) -> None:
    made = terminal.done("agents", "add", "coder", "--per-s", "5", "--owner", "owner")
    token = next(line.split()[1] for line in made.out.splitlines() if line.startswith("token"))
    listed = terminal.done("agents", "list")
    assert listed.out.split() == ["coder", "token", "owner"]
    again = terminal.done("agents", "rotate", "coder")
    assert token not in listed.out + again.out
    shown = Authority(place.folder, "authority").issue("carol")
    carol = terminal.done("agents", "add", "carol", "--certificate", str(shown[0]), "--uid", "4242", "--format", "json").json
    assert (carol["certificate"], carol["credentials"], "token" in carol) == (shown[2], ["uid", "certificate"], False)
    for words, why in (
        (("add", "coder"), "already"),
        (("add", "x", "--uid", "4242"), "the same `uid`"),
        (("add", "x", "--owner", "nobody"), "no person"),
        (("add", "x", "--burst", "3"), "a burst is of a rate"),
        (("add", "x", "--certificate", str(place.paths.config)), "not one certificate"),
        (("rotate", "nobody"), "there is no agent"),
        (("remove", "nobody"), "there is no agent"),
    ):
        no = terminal("agents", *words)
        assert (no.code, why in no.error) == (1, True), no.err
    assert terminal("agents", "add", "kernel").code == 2
    assert terminal.done("agents", "remove", "coder")
    assert terminal.done("agents", "remove", "carol")
    assert agents.read(place.paths) == []
