"""The command line: one module per command group, and no logic. stdout carries data, stderr the rest.

Exit codes: 0 done, 1 the answer is no, 2 usage or the world failed; `pack verify` and `replay` have the verifier's own.
"""

import argparse
import gc
import os
import shlex
import sys
from collections.abc import Sequence

from helm_ai_kernel import __version__
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError, Refused
from helm_ai_kernel.tcb.findings import Exit

from . import (
    agents,
    approvals,
    backups,
    checkpoint,
    clients,
    erasure,
    evidence,
    freezes,
    mcp,
    packs,
    policy,
    setup,
    tools,
    trial,
    trust,
    up,
    witness,
)
from .output import PROGRAM, Declined, Parser, at_home, complain

INTERRUPTED = 130  # as shells say it
GARBAGE = (10_000, 20, 50)  # what a call makes dies young and without cycles: by default it is searched every few calls


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, translate failures into one `error:` line and one `hint:` line that works."""
    gc.set_threshold(*GARBAGE)
    argv = sys.argv[1:] if argv is None else argv
    args = parser().parse_args(argv)
    args.typed = shlex.join([PROGRAM, *argv])
    try:
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of a pipe went away: nothing to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except (Declined, Refused, OutsideError, EvidenceError, OSError) as e:
        return _failed(args, e)


def _failed(args: argparse.Namespace, e: Exception) -> int:
    no, outside, broken = (1, int(Exit.USAGE), int(Exit.INVALID)) if args.verifies else (1, 2, 1)
    if isinstance(e, EvidenceError):
        named = getattr(args, "pack", None)
        hint = at_home(args, f"{PROGRAM} fsck") if named is None else f"{PROGRAM} pack verify {shlex.quote(str(named))}"
        return complain(args.what, f"{e.where}: {e.detail}" if e.where else e.detail, e.finding, hint=hint, exit_code=broken)
    if isinstance(e, Declined):
        return complain(args.what, e.detail, hint=at_home(args, e.hint), exit_code=no)
    if isinstance(e, Refused | OutsideError):
        code = no if isinstance(e, Refused) else outside
        return complain(args.what, e.detail, e.reason, hint=at_home(args, e.hint), exit_code=code)
    if isinstance(e, OSError):
        hint = f"ls -ld {shlex.quote(os.path.dirname(os.path.abspath(e.filename)))}" if isinstance(e.filename, str) else ""
        named = f"`{e.filename}`: " if e.filename else ""
        return complain(args.what, f"{named}{(e.strerror or str(e)).lower()}", hint=hint, exit_code=outside)
    raise e


def parser() -> argparse.ArgumentParser:
    top = Parser(
        prog=PROGRAM,
        description="A fail-closed execution firewall for AI agents.",
        epilog=f"start here: {PROGRAM} demo",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    operating = (setup, clients, up, agents, tools, mcp, policy, approvals, freezes)
    for module in (*operating, evidence, packs, backups, trust, erasure, checkpoint, witness, trial):
        module.add(commands)
    return top
