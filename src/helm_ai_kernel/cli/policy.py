"""`policy check`, `policy apply`."""

import argparse
import asyncio
from collections.abc import Mapping

from helm_ai_kernel.app import operate

from . import changes
from .output import Commands, command, config, emit, group
from .signing import person, signing_options


def add(commands: Commands) -> None:
    policy = group(commands, "policy", "rules: check them, put them into force")
    check = command(
        policy, "check", "parse and type-check the policy files against the pinned tools", "helm-ai-kernel policy check"
    )
    check.set_defaults(run=run_check)
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


def run_apply(args: argparse.Namespace) -> int:
    settings = config(args)
    standing = operate.standing(settings)
    proposal, before = operate.propose_policy(standing), standing.boundary.policy
    if before is not None and before.digest == proposal.policy.digest:
        emit(args, {"policy": before.digest, "changed": False}, [f"{before.digest} is in force already"])
        return 0
    old: Mapping[str, bytes] = {} if before is None else before.files
    shown = ["policy files:", *changes.of_files(old, proposal.policy.files)]
    key = person(args, settings, shown, "sign and put this policy into force?")
    receipt = asyncio.run(operate.enact(settings, proposal, operate.propose_policy, [key]))
    data = {"policy": proposal.policy.digest, "changed": True, "receipt": {"index": receipt.index, "leaf": receipt.leaf}}
    emit(args, data, [f"in force: {proposal.policy.digest} (receipt {receipt.index})"])
    return 0
