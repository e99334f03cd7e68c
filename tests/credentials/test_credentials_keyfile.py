"""Key files: for their owner only, as they were written, and for people never without a passphrase."""

import base64
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helm_ai_kernel.credentials import files, keyfile, openssh
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from needs import needs

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the first draw builds tables; machines are shared

SEED = bytes(range(32))
LOG = "helm.local/0011223344556677/aa"
PASSPHRASE = b"correct horse"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_machine_key_is_one_canonical_line_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "execution"
    public = keyfile.write_machine(path, SEED, Purpose.EXECUTION, LOG)
    assert mode(path) == 0o600
    assert json.loads(path.read_bytes()) == {
        "v": 1,
        "kind": "machine-key",
        "purpose": "execution",
        "log": LOG,
        "seed": base64.b64encode(SEED).decode(),
    }
    key = keyfile.read_machine(path, Purpose.EXECUTION, LOG)
    assert key.public == public == SecretKey.from_seed(SEED, Purpose.EXECUTION).public
    key.public.verify(b"m", key.sign(b"m"))


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        keyfile.write_machine(tmp_path / "key", SEED, Purpose.LOG, LOG)
        keyfile.write_person(tmp_path / "person", SEED, Purpose.ROOT, PASSPHRASE)
    finally:
        os.umask(before)
    assert (mode(tmp_path / "key"), mode(tmp_path / "person"), mode(tmp_path / "person.pub")) == (0o600, 0o600, 0o644)


def refused(path: Path, purpose: Purpose = Purpose.EXECUTION, log: str | None = LOG) -> OutsideError:
    with pytest.raises(OutsideError) as error:
        keyfile.read_machine(path, purpose, log)
    assert error.value.reason is Reason.ERR_SIGNER_UNAVAILABLE
    assert base64.b64encode(SEED).decode() not in f"{error.value} {error.value.hint}"
    return error.value


def test_a_key_serves_only_its_purpose_and_its_log(tmp_path: Path) -> None:
    path = tmp_path / "key"
    keyfile.write_machine(path, SEED, Purpose.EXECUTION, LOG)
    assert "is the `execution` key" in refused(path, Purpose.LOG).detail
    assert "is the `execution` key" in refused(path, log="another").detail
    assert keyfile.read_machine(path, Purpose.EXECUTION).public.purpose is Purpose.EXECUTION


@pytest.mark.parametrize("purpose", [Purpose.ROOT, Purpose.APPROVAL, Purpose.RELEASE])
def test_a_persons_key_is_never_a_machine_key(tmp_path: Path, purpose: Purpose) -> None:
    with pytest.raises(OutsideError, match="no machine key"):
        keyfile.write_machine(tmp_path / "key", SEED, purpose, LOG)
    line = b'{"kind":"machine-key","log":"%s","purpose":"%s","seed":"%s","v":1}\n'
    files.create(tmp_path / "key", line % (LOG.encode(), purpose.value.encode(), base64.b64encode(SEED)))
    refused(tmp_path / "key", purpose)


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666])
def test_a_key_that_others_can_reach_is_refused_with_the_command_that_helps(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "key"
    keyfile.write_machine(path, SEED, Purpose.EXECUTION, LOG)
    path.chmod(bits)
    assert refused(path).hint == f"chmod 600 {path}"


def test_no_link_directory_pipe_or_absent_file_is_a_key(tmp_path: Path) -> None:
    keyfile.write_machine(tmp_path / "key", SEED, Purpose.EXECUTION, LOG)
    (tmp_path / "link").symlink_to(tmp_path / "key")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "pipe", "absent", ".", "/dev/null"):
        refused(tmp_path / name)


def test_a_file_of_another_user_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyfile.write_machine(tmp_path / "key", SEED, Purpose.EXECUTION, LOG)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    error = refused(tmp_path / "key")
    assert "belongs to another user" in error.detail and error.hint == f"chown 4711 {tmp_path / 'key'}"


def test_an_existing_file_is_never_overwritten_and_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"kept")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("there", "link"):
        with pytest.raises(OutsideError, match="exists already"):
            keyfile.write_machine(tmp_path / name, SEED, Purpose.LOG, LOG)
    assert (tmp_path / "there").read_bytes() == b"kept" and not (tmp_path / "elsewhere").exists()
    with pytest.raises(OutsideError, match="could not be written"):
        keyfile.write_machine(tmp_path / "no" / "key", SEED, Purpose.LOG, LOG)


def test_file_and_directory_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd)))
    keyfile.write_machine(tmp_path / "key", SEED, Purpose.LOG, LOG)
    assert [Path(path).parent for path in synced] == [tmp_path, tmp_path.parent]
    assert Path(synced[0]).name.startswith(".key.") and synced[1] == str(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["key"], "what it was written as is gone"


@settings(CALM, max_examples=60)
@given(st.data())
def test_a_line_with_any_change_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("keys")
    keyfile.write_machine(folder / "key", SEED, Purpose.EXECUTION, LOG)
    line = bytearray((folder / "key").read_bytes())
    seed = line.index(b'"seed":"') + 8
    place = data.draw(
        st.sampled_from([i for i in range(len(line)) if not seed <= i < seed + 42])
    )  # the seed has no check of its own
    line[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != line[place]))
    files.create(folder / "changed", bytes(line))
    refused(folder / "changed")


