"""Where a trial lives: a home, people's keys and a desk of its own, all in one temporary folder."""

from dataclasses import dataclass
from pathlib import Path

from helm_ai_kernel.app.config import Paths


@dataclass(frozen=True, slots=True)
class Places:
    home: Path
    people: Path
    desk: Path

    @property
    def paths(self) -> Paths:
        return Paths(self.home, self.people)

    @classmethod
    def within(cls, folder: Path) -> "Places":
        (folder / "desk").mkdir(parents=True)
        return cls(folder / "home", folder / "people", folder / "desk")
