"""A real MCP server over HTTP on loopback that does what its script says, and knows what reached it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

TOOL: dict[str, Any] = {"name": "t", "description": "one", "inputSchema": {"type": "object"}}


@dataclass
class Request:
    method: str
    target: str
    fields: dict[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        return json.loads(self.body) if self.body else {}

    @property
    def rpc(self) -> str:
        """The method of the message, or `answer`, or that of HTTP."""
        return self.message.get("method", "answer") if self.body else self.method


class Out:
    """The answer to one request: `send` it whole, or `begin` a stream of events and go on."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.open = True

    def send(self, status: int, body: bytes = b"", kind: str = "application/json", **fields: str) -> None:
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        head = f"HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
        self._writer.write(head.encode() + body)

    def result(self, request: Request, result: object, **fields: str) -> None:
        self.send(200, message(request, result=result), **fields)

    def error(self, request: Request, code: int, status: int = 200, **more: Any) -> None:
        self.send(status, message(request, error={"code": code, "message": "no", **more}))

    def begin(self, **fields: str) -> None:
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        head = f"HTTP/1.1 200 x\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n{more}\r\n"
        self._writer.write(head.encode())

    def event(self, data: object, *, id: str | None = None, retry: int | None = None) -> None:
        text = data if isinstance(data, bytes) else json.dumps(data).encode()
        lines = [b"id: " + id.encode()] if id is not None else []
        lines += [b"retry: %d" % retry] if retry is not None else []
        self.raw(b"\n".join([*lines, b"data: " + text, b"", b""]))

    def raw(self, data: bytes) -> None:
        self._writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self) -> None:
        self._writer.write(b"0\r\n\r\n")

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def cut(self) -> None:
        self.open = False
        self._writer.transport.abort()


Script = Callable[[Request, Out], Awaitable[None]]


def message(request: Request, **members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request.message.get("id"), **members}).encode()


class Web:
    """`era` answers the hello and the list; `scripts` answers by method, before that."""

    def __init__(
        self, era: str, scripts: dict[str, Script], *, tools: list[Any], capabilities: dict[str, Any], **said: Any
    ) -> None:
        self.era, self.scripts, self.tools, self.said = era, scripts, tools, said
        self.capabilities = capabilities
        self.requests: list[Request] = []
        self.came = asyncio.Event()
        self.ended = 0  # connections that the other end closed
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def rpcs(self) -> list[str]:
        return [request.rpc for request in self.requests]

    def of(self, rpc: str) -> Request:
        """The last one."""
        return [request for request in self.requests if request.rpc == rpc][-1]

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not happened():
                self.came.clear()
                await self.came.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = re.search(rb"\r\ncontent-length: (\d+)", head)
                    body = await reader.readexactly(int(length[1]) if length else 0)
                    first, *lines = head.decode().rstrip().split("\r\n")
                    method, target, _ = first.split(" ")
                    request = Request(method, target, dict(line.split(": ", 1) for line in lines), body)
                    self.requests.append(request)
                    self.came.set()
                    out = Out(writer)
                    await self._answer(request, out)
                    if not out.open:
                        return
                    await writer.drain()
        finally:
            self.ended += 1
            self.came.set()
            writer.transport.abort()

    async def _answer(self, request: Request, out: Out) -> None:
        rpc = request.rpc
        if rpc in self.scripts:
            await self.scripts[rpc](request, out)
        elif rpc in ("GET", "DELETE"):
            out.send(405 if rpc == "GET" else 200)
        elif rpc == "answer" or "id" not in request.message:
            out.send(202)
        elif rpc == "server/discover" and self.era == "modern":
            meta = {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "1"}}
            out.result(
                request, {"supportedVersions": ["2026-07-28"], "capabilities": self.capabilities, "_meta": meta, **self.said}
            )
        elif rpc == "server/discover":
            out.send(400, b"Bad Request: no session", "text/plain")
        elif rpc == "initialize" and self.era == "legacy":
            result = {
                "protocolVersion": "2025-11-25",
                "capabilities": self.capabilities,
                "serverInfo": {"name": "s"},
                **self.said,
            }
            out.result(request, result, mcp_session_id="s-1")
        elif rpc == "tools/list":
            out.result(request, {"tools": self.tools})
        elif rpc in ("tools/call", "resources/read"):
            out.result(request, {"content": [], "said": request.message["params"]})
        else:
            out.error(request, -32601, 404)


@asynccontextmanager
async def web(era: str = "modern", tools: list[Any] | None = None, **scripts: Any) -> AsyncIterator[Web]:
    said = {name: scripts.pop(name) for name in ("instructions",) if name in scripts}
    capabilities = scripts.pop("capabilities", {"tools": {}})
    made = Web(era, scripts.pop("scripts", {}), tools=[TOOL] if tools is None else tools, capabilities=capabilities, **said)
    tasks: set[asyncio.Task[None]] = set()
    server = await asyncio.start_server(lambda r, w: tasks.add(asyncio.create_task(made.serve(r, w))), "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # for aborted transports to go
        await server.wait_closed()
