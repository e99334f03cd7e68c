"""How every command speaks: one JSON document or text on stdout, one error line on stderr, nothing a terminal could obey."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn

from helm_ai_kernel.app.config import Config, Paths, load, paths
from helm_ai_kernel.tcb.findings import Exit, visible
from helm_ai_kernel.tcb.receipt import Receipt

Commands = Any  # argparse's subparsers action has no public type
PROGRAM = "helm-ai-kernel"
TELL_S = 0.5  # between two words to a terminal
HOMELESS = (
    "explain",
    "demo",
    "bench",
    "pack verify",
    "pack show",
    "pack redact",
    "replay",
    "trust sign",
    "witness",
)  # these know no `--home`


class Declined(Exception):
    """The answer is no, and nothing was done: exit 1."""

    def __init__(self, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint


class Parser(argparse.ArgumentParser):
    """Usage errors look like all others. Options are not abbreviated: what is typed today means the same tomorrow."""

    usage_exit = 2
    tail = ""  # where what is behind `--` goes, as it is: the words of another command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if not self.tail or args is None:
            return super().parse_known_args(args, namespace)
        words = list(args)
        at = words.index("--") if "--" in words else len(words)
        found, rest = super().parse_known_args(words[:at], namespace)
        setattr(found, self.tail, words[at + 1 :])
        return found, rest

    def error(self, message: str) -> NoReturn:
        what = self.prog.removeprefix(PROGRAM).strip() or "usage"
        raise SystemExit(complain(what, message, hint=f"{self.prog} --help", exit_code=self.usage_exit))


def command(commands: Commands, name: str, text: str, example: str, *, home: bool = True, verifies: bool = False) -> Parser:
    """A command with the options that all have, and a real example in its help. `verifies`: it has the verifier's exit codes."""
    parser: Parser = commands.add_parser(
        name, help=text, description=text, epilog=f"example: {example}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json is one document and stable")
    if home:
        parser.add_argument("--home", help="the kernel's directory (default: $HELM_HOME, else ~/.local/share/helm-ai-kernel)")
    parser.set_defaults(what=parser.prog.removeprefix(PROGRAM).strip(), verifies=verifies)
    if verifies:
        parser.usage_exit = int(Exit.USAGE)
    return parser


def group(commands: Commands, name: str, text: str) -> Commands:
    example = f"example: {PROGRAM} {name} --help"
    formatter = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(name, help=text, description=text, epilog=example, formatter_class=formatter)
    return parser.add_subparsers(metavar="COMMAND", required=True)


def number(text: str) -> int:
    """How many; the type of an option."""
    if not text.isdecimal() or len(text) > 15:
        raise argparse.ArgumentTypeError(f"`{text}` is not a whole number from 0")
    return int(text)


def time(text: str) -> str:
    """A moment as records have it; the type of an option."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` is no time such as 2026-01-31T18:00:00Z") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def out_option(parser: argparse.ArgumentParser, *names: str, **how: Any) -> None:
    """Where a command writes a file to, which is not a place where something is: see `check_out`."""
    parser.add_argument(*names, type=Path, **how)
    parser.add_argument("--force", action="store_true", help="put it in the place of a file that is there")


def check_out(args: argparse.Namespace) -> None:
    """Before any work."""
    if args.out is not None and args.out.exists() and not args.out.is_file():
        raise Declined(f"`{args.out}` is no file, and nothing takes its place", f"{args.typed} --help")
    if args.out is not None and not args.force and (args.out.exists() or args.out.is_symlink()):
        raise Declined(f"`{args.out}` is there, and nothing is overwritten", f"{args.typed} --force")


def emit(args: argparse.Namespace, data: Any, lines: Iterable[str]) -> None:
    """`data` as JSON, or `lines` as text."""
    if args.format == "json":
        print(json.dumps(data, indent=1))
    else:
        for line in lines:
            print(line)


def stream(**parts: Iterable[Any]) -> None:
    """One JSON document, an object of lists, whose items are printed as they come."""
    opening = "{"
    for name, items in parts.items():
        print(f"{opening}\n {json.dumps(name)}: [", end="")
        for number, item in enumerate(items):
            print("," if number else "", json.dumps(item), sep="\n  ", end="")
        print("\n ]", end="")
        opening = ","
    print("\n}")


def tell(args: argparse.Namespace, lines: Iterable[str]) -> None:
    """What a person has to see before they agree; JSON on stdout stays one document."""
    for line in lines:
        print(line, file=sys.stderr if args.format == "json" else sys.stdout, flush=True)


def plain(value: Any, chars_max: int) -> str:
    """JSON in ASCII, which holds no character that a terminal could obey; nothing is escaped twice."""
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= chars_max else text[:chars_max] + "..."


def progress(args: argparse.Namespace, what: str) -> Callable[[int, int], None]:
    """Tells a person at a terminal how far long work is; says nothing in a pipe, and nothing of what is short."""
    if not sys.stderr.isatty():
        return lambda done, of: None
    begun = told = monotonic()

    def show(done: int, of: int) -> None:
        nonlocal told
        now = monotonic()
        if now - told >= TELL_S:
            told = now
            share = f" of {of}" if of else ""
            print(f"\r{args.what}: {done}{share} {what}, {now - begun:.0f} s", end="\x1b[K", file=sys.stderr, flush=True)
        if of and done >= of and told > begun:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    return show


def complain(what: str, cause: str, code: str = "", *, hint: str = "", exit_code: int) -> int:
    """One `error:` line and, where there is something to do, one `hint:` line."""
    sys.stdout.flush()
    print(f"error: {what}: {visible(cause, 600)}{f' ({code})' if code else ''}", file=sys.stderr)
    if hint:
        print(f"hint: {visible(hint, 600)}", file=sys.stderr)
    return exit_code


def at_home(args: argparse.Namespace, hint: str) -> str:
    """A hint that is a command, for the home that this command was given."""
    words = hint.removeprefix(f"{PROGRAM} ")
    home = getattr(args, "home", None)
    if not home or words == hint or "--h" in words or words.startswith(HOMELESS):
        return hint
    return f"{hint} --home {shlex.quote(home)}"


def place(receipt: Receipt) -> dict[str, Any]:
    """Where a receipt stands, as commands name it in JSON."""
    return {"index": receipt.index, "leaf": receipt.leaf}


def where(args: argparse.Namespace) -> Paths:
    return paths(args.home)


def config(args: argparse.Namespace) -> Config:
    return load(where(args))
