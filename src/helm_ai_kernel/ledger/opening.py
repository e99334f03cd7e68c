"""What a start checks before the first call: keys, registry, tail, tree, and the head that is kept outside the store."""

import sqlite3
from pathlib import Path

from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.keys import Purpose, Signer
from helm_ai_kernel.tcb.merkle import Frontier, leaf_hash
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.tcb.registry import Registry

from .mirror import Mirror, rolled_back
from .signer import CheckpointSigner, stored
from .transaction import Ink, Open, State
from .vault import Vault


def check_keys(ink: Ink, log_key: Signer, origin: str) -> None:
    """What this process signs, a verifier will accept: both keys are registered, for this purpose and this log."""
    for signer, purpose in ((ink.execution, Purpose.EXECUTION), (log_key, Purpose.LOG)):
        entry = ink.registry.in_force(purpose).get(signer.public.id)
        if entry is None or entry.log != origin:
            raise OutsideError(
                Reason.ERR_SIGNER_UNAVAILABLE,
                f"the `{purpose}` key is not the one that the registry names for `{origin}`",
                hint="restore keys/ and store/ from the same backup",
            )


def check_vault(conn: sqlite3.Connection, vault: Vault, origin: str) -> None:
    """The store was written with the secret that is here: with another one no repeated call would be known as one."""
    if conn.execute("SELECT mark FROM log").fetchall() != [(vault.mark(origin),)]:
        raise OutsideError(
            Reason.ERR_SIGNER_UNAVAILABLE,
            "the secret in keys/subjects is not the one that the store was written with",
            hint="restore keys/ and store/ from the same backup",
        )


def _check_trust(registry: Registry, last: Receipt) -> None:
    """The registry goes on from the one that the log relied on last: one that was put back would bring back what was revoked."""
    size = last.trust.size
    if size > registry.size or registry.head_at(size) != last.trust.head:
        detail = f"the log relies on a registry of {size} events, and the one here has {registry.size}, or is another one"
        raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint="restore store/trust.jsonl")


def mirrored(conn: sqlite3.Connection, folder: Path, registry: Registry, state: State) -> Mirror:
    """Raises `OutsideError(ERR_STORE_ROLLBACK)` where the store does not go on from the head that is kept outside it."""
    mirror = Mirror(folder, state.origin, registry.log_keys(state.origin))
    kept = mirror.read()
    if kept is None:
        return mirror
    grown = kept.frontier
    for (leaf,) in conn.execute("SELECT leaf FROM receipts WHERE idx>=? ORDER BY idx", (grown.size,)):
        grown = grown.append(bytes(leaf))
    if grown != state.frontier:
        raise rolled_back(kept, state.frontier, mirror.path)
    return mirror


def load(conn: sqlite3.Connection, log_key: Signer, registry: Registry) -> tuple[State, CheckpointSigner, bool]:
    """The state as stored, the tail since the last checkpoint hashed again and checked against the stored rows."""
    origin, policy, catalog, peaks, note, clean = conn.execute(
        "SELECT origin, policy, catalog, frontier, checkpoint, clean FROM log"
    ).fetchone()
    frontier = Frontier.from_bytes(bytes(peaks))
    signer = CheckpointSigner(log_key, origin, frontier, stored(registry.log_keys(origin), origin, frontier, bytes(note)))
    size, leaves = signer.frontier.size, []
    for index, leaf, line in conn.execute("SELECT idx, leaf, line FROM receipts WHERE idx>=? ORDER BY idx", (size,)):
        if index != size or leaf_hash(bytes(line)) != bytes(leaf):
            raise OutsideError(Reason.ERR_STORE_CORRUPT, f"receipt {index} is not what was appended", hint="helm-ai-kernel fsck")
        leaves.append(bytes(leaf))
        size += 1
    count, last = conn.execute("SELECT count(*), coalesce(max(idx), -1) FROM receipts").fetchone()
    if (count, last) != (size, size - 1):
        raise OutsideError(
            Reason.ERR_STORE_CORRUPT,
            f"{count} receipts are stored, {size} were signed for",
            hint="helm-ai-kernel fsck",
        )
    for (line,) in conn.execute("SELECT line FROM receipts WHERE idx=?", (size - 1,)):
        _check_trust(registry, Receipt.from_bytes(bytes(line)))
    signer.extend(leaves)
    digests = [None if raw is None else hashes.text(bytes(raw)) for raw in (policy, catalog)]
    holds = {tool: hashes.text(bytes(leaf)) for tool, leaf in conn.execute("SELECT tool, leaf FROM holds")}
    rows = conn.execute("SELECT idx, leaf, tool, principal, key, subject, reserved FROM intents ORDER BY idx")
    opened = {index: Open.from_row(bytes(leaf), *rest) for index, leaf, *rest in rows}
    return State(origin, signer.frontier, {}, digests[0], digests[1], holds, opened), signer, bool(clean)
