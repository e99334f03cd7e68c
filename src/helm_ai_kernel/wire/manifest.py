"""`manifest.json` of a bundle: what it says that it is, and what its host will start.

What decides which program runs is read with exact keys: a member that we do not know could start another one. What is only shown
is held to its type. `docs/spec/mcpb.md` is the specification.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from helm_ai_kernel.tcb import fields
from helm_ai_kernel.tcb.errors import EvidenceError, Refused
from helm_ai_kernel.tcb.ijson import Json, parse

from .entry import malformed

BYTES_MAX = 1 << 20
TOOLS_MAX = 1024
WORDS_MAX = 64  # of a command line, as in the catalogue
VERSIONS = ("0.1", "0.2", "0.3", "0.4")
SELF_STARTED = "uv"  # the host starts such a server by itself, whatever `mcp_config` says

_KINDS = {"0.4": ("binary", "node", "python", SELF_STARTED)}
_REQUIRED = frozenset({"name", "version", "description", "author", "server"})
_SHOWN: Mapping[str, type] = {
    "$schema": str, "manifest_version": str, "dxt_version": str, "display_name": str, "long_description": str, "repository": dict,
    "homepage": str, "documentation": str, "support": str, "icon": str, "icons": list, "screenshots": list, "localization": dict,
    "tools": list, "tools_generated": bool, "prompts": list, "prompts_generated": bool, "keywords": list, "license": str,
    "privacy_policies": list, "compatibility": dict, "user_config": dict, "_meta": dict,
}  # fmt: skip
_TOOL = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")
_WORD = re.compile(r"[^\0]{0,4096}\Z", re.DOTALL)
_PLATFORMS = frozenset({"darwin", "linux", "win32"})
_SETTING, _SETTING_MORE = {"type", "title", "description"}, {"required", "default", "multiple", "sensitive", "min", "max"}
_SETTING_TYPES = ("string", "number", "boolean", "directory", "file")


@dataclass(frozen=True, slots=True)
class Launch:
    """A program, its words and its variables; of an override of a platform only what it overrides."""

    command: str | None
    args: tuple[str, ...] | None
    env: Mapping[str, str] | None

    def over(self, base: "Launch") -> "Launch":
        """What a host starts where this overrides `base`."""
        args, env = (base.args if self.args is None else self.args), (base.env if self.env is None else self.env)
        return Launch(self.command or base.command, args, env)


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    body: Mapping[str, Json]  # as it was read
    name: str
    version: str  # of the server
    form: str  # of the manifest: one of `VERSIONS`
    kind: str  # of the server: node, python, binary or uv
    tools: tuple[str, ...]
    generated: bool  # it says that there are more tools than it lists
    launch: Launch | None  # none only where the host starts it by itself
    platforms: Mapping[str, Launch]  # overrides
    settings: Mapping[str, Mapping[str, Json]]  # what the user is asked for

    @classmethod
    def from_bytes(cls, data: bytes) -> "Manifest":
        """Raises `Refused(ERR_BUNDLE_MALFORMED)`."""
        try:
            return cls._of(parse(data, bytes_max=BYTES_MAX))
        except EvidenceError as error:
            malformed("manifest", f"`manifest.json`: {error.detail}")
        except Refused as refused:
            malformed("manifest", f"`manifest.json` is not strict json ({refused.sub}): {refused.detail}")

    @classmethod
    def _of(cls, value: Json) -> "Manifest":
        body = fields.exact(value, _REQUIRED, set(_SHOWN))
        for name in sorted(_SHOWN.keys() & body.keys()):
            fields.typed(body, name, _SHOWN[name])
        form = _form(body)
        fields.text(fields.exact(body["author"], {"name"}, {"email", "url"}), "name")
        fields.text(body, "description", bytes_max=BYTES_MAX)
        kind, launch, platforms = _server(body["server"], form)
        settings = {key: _setting(key, item) for key, item in _object(body, "user_config").items()}
        return cls(
            body=body,
            name=_some(body, "name"),
            version=_some(body, "version"),
            form=form,
            kind=kind,
            tools=_tools(body),
            generated=body.get("tools_generated") is True,
            launch=launch,
            platforms=platforms,
            settings=settings,
        )


def undeclared(manifest: Manifest, listed_names: Iterable[str]) -> tuple[str, ...]:
    """The tools that a server lists and its bundle does not, sorted: to be held until a person saw them.

    A bundle that says `tools_generated` declares that there are more. One that lists none declares none.
    """
    return () if manifest.generated else tuple(sorted(set(listed_names) - set(manifest.tools)))


def _form(body: Mapping[str, Json]) -> str:
    """The version of the manifest; `dxt_version` is the old name, and both say the same where both are there."""
    said = {fields.text(body, name) for name in ("manifest_version", "dxt_version") if name in body}
    if len(said) != 1 or not said <= set(VERSIONS):
        raise fields.wrong(f"`manifest_version` is not one of {', '.join(VERSIONS)}")
    return said.pop()


def _server(value: Json, form: str) -> tuple[str, Launch | None, Mapping[str, Launch]]:
    body = fields.exact(value, {"type", "entry_point"}, {"mcp_config"})
    kind = fields.text(body, "type")
    if kind not in _KINDS.get(form, _KINDS["0.4"][:3]):
        raise fields.wrong(f"the server's `type` is `{kind[:64]}`, which version {form} does not have")
    _some(body, "entry_point")
    if "mcp_config" not in body and kind == SELF_STARTED:
        return kind, None, {}
    config = fields.typed(body, "mcp_config", dict)
    fields.exact(config, {"command"}, {"args", "env", "platform_overrides"})
    overrides = _object(config, "platform_overrides")
    if not overrides.keys() <= _PLATFORMS:
        raise fields.wrong(f"`platform_overrides` names something else than {', '.join(sorted(_PLATFORMS))}")
    for item in overrides.values():
        fields.exact(item, set(), {"command", "args", "env"})
    platforms = {name: _launch(item) for name, item in sorted(overrides.items()) if type(item) is dict}
    return kind, _launch(config), platforms


def _launch(body: Mapping[str, Json]) -> Launch:
    command = _some(body, "command") if "command" in body else None
    args = fields.strings(body, "args") if "args" in body else None
    env = _object(body, "env") if "env" in body else None
    words = (*(args or ()), *(env or {}), *(value for value in (env or {}).values()))
    if len(args or ()) > WORDS_MAX or len(env or {}) > WORDS_MAX:
        raise fields.wrong(f"more than {WORDS_MAX} arguments or variables")
    if not all(type(word) is str and _WORD.match(word) for word in words):
        raise fields.wrong("an argument or a variable that is no string, holds a NUL, or is longer than 4096 characters")
    return Launch(command, args, None if env is None else {name: str(text) for name, text in env.items()})


def _setting(key: str, value: Json) -> Mapping[str, Json]:
    body = fields.exact(value, _SETTING, _SETTING_MORE)
    if fields.text(body, "type") not in _SETTING_TYPES:
        raise fields.wrong(f"the type of the setting `{key[:64]}` is not one of {', '.join(_SETTING_TYPES)}")
    for name in ("title", "description"):
        fields.text(body, name)
    for name in ("required", "multiple", "sensitive"):
        if name in body:
            fields.typed(body, name, bool)
    return body


def _tools(body: Mapping[str, Json]) -> tuple[str, ...]:
    names = []
    for item in fields.typed(body, "tools", list) if "tools" in body else []:
        tool = fields.exact(item, {"name"}, {"description"})
        names.append(fields.text(tool, "name"))
        if "description" in tool:
            fields.text(tool, "description", bytes_max=BYTES_MAX)
    if len(names) > TOOLS_MAX or len(set(names)) != len(names) or not all(_TOOL.match(name) for name in names):
        raise fields.wrong(f"`tools` has more than {TOOLS_MAX} items, one twice, or a name that no tool has")
    return tuple(sorted(names))


def _some(body: Mapping[str, Json], name: str) -> str:
    """A string that says something, and has no NUL."""
    value = fields.text(body, name)
    if not value.strip() or "\0" in value:
        raise fields.wrong(f"field `{name}` is empty, or holds a NUL")
    return value


def _object(body: Mapping[str, Json], name: str) -> dict[str, Json]:
    return fields.typed(body, name, dict) if name in body else {}
