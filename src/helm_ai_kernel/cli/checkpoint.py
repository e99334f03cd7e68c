"""`checkpoint`: the newest signed head of the log, for whoever keeps heads; and its cosignatures."""

import argparse
import sys

from helm_ai_kernel.app import operate, witnesses
from helm_ai_kernel.app.config import Config
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.cosign import rfc3339

from .output import PROGRAM, Commands, Declined, command, complain, config, emit


def add(commands: Commands) -> None:
    text = "the newest signed head of the log: keep it elsewhere, and no history can be exchanged unnoticed"
    checkpoint = command(commands, "checkpoint", text, f"{PROGRAM} checkpoint --witness")
    what = checkpoint.add_mutually_exclusive_group()
    what.add_argument("--witness", action="store_true", help="ask the witnesses of the policy to cosign it, and keep that")
    what.add_argument("--vkey", action="store_true", help="the log's key in one line, for a witness or a policy")
    checkpoint.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    settings = config(args)
    if args.vkey:
        vkey = str(witnesses.log_vkey(settings))
        emit(args, {"vkey": vkey}, [vkey])
        return 0
    operate.cover_tail(settings)
    with Reader(settings.paths.store) as reader:
        note = reader.checkpoint
    if args.witness:
        return _witness(args, settings, note)
    _show(args, note, _head(Checkpoint.from_bytes(note)))
    return 0


def _witness(args: argparse.Namespace, settings: Config, note: bytes) -> int:
    asked = witnesses.of_config(settings)
    if asked is None:
        raise Declined("no witness policy is named", f'add [log] witnesses = "witness-policy.txt" to {settings.paths.config}')
    done = asked.round(note)
    for error in done.failed.values():
        complain(args.what, error.detail, hint=error.hint, exit_code=0)
    seen = {label: rfc3339(time) for label, time in done.seen.items()}
    _show(args, done.note.note, {**_head(done.note), "seen": seen, "since": done.since})
    if done.since is None:
        count = f"{len(seen)} of {len(asked.policy.witnesses)} witnesses cosigned"
        return complain(args.what, f"{count}: that is no quorum, and nothing was kept", exit_code=1)
    print(f"cosigned by a quorum since {done.since}", file=sys.stderr)
    return 0


def _show(args: argparse.Namespace, note: bytes, data: dict[str, object]) -> None:
    """The note as it is, byte for byte: whoever keeps it can verify it, whatever this terminal calls a dash."""
    if args.format == "json":
        emit(args, data, ())
    else:
        sys.stdout.buffer.write(note)


def _head(head: Checkpoint) -> dict[str, object]:
    return {"log": head.origin, "size": head.size, "root": head.root.hex(), "note": head.note.decode()}
