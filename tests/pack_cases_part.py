"""Cases about a part of a log: some receipts, and the proof of where they stand (`docs/spec/pack.md`, parts)."""

from collections.abc import Callable
from dataclasses import replace

from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.decision import Status, Verdict
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.part import Inclusion
from pack_case import Made, case, of
from packs import WALL_MS, Body, Log, edited, repack, seed, short, story


def proven(log: Log, *places: int, change: Callable[[Inclusion], Inclusion]) -> Made:
    """A part whose proof says something else."""
    files = dict(pack.read(log.part(*places)))
    files[pack.INCLUSION] = change(Inclusion.from_bytes(files[pack.INCLUSION], len(log.lines))).to_bytes()
    return of(log, repack(files))


def written(old: bytes, new: bytes) -> Made:
    """A part whose proof is written otherwise."""
    log = short()
    files = dict(pack.read(log.part(3, 4)))
    assert old in files[pack.INCLUSION]
    files[pack.INCLUSION] = files[pack.INCLUSION].replace(old, new)
    return of(log, repack(files))


# what is fine


@case(Exit.VALID)
def part_of_a_session() -> Made:
    """One session of two, from its start to its end."""
    log = short()
    return of(log, log.part(2, 3, 4, 5))


@case(Exit.VALID)
def part_of_one_call() -> Made:
    """A decision and its outcome, with their attachments, out of the middle of a session."""
    log = short()
    return of(log, log.part(3, 4, withhold=False))


@case(Exit.VALID)
def part_with_what_belongs_to_it() -> Made:
    """A call that a crash left open, and the outcome that the next process told of it: there are gaps between them."""
    log = story()
    told = log.receipts[-1]
    left = next(receipt for receipt in log.receipts if receipt.leaf == told.parents[0])
    return of(log, log.part(2, left.index, told.index))


@case(Exit.VALID)
def part_that_is_the_whole() -> Made:
    """Every receipt is here, and no hash is needed."""
    log = short()
    return of(log, log.part(*range(len(log.lines))))


@case(Exit.VALID)
def part_under_a_known_head() -> Made:
    """The verifier knows the head that the part leads to."""
    log = short()
    return of(log, log.part(3, 4), known_head=log.checkpoint())


@case(Exit.VALID)
def part_behind_a_known_head() -> Made:
    """The verifier knows an earlier head, and nothing in a part can be compared with it."""
    log = short()
    return of(log, log.part(3, 4), known_head=log.checkpoint(3))


# what is not there


@case(Exit.INCOMPLETE, Finding.OPEN_INTENT)
def part_without_the_outcome() -> Made:
    """An intent is here, and its outcome is not."""
    log = short()
    return of(log, log.part(2, 3))


@case(Exit.DIVERGED, Finding.SPLIT_VIEW)
def part_of_another_history() -> Made:
    """The verifier knows a head of the same size with another root."""
    log, other = short(), Log()
    other.start_kernel()
    other.activate()
    agent = other.start()
    for _ in range(3):
        other.deny(agent)
    return of(log, log.part(3, 4), known_head=other.checkpoint())


@case(Exit.STALE, Finding.ROLLBACK)
def part_of_an_earlier_export() -> Made:
    """The verifier knows a larger head."""
    log = short()
    part = log.part(3, 4)
    log.end(log.kernel)
    return of(log, part, known_head=log.checkpoint())


@case(Exit.STALE, Finding.STALE)
def part_that_tells_no_time() -> Made:
    """A maximum age is asked for, and nothing in a part tells how old the log's head is."""
    log = short()
    return of(log, log.part(3, 4), max_age=(3600, "2026-01-02T03:04:06.000Z"))


# where it stands


@case(Exit.INVALID, Finding.INCLUSION_FAIL)
def part_at_another_place() -> Made:
    """The proof says that a receipt stands one place later."""
    return proven(short(), 2, change=lambda proof: replace(proof, ranges=((3, 1), (5, 1))))


@case(Exit.INVALID, Finding.INCLUSION_FAIL)
def part_with_another_hash() -> Made:
    """A hash of the proof is not that of the log."""
    return proven(short(), 3, 4, change=lambda proof: replace(proof, hashes=(seed("other"), *proof.hashes[1:])))


@case(Exit.INVALID, Finding.INCLUSION_FAIL)
def part_with_a_hash_too_few() -> Made:
    """The proof ends before the tree does."""
    return proven(short(), 3, 4, change=lambda proof: replace(proof, hashes=proof.hashes[:-1]))


@case(Exit.INVALID, Finding.INCLUSION_FAIL)
def part_with_a_hash_too_many() -> Made:
    """The proof has a hash that belongs nowhere."""
    return proven(short(), 3, 4, change=lambda proof: replace(proof, hashes=(*proof.hashes, seed("more"))))


@case(Exit.INVALID, Finding.CHAIN_GAP, Finding.INCLUSION_FAIL, Finding.SIG_INVALID, Finding.OPEN_INTENT)
def part_edited() -> Made:
    """Somebody without a key changed the time of a decision."""
    log = short()

    def later(body: Body) -> None:
        body["deadline_ms"] = WALL_MS + 1

    files = dict(pack.read(log.part(3, 4)))
    files[pack.RECEIPTS] = pack.joined([edited(log.lines[3], later), *log.lines[4:]])
    return of(log, repack(files))


