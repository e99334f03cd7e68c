"""What each kind of receipt must say, exactly. A field that is not listed here does not exist (`docs/spec/receipt.md`).

Rule for optional fields: present if and only if there is something to say; never null, never empty.
"""

import re
from collections.abc import Mapping
from enum import StrEnum

from . import fields
from .call import Effect
from .ceremony import APPROVERS_MAX, Requirement
from .checkpoint import NOTE_BYTES_MAX
from .clock import Clock
from .codes import Finding, Reason
from .decision import Contract, Facts, Status, Verdict
from .envelope import Record
from .errors import EvidenceError
from .ijson import Json
from .interim import Interim
from .statement import TIMED, Statement

TEXT_MAX = 256  # principal, door, client, tool, sub: names, not documents
LIST_MAX = 1024  # parents, rules, insecure switches
HEADS_MAX = 2  # that of the store which was found, and that of the mirror
# What a freeze stops: everything, a server, a principal, or a session. None of them looks like the name of a tool.
SCOPE = re.compile(r"all\Z|server:[a-z0-9][a-z0-9_-]{0,63}\Z|agent:[!-~]{1,128}\Z|session:[0-9a-f]{32}\Z")


class Kind(StrEnum):
    SESSION = "session"
    DECISION = "decision"
    OUTCOME = "outcome"
    STATEMENT = "statement"
    HOLD = "hold"
    LAPSE = "lapse"  # a held call that nobody answered in time
    GAP = "gap"  # refusals that were only counted
    RECOVERY = "recovery"


class EffectBy(StrEnum):
    KERNEL = "kernel"  # we dispatch: an ALLOW is the intent and an outcome must follow
    CLIENT = "client"  # the client acts on the verdict: an ALLOW is an offer, and an outcome may follow
    NONE = "none"  # a question, not a call


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
        frozenset(
            {"pin", "effect", "rules", "sub", "subject", "key", "reserved", "deadline_ms", "repeats", "requires", "relies"}
        ),
    ),
    "outcome": (
        frozenset({"decision", "status", "ms"}),
        frozenset({"output_hash", "contract", "reason", "sub", "spent", "tool_error", "truncated", "interim"}),
    ),
    "statement": (frozenset({"statement"}), frozenset({"clock"})),
    "hold": (frozenset({"tool", "reason"}), frozenset({"cause", "sub"})),
    "freeze": (frozenset({"scope", "reason"}), frozenset({"by", "sub"})),
    "lapse": (frozenset({"call", "clock", "reason"}), frozenset()),
    "gap": (frozenset({"door", "counts"}), frozenset()),
    "recovery": (frozenset({"size", "root", "open"}), frozenset({"heads"})),
}

_ALL = {variant: (_COMMON | required, optional) for variant, (required, optional) in SHAPES.items()}

_BROKEN = (Status.FAILED, Status.DRIFT, Status.UNKNOWN)  # no output of these kept a contract
_WAITS = (Reason.ERR_APPROVAL_REQUIRED, Reason.ERR_APPROVAL_PENDING_TIMELOCK)  # the reasons of an ESCALATE

# status -> the one reason that it has (None: it says none); FAILED has its connector's, LATE and REPORTED what else would be said
_REASONS = {Status.OK: None, Status.DRIFT: Reason.ERR_CONNECTOR_CONTRACT_DRIFT, Status.UNKNOWN: Reason.ERR_OUTCOME_UNKNOWN}

_UNKEPT = (Reason.ERR_CONNECTOR_CONTRACT_DRIFT, Reason.ERR_CONNECTOR_FAILED, Reason.ERR_OUTCOME_UNKNOWN)  # of a REPORTED


def goes(body: Mapping[str, Json]) -> bool:
    """Whether a decision is acted on, once: by us, or by the client."""
    return body.get("verdict") == Verdict.ALLOW and body.get("effect_by") != EffectBy.NONE and "repeats" not in body


def check(kind: Kind, body: dict[str, Json]) -> None:
    """The fields of that kind; raises `EvidenceError`."""
    fields.exact(body, *_ALL[_variant(kind, body)])
    _CHECKS[kind](body)


def _variant(kind: Kind, body: Mapping[str, Json]) -> str:
    if kind is Kind.SESSION:
        event = body.get("event")
        if type(event) is str and event not in ("start", "end"):  # of a later version
            raise EvidenceError(Finding.UNSUPPORTED, f"session event `{event[:64]}` is not known here")
        return "session end" if event == "end" else "session start"
    if kind is Kind.DECISION and "raw_hash" in body:
        return "decision raw"
    if kind is Kind.HOLD and "scope" in body:
        return "freeze"
    return kind.value


def names(body: Mapping[str, Json], name: str) -> tuple[str, ...]:
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
        filled(body, "reason")
        return
    if body.get("event") != "start":
        raise fields.wrong("field `event` is neither `start` nor `end`")
    filled(body, "principal")
    filled(body, "door")
    if body["client"] is not None:
        filled(body, "client")
    fields.digest_or_null(body, "policy")
    fields.digest_or_null(body, "catalog")


def _decision(body: Mapping[str, Json]) -> None:
    verdict = fields.one_of(body, "verdict", Verdict)
    reason = fields.one_of(body, "reason", Reason)
    by = fields.one_of(body, "effect_by", EffectBy)
    policy = fields.digest_or_null(body, "policy")
    facts = Facts.from_json(body["facts"], principal="", door="", policy=policy)
    if "sub" in body:
        filled(body, "sub")
    allowed = verdict is Verdict.ALLOW
    if allowed != (reason in (Reason.OK, Reason.REPEATED)):
        raise fields.wrong("verdict and reason contradict each other")
    if "raw_hash" in body:
        fields.digest(body, "raw_hash")
        if verdict is not Verdict.DENY:
            raise fields.wrong("a request that was never parsed can only be denied")
        if len(fields.typed(body, "facts", dict)) != 1:
            raise fields.wrong("for a request that was never parsed nothing is read but the clock")
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
    if "rules" in body and not names(body, "rules"):
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
    if (goes(body) and by is EffectBy.KERNEL) != ("deadline_ms" in body):
        raise fields.wrong("exactly an intent has a deadline")
    if not goes(body) and ("reserved" in body or "relies" in body):
        raise fields.wrong("only a call that goes reserves, or relies on what people said")
    _held(body, verdict, by is not EffectBy.NONE, facts)


