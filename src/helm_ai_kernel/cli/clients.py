"""`setup CLIENT`, `mcp config CLIENT`: the servers that AI clients have, led through the kernel, and back."""

import argparse
import difflib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helm_ai_kernel.app.config import SERVER, HttpUpstream, McpUpstream, load, paths
from helm_ai_kernel.tcb.findings import visible

from .output import PROGRAM, Commands, Declined, command, emit, where

if TYPE_CHECKING:  # the readers of other formats are for these commands only: no other one loads them
    from helm_ai_kernel.app.clients import wrap

CHARS_MAX = 2000  # of a line that is shown


def add(commands: Commands) -> None:
    setup = command(
        commands,
        "setup",
        "lead an AI client's servers through the kernel, and back; without a client: what each has",
        f"{PROGRAM} setup cursor --dry-run",
    )
    setup.add_argument("client", nargs="?", help="as `setup --list` names it")
    what = setup.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="the clients that are here, and which of their servers are governed")
    what.add_argument("--undo", action="store_true", help="as it was; works where the kernel does not start")
    setup.add_argument("--dry-run", action="store_true", help="show what would change, and write nothing")
    setup.set_defaults(run=run_setup)


def add_config(mcp: Commands) -> None:
    """`config` in the group `mcp`."""
    config = command(
        mcp,
        "config",
        "what to put into a client's file to add one governed server",
        f"{PROGRAM} mcp config cursor --name time -- mcp-server-time",
    )
    config.add_argument("client", help=f"as `{PROGRAM} setup --list` names it")
    config.add_argument("--name", default="helm", help="what the server is called (default: helm)")
    config.usage = f"{PROGRAM} mcp config [-h] [--format text|json] [--home HOME] [--name NAME] client [-- COMMAND ...]"
    config.description = "What to put into a client's file to add one governed server: a command, or else the kernel's HTTP door."
    config.tail = "command"
    config.set_defaults(run=run_config)


def run_setup(args: argparse.Namespace) -> int:
    if args.client is None or args.list:
        return _list(args)
    _known(args.client)
    return _undo(args) if args.undo else _wrap(args)


def run_config(args: argparse.Namespace) -> int:
    from helm_ai_kernel.app.clients import snippet
    from helm_ai_kernel.app.clients.table import CLIENTS

    _known(args.client)
    if not SERVER.match(args.name):
        raise Declined(f"`{args.name}` is no name of a server: lower case letters, digits, `_` and `-`", f"{args.typed} --help")
    file, settings = _places().path(CLIENTS[args.client].first), where(args)
    if args.command:
        program, options = _program(), _home_option(args)
        words = (*program, "mcp", "wrap", *options, "--name", args.name, "--", *args.command)
        text, notes = snippet.local(args.client, args.name, words), [f"put it into {file}"]
    else:
        plane = load(settings).data if settings.config.exists() else None
        host, port = (plane.address if plane else None) or ("127.0.0.1", 8790)
        scheme, host = "https" if plane and plane.certificate else "http", f"[{host}]" if ":" in host else host
        found = snippet.remote(args.client, args.name, f"{scheme}://{host}:{port}/mcp")
        if found is None:
            raise Declined(
                f"{CLIENTS[args.client].title} cannot send a token to an address",
                f"{PROGRAM} mcp config {args.client} -- COMMAND",
            )
        text = found
        notes = [f"put it into {file}, with the token of an agent for {snippet.TOKEN}: {settings.typed('agents add NAME')}"]
    emit(args, {"client": args.client, "file": str(file), "snippet": text}, text.splitlines())
    if args.format == "text":
        print("\n".join(visible(note, 600) for note in notes), file=sys.stderr)
    return 0


def _wrap(args: argparse.Namespace) -> int:
    from helm_ai_kernel.app.clients import wrap
    from helm_ai_kernel.app.clients.table import CLIENTS

    kernel = wrap.Kernel(_program(), where(args).home, _home_option(args), _upstreams(args))
    plan = wrap.plan(args.client, _places(), kernel)
    if not plan.steps:
        title = CLIENTS[args.client].title
        raise Declined(f"no file of {title} is here, for this user or in this folder", f"{PROGRAM} setup --list")
    backups = () if args.dry_run else wrap.apply(plan, kernel)
    changes = any(step.changes for step in plan.steps)
    lines = [*_files(plan, args.dry_run), *_notes(plan)]
    if changes and not args.dry_run:
        lines += [f"what was is kept in {backups[0].parent}; to undo: {where(args).typed(f'setup {args.client} --undo')}"]
        lines += [f"restart {CLIENTS[args.client].title}. Nothing of a server is allowed until a person pins its tools."]
    elif not changes:
        lines.append("nothing to change")
    emit(args, _document(plan, args.dry_run, backups), [visible(line, CHARS_MAX) for line in lines])
    return 0


