"""`make real-life`: each public server is asked for its tools as it is, pinned, and called where it needs no network.

What `tools/list` says is kept in `.envs/results/reallife`, outside git. Exits 0 if every server pins, without edits or with the
flag that its row names, and none of the calls was refused or held.
"""

import argparse
import http.client
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from conformance import gateway
from needs import ROOT
from reallife.servers import Server, servers

OUT = ROOT / ".envs/results/reallife"
ASK_S, CALL_S = 60, 60
REVISION = "2026-07-28"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000, metavar="N", help="how many, over all servers that are called")
    parser.add_argument("--only", action="append", metavar="NAME", help="only this server")
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="helm-reallife-") as named:
        folder = Path(named)
        (folder / "theirs").mkdir()
        home, every = gateway.made(folder / "kernel"), servers(folder / "theirs")
        every = [one for one in every if args.only is None or one.name in args.only]
        home.allow(gateway.EVERYTHING_MAY)
        pinned = [one for one in every if pin(home, one)]
        told = {
            one.name: called(home, folder, one, args.calls // sum(bool(x.calls) for x in pinned)) for one in pinned if one.calls
        }
        counts = decided(home)
    calls, other = sum(told.values()), sum(number for said, number in counts.items() if said != "ALLOW OK")
    print(", ".join(f"{number} {said}" for said, number in sorted(counts.items())))
    print(f"{len(pinned)} of {len(every)} servers pinned; {calls} calls, {other} of them refused, held, changed or lost")
    return 0 if len(pinned) == len(every) and not other and counts["ALLOW OK"] == calls else 1


def pin(home: gateway.Home, server: Server) -> bool:
    """Listed directly, then inspected and pinned; says which, and why not."""
    try:
        tools = listed(server)
    except (OSError, ValueError, subprocess.TimeoutExpired) as e:
        print(f"{server.name}: IT LISTS NOTHING: {e}")
        return False
    (OUT / f"{server.name}.json").write_text(json.dumps(tools, indent=1, ensure_ascii=False), encoding="utf-8")
    home.configure(gateway.over_stdio(server.name, server.command))
    try:
        home.command("tools", "inspect", server.name)
        home.command("tools", "pin", server.name, "--effect", "read", *server.flags, "--yes")
    except gateway.CommandFailed as e:
        print(f"{server.name}: {len(tools)} tools, NOT PINNED: {e}")
        return False
    print(f"{server.name}: {len(tools)} tools, pinned {' '.join(server.flags) or 'as they are'}", flush=True)
    return True


def listed(server: Server) -> list[dict[str, Any]]:
    """What it says itself, with the handshake that every server still knows."""
    process = subprocess.Popen(
        server.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdin is not None and process.stdout is not None
        who = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "real-life", "version": "1"}}
        asked: list[dict[str, Any]] = [
            {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": who},
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
        ]
        for one in asked:
            process.stdin.write(json.dumps(one) + "\n")
            process.stdin.flush()
            while "id" in one:
                line = process.stdout.readline()
                if not line:
                    raise ValueError("it ended")
                if json.loads(line).get("id") == one["id"]:
                    said = json.loads(line)
                    break
        tools: list[dict[str, Any]] = said["result"]["tools"]
        return tools
    finally:
        process.kill()
        process.communicate()


def called(home: gateway.Home, folder: Path, server: Server, number: int) -> int:
    """How many calls were made of it, through `/mcp`, one after the other."""
    with gateway.up(home, folder / f"{server.name}.log") as url:
        at = urlsplit(url)
        connection = http.client.HTTPConnection(str(at.hostname), at.port, timeout=CALL_S)
        for number_so_far, (tool, arguments) in zip(range(number), itertools.cycle(server.calls), strict=False):
            # Several servers stand behind one door here: their names tell their tools apart.
            said = call(connection, at.path, number_so_far, f"{server.name}{SEPARATOR}{tool}", arguments)
            if "error" in said or said["result"].get("isError"):
                print(f"{server.name}/{tool}: {json.dumps(said)[:400]}")
        connection.close()
    return number


SEPARATOR = os.environ.get("HELM_SEPARATOR", "__")


def call(connection: http.client.HTTPConnection, path: str, number: int, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    prefix = "io.modelcontextprotocol"
    meta = {f"{prefix}/protocolVersion": REVISION, f"{prefix}/clientCapabilities": {}}
    body = {
        "jsonrpc": "2.0",
        "id": number,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments, "_meta": meta},
    }
    fields = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    fields |= {"mcp-protocol-version": REVISION, "mcp-method": "tools/call", "mcp-name": tool}
    connection.request("POST", path, json.dumps(body), fields)
    answer = connection.getresponse()
    data = answer.read().decode()
    if str(answer.getheader("content-type", "")).startswith("text/event-stream"):
        data = [line for line in data.splitlines() if line.startswith("data:")][-1].removeprefix("data:")
    said: dict[str, Any] = json.loads(data)
    return said


def decided(home: gateway.Home) -> Counter[str]:
    """What the receipts say became of the calls: `ALLOW OK`, and everything else."""
    from helm_ai_kernel.ledger.reader import Reader

    counts: Counter[str] = Counter()
    with Reader(home.home / "store") as reader:
        for one in reader.receipts():
            if one.kind.value == "outcome":
                counts[f"ALLOW {one.body.get('status')}"] += 1
            elif one.kind.value == "decision" and one.body.get("verdict") != "ALLOW":
                counts[f"{one.body.get('verdict')} {one.reason.value}"] += 1
            elif one.kind.value == "hold":
                counts["hold"] += 1
    return counts


if __name__ == "__main__":
    sys.exit(main())
