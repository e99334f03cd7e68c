"""Cases about keys that come and go, in a registry (V3) and in a log that relies on it (V5, V8, V11, V13, V14).

Where it is not an edit, it is signed with the real keys: that of the thief is one of them.
"""

from helm_ai_kernel.tcb import pack, registry
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.envelope import seal
from helm_ai_kernel.tcb.events import End, KeyEntry
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.receipt import Kind
from pack_case import Made, case, of
from packs import AT, Body, Log, key, repack, seed, short

SINCE = "2026-01-01T00:00:00.000Z"  # before everything in these logs says that it happened
SECOND, THIRD = key("second execution", Purpose.EXECUTION), key("third execution", Purpose.EXECUTION)
SECOND_LOG = key("second log", Purpose.LOG)
SECOND_APPROVAL = key("second approval", Purpose.APPROVAL)
SECOND_ROOT, OTHER_ROOT = key("second root", Purpose.ROOT), key("other root", Purpose.ROOT)


def again(log: Log) -> Log:
    """The kernel starts again, with the registry as it is now, serves one call, and ends."""
    log.start_kernel()
    agent = log.start()
    log.settle(agent, log.allow(agent).leaf)
    log.end(agent)
    log.end(log.kernel)
    return log


def before() -> Log:
    """A process that did its work under the first keys and ended cleanly."""
    log = short()
    log.end(log.kernel)
    return log


def rotated(log: Log, new: SecretKey = SECOND) -> Log:
    """Another execution key takes the place of the one in use; the log signs with it from now on."""
    log.deployment.rotate(log.deployment.execution, new)
    log.deployment.execution = new
    return log


def with_event(log: Log, body: Body, *signers: SecretKey) -> Made:
    """The pack, with an event that the registry would not take."""
    lines = [*log.deployment.registry.lines, seal(body, signers).line]
    return of(log, repack({**log.files(), pack.TRUST: pack.joined(lines)}))


# what is fine


@case(Exit.VALID)
def execution_key_rotated() -> Made:
    """Two execution keys, one after the other: each signs for what relies on the registry of its time."""
    return of(again(rotated(before())))


@case(Exit.VALID)
def execution_key_rotated_and_not_used_yet() -> Made:
    """The registry in the pack went on after the last start: nothing in the log relies on that."""
    log = before()
    rotated(log)
    return of(log)


@case(Exit.VALID)
def log_key_rotated() -> Made:
    """Another log key signs the checkpoint; the verifier kept a head that the first one signed."""
    log = before()
    head = log.checkpoint()
    log.deployment.rotate(log.deployment.log, SECOND_LOG)
    log.deployment.log = SECOND_LOG
    return of(again(log), known_head=head)


@case(Exit.VALID)
def log_key_rotated_and_not_used_yet() -> Made:
    """The checkpoint is by the first log key, and no receipt under it relies on the rotation."""
    log = before()
    log.deployment.rotate(log.deployment.log, SECOND_LOG)
    return of(log)


@case(Exit.VALID)
def log_key_signs_for_what_was_before_it() -> Made:
    """A crash left receipts without a checkpoint; the log key that came since signs for them."""
    log = short()
    log.deployment.rotate(log.deployment.log, SECOND_LOG)
    log.deployment.log = SECOND_LOG
    return of(log)


@case(Exit.VALID)
def approval_key_superseded() -> Made:
    """What an approval key signed before its revocation stays in force; the next statement has another."""
    log = before()
    log.deployment.enrol(SECOND_APPROVAL, "olga")
    log.deployment.revoke(log.deployment.approval, End.SUPERSEDED)
    log.start_kernel()
    log.activate(b"forbid(principal, action, resource);", signer=SECOND_APPROVAL)
    return of(log)


@case(Exit.VALID)
def stolen_key_that_signed_nothing_here() -> Made:
    """A key is revoked as compromised that signed nothing in this log."""
    log = before()
    log.deployment.enrol(SECOND_APPROVAL, "olga")
    log.deployment.revoke(SECOND_APPROVAL, End.COMPROMISE, SINCE)
    return of(again(log))


