"""kill -9 in the middle of a crowd: sixteen callers at once, killed when so many lines were said, never after so much time."""

import random
import subprocess
from pathlib import Path

import pytest

from faults import driver, inject, oracle

LINES = 2 + 2 * driver.CALLERS * driver.OWN  # at least; what the callers say of the keys that all want comes on top


SEEDS = [*range(4), *(pytest.param(seed, marks=pytest.mark.whole) for seed in range(4, 40))]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_crowd_that_is_killed_loses_nothing_that_was_acknowledged(tmp_path: Path, seed: int) -> None:
    driver.make(tmp_path)
    lines = random.Random(seed).randrange(LINES)
    command = inject.python(Path(driver.__file__), "crowd", tmp_path)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as crowd:
        assert crowd.stdout is not None
        said = [crowd.stdout.readline() for _ in range(lines)]
        crowd.kill()
        said += crowd.stdout.readlines()
    oracle.check(tmp_path, [line.strip() for line in said if line.endswith("\n")], under_way=driver.CALLERS)


def test_a_crowd_that_is_let_be_takes_every_key_once(tmp_path: Path) -> None:
    driver.make(tmp_path)
    command = inject.python(Path(driver.__file__), "crowd", tmp_path)
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=inject.TIMEOUT_S).stdout.splitlines()
    assert len(oracle.effects(tmp_path)) == driver.CALLERS * driver.OWN + len(driver.KEYS)
    assert oracle.promised(said)[0] + oracle.SESSIONS == len(oracle.Left.of(tmp_path).receipts)
    oracle.check(tmp_path, said)
