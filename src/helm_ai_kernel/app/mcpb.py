"""Bundles of this kernel's servers: what is pinned, or configured, becomes a file that starts it behind `mcp wrap`."""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from helm_ai_kernel import __version__
from helm_ai_kernel.pep.catalog import Catalog
from helm_ai_kernel.tcb import fields
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.wire import mcpb
from helm_ai_kernel.wire.archive import ARCHIVE_BYTES_MAX

from . import operate
from .config import SERVER, Config, Upstream


def governed(config: Config, name: str, program: str) -> bytes:
    """The bundle of a server that is pinned, or stands in `helm.toml`; the pin counts where both are."""
    catalog = operate.standing(config).boundary.catalog
    source, upstream = catalog.sources.get(name), config.upstreams.get(name)
    if source is not None and source["kind"] == "mcp-stdio":
        command, env = fields.strings(source, "command"), fields.strings(source, "env")
        return mcpb.governed(name, command, env, _tools(catalog, name), version=__version__, program=program)
    if source is None and isinstance(upstream, Upstream):
        return mcpb.governed(name, upstream.command, upstream.env, None, version=__version__, program=program)
    if source is None and upstream is None:
        known = sorted(catalog.sources.keys() | config.upstreams.keys())
        detail = f"there is no server `{name}`; there {'are' if known else 'is'} {', '.join(known) or 'none'}"
        raise OutsideError(Reason.ERR_TOOL_NOT_ALLOWED, detail, hint=config.paths.typed("tools list"))
    detail = f"`{name}` is no MCP server that is started by a command, and a bundle starts one"
    raise Refused(Reason.ERR_BUNDLE_MALFORMED, detail, sub="route", hint=config.paths.typed("tools list"))


def _tools(catalog: Catalog, name: str) -> list[Mapping[str, str]]:
    """What is listed of a server; methods (`resources/read`) are pinned as tools and are none."""
    found = []
    for tool in catalog.tools.values():
        server, _, short = tool.name.partition("/")
        if server == name and "/" not in short:
            text = tool.raw.get("description")
            found.append({"name": short, "pin": str(tool.pin)} | ({"description": text} if isinstance(text, str) else {}))
    return sorted(found, key=lambda tool: tool["name"])


def server_name(bundle: mcpb.Bundle) -> str:
    """The name of a server that is closest to the bundle's own."""
    name = re.sub(r"[^a-z0-9_-]+", "-", bundle.manifest.name.lower()).strip("-_")[:64]
    if not SERVER.match(name):
        detail = f"`{bundle.manifest.name[:64]}` makes no name of a server"
        raise OutsideError(Reason.ERR_BUNDLE_MALFORMED, detail, hint="name the server: mcp bundle NAME --wrap FILE")
    return name


def check_name(name: str) -> None:
    if not SERVER.match(name):
        detail = f"`{name[:64]}` is not the name of a server: 1 to 64 lowercase letters, digits, `_` and `-`"
        raise OutsideError(Reason.ERR_TOOL_NOT_ALLOWED, detail, hint="helm-ai-kernel tools list")


def read(path: Path) -> bytes:
    """A file, bounded before it is read; raises `OSError`."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # not to hang at a pipe
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "this is no file", str(path))
        return file.read(ARCHIVE_BYTES_MAX + 1)  # one more is too many, and the reader says so
