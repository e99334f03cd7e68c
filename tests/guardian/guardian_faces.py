"""Pinned tools as the guardian sees them, and calls of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from helm_ai_kernel.guardian.policy import Policy, decide
from helm_ai_kernel.tcb.call import Call, Effect
from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.decision import Decision, Facts
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.jcs import canonical

CLOCK = Clock(wall_ms=1_763_900_000_000, boot="0" * 32, boot_ms=5)
A_CATALOG = digest(b"a catalogue")
HOME = "/home/u/.local/share/helm-ai-kernel"


@dataclass(frozen=True)
class Tool:
    name: str
    effect: Effect
    input_schema: dict[str, Any]


@dataclass(frozen=True)
class Catalog:
    tools: Mapping[str, Tool] = field(default_factory=dict)
    digest: Digest = A_CATALOG


def catalog(*tools: Tool) -> Catalog:
    return Catalog({tool.name: tool for tool in tools})


def obj(properties: dict[str, Any], required: Iterable[str] = ()) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "unevaluatedProperties": False}


FILE = obj({"path": {"type": "string"}, "n": {"type": "integer"}, "rate": {"type": "number"}}, ["path"])
FILES = catalog(
    Tool("fs/read", Effect.READ, FILE),
    Tool("fs/write", Effect.WRITE, FILE),
    Tool("fs/rm", Effect.DESTRUCTIVE, FILE),
    Tool("web/get", Effect.NETWORK, obj({"url": {"type": "string"}}, ["url"])),
)


def policy(text: str, tools: Catalog = FILES, **files: str) -> Policy:
    """`text` is `main.cedar`; further files by name, `overlays__x` for `overlays/x.cedar`."""
    more = {f"{name.replace('__', '/')}.cedar": content.encode() for name, content in files.items()}
    return Policy.from_files({"main.cedar": text.encode(), **more}, tools, [HOME])


def call(tool: str, args: dict[str, Any], tools: Catalog = FILES, **more: Any) -> Call:
    effect = tools.tools[tool].effect if tool in tools.tools else Effect.READ
    return Call(tool, digest(b"pin"), effect, canonical(args), args, **more)


def facts(of: Policy | None, **more: Any) -> Facts:
    return Facts(**{"principal": "ann", "door": "library", "policy": of.digest if of else None, "clock": CLOCK, **more})


def decided(of: Policy, tool: str, args: dict[str, Any], **more: Any) -> Decision:
    return decide(of, call(tool, args), facts(of, **more))
