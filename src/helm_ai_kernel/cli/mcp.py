"""`mcp config`: MCP servers of AI clients, behind the kernel."""

from . import clients
from .output import Commands, group


def add(commands: Commands) -> None:
    mcp = group(commands, "mcp", "MCP servers of AI clients, behind the kernel")
    clients.add_config(mcp)
