"""A log that cannot go on, and a new one in its place: a backup in a new home, or a store that was put back, in its own.

The old log would sign a second history; so it ends. The new one has an origin and machine keys of its own that the roots sign
for, and begins with a receipt that names the heads that were found of the old one (`docs/spec/backup.md`).
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from helm_ai_kernel import __version__
from helm_ai_kernel.credentials import keyfile, subjects
from helm_ai_kernel.disk import durable
from helm_ai_kernel.ledger import ledger, succession, trustlog
from helm_ai_kernel.ledger.fsck import fsck, fsck_ended
from helm_ai_kernel.ledger.ledger import DATABASE, LOCK, TRUST, Ledger
from helm_ai_kernel.ledger.mirror import Mirror
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.ledger.store import Lock
from helm_ai_kernel.ledger.transaction import Ink
from helm_ai_kernel.tcb import registry as registries
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.container import Source
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.registry import Registry

from . import backup, home, trust
from .config import Config, Paths
from .runtime import open_locked

MACHINE = (Purpose.EXECUTION, Purpose.LOG)
Signing = Callable[[trust.Draft], trust.Draft]  # with the roots' signatures


@dataclass(frozen=True, slots=True)
class Old:
    """What is there of the log that ends: its registry, and the newest heads that were found, that of its store first."""

    origin: str
    registry: Registry
    heads: tuple[Checkpoint, ...]
    unnamed: str = ""  # a newer one, by a key that the registry does not name: nobody who reads the new log could check it


@dataclass(frozen=True, slots=True)
class New:
    """A log that does not exist yet. Its secrets are written when a person has agreed."""

    origin: str
    seeds: dict[Purpose, bytes]

    @classmethod
    def draw(cls, registry: Registry) -> "New":
        return cls(f"{registry.deployment}/{os.urandom(8).hex()}", {purpose: os.urandom(32) for purpose in MACHINE})

    def keys(self) -> dict[Purpose, SecretKey]:
        return {purpose: SecretKey.from_seed(seed, purpose) for purpose, seed in self.seeds.items()}


def old(paths: Paths, heads: Path) -> Old:
    """The log in `paths`; `heads` is where this machine keeps the newest head of each. Raises `OutsideError`, `EvidenceError`."""
    registry = trust.known(paths)
    with Reader(paths.store) as reader:
        origin, found = reader.origin, Checkpoint.from_bytes(reader.checkpoint)
    try:
        mirrored = Mirror(heads, origin, registry.log_keys(origin)).read()
    except OutsideError as e:
        if e.reason is not Reason.ERR_STORE_ROLLBACK:
            raise
        return Old(origin, registry, (found,), e.detail)
    kept = () if mirrored is None else (mirrored.checkpoint,)
    return Old(origin, registry, (found, *(c for c in kept if (c.size, c.root) != (found.size, found.root))))


def check_rolled_back(config: Config, lock: Lock) -> None:
    """Raises `OutsideError` where the log can go on as it is, or cannot for another reason; else the lock stays the caller's."""
    try:
        open_locked(config, lock).abandon()
    except OutsideError as e:
        if e.reason is Reason.ERR_STORE_ROLLBACK:
            return
        raise
    hint = config.paths.typed("receipts list --newest 5")
    raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, "this store goes on by itself: it was not put back", hint=hint)


def go_on(paths: Paths, old: Old, new: New, roots: Sequence[str], sign: Signing) -> Registry:
    """End the old log in `paths` and begin the new one. The caller holds the store's lock.

    Whatever ends this, there is a whole store: the old one until everything is written, then the new one.
    """
    registry = old.registry
    for purpose, key in new.keys().items():
        body = registries.addition(registry, key.public, f"kernel-{purpose.value}", new.origin, at=home.now())
        draft = sign(trust.Draft.of(body, [*roots, key.public.id]).signed(key))
        if draft.missing:
            detail = f"a root key that must sign is not here: {', '.join(draft.missing)}"
            raise OutsideError(Reason.ERR_SIGNER_UNAVAILABLE, detail, hint=paths.typed("trust show"))
        try:
            registry = registry.fold(draft.line)
        except EvidenceError as e:
            detail = f"the registry does not take the new keys: {e.detail}"
            raise OutsideError(Reason.ERR_SIGNER_UNAVAILABLE, detail, hint=paths.typed("trust show")) from None
    succession.fold(paths.store / DATABASE)  # somebody who reads it is found before anything changes
    for left in paths.store.glob(f".{succession.NEXT}.*"):
        shutil.rmtree(left)
    partial = paths.store / f".{succession.NEXT}.{os.urandom(8).hex()}"
    try:
        _stage(partial, paths, old, new, registry)
        os.rename(partial, paths.store / succession.NEXT)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    durable.sync_directory(paths.store)
    succession.finish(paths.store, paths.keys)
    return registry


