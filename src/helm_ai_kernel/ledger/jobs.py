"""What the single writer does for each kind of receipt: read the facts, decide, claim, reserve, append. One place per flow.

A job refuses before it writes or not at all: a `Refused` leaves the group as it was (`docs/spec/flows.md`).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from shlex import quote
from typing import NamedTuple

from helm_ai_kernel.guardian.budget import Budget
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.call import Admitted, Call, Refusal
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Claim, ClaimState, Decision, Facts, Outcome, Status, Verdict
from helm_ai_kernel.tcb.digest import SALT_BYTES, Digest
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.flows import DRIFTS
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.receipt import SCOPE, TEXT_MAX, EffectBy, Kind, Receipt

from . import asked
from .caused import Cause, caused
from .transaction import ARGS, KEY, OUTPUT, Open, Session, Transaction
from .vault import Subject

OFFERED_MAX = 256  # calls of one principal that it acts on at once and may report: one more, and the oldest is not waited for
REFUSED_KEPT_MAX = 64 * 1024  # what was denied is kept as evidence up to here; a flood of large requests must not fill the disk

PROBE_BYTES = 16 << 10  # a call with its outcome, arguments and output

Decide = Callable[[Admitted, Facts], Decision]


@dataclass(frozen=True, slots=True)
class Intent:
    """An ALLOW that waits for its outcome."""

    index: int
    leaf: Digest


def start_session(tx: Transaction, session: Session, client: str | None) -> Receipt:
    content: dict[str, Json] = {"event": "start", "principal": session.principal, "door": session.door, "client": client}
    return tx.append(session, Kind.SESSION, {**content, "policy": tx.policy, "catalog": tx.catalog})


def end_session(tx: Transaction, session: Session, reason: str) -> Receipt:
    count = tx.heads[session.id].seq + 1
    receipt = tx.append(session, Kind.SESSION, {"event": "end", "count": count, "reason": reason})
    del tx.heads[session.id]
    return receipt


@dataclass(frozen=True, slots=True)
class Terms:
    """What is configured, beside the policy, about the calls of one principal."""

    budgets: Sequence[Budget] = ()
    not_by: tuple[str, ...] = ()  # who else may not approve them: their owner, where four eyes are asked for
    alone: bool = False  # nobody is there to be asked
    waited_for: Digest | None = None  # the held call that this one is, by somebody who waits for it and asks for no other
    causes: tuple[Cause, ...] = ()  # the outcomes because of which the call goes on
    more: bool = False  # something goes with the arguments: no person saw it, so nothing that one approved covers the call


def decide(
    tx: Transaction, session: Session, admitted: Admitted, rule: Decide, terms: Terms, effect_by: EffectBy = EffectBy.KERNEL
) -> Receipt:  # fmt: skip
    """The one place where a race can be lost, so it decides here: facts, verdict, claim, reservation, receipt at once."""
    if session.id not in tx.heads:
        raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, "the session has ended", hint="open a new one")
    gone_on = terms.waited_for is not None and tx.approvals.ended.get(terms.waited_for) is Reason.ERR_APPROVAL_CONSUMED
    if gone_on and not (isinstance(admitted, Call) and admitted.key is not None):  # a key finds the one that went on
        raise Refused(Reason.ERR_APPROVAL_CONSUMED, "another caller went on with the held call", hint="make a new call")
    about, causes = tx.subject(admitted.subject or session.principal), caused(tx, session, terms.causes)
    read = _read(tx, session, admitted, terms, about, effect_by)
    decision = rule(admitted, read.facts)
    content: dict[str, Json] = {
        "verdict": decision.verdict.value,
        "reason": decision.reason.value,
        "facts": read.facts.to_json(),
        "policy": read.facts.policy,
        "effect_by": effect_by.value,
    }
    if decision.sub:
        content["sub"] = decision.sub
    if admitted.args is None or admitted.tool is None:
        content["raw_hash"] = _kept(tx, ARGS, admitted.raw if isinstance(admitted, Refusal) else b"", about, REFUSED_KEPT_MAX)
        return tx.append(session, Kind.DECISION, content, causes, decision.hint)
    content["tool"] = admitted.tool
    if admitted.subject is not None:
        content["subject"] = about.id.hex()
    if admitted.pin is not None:
        content["pin"] = admitted.pin
    if admitted.effect is not None:
        content["effect"] = admitted.effect.value
    if decision.rules:
        content["rules"] = list(decision.rules)
    if isinstance(admitted, Refusal):
        content["args_hash"] = _kept(tx, ARGS, admitted.args, about, REFUSED_KEPT_MAX)
        return tx.append(session, Kind.DECISION, content, causes, decision.hint)
    return _decided(tx, session, admitted, read, about, decision, content, causes)


def settle(tx: Transaction, session: Session, intent: Intent, outcome: Outcome) -> Receipt:
    """Close an open intent, once. A tool that broke its contract is held in the same transaction."""
    found = tx.open.get(intent.index)
    if found is None or found.leaf != intent.leaf or outcome.status is Status.REPORTED:
        raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, "this intent is not open: it has its outcome already")
    receipt = _ended(tx, _teller(tx, session), found, outcome)
    del tx.open[intent.index]
    for name in found.reserved if outcome.status is Status.FAILED else ():  # proven not applied: the reservation goes back
        tx.conn.execute("UPDATE budgets SET used=used-1 WHERE name=? AND window=?", (name, found.reserved[name]))
    if outcome.reason in DRIFTS:
        hold(tx, found.tool, receipt.leaf, outcome.reason)
    return receipt


def report(tx: Transaction, session: Session, offer: Intent, outcome: Outcome) -> Receipt:
    """What the client tells of a call that it acted on, once. It holds no tool and gives nothing back: it is the client's word.

    Only this process knows who may tell: raises `Refused` for an offer of an earlier one, of another principal, or told before.
    """
    found = tx.offered.get(offer.index)
    mine = found is not None and (found.leaf, found.principal) == (offer.leaf, session.principal)
    if found is None or not mine or outcome.status is not Status.REPORTED:
        hint = "report a call once, soon, to the kernel that allowed it"
        raise Refused(Reason.ERR_UPSTREAM_SHAPE, "no report of this call is waited for", sub="report", hint=hint)
    receipt = _ended(tx, _teller(tx, session), found, outcome)
    del tx.offered[offer.index]
    return receipt


def _ended(tx: Transaction, session: Session, call: Open, outcome: Outcome) -> Receipt:
    """The first outcome of a call, and what its idempotency key says from now on."""
    spent = dict.fromkeys(call.reserved, 0 if outcome.status is Status.FAILED else 1)
    receipt = _outcome(tx, session, call.leaf, outcome, spent, call.subject)
    if call.key is not None:
        state = ClaimState.UNKNOWN if outcome.status is Status.UNKNOWN else ClaimState.DONE
        tx.conn.execute(
            "UPDATE claims SET state=?, outcome=? WHERE principal=? AND tool=? AND key=?",
            (state.value, receipt.index, call.principal, call.tool, call.key),
        )
    return receipt


def late(tx: Transaction, session: Session, tool: str, intent: Intent, outcome: Outcome) -> Receipt:
    """An answer after a recorded UNKNOWN: kept as evidence, never an edit. An intent that is still open is settled with it."""
    if intent.index in tx.open:
        return settle(tx, session, intent, outcome)
    kept = tx.attachment(intent.index, ARGS)
    about = b"" if kept is None else kept.subject
    receipt = _outcome(tx, _teller(tx, session), intent.leaf, replace(outcome, status=Status.LATE), {}, about)
    if outcome.reason in DRIFTS:
        hold(tx, tool, receipt.leaf, outcome.reason)
    return receipt


def _teller(tx: Transaction, session: Session) -> Session:
    """Who tells an outcome: its own session or, where that has ended, the kernel, unless it has ended too."""
    return session if session.id in tx.heads else _kernel(tx)


def _kernel(tx: Transaction) -> Session:
    """The kernel's own session; raises `OutsideError(ERR_SEALED)` where it has ended."""
    if tx.kernel is None:
        raise OutsideError(Reason.ERR_SEALED, "the log's last session has ended", hint="start the kernel again")
    return tx.kernel


