"""The trust registry: which key may sign what, from when to when, and who holds it. A fold over signed events, from the genesis.

Nothing is believed that the roots did not sign, and no key that did not prove its possession. What this version does not
know is refused, never skipped: a skipped event could be a revocation (`docs/spec/registry.md`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from . import events, fields
from .checkpoint import is_origin
from .codes import Finding
from .digest import Digest, digest, leaf
from .envelope import Record, seal
from .errors import EvidenceError
from .events import End, Event, EventKind, KeyEntry, refuse
from .ijson import Json
from .keys import PublicKey, Purpose, Signer

EVENTS_MAX = 4096  # a key a day for eleven years; every start and every verifier folds all of them, in seconds
SEEN = ""  # before all times: for what the caller itself wrote down when it happened, and needs no witness for
_DEPLOYMENT_CHARS_MAX = 200  # leaves room for the name of a log behind it


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry after `lines`; every one of them is verified. `keys` is by key id, with those that are in force no more."""

    lines: tuple[bytes, ...]
    genesis: Digest  # what a verifier pins out of band
    deployment: str
    threshold: int
    keys: Mapping[str, KeyEntry]
    thresholds: tuple[tuple[int, int], ...] = ()  # each with the size from which it holds

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
            refuse("a registry without its genesis")
        registry = _first(lines[0])
        for line in lines[1:]:
            registry = registry.fold(line)
        return registry

    def fold(self, line: bytes) -> "Registry":
        """One event more; raises `EvidenceError`, and then the registry is what it was."""
        if self.size >= EVENTS_MAX:
            refuse(f"a registry has at most {EVENTS_MAX} events")
        event = Event.from_bytes(line, self.size)
        self._signed(event)
        self._follows(event.record)
        keys = {**self.keys, **self._ended(event), **self._begun(event)}
        after = replace(self, lines=(*self.lines, line), keys=MappingProxyType(keys))
        if event.threshold:
            changed = (*self.thresholds, (after.size, event.threshold))
            after = replace(after, threshold=event.threshold, thresholds=changed)
        after._stands(event)
        return after

    def head_at(self, size: int) -> Digest:
        """The head when the registry had that size; raises `EvidenceError(REGISTRY_INVALID)` where it never had."""
        if not 0 < size <= self.size:
            refuse(f"the registry at hand has {self.size} events, not {size}")
        return leaf(self.lines[size - 1])

    def in_force_at(self, size: int) -> Callable[[str], bool]:
        """Whether the key with an id was in force when the registry had that size."""

        def in_force(id: str) -> bool:
            entry = self.keys.get(id)
            return entry is not None and entry.since <= size and (entry.until is None or size < entry.until)

        return in_force

    def threshold_at(self, size: int) -> int:
        """How many principals with a root had to agree when the registry had that size."""
        return next(threshold for since, threshold in reversed(self.thresholds) if since <= size)

    def in_force(self, purpose: Purpose) -> dict[str, KeyEntry]:
        """The keys for that purpose that are in force now, by key id, oldest first."""
        return {id: entry for id, entry in self.keys.items() if entry.key.purpose is purpose and entry.until is None}

    def log_keys(self, origin: str) -> list[PublicKey]:
        """Every key that was ever named for the checkpoints of that log, youngest first."""
        entries = [entry for entry in self.keys.values() if entry.key.purpose is Purpose.LOG and entry.log == origin]
        return [entry.key for entry in reversed(entries)]

    def key(self, id: str, *, at_size: int, cosigned: str | None = None) -> KeyEntry:
        """A key for what relies on the registry at that size, and was cosigned by a witness at that time (None: it was not).

        Raises `EvidenceError`: KEY_UNKNOWN, KEY_REVOKED, KEY_COMPROMISED_UNANCHORED.
        """
        entry = self.keys.get(id)
        if entry is None or not entry.since <= at_size <= self.size:  # an event that is not at hand could be a revocation
            raise EvidenceError(Finding.KEY_UNKNOWN, f"key `{id[:96]}` is not in the registry of size {at_size}")
        if entry.until is not None and at_size >= entry.until:
            raise EvidenceError(Finding.KEY_REVOKED, f"key `{id}` is in force no more at registry size {at_size}")
        if entry.stolen is not None and (cosigned is None or cosigned >= entry.stolen):
            detail = f"key `{id}` may be somebody else's since {entry.stolen}, and no witness saw this before"
            raise EvidenceError(Finding.KEY_COMPROMISED_UNANCHORED, detail)
        return entry

    def _signed(self, event: Event) -> None:
        """By roots of enough distinct principals, by the new key, and by nobody else; every signature counts or refuses."""
        roots = {id: entry.key for id, entry in self.in_force(Purpose.ROOT).items() if id != event.ends or event.new}
        new = {} if event.new is None else {event.new.key.id: event.new.key}
        signers = {id for id, _ in event.record.sigs}
        if not new.keys() <= signers:
            refuse("the new key did not prove its possession: it must sign its own event")
        voters = signers - new.keys()
        if not voters <= roots.keys():
            refuse("a signer is neither a root in force nor the new key")
        people = _principals(self.keys[id] for id in voters)
        needed = max(self.threshold, event.threshold)
        if len(people) < needed:
            refuse(f"roots of {len(people)} principals signed, and the threshold is {needed}")
        known = roots | new
        event.record.verify(lambda id: known[id])

    def _follows(self, record: Record) -> None:
        """The signatures hold by now, so that a second event in one place is a fork that the roots signed."""
        seq = fields.count(record.body, "seq")
        prev = fields.digest(record.body, "prev")
        if seq < self.size and self.lines[seq] != record.line:
            raise EvidenceError(Finding.CHAIN_FORK, f"two registry events number {seq}")
        if seq != self.size:
            refuse(f"event {seq} where event {self.size} must follow")
        if prev != self.head:
            refuse(f"event {seq} follows another registry than this")

    def _begun(self, event: Event) -> dict[str, KeyEntry]:
        new = event.new
        if new is None:
            return {}
        if any(PublicKey(purpose, new.key.raw).id in self.keys for purpose in Purpose):  # an id names the raw key
            refuse("the public key is in the registry already; a raw key occurs once, in one purpose, ever")
        return {new.key.id: new}

    def _ended(self, event: Event) -> dict[str, KeyEntry]:
        """The key that a rotation replaces or a revocation ends, with what is known of it from now on."""
        if event.ends is None:
            return {}
        old, new = self.keys.get(event.ends), event.new
        if old is None:
            refuse(f"there is no key `{event.ends}` to end")
        again = event.stolen is not None and old.stolen is None  # that it was stolen is news also after its end
        if old.until is not None and not again:
            refuse(f"key `{event.ends}` is in force no more")
        if new is not None and (new.key.purpose, new.principal, new.log) != (old.key.purpose, old.principal, old.log):
            refuse("a key is replaced by one with its purpose, of its principal and for its log")
        return {event.ends: replace(old, until=old.until or self.size + 1, stolen=event.stolen)}

    def _stands(self, event: Event) -> None:
        """After the event the roots can still sign the next one, and the kernel what it does; else nobody could repair it."""
        people = _principals(self.in_force(Purpose.ROOT).values())
        if self.threshold > len(people):
            refuse(f"{len(people)} principals would hold a root, and the threshold would be {self.threshold}")
        purpose = self.keys[event.ends].key.purpose if event.ends else None
        if purpose in events.MACHINE and not self.in_force(purpose):
            refuse(f"no `{purpose.value}` key would be in force: rotate it, and then revoke the old one")


