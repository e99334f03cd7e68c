"""What a server lists, and whether that is what was pinned: digests of raw definitions, taken page by page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire.era import METHODS

Vet = Callable[[Mapping[str, Json]], None]  # raises `Refused` for a definition that this transport cannot serve


@dataclass(frozen=True, slots=True)
class Tools:
    """What a server listed: the definitions that have one meaning, their digests, and those that were refused, by name."""

    definitions: dict[str, dict[str, Json]] = field(default_factory=dict)
    pins: dict[str, Digest] = field(default_factory=dict)
    refused: dict[str, Refused] = field(default_factory=dict)

    @classmethod
    def read(cls, listed: Sequence[bytes]) -> "Tools":
        tools = cls()
        tools.add(listed)
        return tools

    def add(self, listed: Sequence[bytes], vet: Vet | None = None) -> None:
        """One page more. One bad definition does not take the others with it; a name that occurs twice is nobody's."""
        for raw in listed:
            name = _name(raw)
            try:
                value = parse(raw, bytes_max=len(raw))
                if type(value) is not dict or not name:
                    name = f"#{len(self.definitions) + len(self.refused)}"
                    raise Refused(Reason.ERR_UPSTREAM_SHAPE, "a tool definition without a name", sub="tool_definition")
                if "/" in name:
                    raise Refused(Reason.ERR_UPSTREAM_SHAPE, "the name of a tool is that of a method", sub="tool_name")
                if name in self.definitions or name in self.refused:
                    raise Refused(Reason.ERR_MCP_SCHEMA_DRIFT, f"`{name}` is listed twice", sub="listed_twice")
                if vet is not None:
                    vet(value)
                self.pins[name] = digest(canonical(value))
                self.definitions[name] = value
            except Refused as refused:
                self.pins.pop(name, None)
                self.definitions.pop(name, None)
                self.refused[name] = refused

    def drifted(self, pins: Mapping[str, Digest]) -> dict[str, str]:
        """The pinned tools that are listed as something else than what was pinned, and how."""
        found = {name: "changed" for name, pin in pins.items() if name in self.pins and self.pins[name] != pin}
        return found | {name: refused.sub for name, refused in self.refused.items() if name in pins and "/" not in name}

    def why_not(self, name: str, pinned: Digest | None) -> str:
        """Why a tool may not be called, in a word; "" where it may: what is listed is what was pinned.

        A method is listed by nobody: its definition is the kernel's own, and that it is pinned is enough.
        """
        listed = self.pins.get(name)
        if pinned is None:
            return "not_pinned"
        if "/" in name:
            return "" if name in METHODS else "not_forwarded"
        if listed is None:
            return self.refused[name].sub if name in self.refused else "not_listed"
        return "" if pinned == listed else "changed"


def _name(raw: bytes) -> str:
    value = parse(raw, bytes_max=len(raw), any_number=True)
    name = value.get("name") if type(value) is dict else None
    return name if type(name) is str else ""
