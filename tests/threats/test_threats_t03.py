"""T3, output spoofing: what breaks its pinned contract is withheld, and its tool is stopped until a person lets it go on."""

import sys
from pathlib import Path
from typing import Any

import pytest

from helm_ai_kernel.app import operate
from helm_ai_kernel.app.config import Upstream
from helm_ai_kernel.app.kernel import Kernel
from helm_ai_kernel.app.results import Denied, Withheld
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Status
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from threats.governed import APPROVER, Governed, enact, made, running

SERVER = Path(__file__).parent.parent / "connectors/servers/scripted.py"
STRANGER = SecretKey.from_seed(b"\x06" * 32, Purpose.APPROVAL)
POLICY = b'@id("all") permit (principal, action, resource);'
CALL = b'{"tool":"python/count","arguments":{"of":"a"}}'


def spoofed(kernel: Kernel, effects: list[tuple[str, Any]]) -> None:
    @kernel.tool(effect="write")
    def count(of: str) -> int:
        effects.append(("count", of))
        return "seven" if of == "a" else len(of)  # type: ignore[return-value]

    @kernel.tool(effect="write")
    def loose(of: str):  # type: ignore[no-untyped-def]
        return {"anything": of}


def hold_of(governed: Governed, tool: str) -> Digest | None:
    async def work(runtime: Runtime) -> Digest | None:
        return await runtime.ledger.writer.submit(lambda tx: tx.holds.get(tool))

    return governed.kernel.run(work)


def release(governed: Governed, hold: Digest, signer: SecretKey) -> None:
    governed.kernel.run(lambda runtime: operate.release(runtime, "python/count", hold, [signer]))


def test_drift_withholds_the_output_and_stops_the_tool_until_a_registered_person_releases_it(tmp_path: Path) -> None:
    with running(made(tmp_path, POLICY), spoofed) as governed:
        governed.kernel.run(enact(governed.kernel.proposal()))
        drifted = governed.send(CALL)
        assert drifted.outcome is not None
        assert (drifted.outcome.status, drifted.reason) == (Status.DRIFT, Reason.ERR_CONNECTOR_CONTRACT_DRIFT)
        assert drifted.output is None
        assert hashes.is_digest(drifted.outcome.body["output_hash"])
    with running(tmp_path, spoofed) as governed:  # also after a restart
        innocent = governed.send(CALL.replace(b'"a"', b'"bb"'))
        assert innocent.reason is Reason.ERR_TOOL_HALTED
        assert governed.effects == []
        hold = hold_of(governed, "python/count")
        assert hold is not None
        with pytest.raises(Refused, match="ERR_APPROVAL_SIGNATURE"):
            release(governed, hold, STRANGER)
        assert governed.send(CALL).reason is Reason.ERR_TOOL_HALTED
        release(governed, hold, APPROVER)
        assert governed.send(CALL.replace(b'"a"', b'"bb"')).output == b"2"


def test_a_spoofed_output_reaches_no_caller_as_a_value(tmp_path: Path) -> None:
    with running(made(tmp_path)) as governed:
        kernel = governed.kernel

        @kernel.tool(effect="write")
        def count(of: str) -> int:
            return "seven"  # type: ignore[return-value]

        kernel.run(enact(kernel.proposal()))
        with pytest.raises(Withheld, match="withheld") as first:
            count("a")
        assert "seven" not in str(first.value)
        with pytest.raises(Denied, match="ERR_TOOL_HALTED"):
            count("a")


def test_a_server_that_calls_its_spoofed_output_an_error_is_held_all_the_same(tmp_path: Path) -> None:
    command = (sys.executable, "-I", "-S", str(SERVER), "false_alarm", str(tmp_path / "log"))

    async def pin(runtime: Runtime) -> None:
        doc, refused = await operate.ask("bank", Upstream(command))
        assert not refused
        operate.classify(doc, ["write"], [])
        await enact(doc)(runtime)

    with running(made(tmp_path, POLICY)) as governed:
        governed.kernel.run(pin)
        spoofed = governed.send(b'{"tool":"bank/t","arguments":{}}')
        assert (spoofed.reason, spoofed.output) == (Reason.ERR_CONNECTOR_CONTRACT_DRIFT, None)
        assert hold_of(governed, "bank/t") is not None


def test_a_tool_without_an_output_schema_says_so_in_its_receipt(tmp_path: Path) -> None:
    with running(made(tmp_path, POLICY), spoofed) as governed:
        governed.kernel.run(enact(governed.kernel.proposal()))
        loose = governed.send(b'{"tool":"python/loose","arguments":{"of":"a"}}')
        exact = governed.send(CALL.replace(b'"a"', b'"bb"'))
        assert loose.outcome is not None
        assert exact.outcome is not None
        assert (loose.outcome.body["contract"], exact.outcome.body["contract"]) == ("shape", "schema")
