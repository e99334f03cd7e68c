"""A kernel of a test's own in front of an MCP server, made and driven as a person does it: with the product's commands.

`inspect`, `pin` and `policy apply` are signed with an approval key behind a passphrase that lies in a file beside the home.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

COMMAND = [sys.executable, "-c", "import sys; from helm_ai_kernel.cli import main; sys.exit(main())"]
READY_S, END_S, COMMAND_S = 60, 30, 120
HERE = '\n[data]\nlisten = "127.0.0.1:0"\n[control]\nlisten = "127.0.0.1:0"\n'
EVERYTHING_MAY = b'@id("conformance-all") permit (principal, action, resource);\n'
POLICY = Path(__file__).parent / "everything.cedar"

# Asked of the client by the server: nothing reaches the server by them.
OF_THE_CLIENT = frozenset({"sampling/createMessage", "elicitation/create", "roots/list"})
# What the kernel asks a server for itself, and what ends no call: not counted on either side.
UNCOUNTED = frozenset({"subscriptions/listen"})


class CommandFailed(Exception):
    """A command of the product that did not do what was asked; what it said."""


@dataclass(frozen=True, slots=True)
class Home:
    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def environ(self) -> dict[str, str]:
        names = {"HELM_HOME": self.home, "HELM_PEOPLE": self.folder / "people", "HELM_STATE": self.folder / "state"}
        named = {name: str(path) for name, path in names.items()}
        return {**os.environ, **named, "HELM_PASSPHRASE_FILE": str(self.folder / "passphrase")}

    def command(self, *arguments: str) -> str:
        """Its standard output; raises `CommandFailed`."""
        run = subprocess.run(
            [*COMMAND, *arguments],
            env=self.environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        if run.returncode != 0:
            raise CommandFailed(f"{' '.join(arguments)}: exit {run.returncode}: {run.stderr.strip()}")
        return run.stdout

    def configure(self, text: str) -> None:
        with (self.home / "helm.toml").open("a", encoding="utf-8") as file:
            file.write(text)

    def govern(self, name: str, *, effects: Sequence[str] = ("read",), nullable: Sequence[str] = ()) -> None:
        """Pin what the configured server lists now."""
        self.command("tools", "inspect", name)
        said = [word for effect in effects for word in ("--effect", effect)]
        said += [word for tool in nullable for word in ("--accept-null", tool)]
        self.command("tools", "pin", name, *said, "--yes")

    def allow(self, policy: bytes) -> None:
        (self.home / "policy/main.cedar").write_bytes(policy)
        self.command("policy", "apply", "--yes")


def made(folder: Path) -> Home:
    """`init`, with nothing pinned and nothing allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    passphrase = folder / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text("correct horse battery\n")
    home = Home(folder)
    home.command("init", "--passphrase-file", str(passphrase))
    home.configure(HERE)
    return home


def copied(master: Path, folder: Path) -> Home:
    """A home of its own, made once: keys behind a passphrase take a second to make."""
    shutil.copytree(master, folder)
    return Home(folder)


def over_http(name: str, url: str) -> str:
    """The part of `helm.toml` for an MCP server at that URL."""
    return f'\n[upstream.{name}]\nmcp = "{url}"\naddresses = ["loopback"]\n'


def over_stdio(name: str, command: Sequence[str], env: Sequence[str] = ()) -> str:
    return f"\n[upstream.{name}]\ncommand = {json.dumps(list(command))}\nenv = {json.dumps(list(env))}\n"


@contextmanager
def up(home: Home, log: Path) -> Iterator[str]:
    """The URL of its `/mcp`, open to this machine, until the block ends; then it has to end well, too."""
    reads, writes = os.pipe()
    arguments = ["up", "--insecure-open-loopback", "--ready-fd", str(writes), "--format", "json"]
    with log.open("w", encoding="utf-8") as said:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            env=home.environ(),
            pass_fds=(writes,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
    os.close(writes)
    try:
        yield _ready(process, reads, log)
        process.send_signal(signal.SIGTERM)
        if process.wait(END_S) != 0:
            raise CommandFailed(f"up: exit {process.returncode}: {log.read_text(encoding='utf-8').strip()}")
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _ready(process: "subprocess.Popen[str]", reads: int, log: Path) -> str:
    readable, _, _ = select.select([reads], [], [], READY_S)
    said = os.read(reads, 100) if readable else b""
    os.close(reads)
    if said != b"READY=1\n" or process.stdout is None:
        raise CommandFailed(f"up is not ready: {log.read_text(encoding='utf-8').strip()}")
    for one in json.loads(process.stdout.readline())["listening"]:
        if one["plane"] == "data" and one["at"].startswith("http"):
            return f"{one['at']}/mcp"
    raise CommandFailed("up listens on no port")


def dispatched(home: Home, server: str) -> dict[str, int]:
    """Receipts of calls that were let go to that server, by `tools/call` or method: one for each decision with its outcome."""
    from helm_ai_kernel.ledger.reader import Reader

    counts: dict[str, int] = {}
    with Reader(home.home / "store") as reader:
        receipts = list(reader.receipts())
    settled = {parent for one in receipts if one.kind.value == "outcome" for parent in one.parents}
    for one in receipts:
        if one.kind.value == "decision" and one.body.get("verdict") == "ALLOW" and one.leaf in settled:
            name, _, tool = str(one.body.get("tool", "")).partition("/")
            if name == server and tool not in OF_THE_CLIENT | UNCOUNTED:
                method = tool if "/" in tool else "tools/call"
                counts[method] = counts.get(method, 0) + 1
    return counts


def reached(seen: dict[str, int]) -> dict[str, int]:
    """Of the requests that a tap saw, those that must each have been a governed call."""
    own = {"initialize", "server/discover", "ping", "tools/list"} | UNCOUNTED
    return {method: count for method, count in seen.items() if method not in own}
