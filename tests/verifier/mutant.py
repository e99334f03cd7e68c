"""One pack that somebody changed, and the small changes of which the larger ones are made."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from faults.tamper import HOWS, Path, places, put
from helm_ai_kernel.tcb.ceremony import Act, State
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Status, Verdict
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.receipt import EffectBy, Kind
from pack_case import Made
from packs import WALL_MS

KINDS = (Verdict, Status, Reason, Kind, Act, State, EffectBy)
WORDS: tuple[Json, ...] = (*(word.value for kind in KINDS for word in kind), "start", "end", "all", "agent", "Olga")


@dataclass(frozen=True)
class Mutant:
    what: str
    made: Made


def flipped(data: bytes, bit: int) -> bytes:
    at = bit // 8
    return data[:at] + bytes([data[at] ^ 1 << bit % 8]) + data[at + 1 :]


def flipped_somewhere(draw: Random, data: bytes) -> bytes:
    return flipped(data, draw.randrange(len(data) * 8)) if data else b"x"


def edited(draw: Random, line: bytes) -> bytes:
    """Canonical JSON in which something else stands at one place."""
    try:
        value = parse(line)
    except Refused:  # it was broken before
        return line
    found = list(places(value))
    at, old = draw.choice(found)
    return canonical(put(value, at, another(draw, at, old, found)))


def another(draw: Random, place: Path, old: Json, found: Sequence[tuple[Path, Json]]) -> Json:
    """What stands there instead: mostly of the same type, and something that stands elsewhere."""
    same = [value for _, value in found if type(value) is type(old) and value != old]
    how = draw.choice(("same", "same", "word", *HOWS))
    if how == "same" and same:
        return draw.choice(same)
    if how == "word" or how == "same":
        return draw.choice(WORDS) if isinstance(old, str) else draw.choice((0, 1, 2, WALL_MS, 2**53 - 1, -1, 0.5, True, None))
    return HOWS[how](old)
