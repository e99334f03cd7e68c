"""What a person signs: pins, activations, releases, erasures. Only what an `approval` or `root` key signed changes things.

Each names the log it is for, carries a nonce that the log takes once, and says what it changes *from*: a statement
that was signed for another state of the kernel does nothing (`docs/spec/statement.md`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from . import fields
from .codes import Finding
from .digest import Digest
from .envelope import Record, seal
from .errors import EvidenceError
from .ijson import Json
from .keys import Purpose, Signer
from .registry import Registry

_COMMON = frozenset({"v", "kind", "log", "at", "nonce", "signers"})


class StatementKind(StrEnum):
    ACTIVATION = "activation"  # a policy bundle comes into force
    PIN = "pin"  # a catalogue comes into force, and the policy bound to it
    RELEASE = "release"  # a held tool may be called again
    ERASURE = "erasure"  # the key of a subject is destroyed, and with it what was kept about them


@dataclass(frozen=True, slots=True)
class Change:
    """`before` must be in force (None: nothing was) for `after` to come into force."""

    before: Digest | None
    after: Digest

    def to_json(self) -> dict[str, Json]:
        return {"from": self.before, "to": self.after}

    @classmethod
    def from_json(cls, value: Json) -> "Change":
        body = fields.exact(value, {"from", "to"})
        return cls(fields.digest_or_null(body, "from"), fields.digest(body, "to"))


@dataclass(frozen=True, slots=True)
class Statement:
    kind: StatementKind
    log: str
    at: str
    nonce: str  # 32 hex digits
    record: Record
    policy: Change | None = None  # ACTIVATION, PIN
    catalog: Change | None = None  # ACTIVATION (unchanged: from == to), PIN
    tool: str | None = None  # RELEASE
    hold: Digest | None = None  # RELEASE: leaf of the hold
    subject: str | None = None  # ERASURE: 32 hex digits
    count: int | None = None  # ERASURE: attachments that become unreadable

    @classmethod
    def from_record(cls, record: Record) -> "Statement":
        """Shape only; raises `EvidenceError`. Signature and role are checked where the registry is."""
        body = record.body
        try:
            kind = StatementKind(record.kind)
        except ValueError:
            raise EvidenceError(Finding.UNSUPPORTED, f"statement kind `{record.kind[:32]}` is not known here") from None
        common = (kind, fields.text(body, "log"), fields.time(body, "at"), fields.hex32(body, "nonce"), record)
        if kind is StatementKind.RELEASE:
            fields.exact(body, _COMMON | {"tool", "hold"})
            return cls(*common, tool=fields.text(body, "tool", bytes_max=256), hold=fields.digest(body, "hold"))
        if kind is StatementKind.ERASURE:
            fields.exact(body, _COMMON | {"subject", "count"})
            return cls(*common, subject=fields.hex32(body, "subject"), count=fields.count(body, "count"))
        fields.exact(body, _COMMON | {"policy", "catalog"})
        return cls(*common, policy=Change.from_json(body["policy"]), catalog=Change.from_json(body["catalog"]))


def authorise(statement: Statement, registry: Registry, size: int, cosigned: str | None = None) -> None:
    """Every signature is by a person's key that counts for this at `size` (`Registry.key`), or this raises `EvidenceError`."""
    entries = {id: registry.key(id, at_size=size, cosigned=cosigned) for id, _ in statement.record.sigs}
    for entry in entries.values():
        if entry.key.purpose not in (Purpose.APPROVAL, Purpose.ROOT):
            raise EvidenceError(
                Finding.KEY_ROLE, f"a statement is signed with an `approval` key, not one for `{entry.key.purpose}`"
            )
    statement.record.verify(lambda id: entries[id].key)


def sign(kind: StatementKind, content: dict[str, Json], *, log: str, at: str, nonce: str, signers: Sequence[Signer]) -> Statement:
    """`content` is `{"policy","catalog"}` (each a change), `{"tool","hold"}` or `{"subject","count"}`."""
    body: dict[str, Json] = {"v": 1, "kind": kind.value, "log": log, "at": at, "nonce": nonce, **content}
    return Statement.from_record(seal(body, signers))
