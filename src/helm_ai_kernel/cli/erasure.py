"""`subjects`, `erase`: whom calls were about, and the end of what is kept about one of them."""

import argparse
import asyncio
from collections.abc import Mapping

from helm_ai_kernel.app import operate
from helm_ai_kernel.app.config import Paths
from helm_ai_kernel.credentials.subjects import Subject, Subjects
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb.fields import HEX32
from helm_ai_kernel.tcb.findings import visible

from .output import Commands, Declined, command, config, emit
from .signing import person, signing_options

NONE = (0, 0)  # attachments, calls


def add(commands: Commands) -> None:
    listed = command(commands, "subjects", "whom calls were about, and how much is kept about each", "helm-ai-kernel subjects")
    listed.set_defaults(run=run_subjects)
    erase = command(
        commands, "erase", "destroy what is kept about a subject, signed; everything still verifies", "helm-ai-kernel erase NAME"
    )
    erase.add_argument(
        "subject", metavar="NAME", help="as calls named it; or its id, which leaves no name in your shell's history"
    )
    signing_options(erase)
    erase.set_defaults(run=run_erase)


def run_subjects(args: argparse.Namespace) -> int:
    paths = config(args).paths
    about = [counts for _, counts in _about(paths)]
    found = sorted(Subjects(paths.subjects).listed(), key=lambda subject: subject.name)
    kept = {one.id: sum(counts.get(one.id, NONE)[0] for counts in about) for one in found}
    rows = [{"subject": one.id.hex(), "name": one.name, "attachments": kept[one.id]} for one in found]
    emit(args, rows, (f"{row['subject']}  {row['attachments']:>8}  {visible(str(row['name']))}" for row in rows))
    return 0


def run_erase(args: argparse.Namespace) -> int:
    settings = config(args)
    subject = _found(Subjects(settings.paths.subjects), args.subject)
    (_, own), *others = _about(settings.paths)
    attachments, calls = own.get(subject.id, NONE)
    ended = [(log, counts[subject.id]) for log, counts in others if subject.id in counts]
    there = [f"{visible(log)}, which ended here: {kept[0]} attachments of {kept[1]} calls" for log, kept in ended]
    shown = [
        f"subject {subject.id.hex()}: {visible(subject.name)}",
        f"  {calls} calls, with {attachments} attachments (arguments, idempotency keys, outputs), become unreadable for good",
        *(f"  and of {line}" for line in there),
        "  receipts, and everything that they prove, stay; so do packs that were exported and backups that were made",
    ]
    key = person(args, settings, shown, "sign, and destroy this subject's key?")
    receipt = asyncio.run(operate.enact_erasure(settings, subject.id, attachments, [key]))
    data = {"subject": subject.id.hex(), "calls": calls, "attachments": attachments}
    data |= {"ended": [{"log": log, "calls": kept[1], "attachments": kept[0]} for log, kept in ended]}
    data |= {"receipt": {"index": receipt.index, "leaf": receipt.leaf}}
    done = f"erased: {attachments} attachments of {calls} calls (receipt {receipt.index})"
    emit(args, data, [done, *(f"erased of {line}" for line in there)])
    return 0


def _about(paths: Paths) -> list[tuple[str, Mapping[bytes, tuple[int, int]]]]:
    """What is kept about each subject in this log, and then in those that ended here, whose keys are the same."""
    with Reader(paths.store) as reader:
        own = (reader.origin, reader.about())
    return [own, *((ended.origin, ended.about()) for ended in Reader.of_all_ended(paths.store))]


def _found(subjects: Subjects, named: str) -> Subject:
    """By name, else by id."""
    found = subjects.find(named)
    if found is None and HEX32.match(named):
        found = subjects.of(bytes.fromhex(named))
    if found is None:
        raise Declined(f"nothing is kept about `{named}`", "helm-ai-kernel subjects")
    return found