def _undo(args: argparse.Namespace) -> int:
    from helm_ai_kernel.app.clients import wrap

    home = where(args).home
    plan = wrap.plan_undo(args.client, _places(), home)
    if not plan.steps:
        gone = "; ".join(why for _, why in plan.unread)
        raise Declined(gone or f"there is no backup of a file of `{args.client}`: nothing to undo", f"{PROGRAM} setup --list")
    if not args.dry_run:
        wrap.undo(plan)
    lines = [*_files(plan, args.dry_run)]
    for step in plan.steps:
        how = "as it was, byte for byte" if step.exact else "it was edited since: only our entries are undone"
        lines.append(f"{step.found.path}: {how if step.changes else 'nothing to undo'}")
    lines += [f"warning: {why}" for _, why in plan.unread]
    emit(args, _document(plan, args.dry_run, ()), [visible(line, CHARS_MAX) for line in lines])
    return 0


def _list(args: argparse.Namespace) -> int:
    from helm_ai_kernel.app.clients import survey
    from helm_ai_kernel.app.clients.table import CLIENTS

    program, found = _program(), survey.all_of(_places())
    rows: list[dict[str, Any]] = []
    for config in found.configs:
        count = sum(survey.governed(server.state, program) for server in config.servers)
        rows.append({"client": config.client, "file": str(config.found.path), "servers": len(config.servers), "governed": count})
    unread = [{"client": who, "error": error.detail} for who, error in found.unread]
    lines = [f"{row['client']:<15} {row['governed']} of {row['servers']} governed  {row['file']}" for row in rows]
    lines += [f"{who:<15} NOT READ: {error.detail}" for who, error in found.unread]
    rest = [client for client in CLIENTS if client not in {row["client"] for row in rows}]
    lines += [f"not here: {', '.join(rest)}"] if rest else []
    data = {"files": rows, "unread": unread, "clients": list(CLIENTS)}
    emit(args, data, [visible(line, CHARS_MAX) for line in lines])
    return 0


def _files(plan: "wrap.Plan", dry_run: bool) -> Iterator[str]:
    words = {"wrap": "wrapped as `{}`", "wrapped": "wrapped already as `{}`", "undone": "as it was", "kept": "NOT UNDONE: {why}"}
    for step in plan.steps:
        yield f"{step.found.path}"
        for row in step.rows:
            said = words.get(row.state, "NOT GOVERNED, left alone: {why}").format(row.name, why=row.why)
            hint = f" ({row.hint})" if row.hint else ""
            scope = f"  [{row.section[1]}]" if row.section[:1] == ("projects",) else ""
            yield f"  {row.label:<20} {said}{hint}{scope}"
        if dry_run:
            yield from step.diff()


def _notes(plan: "wrap.Plan") -> Iterator[str]:
    for twin in plan.twins:
        yield f"warning: `{twin.label}` in {twin.path} ({twin.client}) starts what `{twin.name}` governs, without the kernel"
    for client, why in plan.unread:
        yield f"warning: not looked through for servers that stay beside the kernel: {client}: {why}"


def _document(plan: "wrap.Plan", dry_run: bool, backups: tuple[Path, ...]) -> dict[str, Any]:
    files = [
        {
            "file": str(step.found.path),
            "changed": step.changes and not dry_run,
            "exact": step.exact,
            "servers": [
                {"server": row.label, "section": list(row.section), "state": row.state, "name": row.name, "why": row.why}
                for row in step.rows
            ],
            **({"diff": list(step.diff())} if dry_run else {}),
        }
        for step in plan.steps
    ]
    twins = [{"client": t.client, "file": str(t.path), "server": t.label, "name": t.name} for t in plan.twins]
    unread = [{"client": client, "error": why} for client, why in plan.unread]
    return {"client": plan.client, "files": files, "twins": twins, "unread": unread, "backups": [str(p) for p in backups]}


def _known(client: str) -> None:
    from helm_ai_kernel.app.clients.table import CLIENTS

    if client not in CLIENTS:
        near = difflib.get_close_matches(client, CLIENTS, 1)
        raise Declined(f"`{client}` is no client that is known here", " ".join([f"{PROGRAM} setup", *(near or ["--list"])]))


def _places() -> Any:
    from helm_ai_kernel.app.clients.places import Places

    return Places.of(os.environ, Path.cwd())


def _program() -> tuple[str, ...]:
    """How a client starts us: by an absolute path, for it has a PATH of its own."""
    beside = Path(sys.executable).with_name(PROGRAM)  # not behind its links: an environment's interpreter is one
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(PROGRAM)
    if found is None:
        raise Declined(
            f"there is no program `{PROGRAM}` beside {sys.executable} or in the PATH", "python -m pip install helm-ai-kernel"
        )
    return (os.path.abspath(found),)


def _home_option(args: argparse.Namespace) -> tuple[str, ...]:
    """A client does not have the variables of this shell: the home is named where it is not the usual one."""
    home = where(args).home
    usual = paths(environ={"HOME": os.environ.get("HOME", "/")}).home
    return () if home == usual else ("--home", str(home))


def _upstreams(args: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """The names that `helm.toml` has given away."""
    settings = where(args)
    if not settings.config.exists():
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for name, said in load(settings).upstreams.items():
        if isinstance(said, HttpUpstream | McpUpstream):
            found[name] = ("--url", said.url)
        else:
            found[name] = (Path(said.command[0]).name, *said.command[1:])
    return found