@case(Exit.VALID)
def root_rotated_and_threshold_raised() -> Made:
    """A second person gets a root key, the first one another, and from then on both must sign."""
    log = before()
    deployment = log.deployment
    deployment.enrol(OTHER_ROOT, "oscar")
    deployment.rotate(deployment.root, SECOND_ROOT)
    deployment.root = SECOND_ROOT
    deployment.sign(registry.new_threshold(deployment.registry, 2, at=AT), SECOND_ROOT, OTHER_ROOT)
    entry = deployment.registry.keys[deployment.execution.public.id]
    deployment.sign(registry.rotation(deployment.registry, SECOND.public, entry, at=AT), SECOND_ROOT, OTHER_ROOT, SECOND)
    deployment.execution = SECOND
    return of(again(log))


# receipts, statements and checkpoints at the wrong time


@case(Exit.INVALID, Finding.KEY_REVOKED)
def rotated_key_signs_on() -> Made:
    """The old execution key signs receipts that rely on the registry in which it was replaced."""
    log = before()
    old = log.deployment.execution
    rotated(log)
    log.deployment.execution = old
    return of(again(log))


@case(Exit.INVALID, Finding.KEY_UNKNOWN)
def key_signs_before_its_rotation() -> Made:
    """The new execution key signs receipts that rely on the registry before it."""
    log = before()
    known = log.deployment.registry
    after = rotated(log).deployment.registry
    log.deployment.registry = known
    again(log)
    log.deployment.registry = after
    return of(log)


@case(Exit.INVALID, Finding.KEY_REVOKED)
def statement_by_a_revoked_key() -> Made:
    """A policy comes into force with an approval key that was revoked before."""
    log = before()
    log.deployment.revoke(log.deployment.approval, End.CESSATION)
    log.start_kernel()
    log.activate(b"forbid(principal, action, resource);")
    return of(log)


@case(Exit.INVALID, Finding.KEY_COMPROMISED_UNANCHORED)
def statement_by_a_stolen_key() -> Made:
    """The approval key was revoked as compromised: the policy that it put into force before counts for nothing."""
    log = before()
    log.deployment.revoke(log.deployment.approval, End.COMPROMISE, SINCE)
    return of(again(log))


@case(Exit.INVALID, Finding.KEY_COMPROMISED_UNANCHORED)
def back_dated_by_a_stolen_key() -> Made:
    """Who stole an execution key writes a second log, as of the registry before its revocation."""
    log = before()
    known, old = log.deployment.registry, log.deployment.execution
    rotated(log)
    log.deployment.revoke(old, End.COMPROMISE, SINCE)
    revoked = log.deployment.registry
    log.deployment.registry, log.deployment.execution = known, old
    again(log)
    log.deployment.registry = revoked
    return of(log)


@case(Exit.INVALID, Finding.KEY_REVOKED)
def checkpoint_by_a_rotated_key() -> Made:
    """The old log key signs for receipts that rely on the registry in which it was replaced."""
    log = before()
    log.deployment.rotate(log.deployment.log, SECOND_LOG)
    return of(again(log))


@case(Exit.INVALID, Finding.KEY_COMPROMISED_UNANCHORED)
def checkpoint_by_a_stolen_key() -> Made:
    """The log key was rotated and revoked as compromised, and nobody signed for the log since."""
    log = before()
    log.deployment.rotate(log.deployment.log, SECOND_LOG)
    log.deployment.revoke(log.deployment.log, End.COMPROMISE, SINCE)
    return of(log)


@case(Exit.INVALID, Finding.KEY_REVOKED)
def known_head_by_a_rotated_key() -> Made:
    """What the verifier kept is signed by the old log key, and is larger than the log was at its rotation."""
    log = before()
    old = log.deployment.log
    log.deployment.rotate(old, SECOND_LOG)
    again(log)
    log.deployment.log = old
    head = log.checkpoint()
    log.deployment.log = SECOND_LOG
    return of(log, known_head=head)


