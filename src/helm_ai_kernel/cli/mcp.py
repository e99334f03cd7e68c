"""`mcp list`, `inspect`, `pin`, `diff`, `release`: the same commands as under `tools`, by the name that people look for."""

from . import tools
from .output import Commands, group


def add(commands: Commands) -> None:
    tools.under(group(commands, "mcp", "MCP servers: the commands of `tools`, by this name"), "mcp")
