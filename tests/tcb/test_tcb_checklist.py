"""The checklist against every vector, and against every small thing that can be done to a pack."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb import container, pack
from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.envelope import payload_type
from helm_ai_kernel.tcb.findings import Axis, Exit, Report, Standing
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.receipt import Kind
from needs import ROOT
from pack_case import Made
from pack_cases_witness import witnessed
from packs import Deployment, Log, relined, repack, short, story

sys.path.insert(0, str(ROOT / "vectors"))

import generate

VECTORS = sorted(path for path in (ROOT / "vectors/pack").iterdir() if path.is_dir())
BYTES_MAX = 40 * 1024  # a vector is a file that a person can read


def asked(folder: Path, expected: dict[str, object]) -> Made:
    """What the verifier of a vector brings."""

    def there(name: str) -> bytes | None:
        return (folder / name).read_bytes() if (folder / name).exists() else None

    genesis, age = there("genesis.txt"), there("max_age.txt")
    return Made(
        b"",
        None if genesis is None else Digest(genesis.decode().strip()),
        there("known_head.txt"),
        bool(expected.get("require_resolved")),
        there("witnesses.txt"),
        None if age is None else (int(age.split()[0]), age.split()[1].decode()),
    )


def judged(folder: Path) -> tuple[Report, dict[str, object]]:
    """The report on a vector, and what it should be."""
    expected = json.loads((folder / "expected.json").read_bytes())
    report = verify((folder / "pack.tar").read_bytes(), asked(folder, expected).question())
    return report, expected


@pytest.mark.parametrize("folder", VECTORS, ids=lambda folder: folder.name)
def test_a_vector_is_judged_as_its_author_expects(folder: Path) -> None:
    report, expected = judged(folder)
    codes = sorted({found.code.value for found in report.findings})
    assert (int(report.exit), report.exit.name, codes) == (expected["exit"], expected["verdict"], expected["codes"])
    assert folder.name.endswith("_fail") == (report.exit is not Exit.VALID)
    assert (folder / "pack.tar").stat().st_size <= BYTES_MAX


def test_generating_the_vectors_again_gives_the_same_bytes() -> None:
    folder = ROOT / "vectors/pack"
    there = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    made = generate.generated()
    assert there.keys() == made.keys(), "python vectors/generate.py"
    assert [path for path in made if made[path] != there[path]] == [], "python vectors/generate.py"


# What no pack can be found guilty of: the first two are findings about proofs and values that a whole pack does not carry
# (tests/tcb/test_tcb_merkle.py, test_tcb_graph.py), the others are those of a replay.
ELSEWHERE = {Finding.CONSISTENCY_FAIL, Finding.DAG_CYCLE, Finding.REPLAY_DIFFERS, Finding.NOT_REPLAYABLE}


def test_witnesses_that_were_asked_for_are_unknown_where_nothing_could_be_looked_at() -> None:
    asked_for = replace(witnessed().question(), genesis=None)
    for data in (b"", container.write({**short().files(), pack.RECEIPTS: b"torn"})):
        assert verify(data, asked_for).axes[Axis.WITNESSES] is Standing.UNKNOWN
        assert verify(data, Question()).axes[Axis.WITNESSES] is Standing.NOT_ASKED


def test_every_finding_has_its_vector() -> None:
    found = {Finding(code) for folder in VECTORS for code in json.loads((folder / "expected.json").read_bytes())["codes"]}
    assert found == set(Finding) - ELSEWHERE


def test_every_exit_code_has_its_vector() -> None:
    exits = {json.loads((folder / "expected.json").read_bytes())["exit"] for folder in VECTORS}
    assert exits == {int(exit) for exit in Exit}


@pytest.mark.parametrize("folder", VECTORS, ids=lambda folder: folder.name)
def test_without_a_pinned_genesis_nothing_is_better_than_unanchored(folder: Path) -> None:
    report = verify((folder / "pack.tar").read_bytes(), Question(genesis=None))
    assert report.exit is not Exit.VALID and report.axes[Axis.SIGNERS] is not Standing.OK


STORY = story()
PACK = STORY.pack()
SHORT = short()


def check(data: bytes, log: Log = STORY) -> Report:
    return verify(data, Question(genesis=log.genesis))


def codes(report: Report) -> set[Finding]:
    return {found.code for found in report.findings}


def flipped(data: bytes, bit: int) -> bytes:
    at = bit // 8
    return data[:at] + bytes([data[at] ^ 1 << bit % 8]) + data[at + 1 :]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(PACK) * 8 - 1))
def test_no_flipped_bit_is_accepted(bit: int) -> None:
    assert check(flipped(PACK, bit)).exit in (Exit.INVALID, Exit.UNSUPPORTED)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(PACK)), st.integers(0, len(PACK)), st.binary(max_size=4))
def test_no_piece_can_be_cut_out_or_put_in(start: int, end: int, instead: bytes) -> None:
    start, end = min(start, end), max(start, end)
    changed = PACK[:start] + instead + PACK[end:]
    assert changed == PACK or check(changed).exit is not Exit.VALID


@settings(max_examples=100, deadline=None)
@given(st.integers(0, sum(len(line) + 1 for line in STORY.lines) * 8 - 1))
def test_a_flipped_bit_in_the_receipts_is_found_also_under_a_new_manifest(bit: int) -> None:
    files = STORY.files()
    files[pack.RECEIPTS] = flipped(files[pack.RECEIPTS], bit)
    assert check(repack(files)).exit in (Exit.INVALID, Exit.UNSUPPORTED)


@pytest.mark.parametrize("name", [pack.TRUST, pack.CHECKPOINT])
def test_a_flipped_bit_in_registry_or_checkpoint_is_found_also_under_a_new_manifest(name: str) -> None:
    files = SHORT.files()
    for bit in range(0, len(files[name]) * 8, 67):
        report = check(repack({**files, name: flipped(files[name], bit)}), SHORT)
        assert report.exit in (Exit.INVALID, Exit.UNSUPPORTED), bit


def pointers(value: Json, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a document."""
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from pointers(item, (*path, key))