@pytest.mark.parametrize("data", [b"", b"\n", b"{}", b"x" * (files.BYTES_MAX + 1), b"[1]", b'{"v":1}\n'])
def test_what_is_no_machine_key_is_refused(tmp_path: Path, data: bytes) -> None:
    files.create(tmp_path / "key", data)
    refused(tmp_path / "key")


def rewritten(line: bytes) -> dict[str, bytes]:
    body = json.loads(line)
    return {
        "without the newline": line[:-1],
        "a blank behind it": line[:-1] + b" \n",
        "two lines": line + line,
        "another order": json.dumps(dict(reversed(body.items())), separators=(",", ":")).encode() + b"\n",
        "spread out": json.dumps(body, indent=1, sort_keys=True).encode() + b"\n",
        "spare bits of base64": line.replace(b'8="', b'9="'),
        "one field more": line.replace(b'"v":1', b'"v":1,"x":1'),
        "version as a float": line.replace(b'"v":1', b'"v":1.0'),
        "version as true": line.replace(b'"v":1', b'"v":true'),
    }


@pytest.mark.parametrize("how", rewritten(b'{"v":1}'))
def test_the_same_key_written_otherwise_is_refused(tmp_path: Path, how: str) -> None:
    keyfile.write_machine(tmp_path / "key", SEED, Purpose.EXECUTION, LOG)
    line = (tmp_path / "key").read_bytes()
    assert line.endswith(b'8=","v":1}\n') and rewritten(line)[how] != line
    files.create(tmp_path / "other", rewritten(line)[how])
    refused(tmp_path / "other")


# People


def test_a_persons_key_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    path = tmp_path / "approval"
    public = keyfile.write_person(path, SEED, Purpose.APPROVAL, PASSPHRASE, comment="Ada")
    assert mode(path) == 0o600 and mode(tmp_path / "approval.pub") == 0o644
    assert SEED not in path.read_bytes()
    key = keyfile.read_person(path, Purpose.APPROVAL, PASSPHRASE)
    assert key.public == public == SecretKey.from_seed(SEED, Purpose.APPROVAL).public
    assert keyfile.read_public(tmp_path / "approval.pub", Purpose.APPROVAL) == public
    for wrong in (b"wrong horse", b"", PASSPHRASE + b" ", b"x" * 100):
        with pytest.raises(OutsideError, match="did not open") as error:
            keyfile.read_person(path, Purpose.APPROVAL, wrong)
        assert error.value.reason is Reason.ERR_SIGNER_UNAVAILABLE and error.value.hint


def test_a_witness_key_tells_its_name(tmp_path: Path) -> None:
    public = keyfile.write_machine(tmp_path / "key", SEED, Purpose.WITNESS, "witness.example/w1")
    name, key = keyfile.read_named(tmp_path / "key", Purpose.WITNESS)
    assert (name, key.public) == ("witness.example/w1", public)
    refused(tmp_path / "key", Purpose.LOG)
    refused(tmp_path / "key", Purpose.WITNESS, "witness.example/w2")


@pytest.mark.parametrize("purpose", [Purpose.EXECUTION, Purpose.LOG, Purpose.WITNESS])
def test_a_machine_key_is_never_a_persons_key(tmp_path: Path, purpose: Purpose) -> None:
    with pytest.raises(OutsideError, match="no person's key"):
        keyfile.write_person(tmp_path / "key", SEED, purpose, PASSPHRASE)
    keyfile.write_person(tmp_path / "key", SEED, Purpose.ROOT, PASSPHRASE)
    with pytest.raises(OutsideError, match="no person's key"):
        keyfile.read_person(tmp_path / "key", purpose, PASSPHRASE)


@pytest.mark.parametrize("passphrase", [b"", b"short", b"x" * 73])
def test_a_passphrase_of_a_bad_length_makes_no_file(tmp_path: Path, passphrase: bytes) -> None:
    with pytest.raises(OutsideError, match="passphrase of"):
        keyfile.write_person(tmp_path / "key", SEED, Purpose.ROOT, passphrase)
    assert not list(tmp_path.iterdir())


def test_a_persons_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    keyfile.write_person(tmp_path / "key", SEED, Purpose.ROOT, PASSPHRASE)
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(OutsideError, match="open to others"):
        keyfile.read_person(tmp_path / "key", Purpose.ROOT, PASSPHRASE)


