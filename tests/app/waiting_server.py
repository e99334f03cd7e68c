"""An MCP server over stdio with one tool, `wait`: it says in the pipe named first that it was called, and answers when the pipe
named second says so. What it did it appends to the file named third."""

import json
import sys

TOOL = {"name": "wait", "description": "waits", "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}}}


def called(arguments: dict) -> dict:
    with open(sys.argv[3], "a", encoding="utf-8") as file:
        file.write(json.dumps(arguments) + "\n")
    with open(sys.argv[1], "w", encoding="ascii") as began:
        began.write("began\n")
    with open(sys.argv[2], encoding="ascii") as go:
        go.read()
    return {"content": [{"type": "text", "text": json.dumps(arguments)}]}


def answer(message: dict) -> dict:
    if message["method"] == "server/discover":
        return {}  # no sign of a modern server
    if message["method"] == "initialize":
        return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}
    if message["method"] == "tools/list":
        return {"tools": [TOOL]}
    return called(message["params"]["arguments"])


for line in sys.stdin.buffer:
    message = json.loads(line)
    if "id" in message:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": answer(message)}) + "\n")
        sys.stdout.flush()