# its form


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def part_without_a_gap() -> Made:
    """Two ranges touch: they are one."""
    return proven(short(), 3, 4, change=lambda proof: replace(proof, ranges=((3, 1), (4, 2))))


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def part_of_nothing() -> Made:
    """A range without any receipt."""
    return proven(short(), 3, 4, change=lambda proof: replace(proof, ranges=((0, 0), (3, 3))))


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def part_that_counts_more() -> Made:
    """The ranges are for four receipts, and three are here."""
    return proven(short(), 3, 4, change=lambda proof: replace(proof, ranges=((2, 4),)))


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def part_with_more_ranges_than_lines() -> Made:
    """More ranges than receipts that could stand in them."""
    return proven(short(), 2, change=lambda proof: replace(proof, ranges=((0, 1), (2, 1), (5, 1))))


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def part_without_the_last_receipt() -> Made:
    """All is in order but that the last receipt of the log is not here, which tells how much of the registry there is."""
    log = short()
    return of(log, log.part(3, 4, last=False))


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def part_beyond_the_log() -> Made:
    """A range ends behind the size that is signed."""
    return proven(short(), 3, 4, change=lambda proof: replace(proof, ranges=((4, 3),)))


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def part_with_a_field_more() -> Made:
    """The proof has a field that none has."""
    return written(b'"kind":"inclusion",', b'"kind":"inclusion","more":0,')


@case(Exit.INVALID, Finding.NON_CANONICAL)
def part_with_a_space() -> Made:
    """The proof is not in its canonical form."""
    return written(b'"v":1', b'"v": 1')


@case(Exit.UNSUPPORTED, Finding.UNSUPPORTED)
def part_of_a_later_version() -> Made:
    """The proof is of version 2."""
    return written(b'"v":1', b'"v":2')


@case(Exit.UNSUPPORTED, Finding.UNSUPPORTED)
def part_of_a_later_version_with_a_recovery() -> Made:
    """Where nobody can read the proof nobody knows whether the size that a recovery states lies before it."""
    log = short()
    log.end(log.kernel)
    log.start_kernel()
    files = dict(pack.read(log.part(log.recover(0).index)))
    files[pack.INCLUSION] = files[pack.INCLUSION].replace(b'"v":1', b'"v":2')
    return of(log, repack(files))


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def part_with_a_cosigned_head() -> Made:
    """Earlier heads have no place in a part: nothing in it can be compared with them."""
    log = short()
    return of(log, repack({**dict(pack.read(log.part(3, 4))), "cosigned/3.txt": log.checkpoint(3)}))


# its story, as far as it is here


@case(Exit.INVALID, Finding.CHAIN_GAP)
def part_with_a_broken_chain() -> Made:
    """Two receipts with neighbouring numbers, and the second names another one before it: an insider's."""
    log = Log()
    log.start_kernel()
    agent = log.start()
    log.decide(agent, Verdict.DENY, Reason.ERR_POLICY_NOT_READY)

    def elsewhere(body: Body) -> None:
        body["prev"] = log.receipts[0].leaf

    log.decide(agent, Verdict.DENY, Reason.ERR_POLICY_NOT_READY, change=elsewhere)
    return of(log, log.part(2, 3))


@case(Exit.INVALID, Finding.DOUBLE_OUTCOME)
def part_with_two_outcomes() -> Made:
    """A call ended twice: an insider's."""
    log = short()
    log.settle(log.kernel, log.receipts[3].leaf, Status.UNKNOWN)
    return of(log, log.part(3, 4, 6))


@case(Exit.INVALID, Finding.APPROVAL_REUSED)
def part_with_a_nonce_twice() -> Made:
    """Two statements here carry one nonce: an insider's."""
    log = short()
    log.end(log.kernel)
    log.start_kernel()
    first = log.receipts[1]
    twice = log.append(log.kernel, first.kind, {"statement": first.body["statement"]})
    return of(log, log.part(first.index, twice.index))


@case(Exit.INVALID, Finding.ORPHAN_OUTCOME)
def part_with_an_outcome_of_a_denial() -> Made:
    """What was denied has an outcome: an insider's."""
    log = Log()
    log.start_kernel()
    log.activate()
    agent = log.start()
    denied = log.deny(agent)
    log.settle(agent, denied.leaf)
    return of(log, log.part(3, 4))


@case(Exit.INVALID, Finding.CHAIN_ORDER)
def part_with_a_receipt_behind_the_end() -> Made:
    """The end of a session is the first of it here, and the session goes on: an insider's."""
    log = short()
    ended = log.receipts[-1]
    log.deny(ended.session)
    return of(log, log.part(ended.index, ended.index + 1))


@case(Exit.INVALID, Finding.CHAIN_ORDER, Finding.OPEN_INTENT)
def part_with_an_outcome_before_its_call() -> Made:
    """What comes before its intent does not settle it: an insider's."""
    log = short()
    log.lines[3:5] = [log.lines[4], log.lines[3]]
    return of(log, log.part(3, 4))


@case(Exit.INVALID, Finding.INCLUSION_FAIL)
def part_with_a_recovery_that_knows_the_future() -> Made:
    """A recovery states a size that the log did not have yet: an insider's."""
    log = short()
    log.end(log.kernel)
    log.start_kernel()
    recovery = log.recover(0, change=lambda body: body.update(size=9))
    return of(log, log.part(recovery.index))
