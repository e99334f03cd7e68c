"""A resident kernel as a process of its own, and those who use it: an agent with a plain HTTP client, a person at a terminal."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.ijson import parse

from .places import Places

COMMAND = (sys.executable, "-c", "import sys; from helm_ai_kernel.cli import main; sys.exit(main())")
LISTEN = '[data]\nlisten = "127.0.0.1:0"\n[control]\nlisten = "127.0.0.1:0"\n'  # free ports: nothing else is in the way
ANSWER_S = 30  # longer than any call of a trial takes
PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    body: Any

    @property
    def helm(self) -> Mapping[str, Any]:
        """What the kernel says of the call."""
        return dict(self.body["helm"])


@dataclass(frozen=True, slots=True)
class Up:
    """One `helm-ai-kernel up` that is ready."""

    places: Places
    process: "subprocess.Popen[bytes]"
    data: str  # host:port
    control: str

    def execute(self, token: str, tool: str, arguments: Mapping[str, Any], key: str | None = None) -> Answered:
        """As any HTTP client calls. Raises `http.client.HTTPException` or `OSError` where the kernel dies meanwhile."""
        named = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        named |= {} if key is None else {"idempotency-key": key}
        connection = http.client.HTTPConnection(self.data, timeout=ANSWER_S)
        try:
            connection.request("POST", "/mcp/v1/execute", json.dumps({"tool": tool, "arguments": arguments}), named)
            answer = connection.getresponse()
            return Answered(answer.status, parse(answer.read(), any_number=True))
        finally:
            connection.close()

    def export(self, out: Path) -> int:
        """The evidence of everything, as the operator takes it: over the control plane, with the operator's token. Its size."""
        token = self.places.paths.operator_token.read_text(encoding="ascii").strip()
        named = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        connection = http.client.HTTPConnection(self.control, timeout=ANSWER_S)
        try:
            connection.request("POST", "/v1/evidence/export", "{}", named)
            answer = connection.getresponse()
            if answer.status != 200:
                raise RuntimeError(f"the export was answered {answer.status}")
            with out.open("wb") as file:
                while piece := answer.read(PIECE):
                    file.write(piece)
        finally:
            connection.close()
        return out.stat().st_size

    def end(self) -> int:
        """In order, as a supervisor would; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(ANSWER_S)

    def kill(self) -> None:
        self.process.kill()


@contextmanager
def up(places: Places) -> Iterator[Up]:
    """Started and ready; whatever happens, it does not outlive the block. Raises `OutsideError` where it does not start."""
    reads, writes = os.pipe()
    words = [*COMMAND, "up", "--format", "json", "--ready-fd", str(writes)]
    with subprocess.Popen(
        words, pass_fds=(writes,), env=_environment(places), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        os.close(writes)
        try:
            with open(reads, "rb") as ready:
                said = ready.read()  # to its end: the kernel closes it once it has said so, and a dead one has nothing to say
            if said != b"READY=1\n" or process.stdout is None:
                hint = "it said why; without `--folder` the demo works in a new temporary one"
                raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, "the kernel of the demo did not start", hint=hint)
            told: Any = parse(process.stdout.readline())
            at = {one["plane"]: one["at"].partition("://")[2] for one in told["listening"] if one["at"].startswith("http")}
            yield Up(places, process, at["data"], at["control"])
        finally:
            if process.poll() is None:
                process.kill()


def typed(places: Places, passphrase: bytes, *words: str) -> list[str]:
    """A command that a person types beside the kernel; what it prints. The passphrase goes through a pipe, never through argv."""
    reads, writes = os.pipe()
    os.write(writes, passphrase + b"\n")  # far less than a pipe holds
    os.close(writes)
    try:
        environment = {**_environment(places), "HELM_PASSPHRASE_FILE": f"/dev/fd/{reads}"}
        ended = subprocess.run(
            [*COMMAND, *words], check=False, stdin=subprocess.DEVNULL, capture_output=True, pass_fds=(reads,), env=environment
        )
    finally:
        os.close(reads)
    if ended.returncode:
        raise RuntimeError(f"`{' '.join(words)}` ended with {ended.returncode}: {ended.stderr.decode()}")
    return ended.stdout.decode().splitlines()


def _environment(places: Places) -> dict[str, str]:
    """Nothing of the kernel that this user may have; a trial's heads are beside its people."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HELM_")}
    return {**kept, "HELM_HOME": str(places.home), "HELM_PEOPLE": str(places.people)}