def hold(tx: Transaction, tool: str, cause: Digest, reason: Reason) -> Receipt | None:
    """Stop a tool until a person releases it; an existing hold stays as it is."""
    if tool in tx.holds or tx.kernel is None:
        return None
    receipt = tx.append(tx.kernel, Kind.HOLD, {"tool": tool, "cause": cause, "reason": reason.value}, (cause,))
    tx.conn.execute("INSERT INTO holds VALUES (?,?)", (tool, hashes.raw(receipt.leaf)))
    tx.holds[tool] = receipt.leaf
    return receipt


def freeze(tx: Transaction, scope: str, by: str) -> Receipt:
    """Stop everything, a server, an agent or a session, until a person releases it."""
    kernel = _kernel(tx)
    if not SCOPE.match(scope):
        hint = "freeze `all`, `server:NAME`, `agent:NAME` or `session:ID`"
        raise Refused(Reason.ERR_UPSTREAM_SHAPE, f"`{scope[:64]}` is nothing that can be frozen", hint=hint)
    if not 0 < len(by) <= TEXT_MAX:
        raise Refused(
            Reason.ERR_UPSTREAM_SHAPE, f"who freezes has a name of 1 to {TEXT_MAX} characters", hint="use a shorter one"
        )
    if scope in tx.holds:
        hint = f"helm-ai-kernel release {quote(scope)}"
        raise Refused(Reason.ERR_FROZEN, f"`{scope}` is frozen already", hint=hint)
    content: dict[str, Json] = {"scope": scope, "by": by, "reason": Reason.ERR_FROZEN.value}
    receipt = tx.append(kernel, Kind.HOLD, content)
    tx.conn.execute("INSERT INTO holds VALUES (?,?)", (scope, hashes.raw(receipt.leaf)))
    tx.holds[scope] = receipt.leaf
    return receipt


