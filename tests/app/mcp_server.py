"""An MCP server over stdio whose tools are in the file named first; it writes its process id to the file named second."""

import json
import os
import sys


def answer(message: dict) -> dict:
    if message["method"] == "server/discover":
        return {}  # no sign of a modern server
    if message["method"] == "initialize":
        return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}
    if message["method"] == "tools/list":
        with open(sys.argv[1], encoding="utf-8") as file:
            return {"tools": json.load(file)}
    return {"content": [{"type": "text", "text": json.dumps(message["params"]["arguments"])}]}


with open(sys.argv[2], "a", encoding="ascii") as file:
    file.write(f"{os.getpid()}\n")
for line in sys.stdin.buffer:
    message = json.loads(line)
    if "id" in message:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": answer(message)}) + "\n")
        sys.stdout.flush()
