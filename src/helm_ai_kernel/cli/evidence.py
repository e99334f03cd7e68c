"""`receipts`, `sessions`, `pack`, `replay`: what happened, and the proof of it."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from helm_ai_kernel.app import home
from helm_ai_kernel.executor.replay import ReplayReport, replay
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.findings import visible
from helm_ai_kernel.tcb.graph import ProofGraph, draw
from helm_ai_kernel.tcb.receipt import Kind, Receipt
from helm_ai_kernel.tcb.registry import Registry
from helm_ai_kernel.verifier import files

from .output import Commands, command, complain, config, emit, group, where


def add(commands: Commands) -> None:
    receipts = group(commands, "receipts", "what happened, in the order of the log")
    listed = command(receipts, "list", "the newest receipts, one line each", "helm-ai-kernel receipts list --newest 20")
    listed.add_argument("--newest", type=int, default=50, metavar="N", help="how many (default 50; 0 for all)")
    listed.add_argument("--session", default="", help="only this session (32 hex digits)")
    listed.set_defaults(run=run_list)
    show = command(receipts, "show", "one receipt whole, with what was kept beside it", "helm-ai-kernel receipts show 7")
    show.add_argument("receipt", help="its index, or its leaf hash or the first digits of it")
    show.set_defaults(run=run_show)
    graph = command(receipts, "graph", "draw a session's ProofGraph", "helm-ai-kernel receipts graph")
    graph.add_argument("session", nargs="?", help="32 hex digits or the first of them (default: every session)")
    graph.set_defaults(run=run_graph)
    sessions = command(commands, "sessions", "the sessions of the log", "helm-ai-kernel sessions")
    sessions.set_defaults(run=run_sessions)
    _add_packs(commands)


def _add_packs(commands: Commands) -> None:
    packs = group(commands, "pack", "evidence packs: make, verify, look inside")
    export = command(packs, "export", "write the log's evidence pack", "helm-ai-kernel pack export --out evidence.tar")
    export.add_argument("--out", type=Path, help="where to (default: packs/ in the home, named by log and size)")
    export.add_argument("--jsonl", action="store_true", help="only the receipts, one signed line each, to --out or stdout")
    export.set_defaults(run=run_export)
    verify = command(packs, "verify", "verify a pack offline", "helm-ai-kernel pack verify evidence.tar", home=False)
    verify.add_argument("pack", type=Path)
    verify.add_argument(
        "--genesis",
        type=files.pinned,
        metavar="sha256:…",
        help="the registry's genesis digest, from outside (default: the local trust file)",
    )
    verify.add_argument("--known-head", type=Path, metavar="FILE", help="a checkpoint that you kept: the pack must extend it")
    verify.add_argument("--require-resolved", action="store_true", help="a recorded UNKNOWN counts as incomplete")
    verify.set_defaults(run=run_verify)
    inside = command(packs, "show", "what a pack holds; verifies nothing", "helm-ai-kernel pack show evidence.tar", home=False)
    inside.add_argument("pack", type=Path)
    inside.set_defaults(run=run_inside)
    again = command(
        commands, "replay", "derive every decision of a pack again", "helm-ai-kernel replay evidence.tar --verify", home=False
    )
    again.add_argument("pack", type=Path)
    again.add_argument(
        "--verify", action="store_true", help="verify the pack first, and decide nothing from one that does not hold"
    )
    again.add_argument("--genesis", type=files.pinned, metavar="sha256:…")
    again.set_defaults(run=run_replay)


def run_list(args: argparse.Namespace) -> int:
    with Reader(config(args).paths.store) as reader:
        found = list(reader.receipts(session=args.session, newest=args.newest))
    emit(args, [brief(receipt) for receipt in found], [line(receipt) for receipt in found])
    return 0


def run_show(args: argparse.Namespace) -> int:
    with Reader(config(args).paths.store) as reader:
        receipt = reader.find(args.receipt)
        kept = {name: reader.attachment(receipt.index, slot) for slot, name in enumerate(("arguments", "key", "output"))}
    beside = {
        name: visible(content[32:].decode("utf-8", "replace"), 2000) for name, content in kept.items() if content is not None
    }
    data = {"index": receipt.index, "leaf": receipt.leaf, "body": dict(receipt.body), "kept": beside}
    lines = [f"receipt {receipt.index}  {receipt.leaf}"]
    lines += [f"  {name:<12} {visible(str(receipt.body[name]), 200)}" for name in sorted(receipt.body)]
    lines += [f"kept {name}: {text}" for name, text in beside.items()]
    emit(args, data, lines)
    return 0


def run_graph(args: argparse.Namespace) -> int:
    with Reader(config(args).paths.store) as reader:
        graph = ProofGraph.of(reader.receipts())
    data = [{"cause": edge.cause, "effect": edge.effect, "link": edge.link.value} for edge in graph.edges]
    emit(args, data, draw(graph, args.session))
    return 0


def run_sessions(args: argparse.Namespace) -> int:
    with Reader(config(args).paths.store) as reader:
        rows = sessions(reader)
    lines = [
        f"{row['session']}  {visible(row['principal'])} at {visible(row['door'])}, {row['receipts']} receipts, {row['state']}"
        for row in rows
    ]
    emit(args, rows, lines)
    return 0


def sessions(reader: Reader) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for receipt in reader.receipts():
        row = rows.setdefault(
            receipt.session,
            {"session": receipt.session, "principal": "", "door": "", "start": "", "receipts": 0, "state": "not ended"},
        )
        row["receipts"] += 1
        if receipt.kind is Kind.SESSION and receipt.body["event"] == "start":
            row |= {"principal": receipt.body["principal"], "door": receipt.body["door"], "start": receipt.body["at"]}
        elif receipt.kind is Kind.SESSION:
            row["state"] = f"ended: {receipt.body['reason']}"
    return list(rows.values())


def run_export(args: argparse.Namespace) -> int:
    settings = config(args)
    with Reader(settings.paths.store) as reader:
        if args.jsonl:
            with open(args.out, "xb") if args.out else os.fdopen(os.dup(1), "wb") as stream:
                for row in reader.jsonl():
                    stream.write(row)
            return 0
        data = reader.export()
        name = f"{reader.origin.replace('/', '-')}-{reader.size}.tar"
    out: Path = args.out or settings.paths.packs / name
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    with open(partial, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(partial, out)
    emit(args, {"pack": str(out), "bytes": len(data)}, [str(out)])
    return 0


def run_verify(args: argparse.Namespace) -> int:
    genesis = args.genesis or trusted_genesis(args.pack)
    report = files.check(args.pack, genesis=genesis, known_head=args.known_head, require_resolved=args.require_resolved)
    emit(args, report.to_json(), report.to_text().splitlines())
    return int(report.exit)


def trusted_genesis(path: Path) -> Digest | None:
    """The pack's genesis digest, if this machine's trust file lists it: what the pack says only selects, it never adds."""
    known = home.trusted(where(argparse.Namespace(home=None)).trust)
    try:
        own = Registry.replay(pack.lines(pack.read(path.read_bytes())[pack.TRUST])[:1]).genesis
    except (EvidenceError, OSError):
        return None  # the verification says what is wrong
    return own if own in known else None


def run_inside(args: argparse.Namespace) -> int:
    entries = pack.read(args.pack.read_bytes())
    rows = [{"name": name, "bytes": len(content)} for name, content in entries.items()]
    receipts = [Receipt.from_bytes(row, index) for index, row in enumerate(pack.lines(entries[pack.RECEIPTS]))]
    data = {"files": rows, "receipts": [brief(receipt) for receipt in receipts]}
    lines = [f"{row['bytes']:>10}  {row['name']}" for row in rows] + [line(receipt) for receipt in receipts]
    emit(args, data, [*lines, "nothing here was verified: helm-ai-kernel pack verify PACK"])
    return 0


def run_replay(args: argparse.Namespace) -> int:
    if args.verify:
        report = files.check(args.pack, genesis=args.genesis or trusted_genesis(args.pack))
        if int(report.exit) not in (0, 12, 20):
            sys.stderr.write(report.to_text())
            return complain(
                "the pack does not verify, so nothing is decided again from it",
                "",
                f"helm-ai-kernel pack verify {args.pack}",
                int(report.exit),
            )
    again = replay(pack.read(args.pack.read_bytes()))
    emit(args, again.to_json(), _replayed(again))
    return int(again.exit)


def _replayed(again: ReplayReport) -> list[str]:
    lines = [f"receipt {d.index}: {d.field} is {d.recorded!r}, derived {d.derived!r}" for d in again.differs]
    lines += [f"receipt {index}: cannot be derived, something it was made from is withheld" for index in again.not_replayable]
    return [visible(text, 300) for text in lines] + [
        f"{again.exit.name}: {again.decisions} decisions, {len(again.differs)} differ, {len(again.not_replayable)} not replayable"
    ]


def brief(receipt: Receipt) -> dict[str, Any]:
    """One row of a listing."""
    names = ("verdict", "reason", "status", "tool", "event", "principal", "door")
    row = {
        "index": receipt.index,
        "leaf": receipt.leaf,
        "session": receipt.session,
        "seq": receipt.seq,
        "kind": receipt.kind.value,
    }
    return row | {name: receipt.body[name] for name in names if name in receipt.body} | {"at": receipt.body["at"]}


def line(receipt: Receipt) -> str:
    words = [str(receipt.body[name]) for name in ("event", "verdict", "status", "reason", "tool") if name in receipt.body]
    if receipt.kind is Kind.OUTCOME and "reason" not in receipt.body:
        words.append("of " + str(receipt.body["decision"])[7:19])
    text = visible(" ".join(words), 200)
    return f"{receipt.index:>6}  {receipt.leaf[7:19]}  {receipt.session[:8]}:{receipt.seq:<4} {receipt.kind.value:<9} {text}"
