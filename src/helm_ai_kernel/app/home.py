"""A new kernel: keys by purpose, the genesis of its trust registry, an empty log, and a policy that allows nothing.

The home is built beside its place and renamed into it, so that an interrupted `init` leaves nothing that looks like a kernel.
"""

import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from helm_ai_kernel.credentials import keyfile, subjects
from helm_ai_kernel.disk import durable
from helm_ai_kernel.guardian.bundle import STARTER, STARTER_NAME
from helm_ai_kernel.ledger import ledger, trustlog
from helm_ai_kernel.tcb import registry as trust
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest, is_digest
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.tcb.keys import Purpose, Signer
from helm_ai_kernel.tcb.registry import Registry

from .config import OWNER, TEMPLATE, Paths


@dataclass(frozen=True, slots=True)
class Made:
    """What `init` made."""

    genesis: Digest
    origin: str
    root: str  # key ids
    approval: str


def init(paths: Paths, passphrase: Callable[[], bytes], *, approval: Signer | None = None) -> Made:
    """Make a kernel at `paths.home`. `approval`: a person's key that an ssh-agent holds, instead of a new file.

    `passphrase` is asked for people's key files, which are reused where they exist. Raises `OutsideError` where a home exists.
    """
    check_free(paths)
    paths.people.mkdir(parents=True, exist_ok=True, mode=0o700)  # `parents` would give it the umask's mode
    paths.people_keys.mkdir(exist_ok=True, mode=0o700)
    root = _person(paths.people_keys / "root", Purpose.ROOT, passphrase)
    person = approval or _person(paths.people_keys / "approval", Purpose.APPROVAL, passphrase)
    with beside(paths) as new:
        made = _fill(new, root, person)
        text = TEMPLATE.replace("{key}", "file" if approval is None else "ssh-agent")
        text = text.replace("{approval}", str(paths.people_keys / "approval"))
        durable.write(new.config, [text.encode()])
        put(new, paths, made.genesis)
    return made


@contextmanager
def beside(paths: Paths) -> Iterator[Paths]:
    """The folders of a home that is not in its place yet, and the secret of its subjects; unless it is `put` there, it goes."""
    partial = paths.home.with_name(f".{paths.home.name}.partial-{os.getpid()}")
    new = Paths(partial, paths.people, paths.heads.parent)
    partial.mkdir(parents=True, mode=0o700)
    try:
        for folder in (new.policy / "overlays", new.catalog, new.keys, new.store, new.packs):
            folder.mkdir(parents=True, mode=0o700)
        subjects.make(new.subjects)
        yield new
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def put(new: Paths, paths: Paths, genesis: Digest) -> None:
    """Into its place; all that is in it is durable before."""
    remember(paths.trust, genesis)  # first: a kernel that is there is one that this machine's verifier knows
    with suppress(FileNotFoundError):
        paths.home.rmdir()
    os.rename(new.home, paths.home)
    durable.sync_directory(paths.home.parent)


def check_free(paths: Paths) -> None:
    """Raises `OutsideError` where something is in the place of the home: `init` overwrites nothing."""
    if not paths.home.exists() and not paths.home.is_symlink():
        return
    if not paths.home.is_dir() or any(paths.home.iterdir()):
        other = f"helm-ai-kernel init --home {shlex.quote(str(paths.home) + '-2')}"
        hint = paths.typed("receipts list") if paths.config.exists() else other
        raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, f"`{paths.home}` is not empty, and nothing is overwritten", hint=hint)


def trusted(path: Path) -> list[Digest]:
    """The genesis digests in the local trust file; none where there is no such file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    value = parse(data)
    listed = value.get("genesis") if isinstance(value, dict) and value.get("v") == 1 else None
    if not isinstance(listed, list) or not all(is_digest(item) for item in listed):
        raise OutsideError(Reason.ERR_STORE_CORRUPT, f"`{path}` is not a trust file", hint="write it again from what you know")
    return [Digest(str(item)) for item in listed]


def remember(path: Path, genesis: Digest) -> None:
    """Add a genesis digest to the local trust file, atomically."""
    listed = sorted({*trusted(path), genesis})
    text = json.dumps({"v": 1, "genesis": listed}, indent=1) + "\n"
    durable.write(path, [text.encode("ascii")], mode=0o600)


def now() -> str:
    """RFC 3339 in UTC with milliseconds, as every record has it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _person(path: Path, purpose: Purpose, passphrase: Callable[[], bytes]) -> Signer:
    if not path.exists():
        keyfile.write_person(path, os.urandom(32), purpose, passphrase(), comment=f"{OWNER} {purpose.value}")
    return keyfile.read_person(path, purpose, passphrase())


def _fill(new: Paths, root: Signer, approval: Signer) -> Made:
    at = now()
    line = trust.genesis([(root, OWNER)], threshold=1, at=at, nonce=os.urandom(16).hex())
    registry = Registry.replay([line])
    origin = f"{registry.deployment}/{os.urandom(8).hex()}"
    machine = {}
    for purpose in (Purpose.EXECUTION, Purpose.LOG):
        keyfile.write_machine(new.keys / purpose.value, os.urandom(32), purpose, origin)
        machine[purpose] = keyfile.read_machine(new.keys / purpose.value, purpose, origin)
    registry = registry.fold(trust.add(registry, approval, OWNER, None, at=at, roots=[root]))
    for purpose, key in machine.items():
        registry = registry.fold(trust.add(registry, key, f"kernel-{purpose.value}", origin, at=at, roots=[root]))
    trustlog.create(new.store / ledger.TRUST, registry)
    ledger.create(new.store, origin=origin, log_key=machine[Purpose.LOG], vault=subjects.Subjects(new.subjects))
    durable.write(new.policy / STARTER_NAME, [STARTER])
    return Made(registry.genesis, origin, root.public.id, approval.public.id)
