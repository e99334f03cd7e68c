"""`demo`, `bench`."""

import argparse
import json
import shutil
import sys
from pathlib import Path

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

from .output import Commands, command


def add(commands: Commands) -> None:
    demo = command(
        commands,
        "demo",
        "the main job on real parts, in a temporary home",
        "helm-ai-kernel demo --upstream mcp-server-time",
        home=False,
    )
    demo.add_argument("--upstream", default="mcp-server-time", help="the command of the official MCP time server")
    demo.add_argument("--folder", type=Path, help="where to work (default: a new temporary folder)")
    demo.set_defaults(run=run_demo)
    bench = command(
        commands, "bench", "the published benchmarks, on this machine", "helm-ai-kernel bench --format json", home=False
    )
    bench.add_argument("--full", action="store_true", help="also the lines that need minutes")
    bench.add_argument("--only", default="", metavar="NAME", help="only lines whose name begins so")
    bench.set_defaults(run=run_bench)


def run_demo(args: argparse.Namespace) -> int:
    from helm_ai_kernel.trials import demo  # imported here: no other command pays for it

    upstream = shutil.which(args.upstream)
    if upstream is None:
        raise OutsideError(
            Reason.ERR_CONNECTOR_FAILED, f"the MCP server `{args.upstream}` is not installed", hint="pip install mcp-server-time"
        )
    quiet = args.format == "json"
    result = demo.run(str(Path(upstream).absolute()), args.folder, (lambda text: None) if quiet else print)
    if quiet:
        json.dump(result, sys.stdout, indent=1)
        print()
    good = result["verify"]["exit"] == 0 and result["replay"]["exit"] == 0
    return 0 if good else 1


def run_bench(args: argparse.Namespace) -> int:
    from helm_ai_kernel.trials import bench  # imported here: no other command pays for it

    return bench.main(as_json=args.format == "json", full=args.full, only=args.only)
