"""How every command speaks: one JSON document or text on stdout, one error line on stderr, nothing a terminal could obey."""

import argparse
import getpass
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from helm_ai_kernel.app.config import Config, Paths, load, paths
from helm_ai_kernel.credentials import agent, keyfile
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.findings import visible
from helm_ai_kernel.tcb.keys import Purpose, Signer
from helm_ai_kernel.tcb.registry import Registry

Commands = Any  # argparse's subparsers action has no public type


def command(commands: Commands, name: str, text: str, example: str, *, home: bool = True) -> argparse.ArgumentParser:
    """A command with the options that all have, and a real example in its help."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, epilog=f"example: {example}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json is one document and stable")
    if home:
        parser.add_argument("--home", help="the kernel's directory (default: $HELM_HOME, else ~/.local/share/helm-ai-kernel)")
    return parser


def group(commands: Commands, name: str, text: str) -> Commands:
    return commands.add_parser(name, help=text, description=text).add_subparsers(metavar="COMMAND", required=True)


def emit(args: argparse.Namespace, data: Any, lines: Iterable[str]) -> None:
    """`data` as JSON, or `lines` as text."""
    if args.format == "json":
        print(json.dumps(data, indent=1))
    else:
        for line in lines:
            print(line)


def complain(detail: str, code: str, hint: str, exit_code: int) -> int:
    """One `error:` line and, where there is something to do, one `hint:` line."""
    sys.stdout.flush()
    print(f"error: {visible(detail, 600)}{f' ({code})' if code else ''}", file=sys.stderr)
    if hint:
        print(f"hint: {visible(hint, 600)}", file=sys.stderr)
    return exit_code


def where(args: argparse.Namespace) -> Paths:
    return paths(args.home)


def config(args: argparse.Namespace) -> Config:
    return load(where(args))


def signing_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--passphrase-file", type=Path, help="first line is the passphrase (default: ask; $HELM_PASSPHRASE_FILE)")
    parser.add_argument("--ssh-agent", action="store_true", help="sign with the approval key that your ssh-agent holds")
    parser.add_argument("--yes", action="store_true", help="sign without asking again")


def passphrase(args: argparse.Namespace) -> bytes:
    """From the file that is named, else from the terminal; never from argv."""
    named = args.passphrase_file or os.environ.get("HELM_PASSPHRASE_FILE")
    if named:
        return Path(named).read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
    if not sys.stdin.isatty():
        raise OutsideError(
            Reason.ERR_SIGNER_UNAVAILABLE, "there is no terminal to ask for the passphrase", hint="give --passphrase-file FILE"
        )
    return getpass.getpass("passphrase of your approval key: ").encode()


def signer(args: argparse.Namespace, config: Config, registry: Registry) -> Signer:
    """The person's approval key, from its file or from ssh-agent."""
    if args.ssh_agent or config.approval_key == "ssh-agent":
        approval = [entry.key for entry in registry.keys.values() if entry.key.purpose is Purpose.APPROVAL]
        return agent.find(approval)
    return keyfile.read_person(config.paths.people_keys / "approval", Purpose.APPROVAL, passphrase(args))


def agreed(args: argparse.Namespace, question: str) -> bool:
    """Asks on the terminal; without one, only `--yes` is a yes."""
    if args.yes:
        return True
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