def _held(body: Mapping[str, Json], verdict: Verdict, is_call: bool, facts: Facts) -> None:
    """What an ESCALATE says of what it waits for, and an ALLOW of what it waited for."""
    reason = Reason(str(body["reason"]))
    if (verdict is Verdict.ESCALATE and reason not in _WAITS) or (reason is _WAITS[-1] and verdict is not Verdict.ESCALATE):
        raise fields.wrong("an ESCALATE says that an approval is required, or that a timelock runs, and only it says the latter")
    if "requires" in body:
        Requirement.from_json(body["requires"])
        if verdict is not Verdict.ESCALATE or reason is not _WAITS[0] or not is_call or "pin" not in body:
            raise fields.wrong("only a call that is escalated is held")
    elif verdict is Verdict.ESCALATE and is_call and facts.approval is None:
        raise fields.wrong("an ESCALATE of a call that is not held, and was not before")
    if "relies" in body and not fields.digests(body, "relies", APPROVERS_MAX):
        raise fields.wrong("an empty `relies` is left out")


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
        filled(body, "sub")
    if "spent" in body:
        _counts(body, "spent")
    for name in ("tool_error", "truncated"):
        if name in body and body[name] is not True:
            raise fields.wrong(f"a false `{name}` is left out")
    if "interim" in body:
        Interim.from_json(body["interim"])
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
    if status is Status.REPORTED:
        _reported(body)
    if status is Status.LATE and "interim" in body:
        raise fields.wrong("nothing is released while an answer is late")
    if "contract" in body and (status in _BROKEN or "output_hash" not in body):
        raise fields.wrong("a contract that no released output kept")
    if "tool_error" in body and "contract" not in body:
        raise fields.wrong("a tool's error in an output that kept no contract")


def _reported(body: Mapping[str, Json]) -> None:
    """What the client told kept the contract, or the outcome says why nothing of it goes on."""
    reason = body.get("reason")
    if (reason is None) != ("contract" in body) or reason not in (None, *_UNKEPT):
        raise fields.wrong("a report either keeps its contract or says why not")
    if reason == Reason.ERR_CONNECTOR_CONTRACT_DRIFT and "output_hash" not in body:
        raise fields.wrong("a report that broke its contract, and no output")
    if "contract" in body and "truncated" in body:
        raise fields.wrong("a report that was cut, and kept its contract")


def _statement(body: Mapping[str, Json]) -> None:
    statement = Statement.from_record(Record.from_json(body["statement"]))
    if ("clock" in body) != (statement.kind in TIMED):
        raise fields.wrong("exactly a statement from which time counts has a clock")
    if "clock" in body:
        Clock.from_json(body["clock"])


def _hold(body: Mapping[str, Json]) -> None:
    """By whom or what: an outcome that drifted, a person who froze, or what the kernel saw outside any call (`sub`)."""
    reason = fields.one_of(body, "reason", Reason)
    whole = "scope" in body
    if ("sub" in body) == (("by" if whole else "cause") in body):
        raise fields.wrong("a hold has a cause, or a freeze somebody whose it is, or else says what the kernel saw")
    if "sub" in body:
        filled(body, "sub")
    if reason in (Reason.OK, Reason.REPEATED) or (reason is Reason.ERR_FROZEN) != ("by" in body):
        raise fields.wrong("a hold without a reason, or a freeze with another one")
    if not whole:
        filled(body, "tool")
        if "cause" in body:
            fields.digest(body, "cause")
        return
    scope = filled(body, "scope")
    if not SCOPE.match(scope) or ("by" not in body and not scope.startswith("server:")):
        raise fields.wrong("a freeze of nothing that is known, or one by the kernel of more than a server")
    if "by" in body:
        filled(body, "by")


def _lapse(body: Mapping[str, Json]) -> None:
    fields.digest(body, "call")
    Clock.from_json(body["clock"])
    if fields.one_of(body, "reason", Reason) is not Reason.ERR_APPROVAL_EXPIRED:
        raise fields.wrong("a held call lapses because nobody answered in time")


def _gap(body: Mapping[str, Json]) -> None:
    filled(body, "door")
    _counts(body, "counts")
    counts = fields.typed(body, "counts", dict)
    for name, count in counts.items():
        if fields.one_of({"reason": name}, "reason", Reason) in (Reason.OK, Reason.REPEATED) or not count:
            raise fields.wrong("what is counted is refusals, each reason at least once")


def _recovery(body: Mapping[str, Json]) -> None:
    fields.count(body, "size")
    fields.digest(body, "root")
    fields.count(body, "open")
    if "heads" in body:
        heads = fields.strings(body, "heads")
        if not 0 < len(heads) <= HEADS_MAX or len(set(heads)) != len(heads) or max(map(len, heads)) > NOTE_BYTES_MAX:
            raise fields.wrong(f"field `heads` is not one to {HEADS_MAX} different checkpoints")


def filled(body: Mapping[str, Json], name: str) -> str:
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
    Kind.LAPSE: _lapse,
    Kind.GAP: _gap,
    Kind.RECOVERY: _recovery,
}
