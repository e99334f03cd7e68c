"""`tools list`, `inspect`, `pin`, `diff`, `release`: what may be called, and by which contract."""

import argparse
import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

from helm_ai_kernel.app import operate
from helm_ai_kernel.app.config import Config, McpUpstream, Upstream
from helm_ai_kernel.app.differing import shadows
from helm_ai_kernel.app.identities import Identities
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.pep.catalog import Catalog
from helm_ai_kernel.pep.methods import KINDS, METHODS
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.findings import visible

from . import changes, diffs, pins
from .output import PROGRAM, Commands, Declined, command, config, emit, group
from .signing import person, signing_options


def add(commands: Commands) -> None:
    under(group(commands, "tools", "the catalogue: what may be called, pinned by a person"), "tools")


def under(tools: Commands, name: str) -> None:
    """The commands, in the group of that name."""
    listed = command(tools, "list", "the pinned tools and which of them are held", f"{PROGRAM} {name} list")
    listed.set_defaults(run=run_list)
    inspect = command(
        tools,
        "inspect",
        "ask a server for its tools, or read its operations, and propose them for pinning",
        f"{PROGRAM} {name} inspect time",
    )
    inspect.add_argument("server", help="a name under [upstream.NAME] in helm.toml, or of a Python program's proposal")
    inspect.add_argument("--url", help="of an MCP server that is not in helm.toml")
    inspect.add_argument("--env", action="append", default=[], metavar="NAME", help="a variable that the command behind -- needs")
    inspect.usage = f"{PROGRAM} {name} inspect [-h] [--format text|json] [--home HOME] SERVER [--url URL | -- CMD ...]"
    inspect.tail = "command"
    inspect.set_defaults(run=run_inspect)
    pin = command(tools, "pin", "put a server's proposed tools into force, signed", f"{PROGRAM} {name} pin time --effect read")
    pin.add_argument("server", help="the name under which they were proposed")
    pin.add_argument(
        "--effect", action="append", default=[], metavar="[TOOL=]CLASS",
        help="read, write, destructive, network or payment; for all tools or one; unclassified tools are destructive",
    )  # fmt: skip
    pin.add_argument(
        "--accept-format", action="append", default=[], metavar="NAME", help="take an unknown `format` as an annotation"
    )
    pin.add_argument("--open", action="append", default=[], metavar="TOOL", help="take arguments that its schema does not name")
    pin.add_argument("--accept-null", action="append", default=[], metavar="TOOL", help="take null for what may be left out")
    pin.add_argument("--full", action="store_true", help="show every definition whole, also at the first pin of a server")
    pin.add_argument("--without", action="append", default=[], metavar="TOOL", help="leave this proposed tool out")
    signing_options(pin)
    pin.set_defaults(run=run_pin)
    diffs.add(tools, name)
    release = command(tools, "release", "let a held tool be called again, signed", f"{PROGRAM} {name} release time/convert_time")
    release.add_argument("tool", help="server/tool")
    signing_options(release)
    release.set_defaults(run=run_release)


def run_list(args: argparse.Namespace) -> int:
    settings = config(args)
    catalog = operate.standing(settings).boundary.catalog
    holds = _holds(settings)
    rows: list[dict[str, Any]] = [
        {"tool": t.name, "effect": t.effect.value, "pin": t.pin, "held": holds.get(t.name), "quarantined": None}
        for t in catalog.tools.values()
    ]
    rows += operate.quarantined(settings, catalog)
    lines = [
        f"{visible(row['tool']):<32} {row['effect']:<12} {row['pin'][7:19]}{_state(row)}"
        for row in rows
        if row["tool"].partition("/")[2] not in METHODS or row["held"]
    ]
    for server, doc in operate.servers(catalog).items():
        names = [tool["name"] for tool in doc["tools"] if tool["name"] in METHODS]
        lines += [f"{server}: and {len(names)} methods of MCP: {', '.join(names)}"] if names else []
    lines += [f"FROZEN {scope}; next: {then}" for scope, then in _frozen(settings, catalog.sources).items()]
    emit(args, rows, lines or [f"no tools are pinned; next: {settings.paths.typed('tools inspect')} SERVER"])
    return 0


def _state(row: dict[str, Any]) -> str:
    return "  HELD" if row["held"] else f"  QUARANTINED {row['quarantined']}" if row["quarantined"] else ""


def run_inspect(args: argparse.Namespace) -> int:
    settings = config(args)
    pinned = operate.standing(settings).boundary.catalog
    upstream = _said(args) or settings.upstreams.get(args.server)
    refused: dict[str, Refused] = {}
    if upstream is None:
        doc = operate.read_catalog(settings, args.server)
    else:
        asked, refused = asyncio.run(operate.ask(args.server, upstream, Identities(settings)))
        doc = operate.as_said_before(asked, pinned)
        operate.save_catalog(settings.paths, doc)
    emit(args, doc, _inspected(args, settings, pinned, doc, refused))
    return 0


def _said(args: argparse.Namespace) -> Upstream | McpUpstream | None:
    """The server as it stands on the command line, as `mcp wrap` says it to a person."""
    if args.command and args.url:
        raise Declined("either `--url URL`, or `--` and the server's command", f"{args.typed} --help")
    if args.command:
        return Upstream(tuple(args.command), tuple(sorted(set(args.env))))
    return McpUpstream(args.url) if args.url else None


