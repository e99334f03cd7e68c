"""What a receipt must be by itself, asked on several cores: most of the work of a large pack, and none of its order.

Each process has the registry from the pack's own lines, replayed again, and gives back faults only. One that dies ends the
verification without a verdict.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain
from multiprocessing import get_context

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.registry import Registry
from helm_ai_kernel.tcb.vetting import Fault, Vet, Vetted, Vetter, vet_here

LINES, BYTES = 512, 1 << 20  # of one piece of work, whichever comes first: a line has up to 1 MiB
AHEAD = 3  # pieces for each process: it has the next one while we read what it gave
WORTH, WORTH_BYTES = 8192, 16 << 20  # less is done before the processes have started

_vetter: Vetter | None = None  # in a process of ours


def vet_on(cores: int) -> Vet:
    """On so many processes; on one, and for a small pack, here."""

    def vet(vetter: Vetter, lines: Iterable[bytes]) -> Iterator[Vetted]:
        ahead = iter(lines)
        first = _taken(ahead, WORTH, WORTH_BYTES) if cores > 1 else []
        if len(first) < WORTH and sum(map(len, first)) < WORTH_BYTES:
            return vet_here(vetter, chain(first, ahead))
        return _vet(cores, vetter, chain(first, ahead))

    return vet


def _vet(cores: int, vetter: Vetter, lines: Iterator[bytes]) -> Iterator[Vetted]:
    registry = None if vetter.registry is None else vetter.registry.lines
    begin = (vetter.log, registry, vetter.seen)
    waiting: deque[tuple[list[bytes], Future[list[Sequence[Fault]]]]] = deque()
    place = begun = 0
    with ProcessPoolExecutor(cores, get_context("spawn"), _begin, begin) as pool:
        try:
            while True:
                while len(waiting) < AHEAD * cores and (piece := _taken(lines, LINES, BYTES)):
                    waiting.append((piece, pool.submit(_faults, begun, piece)))
                    begun += len(piece)
                if not waiting:
                    return
                piece, found = waiting.popleft()
                for line, faults in zip(piece, found.result(), strict=True):
                    yield vetter.again(place, line, [Fault(*fault) for fault in faults])
                    place += 1
        except BrokenProcessPool:
            detail = "a process that verifies signatures was killed: nothing is said of the pack"
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint="try again with --cores 1") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _taken(lines: Iterator[bytes], count: int, bytes_max: int) -> list[bytes]:
    """The next lines: so many, or as many as reach that size."""
    taken: list[bytes] = []
    size = 0
    while len(taken) < count and size < bytes_max and (line := next(lines, None)) is not None:
        taken.append(line)
        size += len(line)
    return taken


def _begin(log: str, registry: Sequence[bytes] | None, seen: Sequence[tuple[int, str]]) -> None:
    global _vetter
    _vetter = Vetter(log, None if registry is None else Registry.replay(registry), seen)


def _faults(place: int, lines: Sequence[bytes]) -> list[Sequence[Fault]]:
    if _vetter is None:
        raise RuntimeError("this process has not begun")
    return [_vetter.vet(place + at, line).faults for at, line in enumerate(lines)]
