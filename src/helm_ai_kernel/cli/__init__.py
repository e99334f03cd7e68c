"""The command line: one module per command group, and no logic. stdout carries data, stderr the rest.

Exit codes: 0 done, 1 the answer is no, 2 usage or the world failed; `pack verify` and `replay` have the verifier's own.
"""

import argparse
import sys
from collections.abc import Sequence

from helm_ai_kernel import __version__
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError, Refused

from . import evidence, policy, setup, tools, trial
from .output import complain


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, translate failures into one `error:` line and one `hint:` line that works."""
    args = parser().parse_args(argv)
    try:
        return int(args.run(args))
    except Refused as e:
        return complain(e.detail, e.reason, e.hint, 1)
    except OutsideError as e:
        return complain(e.detail, e.reason, e.hint, 2)
    except EvidenceError as e:
        return complain(f"{e.where}: {e.detail}" if e.where else e.detail, e.finding, "helm-ai-kernel fsck", 1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe went away: nothing to say, and nobody to say it to
        return 2
    except KeyboardInterrupt:
        return 130
    except OSError as e:
        return complain(f"{e.filename or ''}: {e.strerror}", "", "check the path and its permissions", 2)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="helm-ai-kernel",
        description="A fail-closed execution firewall for AI agents.",
        epilog="start here: helm-ai-kernel demo",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"helm-ai-kernel {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for module in (setup, tools, policy, evidence, trial):
        module.add(commands)
    return top
