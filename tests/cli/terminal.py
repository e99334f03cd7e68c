"""The command line as a person uses it: arguments in, two streams and an exit code out, nothing on them that a terminal obeys."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from app.kernels import Place
from helm_ai_kernel.cli import main
from helm_ai_kernel.tcb.ijson import parse


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout, which is one document."""
        return parse(self.out.encode(), bytes_max=len(self.out))

    @property
    def error(self) -> str:
        """The one `error:` line; nothing else is on stderr but, after it, one `hint:` line."""
        first, *rest = self.err.splitlines()
        assert first.startswith("error: ") and len(rest) <= 1 and all(line.startswith("hint: ") for line in rest), self.err
        return first.removeprefix("error: ")

    @property
    def hint(self) -> str:
        assert self.error
        return self.err.splitlines()[1].removeprefix("hint: ")


@dataclass
class Terminal:
    place: Place
    capsys: "pytest.CaptureFixture[str]"

    def __call__(self, *argv: str) -> Said:
        self.capsys.readouterr()
        try:
            code = main(argv)
        except SystemExit as end:  # of argparse: usage, --help, --version
            code = end.code if isinstance(end.code, int) else 1
        out, err = self.capsys.readouterr()
        assert all(char == "\n" or " " <= char <= "~" for char in out + err), (out, err)
        return Said(code, out, err)

    def sign(self, *argv: str) -> Said:
        """With the passphrase, and without a question."""
        return self(*argv, "--passphrase-file", str(self.place.passphrase), "--yes")

    def type(self, line: str) -> Said:
        """A hint, as it stands there."""
        words = shlex.split(line)
        assert words[0] == "helm-ai-kernel", line
        return self(*words[1:])

    def done(self, *argv: str) -> Said:
        said = self(*argv)
        assert said.code == 0, said
        return said


def lines(said: Said) -> Sequence[str]:
    return said.out.splitlines()