def genesis(roots: Sequence[tuple[Signer, str]], *, threshold: int, at: str, nonce: str, deployment: str | None = None) -> bytes:
    """The first line of a registry. `roots` are signers with the principals that hold them; `nonce` is 32 fresh hex digits."""
    listed = sorted((events.root_json(signer.public, principal) for signer, principal in roots), key=lambda r: str(r["public"]))
    said: dict[str, Json] = {"deployment": deployment, "nonce": nonce, "threshold": threshold, "roots": [*listed]}
    line = seal(events.body(EventKind.GENESIS, 0, None, at, **said), [signer for signer, _ in roots]).line
    _first(line)  # nothing is written that would not be read
    return line


def addition(registry: Registry, new: PublicKey, principal: str, log: str | None, *, at: str) -> dict[str, Json]:
    """The body that adds a key. This and the three below are what people sign; whether it may happen is `fold`'s to say."""
    return events.body(EventKind.ADD, registry.size, registry.head, at, key=events.key_json(new, principal, log))


def rotation(registry: Registry, new: PublicKey, replaces: KeyEntry, *, at: str) -> dict[str, Json]:
    key = events.key_json(new, replaces.principal, replaces.log)
    return events.body(EventKind.ROTATE, registry.size, registry.head, at, key=key, replaces=replaces.key.id)


