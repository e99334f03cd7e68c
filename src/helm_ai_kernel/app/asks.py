"""What waits for a person, shown from the bytes that would be dispatched, and what they say of it (`docs/spec/approval.md`).

An approver trusts nobody's words for what they sign: arguments, intent and confirmation are worked out here, from the receipt
that holds the call and from the attachment that it names.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.ledger.standing import verified
from helm_ai_kernel.ledger.transaction import ARGS
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.approvals import Approvals
from helm_ai_kernel.tcb.ceremony import Act, Ceremony, Held, confirmation, intent
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import SALT_BYTES, Digest
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.grant import Grant
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.keys import Signer
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.tcb.registry import Registry
from helm_ai_kernel.tcb.statement import StatementKind

from .config import Config
from .operate import Desk, signed

REVIEWED_MAX = 100  # of the newest that are shown; the log has all of them


@dataclass(frozen=True, slots=True)
class Waiting:
    """A held call as its approver sees it."""

    ceremony: Ceremony
    decision: Receipt
    arguments: bytes  # canonical: what will be dispatched
    door: str
    held: Held  # as a decision would read it now


@dataclass(frozen=True, slots=True)
class Unasked:
    """A call that was refused because nobody was there to be asked, for a person to look at later."""

    decision: Receipt
    principal: str
    door: str
    arguments: bytes  # canonical

    @property
    def tool(self) -> str:
        return str(self.decision.body["tool"])

    @property
    def pin(self) -> Digest:
        return Digest(str(self.decision.body["pin"]))


@dataclass(frozen=True, slots=True)
class Standing:
    """All that people were asked and said, as it stands: held calls oldest first, grants that nobody revoked, freezes."""

    waiting: list[Waiting]
    grants: list[Grant]
    frozen: dict[str, Digest]  # scope -> leaf of its hold
    unasked: list[Unasked]  # newest first


def standing(config: Config, approvals: Approvals | None = None) -> Standing:
    """A held call whose arguments were erased cannot be shown, and is not. `approvals`: as a running kernel has them."""
    with Reader(config.paths.store, vault=Subjects(config.paths.subjects)) as reader:
        known = reader.approvals() if approvals is None else approvals
        registry = reader.trust()
        found = [_shown(reader, one, registry) for one in known.held.values() if one.index < reader.size]
        frozen = reader.frozen()
        unasked = [_unasked(reader, one, registry) for one in reader.unasked(REVIEWED_MAX)]
    held = [one for one in found if one is not None]
    return Standing(held, list(known.grants.values()), frozen, [one for one in unasked if one is not None])


def waiting(config: Config) -> list[Waiting]:
    return standing(config).waiting


def grants(config: Config) -> list[Grant]:
    return standing(config).grants


def frozen(config: Config) -> dict[str, Digest]:
    """What is frozen, each with the leaf hash of its hold."""
    with Reader(config.paths.store) as reader:
        return reader.frozen()


def to_json(one: Waiting) -> dict[str, Json]:
    """All that an approver needs to work out what they sign, but the salt of what stays in the store."""
    ceremony = one.ceremony
    held = one.held.to_json()
    said: dict[str, Json] = {"principal": ceremony.principal, "tool": ceremony.tool, "pin": ceremony.pin, "door": one.door}
    said |= {"arguments": one.arguments.decode(), "args_hash": ceremony.args, "intent": ceremony.intent}
    body = one.decision.body
    about: dict[str, Json] = {"effect": body["effect"], "effect_by": body["effect_by"]}
    return {**held, **said, **about, "index": ceremony.index, "rules": list(one.decision.rules)}


def grant_json(grant: Grant) -> dict[str, Json]:
    allows = grant.allows
    where: dict[str, Json] = {name: dict(condition) for name, condition in allows.where.items()}
    said: dict[str, Json] = {"grant": grant.statement, "principal": allows.principal, "tool": grant.tool, "pin": allows.pin}
    return {**said, "where": where, "left": grant.left, "lasts_ms": allows.lasts_ms, "since": grant.since.to_json()}


def find(config: Config, name: str) -> Waiting:
    """By log index, or by the first digits of its leaf hash; raises `OutsideError`."""
    with Reader(config.paths.store, vault=Subjects(config.paths.subjects)) as reader:
        receipt, approvals = reader.find(name), reader.approvals()
        ceremony = approvals.held.get(receipt.leaf)
        shown = None if ceremony is None else _shown(reader, ceremony, reader.trust())
    if shown is None:
        how = approvals.ended.get(receipt.leaf)
        said = "is no call that is held" if how is None else f"is held no more: {how.value}"
        hint = "helm-ai-kernel approvals list"
        raise OutsideError(how or Reason.ERR_APPROVAL_INTENT_MISMATCH, f"receipt {receipt.index} {said}", hint=hint)
    return shown


def find_unasked(config: Config, name: str) -> Unasked | None:
    """One of those, by log index or by the first digits of its leaf hash."""
    with Reader(config.paths.store, vault=Subjects(config.paths.subjects)) as reader:
        receipt = reader.find(name)
        same = any(one.index == receipt.index for one in reader.unasked(REVIEWED_MAX))
        return _unasked(reader, receipt, reader.trust()) if same else None


def unasked_json(one: Unasked) -> dict[str, Json]:
    said: dict[str, Json] = {"index": one.decision.index, "principal": one.principal, "tool": one.tool, "pin": one.pin}
    return {**said, "door": one.door, "arguments": one.arguments.decode(), "rules": list(one.decision.rules)}


def leaf(config: Config, name: str) -> Digest:
    """Of the one receipt with that log index, or whose leaf hash begins so; raises `OutsideError`."""
    with Reader(config.paths.store) as reader:
        return reader.find(name).leaf


async def say(desk: Desk, call: Waiting, act: Act, signer: Signer) -> Receipt:
    """One person's word on a held call, in answer to a new challenge; raises `Refused`."""
    ceremony, key = call.ceremony, signer.public.id
    named = _intent(desk, ceremony)
    nonce = await desk.challenge(ceremony.call, key)
    content: dict[str, Json] = {"call": ceremony.call, "decision": act.value, "intent": named}
    content["confirmation"] = confirmation(named, nonce, key, act)
    return await signed(desk, StatementKind.APPROVAL, content, [signer], nonce=nonce)


