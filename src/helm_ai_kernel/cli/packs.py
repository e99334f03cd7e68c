"""`pack`, `replay`: the proof of what happened. A file is read once; what is verified is what is shown and decided again."""

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helm_ai_kernel.app import home
from helm_ai_kernel.app.config import paths
from helm_ai_kernel.disk import durable
from helm_ai_kernel.executor.replay import ReplayReport, replay
from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.container import Held, Source
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.findings import PRECEDENCE, Exit, Report, visible
from helm_ai_kernel.tcb.pack import Entries
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.tcb.registry import Registry
from helm_ai_kernel.verifier import asked, files
from helm_ai_kernel.verifier.document import document
from helm_ai_kernel.verifier.files import PackFile

from . import exports
from .evidence import brief, line
from .output import Commands, command, complain, emit, group, progress, stream
from .seen import seen

REPLAY_BYTES_MAX = 1 << 31  # replay holds the pack
HOLDS = frozenset({Exit.VALID, Exit.INCOMPLETE, Exit.UNANCHORED, Exit.STALE})  # what is decided again from these can be believed


def add(commands: Commands) -> None:
    packs = group(commands, "pack", "evidence packs: make, verify, look inside")
    exports.add(packs)
    verify = command(
        packs,
        "verify",
        "verify a pack offline",
        "helm-ai-kernel pack verify evidence.tar --html verify.html",
        home=False,
        verifies=True,
    )
    verify.add_argument("pack", type=Path)
    asked.add(verify)
    verify.add_argument("--html", type=Path, metavar="OUT", help="also write the page that verifies packs in a browser, offline")
    verify.set_defaults(run=run_verify)
    inside = command(packs, "show", "what a pack holds; verifies nothing", "helm-ai-kernel pack show evidence.tar", home=False)
    inside.add_argument("pack", type=Path)
    inside.set_defaults(run=run_inside)
    again = command(
        commands,
        "replay",
        "derive every decision of a pack again",
        "helm-ai-kernel replay evidence.tar --verify",
        home=False,
        verifies=True,
    )
    again.add_argument("pack", type=Path)
    again.add_argument(
        "--verify", action="store_true", help="verify the pack first, and decide nothing from one that does not hold"
    )
    asked.add(again)
    again.set_defaults(run=run_replay)


def run_verify(args: argparse.Namespace) -> int:
    with PackFile(args.pack) as source:
        report = _judged(args, source, _entries(source))
    said, lines = report.to_json(), report.to_text().splitlines()
    if args.html is not None:
        page = _page(args)
        said |= {"page": dict(page)}
        lines += [f"the page, to drop the pack on: {visible(page['path'])}", f"  {page['digest']}, the same for every pack"]
    emit(args, said, lines)
    return int(report.exit)


def _judged(args: argparse.Namespace, source: Source, entries: Entries | None) -> Report:
    """The verdict, under what this machine trusts and has seen; `entries` are None where `source` holds no pack."""
    genesis = args.genesis or _trusted(entries)
    head = seen(paths().seen, genesis, entries)
    kept = None if head is None else head.kept()
    question = asked.question(args, genesis=genesis, known=() if kept is None else (kept.note,))
    report = asked.judge(entries or source, question, args.cores, progress(args, "receipts"))
    if head is not None:
        head.keep(report)
    return report


def _page(args: argparse.Namespace) -> Mapping[str, str]:
    """Where the page was written, and its digest. Nothing of the pack is in it."""
    out: Path = args.html
    if out.exists() and any(out.samefile(path) for path in (args.pack, *args.known_head)):
        raise OSError(0, "this is what is verified: write the page elsewhere", str(out))
    page = document()
    durable.write(out, [page])
    return {"path": str(out), "digest": digest(page)}


def _entries(source: Source) -> Entries | None:
    try:
        return Entries(source)
    except EvidenceError:
        return None  # the verification says what is wrong


def _trusted(entries: Entries | None) -> Digest | None:
    """The pack's genesis digest, if this machine's trust file lists it: what the pack says only selects, it never adds."""
    if entries is None:
        return None
    known = home.trusted(paths().trust)
    try:
        first = next(entries.lines(pack.TRUST), b"")
        own = Registry.replay([first]).genesis
    except EvidenceError:
        return None  # the verification says what is wrong
    return own if own in known else None


def run_inside(args: argparse.Namespace) -> int:
    with PackFile(args.pack) as source:
        entries = Entries(source)
        receipts = (Receipt.from_bytes(row, at) for at, row in enumerate(entries.lines(pack.RECEIPTS)))
        files = ((name, entries.size(name)) for name in entries)
        if args.format == "json":
            stream(files=({"name": name, "bytes": size} for name, size in files), receipts=map(brief, receipts))
            return 0
        emit(args, None, (f"{size:>10}  {name}" for name, size in files))
        emit(args, None, map(line, receipts))
    emit(args, None, [f"nothing here was verified; next: helm-ai-kernel pack verify {shlex.quote(str(args.pack))}"])
    return 0


def run_replay(args: argparse.Namespace) -> int:
    source, report = Held(_read(args.pack)), None
    entries = _entries(source)
    if args.verify:
        report = _judged(args, source, entries)
        if report.exit not in HOLDS:
            sys.stderr.write(report.to_text())
            cause = "the pack does not verify, so nothing is decided again from it"
            hint = f"helm-ai-kernel pack verify {shlex.quote(str(args.pack))}"
            return complain(args.what, cause, hint=hint, exit_code=int(report.exit))
    again = replay(entries or Entries(source))
    said: dict[str, Any] = {} if report is None else {"verify": report.to_json()}
    emit(args, again.to_json() | said, _replayed(again, report))
    exits = {again.exit} | (set() if report is None else {report.exit})
    return int(next(exit for exit in PRECEDENCE if exit in exits))


def _replayed(again: ReplayReport, report: Report | None) -> list[str]:
    lines = [f"receipt {d.index}: {d.field} is {d.recorded!r}, derived {d.derived!r}" for d in again.differs]
    lines += [f"receipt {index}: cannot be derived, something it was made from is withheld" for index in again.not_replayable]
    first = [] if report is None else [f"the pack: {report.exit.name}"]
    counts = f"{again.decisions} decisions, {again.outcomes} outcomes, {len(again.differs)} differ"
    counts += f", {len(again.not_replayable)} not replayable"
    return [*first, *(visible(text, 300) for text in lines), f"{again.exit.name}: {counts}"]


def _read(path: Path) -> bytes:
    """What is verified and then decided again from is the same bytes, so they are held. Bounded, whatever the path leads to."""
    return files.read(path, REPLAY_BYTES_MAX)
