"""The pages of the record, the receipt and the statement say what is there: their examples are made again, their tables compared.

Run as a program it prints the examples, for whoever has to change them: `python tests/docs/test_docs_receipt.py`.
"""

import base64
import re
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from helm_ai_kernel.tcb import receipt as receipts  # noqa: E402
from helm_ai_kernel.tcb import statement as statements  # noqa: E402
from helm_ai_kernel.tcb.call import Effect  # noqa: E402
from helm_ai_kernel.tcb.checklist import verify  # noqa: E402
from helm_ai_kernel.tcb.checkpoint import Checkpoint  # noqa: E402
from helm_ai_kernel.tcb.codes import Finding, Reason  # noqa: E402
from helm_ai_kernel.tcb.decision import Claim, ClaimState, Contract, Status, Verdict  # noqa: E402
from helm_ai_kernel.tcb.digest import Digest, attachment_name  # noqa: E402
from helm_ai_kernel.tcb.envelope import LINE_BYTES_MAX, SIGS_MAX, Record, pae, payload_type  # noqa: E402
from helm_ai_kernel.tcb.findings import Exit  # noqa: E402
from helm_ai_kernel.tcb.jcs import canonical  # noqa: E402
from helm_ai_kernel.tcb.keys import Purpose  # noqa: E402
from helm_ai_kernel.tcb.receipt import SHAPES, EffectBy, Kind, Receipt  # noqa: E402
from helm_ai_kernel.tcb.registry import KIND as TRUST  # noqa: E402
from helm_ai_kernel.tcb.statement import StatementKind  # noqa: E402
from packs import TOOL, WALL_MS, Body, Deployment, Log, key  # noqa: E402

SPEC = ROOT / "docs/spec"
PAGES = ("record", "receipt", "statement")


@cache
def example() -> Log:
    """The log of the pages: every shape of a receipt, every kind of attachment, from published seeds."""
    log = Log(Deployment("example"))
    log.start_kernel()
    log.activate(tools=("add", "send"))
    agent = log.start("agent", "library")
    log.deny_raw(agent)
    named = log.attach(b"order-7")
    budget: Body = {"rules": ["reads"], "key": named, "reserved": {"daily": 1}, "deadline_ms": WALL_MS + 30_000}
    first = log.decide(agent, Verdict.ALLOW, more=budget, facts={"budget": {"daily": 5}})
    log.settle(agent, first.leaf, more={"spent": {"daily": 1}})
    repeat: Body = {"rules": ["reads"], "repeats": first.leaf, "key": named}
    del repeat["rules"]
    facts = {"claim": Claim(first.leaf, ClaimState.DONE, same_args=True), "budget": {"daily": 4}}
    args = Digest(str(first.body["args_hash"]))
    log.decide(agent, Verdict.ALLOW, Reason.REPEATED, args=args, more=repeat, facts=facts, parents=[first.leaf])
    drifted = log.settle(agent, log.allow(agent, more={"rules": ["reads"]}).leaf, Status.DRIFT, more={"sub": "type"})
    hold = log.hold(drifted.leaf)
    log.deny(agent, Reason.ERR_TOOL_HALTED, hold=hold.leaf)
    release = log.release(hold.leaf)
    assert release.parents == (hold.leaf,)
    log.decide(agent, Verdict.DENY, Reason.ERR_TOOL_NOT_ALLOWED, tool="demo/wipe", change=not_pinned)
    log.decide(agent, Verdict.ESCALATE, Reason.ERR_APPROVAL_REQUIRED, tool="demo/send", more={"rules": ["ask-a-person"]})
    crashed = log.allow(agent, more={"rules": ["reads"]})
    log.start_kernel()
    log.recover(1)
    log.settle(log.kernel, crashed.leaf, Status.UNKNOWN)
    log.end(log.kernel)
    return log


def not_pinned(body: Body) -> None:
    del body["pin"], body["effect"]
