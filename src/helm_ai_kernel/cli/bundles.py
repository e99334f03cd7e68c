"""`mcp bundle`: a `.mcpb` that starts a server behind the kernel, made from a pin or around another one; and what one holds."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from helm_ai_kernel.app import mcpb
from helm_ai_kernel.disk import durable
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.findings import visible
from helm_ai_kernel.wire.mcpb import Bundle, wrapped
from helm_ai_kernel.wire.reroute import PROGRAM

from .output import Commands, check_out, command, complain, config, emit, out_option, plain

HELP = f"{PROGRAM} mcp bundle --help"
LISTED_MAX = 64  # lines of tools; JSON has them all


def add(mcp: Commands) -> None:
    bundle = command(
        mcp,
        "bundle",
        "a bundle (.mcpb) that starts a server behind the kernel: of a pinned server, or around another bundle",
        "helm-ai-kernel mcp bundle time -o time.mcpb",
    )
    bundle.add_argument("server", nargs="?", help="a pinned server, or one of [upstream.NAME]; of --wrap: what it is called here")
    how = bundle.add_mutually_exclusive_group()
    how.add_argument("--wrap", type=Path, metavar="FILE", help="put this bundle's server behind the kernel")
    how.add_argument("--check", type=Path, metavar="FILE", help="say what is in this bundle; 1 where it is refused")
    bundle.add_argument(
        "--program", default=PROGRAM, metavar="PATH", help="what the bundle's host starts, where the kernel is not on its PATH"
    )
    out_option(bundle, "-o", "--out", metavar="FILE", help="where to put it (default: NAME.mcpb)")
    bundle.set_defaults(run=run_bundle)


def run_bundle(args: argparse.Namespace) -> int:
    if args.check is not None and (args.server is not None or args.out is not None):
        return complain(args.what, "--check makes nothing, and asks for nothing but its file", hint=HELP, exit_code=2)
    if args.check is not None:
        return _check(args)
    if args.server is None and args.wrap is None:
        return complain(args.what, "it is not said of which server, or around which bundle", hint=HELP, exit_code=2)
    if args.server is not None:
        mcpb.check_name(args.server)
    return _make(args)


def _make(args: argparse.Namespace) -> int:
    original: dict[str, Any] = {}
    if args.wrap is not None:
        data = mcpb.read(args.wrap)
        bundle = Bundle.from_bytes(data)
        name = args.server or mcpb.server_name(bundle)
        made = wrapped(data, name, program=args.program)
        original = {"wraps": {"path": str(args.wrap), "digest": bundle.digest, "signature": bundle.signature}}
    else:
        name = args.server
        made = mcpb.governed(config(args), name, args.program)
    args.out = args.out or Path(f"{name}.mcpb")
    check_out(args)
    durable.write(args.out, [made])
    said = {"path": str(args.out), "digest": digest(made), "bytes": len(made), "server": name, **original}
    lines = [f"around {original['wraps']['digest']}, {original['wraps']['signature']}"] if original else []
    lines += [f"{visible(str(args.out))}: {digest(made)}, {len(made)} bytes", f"it starts: {args.program} mcp wrap --name {name}"]
    emit(args, said, [*lines, f"look at it: {PROGRAM} mcp bundle --check {shlex.quote(str(args.out))}"])
    return 0


def _check(args: argparse.Namespace) -> int:
    data = mcpb.read(args.check)
    try:
        bundle = Bundle.from_bytes(data)
    except Refused as no:
        said = {
            "path": str(args.check),
            "digest": digest(data),
            "refused": {"reason": no.reason, "sub": no.sub, "detail": no.detail},
        }
        emit(args, said, [f"{digest(data)}, {len(data)} bytes", f"REFUSED ({no.sub}): {visible(no.detail)}"])
        return 1
    emit(args, _document(args.check, bundle), _lines(bundle))
    return 0


def _document(path: Path, bundle: Bundle) -> dict[str, Any]:
    return {
        "path": str(path),
        "digest": bundle.digest,
        "bytes": bundle.size,
        "signature": bundle.signature,
        "entries": [{"name": entry.name, "bytes": entry.size} for entry in bundle.archive.entries],
        "manifest": bundle.manifest.body,
        "tools": list(bundle.manifest.tools),
        "findings": [{"finding": word, "detail": text} for word, text in bundle.findings()],
    }


def _lines(bundle: Bundle) -> list[str]:
    manifest, unpacked = bundle.manifest, sum(entry.size for entry in bundle.archive.entries)
    lines = [
        f"{visible(manifest.name)} {visible(manifest.version)} (manifest {manifest.form}, {manifest.kind})",
        f"{bundle.digest}, {bundle.size} bytes, {bundle.signature}",
        f"{len(bundle.archive.entries)} files, {unpacked} bytes unpacked",
    ]
    if manifest.launch is not None:
        lines.append(f"starts: {_words(manifest.launch.command, manifest.launch.args)}")
        lines += [f"starts on {name}: {_words(o.command, o.args)}" for name, o in manifest.platforms.items()]
    lines += [f"tool {name}" for name in manifest.tools[:LISTED_MAX]]
    if len(manifest.tools) > LISTED_MAX:
        lines.append(f"and {len(manifest.tools) - LISTED_MAX} more")
    return [*lines, *(f"{word}: {visible(text)}" for word, text in bundle.findings())]


def _words(command: str | None, args: tuple[str, ...] | None) -> str:
    return plain([command or "(as elsewhere)", *(args or ())], 600)
