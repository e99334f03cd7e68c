"""How a person's signed statement takes effect: checked against the registry and what is in force, once, in one transaction."""

from collections.abc import Mapping
from typing import NamedTuple

from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.bundle import PolicyManifest
from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import EvidenceError, Refused
from helm_ai_kernel.tcb.events import KeyEntry
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.receipt import SCOPE, Kind, Receipt
from helm_ai_kernel.tcb.statement import TIMED, Change, Statement, StatementKind, authorise

from .asked import Challenges, in_force
from .transaction import Transaction


class Document(NamedTuple):
    """Something that receipts name by digest and a pack carries: a catalogue, a policy manifest, a policy file."""

    name: str  # "catalog", "policy", "file"
    content: bytes


def enact(
    tx: Transaction, statement: Statement, documents: Mapping[Digest, Document], challenges: Challenges
) -> Receipt:  # fmt: skip
    """Append the statement and let it take effect; raises `Refused` and changes nothing where it may not."""
    if tx.kernel is None:
        raise Refused(Reason.ERR_POLICY_NOT_READY, "the kernel has no session of its own yet", hint="wait until it is ready")
    signers = _check(tx, statement)
    if statement.kind is StatementKind.APPROVAL:
        challenges.take(statement, tx.moment.clock)
    refusal = tx.approvals.refusal(statement, signers, _NO_LEAF, tx.moment.clock, in_force(tx))
    if refusal is not None:
        raise Refused(*refusal, hint="look again: helm-ai-kernel approvals list")
    for name, change in (("policy", statement.policy), ("catalog", statement.catalog)):
        if change is not None:
            _in_force(tx, name, change)
    _carried(statement, documents)
    parents: tuple[Digest, ...] = ()
    named = statement.tool or statement.scope or ""
    if statement.hold is not None:
        hold = tx.holds.get(named) if (statement.scope is not None) == bool(SCOPE.match(named)) else None
        if hold is None or hold != statement.hold:
            raise _mismatch(f"`{named}` is not held by `{statement.hold}`", "helm-ai-kernel tools list")
        parents = (hold,)
    about = statement.call or statement.grant
    if about is not None:
        parents = (about,)
    if statement.subject is not None:
        _erasable(tx, bytes.fromhex(statement.subject), statement.count)
    content: dict[str, Json] = {"statement": statement.record.to_json()}
    if statement.kind in TIMED:
        content["clock"] = tx.moment.clock.to_json()
    receipt = tx.append(tx.kernel, Kind.STATEMENT, content, parents)
    if statement.hold is not None:
        tx.conn.execute("DELETE FROM holds WHERE tool=?", (named,))
        del tx.holds[named]
    if statement.kind in _HEARD:
        tx.change_approvals().take(statement, signers, receipt.leaf, tx.moment.clock)
    if statement.subject is not None:
        tx.erased.add(bytes.fromhex(statement.subject))
    tx.conn.execute("INSERT INTO statements VALUES (?,?)", (statement.nonce, receipt.index))
    for digest, document in documents.items():
        row = (hashes.raw(digest), document.name, document.content)
        tx.conn.execute("INSERT INTO documents VALUES (?,?,?) ON CONFLICT DO NOTHING", row)
    if statement.policy is not None:
        tx.policy = statement.policy.after
    if statement.catalog is not None:
        tx.catalog = statement.catalog.after
    return receipt


_NO_LEAF = Digest("")  # of a statement that has no receipt yet
_HEARD = TIMED | {StatementKind.REVOCATION}


def _check(tx: Transaction, statement: Statement) -> tuple[KeyEntry, ...]:
    """Who signed it."""
    registry = tx.ink.registry
    if statement.log != tx.start.origin:
        raise _mismatch(f"the statement is for the log `{statement.log}`, this is `{tx.start.origin}`", "sign it again here")
    try:
        signers = authorise(statement, registry, registry.size)
    except EvidenceError as e:
        role = e.finding in (Finding.KEY_ROLE, Finding.APPROVAL_INVALID)
        reason = Reason.ERR_APPROVAL_KEY_ROLE if role else Reason.ERR_APPROVAL_SIGNATURE
        raise Refused(reason, e.detail, hint="sign with a registered `approval` key") from None
    if tx.conn.execute("SELECT 1 FROM statements WHERE nonce=?", (statement.nonce,)).fetchone():
        raise Refused(Reason.ERR_APPROVAL_CONSUMED, "this statement was used before", hint="sign a new one")
    return signers


def _in_force(tx: Transaction, name: str, change: Change) -> None:
    now = tx.policy if name == "policy" else tx.catalog
    if change.before != now:
        raise _mismatch(
            f"the {name} in force is `{now}`, the statement was signed for `{change.before}`", "look again, then sign again"
        )


def _erasable(tx: Transaction, subject: bytes, count: int | None) -> None:
    """Their key is here, nothing about them is under way, and what becomes unreadable is what the person was shown."""
    if tx.alive(subject) is None:
        raise _mismatch(f"the subject `{subject.hex()}` is not known here, or was erased", "helm-ai-kernel subjects")
    if any(intent.subject == subject for intent in tx.open.values()):
        raise _mismatch("a call about this subject has no outcome yet", "wait for it, then sign again")
    if (kept := tx.about(subject)) != count:
        raise _mismatch(
            f"{kept} attachments are kept about this subject, the statement says {count}", "look again, then sign again"
        )


def _carried(statement: Statement, documents: Mapping[Digest, Document]) -> None:
    """What comes into force is here, is what its digest says, and belongs together: a log never names what no pack can hold."""
    policy, catalog = statement.policy, statement.catalog
    if policy is None or catalog is None:
        if documents:
            raise _mismatch("a statement that puts nothing into force carries documents", "sign it again")
        return
    if statement.kind is StatementKind.ACTIVATION and catalog.before not in (None, catalog.after):
        raise _mismatch("an activation changes no catalogue", "pin the tools first: helm-ai-kernel tools pin")
    for digest, document in documents.items():
        if hashes.digest(document.content) != digest:
            raise _mismatch(f"a document is not what its digest `{digest}` says", "sign it again")
    if not {policy.after, catalog.after} <= documents.keys():
        raise _mismatch("the policy or the catalogue that would come into force is not here", "sign it again")
    try:
        manifest = PolicyManifest.from_bytes(documents[policy.after].content)
    except EvidenceError as e:
        raise _mismatch(f"the policy has no manifest: {e.detail}", "sign it again") from None
    if documents.keys() != {policy.after, catalog.after, *manifest.files.values()}:
        raise _mismatch("the documents are not exactly the policy, its files and the catalogue", "sign it again")
    if manifest.catalog != catalog.after:
        raise _mismatch("the policy is bound to another catalogue", "helm-ai-kernel policy apply")


def _mismatch(detail: str, hint: str) -> Refused:
    return Refused(Reason.ERR_APPROVAL_INTENT_MISMATCH, detail, hint=hint)
