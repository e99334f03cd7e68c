"""`approvals`: what waits for a person, and what they say of it."""

import argparse
import asyncio
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from helm_ai_kernel.app import asks, operate
from helm_ai_kernel.app.asks import Waiting
from helm_ai_kernel.app.config import Config
from helm_ai_kernel.credentials import keyfile
from helm_ai_kernel.tcb.ceremony import Act
from helm_ai_kernel.tcb.clock import duration_ms
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.findings import visible
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.keys import Purpose, Signer
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.tcb.statement import Allows, Condition

from . import asked
from .output import PROGRAM, Commands, Declined, command, config, emit, group, number, place
from .signing import passphrase, person, signing_options

_CONDITION = re.compile(r"([^<>=^~]{1,256})(<=|>=|\^=|=|~)(.*)\Z", re.DOTALL)
_WORDS = {"<=": Condition.AT_MOST, ">=": Condition.AT_LEAST, "=": Condition.EQUALS, "^=": Condition.STARTS_WITH}
_ACTS = {
    Act.APPROVE: ("approve a held call: it is dispatched when it is made again", "approve exactly this call?"),
    Act.DENY: ("deny a held call, for good", "deny this call?"),
    Act.DISPUTE: ("void every approval of a held call: each must be given anew", "void every approval of this call?"),
    Act.WITHDRAW: ("take back your own approval", "take back your approval of this call?"),
}


def add(commands: Commands) -> None:
    own = group(commands, "approvals", "what waits for a person, and what people say of it")
    listed = command(own, "list", "held calls, grants, and what is frozen", f"{PROGRAM} approvals list")
    listed.set_defaults(run=run_list)
    show = command(own, "show", "one held call, from the bytes that would be dispatched", f"{PROGRAM} approvals show 12")
    _call(show)
    show.set_defaults(run=run_show)
    for act, (text, _) in _ACTS.items():
        say = command(own, act.value, text, f"{PROGRAM} approvals {act.value} 12")
        _call(say)
        signing_options(say)
        say.set_defaults(run=run_say, act=act)
    override = command(
        own, "override", "emergency: a threshold of roots lets a call go on at once", f"{PROGRAM} approvals override 12"
    )
    _call(override)
    signing_options(override, roots=True)
    override.set_defaults(run=run_override)
    grant = command(
        own, "grant", "approve calls like this one beforehand, within bounds",
        f"{PROGRAM} approvals grant 12 --calls 20 --lasts 2h --where 'amount<=100'",
    )  # fmt: skip
    _call(grant)
    grant.add_argument("--calls", type=number, required=True, metavar="N", help="how many")
    grant.add_argument("--lasts", type=_lasts, required=True, metavar="TIME", help="for how long: 90s, 10m, 2h, 7d")
    grant.add_argument(
        "--where", type=_condition, action="append", default=[], metavar="CONDITION",
        help="NAME=JSON, NAME<=NUMBER, NAME>=NUMBER, NAME^=BEGINNING, or NAME~ for anything; unnamed ones are as in the call",
    )  # fmt: skip
    signing_options(grant)
    grant.set_defaults(run=run_grant)
    revoke = command(own, "revoke", "end a grant", f"{PROGRAM} approvals revoke 17")
    revoke.add_argument("grant", metavar="GRANT", help="as `approvals list` names it")
    signing_options(revoke)
    revoke.set_defaults(run=run_revoke)


def run_list(args: argparse.Namespace) -> int:
    settings = config(args)
    standing = asks.standing(settings)
    held, grants, frozen = standing.waiting, standing.grants, standing.frozen
    data = {"held": [asks.to_json(one) for one in held], "grants": [asks.grant_json(one) for one in grants], "frozen": frozen}
    data["unasked"] = [asks.unasked_json(one) for one in standing.unasked]
    lines = [f"FROZEN {visible(scope)}; next: {settings.paths.typed('release ' + shlex.quote(scope))}" for scope in frozen]
    lines += [asked.line(one) for one in held] or ["no call waits for a person"]
    lines += [asked.unasked(one) for one in standing.unasked]
    for grant in grants:
        first, *rest = asked.granted(grant.allows, grant.tool)
        lines += [
            f"grant {grant.statement[7:19]}: {first.strip()}; {grant.left} left",
            *rest,
        ]
    emit(args, data, lines)
    return 0


def run_show(args: argparse.Namespace) -> int:
    settings = config(args)
    call = asks.find(settings, args.call)
    next_steps = [f"next: {settings.paths.typed(f'approvals {act} {call.ceremony.index}')}" for act in ("approve", "deny")]
    emit(args, asks.to_json(call), [*asked.whole(call), *next_steps])
    return 0


