"""What can be done to the history of a log: without keys, with a stranger's own keys, with the real ones.

The rows are those of T5. Receipts are taken away, moved, repeated, forked, signed by others; where the tree would tell as well,
the real log key signs it again, so that only the chain is left to tell.
"""

from collections.abc import Callable, Sequence

import pytest

from faults.judged import SHORT, STORY, check, codes
from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.findings import Axis, Exit, Standing
from packs import Body, Deployment, Log, edited, relined, repack, short, story

FILES = SHORT.files()


# 5.3, 5.4, 5.5: less


def follows(log: Log, index: int) -> bool:
    """Another receipt of the same session comes after."""
    return any(later.session == log.receipts[index].session for later in log.receipts[index + 1 :])


def test_a_deleted_receipt_is_missed_by_the_tree_and_in_the_middle_by_the_chain() -> None:
    for index in range(len(STORY.lines)):
        cut = STORY.lines[:index] + STORY.lines[index + 1 :]
        report = check(relined(STORY, cut, STORY.checkpoint()), STORY)
        assert report.exit is Exit.INVALID and codes(report) >= {Finding.TRUNCATED, Finding.INCLUSION_FAIL}, index
        if follows(STORY, index):
            assert Finding.CHAIN_GAP in codes(report), index
            assert Finding.CHAIN_GAP in codes(check(relined(STORY, cut), STORY)), f"{index}, with the tree signed anew"


def test_a_log_cut_at_any_line_is_truncated() -> None:
    for size in range(len(STORY.lines)):
        report = check(cut_at(size, STORY.checkpoint()), STORY)
        assert report.exit is Exit.INVALID and Finding.TRUNCATED in codes(report), size
        assert report.axes[Axis.COMPLETENESS] is Standing.FAILED


def test_a_log_cut_exactly_at_an_older_checkpoint_is_valid_as_of_then_until_somebody_knows_more() -> None:
    for size in range(len(STORY.lines)):
        older = cut_at(size, STORY.checkpoint(size), size=size, root="sha256:" + STORY.root(size).hex())
        report = check(older, STORY)
        assert report.exit in (Exit.VALID, Exit.INCOMPLETE) and codes(report) <= {Finding.OPEN_INTENT}, (size, report.to_text())
        assert report.axes[Axis.FRESHNESS] is Standing.UNKNOWN and (report.size, report.receipts) == (size, size)
        for head in range(size + 1, len(STORY.lines) + 1):
            report = check(older, STORY, STORY.checkpoint(head))
            assert report.exit is Exit.STALE and Finding.ROLLBACK in codes(report), (size, head)


def cut_at(count: int, note: bytes, **manifest: object) -> bytes:
    """The first receipts under that note; what only the others name is not here, or not withheld any more."""
    log = story()
    del log.lines[count:]
    files = {**log.files(), pack.CHECKPOINT: note}
    return repack(files, **{"size": len(STORY.lines), "root": "sha256:" + STORY.root().hex(), **manifest})


def test_a_log_torn_at_any_byte_of_its_last_record_is_malformed() -> None:
    data = FILES[pack.RECEIPTS]
    start = len(data) - len(SHORT.lines[-1]) - 1
    for size in range(start, len(data)):
        report = check(repack({**FILES, pack.RECEIPTS: data[:size]}))
        told = Finding.TRUNCATED if size == start else Finding.PACK_MALFORMED
        assert report.exit is Exit.INVALID and told in codes(report), size


# 5.6: another order, once more, from elsewhere


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.whole)])
def test_two_receipts_that_change_places_are_found(whole: bool) -> None:
    log = STORY if whole else SHORT
    lines, receipts = log.lines, log.receipts
    for first in range(len(lines)):
        for second in range(first + 1, len(lines)):
            swapped = [*lines]
            swapped[first], swapped[second] = lines[second], lines[first]
            assert Finding.INCLUSION_FAIL in codes(check(relined(log, swapped, log.checkpoint()), log)), (first, second)
            if receipts[first].session == receipts[second].session:
                assert Finding.CHAIN_ORDER in codes(check(relined(log, swapped), log)), f"{first}, {second}, tree signed anew"


def test_a_receipt_that_occurs_twice_is_a_duplicate_wherever_it_is_put() -> None:
    for index, line in enumerate(SHORT.lines):
        for at in range(len(SHORT.lines) + 1):
            report = check(relined(SHORT, [*SHORT.lines[:at], line, *SHORT.lines[at:]]))
            assert report.exit is Exit.INVALID and Finding.DUPLICATE in codes(report), (index, at)


def test_a_receipt_of_another_log_is_of_another_domain_wherever_it_is_put() -> None:
    other = short_of("other")
    for at in range(len(SHORT.lines) + 1):
        report = check(relined(SHORT, [*SHORT.lines[:at], other.lines[0], *SHORT.lines[at:]]))
        assert codes(report, f"receipt {at}") >= {Finding.DOMAIN_MISMATCH, Finding.KEY_UNKNOWN}, at


def short_of(name: str) -> Log:
    log = Log(Deployment(name))
    log.start_kernel()
    log.activate()
    return log


