"""The receipt: one signed record of the log. What each kind of it must say is in `shapes.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from . import fields
from .codes import Finding, Reason
from .decision import Status, Verdict
from .digest import Digest
from .envelope import Record
from .errors import EvidenceError
from .ijson import Json
from .shapes import LIST_MAX, SCOPE, TEXT_MAX, EffectBy, Kind, check, filled, goes, names

__all__ = ["LIST_MAX", "SCOPE", "SEQ_MAX", "TEXT_MAX", "EffectBy", "Kind", "Receipt", "Trust", "goes"]

SEQ_MAX = 2**53 - 1  # the largest integer that every JSON reader keeps exact
_TRUST, _BUILD, _INSECURE = frozenset({"size", "head"}), frozenset({"version"}), frozenset({"insecure"})


@dataclass(frozen=True, slots=True)
class Trust:
    """How much of the trust registry a receipt relies on."""

    size: int
    head: Digest


@dataclass(frozen=True, slots=True)
class Receipt:
    """One signed record of the log. `body` holds the fields of its kind; the common ones are lifted out and typed."""

    kind: Kind
    log: str
    session: str
    seq: int
    prev: Digest
    parents: tuple[Digest, ...]
    trust: Trust
    body: Mapping[str, Json]
    line: bytes
    leaf: Digest
    index: int = -1  # position in the log; -1 while that is not known
    hint: str = ""  # for the caller who waits for it; no part of the record
    salt: bytes = field(default=b"", repr=False)  # of the arguments (decision) or the output (outcome), likewise

    @property
    def verdict(self) -> Verdict | None:
        value = self.body.get("verdict")
        return Verdict(str(value)) if value is not None else None

    @property
    def reason(self) -> Reason:
        """OK where no reason is said; why a session ended is words, not a code."""
        return Reason.OK if self.kind is Kind.SESSION else Reason(str(self.body.get("reason", Reason.OK)))

    @property
    def status(self) -> Status | None:
        value = self.body.get("status")
        return Status(str(value)) if value is not None else None

    @property
    def repeats(self) -> Digest | None:
        value = self.body.get("repeats")
        return Digest(str(value)) if value is not None else None

    @property
    def rules(self) -> tuple[str, ...]:
        value = self.body.get("rules", [])
        return tuple(str(rule) for rule in value) if isinstance(value, list) else ()

    @property
    def goes(self) -> bool:
        """An ALLOW that somebody acts on, once: an intent or an offer. It claims, reserves and uses up."""
        return self.kind is Kind.DECISION and goes(self.body)

    @property
    def is_intent(self) -> bool:
        """An ALLOW that we dispatch: exactly one outcome must follow."""
        return self.goes and self.body.get("effect_by") == EffectBy.KERNEL

    @property
    def is_offer(self) -> bool:
        """An ALLOW that the client acts on: it may report an outcome, once, while this process lives."""
        return self.goes and self.body.get("effect_by") == EffectBy.CLIENT

    @classmethod
    def from_bytes(cls, line: bytes, index: int = -1) -> "Receipt":
        """Shape only; raises `EvidenceError`. Signatures, chain and meaning are the checklist's."""
        return cls.from_record(Record.from_bytes(line), index)

    @classmethod
    def from_record(cls, record: Record, index: int = -1) -> "Receipt":
        body = record.body
        try:
            kind = Kind(record.kind)
        except ValueError:
            raise EvidenceError(Finding.UNSUPPORTED, f"receipt kind `{record.kind[:32]}` is not known here") from None
        check(kind, body)
        trust = fields.exact(body["trust"], _TRUST)
        build = fields.exact(body["build"], _BUILD, _INSECURE)
        filled(build, "version")
        if "insecure" in build and not names(build, "insecure"):
            raise fields.wrong("an empty `insecure` is left out")
        fields.time(body, "at")
        seq = fields.count(body, "seq")
        if seq > SEQ_MAX:
            raise fields.wrong("field `seq` is beyond 2^53-1")
        return cls(
            kind=kind,
            log=filled(body, "log"),
            session=fields.hex32(body, "session"),
            seq=seq,
            prev=fields.digest(body, "prev"),
            parents=_parents(body),
            trust=Trust(fields.count(trust, "size"), fields.digest(trust, "head")),
            body=body,
            line=record.line,
            leaf=record.leaf,
            index=index,
        )


def _parents(body: Mapping[str, Json]) -> tuple[Digest, ...]:
    parents = fields.typed(body, "parents", list)
    if len(parents) > LIST_MAX:
        raise fields.wrong("too many parents")
    return tuple(fields.digest({"parents": parent}, "parents") for parent in parents)
