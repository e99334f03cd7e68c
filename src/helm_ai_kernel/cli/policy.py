"""`policy check`, `policy apply`."""

import argparse
import asyncio
from collections.abc import Mapping

from helm_ai_kernel.app import operate
from helm_ai_kernel.app.bundles import read_files
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.guardian.policy import Policy
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.pep.catalog import EMPTY, Catalog

from .output import Commands, agreed, command, complain, config, emit, group, signer, signing_options


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
    with Reader(settings.paths.store) as reader:
        catalog = EMPTY if reader.catalog is None else Catalog.from_bytes(reader.document(reader.catalog))
        in_force = reader.policy
    policy = Policy.from_files(read_files(settings.paths.policy), catalog, operate.protected(settings.paths))
    changed = policy.digest != in_force
    data = {"policy": policy.digest, "in_force": in_force, "changed": changed, "tools": len(catalog.tools)}
    state = "differs from what is in force: helm-ai-kernel policy apply" if changed else "is in force"
    emit(args, data, [f"the policy files type-check against {len(catalog.tools)} pinned tools; {policy.digest} {state}"])
    return 0


def run_apply(args: argparse.Namespace) -> int:
    return asyncio.run(_apply(args))


async def _apply(args: argparse.Namespace) -> int:
    runtime = await Runtime.open(config(args))
    try:
        proposal = operate.propose_policy(runtime)
        before = runtime.boundary.policy
        if before is not None and before.digest == proposal.policy.digest:
            emit(args, {"policy": before.digest, "changed": False}, [f"{before.digest} is in force already"])
            return 0
        old: Mapping[str, bytes] = {} if before is None else before.files
        changes = [
            f"  {_mark(name, old, proposal.policy.files)} {name}" for name in sorted(old.keys() | proposal.policy.files.keys())
        ]
        if args.format == "text":
            print("\n".join(["policy files:", *changes]))
        key = signer(args, runtime.config, runtime.ledger.writer.ink.registry)
        if not agreed(args, "sign and put this policy into force?"):
            return complain("nothing was signed", "", "answer y, or give --yes", 1)
        receipt = await operate.activate(runtime, proposal, [key])
        data = {"policy": proposal.policy.digest, "changed": True, "receipt": {"index": receipt.index, "leaf": receipt.leaf}}
        emit(args, data, [f"in force: {proposal.policy.digest} (receipt {receipt.index})"])
        return 0
    finally:
        await runtime.close()


def _mark(name: str, old: Mapping[str, bytes], new: Mapping[str, bytes]) -> str:
    if old.get(name) == new.get(name):
        return " "
    return "+" if name not in old else "-" if name not in new else "~"
