"""MCP bundles (`.mcpb`): read and checked as a whole, made, and made again with their server behind `mcp wrap`.

Nothing here unpacks to a disk or starts anything: bytes in, bytes or findings out. `docs/spec/mcpb.md` is the specification.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical

from . import archive, packing
from .archive import Archive
from .entry import Entry, malformed
from .manifest import SELF_STARTED, Launch, Manifest, undeclared
from .reroute import PLATFORMS, PROGRAM, RUNS, check_word, is_governed, rerouted, steers, wrap_words

__all__ = ["Bundle", "governed", "undeclared", "wrapped"]

MANIFEST = "manifest.json"
RECORD = "helm.json"  # what is governed here, and as what
FORM = "0.3"  # of the manifests that are made here: the newest that is not experimental


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle in which everything was checked that can be without starting it."""

    digest: Digest  # of the file
    size: int
    archive: Archive
    manifest: Manifest

    @classmethod
    def from_bytes(cls, data: bytes) -> "Bundle":
        """Raises `Refused(ERR_BUNDLE_MALFORMED)`."""
        read = archive.read(data)
        entry = read.entry(MANIFEST)
        if entry is None:
            malformed("manifest", "there is no `manifest.json`")
        return cls(digest(data), len(data), read, Manifest.from_bytes(archive.content(entry)))

    @property
    def signature(self) -> str:
        """Never `signed`: a certificate from nowhere proves nothing, and the one that would prove something is not known here."""
        return "unsigned" if self.archive.signature is None else "unverified"

    @property
    def is_governed(self) -> bool:
        return self.manifest.kind == RUNS and all(is_governed(launch) for launch in self._launches())

    def _launches(self) -> list[Launch]:
        """What a host starts, on each platform."""
        base = self.manifest.launch
        return [] if base is None else [base, *(launch.over(base) for launch in self.manifest.platforms.values())]

    def findings(self) -> list[tuple[str, str]]:
        """What a person should know besides: a word, and a sentence."""
        found = []
        if self.archive.signature is not None:
            found.append(("unverified", "it has a signature, which was not verified: judge by the digest of the file"))
        if self.manifest.generated:
            found.append(("tools_generated", "it says that its server has more tools than it lists"))
        elif not self.manifest.tools:
            found.append(("no_tools", "it lists no tools: every tool that its server has will be undeclared"))
        steering = sorted({name for launch in self._launches() for name in launch.env or {} if steers(name)})
        found += [("steering", f"it sets `{name}`, which steers what starts its server") for name in steering]
        if self.manifest.kind == SELF_STARTED:
            found.append(("self_started", "its host starts it by itself: it cannot be put behind the kernel"))
        elif self.is_governed:
            found.append(("governed", f"it says that it starts `{PROGRAM} mcp wrap`"))
        else:
            found.append(("ungoverned", "its server is started past the kernel"))
        return found


def governed(
    name: str,
    command: Sequence[str],
    env: Sequence[str],
    tools: Sequence[Mapping[str, str]] | None,
    *,
    version: str,
    program: str = PROGRAM,
) -> bytes:
    """The bundle that starts this command behind the kernel as the server `name`.

    `tools` are the pinned ones, each with `name`, `pin` and, where it has one, `description`; None where nothing is pinned yet.
    """
    for word in (*command, program):
        check_word(word)
    pins: list[Json] = [{"name": tool["name"], "pin": tool["pin"]} for tool in tools or ()]
    record: Json = {"v": 1, "kind": "mcpb", "name": name, "command": list(command), "env": list(env), "tools": pins}
    body = _manifest(name, command, env, tools, f"{version}+{digest(canonical(record))[7:19]}", program)
    return _checked({MANIFEST: canonical(body), RECORD: canonical(record)}, ())


def _manifest(
    name: str, command: Sequence[str], env: Sequence[str], tools: Sequence[Mapping[str, str]] | None, version: str, program: str
) -> Any:
    """`entry_point` is a file that is there, because there must be one; nothing starts it."""
    env = [key for key in env if not steers(key)]  # the kernel has its own `PATH` and `HOME`, and nobody enters another
    config = {"command": program, "args": wrap_words(name, command), "env": {key: f"${{user_config.{key}}}" for key in env}}
    shown = [{key: tool[key] for key in ("name", "description") if key in tool} for tool in tools or ()]
    return {
        "manifest_version": FORM,
        "name": f"helm-{name}",
        "display_name": f"{name} (governed)",
        "version": version,
        "description": f"The MCP server {name} behind HELM AI Kernel: each of its calls is checked, decided and recorded.",
        "author": {"name": "HELM AI Kernel"},
        "server": {"type": RUNS, "entry_point": RECORD, "mcp_config": config},
        "compatibility": {"platforms": list(PLATFORMS)},
        "user_config": {key: _asked(key, name) for key in env},
        "tools": shown,
        "tools_generated": tools is None,
    }


def _asked(variable: str, name: str) -> dict[str, Json]:
    """No one knows which variables are secrets, so each is kept as one."""
    text = f"The environment variable {variable} of the server {name}."
    return {"type": "string", "title": variable, "description": text, "required": True, "sensitive": True}


def wrapped(data: bytes, name: str, *, program: str = PROGRAM) -> bytes:
    """The same bundle with its server behind the kernel as `name`; raises `Refused(ERR_BUNDLE_MALFORMED)`."""
    bundle = Bundle.from_bytes(data)
    if bundle.archive.entry(RECORD) is not None:
        malformed("route", f"it cannot be put behind the kernel: it is wrapped already, and has a `{RECORD}`")
    check_word(program)
    manifest = rerouted(bundle.manifest, name, program)
    original: Json = {"digest": bundle.digest, "bytes": bundle.size, "signature": bundle.signature, "type": bundle.manifest.kind}
    record: Json = {"v": 1, "kind": "mcpb", "name": name, "wraps": original}
    kept = tuple(entry for entry in bundle.archive.entries if entry.name != MANIFEST)
    return _checked({MANIFEST: canonical(manifest), RECORD: canonical(record)}, kept)


def _checked(new: Mapping[str, bytes], kept: Sequence[Entry]) -> bytes:
    """Packed, and read again: what leaves here is what would be taken."""
    data = packing.write([*(packing.stored(name, content) for name, content in new.items()), *kept])
    Manifest.from_bytes(new[MANIFEST])
    return data
