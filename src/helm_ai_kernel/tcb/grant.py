"""A grant: calls of one kind that a person approved beforehand, so many of them, for so long (`docs/spec/approval.md`)."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from .clock import Clock
from .decision import Granted
from .digest import Digest
from .statement import Allows


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant that the log took and nobody revoked; `left` calls of it are not used."""

    statement: Digest  # leaf of its receipt
    tool: str
    allows: Allows
    signers: tuple[tuple[str, str], ...]  # key and principal of each
    since: Clock
    left: int

    def is_for(self, principal: str, tool: str, pin: Digest) -> bool:
        return (principal, tool, pin) == (self.allows.principal, self.tool, self.allows.pin)

    def over(self, now: Clock) -> bool:
        """Used up, or past its time on either clock; where a clock went back its time is not known, and it is over."""
        passed = now.since(self.since)
        return not self.left or passed is None or passed.perhaps_ms > self.allows.lasts_ms

    def used(self) -> "Grant":
        return replace(self, left=max(self.left - 1, 0))

    def read(self, in_force: Callable[[str], bool]) -> Granted | None:
        """As decisions read it; None where no key that signed it is in force any more."""
        people = {principal.lower(): principal for key, principal in self.signers if in_force(key)}
        return Granted(self.statement, self.left, self.since, tuple(sorted(people.values()))) if people else None
