"""Runs the README and the pages that walk through a day: every command of every ```console block, by a real shell in real homes.

A block whose first line is a comment with a file's name is that file. `$ ` begins a command, `> ` goes on with it, the rest is
what it printed; `exit N` is added where it ended with another code than 0. A command that ends with `&` serves until all walks
are over, and prints as many lines before it does as the page shows. `python tests/docs/walks.py --write` puts what was printed
into the pages.
"""

import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"(?:#|//) ([\w/.-]+)\n")
PASSPHRASE = "correct horse battery staple"
COMMAND_S = 60  # of a machine that does much else; a command takes half a second
PORTS = ("8701", "8790", "8791", "8795")  # on the pages; free ones when they are run

# What differs from run to run, and the name that it is compared by.
VOLATILE = {
    "time": re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:(?:\.\d{3})?Z| UTC)"),
    "digest": re.compile(r"\b[0-9a-f]{8,64}\b"),
    "base64": re.compile(r"(?<![\w+/])[A-Za-z0-9+/]{40,}={0,2}"),
    "bytes": re.compile(r"\b\d+ bytes|^ +\d+(?=  \w)", re.MULTILINE),
}


@dataclass(frozen=True, slots=True)
class Walk:
    """A page, and whose home it is walked in."""

    page: Path
    user: str
    defaults: bool = False  # everything is where the kernel puts it by itself


WALKS = (
    Walk(ROOT / "README.md", "you", defaults=True),
    Walk(ROOT / "docs/day-in-the-life.md", "ada"),
    Walk(ROOT / "docs/auditors-walk.md", "ines"),
)


def compared(text: str) -> str:
    """The page, or what a run made of it, without what differs from run to run."""
    for name, pattern in VOLATILE.items():
        text = pattern.sub(f"<{name}>", text)
    return text


def walked(folder: Path) -> Iterator[tuple[Walk, str]]:
    """Each page as a run makes it. The auditor's goes on with the files of the day's."""
    with ExitStack() as serving:
        for walk in WALKS:
            (folder / walk.user).mkdir()
        for walk in WALKS:
            yield walk, _Shell(folder, walk, serving).page(walk.page.read_text(encoding="utf-8"))


class _Shell:
    def __init__(self, folder: Path, walk: Walk, serving: ExitStack) -> None:
        self._folder, self._cwd, self._serving = folder, folder / walk.user, serving
        self._ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
        commands = folder / "bin"
        commands.mkdir(exist_ok=True)
        _script(commands / "helm-ai-kernel", "import sys; from helm_ai_kernel.cli import main; sys.exit(main())")
        secret = self._cwd / "passphrase"
        secret.write_text(PASSPHRASE + "\n")
        secret.chmod(0o600)
        self._env = {
            "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "LANG": "C.UTF-8",
            "HOME": str(self._cwd),
            "HELM_PASSPHRASE_FILE": str(secret),
            "HELM_DATA_LISTEN": f"127.0.0.1:{self._ports['8790']}",
            "HELM_CONTROL_LISTEN": f"127.0.0.1:{self._ports['8791']}",
        }
        if not walk.defaults:
            named = {"HELM_HOME": "helm", "HELM_PEOPLE": "people", "HELM_STATE": "state"}
            self._env |= {name: str(self._cwd / place) for name, place in named.items()}

    def page(self, text: str) -> str:
        return FENCE.sub(lambda found: f"```{found[1]}\n{self._block(found[1], found[2])}```", text)

    def _block(self, kind: str, text: str) -> str:
        if kind == "console":
            return "".join(
                "$ " + command.replace("\n", "\n> ") + "\n" + self._run(command, lines) for command, lines in _commands(text)
            )
        if named := FILE.match(text):
            path = self._cwd / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._here(text), encoding="utf-8")
        return text

    def _run(self, command: str, lines: int) -> str:
        command = self._here(command)
        if command.endswith("&"):
            said = self._serving.enter_context(self._served(command.removesuffix("&"), lines))
        else:
            argv = ["bash", "-o", "pipefail", "-c", f"exec 2>&1; {command}"]
            done = subprocess.run(
                argv, cwd=self._cwd, env=self._env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=COMMAND_S
            )
            said = done.stdout.decode() + (f"exit {done.returncode}\n" if done.returncode else "")
        said = said.replace(str(self._folder), "/home")
        for port, free in self._ports.items():
            said = said.replace(f":{free}", f":{port}")
        return said

    def _here(self, text: str) -> str:
        """With the ports of this run."""
        for port, free in self._ports.items():
            text = re.sub(rf"\b{port}\b", free, text)
        return text

    @contextmanager
    def _served(self, command: str, lines: int) -> Iterator[str]:
        argv = ["bash", "-c", f"exec {command}"]
        with subprocess.Popen(argv, cwd=self._cwd, env=self._env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                yield b"".join(process.stdout.readline() for _ in range(lines)).decode()
            finally:
                process.terminate()


def _commands(text: str) -> list[tuple[str, int]]:
    """What is typed in a block, and how many lines the page says that it printed."""
    typed = re.findall(r"^(\$ .*(?:\n> .*)*\n?)((?:^(?!\$ ).*\n?)*)", text, re.MULTILINE)
    return [(command[2:].removesuffix("\n").replace("\n> ", "\n"), len(said.splitlines())) for command, said in typed]


def _script(path: Path, program: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(program)} "$@"\n')
    path.chmod(0o755)


def _free_ports(count: int) -> list[str]:
    """Different ones, of five digits: nothing else on a page looks like one of them."""
    with ExitStack() as bound:
        sockets = [bound.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [str(free.getsockname()[1]) for free in sockets]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for walk, text in walked(Path(folder)):
            if "--write" in sys.argv[1:]:
                walk.page.write_text(text, encoding="utf-8")
            else:
                sys.stdout.write(text)


if __name__ == "__main__":
    main()
