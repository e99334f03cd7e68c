"""`agents add`, `list`, `rotate`, `remove`: who may call this kernel over its doors, and with which credential."""

import argparse
import ssl
from pathlib import Path
from typing import Any

from helm_ai_kernel.app import agents, trust
from helm_ai_kernel.gateway.identity import CONCURRENT, Agent, Limits
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.process import KERNEL

from .output import PROGRAM, Commands, Declined, command, config, emit, group, number

CERTIFICATE_BYTES_MAX = 64 << 10  # one in PEM has about 2,000


def add(commands: Commands) -> None:
    agent = group(commands, "agents", "who may call over the kernel's doors")
    new = command(agent, "add", "a new agent; its token is shown once", f"{PROGRAM} agents add coder --per-s 10")
    new.add_argument("name", metavar="NAME", type=_name, help="its principal, as policies and receipts say it")
    new.add_argument("--uid", type=number, metavar="N", help="it runs as this user and comes over the unix socket")
    new.add_argument("--certificate", type=Path, metavar="FILE", help="it shows this TLS certificate (PEM)")
    new.add_argument("--subject", metavar="NAME", type=_subject, help="its access tokens name it so (`[data.oauth]`)")
    new.add_argument("--token", action="store_true", help="make a token also where it has another credential")
    new.add_argument("--owner", metavar="NAME", help="the person whose agent it is, as the trust registry names them")
    new.add_argument("--per-s", type=_positive, metavar="N", help="calls a second, in the long run (default: no limit)")
    new.add_argument("--burst", type=_positive, metavar="N", help="calls at once after a rest (default: as many as --per-s)")
    new.add_argument(
        "--concurrent", type=_positive, default=CONCURRENT, metavar="N", help=f"calls under way at once (default: {CONCURRENT})"
    )
    new.add_argument("--unattended", action="store_true", help="nobody is there who could be asked")
    new.set_defaults(run=run_add)
    listed = command(agent, "list", "the agents, without secrets", f"{PROGRAM} agents list")
    listed.set_defaults(run=run_list)
    rotate = command(agent, "rotate", "a new token; the old one opens nothing any more", f"{PROGRAM} agents rotate coder")
    rotate.add_argument("name", metavar="NAME")
    rotate.set_defaults(run=run_rotate)
    remove = command(agent, "remove", "nobody is known by its credentials any more", f"{PROGRAM} agents remove coder")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=run_remove)


def run_add(args: argparse.Namespace) -> int:
    paths = config(args).paths
    if args.burst is not None and args.per_s is None:
        raise Declined("a burst is of a rate", f"{args.typed} --per-s {args.burst}")
    if args.owner is not None:
        people = {entry.principal for entry in trust.known(paths).keys.values() if entry.log is None and entry.until is None}
        if args.owner not in people:
            raise Declined(f"the trust registry knows no person `{args.owner}`", paths.typed("trust show"))
    certificate = None if args.certificate is None else _certificate(args.certificate)
    limits = Limits(args.per_s, args.burst, args.concurrent)
    agent = Agent(args.name, None, args.uid, certificate, args.owner, limits, args.unattended, args.subject)
    token = args.token or (args.uid is None and certificate is None and args.subject is None)
    return _shown(args, agents.add(paths, agent, token=token))


def run_rotate(args: argparse.Namespace) -> int:
    return _shown(args, agents.rotate(config(args).paths, args.name))


def run_list(args: argparse.Namespace) -> int:
    paths = config(args).paths
    rows = [_facts(agent) for agent in agents.read(paths)]
    lines = [f"{row['name']:<24} {', '.join(row['credentials']):<24} {row['owner'] or ''}".rstrip() for row in rows]
    emit(args, rows, lines or [f"no agents; next: {paths.typed('agents add')} NAME"])
    return 0


def run_remove(args: argparse.Namespace) -> int:
    agents.remove(config(args).paths, args.name)
    emit(args, {"name": args.name}, [f"{args.name} is no agent any more"])
    return 0


def _shown(args: argparse.Namespace, made: agents.Made) -> int:
    data = _facts(made.agent) | ({} if made.token is None else {"token": made.token})
    lines = [f"agent  {made.agent.name}"]
    if made.token is not None:
        lines += [f"token  {made.token}", "it is shown this once; send it as `Authorization: Bearer TOKEN`"]
    emit(args, data, lines)
    return 0


def _facts(agent: Agent) -> dict[str, Any]:
    held = {"token": agent.token, "uid": agent.uid, "certificate": agent.certificate, "subject": agent.subject}
    limits = {"per_s": agent.limits.per_s, "burst": agent.limits.burst, "concurrent": agent.limits.concurrent}
    named = {"name": agent.name, "credentials": [name for name, value in held.items() if value is not None]}
    return (
        named
        | {"uid": agent.uid, "certificate": agent.certificate, "subject": agent.subject}
        | {"owner": agent.owner, "unattended": agent.unattended}
        | limits
    )


def _certificate(path: Path) -> Digest:
    with path.open("rb") as file:
        data = file.read(CERTIFICATE_BYTES_MAX)
    try:
        return digest(ssl.PEM_cert_to_DER_cert(data.decode("ascii").strip()))
    except ValueError:
        raise Declined(f"`{path}` is not one certificate in PEM", f"{PROGRAM} agents add --help") from None


def _name(text: str) -> str:
    if not agents.NAME.match(text) or text == KERNEL:
        raise argparse.ArgumentTypeError("a name is 1 to 64 letters, digits and `._@-`, and not `kernel`")
    return text


def _subject(text: str) -> str:
    if not 0 < len(text) <= 256:
        raise argparse.ArgumentTypeError("a subject has 1 to 256 characters")
    return text


def _positive(text: str) -> int:
    value = number(text)
    if not value:
        raise argparse.ArgumentTypeError("it is at least 1")
    return value
