"""What `docs/spec/connector-mcp.md` says is what is there."""

import json
import re
from pathlib import Path

from connectors.test_connectors_mcp_http import ENDS
from helm_ai_kernel.connectors import calls, http_requests, http_session, mcp, stdio_session, underway
from helm_ai_kernel.connectors.mcp_http import McpHttpConnector
from helm_ai_kernel.net.upstream import CONNECTIONS_MAX
from helm_ai_kernel.wire import era, jsonrpc, posted
from helm_ai_kernel.wire.mcp import PENDING_MAX

TEXT = (Path(__file__).resolve().parent.parent.parent / "docs/spec/connector-mcp.md").read_text("utf-8")


def rows(header: str) -> list[list[str]]:
    lines = TEXT.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {header} |")) + 2
    stop = next((n for n, line in enumerate(lines[start:], start) if not line.startswith("|")), len(lines))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:stop]]


def test_the_example_is_a_source() -> None:
    source = json.loads(re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)[0])
    assert McpHttpConnector(source)._instructions == source["instructions"]


def test_the_eras_are_those_that_are_spoken() -> None:
    spoken = {row[0]: set(row[1].split()) for row in rows("era")}
    assert spoken == {"modern": {era.MODERN}, "legacy": set(era.REVISIONS)}


def test_the_methods_are_those_that_are_forwarded() -> None:
    assert {row[0].strip("`") for row in rows("method")} == era.METHODS
    assert all(f"`{method}`" in TEXT for method in underway.ASKABLE)


def test_the_codes_and_statuses_are_those_that_precede_the_work() -> None:
    lines = TEXT.splitlines()
    start = lines.index("| era | errors that precede the work |") + 2
    said = {line.split("|")[1].strip(): set(map(int, re.findall(r"-\d+", line))) for line in lines[start : start + 2]}
    assert said == {name.value: set(codes) for name, codes in era.NOT_BEGUN.items()}
    assert {int(word) for word in rows("statuses by which a request is turned away")[0][0].split()} == http_requests.DECLINED


def test_every_end_that_is_tried_has_a_row() -> None:
    failed = {said for _, said in ENDS.values() if said.startswith("failed")}
    for said in failed:
        _, kind, number = said.split()
        codes = era.NOT_BEGUN[era.Era.MODERN] if kind == "rpc" else http_requests.DECLINED
        assert int(number) in codes


def test_the_numbers_are_those_of_the_code() -> None:
    for number, said in {
        mcp.STARTS_MAX: "at most 10 times within a minute", http_session.FRESH_S: "after 60 s",
        mcp.RELISTS_MAX: "four times in a row",
        http_requests.RESUMES_MAX: "given up after 8", posted.RETRY_MS_MAX: "at most 30 s", underway.ASKS_MAX: "16 questions",
        PENDING_MAX: "1,024 calls", CONNECTIONS_MAX: "32 connections", stdio_session.PROBE_S: "within 5 s",
        jsonrpc.LINE_BYTES_MAX: "8 MiB", jsonrpc.UNASKED_BYTES_MAX: "64 KiB", stdio_session.ASKING_BYTES_MAX: "or 1 MiB",
    }.items():  # fmt: skip
        assert said in TEXT
        value = {"four": 4, "1,024": 1024}.get(said.split()[0])
        value = value or int(re.findall(r"\d[\d,]*", said)[0].replace(",", ""))
        unit = 1000 if number == posted.RETRY_MS_MAX else 1 << 20 if "MiB" in said else 1 << 10 if "KiB" in said else 1
        assert value * unit == number
    assert calls.NOBODY[0] == jsonrpc.NOT_FOUND and http_session.PROBE_S == stdio_session.PROBE_S
