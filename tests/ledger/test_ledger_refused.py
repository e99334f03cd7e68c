"""What a flood of refused requests may cost the store, and who may not open a session."""

import asyncio
import json
from pathlib import Path

import pytest

from executor.desk import Desk, boundary
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.ledger.jobs import REFUSED_KEPT_MAX
from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Verdict
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.findings import Exit
from ledger.home import Home, LedgerHost, check_salts, check_whole, home, started

BESIDE = len('{"text":""}')  # what the canonical arguments have besides the text


@pytest.mark.parametrize(
    ("tool", "verdict", "size", "kept"),
    [
        ("desk/forbidden", Verdict.DENY, REFUSED_KEPT_MAX, True),
        ("desk/forbidden", Verdict.DENY, REFUSED_KEPT_MAX + 1, False),
        ("desk/unknown", Verdict.DENY, REFUSED_KEPT_MAX + 1, False),
        ("desk/wipe", Verdict.ESCALATE, REFUSED_KEPT_MAX + 1, True),  # a person must see what would run
        ("desk/echo", Verdict.ALLOW, REFUSED_KEPT_MAX + 1, True),
    ],
)
def test_large_arguments_are_kept_unless_they_were_denied(
    tmp_path: Path, tool: str, verdict: Verdict, size: int, kept: bool
) -> None:
    here = home(tmp_path / "home")
    raw = json.dumps({"tool": tool, "arguments": {"text": "x" * (size - BESIDE)}}).encode()
    answer, evidence = asyncio.run(_asked(here, raw))
    assert answer.verdict is verdict
    check_salts(answer, raw)  # the caller holds the salt in any case
    name = str(answer.decision.body["args_hash"]).removeprefix("sha256:")
    assert (f"attachments/{name}" in pack.read(evidence)) == kept
    assert verify(evidence, Question(genesis=here.registry.genesis)).exit is Exit.VALID


async def _asked(here: Home, raw: bytes) -> tuple[Answer, bytes]:
    ledger = await started(here, boundary())
    answer = await execute(raw, boundary(), LedgerHost(ledger, await ledger.session("agent", "python", None), Desk()))
    await ledger.close()
    check_whole(here)
    return answer, here.pack(ledger.checkpoint, boundary())


def test_nobody_opens_a_session_in_the_kernels_name(tmp_path: Path) -> None:
    async def scene() -> None:
        ledger = await started(home(tmp_path / "home"), boundary())
        with pytest.raises(Refused) as refused:
            await ledger.session("kernel", "http", None)
        assert refused.value.reason is Reason.ERR_UPSTREAM_SHAPE
        await ledger.close()

    asyncio.run(scene())
