"""Logs that can be grown, forked and submitted; a witness in a folder; a server in a thread."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trees
from helm_ai_kernel.gateway.witness import BOUNDS, Witness, plainly
from helm_ai_kernel.gateway.witness_memory import Memory
from helm_ai_kernel.net.listener import Door, Listener
from helm_ai_kernel.tcb import checkpoint, merkle
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.cosign import VerifierKey
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.wire.submission import Submission

KEY = SecretKey.from_seed(b"\x01" * 32, Purpose.LOG)
ORIGIN = "helm.local/0123456789abcdef/fedcba9876543210"
LOG = VerifierKey(ORIGIN, KEY.public)
NAME = "witness.example/w1"
SIGNER = SecretKey.from_seed(b"\x77" * 32, Purpose.WITNESS)
VKEY = VerifierKey(NAME, SIGNER.public)
TIME = 1_800_000_000


class History:
    """A log: its leaves up to any size. `fork`: from that index on its lines are others."""

    def __init__(self, fork: int | None = None, origin: str = ORIGIN, key: SecretKey = KEY) -> None:
        self._fork, self._origin, self._key = fork, origin, key

    def leaves(self, size: int) -> list[bytes]:
        other = size if self._fork is None else self._fork
        return [merkle.leaf_hash(b"%d %d" % (index, index >= other)) for index in range(size)]

    def note(self, size: int) -> Checkpoint:
        return checkpoint.sign(self._origin, size, merkle.root(self.leaves(size)), self._key)

    def sent(self, old: int, size: int) -> bytes:
        proof = trees.consistency_proof(self.leaves(size), old) if 0 < old <= size else []
        return Submission(old, tuple(proof), self.note(size)).to_bytes()


@contextmanager
def witness(
    folder: Path, *logs: VerifierKey, clock: Callable[[], float] = lambda: TIME, tell: Callable[[str], None] = lambda _: None
) -> Iterator[Witness]:
    """As a process that starts there would have it."""
    memory = Memory.open(folder, VKEY)
    try:
        yield Witness(NAME, SIGNER, logs or (LOG,), memory, clock=clock, tell=tell)
    finally:
        memory.close()


@contextmanager
def serving(door: Door) -> Iterator[int]:
    """The port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    listener = Listener(door, BOUNDS, types=frozenset(), error=plainly)
    try:
        yield asyncio.run_coroutine_threadsafe(listener.start_tcp("127.0.0.1", 0), loop).result(10)[1]
    finally:
        asyncio.run_coroutine_threadsafe(listener.close(within_s=10), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
