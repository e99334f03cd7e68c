"""Two clocks at one moment: the wall's, which anybody may set, and the machine's since it was booted, which nobody can."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from . import fields
from .ijson import Json

_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])\Z")
_UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def duration_ms(text: str) -> int | None:
    """Of `90s`, `10m`, `2h` or `7d`, as people write it in a policy and on a command line; None for anything else."""
    found = _DURATION.match(text)
    return None if found is None else int(found[1]) * _UNIT_MS[found[2]]


class Passed(NamedTuple):
    """How long it was from one moment to another, as far as both clocks agree."""

    surely_ms: int
    perhaps_ms: int


@dataclass(frozen=True, slots=True)
class Clock:
    wall_ms: int  # Unix time, UTC
    boot: str  # boot id, 32 hex digits
    boot_ms: int  # since that boot

    def since(self, then: "Clock") -> Passed | None:
        """None where a clock went back. Of another boot only the time since it began is sure: it began behind `then`."""
        wall = self.wall_ms - then.wall_ms
        boot = self.boot_ms - (then.boot_ms if self.boot == then.boot else 0)
        return None if min(wall, boot) < 0 else Passed(min(wall, boot), max(wall, boot))

    def perhaps_ms(self, then: "Clock") -> int:
        """How long it may have been, on whichever clock is further. One that went back says nothing, and the other still does."""
        return max(self.wall_ms - then.wall_ms, self.boot_ms - (then.boot_ms if self.boot == then.boot else 0))

    def to_json(self) -> dict[str, Json]:
        return {"boot": self.boot, "boot_ms": self.boot_ms, "wall_ms": self.wall_ms}

    @classmethod
    def from_json(cls, value: Json) -> "Clock":
        body = fields.exact(value, {"boot", "boot_ms", "wall_ms"})
        return cls(fields.count(body, "wall_ms"), fields.hex32(body, "boot"), fields.count(body, "boot_ms"))
