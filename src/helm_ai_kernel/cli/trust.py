"""`trust`: who may sign what. A change is shown, agreed to, signed by each who must, and then in the registry for good.

One owner does it in one command. Where others must sign too it becomes a file, which each of them signs on their own machine
(`trust sign`) and which the kernel's machine then takes (`trust apply`).
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helm_ai_kernel.app import operate, trust
from helm_ai_kernel.app.config import Config
from helm_ai_kernel.app.home import now
from helm_ai_kernel.disk import durable
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb import events, registry
from helm_ai_kernel.tcb.envelope import LINE_BYTES_MAX
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.findings import visible
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.tcb.keys import Purpose
from helm_ai_kernel.tcb.registry import Registry

from .output import PROGRAM, Commands, Declined, command, config, emit, group, number, plain, tell, time, where
from .ownkeys import PEOPLE, New, held, new_key, signed_here
from .signing import agreed, signing_options


def add(commands: Commands) -> None:
    trusts = group(commands, "trust", "keys: who may sign what; the roots sign every change")
    show = command(trusts, "show", "the keys in force", f"{PROGRAM} trust show")
    show.add_argument("--all", action="store_true", help="also those that are in force no more")
    show.set_defaults(run=run_show)
    log = command(trusts, "log", "every event of the registry, one line each", f"{PROGRAM} trust log")
    log.set_defaults(run=run_log)
    more = _change(trusts, "add", "give a person a key", "--purpose approval --principal bob --public bob.pub", run_add)
    more.add_argument("--purpose", required=True, choices=[purpose.value for purpose in PEOPLE], help="what it may sign")
    more.add_argument("--principal", required=True, metavar="NAME", help="who holds it")
    _key_options(more, required=True)
    rotate = _change(trusts, "rotate", "put a new key in the place of one in force", "execution", run_rotate)
    rotate.add_argument("key", help="its id or the first digits of it; or a purpose, where one key is in force for it")
    _key_options(rotate, required=False)
    revoke = _change(trusts, "revoke", "end a key", "3f9a --reason compromise --since 2026-01-31T18:00:00Z", run_revoke)
    revoke.add_argument("key", help="its id or the first digits of it; or a purpose, where one key is in force for it")
    revoke.add_argument("--reason", required=True, choices=[end.value for end in events.End])
    revoke.add_argument("--since", type=time, metavar="TIME", help="of a compromise: from when on it may have been misused")
    example = "2 --signer ada --signer bob"
    threshold = _change(trusts, "threshold", "change how many people must sign an event", example, run_threshold)
    threshold.add_argument("count", type=number, help="distinct principals with a root key")
    sign = command(trusts, "sign", "sign an event that somebody prepared", f"{PROGRAM} trust sign event.json", home=False)
    sign.add_argument("file", type=Path, help="what a `trust` command wrote because others must sign, too")
    sign.add_argument("--key-file", type=Path, metavar="FILE", help="your key (default: those of ~/.config/helm-ai-kernel/keys)")
    signing_options(sign)
    sign.set_defaults(run=run_sign, home=None)
    apply = command(trusts, "apply", "take an event that all have signed", f"{PROGRAM} trust apply event.json")
    apply.add_argument("file", type=Path, help="the file that was signed with `trust sign`")
    apply.set_defaults(run=run_apply)


def _change(
    trusts: Commands, name: str, text: str, example: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser = command(trusts, name, text + ", signed by the roots", f"{PROGRAM} trust {name} {example}")
    parser.add_argument(
        "--signer", action="append", default=[], metavar="NAME",
        help="who signs with a root key: a principal or a key's id; again for each (default: you)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to, if others must sign, too (default: trust-SEQ.json)")
    signing_options(parser)
    parser.set_defaults(run=run)
    return parser


def _key_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    which = parser.add_mutually_exclusive_group(required=required)
    which.add_argument("--key-file", type=Path, metavar="FILE", help="the new key's file; made where there is none")
    which.add_argument("--public", type=Path, metavar="FILE.pub", help="the public key of somebody who signs elsewhere")


def run_show(args: argparse.Namespace) -> int:
    known = trust.known(where(args))
    entries = [entry for entry in known.keys.values() if args.all or entry.until is None]
    rows = [trust.facts(entry) for entry in entries]
    data = {"genesis": known.genesis, "size": known.size, "head": known.head, "threshold": known.threshold, "keys": rows}
    lines = [f"genesis {known.genesis}", f"{known.size} events; {known.threshold} of those who hold a root must sign the next"]
    for row in rows:
        until = "" if row["until"] is None else f" until {row['until']}, {row['state']}"
        who = f"{_short(row['id'])}  {row['purpose']:<9} {row['principal']:<18} since {row['since']}{until}"
        lines.append(f"{who}  {row['log'] or ''}".rstrip())
    emit(args, data, lines)
    return 0


def run_log(args: argparse.Namespace) -> int:
    known = trust.known(where(args))
    bodies: list[Any] = [_body(line) for line in known.lines]
    lines = (f"{body['seq']:>4}  {body['at']}  {_sentence(body)}  by {_signed_by(known, body)}" for body in bodies)
    emit(args, bodies, lines)
    return 0


def run_add(args: argparse.Namespace) -> int:
    settings, known = config(args), trust.known(where(args))
    new = new_key(args, Purpose(args.purpose), args.key_file)
    return _propose(args, settings, known, registry.addition(known, new.public, args.principal, None, at=now()), new)


def run_rotate(args: argparse.Namespace) -> int:
    settings, known = config(args), trust.known(where(args))
    old = trust.find_key(known, args.key, _origin(settings))
    purpose, default = old.key.purpose, settings.paths.people_keys / f"{old.key.purpose.value}-{known.size}"
    if old.log is None:
        new = new_key(args, purpose, args.key_file or default)
    elif args.key_file or args.public:
        raise Declined("the machine makes its keys itself", f"{PROGRAM} trust rotate {args.key}")
    else:
        own = trust.next_machine_key(settings.paths, purpose, old.log)
        new = New(own.public, lambda: None, own)
    return _propose(args, settings, known, registry.rotation(known, new.public, old, at=now()), new)


def run_revoke(args: argparse.Namespace) -> int:
    settings, known = config(args), trust.known(where(args))
    reason, old = events.End(args.reason), trust.find_key(known, args.key, _origin(settings))
    if (args.since is None) == (reason is events.End.COMPROMISE):
        raise Declined("a compromise says since when, and nothing else does", f"{PROGRAM} trust revoke --help")
    body = registry.revocation(known, old.key.id, reason, at=now(), since=args.since)
    return _propose(args, settings, known, body, None, without=old.key.id)


def run_threshold(args: argparse.Namespace) -> int:
    settings, known = config(args), trust.known(where(args))
    return _propose(args, settings, known, registry.new_threshold(known, args.count, at=now()), None)


def run_sign(args: argparse.Namespace) -> int:
    draft = trust.Draft.from_bytes(_read(args.file))
    if not draft.missing:
        raise Declined("all have signed it", f"{PROGRAM} trust apply {args.file}")
    _agree(args, draft)
    signed = signed_here(args, draft, where(args).people_keys)
    if signed == draft:
        raise Declined(
            f"none of your keys must sign it: {', '.join(map(_short, draft.missing))}", f"{args.typed} --key-file FILE"
        )
    durable.write(args.file, [signed.to_bytes()])
    return _said(args, signed, args.file)


def run_apply(args: argparse.Namespace) -> int:
    settings, draft = config(args), trust.Draft.from_bytes(_read(args.file))
    if draft.missing:
        raise Declined(f"not signed yet by {', '.join(map(_short, draft.missing))}", f"{PROGRAM} trust sign {args.file}")
    return _apply(args, settings, draft)


def _propose(
    args: argparse.Namespace, settings: Config, known: Registry, body: trust.Body, new: New | None, without: str | None = None
) -> int:
    operate.check_unlocked(settings.paths)
    roots = trust.voters(known, args.signer, held(args, settings.paths.people_keys), without)
    draft = trust.Draft.of(body, [*roots, *([new.public.id] if new else [])])
    _agree(args, draft)
    if new is not None:
        new.make()
        draft = draft if new.signer is None else draft.signed(new.signer)
    draft = signed_here(args, draft, settings.paths.people_keys)
    if not draft.missing:
        return _apply(args, settings, draft)
    out = args.out or Path(f"trust-{body['seq']}.json")
    durable.write(out, [draft.to_bytes()])
    return _said(args, draft, out)


def _apply(args: argparse.Namespace, settings: Config, draft: trust.Draft) -> int:
    try:
        after = trust.apply(settings.paths, draft)
    except EvidenceError as e:
        raise Declined(f"the registry refuses this: {e.detail} ({e.finding})", settings.paths.typed("trust show")) from None
    data = {"event": draft.body["event"], "seq": draft.body["seq"], "size": after.size, "head": after.head}
    emit(args, data, [f"event {draft.body['seq']}: {_sentence(draft.body)}; the kernel relies on it from its next start on"])
    return 0


def _said(args: argparse.Namespace, draft: trust.Draft, out: Path) -> int:
    missing = ", ".join(map(_short, draft.missing))
    waits = f"still to sign: {missing}; each of them: {PROGRAM} trust sign {out}"
    done = f"all have signed; on the kernel's machine: {PROGRAM} trust apply {out}"
    emit(args, {"file": str(out), "missing": draft.missing}, [waits if missing else done])
    return 0


def _agree(args: argparse.Namespace, draft: trust.Draft) -> None:
    """All that is signed is shown."""
    shown = [f"  {name:<10} {plain(draft.body[name], 2000)}" for name in sorted(draft.body) if name not in ("v", "kind")]
    tell(args, [f"{_sentence(draft.body)}:", *shown])
    if not agreed(args, "sign this event of the trust registry?"):
        raise Declined("nothing was signed", f"{args.typed} --yes")


def _sentence(body: trust.Body) -> str:
    """What an event does, in a few words."""
    key: Any = body.get("key")
    if body["event"] == events.EventKind.GENESIS:
        return "genesis"
    if body["event"] == events.EventKind.THRESHOLD:
        return f"threshold {plain(body['threshold'], 20)}"
    if body["event"] == events.EventKind.REVOKE:
        return f"revoke {_short(str(key))}: {visible(str(body['reason']))}"
    named = f"{visible(str(key.get('purpose')))} key of {visible(str(key.get('principal')))}" if isinstance(key, dict) else ""
    return f"{body['event']} {named}"


def _signed_by(known: Registry, body: trust.Body) -> str:
    ids: Any = body["signers"]
    return ", ".join(f"{known.keys[id].principal} ({_short(id)})" for id in ids if id in known.keys)


def _origin(settings: Config) -> str:
    with Reader(settings.paths.store) as reader:
        return reader.origin


def _short(id: str) -> str:
    return visible(id.rpartition(":")[2][:12])


def _body(line: bytes) -> Any:
    value: Any = parse(line, bytes_max=LINE_BYTES_MAX)
    return value["body"]


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LINE_BYTES_MAX + 1)
