"""`mcp …`: the commands of the MCP door."""

from . import wrap
from .output import Commands, group


def add(commands: Commands) -> None:
    mcp = group(commands, "mcp", "MCP servers and clients")
    wrap.add(mcp)
