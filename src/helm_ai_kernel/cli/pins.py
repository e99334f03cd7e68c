"""The first pin of an MCP server on one screen: who it is, what it says of itself, and each tool on a line. All of it is signed.

What the server claims of its tools is shown as its claim, and decides nothing.
"""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from helm_ai_kernel.pep.catalog import entry
from helm_ai_kernel.pep.methods import METHODS, QUESTIONS
from helm_ai_kernel.tcb.call import Effect
from helm_ai_kernel.tcb.findings import visible

from . import changes
from .output import plain

LINE_CHARS = 110
INSTRUCTIONS_LINES = 12  # of what is shown; the whole is in the catalogue's file, and with `--full`
_CLAIMS = {
    "readOnlyHint": "read-only", "destructiveHint": "destructive", "idempotentHint": "idempotent", "openWorldHint": "open world",
}  # fmt: skip
_CAREFUL = entry("_", {})  # what stands in a proposal where no person said anything
_MEANS = {Effect.DESTRUCTIVE: ": a person approves each call"}


def screen(doc: Mapping[str, Any]) -> Iterator[str]:
    """`doc` is a catalogue document of a server that is pinned for the first time."""
    tools = [tool for tool in doc["tools"] if tool["name"] not in METHODS]
    yield f"server {doc['server']}: {changes.source(doc['source'])}"
    yield from instructions(doc["source"])
    for effect in Effect:
        mine = [tool for tool in tools if tool["effect"] == effect]
        if mine:
            yield f"{effect.value} ({len(mine)}){_MEANS.get(effect, '')}"
            wide = min(32, max(len(visible(tool["name"])) for tool in mine))
            yield from (line for tool in mine for line in _line(tool, wide))
    yield from methods(doc)
    yield f"signed are {len(doc['tools'])} definitions, whole; `--full` shows them"


def instructions(source: Mapping[str, Any]) -> Iterator[str]:
    """What the server tells models, made harmless."""
    lines = [visible(line, 2000) for line in str(source.get("instructions", "")).splitlines()]
    if lines:
        yield "it tells models:"
        yield from (f"  | {line}" for line in lines[:INSTRUCTIONS_LINES])
    if len(lines) > INSTRUCTIONS_LINES:
        yield f"  ... and {len(lines) - INSTRUCTIONS_LINES} lines more"


def methods(doc: Mapping[str, Any]) -> Iterator[str]:
    """The methods of MCP that it has, and what it may ask of a client, by effect."""
    for asks, said in ((False, "methods of MCP"), (True, "may ask your client for")):
        mine = [tool for tool in doc["tools"] if tool["name"] in METHODS and (tool["name"] in QUESTIONS) is asks]
        for effect in Effect:
            names = ", ".join(tool["name"] for tool in mine if tool["effect"] == effect)
            if names:
                yield from textwrap.wrap(f"{said} ({effect.value}): {names}", LINE_CHARS, subsequent_indent="  ")


def _line(tool: Mapping[str, Any], wide: int) -> Iterator[str]:
    """Name, arguments and what the server claims; below it what a person said that is not the careful default."""
    schema, claims = tool["raw"].get("inputSchema"), tool["raw"].get("annotations")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    names = ", ".join(map(visible, properties)) if isinstance(properties, dict) else ""
    told = [word for key, word in _CLAIMS.items() if isinstance(claims, dict) and claims.get(key) is True]
    claimed = f"  claims: {', '.join(told)}" if told else ""
    line = f"  {visible(tool['name']):<{wide}}  ({names}){claimed}"
    yield line if len(line) <= LINE_CHARS else line[: LINE_CHARS - 4] + " ..."
    for name in ("labels", "limits", "destinations", "require_key", "accept_formats"):
        if tool[name] != _CAREFUL[name]:
            yield f"      {name}: {plain(tool[name], LINE_CHARS)}"
    if tool.get("nullable"):
        yield f"      takes null for: {plain(tool['nullable'], LINE_CHARS)}"
    if not tool["closed"]:
        yield "      takes arguments that it does not name"
