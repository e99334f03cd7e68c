"""What a person signs: shown first, agreed to, and only then is their key asked for. Nothing here signs by itself."""

import argparse
import getpass
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from helm_ai_kernel.app import operate, trust
from helm_ai_kernel.app.config import Config
from helm_ai_kernel.credentials import agent, files, keyfile
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.keys import Purpose, Signer

from .output import Declined, tell


def signing_options(parser: argparse.ArgumentParser, *, roots: bool = False) -> None:
    """`roots`: it is signed with root keys, which are files, and perhaps with several."""
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        help="first line is the passphrase; a file of mode 0600 or a pipe (default: ask; $HELM_PASSPHRASE_FILE)",
    )
    if roots:
        text = "sign with this root key, too; name it once for each root (default: yours)"
        parser.add_argument("--key", type=Path, metavar="FILE", action="append", default=[], help=text)
    else:
        text = "sign with this key file (default: yours that is in the registry)"
        parser.add_argument("--key", type=Path, metavar="FILE", help=text)
        parser.add_argument("--ssh-agent", action="store_true", help="sign with a key that your ssh-agent holds")
    parser.add_argument("--yes", action="store_true", help="sign without asking again")


def person(
    args: argparse.Namespace, settings: Config, shown: Iterable[str], question: str,
    *, purpose: Purpose = Purpose.APPROVAL, path: Path | None = None,
) -> Signer:  # fmt: skip
    """The key of a person who has seen `shown` and said yes. Raises `Declined` where they did not."""
    operate.check_reachable(settings.paths)
    tell(args, shown)
    if not agreed(args, question):
        raise Declined("nothing was signed", f"{args.typed} --yes")
    path = path or args.key
    if path is not None:
        return keyfile.read_person(path, purpose, passphrase(args, f"your {purpose.value} key"))
    keys = [entry.key for entry in trust.known(settings.paths).in_force(purpose).values()]
    if args.ssh_agent or (settings.approval_key == "ssh-agent" and not args.passphrase_file):
        return agent.find(keys)
    held = keyfile.find_person(settings.paths.people_keys, keys)
    path = settings.paths.people_keys / "approval" if held is None else held[0]
    return keyfile.read_person(path, Purpose.APPROVAL, passphrase(args, "your approval key"))


def passphrase(args: argparse.Namespace, of: str, *, new: bool = False) -> bytes:
    """From the file that is named, else from the terminal, a new one twice; never from argv."""
    named = args.passphrase_file or os.environ.get("HELM_PASSPHRASE_FILE")
    if named:
        return files.read_passphrase(Path(named))
    if not sys.stdin.isatty():
        raise OutsideError(
            Reason.ERR_SIGNER_UNAVAILABLE,
            "there is no terminal to ask for the passphrase",
            hint=f"{args.typed} --passphrase-file FILE",
        )
    said = getpass.getpass(f"{'new ' if new else ''}passphrase of {of}: ")
    if new and said != getpass.getpass("the same again: "):
        raise OutsideError(Reason.ERR_SIGNER_UNAVAILABLE, "the passphrases differ", hint=args.typed)
    return said.encode()


def agreed(args: argparse.Namespace, question: str) -> bool:
    """Asks on the terminal; without one, only `--yes` is a yes."""
    if args.yes:
        return True
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
