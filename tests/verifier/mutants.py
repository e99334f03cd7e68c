"""Packs that somebody changed, without end and from a seed: the same numbers give the same bytes on every machine.

Some changes are everybody's (bits, lines, entries); most are an insider's, who has the real keys: the receipts behind a change
name its new leaf and are signed again, and tree, checkpoint and manifest are those of what stands there. So each reaches the
rules of the story, and not only the first signature.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random

from faults.tamper import places, put
from helm_ai_kernel.tcb import checkpoint, pack
from helm_ai_kernel.tcb import registry as trust_registry
from helm_ai_kernel.tcb.digest import Digest, leaf
from helm_ai_kernel.tcb.envelope import seal
from helm_ai_kernel.tcb.errors import EvidenceError, Refused
from helm_ai_kernel.tcb.events import End
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.merkle import leaf_hash, root
from pack_case import Made, of
from packs import AT, Body, Log, relined, repack
from verifier.bases import BASES, NEW, SINCE, secrets
from verifier.insider import tell
from verifier.mutant import Mutant, another, edited, flipped, flipped_somewhere
from verifier.seen import any_head, seen
from verifier.talks import talk

NAMES = ("short", "short", "story", "busy", "turned", "turned", "moved", "stolen", *("asked",) * 3, *("offered",) * 3)


def mutants(seed: int) -> Iterator[Mutant]:
    """Without end. Of each is said which one it is: `next(islice(mutants(seed), number, None))` makes it again."""
    draw = Random(seed)
    ways = (_bits, _entry, _lines, *(_insider,) * 8, _manifest, _registry, _events, _events, _asked, *(_seen,) * 6)
    number = 0
    while True:
        name = draw.choice(NAMES)
        log = BASES[name]
        mostly = {"asked": (_insider, _insider, _talk, _talk), "offered": (_insider,)}.get(name, ways)
        way = draw.choice(mostly if draw.random() < 0.8 else ways)
        try:
            mutant = way(draw, log)
        except Refused:
            continue  # a value that has no canonical form
        if mutant is not None:
            yield replace(mutant, what=f"seed {seed}, number {number}, {name}: {way.__name__[1:]}: {mutant.what}")
            number += 1


def _bits(draw: Random, log: Log) -> Mutant:
    data = log.pack(withhold=False)
    at = draw.randrange(len(data) * 8)
    return Mutant(f"bit {at}", of(log, flipped(data, at)))


def _entry(draw: Random, log: Log) -> Mutant | None:
    """An entry changed, gone, doubled or added, under a manifest that says so."""
    files = log.files(withhold=draw.random() < 0.5)
    name = draw.choice(sorted(files))
    how = draw.choice(("bit", "bit", "byte gone", "cut", "gone", "empty", "added", "newline", "moved"))
    data = files[name]
    if how == "bit":
        files[name] = flipped_somewhere(draw, data)
    elif how == "byte gone":
        at = draw.randrange(len(data) + 1)
        files[name] = data[:at] + data[at + 1 :]
    elif how == "cut":
        files[name] = data[: draw.randrange(len(data) + 1)]
    elif how == "gone":
        del files[name]
    elif how == "empty":
        files[name] = b""
    elif how == "newline":
        files[name] = data.removesuffix(b"\n") if data.endswith(b"\n") else data + b"\n"
    elif how == "moved":
        other = draw.choice(sorted(files))
        files[name], files[other] = files[other], files[name]
    else:
        folder = name.partition("/")[0]
        files[
            draw.choice((f"{folder}/{'0' * 64}", f"policy/{'0' * 64}/manifest.json", f"catalog/{'0' * 64}.json", f"{name}.x"))
        ] = data
    try:
        return Mutant(f"{name} {how}", of(log, repack(files, relist=draw.random() < 0.8)))
    except (EvidenceError, KeyError, ValueError):
        return None  # nothing that could be written


def _lines(draw: Random, log: Log) -> Mutant:
    """Receipts moved, doubled, gone or edited under their old signatures. The log key signs the tree, or did before."""
    lines = list(log.lines)
    what = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
        how = draw.choice(("gone", "doubled", "swapped", "cut", "edited", "bit"))
        what.append(f"{how} {at} {other}")
        if how == "gone" and len(lines) > 1:
            del lines[at]
        elif how == "doubled":
            lines.insert(other, lines[at])
        elif how == "swapped":
            lines[at], lines[other] = lines[other], lines[at]
        elif how == "cut":
            lines = lines[: max(at, 1)]
        elif lines[at] not in log.lines:
            continue  # of two faults in one line a verifier tells one
        elif how == "edited":
            lines[at] = edited(draw, lines[at])
        elif how == "bit":
            lines[at] = flipped_somewhere(draw, lines[at])
    note = None if draw.random() < 0.8 else log.checkpoint()
    return Mutant(", ".join(what), of(log, relined(log, lines, note)))


def _insider(draw: Random, log: Log) -> Mutant | None:
    lines, what = tell(draw, log)
    tree = root([leaf_hash(line) for line in lines])
    note = checkpoint.sign(log.deployment.origin, len(lines), tree, log.deployment.log).note
    held = log.attachments if draw.random() < 0.2 else {}
    data = relined(log, lines)  # with the other entries as they were
    if draw.random() < 0.8:
        with suppress(EvidenceError):  # a line that is no receipt
            data = pack.build(lines, note, log.deployment.registry.lines, log.policies, log.catalogs, held)
    return Mutant(what, of(log, data, require_resolved=draw.random() < 0.3))


def _talk(draw: Random, _: Log) -> Mutant | None:
    """Another log: people talk about calls that wait, and nobody refuses what they say. Perhaps an insider tells it anew."""
    log = talk(draw)
    mutant = _insider(draw, log) if draw.random() < 0.15 else Mutant("as it is", of(log))
    return mutant and replace(mutant, what=f"{len(log.lines)} receipts, {mutant.what}")


def _manifest(draw: Random, log: Log) -> Mutant:
    files = log.files(withhold=draw.random() < 0.5)
    name = pack.MANIFEST
    if draw.random() < 0.3:
        name = draw.choice([name for name in sorted(files) if name.endswith(".json")])
    files[name] = edited(draw, files[name])
    return Mutant(f"{name} edited", of(log, pack.container.write(files)))


def _registry(draw: Random, log: Log) -> Mutant:
    """Events moved, gone, doubled, edited, or signed again by those who signed them."""
    lines = list(log.deployment.registry.lines)
    at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    how = draw.choice(("gone", "doubled", "swapped", "edited", "signed", "signed", "signed", "more"))
    if how == "gone":
        del lines[at]
    elif how == "doubled":
        lines.insert(other, lines[at])
    elif how == "swapped":
        lines[at], lines[other] = lines[other], lines[at]
    elif how == "edited":
        lines[at] = edited(draw, lines[at])
    else:
        at = at if how == "signed" else len(lines) - 1
        added = secrets(log)
        record = parse(lines[at])
        assert isinstance(record, dict) and isinstance(record["body"], dict)
        body = record["body"]
        signers = [added[str(name)] for name in body["signers"]]  # type: ignore[union-attr]
        if how == "more":
            body |= {"seq": len(lines), "prev": leaf(lines[-1])}
        for _ in range(draw.choice((0, 1, 1, 1))):
            found = [one for one in places(body) if one[0][0] != "signers"]
            place, old = draw.choice(found)
            put(body, place, another(draw, place, old, found))
        if isinstance(body.get("kind"), str):
            lines[at : at + (how == "signed")] = [seal(body, signers).line]
    if how == "more":
        lines[-1], lines[-2] = lines[-2], lines[-1]
    files = log.files()
    files[pack.TRUST] = pack.joined(lines)
    genesis = draw.choice((log.genesis, log.genesis, None))
    return Mutant(f"{how} {at} {other}", Made(repack(files), genesis))


def _events(draw: Random, log: Log) -> Mutant:
    """Events that somebody with some of the keys would like to happen, and a head by one of the log keys."""
    lines, what = _more_events(draw, log)
    log_key = draw.choice([secret for secret in secrets(log).values() if secret.public.purpose is Purpose.LOG])
    size = draw.randrange(len(log.lines) + 3)
    tree = log.root(min(size, len(log.lines))) if draw.random() < 0.8 else leaf_hash(b"x")
    head = checkpoint.sign(log.deployment.origin, size, tree, log_key).note if draw.random() < 0.6 else None
    note = checkpoint.sign(log.deployment.origin, len(log.lines), log.root(), draw.choice((log.deployment.log, log_key))).note
    files = {**log.files(), pack.TRUST: pack.joined(lines), pack.CHECKPOINT: note}
    return Mutant(what, of(log, repack(files), head))


def _more_events(draw: Random, log: Log) -> tuple[list[bytes], str]:
    registry, keys = log.deployment.registry, list(secrets(log).values())
    lines, what = list(registry.lines), list[str]()
    roots = [secret for secret in keys if secret.public.id in registry.in_force(Purpose.ROOT)]
    for _ in range(draw.choice((1, 1, 1, 2))):
        body, new = _event(draw, log, keys)
        body |= {"seq": len(lines), "prev": leaf(lines[-1])}
        if draw.random() < 0.04:
            place = draw.randrange(1, len(lines))
            body |= {"seq": place, "prev": leaf(lines[place - 1])}
        signers = draw.choice((*(roots,) * 12, roots[:1], draw.sample(keys, 2)))
        prove = [] if new is None or draw.random() < 0.04 else [new]
        signers = list({secret.public.id: secret for secret in (*signers, *prove)}.values())
        signers = [one for one in signers if body["event"] != "revoke" or one.public.id != body["key"] or draw.random() < 0.2]
        line = seal(body, signers or roots).line
        what.append(f"{body['event']} {body.get('reason', '')}{body.get('threshold', '')}")
        lines.append(line)
    return lines, ", ".join(what)


def _event(draw: Random, log: Log, keys: Sequence[SecretKey]) -> tuple[Body, SecretKey | None]:
    registry = log.deployment.registry
    entry = draw.choice(list(registry.keys.values()))
    kind = draw.choice(("add", *("rotate",) * 3, *("revoke",) * 6, "threshold"))
    if kind == "threshold":
        return trust_registry.new_threshold(registry, draw.choice((0, 1, 2, 3)), at=AT), None
    if kind == "revoke":
        reason = draw.choice((*End, End.COMPROMISE, End.COMPROMISE))
        since = SINCE if (reason is End.COMPROMISE) != (draw.random() < 0.04) else None
        return trust_registry.revocation(
            registry, draw.choice((*(entry.key.id,) * 12, NEW[0].public.id)), reason, at=AT, since=since
        ), None
    new = draw.choice((*NEW, *[one for one in NEW if one.public.purpose is entry.key.purpose] * 60, *keys))
    if kind == "rotate":
        principal = draw.choice((entry.principal,) * 20 + ("ada", entry.principal.upper()))
        entry = replace(entry, principal=principal, log=draw.choice((entry.log,) * 20 + (None, log.deployment.origin + "x")))
        return trust_registry.rotation(registry, new.public, entry, at=AT), new
    machine = new.public.purpose in (Purpose.EXECUTION, Purpose.LOG)
    of = log.deployment.origin if machine != (draw.random() < 0.1) else None
    return trust_registry.addition(registry, new.public, draw.choice(("ada", "ada", "Olga", "bob", "bob", "")), of, at=AT), new


def _asked(draw: Random, log: Log) -> Mutant:
    """Other questions about the pack: nothing pinned or another genesis, heads of all kinds."""
    how, head = any_head(draw, log)
    data = relined(log, log.lines[: draw.randrange(1, len(log.lines) + 1)]) if draw.random() < 0.5 else log.pack()
    genesis = draw.choice((log.genesis, log.genesis, log.genesis, None, Digest("sha256:" + "0" * 64)))
    return Mutant(f"known head {how}, {genesis}", Made(data, genesis, head, draw.random() < 0.5))


def _seen(draw: Random, log: Log) -> Mutant | None:
    """What others saw of the log, of what an insider tells instead, or of a registry that went on."""
    how = draw.choice(("as it is", "told", "told", "events"))
    trust, what = _more_events(draw, log) if how == "events" else (log.deployment.registry.lines, how)
    if how == "told":
        log = copy.copy(log)
        log.lines, what = tell(draw, log)
    mutant = seen(draw, log, trust)
    return None if mutant is None else replace(mutant, what=f"{what}; {mutant.what}")
