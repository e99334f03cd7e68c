"""One pack with one thing wrong (or nothing), and what a verifier must say about it. The cases become `vectors/pack/`."""

from collections.abc import Callable
from dataclasses import dataclass

from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.findings import Exit
from packs import Log


@dataclass(frozen=True)
class Made:
    """What a verifier gets. `genesis` None: nothing is pinned."""

    pack: bytes
    genesis: Digest | None
    known_head: bytes | None = None
    require_resolved: bool = False


@dataclass(frozen=True)
class Case:
    name: str
    about: str
    exit: Exit
    codes: tuple[str, ...]  # sorted
    made: Made


CASES: dict[str, Callable[[], Case]] = {}


def case(exit: Exit, *codes: Finding) -> Callable[[Callable[[], Made]], Callable[[], Made]]:
    """Register a case: its name is the function's, with `_fail` unless the pack is VALID; its docstring says what is wrong."""

    def register(make: Callable[[], Made]) -> Callable[[], Made]:
        name = make.__name__ + ("_fail" if exit else "")
        assert name not in CASES and make.__doc__, name
        about = " ".join(make.__doc__.split())
        CASES[name] = lambda: Case(name, about, exit, tuple(sorted(code.value for code in codes)), make())
        return make

    return register


def of(log: Log, pack: bytes | None = None, known_head: bytes | None = None, require_resolved: bool = False) -> Made:
    """The log's pack (or this one), with the log's own genesis pinned."""
    return Made(log.pack() if pack is None else pack, log.genesis, known_head, require_resolved)
