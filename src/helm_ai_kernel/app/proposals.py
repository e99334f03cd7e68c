"""What an MCP server lists and says of itself now, as a catalogue document that a person may pin.

The definitions are the server's, untouched; beside them the methods that its capabilities imply, whose definitions are ours.
"""

import shlex
from typing import Any, Protocol

from helm_ai_kernel.connectors.mcp_http import McpHttpConnector
from helm_ai_kernel.connectors.mcp_stdio import McpStdioConnector
from helm_ai_kernel.pep.catalog import EMPTY, entry, server_doc
from helm_ai_kernel.pep.methods import METHODS, implied
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.wire.era import Era, Facts

from .config import McpUpstream, Upstream
from .identities import Identities


class Hands(Protocol):
    """What is asked of a connector to an MCP server."""

    @property
    def definitions(self) -> dict[str, dict[str, Json]]: ...

    @property
    def refused(self) -> dict[str, Refused]: ...

    async def start(self) -> None: ...

    async def facts(self) -> Facts: ...

    async def close(self) -> None: ...


def hands(server: str, upstream: Upstream | McpUpstream, identities: Identities | None) -> Hands:
    """To a server that is not pinned yet: it is listed, and never called."""
    if isinstance(upstream, McpUpstream):
        source = source_of(upstream)
        bearer = None if identities is None else identities.bearer(server, source)
        return McpHttpConnector(source, instructions=None, bearer=bearer)
    return McpStdioConnector(upstream.command, named=upstream.env)


async def ask(
    server: str, upstream: Upstream | McpUpstream, identities: Identities | None = None
) -> tuple[dict[str, Any], dict[str, Refused]]:
    """What may be pinned, and what has no one meaning, by name. Raises `OutsideError`; `Refused` where nothing can be pinned."""
    connector = hands(server, upstream, identities)
    try:
        await connector.start()
        facts = await connector.facts()
        listed = [entry(name, raw) for name, raw in sorted(connector.definitions.items()) if "/" not in name]
        refused = dict(connector.refused)
    except OutsideError as e:
        by_hand = f"run it by hand: {shlex.join(upstream.command)}" if isinstance(upstream, Upstream) else ""
        raise OutsideError(e.reason, f"`{server}`: {e.detail}", hint=e.hint or by_hand) from None
    finally:
        await connector.close()
    eras = (False, True) if facts.era is Era.MODERN else (False,)  # a server of the newer one may speak the older one, too
    methods = {name for modern in eras for name in implied(facts.capabilities, modern=modern)}
    listed += [entry(name, METHODS[name].raw, effect=METHODS[name].effect) for name in sorted(methods)]
    source = source_of(upstream) | ({"instructions": facts.instructions} if facts.instructions else {})
    EMPTY.with_server(server_doc(server, source, []))  # vets where it is, and what it says; each tool is judged by itself
    return server_doc(server, source, listed), refused


def source_of(upstream: Upstream | McpUpstream) -> dict[str, Any]:
    """The part of the source that the configuration says."""
    if isinstance(upstream, Upstream):
        return {"kind": "mcp-stdio", "command": list(upstream.command), "env": sorted(set(upstream.env))}
    source = {
        "kind": "mcp-http",
        "url": upstream.url,
        "addresses": sorted(upstream.addresses),
        "secrets": dict(upstream.secrets),
        "ca": upstream.ca,
    }
    return source | ({} if upstream.tls_key is None else {"tls_key": upstream.tls_key})