def test_a_receipt_moved_to_another_session_is_found_by_its_signature_and_if_signed_anew_by_the_chain() -> None:
    sessions = sorted({receipt.session for receipt in STORY.receipts})
    for index, receipt in enumerate(STORY.receipts):
        for session in sessions:
            if session == receipt.session:
                continue
            moved = edited(receipt.line, lambda body, session=session: body.update(session=session))  # type: ignore[misc]
            report = check(relined(STORY, [*STORY.lines[:index], moved, *STORY.lines[index + 1 :]]), STORY)
            assert Finding.SIG_INVALID in codes(report, f"receipt {index}")
            anew = signed_anew(STORY, index, lambda body, session=session: body.update(session=session))  # type: ignore[misc]
            chain = {code for code in codes(check(anew, STORY)) if code.value.startswith(("CHAIN", "LAMPORT", "SESSION"))}
            assert chain, (index, session)


def signed_anew(log: Log, index: int, change: Callable[[Body], object]) -> bytes:
    """The insider: one receipt says something else, and the real keys sign it and the tree."""
    receipt = log.receipts[index]
    content = dict(receipt.body)
    change(content)
    copy = Log(log.deployment)
    line = copy.append(receipt.session, receipt.kind, content, change=lambda body: body.update(content)).line
    return relined(log, [*log.lines[:index], line, *log.lines[index + 1 :]])


# 5.7, 5.8, 5.9: with keys


def test_two_receipts_that_the_real_key_signed_after_the_same_one_are_a_fork_and_both_are_named() -> None:
    for index in range(2, len(SHORT.lines) - 1):
        log = short()
        at = log.receipts[index]
        if at.seq == 0:
            continue
        log.heads[at.session] = (at.seq - 1, at.prev)
        forked = log.deny(at.session, Reason.ERR_POLICY_DENY)
        report = check(log.pack(), log)
        (found,) = [f for f in report.findings if f.code is Finding.CHAIN_FORK]
        assert report.exit is Exit.INVALID and at.leaf in found.detail and forked.leaf in found.detail


def test_history_that_a_stranger_signs_under_a_registry_of_his_own_is_known_to_nobody() -> None:
    stranger = short_of("stranger")
    report = verify(stranger.pack(), Question(genesis=SHORT.genesis))
    assert report.exit is Exit.INVALID and Finding.KEY_UNKNOWN in codes(report) and report.axes[Axis.SIGNERS] is Standing.FAILED
    assert verify(stranger.pack(), Question(genesis=None)).exit is Exit.UNANCHORED


def test_receipts_that_a_stranger_signs_under_the_real_registry_are_by_an_unknown_key() -> None:
    stranger = Deployment("stranger")
    for index, receipt in enumerate(SHORT.receipts):
        body = dict(receipt.body)
        copy = Log(SHORT.deployment)
        line = copy.append(receipt.session, receipt.kind, body, change=lambda b, x=body: b.update(x), signer=stranger.execution)  # type: ignore[misc]
        report = check(relined(SHORT, [*SHORT.lines[:index], line.line, *SHORT.lines[index + 1 :]]))
        assert Finding.KEY_UNKNOWN in codes(report, f"receipt {index}")


def test_a_registry_line_that_a_stranger_adds_for_his_key_is_refused() -> None:
    stranger = Deployment("stranger")
    for line in stranger.registry.lines:
        report = check(repack({**FILES, pack.TRUST: FILES[pack.TRUST] + line + b"\n"}))
        assert report.exit is Exit.INVALID and report.axes[Axis.SIGNERS] is not Standing.OK


def test_history_that_the_insider_writes_again_is_found_by_whoever_kept_a_head() -> None:
    """Valid in itself: that is what heads are kept for."""
    crash = max(receipt.index for receipt in STORY.receipts if receipt.body.get("principal") == "kernel")
    for keep in range(2, crash):
        other = story()
        del other.lines[keep:], other.receipts[keep:]
        other.heads = {r.session: (r.seq, r.leaf) for r in other.receipts}
        other.start("another-agent")
        rewritten = other.pack()
        assert check(rewritten, STORY).exit in (Exit.VALID, Exit.INCOMPLETE), keep
        for size in range(len(other.lines) + 1):
            report = check(rewritten, STORY, STORY.checkpoint(size))
            assert (Finding.SPLIT_VIEW in codes(report)) == (size > keep), (keep, size)
            assert (report.exit is Exit.DIVERGED) == (size > keep), (keep, size)


# 5.16: the tree


def test_a_tree_of_other_leaves_than_the_lines_is_found() -> None:
    """The chain is whole, and what the log key signed is something else."""
    for index in range(len(SHORT.lines)):
        lines = [*SHORT.lines]
        lines[index] = edited(lines[index], lambda body: body.update(at="2026-01-02T03:04:05.679Z"))
        files = {**FILES, pack.CHECKPOINT: relined_note(lines)}
        report = check(repack(files))
        assert report.exit is Exit.INVALID and codes(report) >= {Finding.INCLUSION_FAIL, Finding.MANIFEST_MISMATCH}, index


def relined_note(lines: Sequence[bytes]) -> bytes:
    return pack.read(relined(SHORT, lines))[pack.CHECKPOINT]