def quarantine(tx: Transaction, name: str, reason: Reason, sub: str, catalog: Digest | None) -> Receipt | None:
    """Stop a tool, or a server (`server:NAME`), for what the kernel saw outside any call; an existing hold stays as it is.

    `catalog`: what it was compared with. Where a person has put another one into force meanwhile, nothing was seen of that.
    """
    if name in tx.holds or tx.catalog != catalog:
        return None
    what = "scope" if SCOPE.match(name) else "tool"
    receipt = tx.append(_kernel(tx), Kind.HOLD, {what: name, "reason": reason.value, "sub": sub[:TEXT_MAX]})
    tx.conn.execute("INSERT INTO holds VALUES (?,?)", (name, hashes.raw(receipt.leaf)))
    tx.holds[name] = receipt.leaf
    return receipt


def gap(tx: Transaction, door: str, counts: Mapping[str, int]) -> Receipt:
    """Refusals that have no receipt of their own."""
    return tx.append(_kernel(tx), Kind.GAP, {"door": door, "counts": dict(counts)})


def recovered(tx: Transaction, session: Session, open_count: int, heads: Sequence[bytes] = ()) -> Receipt:
    """`heads`: the checkpoints that were found of the log in whose place this one goes on."""
    root = hashes.text(tx.start.frontier.root())
    content: dict[str, Json] = {"size": tx.start.frontier.size, "root": root, "open": open_count}
    if heads:
        content["heads"] = [note.decode() for note in heads]
    return tx.append(session, Kind.RECOVERY, content)


def probe(tx: Transaction) -> None:
    """Take the room of a small call from the file, and give it back: raises what SQLite raises where there is none."""
    tx.conn.execute("SAVEPOINT probe")
    tx.conn.execute("INSERT INTO documents VALUES (zeroblob(32), 'probe', zeroblob(?))", (PROBE_BYTES,))
    tx.conn.execute("ROLLBACK TO probe")
    tx.conn.execute("RELEASE probe")


