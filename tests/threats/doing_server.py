"""An MCP server over stdio with the tools `send` and `note`: what it was called with is a line of the file named first."""

import json
import os
import sys

SCHEMA = {"type": "object", "properties": {"amount": {"type": "number"}, "to": {"type": "string"}}}
TOOLS = [{"name": name, "description": "does it", "inputSchema": SCHEMA} for name in ("send", "note")]


def called(params: dict) -> dict:
    fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, json.dumps([params["name"], params["arguments"]], sort_keys=True).encode() + b"\n")
    os.close(fd)
    said = os.environ.get("SAYS", "done")
    return {"content": [{"type": "text", "text": said}]}


def answer(message: dict) -> dict:
    if message["method"] == "initialize":
        return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}
    return {"tools": TOOLS} if message["method"] == "tools/list" else called(message["params"])


for line in sys.stdin.buffer:
    message = json.loads(line)
    if "id" in message:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": answer(message)}) + "\n")
        sys.stdout.flush()
