"""The trust registry: which key may sign what, from when on, and who holds it. A fold over signed events, from the genesis.

Nothing is believed that the roots did not sign, and no key that did not prove its possession. What this version does not
know is refused, never skipped: a skipped event could be a revocation (`docs/spec/registry.md`).
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NoReturn

from . import fields
from .checkpoint import is_origin
from .codes import Finding
from .digest import Digest, digest, leaf
from .envelope import Record, seal
from .errors import EvidenceError
from .ijson import Json
from .keys import ED25519, PublicKey, Purpose, Signer

KIND = "trust"
EVENTS_MAX = 4096  # a key a day for eleven years; every start and every verifier folds all of them, in seconds
_COMMON = frozenset({"v", "kind", "event", "seq", "prev", "at", "signers"})
_GENESIS = _COMMON | {"deployment", "nonce", "threshold", "roots"}
_ROOT = frozenset({"scheme", "public", "principal"})
_KEY = _ROOT | {"purpose", "log"}
_MACHINE = frozenset({Purpose.EXECUTION, Purpose.LOG})  # named for one log
_PRINCIPAL = re.compile(r"[!-~]{1,128}\Z")  # visible ASCII: no two principals look alike
_DEPLOYMENT_CHARS_MAX = 200  # leaves room for the name of a log behind it


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key in force. `since` is the registry size from which it is: what relies on an older registry does not know it."""

    key: PublicKey
    principal: str
    log: str | None  # the one log that a machine key signs for
    since: int


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry after `lines`; every one of them is verified. `keys` is by key id."""

    lines: tuple[bytes, ...]
    genesis: Digest  # what a verifier pins out of band
    deployment: str
    threshold: int
    keys: Mapping[str, KeyEntry]

    @property
    def size(self) -> int:
        return len(self.lines)

    @property
    def head(self) -> Digest:
        return leaf(self.lines[-1])

    @classmethod
    def replay(cls, lines: Sequence[bytes]) -> "Registry":
        """The fold of all events; raises `EvidenceError` at the first that may not stand where it does."""
        if not lines:
            _refuse("a registry without its genesis")
        registry = _first(lines[0])
        for line in lines[1:]:
            registry = registry.fold(line)
        return registry

    def fold(self, line: bytes) -> "Registry":
        """One event more; raises `EvidenceError`, and then the registry is what it was."""
        if self.size >= EVENTS_MAX:
            _refuse(f"a registry has at most {EVENTS_MAX} events")
        record = _record(line)
        body = record.body
        if body.get("event") == "genesis":
            _refuse("a second genesis")
        if body.get("event") != "add":
            raise EvidenceError(Finding.UNSUPPORTED, "a registry event that is not known here")
        fields.exact(body, _COMMON | {"key"})
        entry = _entry(body["key"], since=self.size + 1)
        self._signed(record, entry.key)
        self._follows(record)
        if any(PublicKey(purpose, entry.key.raw).id in self.keys for purpose in Purpose):  # an id names the raw key
            _refuse("the public key is in the registry already; a raw key occurs once, in one purpose")
        return replace(self, lines=(*self.lines, line), keys=MappingProxyType({**self.keys, entry.key.id: entry}))

    def head_at(self, size: int) -> Digest:
        """The head when the registry had that size; raises `EvidenceError(REGISTRY_INVALID)` where it never had."""
        if not 0 < size <= self.size:
            _refuse(f"the registry at hand has {self.size} events, not {size}")
        return leaf(self.lines[size - 1])

    def key(self, id: str, *, at_size: int) -> KeyEntry:
        """The key as the registry of that size knows it; raises `EvidenceError(KEY_UNKNOWN)`."""
        entry = self.keys.get(id)
        if entry is None or not entry.since <= at_size <= self.size:  # an event that is not at hand could be a revocation
            raise EvidenceError(Finding.KEY_UNKNOWN, f"key `{id[:96]}` is not in the registry of size {at_size}")
        return entry

    def _signed(self, record: Record, new: PublicKey) -> None:
        """By the new key, and by roots of enough distinct principals, and by nobody else; every signature counts or refuses."""
        signers = {id for id, _ in record.sigs}
        known = {id: self.keys[id] for id in signers & self.keys.keys()}
        roots = {id: entry for id, entry in known.items() if entry.key.purpose is Purpose.ROOT}
        if new.id not in signers:
            _refuse("the new key did not prove its possession: it must sign its own event")
        if not signers - {new.id} <= roots.keys():
            _refuse("a signer is neither a root nor the new key")
        people = {entry.principal.lower() for entry in roots.values()}
        if len(people) < self.threshold:
            _refuse(f"roots of {len(people)} principals signed, and the threshold is {self.threshold}")
        record.verify(lambda id: new if id == new.id else roots[id].key)

    def _follows(self, record: Record) -> None:
        """The signatures hold by now, so that a second event in one place is a fork that the roots signed."""
        seq = fields.count(record.body, "seq")
        prev = fields.digest(record.body, "prev")
        if seq < self.size and self.lines[seq] != record.line:
            raise EvidenceError(Finding.CHAIN_FORK, f"two registry events number {seq}")
        if seq != self.size:
            _refuse(f"event {seq} where event {self.size} must follow")
        if prev != self.head:
            _refuse(f"event {seq} follows another registry than this")


def genesis(roots: Sequence[tuple[Signer, str]], *, threshold: int, at: str, nonce: str, deployment: str | None = None) -> bytes:
    """The first line of a registry. `roots` are signers with the principals that hold them; `nonce` is 32 fresh hex digits."""
    listed = {_base64(signer.public.raw): _key_json(signer.public, principal) for signer, principal in roots}
    body: dict[str, Json] = {"v": 1, "kind": KIND, "event": "genesis", "seq": 0, "prev": None, "at": at}
    body |= {"deployment": deployment, "nonce": nonce, "threshold": threshold}
    body["roots"] = [listed[public] for public in sorted(listed)]
    line = seal(body, [signer for signer, _ in roots]).line
    _first(line)  # nothing is written that would not be read
    return line


def add(registry: Registry, new: Signer, principal: str, log: str | None, *, at: str, roots: Sequence[Signer]) -> bytes:
    """The line that adds the key of `new`; raises `EvidenceError` where `registry` would not take it."""
    body: dict[str, Json] = {"v": 1, "kind": KIND, "event": "add", "seq": registry.size, "prev": registry.head, "at": at}
    body["key"] = _key_json(new.public, principal) | {"purpose": new.public.purpose.value, "log": log}
    line = seal(body, [*roots, new]).line
    registry.fold(line)
    return line


def _first(line: bytes) -> Registry:
    record = _record(line)
    body = record.body
    if body.get("event") != "genesis":
        _refuse("the first event is not a genesis")
    fields.exact(body, _GENESIS)
    if fields.count(body, "seq") != 0 or body["prev"] is not None:
        _refuse("a genesis is event 0 and follows nothing")
    fields.hex32(body, "nonce")
    entries = [_root(item) for item in fields.typed(body, "roots", list)]
    _roots_stand(body, entries, record)
    keys = {entry.key.id: entry for entry in entries}
    record.verify(lambda id: keys[id].key)
    name = digest(record.payload)
    return Registry((line,), name, _deployment(body, name), fields.count(body, "threshold"), MappingProxyType(keys))


def _roots_stand(body: Mapping[str, Json], entries: Sequence[KeyEntry], record: Record) -> None:
    """Each root once, in order, each signed; and the threshold can be reached."""
    publics = [_base64(entry.key.raw) for entry in entries]
    if not publics or publics != sorted(set(publics)):
        _refuse("`roots` is empty, unsorted or names a key twice")
    if {entry.key.id for entry in entries} != {id for id, _ in record.sigs}:
        _refuse("a genesis is signed by its roots, all of them and nobody else")
    people = {entry.principal.lower() for entry in entries}
    if not 0 < fields.count(body, "threshold") <= len(people):
        _refuse(f"the threshold is not between 1 and the number of root principals, {len(people)}")


def _deployment(body: Mapping[str, Json], name: Digest) -> str:
    if body["deployment"] is None:
        return "helm.local/" + name.removeprefix("sha256:")[:16]
    configured = fields.text(body, "deployment", bytes_max=_DEPLOYMENT_CHARS_MAX)
    if not is_origin(configured):
        _refuse("the deployment's name is not visible ASCII without spaces and plus signs")
    return configured


def _record(line: bytes) -> Record:
    record = Record.from_bytes(line)
    if record.kind != KIND:
        raise EvidenceError(Finding.UNSUPPORTED, f"a record of kind `{record.kind}` is no registry event")
    fields.time(record.body, "at")
    return record


def _root(value: Json) -> KeyEntry:
    item = fields.exact(value, _ROOT)
    return KeyEntry(_public(item, Purpose.ROOT), _principal(item), None, since=1)


def _entry(value: Json, *, since: int) -> KeyEntry:
    item = fields.exact(value, _KEY)
    purpose = fields.one_of(item, "purpose", Purpose)
    if purpose is Purpose.ROOT:
        _refuse("a root is not added by `add`")
    log = None if item["log"] is None else fields.text(item, "log")
    if (log is not None) != (purpose in _MACHINE):
        _refuse("a machine's key names its log, and no other key does")
    if log is not None and not is_origin(log):
        _refuse("the log's name is not visible ASCII without spaces and plus signs")
    return KeyEntry(_public(item, purpose), _principal(item), log, since)


def _public(item: Mapping[str, Json], purpose: Purpose) -> PublicKey:
    scheme = fields.text(item, "scheme", bytes_max=32)
    if scheme != ED25519:
        raise EvidenceError(Finding.UNSUPPORTED, f"key scheme `{scheme}` is not known here")
    encoded = fields.text(item, "public", bytes_max=64)
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise fields.wrong("field `public` is not base64") from None
    if _base64(raw) != encoded:
        raise fields.wrong("field `public` has more than one textual form")
    return PublicKey.register(raw, purpose)


def _principal(item: Mapping[str, Json]) -> str:
    principal = fields.text(item, "principal", bytes_max=128)
    if not _PRINCIPAL.match(principal):
        _refuse("a principal is 1 to 128 visible ASCII characters")
    return principal


def _key_json(key: PublicKey, principal: str) -> dict[str, Json]:
    return {"scheme": key.scheme, "public": _base64(key.raw), "principal": principal}


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _refuse(detail: str) -> NoReturn:
    raise EvidenceError(Finding.REGISTRY_INVALID, detail)
