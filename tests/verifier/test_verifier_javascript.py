"""Two verifiers, one verdict: the page's JavaScript and `tcb.checklist` over every vector, and over packs that somebody changed.

The second was first written from the specification and the vectors alone. Where they differ, one of them or the page is wrong.
"""

import subprocess
from itertools import islice

import pytest

from helm_ai_kernel.tcb import container
from helm_ai_kernel.tcb.pack import FILES_MAX
from needs import ROOT, needs
from pack_case import of
from packs import short
from verifier.judge import asked, codes, differences, judged
from verifier.mutants import mutants

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
    exits = {int(judged(mutant.made)["exit"]) for mutant in some}
    assert exits >= {0, 12, 40, 50, 64}


def test_more_entries_than_a_manifest_can_list_are_no_pack_to_both() -> None:
    log = short()
    files = log.files()
    more = {f"policy/{'0' * 64}/{number}": b"" for number in range(FILES_MAX + 1 - len(files))}
    made = of(log, container.write({**files, **more}))
    reports = asked([made])
    assert codes(judged(made)) == codes(reports()[0]) == {("PACK_MALFORMED", "V1")}
