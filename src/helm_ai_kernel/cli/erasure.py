"""`subjects`, `erase`: whom calls were about, and the end of what is kept about one of them."""

import argparse
import asyncio

from helm_ai_kernel.app import operate
from helm_ai_kernel.credentials.subjects import Subject, Subjects
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb.fields import HEX32
from helm_ai_kernel.tcb.findings import visible

from .output import Commands, Declined, command, config, emit
from .signing import person, signing_options


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
    with Reader(paths.store) as reader:
        about = reader.about()
    found = sorted(Subjects(paths.subjects).listed(), key=lambda subject: subject.name)
    rows = [{"subject": one.id.hex(), "name": one.name, "attachments": about.get(one.id, (0, 0))[0]} for one in found]
    emit(args, rows, (f"{row['subject']}  {row['attachments']:>8}  {visible(str(row['name']))}" for row in rows))
    return 0


def run_erase(args: argparse.Namespace) -> int:
    settings = config(args)
    subject = _found(Subjects(settings.paths.subjects), args.subject)
    with Reader(settings.paths.store) as reader:
        attachments, calls = reader.about().get(subject.id, (0, 0))
    shown = [
        f"subject {subject.id.hex()}: {visible(subject.name)}",
        f"  {calls} calls, with {attachments} attachments (arguments, idempotency keys, outputs), become unreadable for good",
        "  receipts, and everything that they prove, stay; so do packs that were exported and backups that were made",
    ]
    key = person(args, settings, shown, "sign, and destroy this subject's key?")
    receipt = asyncio.run(operate.enact_erasure(settings, subject.id, attachments, [key]))
    data = {"subject": subject.id.hex(), "calls": calls, "attachments": attachments}
    data |= {"receipt": {"index": receipt.index, "leaf": receipt.leaf}}
    emit(args, data, [f"erased: {attachments} attachments of {calls} calls (receipt {receipt.index})"])
    return 0


def _found(subjects: Subjects, named: str) -> Subject:
    """By name, else by id."""
    found = subjects.find(named)
    if found is None and HEX32.match(named):
        found = subjects.of(bytes.fromhex(named))
    if found is None:
        raise Declined(f"nothing is kept about `{named}`", "helm-ai-kernel subjects")
    return found
