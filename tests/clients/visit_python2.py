"""What a program on the official Python SDK, 2.x, does with a server, in either era."""

import asyncio
import json
import sys
from typing import Any

from mcp import Client, StdioServerParameters, types
from mcp.shared.exceptions import MCPError


async def asked(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"response": "a word"})


async def call(client: Client, name: str) -> dict[str, Any]:
    try:
        result = await client.call_tool(name, {})
    except MCPError as e:
        return {"refused": True, "text": e.error.message}
    return {"refused": bool(result.is_error), "text": " ".join(one.text for one in result.content if one.type == "text")}


async def main(target: dict[str, Any]) -> dict[str, Any]:
    if "url" in target:
        server: Any = target["url"]
    else:
        server = StdioServerParameters(command=target["command"][0], args=target["command"][1:], env=target["env"])
    async with Client(server, mode="legacy" if target["era"] == "legacy" else "auto", elicitation_callback=asked) as client:
        tools = (await client.list_tools()).tools
        resource = (await client.read_resource("test://static-text")).contents[0]
        prompt = (await client.get_prompt("test_simple_prompt")).messages[0].content
        return {
            "version": client.protocol_version,
            "tools": [tool.name for tool in tools],
            "allowed": await call(client, "test_simple_text"),
            "denied": await call(client, "test_logging_tool"),
            "asked": await call(client, "test_streaming_elicitation"),
            "resource": resource.text,
            "prompt": prompt.text,
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
