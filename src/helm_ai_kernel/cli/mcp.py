"""`mcp …`: the kernel in front of MCP servers."""

from . import bundles
from .output import Commands, group


def add(commands: Commands) -> None:
    mcp = group(commands, "mcp", "MCP servers behind the kernel")
    bundles.add(mcp)
