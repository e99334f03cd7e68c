"""What an event of the trust registry says: exact fields, keys that may be believed, and nothing about whether it may happen.

That is the registry's own question (`registry.py`), which knows what came before (`docs/spec/registry.md`).
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from . import fields
from .checkpoint import is_origin
from .codes import Finding
from .digest import Digest
from .envelope import Record
from .errors import EvidenceError
from .ijson import Json
from .keys import ED25519, PublicKey, Purpose

KIND = "trust"
MACHINE = frozenset({Purpose.EXECUTION, Purpose.LOG})  # named for one log
_ROOT = frozenset({"scheme", "public", "principal"})
_KEY = _ROOT | {"purpose", "log"}
_COMMON = frozenset({"v", "kind", "event", "seq", "prev", "at", "signers"})
_PRINCIPAL = re.compile(r"[!-~]{1,128}\Z")  # visible ASCII: no two principals look alike
_KEY_ID_CHARS_MAX = 96


class EventKind(StrEnum):
    GENESIS = "genesis"
    ADD = "add"
    ROTATE = "rotate"  # a key takes the place of another
    REVOKE = "revoke"
    THRESHOLD = "threshold"


class End(StrEnum):
    """Why a key was revoked."""

    SUPERSEDED = "superseded"
    CESSATION = "cessation"
    COMPROMISE = "compromise"  # somebody else may have signed with it, whatever the receipt says about its time


SHAPES: Mapping[EventKind, frozenset[str]] = {
    EventKind.GENESIS: _COMMON | {"deployment", "nonce", "threshold", "roots"},
    EventKind.ADD: _COMMON | {"key"},
    EventKind.ROTATE: _COMMON | {"key", "replaces"},
    EventKind.REVOKE: _COMMON | {"key", "reason", "since"},
    EventKind.THRESHOLD: _COMMON | {"threshold"},
}


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key, and the registry sizes [since, until) at which it is in force. A rotated or revoked key is never forgotten."""

    key: PublicKey
    principal: str
    log: str | None  # the one log that a machine key signs for
    since: int
    until: int | None = None  # None: it is in force
    stolen: str | None = None  # the time from which on it may have been somebody else's


@dataclass(frozen=True, slots=True)
class Event:
    """An event but the genesis. `new` comes into force with it, `ends` is the id of the key that does not outlast it."""

    kind: EventKind
    record: Record
    new: KeyEntry | None = None
    ends: str | None = None
    stolen: str | None = None
    threshold: int = 0  # 0: it stays

    @classmethod
    def from_bytes(cls, line: bytes, seq: int) -> "Event":
        """The event as it would stand in place `seq`; raises `EvidenceError`."""
        record = read(line)
        body = record.body
        kind = _kind(body)
        if kind is EventKind.GENESIS:
            refuse("a second genesis")
        fields.exact(body, SHAPES[kind])
        if kind is EventKind.THRESHOLD:
            return cls(kind, record, threshold=_threshold(body))
        if kind is EventKind.REVOKE:
            return cls(kind, record, ends=fields.text(body, "key", bytes_max=_KEY_ID_CHARS_MAX), stolen=_stolen(body))
        ends = fields.text(body, "replaces", bytes_max=_KEY_ID_CHARS_MAX) if kind is EventKind.ROTATE else None
        return cls(kind, record, new=_entry(body["key"], seq + 1), ends=ends)


def read(line: bytes) -> Record:
    record = Record.from_bytes(line)
    if record.kind != KIND:
        raise EvidenceError(Finding.UNSUPPORTED, f"a record of kind `{record.kind}` is no registry event")
    fields.time(record.body, "at")
    return record


def root(value: Json) -> KeyEntry:
    """One of the `roots` of a genesis."""
    item = fields.exact(value, _ROOT)
    return KeyEntry(_public(item, Purpose.ROOT), _principal(item), None, since=1)


def key_json(key: PublicKey, principal: str, log: str | None) -> dict[str, Json]:
    """A `key` as an event names it."""
    return {**root_json(key, principal), "purpose": key.purpose.value, "log": log}


def root_json(key: PublicKey, principal: str) -> dict[str, Json]:
    return {"scheme": key.scheme, "public": base64.b64encode(key.raw).decode(), "principal": principal}


def body(kind: EventKind, seq: int, prev: Digest | None, at: str, **said: Json) -> dict[str, Json]:
    """What is to be signed, but for its `signers`."""
    return {"v": 1, "kind": KIND, "event": kind.value, "seq": seq, "prev": prev, "at": at, **said}


def refuse(detail: str) -> NoReturn:
    raise EvidenceError(Finding.REGISTRY_INVALID, detail)


def _kind(body: Mapping[str, Json]) -> EventKind:
    event = body.get("event")
    if type(event) is not str or event not in tuple(EventKind):
        raise EvidenceError(Finding.UNSUPPORTED, "a registry event that is not known here")
    return EventKind(event)


def _threshold(body: Mapping[str, Json]) -> int:
    threshold = fields.count(body, "threshold")
    if threshold < 1:
        refuse("a threshold of nobody")
    return threshold


def _stolen(body: Mapping[str, Json]) -> str | None:
    since = None if body["since"] is None else fields.time(body, "since")
    if (since is not None) != (fields.one_of(body, "reason", End) is End.COMPROMISE):
        refuse("a compromise says since when, and nothing else does")
    return since


def _entry(value: Json, since: int) -> KeyEntry:
    item = fields.exact(value, _KEY)
    purpose = fields.one_of(item, "purpose", Purpose)
    log = None if item["log"] is None else fields.text(item, "log")
    if (log is not None) != (purpose in MACHINE):
        refuse("a machine's key names its log, and no other key does")
    if log is not None and not is_origin(log):
        refuse("the log's name is not visible ASCII without spaces and plus signs")
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
    if base64.b64encode(raw).decode() != encoded:
        raise fields.wrong("field `public` has more than one textual form")
    return PublicKey.register(raw, purpose)


def _principal(item: Mapping[str, Json]) -> str:
    principal = fields.text(item, "principal", bytes_max=128)
    if not _PRINCIPAL.match(principal):
        refuse("a principal is 1 to 128 visible ASCII characters")
    return principal
