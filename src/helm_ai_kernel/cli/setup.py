"""`init`, `explain`, `fsck`."""

import argparse
import difflib
import functools
from pathlib import Path

from helm_ai_kernel.app import home
from helm_ai_kernel.app.config import load
from helm_ai_kernel.credentials import agent
from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.guardian import reasons
from helm_ai_kernel.ledger.fsck import fsck, fsck_ended
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.keys import Purpose

from .output import Commands, command, complain, emit, where
from .signing import passphrase


def add(commands: Commands) -> None:
    init = command(
        commands, "init", "make a kernel: keys, trust registry, empty log, a policy that allows nothing", "helm-ai-kernel init"
    )
    init.add_argument(
        "--passphrase-file",
        type=Path,
        help="first line protects your root and approval keys (default: ask; $HELM_PASSPHRASE_FILE)",
    )
    init.add_argument("--ssh-agent", metavar="SHA256:KEY", help="use this Ed25519 key of your ssh-agent as the approval key")
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
    home.check_free(paths)
    approval = agent.by_fingerprint(args.ssh_agent, Purpose.APPROVAL) if args.ssh_agent else None
    new = not (paths.people_keys / "root").exists()
    made = home.init(paths, functools.cache(lambda: passphrase(args, "your root and approval keys", new=new)), approval=approval)
    data = {"home": str(paths.home), "genesis": made.genesis, "log": made.origin, "root": made.root, "approval": made.approval}
    whose = "root key" if approval else "root and approval keys"
    lines = [
        f"home      {paths.home}",
        f"people    {paths.people_keys}  (your {whose}, protected by your passphrase)",
        f"genesis   {made.genesis}  (give this to whoever verifies your packs)",
        f"log       {made.origin}",
        "Nothing is allowed yet. Next:",
        f"  add an [upstream.NAME] to {paths.config}, then: {paths.typed('tools inspect')} NAME",
        f"  or govern Python functions (`from helm_ai_kernel import Kernel`), then: {paths.typed('tools pin')} python",
        f"  permit calls in {paths.policy}/main.cedar, then: {paths.typed('policy apply')}",
    ]
    emit(args, data, lines)
    return 0


def run_explain(args: argparse.Namespace) -> int:
    if args.code is None:
        rows = [_page(reason) for reason in Reason]
        emit(args, rows, [f"{row['code']:<32} {row['meaning']}" for row in rows])
        return 0
    if args.code.upper() not in tuple(Reason):
        near = difflib.get_close_matches(args.code.upper(), tuple(Reason), 1)
        hint = " ".join(["helm-ai-kernel explain", *near])
        return complain(args.what, f"`{args.code}` is no reason code", hint=hint, exit_code=2)
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
    paths = load(where(args)).paths
    count, damage = fsck(paths.store, Subjects(paths.subjects))
    damage += fsck_ended(paths.store) if not damage else ()
    data = {"receipts": count, "damage": [{"where": item.where, "detail": item.detail} for item in damage]}
    emit(args, data, [*(f"{item.where}: {item.detail}" for item in damage), f"{count} receipts, {len(damage) or 'no'} damage"])
    return 1 if damage else 0
