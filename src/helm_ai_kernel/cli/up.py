"""`up`: the resident kernel, until a signal ends it."""

import argparse
import asyncio
import json
import os
import sys

from helm_ai_kernel.app import resident
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.verifier.document import document

from .output import PROGRAM, Commands, command, config, number


def add(commands: Commands) -> None:
    up = command(commands, "up", "every configured door, until SIGTERM; SIGHUP reads the agents again", f"{PROGRAM} up")
    up.add_argument(
        "--within-s", type=number, default=int(resident.WITHIN_S), metavar="N", help="how long calls under way have at the end"
    )
    up.add_argument(
        "--wait-s", type=number, default=int(resident.WAIT_S), metavar="N", help="how long to wait for the kernel before this one"
    )
    up.add_argument("--ready-fd", type=number, metavar="FD", help="where to write READY=1; also to $NOTIFY_SOCKET")
    up.add_argument(
        resident.OPEN_LOOPBACK,
        action="store_true",
        help="calls from this machine need no credential; recorded in every receipt",
    )
    up.set_defaults(run=run_up)


def run_up(args: argparse.Namespace) -> int:
    if args.ready_fd is not None:
        try:
            os.fstat(args.ready_fd)
        except OSError:
            detail = f"file descriptor {args.ready_fd} is not open"
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint=f"{PROGRAM} up --help") from None
    asked = resident.Asked(document(), args.within_s, args.wait_s, args.ready_fd, args.insecure_open_loopback)

    def tell(listening: list[resident.Listening]) -> None:
        if args.format == "json":
            print(json.dumps({"listening": [{"plane": one.plane, "at": one.at} for one in listening]}))
        else:
            for one in listening:
                print(f"{one.plane:<8} {one.at}")
        sys.stdout.flush()

    asyncio.run(resident.serve(config(args), asked, tell))
    return 0
