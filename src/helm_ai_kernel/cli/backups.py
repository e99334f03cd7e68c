"""`backup`, `restore`: a copy of what a kernel knows, and a new log where an old one cannot go on."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from helm_ai_kernel.app import backup, operate, restore, trust
from helm_ai_kernel.app.config import Paths
from helm_ai_kernel.tcb.findings import visible
from helm_ai_kernel.verifier import asked
from helm_ai_kernel.verifier.files import PackFile

from .output import PROGRAM, Commands, Declined, check_out, command, config, emit, out_option, tell, where
from .ownkeys import held, signed_here
from .signing import agreed, signing_options


def add(commands: Commands) -> None:
    save = command(commands, "backup", "write what the kernel knows into one file, without any key", f"{PROGRAM} backup helm.tar")
    out_option(save, "out", help="where to; not where something is, unless --force")
    save.set_defaults(run=run_backup)
    again = command(
        commands,
        "restore",
        "begin a new log in the place of one that cannot go on",
        f"{PROGRAM} restore helm.tar --home NEW",
    )
    again.add_argument("backup", nargs="?", type=Path, help="a file that `backup` wrote; into a home that does not exist yet")
    again.add_argument("--here", action="store_true", help="instead: of the store in this home, which was put back")
    text = "what its registry must begin with, from outside (default: the local trust file)"
    again.add_argument("--genesis", type=asked.pinned, metavar="sha256:HEX", help=text)
    again.add_argument(
        "--signer", action="append", default=[], metavar="NAME", help="who signs with a root key; again for each (default: you)"
    )
    signing_options(again)
    again.set_defaults(run=run_restore)


def run_backup(args: argparse.Namespace) -> int:
    settings = config(args)
    check_out(args)
    operate.cover_tail(settings)
    saved = backup.save(settings, args.out)
    head = {"log": saved.head.origin, "size": saved.head.size, "root": saved.head.root.hex()}
    data = {"backup": str(args.out), "bytes": saved.bytes, "head": head, "left_out": list(saved.left_out)}
    lines = [
        f"{args.out}  {saved.bytes} bytes",
        f"log {saved.head.origin}, size {saved.head.size}, root {saved.head.root.hex()}",
        *(f"left out, it is no file of a kernel: {visible(name)}" for name in saved.left_out),
        f"no key is in it; to go on from it: {PROGRAM} restore {args.out} --home NEW",
    ]
    emit(args, data, lines)
    return 0


def run_restore(args: argparse.Namespace) -> int:
    if (args.backup is None) != args.here:
        raise Declined("either a backup or --here", f"{PROGRAM} restore --help")
    paths = where(args)
    if args.here:
        settings, lock = config(args), restore.hold(paths)
        try:
            restore.check_rolled_back(settings, lock)
            return _go_on(args, paths, paths, restore.old(paths, paths.heads))
        finally:
            lock.release()
    with PackFile(args.backup) as source, restore.restoring(source, args.backup, paths) as restoring:
        old = restoring.check(args.genesis)
        lock = restore.hold(restoring.paths)
        try:
            return _go_on(args, restoring.paths, paths, old, restoring)
        finally:
            lock.release()


def _go_on(
    args: argparse.Namespace, there: Paths, paths: Paths, old: restore.Old, restoring: restore.Restoring | None = None
) -> int:
    """`there`: where the store is now; `paths`: where it will be."""
    new = restore.New.draw(old.registry)
    roots = trust.voters(old.registry, args.signer, held(args, paths.people_keys), None)
    tell(args, _shown(old, new, here=restoring is None))
    if not agreed(args, "end this log, begin the new one, and sign for its keys?"):
        raise Declined("nothing was signed, and nothing changed", f"{args.typed} --yes")
    restore.go_on(there, old, new, roots, lambda draft: signed_here(args, draft, paths.people_keys))
    if restoring is not None:
        restoring.keep()
    heads = [{"size": head.size, "root": head.root.hex()} for head in old.heads]
    emit(
        args, {"home": str(paths.home), "log": new.origin, "before": {"log": old.origin, "heads": heads}}, _next(paths, old, new)
    )
    return 0


def _shown(old: restore.Old, new: restore.New, *, here: bool) -> Iterator[str]:
    yield f"log {old.origin} ends. Its heads, which the new log will name:"
    yield from (f"  size {head.size}, root {head.root.hex()}" for head in old.heads)
    if old.unnamed:
        yield f"Not named, and evidence to keep: {visible(old.unnamed, 500)}"
    yield f"log {new.origin} begins, with keys of its own:"
    yield from (f"  {purpose.value:<10} {key.public.id}" for purpose, key in new.keys().items())
    yield "What the old log knew of idempotency keys and of used budgets is unknown to the new one: a retried call runs again."
    if here:  # a backup has no keys of subjects
        yield "Erasures that were signed after the state that was put back are unknown, too: make them again."


def _next(paths: Paths, old: restore.Old, new: restore.New) -> Iterator[str]:
    yield f"home      {paths.home}"
    yield f"log       {new.origin}, which names {'both heads' if len(old.heads) > 1 else 'one head'} of {old.origin}"
    yield f"evidence  {paths.typed('pack export --of ' + old.origin)}"
    yield "Nothing is in force in the new log, and nothing is allowed. Next:"
    for name in sorted(path.stem for path in paths.catalog.glob("*.json")):
        yield f"  {paths.typed('tools pin ' + visible(name))}"
    yield f"  {paths.typed('policy apply')}"