def _stage(partial: Path, paths: Paths, old: Old, new: New, registry: Registry) -> None:
    """Everything that takes a place, whole and durable: keys, registry, and a log that has begun."""
    (partial / succession.KEYS).mkdir(parents=True, mode=0o700)
    for purpose, seed in new.seeds.items():
        keyfile.write_machine(partial / succession.KEYS / purpose.value, seed, purpose, new.origin)
    keys = new.keys()
    trustlog.create(partial / TRUST, registry)
    vault = subjects.Subjects(paths.subjects)
    ledger.create(partial, origin=new.origin, log_key=keys[Purpose.LOG], vault=vault)
    ink = Ink(keys[Purpose.EXECUTION], registry, __version__, vault)
    asyncio.run(_begin(partial, ink, keys[Purpose.LOG], paths.heads, [head.note for head in old.heads]))
    succession.fold(partial / DATABASE)
    (partial / LOCK).unlink()
    durable.sync_directory(partial)


async def _begin(folder: Path, ink: Ink, log_key: SecretKey, mirror: Path, heads: Sequence[bytes]) -> None:
    log = Ledger.open(folder, ink=ink, log_key=log_key, heads=mirror)
    try:
        await log.begin(f"helm-ai-kernel {__version__} restore")
        await log.recovered(0, heads)
        await log.close()
    except BaseException:
        log.abandon()
        raise


@dataclass(frozen=True, slots=True)
class Restoring:
    """A backup in a home that is not in its place yet."""

    paths: Paths
    target: Paths
    file: Path
    manifest: backup.Manifest

    def check(self, genesis: Digest | None) -> Old:
        """The log of the backup, if it is one that this machine trusts and nothing in it is damaged; raises `OutsideError`."""
        try:
            registry = trust.known(self.paths)
            if registry.genesis not in ([genesis] if genesis else home.trusted(self.target.trust)):
                again = f"helm-ai-kernel restore {quote(str(self.file))} --genesis {registry.genesis}"
                hint = f"if it is the one that you wrote down: {again}"
                raise self._refused(f"nobody here trusts its genesis `{registry.genesis}`", hint)
            _, damage = fsck(self.paths.store, None)
            for item in (*damage, *(() if damage else fsck_ended(self.paths.store))):
                raise self._refused(f"{item.where}: {item.detail}", "take another backup")
            found = old(self.paths, self.target.heads)
            self.manifest.check(found.heads[0])
            return found
        except EvidenceError as e:
            raise self._refused(str(e), "take another backup") from None

    def keep(self) -> None:
        """Into its place, durable with all that is in it."""
        durable.sync_tree(self.paths.home)
        home.put(self.paths, self.target, trust.known(self.paths).genesis)

    def _refused(self, detail: str, hint: str) -> OutsideError:
        return OutsideError(Reason.ERR_STORE_CORRUPT, f"the backup `{self.file}` is not restored: {detail}", hint=hint)


@contextmanager
def restoring(source: Source, file: Path, paths: Paths) -> Iterator[Restoring]:
    """Leaving the block without `keep` leaves nothing. Raises `OutsideError` where something is in that place."""
    home.check_free(paths)
    with home.beside(paths) as new:  # with other keys of subjects than the log that ends has: a backup has none
        yield Restoring(new, paths, file, backup.unpack(source, file, new.home))


def hold(paths: Paths) -> Lock:
    """The store's lock: nobody starts a kernel, and nobody changes the registry, while a person decides."""
    return Lock(paths.store / LOCK)
