"""What a verifier brings from outside the pack, as options of a command line, and the question that comes of them."""

import argparse
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from helm_ai_kernel.tcb.checklist import Progress, Question, verify
from helm_ai_kernel.tcb.checkpoint import NOTE_BYTES_MAX
from helm_ai_kernel.tcb.clock import duration_ms
from helm_ai_kernel.tcb.container import Source
from helm_ai_kernel.tcb.cosign import POLICY_BYTES_MAX, WitnessPolicy
from helm_ai_kernel.tcb.digest import Digest, is_digest
from helm_ai_kernel.tcb.findings import Report
from helm_ai_kernel.tcb.pack import Entries

from . import files
from .cores import vet_on

CORES_MAX = 8  # one process reads what the others vetted: more of them would wait for it

_AGE_MAX = timedelta(days=365_000)  # a thousand years: before the year 1 there is no time


def add(parser: argparse.ArgumentParser) -> None:
    """The options that `question` and `judge` read."""
    parser.add_argument(
        "--genesis", type=pinned, metavar="sha256:HEX", help="digest of the trust registry's genesis, from outside the pack"
    )
    kept = "a checkpoint of this log that you kept: the pack must extend it (again for more of them)"
    parser.add_argument("--known-head", type=Path, metavar="FILE", action="append", default=[], help=kept)
    parser.add_argument(
        "--witnesses", type=Path, metavar="FILE", help="whose cosignatures count, and how many must be there: a tlog-policy"
    )
    parser.add_argument("--max-age", type=_age, metavar="AGE", help="how old the pack may be: `90m`, `24h`, `7d`")
    parser.add_argument("--require-resolved", action="store_true", help="a recorded UNKNOWN counts as incomplete")
    parser.add_argument(
        "--cores", type=int, choices=range(1, CORES_MAX + 1), default=None, help="processes for signatures (default: all cores)"
    )


def policy(args: argparse.Namespace) -> WitnessPolicy | None:
    """Raises `OutsideError`, or `Refused` for a wrong one."""
    return None if args.witnesses is None else WitnessPolicy.from_bytes(files.read(args.witnesses, POLICY_BYTES_MAX))


def question(args: argparse.Namespace, *, genesis: Digest | None, known: Sequence[bytes] = ()) -> Question:
    """`known`: heads that are known beside those that are named. Raises `OutsideError`, or `Refused` for a wrong policy."""
    heads = [files.read(path, NOTE_BYTES_MAX) for path in args.known_head]
    oldest = None if args.max_age is None else _written(datetime.now(UTC) - args.max_age)
    return Question(genesis, (*heads, *known), policy(args), oldest, args.require_resolved)


def judge(evidence: Source | Entries, asked: Question, cores: int | None, progress: Progress = lambda done, of: None) -> Report:
    many = min(CORES_MAX, cores or len(os.sched_getaffinity(0)))
    return verify(evidence, asked, vet=vet_on(many), progress=progress)


def pinned(text: str) -> Digest:
    """A genesis digest as a person pins it."""
    if not is_digest(text):
        raise argparse.ArgumentTypeError("not `sha256:` and 64 lowercase hex digits")
    return Digest(text)


def _age(text: str) -> timedelta:
    ms = duration_ms(text)
    age = None if ms is None else timedelta(milliseconds=ms)
    if age is None or age > _AGE_MAX:
        raise argparse.ArgumentTypeError("not a number with `s`, `m`, `h` or `d` behind it, at most 365000d")
    return age


def _written(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
