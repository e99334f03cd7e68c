"""The verifier in JavaScript over many questions, in a process of its own (`judge.mjs`), and what it says differently."""

import base64
import json
import subprocess
from collections.abc import Callable, Iterable
from tempfile import TemporaryFile
from typing import Any

from helm_ai_kernel.tcb.checklist import verify
from needs import ROOT, needs
from pack_case import Made
from verifier.mutant import Mutant

JUDGE = ROOT / "tests/verifier/judge.mjs"
SAME = ("verdict", "exit", "axes", "receipts", "sessions", "log", "size", "root", "part", "witnessed", "not_proven")


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


def differences(tried: Iterable[Mutant]) -> Iterable[str]:
    """What the two say differently, and of which pack."""
    both = list(tried)
    reports = asked(mutant.made for mutant in both)
    first = [judged(mutant.made) for mutant in both]
    said = reports()
    assert len(said) == len(both)
    for mutant, ours, theirs in zip(both, first, said, strict=True):
        for field in SAME:
            if ours[field] != theirs[field]:
                yield f"{mutant.what}: {field} is {ours[field]!r}, and in JavaScript {theirs[field]!r}"
        if codes(ours) != codes(theirs):
            yield f"{mutant.what}: {sorted(codes(ours) ^ codes(theirs))} only in one of {codes(ours)} and {codes(theirs)}"


def judged(made: Made) -> dict[str, Any]:
    return verify(made.pack, made.question()).to_json()


def codes(report: dict[str, Any]) -> set[tuple[str, str]]:
    return {(found["code"], found["step"]) for found in report["findings"]}
