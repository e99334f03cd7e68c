"""T8, trust registry manipulation: a registry that anyone touched opens no kernel and runs nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from helm_ai_kernel.tcb import registry
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.registry import Registry
from threats.governed import made, running

ROGUE_ROOT = SecretKey.from_seed(b"\x07" * 32, Purpose.ROOT)
ROGUE = SecretKey.from_seed(b"\x08" * 32, Purpose.APPROVAL)
AT = "2026-01-02T03:04:05.678Z"


def with_rogue_key(lines: list[bytes]) -> list[bytes]:
    """A key added by somebody who is no root: in the right place, well formed, signed by the key itself and by the wrong root."""
    known = Registry.replay(lines)
    own = Registry.replay([registry.genesis([(ROGUE_ROOT, "mallory")], threshold=1, at=AT, nonce="0" * 32)])
    foreign = registry.add(own, ROGUE, "mallory", None, at=AT, roots=[ROGUE_ROOT])
    return [*known.lines, foreign.replace(str(own.head).encode(), str(known.head).encode())]


TOUCHED: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "rogue key": with_rogue_key,
    "other genesis": lambda lines: [registry.genesis([(ROGUE_ROOT, "mallory")], threshold=1, at=AT, nonce="0" * 32), *lines[1:]],
    "event dropped": lambda lines: [lines[0], *lines[2:]],
    "events reordered": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "event repeated": lambda lines: [*lines, lines[-1]],
    "principal changed": lambda lines: [*lines[:-1], lines[-1].replace(b'"principal":"', b'"principal":"x')],
    "purpose changed": lambda lines: [line.replace(b'"purpose":"log"', b'"purpose":"execution"') for line in lines],
    "signature dropped": lambda lines: [*lines[:-1], lines[-1][: lines[-1].index(b'"sigs":[')] + b'"sigs":[]}'],
    "space added": lambda lines: [*lines[:-1], lines[-1] + b" "],
    "last event dropped": lambda lines: lines[:-1],
    "all of it gone": lambda lines: [],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("t08"))


@pytest.mark.parametrize("touch", TOUCHED)
def test_a_start_replays_the_registry_from_genesis_and_refuses_one_that_was_touched(folder: Path, touch: str) -> None:
    path = folder / "home/store/trust.jsonl"
    honest = path.read_bytes()
    lines = honest.removesuffix(b"\n").split(b"\n")
    path.write_bytes(b"".join(line + b"\n" for line in TOUCHED[touch](lines)))
    try:
        with running(folder) as governed, pytest.raises((EvidenceError, OutsideError)):
            governed.send(b'{"tool":"python/note","arguments":{"text":"a"}}')
        assert governed.effects == []
    finally:
        path.write_bytes(honest)
    with running(folder) as governed:  # control: it was the touch and nothing else
        assert governed.receipts() > 0