@case(Exit.INVALID, Finding.KEY_UNKNOWN, Finding.ROLLBACK)
def revocation_withheld() -> Made:
    """The registry in the pack ends before a revocation on which the last receipts rely."""
    log = before()
    log.deployment.enrol(SECOND_APPROVAL, "olga")
    log.deployment.revoke(log.deployment.approval, End.COMPROMISE, SINCE)
    again(log)
    return of(log, repack({**log.files(), pack.TRUST: pack.joined(log.deployment.registry.lines[:-1])}))


@case(Exit.INVALID, Finding.KEY_UNKNOWN, Finding.ROLLBACK)
def revocation_withheld_from_a_part() -> Made:
    """The last receipt of the log, which is in every part, relies on more of the registry than is here."""
    log = before()
    old = log.deployment.execution
    kept = log.deployment.registry.lines
    rotated(log).deployment.revoke(old, End.COMPROMISE, SINCE)
    again(log)
    return of(log, repack({**pack.read(log.part(3, 4)), pack.TRUST: pack.joined(kept)}))


@case(Exit.VALID)
def part_behind_a_known_head_by_a_rotated_key() -> Made:
    """The verifier knows a head from before a rotation of the log key, and the part has a receipt from after it."""
    log = before()
    kept = log.checkpoint()
    log.deployment.rotate(log.deployment.log, SECOND_LOG)
    log.deployment.log = SECOND_LOG
    again(log)
    return of(log, log.part(3, 4), known_head=kept)


@case(Exit.INVALID, Finding.KEY_COMPROMISED_UNANCHORED)
def stolen_key_in_a_part() -> Made:
    """The same part with the registry that the log relies on: its receipts are by the stolen key."""
    log = before()
    old = log.deployment.execution
    rotated(log).deployment.revoke(old, End.COMPROMISE, SINCE)
    again(log)
    return of(log, log.part(3, 4))


@case(Exit.INVALID, Finding.ROLLBACK)
def relies_on_less_than_the_revocation() -> Made:
    """After a receipt that relies on the revocation of a key, the key signs one that relies on less."""
    log = before()
    known, old = log.deployment.registry, log.deployment.execution
    rotated(log)
    agent = again(log).start_kernel()
    log.deployment.registry, after = known, log.deployment.registry
    log.append(agent, *end_of(log, agent), signer=old)
    log.deployment.registry = after
    return of(log)


def end_of(log: Log, session: str) -> tuple[Kind, Body]:
    return Kind.SESSION, {"event": "end", "count": log.heads[session][0] + 1, "reason": "closed"}


# events that the registry does not take


def replacing(log: Log, new: SecretKey, old: SecretKey) -> Body:
    known = log.deployment.registry
    return registry.rotation(known, new.public, known.keys[old.public.id], at=AT)


@case(Exit.INVALID, Finding.REGISTRY_INVALID)
def root_rotated_by_the_new_one_alone() -> Made:
    """Somebody makes his key the root: the roots before it did not sign."""
    log = short()
    return with_event(log, replacing(log, SECOND_ROOT, log.deployment.root), SECOND_ROOT)


@case(Exit.INVALID, Finding.REGISTRY_INVALID)
def root_rotated_by_the_old_one_alone() -> Made:
    """The new root did not prove that somebody holds it."""
    log = short()
    return with_event(log, replacing(log, SECOND_ROOT, log.deployment.root), log.deployment.root)


@case(Exit.INVALID, Finding.REGISTRY_INVALID)
def rotated_root_adds_a_key() -> Made:
    """A root that was replaced signs an event."""
    log = short()
    old = log.deployment.root
    log.deployment.rotate(old, SECOND_ROOT)
    body = registry.addition(log.deployment.registry, SECOND_APPROVAL.public, "mallet", None, at=AT)
    return with_event(log, body, old, SECOND_APPROVAL)


@case(Exit.INVALID, Finding.REGISTRY_INVALID)
def revoked_by_a_stranger() -> Made:
    """Who is no root revokes the approval key."""
    log = short()
    body = registry.revocation(log.deployment.registry, log.deployment.approval.public.id, End.CESSATION, at=AT)
    return with_event(log, body, OTHER_ROOT)


