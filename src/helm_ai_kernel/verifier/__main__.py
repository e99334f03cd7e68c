"""`python -m helm_ai_kernel.verifier PACK`: prints the report and exits with the verdict's code (`docs/spec/verification.md`)."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.findings import Exit, visible

from . import asked
from .files import PackFile

EXAMPLE = "example: python -m helm_ai_kernel.verifier evidence.tar --genesis sha256:3f…"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SystemExit(_usage(message, "helm_ai_kernel.verifier --help"))


def main(argv: Sequence[str] | None = None) -> int:
    parser = _Parser(prog="helm_ai_kernel.verifier", description="Verify an evidence pack, offline.", epilog=EXAMPLE)
    parser.add_argument("pack", type=Path, metavar="PACK")
    asked.add(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text")
    args = parser.parse_args(argv)
    try:
        with PackFile(args.pack) as source:
            report = asked.judge(source, asked.question(args, genesis=args.genesis), args.cores)
    except (OutsideError, Refused) as error:
        return _usage(error.detail, error.hint)
    sys.stdout.write(json.dumps(report.to_json(), indent=2) + "\n" if args.format == "json" else report.to_text())
    return int(report.exit)


def _usage(cause: str, hint: str) -> int:
    sys.stderr.write(f"error: verify: {visible(cause)}\nhint: {visible(hint)}\n")
    return int(Exit.USAGE)


if __name__ == "__main__":
    sys.exit(main())