def edits(value: Json) -> Iterator[Json]:
    """Each place of the document with another value: another type, one more, empty, gone."""
    for path in pointers(value):
        if not path:
            continue
        for how in ("type", "step", "empty", "gone"):
            copy = parse(canonical(value))
            holder: Json = copy
            for key in path[:-1]:
                holder = holder[key]  # type: ignore[index, call-overload]
            old = holder[path[-1]]  # type: ignore[index, call-overload]
            new: Json = {
                "type": 7 if isinstance(old, str) else "7",
                "step": stepped(old),
                "empty": type(old)() if old else [old],
            }.get(how)
            if how == "gone":
                del holder[path[-1]]  # type: ignore[union-attr, arg-type]
            else:
                holder[path[-1]] = new  # type: ignore[index, call-overload]
            if copy != value:
                yield copy


def stepped(old: Json) -> Json:
    if isinstance(old, int):
        return old + 1
    if isinstance(old, str) and old:
        return old[:-1] + chr(ord(old[-1]) ^ 1)
    return old


ONE_OF_EACH = {(receipt.kind, str(receipt.body.get("verdict", receipt.body.get("event")))): receipt for receipt in STORY.receipts}


@cache
def story_files() -> dict[str, bytes]:
    return STORY.files()


@pytest.mark.parametrize("which", sorted(ONE_OF_EACH), ids=lambda which: f"{which[0].value}-{which[1]}")
def test_an_edit_of_any_field_is_found_by_its_signature(which: tuple[Kind, str]) -> None:
    """Only the edited line is judged: the tree and the chain, which would tell as well, are not asked."""
    line = ONE_OF_EACH[which].line
    value = parse(line)
    tried = 0
    for changed in edits(value):
        report = check(repack({**story_files(), pack.RECEIPTS: canonical(changed) + b"\n"}))
        early = {found.code for found in report.findings if found.step in ("V4", "V5")}
        assert early & {Finding.SIG_INVALID, Finding.PACK_MALFORMED, Finding.UNSUPPORTED, Finding.KEY_UNKNOWN}, changed
        tried += 1
    assert tried > 40


