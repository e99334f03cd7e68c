"""`freeze`, `release`: everything stopped at once, by whoever may use this kernel; let go again by a person's signature."""

import argparse
import asyncio
import getpass
import os
import shlex

from helm_ai_kernel.app import asks, operate
from helm_ai_kernel.tcb.findings import visible

from .output import PROGRAM, Commands, Declined, command, config, emit, place
from .signing import person, signing_options


def add(commands: Commands) -> None:
    freeze = command(commands, "freeze", "stop everything, a server, an agent or a session, at once", f"{PROGRAM} freeze all")
    freeze.add_argument("scope", metavar="SCOPE", help="all, server:NAME, agent:NAME or session:ID")
    freeze.set_defaults(run=run_freeze)
    release = command(commands, "release", "let what was frozen be called again, signed", f"{PROGRAM} release all")
    release.add_argument("scope", metavar="SCOPE", help="as it was frozen")
    signing_options(release)
    release.set_defaults(run=run_release)


def run_freeze(args: argparse.Namespace) -> int:
    settings = config(args)
    by = f"{getpass.getuser()} (uid {os.getuid()})"
    receipt = asyncio.run(operate.at_desk(settings, lambda desk: desk.freeze(args.scope, by)))
    data = {"scope": args.scope, "hold": receipt.leaf, "receipt": place(receipt)}
    emit(
        args,
        data,
        [f"frozen: {args.scope} (receipt {receipt.index}); next: {settings.paths.typed('release ' + shlex.quote(args.scope))}"],
    )
    return 0


def run_release(args: argparse.Namespace) -> int:
    settings = config(args)
    hold = asks.frozen(settings).get(args.scope)
    if hold is None:
        raise Declined(f"`{args.scope}` is not frozen", settings.paths.typed("approvals list"))
    key = person(args, settings, [f"{visible(args.scope)} is frozen by {hold[7:19]}"], f"let {visible(args.scope)} go on?")
    receipt = asyncio.run(operate.at_desk(settings, lambda desk: asks.unfreeze(desk, args.scope, hold, [key])))
    emit(
        args,
        {"scope": args.scope, "receipt": place(receipt)},
        [f"released: receipt {receipt.index}"],
    )
    return 0
