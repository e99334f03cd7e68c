"""An MCP server over stdio that speaks the eras named first, with one tool for each thing that servers do.

Each request that is a call goes to the file named second. `wait` says in the pipe named third that it was called, and goes on
when the pipe named fourth says so.
"""

import json
import os
import signal
import sys

ERAS = sys.argv[1]
META = "io.modelcontextprotocol/"
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}}
TOOLS = [
    {"name": name, "description": f"{name} it", "inputSchema": TEXT} for name in ("say", "ask", "shout", "wait", "die", "env")
]
CAPABILITIES = {"tools": {}, "resources": {}, "prompts": {}, "completions": {}, "logging": {}}
QUESTION = {"message": "who?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}
waiting = {}


def send(message: dict) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def text(words: str) -> dict:
    return {"content": [{"type": "text", "text": words}]}


def call(message: dict, modern: bool) -> dict | None:
    params = message["params"]
    name, said = params["name"], params.get("arguments", {}).get("text", "")
    if name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "wait":
        with open(sys.argv[3], "w", encoding="ascii") as began:
            began.write("began\n")
        with open(sys.argv[4], encoding="ascii") as go:
            go.read()
    if name == "shout":
        token = params.get("_meta", {}).get("progressToken")
        if token is not None:
            send({"method": "notifications/progress", "params": {"progressToken": token, "progress": 1, "total": 1}})
        send({"method": "notifications/message", "params": {"level": "info", "data": said}})
    if name == "env":
        return text(json.dumps(dict(os.environ), sort_keys=True))
    if name == "ask" and not modern:
        waiting["asked"] = message["id"]
        send({"id": "asked", "method": "elicitation/create", "params": QUESTION})
        return None
    if name == "ask":
        if "inputResponses" not in params:
            return {"resultType": "input_required", "requestState": "s", "inputRequests": {
                "who": {"method": "elicitation/create", "params": QUESTION}}}  # fmt: skip
        return text(json.dumps([params["inputResponses"], params["requestState"]]))
    return text(said)


def answer(message: dict) -> dict | None:
    params = message.get("params", {})
    modern = f"{META}protocolVersion" in params.get("_meta", {})
    match message["method"]:
        case "server/discover" if ERAS != "legacy":
            about = {f"{META}serverInfo": {"name": "s", "version": "1"}}
            return {
                "supportedVersions": ["2026-07-28"],
                "capabilities": CAPABILITIES,
                "_meta": about,
                "ttlMs": 0,
                "cacheScope": "private",
            }
        case "initialize" if ERAS != "modern":
            return {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "serverInfo": {"name": "s", "version": "1"}}
        case "tools/list":
            return {"tools": TOOLS, "ttlMs": 0, "cacheScope": "private"}
        case "ping":
            return {}
        case "tools/call":
            return call(message, modern)
        case "resources/list":
            return {"resources": [{"uri": "a:1", "name": "one"}]}
        case "resources/read":
            return {"contents": [{"uri": params["uri"], "text": "read"}]}
        case "prompts/list":
            return {"prompts": [{"name": "p"}]}
        case "prompts/get":
            return {"messages": [{"role": "user", "content": {"type": "text", "text": params["name"]}}]}
        case "completion/complete":
            return {"completion": {"values": ["x"]}}
    raise LookupError


for line in sys.stdin.buffer:
    message = json.loads(line)
    if "method" not in message:
        said = json.dumps(message.get("result", "refused"))
        send({"id": waiting.pop(message["id"]), "result": text(said)})
        continue
    if "/" in message["method"] and not message["method"].startswith(("tools/list", "notifications", "server/")):
        with open(sys.argv[2], "a", encoding="utf-8") as spy:
            spy.write(json.dumps([message["method"], message["params"].get("name", "")]) + "\n")
    if "id" in message:
        try:
            result = answer(message)
        except LookupError:
            send({"id": message["id"], "error": {"code": -32601, "message": "no"}})
            continue
        if result is not None:
            send({"id": message["id"], "result": result})
