"""A bundle's server behind `mcp wrap`: the same program, words and variables, and no way in which a host starts it without.

Three things would lead past the kernel, and each has its answer. A platform that overrides the command: every override is
re-routed. A host that starts a known kind of server with a runtime of its own: the kind becomes `binary`, and what a host starts
itself (`uv`) is refused. Variables that steer the kernel's own process, such as `HELM_HOME` or `LD_PRELOAD`: what a bundle fixes
is set for its server alone, behind the kernel, and what the user enters may not have such a name.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NoReturn

from helm_ai_kernel.tcb.ijson import Json

from .entry import malformed
from .manifest import SELF_STARTED, WORDS_MAX, Launch, Manifest

PROGRAM = "helm-ai-kernel"
PLATFORMS = ("darwin", "linux")  # where the kernel runs
RUNS = "binary"  # a host starts `mcp_config.command` of such a server, and nothing else

_ENV = "/usr/bin/env"
_ENTERED = "${user_config"  # the host puts what the user entered there, and takes any character for the `.` that follows
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
# What a Python process, its loader, its libraries, or this one read of their environment before, or besides, what they are told.
_STEERING = re.compile(
    r"(HELM|PYTHON|LD|DYLD|XDG|SSH|SSL|OPENSSL|GIT|GCONV|MALLOC|GLIBC|LC)_\w*\Z"
    r"|(PYTHON\w*|HOME|PATH|PWD|SHELL|ENV|BASH_ENV|IFS|LANG|LANGUAGE|LOCPATH|NLSPATH|TZ|TZDIR|TMP|TEMP|TMPDIR|USER|LOGNAME)\Z"
    r"|(HOSTALIASES|LOCALDOMAIN|RES_OPTIONS|RESOLV_\w*|NODE_OPTIONS|BROWSER|\w*_PROXY|\w*_proxy)\Z"
)


def wrap_words(name: str, command: Sequence[str]) -> list[str]:
    """The arguments of the kernel's command that governs this one as the server `name`."""
    return ["mcp", "wrap", "--name", name, "--", *command]


def check_word(word: str) -> None:
    """Of ours in a manifest; raises `Refused`. (There is no way to say `${` to a host.)"""
    if "${" in word:
        malformed("route", f"`{word[:64]}` holds `${{`, and a host would put something else there")


def names_kernel(launch: Launch) -> bool:
    """Whether any word is the kernel's program, wherever it is installed. Such a bundle is not wrapped again."""
    return any(_is_kernel(word) for word in (launch.command or "", *(launch.args or ())))


def is_governed(launch: Launch) -> bool:
    """Whether this is `mcp wrap` of the kernel that is installed, not of a program in the bundle that has its name."""
    args, command = launch.args or (), launch.command or ""
    return _is_kernel(command) and "${" not in command and args[:3] == ("mcp", "wrap", "--name") and args[4:5] == ("--",)


def _is_kernel(word: str) -> bool:
    return PurePosixPath(word.replace("\\", "/")).name.lower().removesuffix(".exe") == PROGRAM


def rerouted(manifest: Manifest, name: str, program: str = PROGRAM) -> dict[str, Json]:
    """The manifest whose server is started behind the kernel as `name`; raises `Refused(ERR_BUNDLE_MALFORMED)`, sub `route`."""
    if manifest.kind == SELF_STARTED or manifest.launch is None:
        _no(f"its host starts a server of type `{manifest.kind}` by itself, past anything that the bundle says")
    if any(names_kernel(launch) for launch in (manifest.launch, *manifest.platforms.values())):
        _no(f"it is wrapped already: it starts `{PROGRAM}`")
    config: dict[str, Json] = _routed(manifest, manifest.launch, name, program)
    overrides: dict[str, Json] = {
        platform: _routed(manifest, launch.over(manifest.launch), name, program)
        for platform, launch in manifest.platforms.items()
    }
    if overrides:
        config["platform_overrides"] = overrides
    server: Any = manifest.body["server"]
    return {
        **manifest.body,
        "server": {**server, "type": RUNS, "mcp_config": config},
        "compatibility": _compatibility(manifest.body),
    }


def entered(launch: Launch) -> tuple[str, ...]:
    """The variables that are set for the kernel's process, because the user enters what is in them."""
    return tuple(sorted(name for name, value in (launch.env or {}).items() if _ENTERED in value))


def steers(name: str) -> bool:
    return _STEERING.match(name) is not None


def _routed(manifest: Manifest, launch: Launch, name: str, program: str) -> dict[str, Json]:
    """`${__dirname}` and the like stay as they are: the host puts their values into arguments as into commands."""
    command, env = launch.command or "", launch.env or {}
    if command.startswith("-") or "=" in command:
        _no(f"its command `{command[:64]}` would be read as an option or a variable")
    if any(said.get("multiple") is True and f"{key}}}" in command for key, said in manifest.settings.items()):
        _no("its command is a setting that can have several values")
    if wrong := sorted(variable for variable in env if not _VARIABLE.match(variable)):
        _no(f"`{wrong[0][:64]}` is not the name of a variable")
    kept = set(entered(launch))
    if steering := sorted(filter(steers, kept)):
        _no(f"the variable `{steering[0]}`, which the user would enter, steers the kernel itself")
    fixed = [f"{variable}={value}" for variable, value in sorted(env.items()) if variable not in kept]
    words = [*((_ENV, *fixed) if fixed else ()), command, *(launch.args or ())]
    if len(words) > WORDS_MAX:
        _no(f"its command has more than {WORDS_MAX} words")
    routed: dict[str, Json] = {"command": program, "args": list(wrap_words(name, words))}
    return {**routed, "env": {variable: env[variable] for variable in sorted(kept)}}


def _compatibility(body: Mapping[str, Json]) -> dict[str, Json]:
    said: Any = body.get("compatibility", {})
    platforms = said.get("platforms", list(PLATFORMS))
    if type(platforms) is not list or not (both := [platform for platform in PLATFORMS if platform in platforms]):
        _no(f"it is for none of the platforms that the kernel runs on: {', '.join(PLATFORMS)}")
    return {**said, "platforms": list(both)}


def _no(detail: str) -> NoReturn:
    malformed("route", f"it cannot be put behind the kernel: {detail}")
