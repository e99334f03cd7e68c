"""`policy check`, `policy test`, `policy apply`."""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from helm_ai_kernel.app import cases, operate
from helm_ai_kernel.tcb.findings import visible

from . import changes
from .output import Commands, Declined, command, config, emit, group, tell
from .signing import person, signing_options


def add(commands: Commands) -> None:
    policy = group(commands, "policy", "rules: check them, put them into force")
    check = command(
        policy, "check", "parse and type-check the policy files against the pinned tools", "helm-ai-kernel policy check"
    )
    check.set_defaults(run=run_check)
    test = command(
        policy, "test", "decide the cases in policy/tests/*.json by the policy files as they are", "helm-ai-kernel policy test"
    )
    test.set_defaults(run=run_test)
    apply = command(
        policy, "apply", "put the policy files into force, signed with your approval key", "helm-ai-kernel policy apply"
    )
    signing_options(apply)
    apply.set_defaults(run=run_apply)


def run_check(args: argparse.Namespace) -> int:
    settings = config(args)
    standing = operate.standing(settings)
    proposal, before = operate.propose_policy(standing), standing.boundary.policy
    in_force = None if before is None else before.digest
    changed, tools = proposal.policy.digest != in_force, len(standing.boundary.catalog.tools)
    data = {"policy": proposal.policy.digest, "in_force": in_force, "changed": changed, "tools": tools}
    state = f"differs from what is in force; next: {settings.paths.typed('policy apply')}" if changed else "is in force"
    emit(args, data, [f"the policy files type-check against {tools} pinned tools", f"{proposal.policy.digest} {state}"])
    return 0


def run_test(args: argparse.Namespace) -> int:
    settings = config(args)
    tried = cases.run(settings, operate.propose_policy(operate.standing(settings)))
    wrong = sum(not one.ok for one in tried)
    lines = [_line(one) for one in tried] or [f"no cases in {settings.paths.policy / 'tests'}/*.json"]
    lines += [f"{len(tried)} cases, {wrong or 'none'} of them decided otherwise"] if tried else []
    emit(args, {"cases": [_case(one) for one in tried], "differ": wrong}, lines)
    return 1 if wrong else 0


def run_apply(args: argparse.Namespace) -> int:
    settings = config(args)
    standing = operate.standing(settings)
    proposal, before = operate.propose_policy(standing), standing.boundary.policy
    if before is not None and before.digest == proposal.policy.digest:
        emit(args, {"policy": before.digest, "changed": False}, [f"{before.digest} is in force already"])
        return 0
    _check_cases(args, cases.run(settings, proposal), settings.paths.typed("policy test"))
    old: Mapping[str, bytes] = {} if before is None else before.files
    shown = ["policy files:", *changes.of_files(old, proposal.policy.files)]
    key = person(args, settings, shown, "sign and put this policy into force?")
    receipt = asyncio.run(operate.enact(settings, proposal, operate.propose_policy, [key]))
    data = {"policy": proposal.policy.digest, "changed": True, "receipt": {"index": receipt.index, "leaf": receipt.leaf}}
    emit(args, data, [f"in force: {proposal.policy.digest} (receipt {receipt.index})"])
    return 0


def _check_cases(args: argparse.Namespace, tried: Sequence[cases.Tried], hint: str) -> None:
    """Before anybody is asked to sign: a policy that fails its own tests is not put into force."""
    wrong = [one for one in tried if not one.ok]
    if wrong:
        tell(args, map(_line, wrong))
        raise Declined(f"{len(wrong)} of {len(tried)} policy tests are decided otherwise, and nothing was signed", hint)


def _line(one: cases.Tried) -> str:
    """What was expected, and, where it is something else, what came."""
    case, got = one.case, one.got
    named = f"{visible(case.file)}: {visible(case.name)}"
    if one.ok:
        return f"ok       {named}"
    wanted = [case.expect.value, *([case.reason.value] if case.reason else []), *(case.rules or ())]
    came = [got.verdict.value, got.reason.value, *([f"({got.sub})"] if got.sub else []), *got.rules]
    return f"DIFFERS  {named}: expected {visible(' '.join(wanted))}, got {visible(' '.join(came))}"


def _case(one: cases.Tried) -> dict[str, Any]:
    case, got = one.case, one.got
    said = {"expect": case.expect.value, "reason": case.reason, "rules": None if case.rules is None else list(case.rules)}
    came = {"verdict": got.verdict.value, "reason": got.reason.value, "sub": got.sub, "rules": list(got.rules)}
    return {"file": case.file, "name": case.name, "tool": case.tool, "ok": one.ok, "expected": said, "got": came}
