"""Where a door listens: on this machine, unless it knows who asks and nobody can listen in."""

import asyncio
import fcntl
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from helm_ai_kernel.net import bind
from helm_ai_kernel.net.listener import Bounds, Listener
from helm_ai_kernel.net.unix import PATH_BYTES_MAX, UnixSocket
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from net.doors import Told
from net.test_net_listener import run

OTHERS = [
    "0.0.0.0",
    "::",
    "[::]",
    "::ffff:127.0.0.1",
    "[::ffff:127.0.0.1]",
    "172.17.0.1",
    "10.0.0.1",
    "fe80::1",
    "8.8.8.8",
    "::127.0.0.1",
]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_this_machine_needs_neither(host: str) -> None:
    assert bind.is_loopback(bind.checked(host, tls=False, authenticates=False))


@pytest.mark.parametrize("host", OTHERS)
@pytest.mark.parametrize(
    ("tls", "authenticates", "missing"),
    [(False, False, "TLS and authentication"), (True, False, "authentication"), (False, True, "TLS")],
)
def test_other_machines_need_both(host: str, tls: bool, authenticates: bool, missing: str) -> None:
    with pytest.raises(OutsideError) as caught:
        bind.checked(host, tls=tls, authenticates=authenticates)
    assert caught.value.reason is Reason.ERR_UNAUTHENTICATED and caught.value.detail.endswith(f"there is no {missing}")
    assert "127.0.0.1" in caught.value.hint
    assert bind.checked(host, tls=True, authenticates=True) == host.strip("[]")


@pytest.mark.parametrize(
    "host",
    ["", "example.com", "localhost.", "127.1", "0", "2130706433", "0x7f.1", "127.0.0.1:80", "*", "\uff11\uff12\uff17.0.0.1"],
)
def test_a_name_is_not_looked_up(host: str) -> None:
    with pytest.raises(OutsideError, match="is no address"):
        bind.checked(host, tls=True, authenticates=True)


def listens() -> set[tuple[str, int]]:
    """What this process listens at, as the system sees it (`ss -ltn`)."""
    links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
    ours = {os.readlink(link) for link in links if link.is_symlink()}
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            address, _, port = words[1].partition(":")
            if words[3] == "0A" and f"socket:[{words[9]}]" in ours:
                raw = b"".join(bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8))
                found.add((socket.inet_ntop(family, raw), int(port, 16)))
    return found


@run
async def test_what_listens_is_what_was_asked_for() -> None:
    before = listens()
    listener = Listener(Told(), Bounds())
    for host in (*OTHERS, "example.com"):
        with pytest.raises(OutsideError):
            await listener.start_tcp(host, 0)
    assert listens() == before
    _, port = await listener.start_tcp("localhost", 0)
    assert listens() - before == {("127.0.0.1", port)}
    host, six = await listener.start_tcp("::1", 0)
    assert host == "[::1]" and listens() - before == {("127.0.0.1", port), ("::1", six)}
    with pytest.raises(OutsideError, match=r"another process listens at `127\.0\.0\.1:"):
        await listener.start_tcp("127.0.0.1", port)
    await listener.close(within_s=1)
    assert listens() == before


@run
async def test_authentication_without_tls_opens_nothing_to_other_machines() -> None:
    before = listens()
    with pytest.raises(OutsideError, match="there is no TLS"):
        await Listener(Told(), Bounds(), authenticates=True).start_tcp("0.0.0.0", 0)
    assert listens() == before


def test_an_address_that_this_machine_does_not_have_is_said() -> None:
    with pytest.raises(OutsideError, match=r"cannot listen at `192\.0\.2\.1:0`"):
        bind.listening("192.0.2.1", 0)


# -- sockets in the file system


def test_a_socket_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "run" / "data.sock"
    opened = UnixSocket.open(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    opened.close()
    assert not path.exists()


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for mode in (0o755, 0o710, 0o701, 0o770):
        folder.chmod(mode)
        with pytest.raises(OutsideError, match="others may enter") as caught:
            UnixSocket.open(folder / "data.sock")
        assert caught.value.hint == f"chmod 700 {folder}"
    folder.chmod(0o700)
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(OutsideError, match="others may enter"):
        UnixSocket.open(link / "data.sock")


DIES = """
import os, sys
from pathlib import Path
from helm_ai_kernel.net.unix import UnixSocket
kept = UnixSocket.open(Path(sys.argv[1]))
print("listens", flush=True)
if sys.argv[2] == "dies":
    os._exit(0)
sys.stdin.read()
"""


def another(path: Path, what: str) -> "subprocess.Popen[bytes]":
    argv = [sys.executable, "-c", DIES, str(path), what]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"listens\n"
    return process


def test_what_a_dead_process_left_is_replaced_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    path = tmp_path / "run" / "data.sock"
    with another(path, "dies") as dead:
        dead.communicate()
    assert path.is_socket()
    UnixSocket.open(path).close()
    with another(path, "lives") as living:
        file = path.stat().st_ino
        with pytest.raises(OutsideError, match="another process listens") as caught:
            UnixSocket.open(path)
        assert caught.value.reason is Reason.ERR_STORE_LOCKED and path.stat().st_ino == file
        (path.parent / "data.sock.lock").unlink()
        with pytest.raises(OutsideError, match="another process listens"):  # it answers: nobody's lock says otherwise
            UnixSocket.open(path)
        living.communicate()


def test_of_two_that_find_what_a_dead_one_left_only_one_has_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / "data.sock"
    UnixSocket.open(path).close()
    with (path.parent / "data.sock.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the other one is about to bind
        with pytest.raises(OutsideError, match="another process listens"):
            UnixSocket.open(path)
    UnixSocket.open(path).close()


@pytest.mark.parametrize("kind", ["file", "folder", "fifo", "link"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "data.sock"
    {"file": path.touch, "folder": path.mkdir, "fifo": lambda: os.mkfifo(path), "link": lambda: path.symlink_to("x")}[kind]()
    before = os.lstat(path)
    with pytest.raises(OutsideError, match="no socket has that name"):
        UnixSocket.open(path)
    assert os.lstat(path) == before


def test_a_socket_that_is_somebody_elses_by_now_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "run" / "data.sock"
    opened = UnixSocket.open(path)
    path.unlink()
    path.write_text("of somebody else")
    opened.close()
    assert path.read_text() == "of somebody else"


def test_a_name_that_is_too_long_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match=f"more than {PATH_BYTES_MAX} bytes"):
        UnixSocket.open(tmp_path / ("x" * 100) / "data.sock")


@run
async def test_each_of_two_listeners_in_one_process_has_its_own_socket(tmp_path: Path) -> None:
    one, two = Listener(Told(), Bounds()), Listener(Told(), Bounds())
    await one.start_unix(tmp_path / "run" / "data.sock")
    with pytest.raises(OutsideError, match="another process listens"):
        await two.start_unix(tmp_path / "run" / "data.sock")
    await two.start_unix(tmp_path / "run" / "control.sock")
    await asyncio.gather(one.close(within_s=1), two.close(within_s=1))
    assert sorted(os.listdir(tmp_path / "run")) == ["control.sock.lock", "data.sock.lock"]
