"""An MCP server over stdio that pulls rugs: what it is stands in the file named first, and is read again for each message.

The file: {"tools": text of a JSON list, "instructions"?, "capabilities"?}. Each call is written to the file named second, before
it is answered. When the file changed since it was listed, the server says so before it answers.
"""

import json
import sys


def world() -> dict:
    with open(sys.argv[1], encoding="utf-8") as file:
        return json.load(file)


def send(message: str) -> None:
    sys.stdout.write(message + "\n")
    sys.stdout.flush()


listed = ""
for line in sys.stdin.buffer:
    message = json.loads(line)
    if "id" not in message:
        continue
    now, method, number = world(), message["method"], json.dumps(message["id"])
    if method == "initialize":
        said = {"protocolVersion": "2025-11-25", "capabilities": now.get("capabilities", {"tools": {"listChanged": True}})}
        said |= {"serverInfo": {"name": "rugs", "version": "1"}}
        said |= {"instructions": now["instructions"]} if "instructions" in now else {}
        result = json.dumps(said)
    elif method == "tools/list":
        listed = now["tools"]
        result = f'{{"tools":{listed}}}'
    elif method == "tools/call":
        with open(sys.argv[2], "a", encoding="utf-8") as file:
            file.write(message["params"]["name"] + "\n")
        if now["tools"] != listed:
            send('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}')
        result = '{"content":[]}'
    else:
        send(f'{{"jsonrpc":"2.0","id":{number},"error":{{"code":-32601,"message":"no such method"}}}}')
        continue
    send(f'{{"jsonrpc":"2.0","id":{number},"result":{result}}}')
