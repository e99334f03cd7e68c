"""The verifier in JavaScript over many questions, in a process of its own (`judge.mjs`)."""

import base64
import json
import subprocess
from collections.abc import Callable, Iterable
from tempfile import TemporaryFile
from typing import Any

from needs import ROOT, needs
from pack_case import Made

JUDGE = ROOT / "tests/verifier/judge.mjs"


def asked(questions: Iterable[Made]) -> Callable[[], list[dict[str, Any]]]:
    """Starts it; what is given back waits for the reports."""
    with TemporaryFile() as frames:
        frames.writelines(frame(made) for made in questions)
        frames.seek(0)
        answers = TemporaryFile()  # noqa: SIM115  # closed where it is read
        second = subprocess.Popen([needs("node"), str(JUDGE)], stdin=frames, stdout=answers)

    def reports() -> list[dict[str, Any]]:
        with answers:
            assert second.wait() == 0
            answers.seek(0)
            return [json.loads(line) for line in answers]

    return reports


def frame(made: Made) -> bytes:
    question = {
        "genesis": made.genesis,
        "known_heads": [] if made.known_head is None else [spelled(made.known_head)],
        "witnesses": None if made.witnesses is None else spelled(made.witnesses),
        "max_age": made.max_age,
        "require_resolved": made.require_resolved,
        "bytes": len(made.pack),
    }
    return json.dumps(question).encode() + b"\n" + made.pack


def spelled(data: bytes) -> str:
    return base64.b64encode(data).decode()