class Read(NamedTuple):
    """The facts, and what the same reading found for the claim and the reservation."""

    facts: Facts
    windows: Mapping[str, str]  # budget -> the key under which its use is counted
    first: int = -1  # log index of the ALLOW that holds the idempotency key
    key_hash: Digest | None = None  # as that receipt names the key
    args: bytes = b""  # of that call, or of the held one, with their salt; nothing where they were erased
    mark: bytes | None = None  # of the key


def _read(
    tx: Transaction, session: Session, admitted: Admitted, terms: Terms, about: Subject, effect_by: EffectBy
) -> Read:  # fmt: skip
    """Everything that `decide` reads. Of a first call whose arguments were erased, or that others act on, nothing is the same."""
    clock = tx.moment.clock
    if isinstance(admitted, Refusal):
        return Read(Facts(session.principal, session.door, tx.policy, clock), {})
    by_client = effect_by is EffectBy.CLIENT
    budgets = [b for b in terms.budgets if b.covers(session.principal, admitted.tool)]
    windows = {b.name: b.window(session.id, clock.wall_ms) for b in budgets}
    left = {b.name: b.left(_used(tx, b.name, windows[b.name])) for b in budgets}
    claim, first, key_hash, args, mark = None, -1, None, b"", None
    if admitted.key is not None:
        mark = tx.ink.vault.mark(admitted.key)
        row = tx.conn.execute(
            "SELECT idx, leaf, key_hash, state FROM claims WHERE principal=? AND tool=? AND key=?",
            (session.principal, admitted.tool, mark),
        ).fetchone()
        if row is not None:
            first, key_hash = int(row[0]), hashes.text(bytes(row[2]))
            kept = tx.attachment(first, ARGS)
            args = b"" if kept is None or kept.content is None else kept.content
            same = kept is not None and kept.subject == about.id and args[SALT_BYTES:] == admitted.args
            same = same and tx.is_offer(first) is by_client
            claim = Claim(hashes.text(bytes(row[1])), ClaimState(row[3]), same)
    covered = claim is None and not terms.more
    held, kept_args = asked.held(tx, session.principal, admitted, about, by_client) if covered else (None, b"")
    facts = Facts(
        session.principal,
        session.door,
        tx.policy,
        clock,
        tx.holds.get(admitted.tool),
        claim,
        left,
        frozen=asked.frozen(tx, session, admitted.tool),
        approval=held,
        grant=asked.granted(tx, session.principal, admitted) if covered else None,
        not_by=terms.not_by,
        alone=terms.alone or terms.more,
        crowded=asked.crowded(tx, session.principal),
    )
    return Read(facts, windows, first, key_hash, args or kept_args, mark)


def _used(tx: Transaction, name: str, window: str) -> int:
    row = tx.conn.execute("SELECT used FROM budgets WHERE name=? AND window=?", (name, window)).fetchone()
    return 0 if row is None else int(row[0])


