"""An operation of an HTTP API as a tool: the connector of kind `http`.

Where it goes is pinned with the server, what is sent with the tool; nothing of an answer leads anywhere: a redirect is an answer.
What is answered to the executor is only what can be proven:

- FAILED: no byte of the request was handed to the system; or the tool is pinned as `read`, so that nothing can have been applied,
  and there is no whole answer.
- OUTPUT: a whole answer. One that is not 2xx is an error of the tool, not a proof that nothing was applied. A server's own
  failure (5xx) proves nothing at all: unless the tool only reads, it is UNKNOWN, with the answer as evidence.
- UNKNOWN: everything else behind the first byte: the deadline, a connection that ended, an answer that cannot be read.
"""

import asyncio
import os
from collections.abc import Mapping

from helm_ai_kernel import __version__
from helm_ai_kernel.executor.host import Relay, Reply, ReplyKind
from helm_ai_kernel.net.exchange import Lost
from helm_ai_kernel.net.resolver import NotSent, Resolver
from helm_ai_kernel.net.upstream import Upstream
from helm_ai_kernel.pep.operation import Operation
from helm_ai_kernel.pep.service import Service
from helm_ai_kernel.pep.tool import Tool
from helm_ai_kernel.tcb.call import Effect
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.wire.request import encode
from helm_ai_kernel.wire.response import Response

from .answer import echoes, output
from .secrets import secret_headers

_ALWAYS = {
    "accept": "application/json, text/*;q=0.5",
    "accept-encoding": "identity",
    "user-agent": f"helm-ai-kernel/{__version__}",
}


class HttpConnector:
    """Implements `Connector` for one service, in one loop. Names are the tools' own, without `server/`.

    `tools` may be replaced at any time; a tool that is not in it is never called. Secrets are read from `environ` for each call.
    """

    def __init__(
        self,
        source: Json,
        tools: Mapping[str, Tool],
        *,
        environ: Mapping[str, str] | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.tools = tools
        self._service = Service.from_json(source)
        self._environ = os.environ if environ is None else environ
        self._upstream = Upstream(self._service, resolver)

    async def call(
        self, name: str, args: bytes, *, key: str | None, wall_ms: int, output_bytes: int,
        relay: Relay | None = None, inputs: bytes | None = None,
    ) -> Reply:  # fmt: skip
        """`args` are canonical bytes of arguments that were admitted for the tool as it stands in `tools`."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            tool, operation = self._find(name)
            secrets = secret_headers(self._service, self._environ)
            request = self._request(operation, args, key, secrets)
            again = operation.retry and (tool.effect is Effect.READ or key is not None)
            until = began + wall_ms / 1000
            found = await self._upstream.ask(request, body_bytes_max=output_bytes, until=until, again=again)
        except (Refused, NotSent) as error:
            return Reply(ReplyKind.FAILED, int((loop.time() - began) * 1000), reason=error.reason, sub=error.sub)
        ms = int((loop.time() - began) * 1000)
        if isinstance(found, Lost):
            return _lost(tool, found, ms)
        if echoes(found.body, secrets.values()):
            return Reply(ReplyKind.OUTPUT, ms, output=b'{"status":%d,"withheld":"secret"}' % found.status, sub="secret")
        return _answered(tool, found, ms, output_bytes)

    async def close(self) -> None:
        """End every connection. Calls in flight end as UNKNOWN, those of tools that only read as FAILED."""
        await self._upstream.close()

    def _find(self, name: str) -> tuple[Tool, Operation]:
        tool = self.tools.get(name)
        if tool is None or tool.operation is None:
            raise Refused(Reason.ERR_CONNECTOR_FAILED, f"there is no operation `{name[:64]}`", sub="no_such_tool")
        return tool, tool.operation

    def _request(self, operation: Operation, args: bytes, key: str | None, secrets: dict[str, str]) -> bytes:
        arguments = parse(args, bytes_max=len(args))
        placed = operation.place(arguments if type(arguments) is dict else {})
        headers = _ALWAYS | ({} if placed.body is None else {"content-type": "application/json"}) | dict(operation.headers)
        if operation.idempotency_header is not None and key is not None:
            headers[operation.idempotency_header] = key
        target = self._service.path + placed.target
        return encode(placed.method, target, self._service.authority, (headers | secrets).items(), placed.body)


def _lost(tool: Tool, lost: Lost, ms: int) -> Reply:
    if lost.sub == "body_bytes":  # more than the contract allows, as of every connector; how much more is not known
        return Reply(ReplyKind.OUTPUT, ms, output=b"", truncated=True)
    if tool.effect is Effect.READ:
        return Reply(ReplyKind.FAILED, ms, reason=lost.reason, sub=lost.sub)
    return Reply(ReplyKind.UNKNOWN, ms, reason=Reason.ERR_OUTCOME_UNKNOWN, sub=lost.sub)


def _answered(tool: Tool, response: Response, ms: int, output_bytes: int) -> Reply:
    unproven = response.status >= 500 and tool.effect is not Effect.READ
    made, sub = output(response, with_body=tool.output is None or response.status < 300 or unproven)
    kept, truncated = made[:output_bytes], len(made) > output_bytes
    if unproven:
        sub = f"status {response.status}"
        return Reply(ReplyKind.UNKNOWN, ms, output=kept, reason=Reason.ERR_OUTCOME_UNKNOWN, sub=sub, truncated=truncated)
    return Reply(ReplyKind.OUTPUT, ms, output=kept, sub=sub, truncated=truncated)
