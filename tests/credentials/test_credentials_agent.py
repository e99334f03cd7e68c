"""Signing through a real ssh-agent, and through agents that lie, stop or never answer."""

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from helm_ai_kernel.credentials import agent, keyfile, openssh
from helm_ai_kernel.credentials.agent import Agent
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.keys import PublicKey, Purpose, SecretKey
from needs import needs

SEED = bytes(range(32))
PASSPHRASE = b"correct horse"
KEY = SecretKey.from_seed(SEED, Purpose.APPROVAL)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """The socket of a real agent, ended by its own process id."""
    path = tmp_path / "agent"
    process = subprocess.Popen([needs("ssh-agent"), "-D", "-a", str(path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline()  # it listens
        yield path
    finally:
        process.terminate()
        process.communicate()


def ssh_add(path: Path, folder: Path, *arguments: str) -> None:
    """`ssh-add`, which asks for the passphrase as it asks a person without a terminal."""
    ask = folder / "ask"
    ask.write_text(f"#!/bin/sh\necho '{PASSPHRASE.decode()}'\n")
    ask.chmod(0o700)
    env = {"PATH": os.environ["PATH"], "SSH_AUTH_SOCK": str(path), "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
    added = subprocess.run([needs("ssh-add"), "-q", *arguments], env=env, capture_output=True, stdin=subprocess.DEVNULL)
    assert added.returncode == 0, added.stderr


def test_a_key_file_of_ours_in_a_real_agent_signs_raw_bytes(running: Path, tmp_path: Path) -> None:
    assert Agent(str(running)).identities() == ()
    keyfile.write_person(tmp_path / "key", SEED, Purpose.APPROVAL, PASSPHRASE)
    ssh_add(running, tmp_path, str(tmp_path / "key"))
    (identity,) = Agent(str(running)).identities()
    assert identity.raw == KEY.public.raw
    assert identity.fingerprint == openssh.fingerprint(KEY.public.raw)
    for signer in (
        agent.find([SecretKey.from_seed(bytes(32), Purpose.APPROVAL).public, KEY.public], Agent(str(running))),
        agent.by_fingerprint(identity.fingerprint, Purpose.APPROVAL, Agent(str(running))),
    ):
        assert signer.public == KEY.public
        for message in (b"", b"DSSEv1 4 test", b"x" * 100_000):
            assert signer.sign(message) == KEY.sign(message)


def test_only_ed25519_keys_are_listed(running: Path, tmp_path: Path) -> None:
    for kind in ("ecdsa", "ed25519"):
        path = tmp_path / kind
        subprocess.run([needs("ssh-keygen"), "-q", "-t", kind, "-N", "", "-f", str(path)], check=True, stdin=subprocess.DEVNULL)
        ssh_add(running, tmp_path, str(path))
    (identity,) = Agent(str(running)).identities()
    assert identity.raw == keyfile.read_public(tmp_path / "ed25519.pub", Purpose.ROOT).raw


def unavailable(work: Callable[[], object], text: str) -> OutsideError:
    with pytest.raises(OutsideError, match=text) as error:
        work()
    assert error.value.reason is Reason.ERR_SIGNER_UNAVAILABLE and error.value.hint
    return error.value


def test_a_key_that_the_agent_does_not_hold_is_unavailable(running: Path) -> None:
    name = openssh.fingerprint(KEY.public.raw)
    assert name in unavailable(lambda: agent.find([KEY.public], Agent(str(running))), "does not hold").detail
    unavailable(lambda: agent.find([], Agent(str(running))), "does not hold any key")
    unavailable(lambda: agent.by_fingerprint(name, Purpose.ROOT, Agent(str(running))), "does not hold")
    unavailable(lambda: Agent(str(running)).sign(KEY.public, b"m"), "refused")


def test_a_locked_agent_refuses(running: Path, tmp_path: Path) -> None:
    keyfile.write_person(tmp_path / "key", SEED, Purpose.APPROVAL, PASSPHRASE)
    ssh_add(running, tmp_path, str(tmp_path / "key"))
    signer = agent.find([KEY.public], Agent(str(running)))
    ssh_add(running, tmp_path, "-x")
    unavailable(lambda: signer.sign(b"m"), "refused")
    unavailable(lambda: agent.find([KEY.public], Agent(str(running))), "does not hold")


def test_no_agent_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for environ in ({}, {"SSH_AUTH_SOCK": ""}):
        unavailable(lambda environ=environ: Agent.from_environment(environ), "SSH_AUTH_SOCK is not set")
    for path in (str(tmp_path / "absent"), str(tmp_path), "x" * 200, "a\0b"):
        unavailable(lambda path=path: Agent(path).identities(), "cannot be reached")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "absent"))
    unavailable(lambda: agent.find([KEY.public]), "cannot be reached")
    unavailable(lambda: agent.by_fingerprint("SHA256:x", Purpose.ROOT), "cannot be reached")


@contextmanager
def answering(folder: Path, answer: bytes | None) -> Iterator[Agent]:
    """An agent that reads one request and sends these bytes; None: it keeps the connection open and says nothing."""
    path = folder / "fake"
    ended = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                if answer is not None:
                    connection.sendall(answer)
                else:
                    ended.wait(60)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Agent(str(path), list_s=0.05 if answer is None else 60, sign_s=0.05 if answer is None else 60)
        finally:
            ended.set()
            thread.join()


def framed(*body: bytes) -> bytes:
    return openssh.string(b"".join(body))


OTHER = SecretKey.from_seed(bytes(32), Purpose.APPROVAL)
BAD_SIGNATURES = {
    "of another key": framed(b"\x0e", openssh.string(openssh.string(b"ssh-ed25519") + openssh.string(OTHER.sign(b"m")))),
    "of another message": framed(b"\x0e", openssh.string(openssh.string(b"ssh-ed25519") + openssh.string(KEY.sign(b"n")))),
    "of zeros": framed(b"\x0e", openssh.string(openssh.string(b"ssh-ed25519") + openssh.string(bytes(64)))),
    "too short": framed(b"\x0e", openssh.string(openssh.string(b"ssh-ed25519") + openssh.string(bytes(63)))),
    "of another type": framed(b"\x0e", openssh.string(openssh.string(b"ssh-rsa") + openssh.string(KEY.sign(b"m")))),
    "with more behind it": framed(b"\x0e", openssh.string(openssh.string(b"ssh-ed25519") + openssh.string(KEY.sign(b"m"))), b"x"),
    "bare": framed(b"\x0e", KEY.sign(b"m")),
    "empty": framed(b"\x0e"),
    "failure": framed(b"\x05"),
    "another answer": framed(b"\x0c", bytes(4)),
    "length 0": bytes(4),
    "huge": b"\xff\xff\xff\xff",
    "cut off": b"\0\0\0\x10\x0e",
    "closed": b"",
}


@pytest.mark.parametrize("name", BAD_SIGNATURES)
def test_an_answer_that_is_no_good_signature_is_not_believed(tmp_path: Path, name: str) -> None:
    with answering(tmp_path, BAD_SIGNATURES[name]) as fake:
        unavailable(lambda: fake.sign(KEY.public, b"m"), "agent")


def test_a_good_signature_is_believed(tmp_path: Path) -> None:
    good = framed(b"\x0e", openssh.string(openssh.string(b"ssh-ed25519") + openssh.string(KEY.sign(b"m"))))
    with answering(tmp_path, good) as fake:
        assert fake.sign(KEY.public, b"m") == KEY.sign(b"m")


BAD_LISTS = {
    "more than it says": framed(b"\x0c", bytes(4), openssh.string(openssh.blob(KEY.public.raw)), openssh.string(b"c")),
    "less than it says": framed(b"\x0c", b"\0\0\0\x02", openssh.string(openssh.blob(KEY.public.raw)), openssh.string(b"c")),
    "cut off": framed(b"\x0c", b"\0\0\0\x01", b"\0\0\xff\xff"),
    "without a count": framed(b"\x0c", b"\0"),
}


@pytest.mark.parametrize("name", BAD_LISTS)
def test_a_list_that_is_not_what_it_says_is_not_believed(tmp_path: Path, name: str) -> None:
    with answering(tmp_path, BAD_LISTS[name]) as fake:
        unavailable(fake.identities, "list of keys")


def test_a_weak_key_that_an_agent_offers_is_refused(tmp_path: Path) -> None:
    raw = (1).to_bytes(32, "little")
    offer = framed(b"\x0c", b"\0\0\0\x01", openssh.string(openssh.blob(raw)), openssh.string(b"\xff"))
    with answering(tmp_path, offer) as fake, pytest.raises(EvidenceError):
        agent.by_fingerprint(openssh.fingerprint(raw), Purpose.APPROVAL, fake)


def test_an_agent_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with answering(tmp_path, None) as fake:
        unavailable(lambda: fake.sign(PublicKey(Purpose.ROOT, KEY.public.raw), b"m"), "in time")
