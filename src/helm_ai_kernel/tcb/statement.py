"""What a person signs: pins, activations, releases, erasures, their word on held calls. Nothing else changes what is in force.

Each names the log it is for, carries a nonce that the log takes once, and says what it changes *from*: a statement
that was signed for another state of the kernel does nothing (`docs/spec/statement.md`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from . import fields
from .ceremony import APPROVERS_MAX, WAIT_MS_MAX, Act
from .codes import Finding
from .digest import Digest
from .envelope import Record, seal
from .errors import EvidenceError
from .events import KeyEntry
from .ijson import Json
from .keys import Purpose, Signer
from .registry import Registry

NAME_MAX = 256  # of a tool, a principal, a scope
CALLS_MAX = 1_000_000  # of one grant
CONDITIONS_MAX = 64

_COMMON = frozenset({"v", "kind", "log", "at", "nonce", "signers"})


class StatementKind(StrEnum):
    ACTIVATION = "activation"  # a policy bundle comes into force
    PIN = "pin"  # a catalogue comes into force, and the policy bound to it
    RELEASE = "release"  # what was held may be called again
    ERASURE = "erasure"  # the key of a subject is destroyed, and with it what was kept about them
    APPROVAL = "approval"  # a person's word on one held call
    OVERRIDE = "override"  # a threshold of roots lets a held call go on at once
    GRANT = "grant"  # calls like these are approved beforehand
    REVOCATION = "revocation"  # of a grant


_FIELDS: Mapping[StatementKind, frozenset[str]] = MappingProxyType({
    StatementKind.ACTIVATION: frozenset({"policy", "catalog"}),
    StatementKind.PIN: frozenset({"policy", "catalog"}),
    StatementKind.RELEASE: frozenset({"hold"}),  # and `tool` or `scope`
    StatementKind.ERASURE: frozenset({"subject", "count"}),
    StatementKind.APPROVAL: frozenset({"call", "intent", "decision", "confirmation"}),
    StatementKind.OVERRIDE: frozenset({"call", "intent"}),
    StatementKind.GRANT: frozenset({"principal", "tool", "pin", "where", "calls", "lasts_ms"}),
    StatementKind.REVOCATION: frozenset({"grant"}),
})  # fmt: skip
TIMED = frozenset({StatementKind.APPROVAL, StatementKind.OVERRIDE, StatementKind.GRANT})  # times count from when the log took it


class Condition(StrEnum):
    """What a grant asks of one argument. An argument that it does not name may not be there."""

    ANY = "any"  # always true
    EQUALS = "equals"
    ONE_OF = "one_of"
    AT_MOST = "at_most"
    AT_LEAST = "at_least"
    STARTS_WITH = "starts_with"


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
    nonce: str  # 32 hex digits; of an approval the kernel's challenge
    record: Record
    policy: Change | None = None  # ACTIVATION, PIN
    catalog: Change | None = None  # ACTIVATION (unchanged: from == to), PIN
    tool: str | None = None  # RELEASE of a tool, GRANT
    scope: str | None = None  # RELEASE of a freeze
    hold: Digest | None = None  # RELEASE: leaf of the hold
    subject: str | None = None  # ERASURE: 32 hex digits
    count: int | None = None  # ERASURE: attachments that become unreadable
    call: Digest | None = None  # APPROVAL, OVERRIDE: leaf of the ESCALATE that held it
    intent: Digest | None = None  # APPROVAL, OVERRIDE
    act: Act | None = None  # APPROVAL, OVERRIDE
    confirmation: Digest | None = None  # APPROVAL
    grant: Digest | None = None  # REVOCATION: leaf of the grant's receipt
    allows: "Allows | None" = None  # GRANT

    @property
    def signers(self) -> tuple[str, ...]:
        return tuple(key for key, _ in self.record.sigs)

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
            what = "scope" if "scope" in body else "tool"
            fields.exact(body, _COMMON | _FIELDS[kind] | {what})
            named, hold = fields.text(body, what, bytes_max=NAME_MAX), fields.digest(body, "hold")
            return cls(*common, scope=named, hold=hold) if what == "scope" else cls(*common, tool=named, hold=hold)
        fields.exact(body, _COMMON | _FIELDS[kind])
        match kind:
            case StatementKind.ERASURE:
                return cls(*common, subject=fields.hex32(body, "subject"), count=fields.count(body, "count"))
            case StatementKind.APPROVAL | StatementKind.OVERRIDE:
                override = kind is StatementKind.OVERRIDE
                return cls(
                    *common,
                    call=fields.digest(body, "call"),
                    intent=fields.digest(body, "intent"),
                    act=Act.OVERRIDE if override else _act(body),
                    confirmation=None if override else fields.digest(body, "confirmation"),
                )
            case StatementKind.GRANT:
                return cls(*common, tool=fields.text(body, "tool", bytes_max=NAME_MAX), allows=Allows.from_json(body))
            case StatementKind.REVOCATION:
                return cls(*common, grant=fields.digest(body, "grant"))
        return cls(*common, policy=Change.from_json(body["policy"]), catalog=Change.from_json(body["catalog"]))


@dataclass(frozen=True, slots=True)
class Allows:
    """What a grant approves beforehand: calls of one principal to one tool, whose arguments are all as `where` says."""

    principal: str
    pin: Digest
    where: Mapping[str, Mapping[str, Json]]  # argument -> one condition
    calls: int
    lasts_ms: int  # from when the log took it, on whichever clock is further

    @classmethod
    def from_json(cls, body: Mapping[str, Json]) -> "Allows":
        where = fields.typed(body, "where", dict)
        if len(where) > CONDITIONS_MAX:
            raise fields.wrong("too many conditions")
        checked = {name: _condition(condition) for name, condition in where.items()}
        calls, lasts_ms = fields.count(body, "calls"), fields.count(body, "lasts_ms")
        if not 0 < calls <= CALLS_MAX or not 0 < lasts_ms <= WAIT_MS_MAX:
            raise fields.wrong("a grant is for 1 to 1,000,000 calls, and lasts 1 ms to 366 days")
        principal = fields.text(body, "principal", bytes_max=NAME_MAX)
        return cls(principal, fields.digest(body, "pin"), MappingProxyType(checked), calls, lasts_ms)


def authorise(statement: Statement, registry: Registry, size: int, cosigned: str | None = None) -> tuple[KeyEntry, ...]:
    """Who signed it: people whose keys count for this at `size` (`Registry.key`); anything else raises `EvidenceError`."""
    entries = {id: registry.key(id, at_size=size, cosigned=cosigned) for id in statement.signers}
    for entry in entries.values():
        if entry.key.purpose not in _MAY_SIGN.get(statement.kind, _PEOPLE):
            raise EvidenceError(Finding.KEY_ROLE, f"a key for `{entry.key.purpose}` signs no {statement.kind}")
    statement.record.verify(lambda id: entries[id].key)
    if statement.kind is StatementKind.APPROVAL and len(entries) != 1:
        raise EvidenceError(Finding.APPROVAL_INVALID, "one person speaks in an approval, each in their own")
    if len(entries) > APPROVERS_MAX:
        raise EvidenceError(Finding.APPROVAL_INVALID, f"more than {APPROVERS_MAX} people signed it")
    if statement.kind is StatementKind.OVERRIDE:
        people, needed = {entry.principal.lower() for entry in entries.values()}, registry.threshold_at(size)
        if len(people) < needed:
            raise EvidenceError(Finding.APPROVAL_INVALID, f"roots of {len(people)} principals signed, the threshold is {needed}")
    return tuple(entries.values())


_PEOPLE = frozenset({Purpose.APPROVAL, Purpose.ROOT})
_MAY_SIGN = {
    StatementKind.APPROVAL: frozenset({Purpose.APPROVAL}),
    StatementKind.GRANT: frozenset({Purpose.APPROVAL}),
    StatementKind.OVERRIDE: frozenset({Purpose.ROOT}),
}


def sign(kind: StatementKind, content: dict[str, Json], *, log: str, at: str, nonce: str, signers: Sequence[Signer]) -> Statement:
    """`content` has the fields of that kind (`docs/spec/statement.md`)."""
    body: dict[str, Json] = {"v": 1, "kind": kind.value, "log": log, "at": at, "nonce": nonce, **content}
    return Statement.from_record(seal(body, signers))


def _act(body: Mapping[str, Json]) -> Act:
    act = fields.one_of(body, "decision", Act)
    if act is Act.OVERRIDE:
        raise fields.wrong("an approval overrides nothing")
    return act


def _condition(value: Json) -> Mapping[str, Json]:
    """Exactly one; numbers are compared with numbers, beginnings with text."""
    if type(value) is not dict or len(value) != 1:
        raise fields.wrong("a condition says one thing of an argument")
    (name,) = value
    match fields.one_of({"condition": name}, "condition", Condition), value[name]:
        case Condition.ANY, True:
            pass
        case Condition.EQUALS, _:
            pass
        case Condition.ONE_OF, list(items) if 0 < len(items) <= CONDITIONS_MAX:
            pass
        case ((Condition.AT_MOST | Condition.AT_LEAST), (int() | float()) as bound) if type(bound) is not bool:
            pass
        case Condition.STARTS_WITH, str(text) if text:
            pass
        case _:
            raise fields.wrong(f"the condition `{name}` does not take that value")
    return MappingProxyType(value)
