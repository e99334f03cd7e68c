"""Changing the trust registry: an event is drafted, signed by each who must, and applied under the store's lock.

The next key of the machine waits beside the one in use (`keys/log.next`) until the registry names it; then it takes its place.
A crash in between is finished by whoever opens the store next.
"""

import base64
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from helm_ai_kernel.credentials import keyfile
from helm_ai_kernel.disk import durable
from helm_ai_kernel.ledger import succession, trustlog
from helm_ai_kernel.ledger.ledger import LOCK, TRUST
from helm_ai_kernel.ledger.store import Lock
from helm_ai_kernel.tcb import events, fields
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.envelope import LINE_BYTES_MAX, Record, pae
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.keys import PublicKey, Purpose, SecretKey, Signer
from helm_ai_kernel.tcb.registry import Registry

from .config import Paths

Body = dict[str, Json]


@dataclass(frozen=True, slots=True)
class Draft:
    """An event, and those signatures of its signers that are there so far. It goes from hand to hand as a file."""

    body: Body
    sigs: Mapping[str, str] = field(default_factory=dict)  # key id -> base64

    @classmethod
    def of(cls, body: Body, signers: Iterable[str]) -> "Draft":
        return cls({**body, "signers": [*sorted(set(signers))]})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Draft":
        """Raises `OutsideError` where this is no draft of an event of exactly its fields."""
        try:
            top = fields.exact(parse(data, bytes_max=LINE_BYTES_MAX), {"body", "sigs"})
            body = fields.typed(top, "body", dict)
            fields.exact(body, events.SHAPES[fields.one_of(body, "event", events.EventKind)])
            listed = [fields.exact(item, {"key", "sig"}) for item in fields.typed(top, "sigs", list)]
            sigs = {fields.text(item, "key"): fields.text(item, "sig") for item in listed}
            known = body.get("v") == 1 and body["kind"] == events.KIND
            if not known or not sigs.keys() <= {*fields.strings(body, "signers")}:
                raise fields.wrong("it is no event of version 1, or signed by those who were not asked")
        except (EvidenceError, Refused) as error:
            hint = "helm-ai-kernel trust add --help"
            raise OutsideError(Reason.ERR_SIGNER_UNAVAILABLE, f"this is no drafted event: {error.detail}", hint=hint) from None
        return cls(body, sigs)

    def to_bytes(self) -> bytes:
        return canonical({"body": self.body, "sigs": self._sigs()}) + b"\n"

    @property
    def missing(self) -> list[str]:
        """The ids of the keys that have not signed yet."""
        return [id for id in fields.strings(self.body, "signers") if id not in self.sigs]

    def signed(self, signer: Signer) -> "Draft":
        sig = signer.sign(pae(events.KIND, canonical(self.body)))
        return replace(self, sigs={**self.sigs, signer.public.id: base64.b64encode(sig).decode()})

    @property
    def line(self) -> bytes:
        """For the registry, once nobody is missing; raises `EvidenceError`."""
        return Record.from_json({"body": self.body, "sigs": self._sigs()}).line

    def _sigs(self) -> list[Json]:
        return [{"key": id, "sig": self.sigs[id]} for id in sorted(self.sigs)]


def known(paths: Paths) -> Registry:
    return trustlog.load(paths.store / TRUST)


def apply(paths: Paths, draft: Draft) -> Registry:
    """The event in the registry, durable; the next start of the kernel relies on it. Raises `OutsideError`, `EvidenceError`."""
    lock = Lock(paths.store / LOCK)
    try:
        succession.finish(paths.store, paths.keys)
        before = known(paths)
        _check_stands(paths, before, before.fold(draft.line))
        registry = trustlog.append(paths.store / TRUST, draft.line)
        for purpose in events.MACHINE:
            _take_over(paths, registry, purpose)
        return registry
    finally:
        lock.release()


