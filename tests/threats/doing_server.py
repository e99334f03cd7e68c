"""An MCP server over stdio with the tools `send` and `note`: what it was called with is a line of the file named first.

It answers with whatever stands in `to`."""

import json
import os
import sys

PROPERTIES = {"amount": {"type": "number"}, "cents": {"type": "integer"}, "to": {"type": "string"}}
SCHEMA = {"type": "object", "properties": PROPERTIES}


def tools() -> list:
    """As they are now: what the file named second says is their description."""
    said = "does it"
    if len(sys.argv) > 2:
        with open(sys.argv[2], encoding="utf-8") as file:
            said = file.read()
    return [{"name": name, "description": said, "inputSchema": SCHEMA} for name in ("send", "note")]


def called(params: dict) -> dict:
    fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, json.dumps([params["name"], params["arguments"]], sort_keys=True).encode() + b"\n")
    os.close(fd)
    return {"content": [{"type": "text", "text": str(params["arguments"].get("to", "done"))}]}


def answer(message: dict) -> dict:
    if message["method"] == "server/discover":
        return {}  # no sign of a modern server
    if message["method"] == "initialize":
        return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}
    return {"tools": tools()} if message["method"] == "tools/list" else called(message["params"])


for line in sys.stdin.buffer:
    message = json.loads(line)
    if "id" in message:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": answer(message)}) + "\n")
        sys.stdout.flush()
