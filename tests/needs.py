"""What a test needs from the machine: there, or a skip that says the exact command that installs it.

Where `CI=true` such a skip is a failure (`tests/conftest.py`): `.ci/run` installs everything that is named here.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
UPSTREAM = ROOT / ".envs/upstream/bin/mcp-server-time"
SCHEMATHESIS = ROOT / ".envs/api/bin/schemathesis"

APT = {"strace": "strace", "ssh-agent": "openssh-client", "ssh-add": "openssh-client", "ssh-keygen": "openssh-client"}
APT |= {"node": "nodejs"}  # the second verifier, and a second opinion on numbers
APT |= {"curl": "curl"}  # what the README types
APT |= {"chromium": "chromium"}  # the page, as a person sees it
# Corpora lie beside the checkout, mounts are the machine owner's to allow; `.ci/run` installs the rest.
MAY_SKIP = ("the public corpus", "no private mounts here", "no other time here", "one user only here")


def needs(tool: str, install: str = "") -> str:
    """The path of the program `tool`, one of `APT`; skips where it is absent, saying what to type."""
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"`{tool}` is not installed: {install or 'apt-get install ' + APT[tool]}")
    return found


def namespace_of_time(days: int) -> list[str]:
    """What is put before a command whose machine was booted so many days earlier, or later; skips where nobody may."""
    how = ["unshare", "--time", "--boottime", str(days * 86_400)]
    if shutil.which("unshare") is None or subprocess.run([*how, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip(f"no other time here: {' '.join(how)} true")
    return how


def faketime() -> Path:
    """What is preloaded into a process to which the wall clock shall tell another time; skips where it is absent."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("libfaketime is not there: apt-get install libfaketime")
    return found[0]


def upstream() -> Path:
    """The MCP server that the demo governs, in an environment of its own; skips where that is absent."""
    if not UPSTREAM.exists():
        pytest.skip(f"`{UPSTREAM.relative_to(ROOT)}` is not there: make .envs/upstream/ready")
    return UPSTREAM


def schemathesis() -> Path:
    """What makes requests from a description of an API, in an environment of its own; skips where that is absent."""
    if not SCHEMATHESIS.exists():
        pytest.skip(f"`{SCHEMATHESIS.relative_to(ROOT)}` is not there: make .envs/api/ready")
    return SCHEMATHESIS


def mcp_clients() -> None:
    """Other people's MCP clients and the server that they visit, each in an environment of its own; skips where one is absent."""
    for name in ("clients", "mcp1", "sdist"):
        if not (ROOT / ".envs" / name / "ready").exists():
            pytest.skip(f"`.envs/{name}` is not there: make .envs/clients/ready .envs/mcp1/ready .envs/sdist/ready")


def two_users() -> None:
    """Who is root can be somebody else, too."""
    if os.geteuid() != 0:
        pytest.skip("one user only here: run this test as root")