def _decided(
    tx: Transaction, session: Session, call: Call, read: Read, about: Subject, decision: Decision, content: dict[str, Json],
    causes: tuple[Digest, ...],
) -> Receipt:  # fmt: skip
    """Append the decision on an admitted call; one that goes also claims its key, reserves, and waits for its outcome."""
    held, salt = read.facts.approval, read.args[:SALT_BYTES]
    is_call = content["effect_by"] != EffectBy.NONE
    gone = is_call and decision.verdict is Verdict.ALLOW and decision.repeats is None
    if decision.repeats is not None:
        content["repeats"] = decision.repeats
    if held is not None and gone:
        content["args_hash"] = tx.attach(ARGS, salt, call.args, about)  # the held call's name, and a copy of its own
    elif decision.repeats is not None or (held is not None and not (is_call and decision.requires is not None)):
        content["args_hash"] = hashes.digest(read.args)  # the same content under the first one's salt: one attachment, one name
        tx.salt = salt
    else:
        bytes_max = REFUSED_KEPT_MAX if decision.verdict is Verdict.DENY else None
        content["args_hash"] = _kept(tx, ARGS, call.args, about, bytes_max)
    if call.key is not None:
        content["key"] = read.key_hash or _kept(tx, KEY, call.key.encode(), about)
    parents = (*(() if decision.repeats is None else (decision.repeats,)), *(() if held is None else (held.call,)))
    if decision.requires is not None and is_call:
        content["requires"] = decision.requires.to_json()
    if not gone:
        receipt = tx.append(session, Kind.DECISION, content, (*parents, *causes), decision.hint)
        return asked.moved(tx, receipt, session)
    if content["effect_by"] == EffectBy.KERNEL:
        content["deadline_ms"] = read.facts.clock.wall_ms + call.wall_ms
    if decision.reserve:
        content["reserved"] = dict(decision.reserve)
    if decision.relies:
        content["relies"] = list(decision.relies)
    parents = (*parents, *decision.relies, *causes)
    receipt = asked.moved(tx, tx.append(session, Kind.DECISION, content, parents, decision.hint), session)
    for name in decision.reserve:
        tx.conn.execute("INSERT INTO budgets VALUES (?,?,1) ON CONFLICT DO UPDATE SET used=used+1", (name, read.windows[name]))
    if call.key is not None:
        tx.conn.execute(
            "INSERT INTO claims VALUES (?,?,?,?,?,?,?,NULL)",
            (
                session.principal,
                call.tool,
                read.mark,
                receipt.index,
                hashes.raw(receipt.leaf),
                hashes.raw(Digest(str(content["key"]))),
                ClaimState.OPEN.value,
            ),
        )
    windows = {name: read.windows[name] for name in decision.reserve}
    waits = Open(receipt.leaf, call.tool, session.principal, read.mark, about.id, windows)
    if receipt.is_offer:
        _offer(tx, receipt.index, waits)
    else:
        tx.open[receipt.index] = waits
    return receipt


def _offer(tx: Transaction, index: int, offer: Open) -> None:
    """Whoever never reports takes no more room than others; it may still say what became of its newest calls."""
    mine = [at for at, other in tx.offered.items() if other.principal == offer.principal]
    if len(mine) >= OFFERED_MAX:
        del tx.offered[mine[0]]
    tx.offered[index] = offer


def _outcome(
    tx: Transaction, session: Session, intent: Digest, outcome: Outcome, spent: Mapping[str, int], subject: bytes
) -> Receipt:
    """`subject` is whom the call was about, erased or not."""
    content: dict[str, Json] = {"decision": intent, "status": outcome.status.value, "ms": outcome.ms}
    if outcome.output is not None:
        content["output_hash"] = _kept(tx, OUTPUT, outcome.output, tx.alive(subject) or subject)
    if outcome.contract is not None:
        content["contract"] = outcome.contract.value
    if outcome.reason is not Reason.OK:
        content["reason"] = outcome.reason.value
    if outcome.sub:
        content["sub"] = outcome.sub
    if spent:
        content["spent"] = dict(spent)
    if outcome.tool_error:
        content["tool_error"] = True
    if outcome.truncated:
        content["truncated"] = True
    if outcome.interim is not None:
        content["interim"] = outcome.interim.to_json()
    return tx.append(session, Kind.OUTCOME, content, (intent,))


def _kept(tx: Transaction, slot: int, content: bytes, about: bytes | Subject, bytes_max: int | None = None) -> Digest:
    """Name the content under a fresh salt, and keep it unless it is larger than `bytes_max`; the caller gets the salt anyway."""
    salt = os.urandom(SALT_BYTES)
    if bytes_max is not None and len(content) > bytes_max:
        tx.salt = salt
        return hashes.attachment_name(salt, content)
    return tx.attach(slot, salt, content, about)
