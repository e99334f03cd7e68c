"""One pack with one thing wrong (or nothing), and what a verifier must say about it. The cases become `vectors/pack/`."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from helm_ai_kernel.tcb.checklist import Question
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.cosign import WitnessPolicy
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
    witnesses: bytes | None = None  # a policy
    max_age: tuple[int, str] | None = None  # seconds, and the time now

    def question(self) -> Question:
        policy = None if self.witnesses is None else WitnessPolicy.from_bytes(self.witnesses)
        heads = [] if self.known_head is None else [self.known_head]
        return Question(self.genesis, heads, policy, oldest(self.max_age), self.require_resolved)


def oldest(max_age: tuple[int, str] | None) -> str | None:
    """The oldest time that is still fresh."""
    if max_age is None:
        return None
    then = datetime.fromisoformat(max_age[1].replace("Z", "+00:00")) - timedelta(seconds=max_age[0])
    return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")


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


def of(
    log: Log,
    pack: bytes | None = None,
    known_head: bytes | None = None,
    require_resolved: bool = False,
    witnesses: bytes | None = None,
    max_age: tuple[int, str] | None = None,
) -> Made:
    """The log's pack (or this one), with the log's own genesis pinned."""
    return Made(log.pack() if pack is None else pack, log.genesis, known_head, require_resolved, witnesses, max_age)
