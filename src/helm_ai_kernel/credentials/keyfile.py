"""Keys in files. The machine's keys are 0600 and open without a question; a person's key opens with a passphrase, or not at all.

A machine key is one JSON line that names its purpose and its log, so that it can serve no other. A person's key is a
standard OpenSSH private key file: `ssh-keygen -p` changes its passphrase, `ssh-add` hands it to the agent.
"""

import base64
import binascii
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, load_ssh_private_key

from helm_ai_kernel.tcb import fields
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.keys import PublicKey, Purpose, SecretKey

from . import openssh
from .files import create, read, unavailable

MACHINE = frozenset({Purpose.EXECUTION, Purpose.LOG, Purpose.WITNESS})
PEOPLE = frozenset({Purpose.ROOT, Purpose.APPROVAL, Purpose.RELEASE})
KDF_ROUNDS = 24  # of bcrypt, as ssh-keygen writes them
PASSPHRASE_BYTES_MIN = 8
PASSPHRASE_BYTES_MAX = 72  # the most that `cryptography` takes for this format


def write_machine(path: Path, seed: bytes, purpose: Purpose, log: str) -> PublicKey:
    """`seed`: 32 fresh bytes. Durable when it returns; raises `OutsideError(ERR_SIGNER_UNAVAILABLE)`."""
    if purpose not in MACHINE or not log:
        raise unavailable(
            f"`{purpose}` for `{log}` is no machine key",
            "machine keys are `execution` or `log`, for one log, and `witness`, for one name",
        )
    public = SecretKey.from_seed(seed, purpose).public
    create(path, _machine_line(seed, purpose, log))
    return public


def read_machine(path: Path, purpose: Purpose, log: str | None = None) -> SecretKey:
    """Exactly what `write_machine` wrote, for that purpose (and, when given, that log); raises `OutsideError`."""
    named, key = read_named(path, purpose)
    if log is not None and named != log:
        raise _other(path, purpose, named)
    return key


def read_named(path: Path, purpose: Purpose) -> tuple[str, SecretKey]:
    """The same, and the name of the log or the witness that it is for."""
    data = read(path)
    try:
        body = fields.exact(parse(data), {"v", "kind", "purpose", "log", "seed"})
        if body["v"] != 1 or type(body["v"]) is not int or body["kind"] != "machine-key":
            raise fields.wrong("not a machine key of version 1")
        found = fields.one_of(body, "purpose", Purpose)
        seed = base64.b64decode(fields.text(body, "seed", bytes_max=44), validate=True)
        named = fields.text(body, "log", bytes_max=256)
    except (EvidenceError, Refused) as error:
        raise unavailable(f"`{path}` is not a machine key: {error.detail}", "restore the file") from None
    except binascii.Error:
        raise unavailable(f"`{path}` is not a machine key: the seed is not base64", "restore the file") from None
    if len(seed) != 32 or found not in MACHINE or data != _machine_line(seed, found, named):
        raise unavailable(f"`{path}` is not a machine key as it was written", "restore the file")
    if found is not purpose:
        raise _other(path, found, named)
    return named, SecretKey.from_seed(seed, found)


def _other(path: Path, found: Purpose, named: str) -> OutsideError:
    return unavailable(f"`{path}` is the `{found}` key of `{named}`, which is not what it is used for", "give the right file")


def write_person(path: Path, seed: bytes, purpose: Purpose, passphrase: bytes, *, comment: str = "") -> PublicKey:
    """An OpenSSH private key file and its `.pub`; durable when it returns. Raises `OutsideError`."""
    _check_person(purpose)
    if len(passphrase) < PASSPHRASE_BYTES_MIN:
        raise unavailable(f"a passphrase of less than {PASSPHRASE_BYTES_MIN} bytes", "take a longer one")
    if len(passphrase) > PASSPHRASE_BYTES_MAX:
        raise unavailable(f"a passphrase of more than {PASSPHRASE_BYTES_MAX} bytes", "take a shorter one")
    comment = comment or f"helm-ai-kernel {purpose}"
    if not comment.isprintable():
        raise unavailable("a comment that is not printable", "take the name of the person")
    protect = PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(KDF_ROUNDS).build(passphrase)
    pem = Ed25519PrivateKey.from_private_bytes(seed).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, protect)
    public = SecretKey.from_seed(seed, purpose).public
    create(path, pem)
    create(path.with_name(path.name + ".pub"), openssh.public_line(public.raw, comment), mode=0o644)
    return public


def read_person(path: Path, purpose: Purpose, passphrase: bytes) -> SecretKey:
    """A file that needs no passphrase is refused, whatever is given. Raises `OutsideError`."""
    _check_person(purpose)
    data = read(path)
    cipher = openssh.cipher(data)
    if cipher is None:
        raise unavailable(f"`{path}` is not an OpenSSH private key", "make one: ssh-keygen -t ed25519 -f FILE")
    if cipher == b"none":
        raise unavailable(f"`{path}` has no passphrase", f"ssh-keygen -p -f {shlex.quote(str(path))}")
    try:
        key = load_ssh_private_key(data, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # a wrong passphrase is a ValueError too
        check = f"ssh-keygen -y -f {shlex.quote(str(path))}"
        raise unavailable(f"`{path}` did not open", f"type its passphrase again; this asks for it, too: {check}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise unavailable(f"`{path}` is not an Ed25519 key", "make one: ssh-keygen -t ed25519 -f FILE")
    return SecretKey.from_seed(key.private_bytes_raw(), purpose)


def find_person(folder: Path, known: Sequence[PublicKey]) -> tuple[Path, PublicKey] | None:
    """The file in `folder` that holds one of these keys, by the `.pub` beside it; of several the key that stands first."""
    held = people(folder)
    return next(((held[public.raw], public) for public in known if public.raw in held), None)


def people(folder: Path, *more: Path) -> dict[bytes, Path]:
    """The files with a person's key in `folder`, and these: by the raw public keys that the `.pub` beside them say, unopened."""
    held: dict[bytes, Path] = {}
    for path in (*(path.with_name(path.name + ".pub") for path in more), *sorted(folder.glob("*.pub"))):
        line = _public_line(path) if path.exists() else b""
        with suppress(OutsideError):  # a key of another type is none of ours
            held.setdefault(openssh.read_public_line(line), path.with_suffix(""))
    return held


def read_public(path: Path, purpose: Purpose) -> PublicKey:
    """The key in a `.pub` file; raises `OutsideError`, or `EvidenceError(KEY_WEAK)`."""
    return PublicKey.register(openssh.read_public_line(_public_line(path)), purpose)


def _public_line(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4096)
    except OSError as error:
        raise unavailable(f"`{path}` could not be read: {(error.strerror or '').lower()}", "give a `.pub` file") from None


def _machine_line(seed: bytes, purpose: Purpose, log: str) -> bytes:
    body: dict[str, Json] = {"v": 1, "kind": "machine-key", "purpose": purpose.value, "log": log}
    return canonical({**body, "seed": base64.b64encode(seed).decode()}) + b"\n"


def _check_person(purpose: Purpose) -> None:
    if purpose not in PEOPLE:
        raise unavailable(f"`{purpose}` is no person's key", "people's keys are `root`, `approval` and `release`")