def revocation(registry: Registry, key: str, reason: End, *, at: str, since: str | None = None) -> dict[str, Json]:
    said: dict[str, Json] = {"key": key, "reason": reason.value, "since": since}
    return events.body(EventKind.REVOKE, registry.size, registry.head, at, **said)


def new_threshold(registry: Registry, threshold: int, *, at: str) -> dict[str, Json]:
    return events.body(EventKind.THRESHOLD, registry.size, registry.head, at, threshold=threshold)


def add(registry: Registry, new: Signer, principal: str, log: str | None, *, at: str, roots: Sequence[Signer]) -> bytes:
    """The line that adds the key of `new`; raises `EvidenceError` where `registry` would not take it."""
    line = seal(addition(registry, new.public, principal, log, at=at), [*roots, new]).line
    registry.fold(line)
    return line


def _first(line: bytes) -> Registry:
    record = events.read(line)
    body = record.body
    if body.get("event") != EventKind.GENESIS:
        refuse("the first event is not a genesis")
    fields.exact(body, events.SHAPES[EventKind.GENESIS])
    if fields.count(body, "seq") != 0 or body["prev"] is not None:
        refuse("a genesis is event 0 and follows nothing")
    fields.hex32(body, "nonce")
    entries = [events.root(item) for item in fields.typed(body, "roots", list)]
    _roots_stand(body, entries, record)
    keys = {entry.key.id: entry for entry in entries}
    record.verify(lambda id: keys[id].key)
    name = digest(record.payload)
    threshold = fields.count(body, "threshold")
    return Registry((line,), name, _deployment(body, name), threshold, MappingProxyType(keys), ((0, threshold),))


def _roots_stand(body: Mapping[str, Json], entries: Sequence[KeyEntry], record: Record) -> None:
    """Each root once, in order, each signed; and the threshold can be reached."""
    publics = [str(events.root_json(entry.key, entry.principal)["public"]) for entry in entries]
    if not publics or publics != sorted(set(publics)):
        refuse("`roots` is empty, unsorted or names a key twice")
    if {entry.key.id for entry in entries} != {id for id, _ in record.sigs}:
        refuse("a genesis is signed by its roots, all of them and nobody else")
    people = _principals(entries)
    if not 0 < fields.count(body, "threshold") <= len(people):
        refuse(f"the threshold is not between 1 and the number of root principals, {len(people)}")


def _deployment(body: Mapping[str, Json], name: Digest) -> str:
    if body["deployment"] is None:
        return "helm.local/" + name.removeprefix("sha256:")[:16]
    configured = fields.text(body, "deployment", bytes_max=_DEPLOYMENT_CHARS_MAX)
    if not is_origin(configured):
        refuse("the deployment's name is not visible ASCII without spaces and plus signs")
    return configured


def _principals(entries: Iterable[KeyEntry]) -> set[str]:
    return {entry.principal.lower() for entry in entries}
