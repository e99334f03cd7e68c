"""`init`, `explain`, `fsck`."""

import argparse
import difflib

from helm_ai_kernel.app import home
from helm_ai_kernel.app.config import load
from helm_ai_kernel.credentials import agent, keyfile
from helm_ai_kernel.guardian import reasons
from helm_ai_kernel.ledger.fsck import fsck
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.keys import Purpose

from .output import Commands, command, complain, emit, passphrase, where


def add(commands: Commands) -> None:
    init = command(
        commands, "init", "make a kernel: keys, trust registry, empty log, a policy that allows nothing", "helm-ai-kernel init"
    )
    init.add_argument("--passphrase-file", help="first line protects your root and approval keys (default: ask)")
    init.add_argument("--ssh-agent", metavar="SHA256:…", help="use this Ed25519 key of your ssh-agent as the approval key")
    init.set_defaults(run=run_init)
    explain = command(
        commands, "explain", "what a reason code means and what to do", "helm-ai-kernel explain ERR_POLICY_DENY", home=False
    )
    explain.add_argument("code", nargs="?", help="a reason code; without one, all of them")
    explain.set_defaults(run=run_explain)
    check = command(commands, "fsck", "rebuild everything on disk from the receipts and compare", "helm-ai-kernel fsck")
    check.set_defaults(run=run_fsck)


def run_init(args: argparse.Namespace) -> int:
    paths = where(args)
    approval = agent.by_fingerprint(args.ssh_agent, Purpose.APPROVAL) if args.ssh_agent else None
    secret = passphrase(args)
    made = home.init(paths, lambda: secret, approval=approval)
    data = {"home": str(paths.home), "genesis": made.genesis, "log": made.origin, "root": made.root, "approval": made.approval}
    lines = [
        f"home      {paths.home}",
        f"people    {paths.people_keys}  (root and approval keys, protected by your passphrase)",
        f"genesis   {made.genesis}  (give this to whoever verifies your packs)",
        f"log       {made.origin}",
        "Nothing is allowed yet. Next: pin tools (`helm-ai-kernel tools inspect --help`), then `helm-ai-kernel policy apply`.",
    ]
    emit(args, data, lines)
    return 0


def run_explain(args: argparse.Namespace) -> int:
    if args.code is None:
        rows = [_page(reason) for reason in Reason]
        emit(args, rows, [f"{row['code']:<32} {row['meaning']}" for row in rows])
        return 0
    if args.code.upper() not in tuple(Reason):
        near = difflib.get_close_matches(args.code.upper(), tuple(Reason), 1, 0.0)
        return complain(f"`{args.code}` is no reason code", "", f"helm-ai-kernel explain {near[0]}", 2)
    reason = Reason(args.code.upper())
    emit(args, _page(reason), reasons.text(reason).splitlines())
    return 0


def _page(reason: Reason) -> dict[str, str]:
    page = reasons.page(reason)
    return {
        "code": reason.value,
        "meaning": page.meaning,
        "retry": page.retry.value,
        "caller": page.caller,
        "owner": page.owner,
    }


def run_fsck(args: argparse.Namespace) -> int:
    config = load(where(args))
    log_key = keyfile.read_machine(config.paths.keys / "log", Purpose.LOG)
    count, damage = fsck(config.paths.store, log_key)
    data = {"receipts": count, "damage": [{"where": item.where, "detail": item.detail} for item in damage]}
    emit(args, data, [*(f"{item.where}: {item.detail}" for item in damage), f"{count} receipts, {len(damage) or 'no'} damage"])
    return 1 if damage else 0