def run_say(args: argparse.Namespace) -> int:
    settings, act = config(args), args.act
    call = asks.find(settings, args.call)
    key = person(args, settings, asked.whole(call), _ACTS[act][1])
    receipt = _at_desk(settings, lambda desk: asks.say(desk, call, act, key))
    emit(args, _said(call, receipt) | {"said": act.value}, [f"{act.value}: receipt {receipt.index}", *_after(settings, call)])
    return 0


def run_override(args: argparse.Namespace) -> int:
    settings = config(args)
    call = asks.find(settings, args.call)
    shown = [*asked.whole(call), "EMERGENCY: neither the quorum nor the timelock is waited for; every pack will show it"]
    signers = _roots(args, settings, shown)
    receipt = _at_desk(settings, lambda desk: asks.override(desk, call, signers))
    emit(args, _said(call, receipt) | {"said": Act.OVERRIDE.value}, [f"overridden: receipt {receipt.index}"])
    return 0


def run_grant(args: argparse.Namespace) -> int:
    settings = config(args)
    late = asks.find_unasked(settings, args.call)
    if late is None:
        call = asks.find(settings, args.call)
        ceremony, said = call.ceremony, list(asked.whole(call))
        content = _granted((ceremony.principal, ceremony.tool, ceremony.pin), call.arguments, args)
    else:
        said, content = [asked.unasked(late)], _granted((late.principal, late.tool, late.pin), late.arguments, args)
    allows = Allows.from_json(content)
    shown = [*said, "beforehand, calls like this one are approved:", *asked.granted(allows, str(content["tool"]))]
    key = person(args, settings, shown, "sign this grant?")
    receipt = _at_desk(settings, lambda desk: asks.grant(desk, content, [key]))
    data = {"grant": receipt.leaf, "receipt": place(receipt)}
    emit(
        args, data, [f"granted: receipt {receipt.index}; to end it: {settings.paths.typed(f'approvals revoke {receipt.index}')}"]
    )
    return 0


def run_revoke(args: argparse.Namespace) -> int:
    settings = config(args)
    named = asks.leaf(settings, args.grant)
    found = [one for one in asks.grants(settings) if one.statement == named]
    if not found:
        raise Declined(f"`{args.grant}` names no grant in force", settings.paths.typed("approvals list"))
    key = person(args, settings, asked.granted(found[0].allows, found[0].tool), "end this grant?")
    receipt = _at_desk(settings, lambda desk: asks.revoke(desk, found[0].statement, [key]))
    emit(
        args,
        {"grant": found[0].statement, "receipt": place(receipt)},
        [f"ended: receipt {receipt.index}"],
    )
    return 0


def _call(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("call", metavar="CALL", help="its receipt: a log index, or the first digits of the leaf hash")


def _at_desk(settings: Config, work: Any) -> Receipt:
    return asyncio.run(operate.at_desk(settings, work))


def _said(call: Waiting, receipt: Receipt) -> dict[str, Any]:
    return {"call": call.ceremony.call, "receipt": place(receipt)}


def _after(settings: Config, call: Waiting) -> list[str]:
    """What is still waited for, in words."""
    standing = [one for one in asks.waiting(settings) if one.ceremony.call == call.ceremony.call]
    return [asked.standing(one) for one in standing]


def _roots(args: argparse.Namespace, settings: Config, shown: Iterable[str]) -> Sequence[Signer]:
    paths = args.key or [settings.paths.people_keys / "root"]
    first = person(args, settings, shown, "let this call go on at once?", purpose=Purpose.ROOT, path=paths[0])
    return [first, *(keyfile.read_person(path, Purpose.ROOT, passphrase(args, f"`{path}`")) for path in paths[1:])]


def _granted(whose: tuple[str, str, str], arguments: bytes, args: argparse.Namespace) -> dict[str, Json]:
    """Such a call, with other bounds where some are named. `whose`: principal, tool and pin."""
    said: Any = parse(arguments)
    conditions: dict[str, Json] = {name: {Condition.EQUALS.value: value} for name, value in said.items()}
    conditions |= dict(args.where)
    content: dict[str, Json] = dict(zip(("principal", "tool", "pin"), whose, strict=True))
    return content | {"where": conditions, "calls": args.calls, "lasts_ms": args.lasts}


def _lasts(text: str) -> int:
    ms = duration_ms(text)
    if ms is None:
        raise argparse.ArgumentTypeError(f"`{text}` is no time such as 90s, 10m, 2h or 7d")
    return ms


def _condition(text: str) -> tuple[str, dict[str, Json]]:
    found = _CONDITION.match(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"`{text}` is no condition such as amount<=100")
    name, sign, value = found.groups()
    if sign == "~":
        return name, {Condition.ANY.value: True}
    if sign == "^=":
        return name, {Condition.STARTS_WITH.value: value}
    try:
        bound = parse(value.encode())
    except Refused:
        raise argparse.ArgumentTypeError(f"`{value}` is not JSON; text is written in double quotes") from None
    return name, {_WORDS[sign].value: bound}
