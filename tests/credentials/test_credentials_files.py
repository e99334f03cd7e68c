"""Where a passphrase may come from: a file that only its owner can read, or whatever its owner pipes in."""

import os
import pty
import shlex
import subprocess
import threading
from pathlib import Path

import pytest

from helm_ai_kernel.credentials import files
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

PASSPHRASE = b"correct horse battery"


def written(path: Path, data: bytes = PASSPHRASE + b"\nnot part of it\n", *, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def refused(path: Path) -> OutsideError:
    with pytest.raises(OutsideError) as caught:
        files.read_passphrase(path)
    assert caught.value.reason is Reason.ERR_SIGNER_UNAVAILABLE
    assert PASSPHRASE.decode() not in str(caught.value) + caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("data", "passphrase"),
    [
        (PASSPHRASE, PASSPHRASE),
        (PASSPHRASE + b"\n", PASSPHRASE),
        (PASSPHRASE + b"\r\nmore", PASSPHRASE),
        (b" kept \xff \n", b" kept \xff "),
        (b"\n" + PASSPHRASE, b""),
        (b"", b""),
    ],
)
def test_the_first_line_is_the_passphrase(data: bytes, passphrase: bytes, tmp_path: Path) -> None:
    assert files.read_passphrase(written(tmp_path / "pass", data)) == passphrase


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o666])
def test_a_passphrase_that_others_can_reach_is_refused_with_the_command_that_helps(mode: int, tmp_path: Path) -> None:
    path = written(tmp_path / "my pass", mode=mode)
    error = refused(path)
    assert f"open to others (mode {mode:04o})" in error.detail
    subprocess.run(shlex.split(error.hint), check=True)
    assert files.read_passphrase(path) == PASSPHRASE


def test_a_passphrase_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "pass")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert "belongs to another user" in refused(path).detail


def test_a_link_is_as_private_as_what_it_leads_to(tmp_path: Path) -> None:
    path, link = written(tmp_path / "pass"), tmp_path / "link"
    link.symlink_to(path)
    assert files.read_passphrase(link) == PASSPHRASE
    path.chmod(0o644)
    assert refused(link).hint == f"chmod 600 {path}"


def test_a_descriptor_of_an_open_file_is_as_private_as_that_file(tmp_path: Path) -> None:
    path = written(tmp_path / "pass", mode=0o644)
    with path.open("rb") as file:
        assert refused(Path(f"/dev/fd/{file.fileno()}")).hint == f"chmod 600 {path}"


def test_a_pipe_is_read_whoever_may_write_to_it(tmp_path: Path) -> None:
    readable, writable = os.pipe()
    os.write(writable, PASSPHRASE + b"\n")  # and it stays open: nobody waits for its end
    assert files.read_passphrase(Path(f"/dev/fd/{readable}")) == PASSPHRASE
    os.close(readable)
    os.close(writable)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o644)
    writer = threading.Thread(target=fifo.write_bytes, args=(PASSPHRASE,))
    writer.start()
    assert files.read_passphrase(fifo) == PASSPHRASE
    writer.join()


def test_a_terminal_is_read_up_to_the_end_of_the_line() -> None:
    ours, theirs = pty.openpty()
    os.write(ours, PASSPHRASE + b"\n")
    assert files.read_passphrase(Path(os.ttyname(theirs))) == PASSPHRASE
    os.close(ours)
    os.close(theirs)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "could not be read: no such file" in refused(tmp_path / "absent").detail
    assert "is a directory" in refused(tmp_path).detail


def test_a_file_without_a_line_is_not_read_to_its_end(tmp_path: Path) -> None:
    assert len(files.read_passphrase(written(tmp_path / "pass", b"x" * (1 << 20)))) == files.BYTES_MAX
