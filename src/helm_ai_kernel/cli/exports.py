"""`pack export`, `pack redact`: evidence for others, of a whole log or of a part of it, with or without what was said."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from helm_ai_kernel.app import operate
from helm_ai_kernel.app.redact import Redaction
from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.disk import durable
from helm_ai_kernel.ledger import export
from helm_ai_kernel.ledger.mirror import file_name
from helm_ai_kernel.ledger.parts import Part
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.verifier.files import PackFile

from .evidence import session
from .output import PROGRAM, Commands, Declined, check_out, command, config, emit, out_option, progress, time


def add(packs: Commands) -> None:
    out = command(
        packs, "export", "write the log's evidence pack, or that of a part of it", f"{PROGRAM} pack export --out evidence.tar"
    )
    out_option(out, "--out", help="where to (default: packs/ in the home, named by log and size)")
    out.add_argument("--without-attachments", action="store_true", help="withhold arguments and outputs; all else still verifies")
    out.add_argument("--jsonl", action="store_true", help="only the receipts, one signed line each, to --out or stdout")
    out.add_argument("--session", type=session, help="only this session (32 hex digits), with what belongs to it")
    out.add_argument("--since", type=time, metavar="TIME", help="only what happened from then on, by the kernel's clock")
    out.add_argument("--until", type=time, metavar="TIME", help="only what happened up to then")
    out.add_argument(
        "--receipt", action="append", default=[], metavar="LEAF", help="only this one (or by its index); again for more"
    )
    out.add_argument("--of", metavar="LOG", help="instead of this log, one that ended here: `restore` says its name")
    out.set_defaults(run=run_export)
    less = command(
        packs,
        "redact",
        "take arguments and outputs out of a pack; all else still verifies",
        f"{PROGRAM} pack redact evidence.tar --out less.tar",
        home=False,
    )
    less.add_argument("pack", type=Path)
    out_option(less, "--out", required=True, help="where to")
    which = less.add_mutually_exclusive_group()
    which.add_argument("--keep", type=digest, nargs="+", metavar="LEAF", help="all but what these receipts name (default: all)")
    which.add_argument(
        "--drop", type=digest, nargs="+", metavar="sha256:HEX", help="only these attachments, by the name in a receipt"
    )
    less.set_defaults(run=run_redact)


def run_export(args: argparse.Namespace) -> int:
    settings = config(args)
    chosen = sum((args.session is not None, bool(args.since or args.until), bool(args.receipt), args.jsonl))
    if chosen > 1:
        raise Declined("a session, a time, receipts or --jsonl: one of them at a time", f"{PROGRAM} pack export --help")
    check_out(args)
    if args.of is None:
        operate.cover_tail(settings)
    store, vault = settings.paths.store, Subjects(settings.paths.subjects)
    with Reader(store, vault=vault) if args.of is None else Reader.of_ended(store, args.of, vault) as reader:
        if args.jsonl and args.out is None:
            sys.stdout.buffer.writelines(reader.jsonl())
            return 0
        name, told, pieces = _pieces(args, reader)
        out: Path = args.out or settings.paths.packs / f"{file_name(reader.origin)}-{name}"
        count = durable.write_unnamed(out, pieces, mode=0o600)
    said = [f"{told['receipts']} of {told['of']} receipts: nobody can tell from a part what else is in the log"] if told else []
    data = {"receipts" if args.jsonl else "pack": str(out), "bytes": count}
    emit(args, data | ({"part": told} if told else {}), [str(out), *said])
    return 0


def _pieces(args: argparse.Namespace, reader: Reader) -> tuple[str, dict[str, int], Iterable[bytes]]:
    """The end of a name for it, what to say of a part, and the content."""
    if args.jsonl:  # every receipt there is, under the checkpoint or behind it; only `--out` names the file
        return "", {}, reader.jsonl()
    size, show = Checkpoint.from_bytes(reader.checkpoint).size, progress(args, "receipts")
    held, kind = not args.without_attachments, "-without-attachments" if args.without_attachments else ""
    if args.session is None and not (args.receipt or args.since or args.until):
        return (
            f"{size}.tar" if held else f"{size}-without-attachments.tar",
            {},
            export.whole(reader, attachments=held, progress=show),
        )
    chosen = Part(reader)
    if args.session is not None:
        chosen.add_session(args.session)
    elif args.receipt:
        for name in args.receipt:
            chosen.add_receipt(name)
    else:
        chosen.add_between(args.since or "", args.until or "")
    ranges = chosen.ranges()
    told = {"receipts": sum(count for _, count in ranges), "of": size}
    pieces = export.part(reader, ranges, chosen.inclusion(ranges), attachments=held, progress=show)
    return f"{size}-part{kind}.tar", told, pieces


def run_redact(args: argparse.Namespace) -> int:
    if args.out.exists() and args.out.samefile(args.pack):
        raise Declined("the pack that is read is not overwritten", f"{PROGRAM} pack redact --help")
    check_out(args)
    with PackFile(args.pack) as source:
        pack = Redaction(source, progress(args, "receipts"))
        kept = set() if args.keep is None else pack.named_by(set(args.keep))
        gone = None if args.drop is None else {hashes.raw(name) for name in args.drop}
        absent = [] if gone is None else [raw for raw in gone if pack.entries.attachments.find(raw) < 0]
        if absent:
            raise Declined(f"no attachment `{hashes.text(min(absent))}` is in the pack", f"{PROGRAM} pack show {args.pack}")

        def dropped(raw: bytes) -> bool:
            return raw not in kept if gone is None else raw in gone

        count = durable.write_unnamed(args.out, pack.without(dropped), mode=0o600)
        left = sum(not dropped(raw) for raw in pack.entries.attachments)
        before = len(pack.entries.attachments)
    data = {"pack": str(args.out), "bytes": count, "dropped": before - left, "withheld": pack.withheld(left)}
    emit(args, data, [f"{args.out}  without {before - left} attachments; {left} are left, {data['withheld']} withheld"])
    return 0


def digest(text: str) -> Digest:
    """A leaf, or the name of an attachment; the type of an option."""
    if not hashes.is_digest(text):
        raise argparse.ArgumentTypeError(f"`{text}` is not sha256: and 64 lowercase hex digits")
    return Digest(text)
