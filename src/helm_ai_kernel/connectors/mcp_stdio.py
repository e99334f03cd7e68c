"""An MCP server as a child process: the connector of kind `mcp-stdio`. What it checks and proves stands in `mcp.py`."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from helm_ai_kernel.executor.host import Relay
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.wire.era import Era

from .mcp import McpConnector
from .process import environment
from .stdio_session import NOBODY, StdioSession

START_MS = 30_000  # each of handshake and tool list; package runners fetch what they run at the first start


class McpStdioConnector(McpConnector):
    """`argv` is never given to a shell. The child gets PATH, HOME, LANG, LC_* and TMPDIR of `environ`, and what `named` names.

    `capabilities`: what the client behind it can be asked, as a legacy server is told once, at the start; None for what the relay
    says of the call that starts it. The other arguments are those of `McpConnector`.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        named: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        cwd: str | None = None,
        start_ms: int = START_MS,
        capabilities: bytes | None = None,
        **others: Any,
    ) -> None:
        super().__init__(**others)
        if not argv:
            raise Refused(Reason.ERR_UPSTREAM_SHAPE, "a server without a command", sub="argv")
        self._argv = tuple(argv)
        self._env = environment(os.environ if environ is None else environ, named)
        self._cwd = cwd
        self._step_s = start_ms / 1000
        self._capabilities = capabilities
        self._stdio: StdioSession | None = None

    @property
    def pid(self) -> int:
        return self._stdio.pid if self._stdio is not None else 0

    @property
    def stderr_tail(self) -> bytes:
        """The server's last words, untrusted."""
        return self._stdio.stderr_tail if self._stdio is not None else b""

    def _open(self, relay: Relay | None) -> StdioSession:
        before = self._stdio
        known_legacy = before is not None and bool(before.facts.revision) and before.facts.era is Era.LEGACY
        probe = not known_legacy and self.prefers is not Era.LEGACY
        said = self._capabilities if self._capabilities is not None else NOBODY if relay is None else relay.capabilities
        self._stdio = StdioSession(
            self._argv, self.ears, env=self._env, cwd=self._cwd, step_s=self._step_s, probe=probe, capabilities=said
        )  # fmt: skip
        return self._stdio