def test_any_receipt_that_is_taken_out_of_the_middle_is_missed() -> None:
    for index in range(len(STORY.lines) - 1):
        report = check(relined(STORY, STORY.lines[:index] + STORY.lines[index + 1 :], STORY.checkpoint()))
        assert report.exit is Exit.INVALID and {Finding.INCLUSION_FAIL, Finding.TRUNCATED} <= codes(report)
        session = STORY.receipts[index].session
        if any(receipt.session == session for receipt in STORY.receipts[index + 1 :]):
            assert Finding.CHAIN_GAP in codes(report), index


def test_an_insider_who_takes_one_out_and_signs_the_tree_is_found_by_the_chain() -> None:
    for index, receipt in enumerate(STORY.receipts):
        if any(later.session == receipt.session for later in STORY.receipts[index + 1 :]):
            assert Finding.CHAIN_GAP in codes(check(relined(STORY, STORY.lines[:index] + STORY.lines[index + 1 :])))


@pytest.mark.parametrize("missing", range(1, len(STORY.lines) + 1))
def test_a_missing_tail_is_truncated_unless_a_checkpoint_was_signed_there(missing: int) -> None:
    size = len(STORY.lines) - missing
    cut = STORY.lines[:size]
    assert Finding.TRUNCATED in codes(check(relined(STORY, cut, STORY.checkpoint())))
    shorter = story()
    shorter.lines = cut
    earlier = shorter.pack()
    assert check(earlier).exit in (Exit.VALID, Exit.INCOMPLETE)
    report = verify(earlier, Question(genesis=STORY.genesis, known_heads=[STORY.checkpoint()]))
    assert report.exit is Exit.STALE and codes(report) >= {Finding.ROLLBACK}
    assert (report.size, report.receipts) == (size, size)


def test_every_torn_end_of_the_last_receipt_is_found() -> None:
    files = STORY.files()
    data = files[pack.RECEIPTS]
    for size in range(len(data) - len(STORY.lines[-1]) - 1, len(data), 5):
        assert check(repack({**files, pack.RECEIPTS: data[:size]})).exit is Exit.INVALID


def test_any_two_receipts_that_change_places_are_found() -> None:
    lines = STORY.lines
    for index in range(len(lines) - 1):
        swapped = [*lines[:index], lines[index + 1], lines[index], *lines[index + 2 :]]
        report = check(relined(STORY, swapped, STORY.checkpoint()))
        assert Finding.INCLUSION_FAIL in codes(report)
        if STORY.receipts[index].session == STORY.receipts[index + 1].session:
            assert Finding.CHAIN_ORDER in codes(report)


def test_any_receipt_that_is_repeated_is_a_duplicate() -> None:
    for index, line in enumerate(STORY.lines):
        report = check(relined(STORY, [*STORY.lines, line]))
        assert Finding.DUPLICATE in codes(report), index


def test_every_head_that_the_verifier_may_know_of_the_log_is_extended() -> None:
    for size in range(len(STORY.lines) + 1):
        report = verify(PACK, Question(genesis=STORY.genesis, known_heads=[STORY.checkpoint(size)]))
        fresh = Standing.OK if size else Standing.UNKNOWN  # every log has a head of size 0: it proves nothing
        assert (report.exit, report.axes[Axis.FRESHNESS]) == (Exit.VALID, fresh), size


def test_history_that_was_written_again_diverges_from_the_first_head_that_covers_the_change() -> None:
    """The real keys sign a whole other log: only what the verifier kept tells, and it tells from the changed receipt on."""
    other = Log()
    other.start_kernel()
    other.activate()
    other.start("another-agent")
    for size in range(len(other.lines) + 1):
        report = verify(other.pack(), Question(genesis=other.genesis, known_heads=[STORY.checkpoint(size)]))
        assert report.exit is (Exit.VALID if size <= 2 else Exit.DIVERGED), size
        if report.exit is Exit.DIVERGED:
            (found,) = report.findings
            assert found.detail.count("sha256:") == 2, "both heads are printed"


