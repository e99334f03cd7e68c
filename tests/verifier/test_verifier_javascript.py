"""Two verifiers, one verdict: the page's JavaScript and `tcb.checklist` over every vector, and over packs that somebody changed.

The second was first written from the specification and the vectors alone. Where they differ, one of them or the page is wrong.
"""

import base64
import json
import subprocess
from collections.abc import Iterable
from itertools import islice
from tempfile import TemporaryFile
from typing import Any

import pytest

from helm_ai_kernel.tcb.checklist import verify
from needs import ROOT, needs
from pack_case import Made
from verifier.mutant import Mutant
from verifier.mutants import mutants

JUDGE = ROOT / "tests/verifier/judge.mjs"
SAME = ("verdict", "exit", "axes", "receipts", "sessions", "log", "size", "root", "part", "witnessed", "not_proven")
AT_ONCE = 1000  # packs that one process is given


@pytest.mark.parametrize("how", [[], ["--compute"]], ids=["as a browser of today", "as one without Ed25519"])
def test_every_vector_is_judged_as_its_author_expects(how: list[str]) -> None:
    done = subprocess.run([needs("node"), str(ROOT / "vectors/run.mjs"), *how], capture_output=True, text=True)
    count = sum(1 for path in (ROOT / "vectors/pack").iterdir() if path.is_dir())
    assert (done.returncode, done.stdout) == (0, f"{count} passed, 0 failed\n"), done.stdout + done.stderr


def test_a_thousand_changed_packs_are_judged_alike() -> None:
    assert list(differences(islice(mutants(seed=1), AT_ONCE))) == []


@pytest.mark.whole
@pytest.mark.parametrize("seed", range(2, 102))
def test_a_hundred_thousand_changed_packs_are_judged_alike(seed: int) -> None:
    assert list(differences(islice(mutants(seed), AT_ONCE))) == []


def test_most_of_the_changed_packs_are_an_insiders_and_reach_every_verdict() -> None:
    some = list(islice(mutants(seed=1), 200))
    assert len({mutant.made.pack for mutant in some}) > 150
    exits = {int(judged(mutant)["exit"]) for mutant in some}
    assert exits >= {0, 12, 40, 50, 64}


def differences(tried: Iterable[Mutant]) -> Iterable[str]:
    """What the two say differently, and of which pack."""
    asked = list(tried)
    with TemporaryFile() as frames, TemporaryFile() as answers:
        for mutant in asked:
            frames.write(frame(mutant.made))
        frames.seek(0)
        with subprocess.Popen([needs("node"), str(JUDGE)], stdin=frames, stdout=answers) as second:
            first = [judged(mutant) for mutant in asked]
        assert second.returncode == 0
        answers.seek(0)
        said = [json.loads(line) for line in answers]
    assert len(said) == len(asked)
    for mutant, ours, theirs in zip(asked, first, said, strict=True):
        for field in SAME:
            if ours[field] != theirs[field]:
                yield f"{mutant.what}: {field} is {ours[field]!r}, and in JavaScript {theirs[field]!r}"
        if codes(ours) != codes(theirs):
            yield f"{mutant.what}: {sorted(codes(ours) ^ codes(theirs))} only in one of {codes(ours)} and {codes(theirs)}"


def judged(mutant: Mutant) -> dict[str, Any]:
    return verify(mutant.made.pack, mutant.made.question()).to_json()


def frame(made: Made) -> bytes:
    asked = {
        "genesis": made.genesis,
        "known_heads": [spelled(made.known_head)] if made.known_head is not None else [],
        "witnesses": spelled(made.witnesses) if made.witnesses is not None else None,
        "max_age": made.max_age,
        "require_resolved": made.require_resolved,
        "bytes": len(made.pack),
    }
    return json.dumps(asked).encode() + b"\n" + made.pack


def spelled(data: bytes) -> str:
    return base64.b64encode(data).decode()


def codes(report: dict[str, Any]) -> set[tuple[str, str]]:
    return {(found["code"], found["step"]) for found in report["findings"]}
