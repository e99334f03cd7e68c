"""`receipts`, `sessions`: what happened."""

import argparse
from collections.abc import Iterator
from typing import Any

from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb.envelope import Record
from helm_ai_kernel.tcb.findings import visible
from helm_ai_kernel.tcb.graph import ProofGraph, draw
from helm_ai_kernel.tcb.receipt import Kind, Receipt
from helm_ai_kernel.tcb.statement import Statement

from .output import Commands, Declined, command, config, emit, group, number, plain

KEPT = ("arguments", "key", "output")  # by slot
SHOWN_CHARS_MAX = 2000  # of one field, or of what was kept beside a receipt; `--format json` has all of it


def add(commands: Commands) -> None:
    receipts = group(commands, "receipts", "what happened, in the order of the log")
    listed = command(receipts, "list", "the newest receipts, one line each", "helm-ai-kernel receipts list --newest 20")
    listed.add_argument("--newest", type=number, default=50, metavar="N", help="how many (default 50; 0 for all)")
    listed.add_argument("--session", type=session, help="only this session (32 hex digits)")
    listed.set_defaults(run=run_list)
    show = command(receipts, "show", "one receipt whole, with what was kept beside it", "helm-ai-kernel receipts show 7")
    show.add_argument("receipt", help="its index, or its leaf hash or the first digits of it")
    show.set_defaults(run=run_show)
    graph = command(receipts, "graph", "draw a session's ProofGraph", "helm-ai-kernel receipts graph")
    graph.add_argument("session", nargs="?", default="", help="32 hex digits or the first of them (default: every session)")
    graph.set_defaults(run=run_graph)
    sessions = command(commands, "sessions", "the sessions of the log", "helm-ai-kernel sessions")
    sessions.set_defaults(run=run_sessions)


def run_list(args: argparse.Namespace) -> int:
    with Reader(config(args).paths.store) as reader:
        found = reader.receipts(session=args.session or "", newest=args.newest)
        if args.format == "json":
            emit(args, [brief(receipt) for receipt in found], ())
        else:
            emit(args, (), map(line, found))
    return 0


def run_show(args: argparse.Namespace) -> int:
    paths = config(args).paths
    with Reader(paths.store, vault=Subjects(paths.subjects)) as reader:
        receipt = reader.find(args.receipt)
        held = {KEPT[slot]: content for slot, content in reader.attachments(receipt.index).items()}
    kept = {name: content[32:].decode("utf-8", "backslashreplace") for name, content in held.items() if content is not None}
    erased = [name for name, content in held.items() if content is None]
    data = {"index": receipt.index, "leaf": receipt.leaf, "body": dict(receipt.body), "kept": kept, "erased": erased}
    lines = [f"receipt {receipt.index}  {receipt.leaf}"]
    lines += [f"  {name:<12} {plain(receipt.body[name], SHOWN_CHARS_MAX)}" for name in sorted(receipt.body)]
    lines += [f"kept {name}: {visible(text, SHOWN_CHARS_MAX)}" for name, text in kept.items()]
    lines += [f"kept {name}: erased" for name in erased]
    emit(args, data, lines)
    return 0


def run_graph(args: argparse.Namespace) -> int:
    with Reader(config(args).paths.store) as reader:
        graph = ProofGraph.of(reader.receipts())
    mine = {leaf for leaf, receipt in graph.receipts.items() if receipt.session.startswith(args.session)}
    if args.session and not mine:
        raise Declined(f"no session is named `{args.session}`", "helm-ai-kernel sessions")
    data = [{"cause": edge.cause, "effect": edge.effect, "link": edge.link.value} for edge in graph.edges if edge.effect in mine]
    emit(args, data, draw(graph, args.session))
    return 0


def run_sessions(args: argparse.Namespace) -> int:
    with Reader(config(args).paths.store) as reader:
        rows = _sessions(reader)
    lines = (
        f"{row['session']}  {visible(row['principal'])} at {visible(row['door'])}, {row['receipts']} receipts, {row['state']}"
        for row in rows
    )
    emit(args, rows, lines)
    return 0


def _sessions(reader: Reader) -> list[dict[str, Any]]:
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


def brief(receipt: Receipt) -> dict[str, Any]:
    """One row of a listing."""
    names = ("verdict", "reason", "sub", "status", "tool", "event", "principal", "door", "decision")
    row = {
        "index": receipt.index,
        "leaf": receipt.leaf,
        "session": receipt.session,
        "seq": receipt.seq,
        "kind": receipt.kind.value,
    }
    return row | {name: receipt.body[name] for name in names if name in receipt.body} | {"at": receipt.body["at"]}


def line(receipt: Receipt) -> str:
    text = visible(" ".join(word for word in _words(receipt) if word), 200)
    return f"{receipt.index:>6}  {receipt.leaf[7:19]}  {receipt.session[:8]}:{receipt.seq:<4} {receipt.kind.value:<9} {text}"


def _words(receipt: Receipt) -> Iterator[str]:
    body = receipt.body
    yield from (str(body[name]) for name in ("event", "verdict", "status", "reason", "tool") if name in body)
    if receipt.kind is Kind.SESSION and body["event"] == "start":
        yield f"{body['principal']} at {body['door']}"
    elif receipt.kind is Kind.OUTCOME:
        yield "of " + str(body["decision"])[7:19]
    elif receipt.kind is Kind.STATEMENT:
        statement = Statement.from_record(Record.from_json(body["statement"]))
        yield statement.kind
        yield statement.tool or statement.subject or ""
    elif receipt.kind is Kind.RECOVERY:
        yield f"{body['open']} open"


def session(text: str) -> str:
    if len(text) != 32 or not set(text) <= set("0123456789abcdef"):
        raise argparse.ArgumentTypeError(f"`{text}` is not 32 hex digits: helm-ai-kernel sessions")
    return text