def _inspected(
    args: argparse.Namespace, settings: Config, pinned: Catalog, doc: dict[str, Any], refused: dict[str, Refused]
) -> Iterator[str]:  # fmt: skip
    before = operate.entries(pinned)
    yield f"server {args.server}: {changes.source(doc['source'])}"
    yield from pins.instructions(doc["source"])
    for tool in doc["tools"]:
        name = f"{args.server}/{tool['name']}"
        was = before.get(name)
        state = "new" if was is None else "pinned" if was["pin"] == tool["pin"] else "CHANGED since it was pinned"
        if tool["name"] not in METHODS:
            yield f"{visible(name)}  ({visible(tool['effect'])}, {state})"
            yield from changes.definition(tool)
        no = operate.pinnable(doc, tool)
        if no is not None:
            yield f"      {visible(name)} CANNOT BE PINNED so: {visible(no.detail)}; {visible(no.hint)}"
    for name, why in sorted(refused.items()):
        yield f"{args.server}/{visible(name)}  REFUSED: {visible(why.detail)}"
    yield from pins.methods(doc)
    others = {name: other["tools"] for name, other in operate.servers(pinned).items() if name != args.server}
    yield from diffs.notes([*shadows(doc, others)])
    yield f"proposed in {settings.paths.catalog / (args.server + '.json')}"
    yield f"next: {settings.paths.typed('tools pin ' + args.server)}"


def run_pin(args: argparse.Namespace) -> int:
    settings = config(args)
    doc = operate.read_catalog(settings, args.server)
    operate.leave_out(doc, args.without)
    operate.classify(doc, args.effect, args.accept_format, args.open, args.accept_null)

    def propose(now: operate.InForce) -> operate.Proposal:
        return operate.propose_pins(now, doc)

    standing = operate.standing(settings)
    before = standing.boundary.catalog
    try:
        proposal = propose(standing)
    except Refused as no:
        flags = operate.needed(doc) if no.reason is Reason.ERR_SCHEMA_UNSAFE else []
        if not flags:
            raise
        raise Refused(no.reason, no.detail, sub=no.sub, hint=f"{args.typed} {' '.join(flags)}") from None
    if proposal.catalog.digest == before.digest:
        emit(args, {"catalog": before.digest, "changed": False}, ["these pins are in force already"])
        return 0
    changed = changes.of_tools(before, proposal.catalog)
    key = person(args, settings, _shown(args, before, proposal.catalog, changed), "sign and put these pins into force?")
    receipt = asyncio.run(operate.enact(settings, proposal, propose, [key]))
    operate.save_catalog(settings.paths, doc)
    data = {
        "catalog": proposal.catalog.digest,
        "changed": True,
        "tools": [{"tool": one.tool, "change": one.mark} for one in changed],
        "receipt": {"index": receipt.index, "leaf": receipt.leaf},
    }
    held = [f"still held: {settings.paths.typed('tools release ' + one.tool)}" for one in changed if one.tool in _holds(settings)]
    held += [f"still frozen: {then}" for then in _frozen(settings, [args.server]).values()]
    next_step = f"what may call them is policy: {settings.paths.typed('policy apply')}"
    emit(args, data, [f"pinned (receipt {receipt.index}); {next_step}", *held])
    return 0


def _shown(args: argparse.Namespace, before: Catalog, after: Catalog, changed: list[changes.ToolChange]) -> Iterator[str]:
    """What is signed: of an MCP server that is new, one screen; else every change, whole."""
    docs = operate.servers(after)
    doc = docs.pop(args.server)
    first = args.server not in before.sources and doc["source"]["kind"] in KINDS
    if first and not args.full:
        yield from pins.screen(doc)
    else:
        yield from changes.of_source(args.server, before, after)
        yield from (line for one in changed for line in one.lines)
    yield from diffs.notes([*shadows(doc, {name: other["tools"] for name, other in docs.items()})])


def run_release(args: argparse.Namespace) -> int:
    settings = config(args)
    hold = _holds(settings).get(args.tool)
    if hold is None:
        raise Declined(f"`{args.tool}` is not held", settings.paths.typed("tools list"))
    with Reader(settings.paths.store) as reader:
        cause = reader.find(hold)
    why = f"caused by {cause.parents[0][7:19]}" if cause.parents else str(cause.body["sub"])
    shown = f"{visible(args.tool)} is held since receipt {cause.index}: {cause.reason.value} ({visible(why)})"
    key = person(args, settings, [shown], f"let {args.tool} be called again?")
    receipt = asyncio.run(operate.enact_release(settings, args.tool, hold, [key]))
    data = {"tool": args.tool, "receipt": {"index": receipt.index, "leaf": receipt.leaf}}
    emit(args, data, [f"{args.tool} is released (receipt {receipt.index})"])
    return 0


def _frozen(settings: Config, servers: Iterable[str]) -> dict[str, str]:
    """Servers that are frozen, by a person or as the kernel's quarantine, and how that ends."""
    with Reader(settings.paths.store) as reader:
        frozen = reader.frozen()
    scopes = [f"server:{server}" for server in servers if f"server:{server}" in frozen]
    return {scope: settings.paths.typed(f"release {scope}") for scope in scopes}


def _holds(settings: Config) -> dict[str, Any]:
    with Reader(settings.paths.store) as reader:
        return reader.holds()