def _check_stands(paths: Paths, before: Registry, after: Registry) -> None:
    """Only a log that ended here loses its last machine key; raises `EvidenceError`. The registry knows of no end."""
    for entry in before.keys.values():
        purpose, log = entry.key.purpose, entry.log
        if log is None or entry.until is not None or after.keys[entry.key.id].until is None:
            continue
        goes_on = any(other.log == log for other in after.in_force(purpose).values())
        if not goes_on and not succession.ended(paths.store, log).exists():
            events.refuse(f"no `{purpose.value}` key of `{log}` would be in force: rotate it, and then revoke the old one")


def machine_key(paths: Paths, registry: Registry, purpose: Purpose) -> SecretKey:
    """The key in use; one that waited and that the registry names by now takes its place. The caller holds the store's lock."""
    _take_over(paths, registry, purpose)
    return keyfile.read_machine(paths.keys / purpose.value, purpose)


def next_machine_key(paths: Paths, purpose: Purpose, log: str) -> SecretKey:
    """The key that waits, made now where none does."""
    path = _waiting(paths, purpose)
    if not path.exists():
        keyfile.write_machine(path, os.urandom(32), purpose, log)
    return keyfile.read_machine(path, purpose, log)


def find_key(registry: Registry, name: str, log: str) -> events.KeyEntry:
    """The key of that id, or of the first digits of it, or the one in force for a purpose, a machine's of this log.

    Raises `OutsideError`.
    """
    if name in tuple(Purpose):
        found = [entry for entry in registry.in_force(Purpose(name)).values() if entry.log in (None, log)]
    else:
        digits = name.lower().partition(":")[2] or name.lower()
        found = [entry for id, entry in registry.keys.items() if id.partition(":")[2].startswith(digits)]
    return _one(found, name)


def voters(registry: Registry, names: Sequence[str], held: Iterable[PublicKey], without: str | None) -> list[str]:
    """The root keys that are to sign: those named by principal or id, else one of those that are `held` here."""
    roots = {id: entry for id, entry in registry.in_force(Purpose.ROOT).items() if id != without}
    mine = [key.id for key in held if key.id in roots]
    if not names:
        if registry.threshold > 1 or not mine:
            people = ", ".join(sorted({entry.principal for entry in roots.values()})) or "nobody else"
            detail = f"{registry.threshold} of those who hold a root key must sign, and it is not said who"
            raise OutsideError(Reason.ERR_SIGNER_UNAVAILABLE, detail, hint=f"--signer NAME for each; there are: {people}")
        return mine[:1]
    found = []
    for name in names:
        named = [entry for entry in roots.values() if entry.principal.lower() == name.lower()]
        named = [entry for entry in named if entry.key.id in mine] or named
        found.append(_one(named or [e for id, e in roots.items() if id.partition(":")[2].startswith(name.lower())], name).key.id)
    return found


def facts(entry: events.KeyEntry) -> dict[str, Any]:
    """A key for a listing."""
    state = "in force" if entry.until is None else "compromised" if entry.stolen else "ended"
    named = {"id": entry.key.id, "purpose": entry.key.purpose.value, "principal": entry.principal, "log": entry.log}
    return named | {"since": entry.since, "until": entry.until, "compromised": entry.stolen, "state": state}


def _one(found: Sequence[events.KeyEntry], name: str) -> events.KeyEntry:
    if len(found) != 1:
        how = "no key" if not found else "more than one key"
        hint = "helm-ai-kernel trust show --all"
        raise OutsideError(Reason.ERR_SIGNER_UNAVAILABLE, f"{how} is named `{name}`", hint=hint)
    return found[0]


def _take_over(paths: Paths, registry: Registry, purpose: Purpose) -> None:
    """The old secret is gone with this; its public key stays in the registry for whoever verifies."""
    waiting = _waiting(paths, purpose)
    if waiting.exists() and keyfile.read_machine(waiting, purpose).public.id in registry.in_force(purpose):
        os.replace(waiting, paths.keys / purpose.value)
        durable.sync_directory(paths.keys)


def _waiting(paths: Paths, purpose: Purpose) -> Path:
    return paths.keys / f"{purpose.value}.next"