def keygen(*arguments: str) -> str:
    made = subprocess.run([needs("ssh-keygen"), *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert made.returncode == 0, made.stderr
    return made.stdout


def test_ssh_keygen_reads_our_files_and_changes_their_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "key"
    public = keyfile.write_person(path, SEED, Purpose.ROOT, PASSPHRASE, comment="Ada L")
    listed = keygen("-l", "-f", f"{path}.pub")
    assert openssh.fingerprint(public.raw) in listed and "Ada L" in listed and "(ED25519)" in listed
    line = keygen("-y", "-P", PASSPHRASE.decode(), "-f", str(path))
    assert openssh.read_public_line(line.encode()) == public.raw
    keygen("-p", "-P", PASSPHRASE.decode(), "-N", "another horse", "-f", str(path))
    assert keyfile.read_person(path, Purpose.ROOT, b"another horse").public == public
    with pytest.raises(OutsideError, match="did not open"):
        keyfile.read_person(path, Purpose.ROOT, PASSPHRASE)


@pytest.mark.parametrize("cipher", ["aes256-ctr", "aes256-gcm@openssh.com"])
def test_a_key_of_ssh_keygen_is_a_persons_key(tmp_path: Path, cipher: str) -> None:
    path = tmp_path / "key"
    keygen("-q", "-t", "ed25519", "-a", "1", "-Z", cipher, "-N", PASSPHRASE.decode(), "-f", str(path))
    key = keyfile.read_person(path, Purpose.APPROVAL, PASSPHRASE)
    assert key.public == keyfile.read_public(tmp_path / "key.pub", Purpose.APPROVAL)


def test_a_key_without_a_passphrase_is_refused_with_the_command_that_gives_it_one(tmp_path: Path) -> None:
    path = tmp_path / "my key"
    keygen("-q", "-t", "ed25519", "-N", "", "-f", str(path))
    with pytest.raises(OutsideError, match="has no passphrase") as error:
        keyfile.read_person(path, Purpose.APPROVAL, b"")
    assert error.value.hint == f"ssh-keygen -p -f '{path}'"


def test_a_key_of_another_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    keygen("-q", "-t", "ecdsa", "-a", "1", "-N", PASSPHRASE.decode(), "-f", str(path))
    with pytest.raises(OutsideError, match="not an Ed25519 key"):
        keyfile.read_person(path, Purpose.APPROVAL, PASSPHRASE)
    with pytest.raises(OutsideError, match="not an `ssh-ed25519` public key"):
        keyfile.read_public(tmp_path / "key.pub", Purpose.APPROVAL)


def test_a_key_in_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    keygen("-q", "-t", "rsa", "-b", "1024", "-m", "PEM", "-N", PASSPHRASE.decode(), "-f", str(path))
    with pytest.raises(OutsideError, match="not an OpenSSH private key"):
        keyfile.read_person(path, Purpose.APPROVAL, PASSPHRASE)


@settings(CALM, max_examples=200)
@given(st.binary(max_size=200))
def test_the_head_of_any_file_is_read_without_a_crash(data: bytes) -> None:
    armour = b"-----BEGIN OPENSSH PRIVATE KEY-----\n%s\n-----END OPENSSH PRIVATE KEY-----\n"
    assert openssh.cipher(data) is None
    openssh.cipher(armour % base64.b64encode(data))
    openssh.cipher(armour % base64.b64encode(b"openssh-key-v1\0" + data))
    openssh.raw_public(data)


def test_a_weak_public_key_is_refused(tmp_path: Path) -> None:
    line = openssh.public_line((1).to_bytes(32, "little"), "identity point")
    path = tmp_path / "key.pub"
    path.write_bytes(line)
    with pytest.raises(EvidenceError):
        keyfile.read_public(path, Purpose.APPROVAL)


@pytest.mark.parametrize("line", [b"", b"ssh-ed25519", b"ssh-ed25519 AAAA", b"ssh-ed25519 !", b"ssh-rsa AAAA x", b"\xff \xff"])
def test_what_is_no_public_line_is_refused(line: bytes) -> None:
    with pytest.raises(OutsideError, match="public key"):
        openssh.read_public_line(line)


def test_an_absent_public_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match="could not be read"):
        keyfile.read_public(tmp_path / "absent.pub", Purpose.ROOT)


def test_a_persons_key_is_found_by_what_the_file_beside_it_says(tmp_path: Path) -> None:
    keys = [SecretKey.from_seed(bytes([n]) * 32, Purpose.APPROVAL).public for n in range(3)]
    for n in (0, 1):
        (tmp_path / f"key-{n}.pub").write_bytes(openssh.public_line(keys[n].raw, "somebody"))
    (tmp_path / "rsa.pub").write_bytes(b"ssh-rsa AAAA somebody\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "key.pub").write_bytes(openssh.public_line(keys[2].raw, "somebody"))
    assert keyfile.people(tmp_path) == {keys[n].raw: tmp_path / f"key-{n}" for n in (0, 1)}
    assert keyfile.people(tmp_path, elsewhere / "key", elsewhere / "none")[keys[2].raw] == elsewhere / "key"
    assert keyfile.find_person(tmp_path, [keys[2], keys[1], keys[0]]) == (tmp_path / "key-1", keys[1])
    assert keyfile.find_person(tmp_path, [keys[2]]) is None
    assert keyfile.find_person(tmp_path / "nowhere", keys) is None
