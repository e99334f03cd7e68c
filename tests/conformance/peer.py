"""What the suite's client leg starts for each scenario, with the URL of its server as the last argument.

A kernel of its own with that server as its upstream; pinned what it lists; the official client against the kernel's `/mcp`.
Its exit code is the official client's. The suite starts all scenarios at once, and each waits here for one of a few places.
"""

import argparse
import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from conformance import fixture, gateway

NAME = "peer"
CLIENT_S = 120
# The suite calls this tool with null for an argument whose schema says boolean; a person has to agree to that.
NULLABLE = {"http-custom-headers": ("test_custom_headers_null",)}
NOT_ASKED = 3  # of the scenarios of extensions


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--places", type=Path, required=True, help="a folder; each file in it is a place")
    parser.add_argument("--master", type=Path, required=True, help="a home after `init` whose policy allows everything")
    parser.add_argument("--skip", default="", help="scenarios that are not asked, with commas")
    parser.add_argument("url")
    args = parser.parse_args()
    scenario = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
    if scenario in args.skip.split(","):
        print(f"{scenario} is of an extension: not asked", file=sys.stderr)
        return NOT_ASKED
    with place(args.places), tempfile.TemporaryDirectory(prefix="helm-peer-") as folder:
        return run(gateway.copied(args.master, Path(folder) / "kernel"), args.url, Path(folder) / "up.log")


def run(home: gateway.Home, url: str, log: Path) -> int:
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    home.configure(gateway.over_http(NAME, url) + authorization(context))
    try:
        home.govern(NAME, nullable=NULLABLE.get(os.environ.get("MCP_CONFORMANCE_SCENARIO", ""), ()))
    except gateway.CommandFailed as e:  # a server that must be refused, or lists nothing: the client finds nothing then
        print(e, file=sys.stderr)
    try:
        with gateway.up(home, log) as door:
            client = [str(fixture.PYTHON), str(fixture.CLIENT), door]
            return subprocess.run(client, timeout=CLIENT_S, check=False).returncode
    finally:
        print(log.read_text(encoding="utf-8") if log.exists() else "up was not started", file=sys.stderr)


def authorization(context: dict[str, str]) -> str:
    """The part of `helm.toml` for the authorization of our calls to that server; asked for or not, as the server says.

    The suite's servers want a client metadata document at that URL, or a client that is registered beforehand.
    """
    opener = [sys.executable, str(Path(__file__).parent / "visitor.py")]
    lines = [f"\n[upstream.{NAME}.oauth]", f"opener = {json.dumps(opener)}"]
    if "client_id" in context:
        os.environ["HELM_PEER_SECRET"] = context.get("client_secret", "")
        lines += [f"client_id = {json.dumps(context['client_id'])}", 'client_secret = "HELM_PEER_SECRET"']
        lines += [f"issuer = {json.dumps(context['issuer'])}"] if "issuer" in context else []
    else:
        lines.append('client_metadata = "https://conformance-test.local/client-metadata.json"')
    return "\n".join(lines) + "\n" if os.environ.get("MCP_CONFORMANCE_SCENARIO", "").startswith("auth/") else ""


@contextmanager
def place(places: Path) -> Iterator[None]:
    """One of the places, as soon as one is free; the system gives it back whatever becomes of us."""
    files = [path.open("ab") for path in sorted(places.iterdir())]
    mine = os.getpid() % len(files)
    try:
        if not any(_taken(file) for file in files):
            fcntl.flock(files[mine], fcntl.LOCK_EX)
        yield
    finally:
        for file in files:
            file.close()


def _taken(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
