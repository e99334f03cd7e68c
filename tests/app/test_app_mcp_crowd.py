"""Many sessions of MCP at a real kernel, each with a server of its own: every call has its receipts, and nothing stays behind."""

import gc
import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.kernels import copy
from app.residents import Up, up
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb.receipt import Kind
from threats.ceremony import Office, office, pin

AT_ONCE = 8
# What the second half of the sessions may add: caches fill within some 4,000 calls, and then nothing is added; a session that
# was kept with its server would add 200 KiB and more, and the whole form has 100 of them.
LEFT_KIB_MAX = 18_000
BOTH = "application/json, text/event-stream"
OPEN = b'@id("open") permit (principal, action, resource);\n'


@pytest.fixture
def at(master: Path, tmp_path: Path) -> Office:
    made = office(copy(master, tmp_path))
    pin(made.place, "tools", OPEN)
    return made


def rpc(number: int, method: str, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()


def session(kernel: Up, token: str, number: int, calls: int) -> None:
    """Begins, calls, and ends as programs do: with `DELETE`, or by going away."""
    chance, connection = random.Random(number), kernel.connection("data")
    named = {"authorization": f"Bearer {token}", "accept": BOTH, "content-type": "application/json"}

    def post(body: bytes) -> Any:
        connection.request("POST", "/mcp", body, named)
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status == 200, (answer.status, data)
        if answer.getheader("mcp-session-id"):
            named["mcp-session-id"] = answer.getheader("mcp-session-id") or ""
        return json.loads(data)

    try:
        post(rpc(0, "initialize", protocolVersion="2025-06-18", capabilities={}))
        for turn in range(calls):
            said = post(rpc(turn + 1, "tools/call", name="note", arguments={"to": f"{number}-{turn}"}))
            assert said["result"]["content"][0]["text"] == f"{number}-{turn}"
        if chance.random() < 0.8:
            connection.request("DELETE", "/mcp", headers=named)
            assert connection.getresponse().status == 204
    finally:
        connection.close()


def crowd(kernel: Up, token: str, numbers: range, calls: int) -> int:
    """Resident memory behind them, in KiB."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(session, kernel, token, number, calls) for number in numbers]:
            done.result()
    gc.collect()
    status = Path(f"/proc/{kernel.process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        yield from map(int, (task / "children").read_text(encoding="ascii").split())


@pytest.mark.parametrize(
    ("sessions", "calls"), [(20, 10), pytest.param(200, 50, marks=pytest.mark.whole)], ids=["sampled", "whole"]
)
def test_sessions_lose_no_receipt_and_leave_nothing_behind(at: Office, sessions: int, calls: int) -> None:
    with up(at.place) as kernel:
        half = sessions // 2
        first = crowd(kernel, at.tokens["ann"], range(half), calls)
        files = len(os.listdir(f"/proc/{kernel.process.pid}/fd"))
        second = crowd(kernel, at.tokens["ann"], range(half, sessions), calls)
        assert second - first < LEFT_KIB_MAX, f"{second - first} KiB more"
        open_sessions = sessions  # those that went away without a word are there until they are still for long, at most 64
        assert len(list(children(kernel.process.pid))) <= min(open_sessions, 64)
        assert len(os.listdir(f"/proc/{kernel.process.pid}/fd")) <= files + 3 * 64
        assert kernel.end() == (0, "")
    done = [sent["to"] for _, sent in at.done]
    assert sorted(done) == sorted(f"{number}-{turn}" for number in range(sessions) for turn in range(calls))
    with Reader(at.place.paths.store) as reader:
        receipts = [one for one in reader.receipts() if one.body.get("tool") == "tools/note" or one.kind is Kind.OUTCOME]
    decided = [one.leaf for one in receipts if one.kind is Kind.DECISION]
    ended = [str(one.body["decision"]) for one in receipts if one.kind is Kind.OUTCOME]
    assert len(decided) == sessions * calls and sorted(decided) == sorted(ended)
    at.place.check()
