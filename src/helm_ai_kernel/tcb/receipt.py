"""The receipt: what each kind must say, exactly. A field that is not listed here does not exist (`docs/spec/receipt.md`).

Rule for optional fields: present if and only if there is something to say; never null, never empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from . import fields
from .call import Effect
from .checkpoint import NOTE_BYTES_MAX
from .codes import Finding, Reason
from .decision import Contract, Facts, Status, Verdict
from .digest import Digest
from .envelope import Record
from .errors import EvidenceError
from .ijson import Json
from .statement import Statement

SEQ_MAX = 2**53 - 1  # the largest integer that every JSON reader keeps exact
TEXT_MAX = 256  # principal, door, client, tool, sub: names, not documents
LIST_MAX = 1024  # parents, rules, insecure switches
HEADS_MAX = 2  # that of the store which was found, and that of the mirror


class Kind(StrEnum):
    SESSION = "session"
    DECISION = "decision"
    OUTCOME = "outcome"
    STATEMENT = "statement"
    HOLD = "hold"
    RECOVERY = "recovery"


class EffectBy(StrEnum):
    KERNEL = "kernel"  # we dispatch: an ALLOW is the intent and an outcome must follow
    CLIENT = "client"  # the client acts; a later door's
    NONE = "none"  # a question, not a call; a later door's


_COMMON = frozenset({"v", "kind", "log", "session", "seq", "prev", "at", "parents", "trust", "signers", "build"})

# kind (or its variant) -> (required, optional) beyond the common fields
SHAPES: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "session start": (frozenset({"event", "principal", "door", "client", "policy", "catalog"}), frozenset()),
    "session end": (frozenset({"event", "count", "reason"}), frozenset()),
    "decision raw": (
        frozenset({"raw_hash", "verdict", "reason", "facts", "policy", "effect_by"}),
        frozenset({"sub"}),
    ),
    "decision": (
        frozenset({"tool", "args_hash", "verdict", "reason", "facts", "policy", "effect_by"}),
        frozenset({"pin", "effect", "rules", "sub", "subject", "key", "reserved", "deadline_ms", "repeats"}),
    ),
    "outcome": (
        frozenset({"decision", "status", "ms"}),
        frozenset({"output_hash", "contract", "reason", "sub", "spent", "tool_error", "truncated"}),
    ),
    "statement": (frozenset({"statement"}), frozenset()),
    "hold": (frozenset({"tool", "cause", "reason"}), frozenset()),
    "recovery": (frozenset({"size", "root", "open"}), frozenset({"heads"})),
}

_ALL = {variant: (_COMMON | required, optional) for variant, (required, optional) in SHAPES.items()}
_TRUST, _BUILD, _INSECURE = frozenset({"size", "head"}), frozenset({"version"}), frozenset({"insecure"})

# status -> the one reason that it has (None: it says none); FAILED has its connector's, LATE what would have been said in time
_REASONS = {Status.OK: None, Status.DRIFT: Reason.ERR_CONNECTOR_CONTRACT_DRIFT, Status.UNKNOWN: Reason.ERR_OUTCOME_UNKNOWN}


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
    def is_intent(self) -> bool:
        """An ALLOW that we dispatch: exactly one outcome must follow."""
        return (
            self.kind is Kind.DECISION
            and self.body.get("verdict") == Verdict.ALLOW
            and self.body.get("effect_by") == EffectBy.KERNEL
            and "repeats" not in self.body
        )

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
        fields.exact(body, *_ALL[_variant(kind, body)])
        _CHECKS[kind](body)
        trust = fields.exact(body["trust"], _TRUST)
        build = fields.exact(body["build"], _BUILD, _INSECURE)
        _filled(build, "version")
        if "insecure" in build and not _names(build, "insecure"):
            raise fields.wrong("an empty `insecure` is left out")
        fields.time(body, "at")
        seq = fields.count(body, "seq")
        if seq > SEQ_MAX:
            raise fields.wrong("field `seq` is beyond 2^53-1")
        return cls(
            kind=kind,
            log=_filled(body, "log"),
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


def _variant(kind: Kind, body: Mapping[str, Json]) -> str:
    if kind is Kind.SESSION:
        event = body.get("event")
        if type(event) is str and event not in ("start", "end"):  # of a later version
            raise EvidenceError(Finding.UNSUPPORTED, f"session event `{event[:64]}` is not known here")
        return "session end" if event == "end" else "session start"
    if kind is Kind.DECISION and "raw_hash" in body:
        return "decision raw"
    return kind.value


def _parents(body: Mapping[str, Json]) -> tuple[Digest, ...]:
    parents = fields.typed(body, "parents", list)
    if len(parents) > LIST_MAX:
        raise fields.wrong("too many parents")
    return tuple(fields.digest({"parents": parent}, "parents") for parent in parents)


def _names(body: Mapping[str, Json], name: str) -> tuple[str, ...]:
    names = fields.strings(body, name)
    if len(names) > LIST_MAX or list(names) != sorted(set(names)) or not all(0 < len(item) <= TEXT_MAX for item in names):
        raise fields.wrong(f"field `{name}` is not a short sorted list without repeats")
    return names


def _counts(body: Mapping[str, Json], name: str) -> None:
    value = fields.typed(body, name, dict)
    if not value:
        raise fields.wrong(f"an empty `{name}` is left out")
    for key in value:
        fields.count(value, key)


def _session(body: Mapping[str, Json]) -> None:
    if body.get("event") == "end":
        fields.count(body, "count")
        _filled(body, "reason")
        return
    if body.get("event") != "start":
        raise fields.wrong("field `event` is neither `start` nor `end`")
    _filled(body, "principal")
    _filled(body, "door")
    if body["client"] is not None:
        _filled(body, "client")
    fields.digest_or_null(body, "policy")
    fields.digest_or_null(body, "catalog")


def _decision(body: Mapping[str, Json]) -> None:
    verdict = fields.one_of(body, "verdict", Verdict)
    reason = fields.one_of(body, "reason", Reason)
    if fields.one_of(body, "effect_by", EffectBy) is not EffectBy.KERNEL:  # no flow of this version judges what others do
        raise EvidenceError(Finding.UNSUPPORTED, "an effect by others than the kernel is not known here")
    policy = fields.digest_or_null(body, "policy")
    Facts.from_json(body["facts"], principal="", door="", policy=policy)
    if "sub" in body:
        _filled(body, "sub")
    allowed = verdict is Verdict.ALLOW
    if allowed != (reason in (Reason.OK, Reason.REPEATED)):
        raise fields.wrong("verdict and reason contradict each other")
    if "raw_hash" in body:
        fields.digest(body, "raw_hash")
        if verdict is not Verdict.DENY:
            raise fields.wrong("a request that was never parsed can only be denied")
        return
    fields.text(body, "tool", bytes_max=TEXT_MAX)
    fields.digest(body, "args_hash")
    for name in ("pin", "key", "repeats"):
        if name in body:
            fields.digest(body, name)
    if "subject" in body:
        fields.hex32(body, "subject")
    if "effect" in body:
        fields.one_of(body, "effect", Effect)
    if "rules" in body and not _names(body, "rules"):
        raise fields.wrong("an empty `rules` is left out")
    if "reserved" in body:
        _counts(body, "reserved")
    if "deadline_ms" in body:
        fields.count(body, "deadline_ms")
    if ("pin" in body) != ("effect" in body):
        raise fields.wrong("`pin` and `effect` go together")
    if allowed and "pin" not in body:
        raise fields.wrong("an ALLOW without pin and effect class")
    if (reason is Reason.REPEATED) != ("repeats" in body):
        raise fields.wrong("`repeats` and the reason REPEATED go together")
    if (allowed and "repeats" not in body) != ("deadline_ms" in body):
        raise fields.wrong("exactly an intent has a deadline")
    if "reserved" in body and not (allowed and "repeats" not in body):
        raise fields.wrong("only an intent reserves")


def _outcome(body: Mapping[str, Json]) -> None:
    fields.digest(body, "decision")
    status = fields.one_of(body, "status", Status)
    fields.count(body, "ms")
    if "output_hash" in body:
        fields.digest(body, "output_hash")
    if "contract" in body:
        fields.one_of(body, "contract", Contract)
    if "reason" in body and fields.one_of(body, "reason", Reason) in (Reason.OK, Reason.REPEATED):
        raise fields.wrong("the reason OK is left out, and an outcome repeats nothing")
    if "sub" in body:
        _filled(body, "sub")
    if "spent" in body:
        _counts(body, "spent")
    for name in ("tool_error", "truncated"):
        if name in body and body[name] is not True:
            raise fields.wrong(f"a false `{name}` is left out")
    _ended(body, status)


def _ended(body: Mapping[str, Json], status: Status) -> None:
    """What a status implies."""
    if status in _REASONS and body.get("reason") != _REASONS[status]:
        raise fields.wrong("status and reason contradict each other")
    if status in (Status.OK, Status.DRIFT) and "output_hash" not in body:
        raise fields.wrong("an OK or a DRIFT without output")
    if status is Status.OK and "contract" not in body:
        raise fields.wrong("an OK without contract")
    if status is Status.FAILED and "output_hash" in body:
        raise fields.wrong("output of a call that was not applied")
    if "truncated" in body and status in (Status.OK, Status.FAILED):
        raise fields.wrong("output that was cut, and kept its contract or was none")
    if "contract" in body and (status not in (Status.OK, Status.LATE) or "output_hash" not in body):
        raise fields.wrong("a contract that no released output kept")
    if "tool_error" in body and "contract" not in body:
        raise fields.wrong("a tool's error in an output that kept no contract")


def _statement(body: Mapping[str, Json]) -> None:
    Statement.from_record(Record.from_json(body["statement"]))


def _hold(body: Mapping[str, Json]) -> None:
    _filled(body, "tool")
    fields.digest(body, "cause")
    if fields.one_of(body, "reason", Reason) in (Reason.OK, Reason.REPEATED):
        raise fields.wrong("a hold without a reason")


def _recovery(body: Mapping[str, Json]) -> None:
    fields.count(body, "size")
    fields.digest(body, "root")
    fields.count(body, "open")
    if "heads" in body:
        heads = fields.strings(body, "heads")
        if not 0 < len(heads) <= HEADS_MAX or len(set(heads)) != len(heads) or max(map(len, heads)) > NOTE_BYTES_MAX:
            raise fields.wrong(f"field `heads` is not one to {HEADS_MAX} different checkpoints")


def _filled(body: Mapping[str, Json], name: str) -> str:
    value = fields.text(body, name, bytes_max=TEXT_MAX)
    if not value:
        raise fields.wrong(f"field `{name}` is empty")
    return value


_CHECKS = {
    Kind.SESSION: _session,
    Kind.DECISION: _decision,
    Kind.OUTCOME: _outcome,
    Kind.STATEMENT: _statement,
    Kind.HOLD: _hold,
    Kind.RECOVERY: _recovery,
}
