"""What the page's verifier keeps of a pack: so few bytes of each receipt that a browser's thread has room for a million."""

import json
import subprocess
from pathlib import Path

from needs import ROOT, needs
from packs import Log, ceremony

SIZES = (200, 4_000, 10_000)
BYTES_MAX = 130  # of a receipt with one and a half attachments; a digest more for each would not fit


def test_the_page_keeps_a_bounded_number_of_bytes_of_each_receipt(tmp_path: Path) -> None:
    log = Log()
    log.start_kernel()
    log.activate()
    for size in SIZES:
        while len(log.receipts) < size:
            agent = log.start()
            for _ in range(50):
                key = log.attach(f"call {len(log.receipts)}".encode())
                log.settle(agent, log.allow(agent, more={"key": key}).leaf)
            log.end(agent)
        (tmp_path / str(size)).write_bytes(log.pack(withhold=False))
    small, large = kept(log, tmp_path)
    assert large["attachments"] > 1.4 * large["receipts"]
    assert (large["bytes"] - small["bytes"]) / (large["receipts"] - small["receipts"]) < BYTES_MAX


def test_of_calls_that_wait_for_people_it_keeps_no_more(tmp_path: Path) -> None:
    log = Log()
    log.start_kernel()
    log.activate()
    agent = log.start()
    for size in SIZES:
        while len(log.receipts) < size:
            left = log.escalate(agent, timelock_ms=len(log.receipts))  # another requirement each time
            log.approve(left)
            ceremony(log, agent)
        (tmp_path / str(size)).write_bytes(log.pack())
    small, large = kept(log, tmp_path)
    assert (large["bytes"] - small["bytes"]) / (large["receipts"] - small["receipts"]) < BYTES_MAX


def kept(log: Log, folder: Path) -> tuple[dict[str, int], dict[str, int]]:
    """What is kept of a small and of a large pack; the first one is for the machine to get warm."""
    paths = [str(folder / str(size)) for size in SIZES]
    script = str(ROOT / "tests/verifier/memory.mjs")
    done = subprocess.run([needs("node"), "--expose-gc", script, log.genesis, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    _, small, large = json.loads(done.stdout)
    return small, large
