"""The ProofGraph: what led to what. It is derived from receipts each time; there is no second store to disagree with the first.

An edge points from a cause to what it caused. Session edges are the chain; causal edges are what a receipt names: its parents,
the decision of an outcome, the first call of a repeat, the cause of a hold, the hold that a statement releases.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from .chain import Index
from .codes import Finding, Reason
from .decision import Verdict
from .digest import Digest
from .errors import EvidenceError
from .findings import visible
from .ijson import Json
from .receipt import EffectBy, Kind, Receipt


class Link(StrEnum):
    SESSION = "session"
    OUTCOME = "outcome"  # decision -> what became of it
    REPEAT = "repeat"  # first ALLOW -> the call that is answered with its outcome
    HOLD = "hold"  # what made the kernel stop a tool -> the hold
    HELD = "held"  # hold -> the decision that met it
    RELEASE = "release"  # hold -> the statement that ended it
    ASKED = "asked"  # held call -> what people said of it, how it went on, and its end
    APPROVAL = "approval"  # statement -> the decision that relies on it
    REVOKED = "revoked"  # grant -> the statement that ended it
    CAUSE = "cause"  # any other parent


class Edge(NamedTuple):
    cause: Digest
    effect: Digest
    link: Link


def causes(receipt: Receipt) -> dict[Digest, Link]:
    """The earlier receipts that `receipt` names, each with the most telling link; without the session edge."""
    found = dict.fromkeys(receipt.parents, Link.CAUSE)
    body = receipt.body
    for holder, name, link in (
        (body, "decision", Link.OUTCOME),
        (body, "repeats", Link.REPEAT),
        (body, "cause", Link.HOLD),
        (body.get("facts"), "hold", Link.HELD),
        (body.get("facts"), "frozen", Link.HELD),
        (_inside(body.get("facts"), "approval"), "call", Link.ASKED),
        (body, "call", Link.ASKED),
    ):
        if isinstance(holder, Mapping) and name in holder:
            found[Digest(str(holder[name]))] = link
    if receipt.kind is Kind.STATEMENT:
        statement = _inner(receipt)
        for name, link in (("hold", Link.RELEASE), ("call", Link.ASKED), ("grant", Link.REVOKED)):
            if name in statement:
                found[Digest(str(statement[name]))] = link
    relies = body.get("relies", [])
    return found | dict.fromkeys(map(Digest, map(str, relies if isinstance(relies, list) else [])), Link.APPROVAL)


def _inside(value: Json, name: str) -> Json:
    return value.get(name) if isinstance(value, dict) else None


def check_causes(receipt: Receipt, index_of: Index, *, part: bool = False) -> None:
    """Every cause is a leaf of the log and comes before; raises `EvidenceError`. So a log that passes has no cycle.

    In a `part` of a log a cause may be elsewhere, and is then not asked.
    """
    for cause in causes(receipt):
        index = index_of.get(cause)
        if index is None and part:
            continue
        if index is None:
            raise EvidenceError(Finding.DAG_DANGLING, f"names `{cause}`, which is not here")
        if index == receipt.index:
            raise EvidenceError(Finding.DAG_CYCLE, "names itself as its cause")
        if index > receipt.index:
            raise EvidenceError(Finding.CHAIN_ORDER, f"names `{cause}`, which comes after it")


@dataclass(frozen=True, slots=True)
class ProofGraph:
    """`receipts` in log order, by leaf. Whether a cause is missing, or comes too late, is for `check_causes` to say."""

    receipts: Mapping[Digest, Receipt]
    edges: tuple[Edge, ...]

    @classmethod
    def of(cls, receipts: Iterable[Receipt]) -> "ProofGraph":
        nodes = {receipt.leaf: receipt for receipt in receipts}
        edges = tuple(edge for receipt in nodes.values() for edge in _edges(receipt))
        return cls(MappingProxyType(nodes), edges)


def draw(graph: ProofGraph, session: str | None = None) -> Iterator[str]:
    """One session (its id or the beginning of it), or all, as lines for a terminal. Text from receipts is escaped."""
    sessions: dict[str, list[Receipt]] = {}
    for receipt in graph.receipts.values():
        if session is None or receipt.session.startswith(session):
            sessions.setdefault(receipt.session, []).append(receipt)
    named: dict[Digest, list[Edge]] = {}
    for edge in graph.edges:
        if edge.link is not Link.SESSION:
            named.setdefault(edge.effect, []).append(edge)
    for name, receipts in sessions.items():
        yield f"session {name}"
        for receipt in receipts:
            yield f"  #{receipt.index:<6} {_label(receipt)}{_behind(graph, named.get(receipt.leaf, []))}"


def _edges(receipt: Receipt) -> Iterator[Edge]:
    if receipt.seq:
        yield Edge(receipt.prev, receipt.leaf, Link.SESSION)
    for cause, link in causes(receipt).items():
        yield Edge(cause, receipt.leaf, link)


def _behind(graph: ProofGraph, edges: list[Edge]) -> str:
    """`  <- outcome #3`: the causes by their place in the log."""
    out = ""
    for edge in edges:
        cause = graph.receipts.get(edge.cause)
        out += f"  <- {edge.link.value} {f'#{cause.index}' if cause is not None else edge.cause}"
    return out


def _label(receipt: Receipt) -> str:
    body = receipt.body
    if receipt.kind is Kind.DECISION:
        verdict = str(body.get("verdict"))
        why = "" if verdict == Verdict.ALLOW and receipt.reason is Reason.OK else f" {receipt.reason.value}"
        by = " by the client" if body.get("effect_by") == EffectBy.CLIENT else ""
        return f"{verdict} {_text(body.get('tool', 'unreadable request'))}{by}{why}"
    if receipt.kind is Kind.OUTCOME:
        why = f" {receipt.reason.value}" if "reason" in body else ""
        return f"outcome {body.get('status')}{why} after {body.get('ms')} ms"
    if receipt.kind is Kind.HOLD:
        return f"hold {_text(body.get('tool', body.get('scope')))} {receipt.reason.value}"
    if receipt.kind is Kind.LAPSE:
        return f"lapse {receipt.reason.value}"
    if receipt.kind is Kind.GAP:
        return f"gap at {_text(body.get('door'))}"
    if receipt.kind is Kind.STATEMENT:
        inner = _inner(receipt)
        told = [inner[name] for name in ("kind", "decision", "tool", "scope") if name in inner]
        return "statement " + " ".join(map(_text, told))
    if receipt.kind is Kind.RECOVERY:
        return f"recovery at size {body.get('size')}, {body.get('open')} open"
    if body.get("event") == "end":
        return f"end {_text(body.get('reason'))}"
    return f"start {_text(body.get('principal'))} at {_text(body.get('door'))}"


def _inner(receipt: Receipt) -> Mapping[str, Json]:
    """The body of the statement inside its receipt."""
    record = receipt.body.get("statement")
    body = record.get("body") if isinstance(record, dict) else None
    return body if isinstance(body, dict) else {}


def _text(value: Json) -> str:
    return visible(str(value))