async def override(desk: Desk, call: Waiting, signers: Sequence[Signer]) -> Receipt:
    """A threshold of roots lets the call go on at once; raises `Refused`."""
    content: dict[str, Json] = {"call": call.ceremony.call, "intent": _intent(desk, call.ceremony)}
    return await signed(desk, StatementKind.OVERRIDE, content, signers)


async def grant(desk: Desk, content: dict[str, Json], signers: Sequence[Signer]) -> Receipt:
    """`content` are the fields of a grant (`docs/spec/statement.md`); raises `Refused`."""
    return await signed(desk, StatementKind.GRANT, content, signers)


async def revoke(desk: Desk, statement: Digest, signers: Sequence[Signer]) -> Receipt:
    """The grant counts from the next decision on no more."""
    return await signed(desk, StatementKind.REVOCATION, {"grant": statement}, signers)


async def unfreeze(desk: Desk, scope: str, hold: Digest, signers: Sequence[Signer]) -> Receipt:
    return await signed(desk, StatementKind.RELEASE, {"scope": scope, "hold": hold}, signers)


def _shown(reader: Reader, ceremony: Ceremony, registry: Registry) -> Waiting | None:
    decision = reader.at(ceremony.index)
    content = reader.attachments(ceremony.index).get(ARGS)
    if content is None:
        return None
    if decision.leaf != ceremony.call or hashes.digest(content) != ceremony.args:
        detail = f"the arguments that are kept beside receipt {ceremony.index} are not those of the held call"
        raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint="helm-ai-kernel fsck")
    start = _start(reader, decision, registry)
    held = ceremony.read(registry.in_force_at(registry.size))
    return Waiting(ceremony, verified(decision.line, registry), content[SALT_BYTES:], str(start.body["door"]), held)


def _unasked(reader: Reader, decision: Receipt, registry: Registry) -> Unasked | None:
    """None where its arguments were erased, or were too large to be kept."""
    content = reader.attachments(decision.index).get(ARGS)
    if content is None or hashes.digest(content) != decision.body["args_hash"]:
        return None
    start = _start(reader, decision, registry)
    said = verified(decision.line, registry)
    return Unasked(
        replace(said, index=decision.index), str(start.body["principal"]), str(start.body["door"]), content[SALT_BYTES:]
    )


def _start(reader: Reader, decision: Receipt, registry: Registry) -> Receipt:
    """Of its session: who asks, and at which door."""
    return verified(next(reader.receipts(session=decision.session)).line, registry)


def _intent(desk: Desk, ceremony: Ceremony) -> Digest:
    """Of what was shown, and of nothing else."""
    deployment = desk.origin.rpartition("/")[0]
    named = intent(deployment, ceremony.principal, ceremony.tool, ceremony.pin, ceremony.args, ceremony.requires)
    if named != ceremony.intent:
        raise Refused(Reason.ERR_APPROVAL_INTENT_MISMATCH, "the call was held by another deployment", hint="look again")
    return named
