"""The two eras of MCP, and what a server says of itself in either."""

from dataclasses import dataclass, field
from enum import StrEnum

from helm_ai_kernel.tcb.ijson import Json


class Era(StrEnum):
    LEGACY = "legacy"
    MODERN = "modern"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of itself; nothing of it is a reason to trust it."""

    name: str
    version: str
    capabilities: dict[str, Json] = field(repr=False)
    instructions: str = field(repr=False)  # "" where it gives none
    era: Era
    revision: str

    @classmethod
    def of_welcome(cls, result: dict[str, Json], revision: str) -> "Facts":
        """Of the answer to `initialize`."""
        info, capabilities, instructions = (result.get(name) for name in ("serverInfo", "capabilities", "instructions"))
        said = info if type(info) is dict else {}
        return cls(
            str(said.get("name", "")),
            str(said.get("version", "")),
            capabilities if type(capabilities) is dict else {},
            instructions if type(instructions) is str else "",
            Era.LEGACY,
            revision,
        )
