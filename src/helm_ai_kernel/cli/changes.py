"""What a signature would change, in words: nothing is left out that decides what a call does or who may make it."""

import difflib
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from helm_ai_kernel.app import operate
from helm_ai_kernel.pep.catalog import Catalog
from helm_ai_kernel.tcb.findings import visible

from .output import plain

TEXT_CHARS_MAX = 2000  # of one part of a definition; the whole is in the catalogue's file


class ToolChange(NamedTuple):
    mark: str  # "+", "-" or "~"
    tool: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def lines(self) -> Iterator[str]:
        shown = self.after or self.before
        yield f"  {self.mark} {self.tool}  ({shown['effect']})  {shown['pin'][7:19]}"
        if self.mark == "+":
            yield from definition(self.after)
            for name in ("labels", "limits", "destinations", "require_key", "closed", "accept_formats"):
                if shown[name] not in ([], False) and name not in ("limits", "closed"):
                    yield f"      {name}: {_said(shown[name])}"
            if shown.get("nullable"):
                yield f"      takes null for: {_said(shown['nullable'])}"
            yield f"      limits: {_said(shown['limits'])}{'' if shown['closed'] else ', takes arguments that it does not name'}"
        elif self.mark == "~":
            yield from _differences(self.before, self.after)


def of_tools(before: Catalog, after: Catalog) -> list[ToolChange]:
    """Tools that are new, gone or different, by name."""
    old, new = operate.entries(before), operate.entries(after)
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return [
        ToolChange("+" if name not in old else "-" if name not in new else "~", name, old.get(name, {}), new.get(name, {}))
        for name in names
    ]


def of_source(server: str, before: Catalog, after: Catalog) -> Iterator[str]:
    """Where the hands of a server are: the command that will be run, or the place that will be called."""
    old, new = before.sources.get(server), after.sources.get(server)
    if old != new:
        yield f"server {server}: {source(new)}" if old is None else f"server {server}: {source(old)} -> {source(new)}"
        for before_, sign in ((old, "-"), (new, "+")):
            if before_ is not None and (old or {}).get("instructions") != (new or {}).get("instructions"):
                yield from (f"      {sign} instructions: {_said(text)}" for text in [before_.get("instructions")] if text)


def source(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return "gone"
    if value["kind"] == "python":
        return "functions of a Python program"
    if value["kind"] in ("http", "mcp-http"):
        return visible(_service(value), TEXT_CHARS_MAX)
    env = f", which sees {', '.join(value['env'])}" if value["env"] else ""
    return visible(f"runs `{shlex.join(value['command'])}`{env}", TEXT_CHARS_MAX)


def _service(value: Mapping[str, Any]) -> str:
    """Where an HTTP API is, and all that decides who answers for it and what it is told."""
    secrets = [f"`{header}` from ${variable}" for header, variable in sorted(value["secrets"].items())]
    trusts = f", trusting the certificates in {value['ca']}" if value["ca"] else ""
    trusts += f", whose key is {value['tls_key']}" if "tls_key" in value else ""
    return f"calls {value['base' if value['kind'] == 'http' else 'url']} at {', '.join(value['addresses'])} addresses{trusts}" + (
        f", with {', '.join(secrets)}" if secrets else ""
    )


def definition(tool: Mapping[str, Any]) -> Iterator[str]:
    """What the upstream says of the tool, in its words, made harmless."""
    raw = tool["raw"]
    for line in str(raw.get("description", "")).splitlines() or ["(no description)"]:
        yield f"      {visible(line, TEXT_CHARS_MAX)}"
    for name, value in sorted(raw.items()):
        if name not in ("name", "description"):
            yield f"      {visible(name)}: {_said(value)}"


def of_files(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Iterator[str]:
    """Policy files, with the lines that differ."""
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        yield f"  {' ' if old == new else '+' if old is None else '-' if new is None else '~'} {visible(name)}"
        was, now = ((content or b"").decode("utf-8", "replace").splitlines() for content in (old, new))
        for line in list(difflib.unified_diff(was, now, lineterm="", n=0))[2:]:
            if not line.startswith("@@") and line[1:].strip():
                yield f"      {visible(line, TEXT_CHARS_MAX)}"


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        if name != "raw" and before.get(name) != after.get(name):
            yield f"      {name}: {_said(before.get(name))} -> {_said(after.get(name))}"
    old, new = before["raw"], after["raw"]
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"      - {visible(name)}: {_said(old.get(name))}"
            yield f"      + {visible(name)}: {_said(new.get(name))}"


def _said(value: Any) -> str:
    return plain(value, TEXT_CHARS_MAX)
