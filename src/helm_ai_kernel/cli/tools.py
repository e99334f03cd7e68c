"""`tools list`, `inspect`, `pin`, `release`: what may be called, and by which contract."""

import argparse
import asyncio
from typing import Any

from helm_ai_kernel.app import operate
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.pep.catalog import EMPTY, Catalog
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.findings import visible

from .output import Commands, agreed, command, complain, config, emit, group, signer, signing_options


def add(commands: Commands) -> None:
    tools = group(commands, "tools", "the catalogue: what may be called, pinned by a person")
    listed = command(tools, "list", "the pinned tools and which of them are held", "helm-ai-kernel tools list")
    listed.set_defaults(run=run_list)
    inspect = command(
        tools, "inspect", "ask a server for its tools and propose them for pinning", "helm-ai-kernel tools inspect time"
    )
    inspect.add_argument("server", help="a name under [upstream.NAME] in helm.toml, or of a Python program's proposal")
    inspect.set_defaults(run=run_inspect)
    pin = command(tools, "pin", "put a server's proposed tools into force, signed", "helm-ai-kernel tools pin time --effect read")
    pin.add_argument("server")
    pin.add_argument(
        "--effect", action="append", default=[], metavar="[TOOL=]CLASS",
        help="read, write, destructive, network or payment; for all tools or one; unclassified tools are destructive",
    )  # fmt: skip
    pin.add_argument(
        "--accept-format", action="append", default=[], metavar="NAME", help="take an unknown `format` as an annotation"
    )
    signing_options(pin)
    pin.set_defaults(run=run_pin)
    release = command(
        tools, "release", "let a held tool be called again, signed", "helm-ai-kernel tools release time/convert_time"
    )
    release.add_argument("tool", help="server/tool")
    signing_options(release)
    release.set_defaults(run=run_release)


def run_list(args: argparse.Namespace) -> int:
    settings = config(args)
    with Reader(settings.paths.store) as reader:
        catalog = EMPTY if reader.catalog is None else Catalog.from_bytes(reader.document(reader.catalog))
        holds = reader.holds()
    rows: list[dict[str, Any]] = [
        {"tool": t.name, "effect": t.effect.value, "pin": t.pin, "held": holds.get(t.name)} for t in catalog.tools.values()
    ]
    lines = [f"{row['tool']:<32} {row['effect']:<12} {row['pin'][7:19]}{'  HELD' if row['held'] else ''}" for row in rows]
    emit(args, rows, lines or ["no tools are pinned: helm-ai-kernel tools inspect --help"])
    return 0


def run_inspect(args: argparse.Namespace) -> int:
    settings = config(args)
    upstream = settings.upstreams.get(args.server)
    doc = operate.read_catalog(settings, args.server) if upstream is None else asyncio.run(operate.ask(args.server, upstream))
    if upstream is not None:
        operate.save_catalog(settings.paths, doc)
    lines = []
    for tool in doc["tools"]:
        lines += [
            f"{args.server}/{tool['name']}  ({tool['effect']})",
            f"    {visible(str(tool['raw'].get('description', '')), 400)}",
        ]
    lines.append(f"proposed in {settings.paths.catalog / (args.server + '.json')}; next: helm-ai-kernel tools pin {args.server}")
    emit(args, doc, lines)
    return 0


def run_pin(args: argparse.Namespace) -> int:
    return asyncio.run(_pin(args))


async def _pin(args: argparse.Namespace) -> int:
    settings = config(args)
    doc = operate.read_catalog(settings, args.server)
    operate.classify(doc, args.effect, args.accept_format)
    runtime = await Runtime.open(settings)
    try:
        proposal = operate.propose_pins(runtime, doc)
        if proposal.catalog.digest == runtime.boundary.catalog.digest:
            emit(args, {"catalog": proposal.catalog.digest, "changed": False}, ["these pins are in force already"])
            return 0
        old, new = runtime.boundary.catalog.tools, proposal.catalog.tools
        changes = [
            (_mark(old.get(name), new.get(name)), name)
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
        if args.format == "text":
            for mark, name in changes:
                tool = new.get(name) or old[name]
                print(f"  {mark} {name}  ({tool.effect.value})  {tool.pin[7:19]}")
                print(f"      {visible(str(tool.raw.get('description', '')), 400)}")
        key = signer(args, settings, runtime.ledger.writer.ink.registry)
        if not agreed(args, "sign and put these pins into force?"):
            return complain("nothing was signed", "", "answer y, or give --yes", 1)
        receipt = await operate.activate(runtime, proposal, [key])
        operate.save_catalog(settings.paths, doc)
        data = {
            "catalog": proposal.catalog.digest,
            "changed": True,
            "tools": [{"tool": name, "change": mark} for mark, name in changes],
            "receipt": {"index": receipt.index, "leaf": receipt.leaf},
        }
        emit(args, data, [f"pinned (receipt {receipt.index}); what may call them is policy: helm-ai-kernel policy apply"])
        return 0
    finally:
        await runtime.close()


def run_release(args: argparse.Namespace) -> int:
    return asyncio.run(_release(args))


async def _release(args: argparse.Namespace) -> int:
    settings = config(args)
    with Reader(settings.paths.store) as reader:
        hold = reader.holds().get(args.tool)
        cause = None if hold is None else reader.find(hold)
    if hold is None or cause is None:
        raise Refused(Reason.ERR_TOOL_NOT_ALLOWED, f"`{args.tool}` is not held", hint="helm-ai-kernel tools list")
    if args.format == "text":
        print(f"{args.tool} is held since receipt {cause.index}: {cause.reason.value} (caused by {cause.parents[0][7:19]})")
    runtime = await Runtime.open(settings)
    try:
        key = signer(args, settings, runtime.ledger.writer.ink.registry)
        if not agreed(args, f"let {args.tool} be called again?"):
            return complain("nothing was signed", "", "answer y, or give --yes", 1)
        receipt = await operate.release(runtime, args.tool, hold, [key])
        data = {"tool": args.tool, "receipt": {"index": receipt.index, "leaf": receipt.leaf}}
        emit(args, data, [f"{args.tool} is released (receipt {receipt.index})"])
        return 0
    finally:
        await runtime.close()


def _mark(before: object, after: object) -> str:
    return "+" if before is None else "-" if after is None else "~"
