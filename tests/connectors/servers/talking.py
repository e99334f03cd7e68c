"""An MCP server over stdio of the era named first, whose tools say and ask what their name says; what it reads goes to the file
named second."""

import json
import os
import sys

era, log = sys.argv[1], open(sys.argv[2], "ab", buffering=0)  # noqa: SIM115  (for the life of the process)
NAMES = ("talks", "asks", "asks_twice", "waits", "dies", "input", "later", "notices", "withdraws")
waiting: dict[str, object] = {}
changes: list[object] = []


def send(**members: object) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **members}) + "\n")
    sys.stdout.flush()


def tool(name: str) -> dict:
    return {
        "name": name,
        "inputSchema": {"type": "object"},
        **({"description": "changed"} if changes and name == "talks" else {}),
    }


def called(number: object, params: dict) -> None:
    name, token = params["name"], params.get("_meta", {}).get("progressToken")
    if name == "talks":
        send(method="notifications/progress", params={"progressToken": token, "progress": 1})
        send(method="notifications/progress", params={"progressToken": 999, "progress": 2})
        send(method="notifications/message", params={"data": "x"})
    if name in ("asks", "asks_twice", "withdraws"):
        for index in range(2 if name == "asks_twice" else 1):
            waiting[f"q{number}-{index}"] = number
            send(id=f"q{number}-{index}", method="sampling/createMessage", params={"n": index})
        if name == "withdraws":
            send(method="notifications/cancelled", params={"requestId": f"q{number}-0"})
            send(id=number, result={})
        return
    if name == "waits":
        return
    if name == "dies":
        os._exit(1)
    if name == "notices":
        changes.append(number)
        send(method="notifications/resources/updated", params={"uri": "a:b"})
        changed()
    kinds = {"input": "input_required", "later": "later"}
    send(id=number, result={"resultType": kinds[name]} if name in kinds else {"got": params})


def changed() -> None:
    listening = waiting.get("listen")
    meta = {"_meta": {"io.modelcontextprotocol/subscriptionId": listening}} if listening is not None else {}
    send(method="notifications/tools/list_changed", params=meta)


def answer(number: object, method: str, params: dict) -> None:
    capabilities = {"tools": {"listChanged": True}}
    if method == "server/discover" and era == "dies":
        os._exit(1)
    if method == "server/discover" and era == "modern":
        send(id=number, result={"supportedVersions": ["2026-07-28"], "capabilities": capabilities, "instructions": "be kind"})
    elif method == "initialize" and era != "modern":
        info = {"name": "s", "version": "1"}
        said = {"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": info, "instructions": "be kind"}
        send(id=number, result=said)
    elif method == "tools/list":
        send(id=number, result={"tools": [tool(name) for name in NAMES]})
    elif method == "tools/call":
        called(number, params)
    elif method == "subscriptions/listen" and era == "modern":
        waiting["listen"] = number
        send(
            method="notifications/subscriptions/acknowledged",
            params={"_meta": {"io.modelcontextprotocol/subscriptionId": number}},
        )
    elif method == "resources/read":
        send(id=number, result={"read": params})
    else:
        send(id=number, error={"code": -32601, "message": "no"})


for line in sys.stdin.buffer:
    log.write(line)
    message = json.loads(line)
    if "method" in message and "id" in message:
        answer(message["id"], message["method"], message.get("params", {}))
    elif message.get("id") in waiting:
        number = waiting.pop(message["id"])
        if number not in waiting.values():
            send(id=number, result={"answer": message.get("result", message.get("error"))})
