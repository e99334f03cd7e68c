"""An MCP server behind an URL: the connector of kind `mcp-http`. What it checks and proves stands in `mcp.py`.

Where it goes is pinned with the server: scheme, host, port, path, the addresses that may be dialled, and the key where one is
named; `docs/spec/connector-mcp.md` is the specification.
"""

from collections.abc import Mapping
from typing import Any

from helm_ai_kernel.executor.host import Relay
from helm_ai_kernel.net.resolver import Resolver
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.wire.era import Era

from .http_link import Bearer, Link
from .http_session import HttpSession
from .mcp import McpConnector
from .stdio_session import NOBODY

STEP_MS = 30_000  # each of hello and tool list


class McpHttpConnector(McpConnector):
    """`source` as in the catalogue; raises `EvidenceError`. Secrets are read from `environ` for each request, and never kept.

    `bearer` has the kernel's tokens for this server; `capabilities` is as for `McpStdioConnector`, the
    other arguments are those of `McpConnector`.
    """

    def __init__(
        self,
        source: Json,
        *,
        environ: Mapping[str, str] | None = None,
        resolver: Resolver | None = None,
        bearer: Bearer | None = None,
        step_ms: int = STEP_MS,
        capabilities: bytes | None = None,
        **others: Any,
    ) -> None:
        pinned = source.get("instructions") if isinstance(source, dict) else None
        super().__init__(**({"instructions": pinned} | others))
        self._link = Link(source, environ=environ, resolver=resolver, bearer=bearer)
        self._step_s = step_ms / 1000
        self._capabilities = capabilities
        self._http: HttpSession | None = None

    def _open(self, relay: Relay | None) -> HttpSession:
        before = self._http
        known_legacy = before is not None and bool(before.facts.revision) and before.facts.era is Era.LEGACY
        probe = not known_legacy and self.prefers is not Era.LEGACY
        said = self._capabilities if self._capabilities is not None else NOBODY if relay is None else relay.capabilities
        self._http = HttpSession(self._link, self.ears, step_s=self._step_s, probe=probe, capabilities=said)
        return self._http

    async def close(self) -> None:
        await super().close()
        await self._link.close()
