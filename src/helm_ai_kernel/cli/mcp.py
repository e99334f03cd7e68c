"""`mcp …`: what stands between a client and its servers; and the commands of `tools`, by the name that people look for."""

from . import clients, login, tools, wrap
from .output import Commands, group


def add(commands: Commands) -> None:
    mcp = group(commands, "mcp", "MCP servers and clients; and the commands of `tools`, by this name")
    wrap.add(mcp)
    login.add(mcp)
    clients.add_config(mcp)
    tools.under(mcp, "mcp")