@case(Exit.INVALID, Finding.REGISTRY_INVALID)
def last_root_revoked() -> Made:
    """Nobody could sign the next event."""
    log = short()
    body = registry.revocation(log.deployment.registry, log.deployment.root.public.id, End.CESSATION, at=AT)
    return with_event(log, body, log.deployment.root)


@case(Exit.INVALID, Finding.REGISTRY_INVALID)
def root_revoked_by_itself() -> Made:
    """One of two people revokes the other one's root, and that root signs, too."""
    log = short()
    log.deployment.enrol(OTHER_ROOT, "oscar")
    body = registry.revocation(log.deployment.registry, OTHER_ROOT.public.id, End.CESSATION, at=AT)
    return with_event(log, body, log.deployment.root, OTHER_ROOT)


@case(Exit.INVALID, Finding.REGISTRY_INVALID)
def last_execution_key_revoked() -> Made:
    """The kernel could sign no receipt any more."""
    log = short()
    body = registry.revocation(log.deployment.registry, log.deployment.execution.public.id, End.CESSATION, at=AT)
    return with_event(log, body, log.deployment.root)


@case(Exit.INVALID, Finding.REGISTRY_INVALID)
def threshold_raised_by_too_few() -> Made:
    """One of two people raises the threshold to two: nobody showed that both can be brought together."""
    log = short()
    log.deployment.enrol(OTHER_ROOT, "oscar")
    return with_event(log, registry.new_threshold(log.deployment.registry, 2, at=AT), log.deployment.root)


@case(Exit.INVALID, Finding.REGISTRY_INVALID)
def threshold_beyond_the_people() -> Made:
    """A threshold of two, and one person has both roots."""
    log = short()
    log.deployment.enrol(SECOND_ROOT, "Olga")
    return with_event(log, registry.new_threshold(log.deployment.registry, 2, at=AT), log.deployment.root, SECOND_ROOT)


@case(Exit.INVALID, Finding.REGISTRY_INVALID)
def revoked_key_comes_back() -> Made:
    """A raw key occurs once, ever: here again, for another purpose."""
    log = short()
    log.deployment.revoke(log.deployment.approval, End.CESSATION)
    same = SecretKey.from_seed(seed("demo approval"), Purpose.WITNESS)
    return with_event(
        log, registry.addition(log.deployment.registry, same.public, "olga", None, at=AT), log.deployment.root, same
    )


@case(Exit.INVALID, Finding.REGISTRY_INVALID)
def rotated_to_another_principal() -> Made:
    """A rotation hands the key of one person to another."""
    log = short()
    known = log.deployment.registry
    entry = KeyEntry(log.deployment.approval.public, "oscar", None, 1)
    return with_event(log, registry.rotation(known, SECOND_APPROVAL.public, entry, at=AT), log.deployment.root, SECOND_APPROVAL)


@case(Exit.INVALID, Finding.REGISTRY_INVALID)
def compromise_without_a_time() -> Made:
    """A compromise does not say since when."""
    log = short()
    body = registry.revocation(log.deployment.registry, log.deployment.approval.public.id, End.COMPROMISE, at=AT)
    return with_event(log, body, log.deployment.root)


@case(Exit.UNSUPPORTED, Finding.UNSUPPORTED)
def revoked_for_an_unknown_reason() -> Made:
    """A reason of a later version: what it means for receipts is not known."""
    log = short()
    body = registry.revocation(log.deployment.registry, log.deployment.approval.public.id, End.CESSATION, at=AT)
    return with_event(log, body | {"reason": "lost"}, log.deployment.root)


@case(Exit.INVALID, Finding.CHAIN_FORK)
def registry_forked() -> Made:
    """The root signed two events for one place: in one the approval key is revoked, in the other it is not."""
    log = short()
    body = registry.revocation(log.deployment.registry, log.deployment.approval.public.id, End.CESSATION, at=AT)
    log.deployment.enrol(SECOND_APPROVAL, "olga")
    return with_event(log, body, log.deployment.root)
