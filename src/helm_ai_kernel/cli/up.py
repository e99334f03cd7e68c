"""`up`: the resident kernel, until a signal ends it. Only this command loads what serves: every other one starts without it."""

import argparse
import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

from .output import PROGRAM, Commands, command, config, number

if TYPE_CHECKING:
    from helm_ai_kernel.app.resident import Listening


def add(commands: Commands) -> None:
    up = command(commands, "up", "every configured door, until SIGTERM; SIGHUP reads the agents again", f"{PROGRAM} up")
    up.add_argument("--within-s", type=number, metavar="N", help="how long calls under way have at the end (default: 10)")
    up.add_argument("--wait-s", type=number, metavar="N", help="how long to wait for the kernel before this one (default: 5)")
    up.add_argument("--ready-fd", type=number, metavar="FD", help="where to write READY=1; also to $NOTIFY_SOCKET")
    up.add_argument("--idle-s", type=number, metavar="N", help="end when no `mcp wrap` was there for so long (default: stay)")
    up.add_argument(
        "--insecure-open-loopback",
        dest="open_loopback",
        action="store_true",
        help="calls from this machine need no credential; recorded in every receipt",
    )
    up.set_defaults(run=run_up)


def run_up(args: argparse.Namespace) -> int:
    from helm_ai_kernel.app import resident
    from helm_ai_kernel.verifier.document import document

    if args.ready_fd is not None:
        try:
            os.fstat(args.ready_fd)
        except OSError:
            detail = f"file descriptor {args.ready_fd} is not open"
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint=f"{PROGRAM} up --help") from None
    said: dict[str, Any] = {"within_s": args.within_s, "wait_s": args.wait_s, "ready_fd": args.ready_fd, "idle_s": args.idle_s}
    given = {name: value for name, value in said.items() if value is not None}
    asked = resident.Asked(document(), open_loopback=args.open_loopback, **given)

    def tell(listening: "list[Listening]") -> None:
        if args.format == "json":
            print(json.dumps({"listening": [{"plane": one.plane, "at": one.at} for one in listening]}))
        else:
            for one in listening:
                print(f"{one.plane:<8} {one.at}")
        sys.stdout.flush()

    asyncio.run(resident.serve(config(args), asked, tell))
    return 0