def test_a_signature_of_one_kind_serves_as_no_other() -> None:
    """The same body and signature under the name of another kind: the name is signed."""
    kinds = {payload_type(kind) for kind in (*Kind, "trust", "activation", "pin", "release")}
    assert len(kinds) == len(Kind) + 4
    for receipt in STORY.receipts:
        for kind in (*Kind, "trust", "activation"):
            if kind == receipt.kind:
                continue
            line = receipt.line.replace(f'"kind":"{receipt.kind}","log"'.encode(), f'"kind":"{kind}","log"'.encode())
            assert line != receipt.line
            assert check(repack({**story_files(), pack.RECEIPTS: line + b"\n"})).exit in (Exit.INVALID, Exit.UNSUPPORTED)


def test_a_head_of_the_right_log_by_the_wrong_key_is_not_believed() -> None:
    log = short()
    note = log.checkpoint(3)
    log.deployment.log = log.deployment.execution  # an execution key signs no checkpoints
    with pytest.raises(ValueError, match="log key"):
        log.checkpoint(3)
    assert verify(log_pack := SHORT.pack(), Question(genesis=SHORT.genesis, known_heads=[note])).exit is Exit.VALID
    assert verify(log_pack, Question(genesis=SHORT.genesis, known_heads=[note.replace(b"3\n", b"4\n")])).exit is Exit.INVALID


def test_a_receipt_that_cannot_be_read_ends_the_story_and_not_the_signatures() -> None:
    lines = [*STORY.lines[:5], b"{}", *STORY.lines[6:]]
    report = check(relined(STORY, lines, STORY.checkpoint()))
    assert codes(report) == {Finding.PACK_MALFORMED, Finding.INCLUSION_FAIL}
    assert report.axes[Axis.COMPLETENESS] is Standing.UNKNOWN


def test_a_pack_that_cannot_be_read_leaves_every_question_open() -> None:
    report = check(b"")
    assert report.axes[Axis.INTEGRITY] is Standing.FAILED
    assert {report.axes[axis] for axis in (Axis.SIGNERS, Axis.COMPLETENESS, Axis.FRESHNESS)} == {Standing.UNKNOWN}
    assert report.log is None and report.receipts == 0


def test_a_registry_that_cannot_be_replayed_proves_no_signature() -> None:
    report = check(repack({**SHORT.files(), pack.TRUST: b""}), SHORT)
    assert codes(report) == {Finding.REGISTRY_INVALID}
    assert report.axes[Axis.SIGNERS] is Standing.FAILED and report.axes[Axis.INTEGRITY] is not Standing.OK


def test_behind_the_genesis_of_another_registry_nothing_of_it_is_read() -> None:
    """What a stranger's roots signed, and however much of it, is no work of a verifier that pins its genesis."""
    lines = [SHORT.deployment.registry.lines[0], b"no event"]
    files = repack({**SHORT.files(), pack.TRUST: pack.joined(lines)})
    report = verify(files, Question(genesis=Log(Deployment("other")).genesis, known_heads=[SHORT.checkpoint(3)]))
    assert codes(report) == {Finding.KEY_UNKNOWN} and report.exit is Exit.INVALID
    assert report.axes[Axis.SIGNERS] is Standing.FAILED
    assert Standing.OK not in (report.axes[Axis.INTEGRITY], report.axes[Axis.FRESHNESS])
    assert codes(check(files, SHORT)) == {Finding.PACK_MALFORMED}
    assert codes(verify(files, Question(genesis=None))) == {Finding.PACK_MALFORMED}


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=3000))
def test_arbitrary_bytes_are_a_report_and_never_an_exception(data: bytes) -> None:
    assert check(data).exit is Exit.INVALID
    assert verify(SHORT.pack(), Question(genesis=SHORT.genesis, known_heads=[data])).exit is Exit.USAGE
    for name in (pack.RECEIPTS, pack.TRUST, pack.CHECKPOINT, pack.MANIFEST):
        files = {**SHORT.files(), name: data}
        changed = container.write(files) if name == pack.MANIFEST else repack(files)
        assert check(changed, SHORT).exit in (Exit.INVALID, Exit.UNSUPPORTED)


def test_a_thousand_faults_make_a_short_report_that_names_each_kind() -> None:
    log = Log()
    log.start_kernel()
    log.activate()
    agent = log.start()
    for _ in range(60):
        denied = log.deny(agent)
        log.settle(agent, denied.leaf)
    report = check(log.pack(), log)
    assert codes(report) == {Finding.ORPHAN_OUTCOME} and report.omitted == 40
