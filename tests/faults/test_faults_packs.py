"""What can be done to the bytes of a pack, to its records and to its contents: each change at every place, and what tells.

The rows are those of T5. Where manifest, tree or checkpoint would tell as well, they are made again, so that only what the row is
about is left to tell.
"""

import base64
import json
from collections.abc import Iterator

import pytest

from faults.judged import SHORT, STORY, check, codes
from faults.tamper import edits, flips
from helm_ai_kernel.tcb import container, pack
from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.envelope import Record
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.tcb.receipt import Receipt
from packs import relined, repack

HELD = SHORT.pack(withhold=False)  # with its attachments
FILES = SHORT.files(withhold=False)
BYTES_MAX = 40 * 1024
REFUSED = (Exit.INVALID, Exit.UNSUPPORTED)


def test_what_is_changed_here_is_valid_before_it_is_changed() -> None:
    assert len(HELD) <= BYTES_MAX and check(HELD).exit is Exit.VALID
    assert check(STORY.pack(), STORY).exit is Exit.VALID
    assert check(repack(FILES)).exit is Exit.VALID and check(relined(STORY, STORY.lines), STORY).exit is Exit.VALID


# 5.1: a field


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.whole)])
def test_an_edit_of_any_field_of_any_receipt_is_found_in_the_record(whole: bool) -> None:
    """The real log key signs the tree of the edited lines, so that neither tree nor manifest tells."""
    log = STORY if whole else SHORT
    tried = 0
    for index, line in enumerate(log.lines):
        for what, changed in edits(line, whole=whole):
            report = check(relined(log, [*log.lines[:index], changed, *log.lines[index + 1 :]]), log)
            assert report.exit in REFUSED, f"receipt {index} {what}"
            found = {f.code for f in report.findings if f.where == f"receipt {index}" and f.step in ("V4", "V5")}
            assert found & told(changed), f"receipt {index} {what}: {found}"
            tried += 1
    assert tried > 100 * len(log.lines)


def told(line: bytes) -> set[Finding]:
    """What must tell: the signature, wherever there is a receipt to check it on."""
    try:
        Receipt.from_bytes(line)
    except EvidenceError as error:
        return {error.finding}
    return {Finding.SIG_INVALID, Finding.KEY_UNKNOWN}  # the latter where the key, or the registry that names it, was edited


# 5.11, 5.14: another form of the same


def test_a_signature_has_one_textual_form_and_one_value() -> None:
    order = 2**252 + 27742317777372353535851937790883648493  # of the group; S plus it verifies wherever nobody compares
    for index, line in enumerate(SHORT.lines):
        record = Record.from_bytes(line)
        text = base64.b64encode(record.sigs[0][1]).decode()
        r, s = record.sigs[0][1][:32], int.from_bytes(record.sigs[0][1][32:], "little")
        more = base64.b64encode(r + (s + order).to_bytes(32, "little")).decode()
        other = text[:-3] + chr(ord(text[-3]) + 1) + "=="  # the same bytes to a reader who ignores the bits behind the last
        wrong = [more, other, text[:-2], text[:-4], f" {text[1:]}", text.replace("/", "_").replace("+", "-"), "", "A" * 86 + "=="]
        for changed in {*wrong, text + "=", f" {text}", text + "AAAA"} - {text}:
            lines = [*SHORT.lines[:index], line.replace(text.encode(), changed.encode()), *SHORT.lines[index + 1 :]]
            report = check(relined(SHORT, lines))
            told = Finding.SIG_INVALID if len(changed) <= len(text) else Finding.PACK_MALFORMED
            assert report.exit is Exit.INVALID and told in codes(report, f"receipt {index}"), changed


def test_a_receipt_has_one_textual_form() -> None:
    for index, line in enumerate(SHORT.lines):
        value = parse(line)
        assert isinstance(value, dict)
        backwards = json.dumps({"sigs": value["sigs"], "body": value["body"]}, separators=(",", ":")).encode()
        for changed in (line + b" ", line.replace(b":", b": ", 1), line.replace(b'"kind"', b'"\\u006bind"'), backwards):
            report = check(relined(SHORT, [*SHORT.lines[:index], changed, *SHORT.lines[index + 1 :]]))
            assert report.exit is Exit.INVALID and codes(report, f"receipt {index}") == {Finding.NON_CANONICAL}, changed


# 5.2: a bit


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.whole)], ids=["one of each byte", "every bit"])
def test_no_turned_bit_is_accepted(every: bool) -> None:
    for bit, changed in flips(HELD, stride=1):
        if every or bit % 8 == bit // 8 % 8:  # of each byte another one than of the byte before
            assert check(changed).exit in REFUSED, bit


@pytest.mark.parametrize("stride", [61, pytest.param(1, marks=pytest.mark.whole)])
@pytest.mark.parametrize("name", sorted(FILES.keys() - {pack.MANIFEST}))
def test_no_turned_bit_is_accepted_under_a_new_manifest(name: str, stride: int) -> None:
    told = {"policy": Finding.MANIFEST_MISMATCH, "catalog": Finding.MANIFEST_MISMATCH, "attachments": Finding.REDACTION_MISMATCH}
    for bit, changed in flips(FILES[name], stride=stride):
        report = check(repack({**FILES, name: changed}))
        assert report.exit in REFUSED, f"{name}, bit {bit}"
        folder = name.partition("/")[0]
        assert folder not in told or told[folder] in codes(report), f"{name}, bit {bit}"


# 5.18: the contents


def contents() -> Iterator[tuple[str, dict[str, bytes], Finding]]:
    """Each policy file, catalogue and attachment: emptied, longer, gone, under another name, with the content of another."""
    beyond = sorted(FILES.keys() - pack.FIXED)
    for name in beyond:
        folder, data = name.partition("/")[0], FILES[name]
        told = Finding.REDACTION_MISMATCH if folder == "attachments" else Finding.MANIFEST_MISMATCH
        without = {other: FILES[other] for other in FILES if other != name}
        yield f"{name} empty", {**FILES, name: b""}, told
        yield f"{name} longer", {**FILES, name: data + b" "}, told
        yield f"{name} gone", without, told
        if folder == "attachments":
            yield f"{name} renamed", {**without, name[:-1] + ("1" if name.endswith("0") else "0"): data}, told
        for other in beyond:
            if FILES[other] != data:
                yield f"{name} is {other}", {**FILES, name: FILES[other]}, told


def test_a_policy_a_catalogue_or_an_attachment_that_was_tampered_with_is_found() -> None:
    tried = 0
    for what, files, told in contents():
        report = check(repack(files))
        assert report.exit is Exit.INVALID and told in codes(report), what
        tried += 1
    assert tried > 20


def test_a_pack_from_which_any_entry_is_missing_is_refused_also_without_a_new_manifest() -> None:
    expected = {Finding.PACK_MALFORMED, Finding.MANIFEST_MISMATCH, Finding.REDACTION_MISMATCH}
    for name in FILES:
        report = check(container.write({other: data for other, data in FILES.items() if other != name}))
        assert report.exit is Exit.INVALID and codes(report) & expected, name


def test_no_genesis_but_the_pinned_one_is_accepted() -> None:
    for bit, changed in flips(bytes.fromhex(SHORT.genesis[7:]), stride=1):
        report = verify(HELD, Question(genesis=Digest(f"sha256:{changed.hex()}")))
        assert report.exit is Exit.INVALID and codes(report) == {Finding.KEY_UNKNOWN}, bit
