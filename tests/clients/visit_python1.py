"""What a program on the official Python SDK, 1.x, does with a server; it speaks the eras with a handshake only."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any

from mcp import ClientSession, McpError, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client


async def asked(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"response": "a word"})


async def call(session: ClientSession, name: str) -> dict[str, Any]:
    try:
        result = await session.call_tool(name, {})
    except McpError as e:
        return {"refused": True, "text": e.error.message}
    return {"refused": bool(result.isError), "text": " ".join(one.text for one in result.content if one.type == "text")}


async def main(target: dict[str, Any]) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        if "url" in target:
            read, write, _ = await stack.enter_async_context(streamable_http_client(target["url"]))
        else:
            server = StdioServerParameters(command=target["command"][0], args=target["command"][1:], env=target["env"])
            read, write = await stack.enter_async_context(stdio_client(server))
        session = await stack.enter_async_context(ClientSession(read, write, elicitation_callback=asked))
        started = await session.initialize()
        tools = (await session.list_tools()).tools
        resource = (await session.read_resource(types.AnyUrl("test://static-text"))).contents[0]
        prompt = (await session.get_prompt("test_simple_prompt")).messages[0].content
        return {
            "version": started.protocolVersion,
            "tools": [tool.name for tool in tools],
            "allowed": await call(session, "test_simple_text"),
            "denied": await call(session, "test_logging_tool"),
            "asked": await call(session, "test_streaming_elicitation"),
            "resource": resource.text,
            "prompt": prompt.text,
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
