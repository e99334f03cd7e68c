"""`tools diff`: what a server is now, against what a person pinned, word by word."""

import argparse
import asyncio
import os
from collections.abc import Iterator, Sequence
from typing import Any

from helm_ai_kernel.app import operate
from helm_ai_kernel.app.config import AnyUpstream, Config, McpUpstream, Upstream
from helm_ai_kernel.app.differing import Change, Difference, compare
from helm_ai_kernel.app.identities import Identities
from helm_ai_kernel.pep.catalog import Catalog
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.findings import visible

from . import worddiff
from .output import PROGRAM, Commands, Declined, command, config, emit

_MARKS = {"new": "+", "gone": "-", "changed": "~", "renamed": ">", "refused": "!"}


def add(tools: Commands, name: str) -> None:
    text = "what a server changed since it was pinned, word by word; exit 1 where it did"
    diff = command(tools, "diff", text, f"{PROGRAM} {name} diff time")
    diff.add_argument("server", help="a pinned server, or a name under [upstream.NAME] in helm.toml")
    diff.add_argument("--proposal", action="store_true", help="compare with what was inspected last, and ask nobody")
    diff.set_defaults(run=run_diff)


def run_diff(args: argparse.Namespace) -> int:
    settings = config(args)
    pinned = operate.standing(settings).boundary.catalog
    now, refused = _now(args, settings, pinned)
    servers = operate.servers(pinned)
    others = {name: doc["tools"] for name, doc in servers.items() if name != args.server}
    difference = compare(args.server, servers.get(args.server), now, refused, others)
    emit(args, _json(difference), _lines(args, settings, difference))
    return 1 if difference else 0


def _now(args: argparse.Namespace, settings: Config, pinned: Catalog) -> tuple[dict[str, Any], dict[str, Refused]]:
    if args.proposal:
        return operate.read_catalog(settings, args.server), {}
    upstream = settings.upstreams.get(args.server) or _as_pinned(pinned.sources.get(args.server, {}))
    if upstream is None:
        if args.server in pinned.sources:
            raise Declined(f"`{args.server}` is no server that can be asked", f"{args.typed} --proposal")
        raise Declined(f"`{args.server}` is neither pinned nor configured", settings.paths.typed("tools list"))
    return asyncio.run(operate.ask(args.server, upstream, Identities(settings)))


def _as_pinned(source: dict[str, Any]) -> AnyUpstream | None:
    """Where a server is whose configuration is gone."""
    if source.get("kind") == "mcp-stdio":
        return Upstream(tuple(source["command"]), tuple(source["env"]))
    if source.get("kind") == "mcp-http":
        addresses, key = tuple(source["addresses"]), source.get("tls_key")
        return McpUpstream(source["url"], addresses, source["secrets"], source["ca"], key)
    return None


def _lines(args: argparse.Namespace, settings: Config, difference: Difference) -> Iterator[str]:
    how = worddiff.paint(os.environ, text=args.format == "text")
    if not difference:
        yield f"{args.server} is as it was pinned"
    if difference.source:
        yield f"server {args.server}"
        for part in difference.source:
            yield from (f"      {line}" for line in worddiff.member(*part, how))
    for change in difference.tools:
        yield f"  {_MARKS[change.how]} {_title(args.server, change)}"
        for at, before, after in change.parts if change.how in ("changed", "renamed") else _shown(change):
            yield from (f"      {line}" for line in worddiff.member(at, before, after, how))
    yield from notes(difference.notes)
    if difference:
        asked, pinned = (settings.paths.typed(f"tools {word} {args.server}") for word in ("inspect", "pin"))
        yield f"to pin it so: {asked}, then {pinned}"


def notes(said: Sequence[str]) -> Iterator[str]:
    return (f"note: {visible(note, worddiff.CHANGED_CHARS_MAX)}" for note in said)


def _title(server: str, change: Change) -> str:
    name = visible(f"{server}/{change.tool}")
    if change.how == "renamed":
        return f"{name}  renamed from {visible(change.before)}, with the same schemas"
    if change.how == "refused":
        return f"{name}  cannot be pinned or called: {visible(change.why)}"
    return f"{name}  {change.how}{', QUARANTINED until it is pinned' if change.how == 'new' else ''}"


def _shown(change: Change) -> Iterator[tuple[str, Any, Any]]:
    """Of a tool that is new or gone: its members, one by one."""
    for part in change.parts:
        whole = part.after if part.before is None else part.before
        for name in sorted(whole):
            yield (name, None, whole[name]) if part.before is None else (name, whole[name], None)


def _json(difference: Difference) -> dict[str, Any]:
    return {
        "server": difference.server,
        "differs": bool(difference),
        "source": [part._asdict() for part in difference.source],
        "tools": [
            {
                "tool": f"{difference.server}/{one.tool}",
                "change": one.how,
                "before": one.before or None,
                "why": one.why or None,
                "parts": [part._asdict() for part in one.parts],
            }
            for one in difference.tools
        ],
        "notes": list(difference.notes),
    }
