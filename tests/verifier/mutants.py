"""Packs that somebody changed, without end and from a seed: the same numbers give the same bytes on every machine.

Some changes are everybody's (bits, lines, entries); most are an insider's, who has the real keys: the receipts behind a change
name its new leaf and are signed again, and tree, checkpoint and manifest are those of what stands there. So each reaches the
rules of the story, and not only the first signature.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random

from faults.tamper import places, put
from helm_ai_kernel.tcb import checkpoint, pack
from helm_ai_kernel.tcb import registry as trust_registry
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Status
from helm_ai_kernel.tcb.digest import Digest, leaf
from helm_ai_kernel.tcb.digest import text as digest_text
from helm_ai_kernel.tcb.envelope import seal
from helm_ai_kernel.tcb.errors import EvidenceError, Refused
from helm_ai_kernel.tcb.events import End
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.merkle import leaf_hash, root
from helm_ai_kernel.tcb.receipt import Kind
from pack_case import Made, of
from packs import AT, Body, Deployment, Log, key, relined, repack, short, story
from verifier.mutant import Mutant, another, edited, flipped, flipped_somewhere
from verifier.seen import any_head, seen


@dataclass
class Told:
    """A receipt that can be told again: what it said, and what will be done to its body before it is signed."""

    leaf: Digest
    body: Body
    edits: tuple[Callable[[Body], object], ...] = ()
    signer: SecretKey | None = None


def busy() -> Log:
    """Two processes with sessions side by side: late answers, two drifts and their holds, keys, a second policy."""
    log = Log(Deployment("busy"))
    log.start_kernel()
    one, two = log.start(), log.start("other")
    log.deny(one, Reason.ERR_POLICY_NOT_READY)
    log.activate()
    claim = log.allow(one, more={"key": log.attach(b"k"), "reserved": {"calls": 1, "more": 2}})
    lost = log.allow(two, more={"reserved": {"calls": 1}})
    log.settle(
        one, claim.leaf, Status.FAILED, more={"reason": Reason.ERR_CONNECTOR_FAILED.value, "spent": {"calls": 0, "more": 0}}
    )
    log.repeat(one, claim)
    log.settle(two, lost.leaf, Status.UNKNOWN, more={"spent": {"calls": 1}})
    log.activate(b"forbid(principal, action, resource);", tools=("add",))
    log.settle(two, lost.leaf, Status.LATE)
    drifting = [log.allow(one, tool="demo/sum").leaf for _ in range(2)]
    drifts = [log.settle(one, intent, Status.DRIFT).leaf for intent in drifting]
    hold = log.hold(drifts[-1], "demo/sum")
    log.deny(two, Reason.ERR_TOOL_HALTED)
    log.end(two)
    log.release(hold.leaf, "demo/sum")
    open_one = log.allow(one, more={"key": log.attach(b"k2")})
    log.start_kernel()
    log.recover(1)
    log.settle(log.kernel, open_one.leaf, Status.UNKNOWN)
    three = log.start()
    log.settle(three, log.allow(three).leaf)
    log.end(three)
    log.end(log.kernel)
    return log


SECOND, SECOND_LOG = key("second execution", Purpose.EXECUTION), key("second log", Purpose.LOG)
SECOND_APPROVAL, SECOND_ROOT = key("second approval", Purpose.APPROVAL), key("second root", Purpose.ROOT)
NEW = tuple(key("new", purpose) for purpose in Purpose)  # that no registry has yet
GONE = key("gone", Purpose.LOG)  # of a log that another one goes on from
SINCE = "2026-01-01T00:00:00.000Z"


def turned() -> Log:
    """Three processes, and between them keys that come and go: two roots, and each other key is the second of its purpose."""
    log = Log(Deployment("turned"))
    deployment = log.deployment
    _process(log)
    deployment.enrol(SECOND_ROOT, "ada")
    deployment.rotate(deployment.execution, SECOND)
    deployment.rotate(deployment.approval, SECOND_APPROVAL)
    deployment.execution, deployment.approval = SECOND, SECOND_APPROVAL
    _process(log)
    deployment.rotate(deployment.log, SECOND_LOG)
    deployment.log = SECOND_LOG
    deployment.enrol(key("lost", Purpose.APPROVAL), "olga")
    deployment.revoke(key("lost", Purpose.APPROVAL), End.COMPROMISE, SINCE)
    deployment.sign(trust_registry.new_threshold(deployment.registry, 2, at=AT), deployment.root, SECOND_ROOT)
    _process(log)
    return log


def _process(log: Log) -> None:
    log.start_kernel()
    log.activate(f"// {len(log.lines)}".encode())
    agent = log.start()
    log.settle(agent, log.allow(agent).leaf)
    log.end(agent)
    log.end(log.kernel)


def moved() -> Log:
    """It takes the place of another log, and erases what it kept for somebody."""
    log = Log(Deployment("moved"))
    origin = f"{log.deployment.registry.deployment}/gone"
    log.deployment.enrol(GONE, "kernel", origin)
    log.start_kernel()
    log.recover(0, heads=[checkpoint.sign(origin, size, leaf_hash(b""), GONE).note.decode() for size in (3, 7)])
    log.activate()
    agent, subject = log.start(), "5" * 32
    log.settle(agent, log.allow(agent, more={"subject": subject}).leaf, Status.UNKNOWN)
    log.erase(subject, 1)
    log.settle(agent, log.allow(agent, more={"subject": "6" * 32}).leaf)
    log.erase("6" * 32, 1)
    log.end(agent)
    return log


def secrets(log: Log) -> dict[str, SecretKey]:
    """Every key that signed something in this log or its registry, and some that nobody knows, by id."""
    name, deployment = log.deployment.name, log.deployment
    first = (key(f"{name} {what}", Purpose(what)) for what in ("root", "approval", "execution", "log"))
    all_ = (
        *first,
        deployment.execution,
        SECOND,
        SECOND_LOG,
        SECOND_APPROVAL,
        SECOND_ROOT,
        key("lost", Purpose.APPROVAL),
        GONE,
        *NEW,
    )
    return {secret.public.id: secret for secret in all_}


BASES: Mapping[str, Log] = {"short": short(), "story": story(), "busy": busy(), "turned": turned(), "moved": moved()}


def mutants(seed: int) -> Iterator[Mutant]:
    """Without end; of each is said which one of this seed it is."""
    draw = Random(seed)
    ways = (_bits, _entry, _lines, *(_insider,) * 8, _manifest, _registry, _events, _events, _asked, *(_seen,) * 6)
    number = 0
    while True:
        name = draw.choice(("short", "short", "story", "busy", "turned", "turned", "moved"))
        log = BASES[name]
        way = draw.choice(ways)
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
    lines, what = _insiders(draw, log)
    tree = root([leaf_hash(line) for line in lines])
    note = checkpoint.sign(log.deployment.origin, len(lines), tree, log.deployment.log).note
    held = log.attachments if draw.random() < 0.2 else {}
    data = relined(log, lines)  # with the other entries as they were
    if draw.random() < 0.8:
        with suppress(EvidenceError):  # a line that is no receipt
            data = pack.build(lines, note, log.deployment.registry.lines, log.policies, log.catalogs, held)
    return Mutant(what, of(log, data, require_resolved=draw.random() < 0.3))


def _insiders(draw: Random, log: Log) -> tuple[list[bytes], str]:
    """The log's lines as somebody with all its keys tells them, and what was done."""
    keys = secrets(log)
    told = [Told(one.leaf, copy.deepcopy(dict(one.body)), signer=keys[one.body["signers"][0]]) for one in log.receipts]  # type: ignore[index]
    what = [_retold(draw, told, log) for _ in range(draw.choice((1, 1, 1, 2, 2, 3)))]
    relink = draw.random() < 0.7
    return _signed(log, told, relink), ", ".join(what) + (", relinked" if relink else "")


def _retold(draw: Random, told: list[Told], log: Log) -> str:
    """One thing that the insider does to what the log tells; says what."""
    at, other = draw.randrange(len(told)), draw.randrange(len(told))
    how = draw.choice(
        ("edit", "edit", "edit", "edit", "gone", "doubled", "swapped", "moved", "cut", "session", "signer", "told again")
    )
    one = told[at]
    if how == "edit" and not one.edits:  # of two faults in one receipt a verifier tells one
        found = list(places(one.body))
        place, old = draw.choice(found)
        new = another(draw, place, old, found)
        one.edits += (lambda body: put(body, place, copy.deepcopy(new)),)
        return f"{at} {place} {old!r} -> {new!r}"
    if how == "gone" and len(told) > 1:
        del told[at]
    elif how == "doubled":
        told.insert(max(at, other), replace(one, body=copy.deepcopy(one.body)))
    elif how == "told again":  # the same, as a receipt of its own
        again = replace(one, body=copy.deepcopy(one.body))
        again.body["at"] = "2027-01-02T03:04:05.678Z"
        again.leaf = Digest("")
        told.insert(draw.randrange(at, len(told)) + 1, again)
    elif how == "swapped":
        told[at], told[other] = told[other], told[at]
    elif how == "moved":
        told.insert(other, told.pop(at))
    elif how == "cut":
        del told[max(at, 1) :]
    elif how == "session":
        one.body["session"] = told[other].body["session"]
    elif how == "signer":
        deployment = log.deployment
        keys = (deployment.root, deployment.approval, deployment.log, key("nobody", Purpose.EXECUTION), *secrets(log).values())
        one.signer = draw.choice(keys)
    return f"{how} {at} {other}"


def _signed(log: Log, told: Sequence[Told], relink: bool) -> list[bytes]:
    """The lines: each names the new leaves of what it named, and with `relink` counts on in its session."""
    lines: list[bytes] = []
    leaves: dict[Digest, Digest] = {}
    heads: dict[Json, tuple[int, Digest]] = {}
    for one in told:
        body: Json = _renamed(copy.deepcopy(one.body), leaves)
        assert isinstance(body, dict)
        if relink:
            start = (-1, log.deployment.registry.head)
            seq, prev = heads.get(body["session"], start)
            body |= {"seq": seq + 1, "prev": prev}
            if body.get("event") == "end":
                body["count"] = seq + 1
        if body["kind"] == Kind.RECOVERY:
            body["size"] = len(lines) if relink else body["size"]
            body["root"] = digest_text(root([leaf_hash(line) for line in lines[: int(str(body["size"]))]]))
        for edit in one.edits:
            try:
                edit(body)
            except (KeyError, IndexError, TypeError):
                continue  # another edit took its place away
        _state_again(log, body)
        if not isinstance(body.get("kind"), str):
            body["kind"] = one.body["kind"]
        line = seal(body, [one.signer or log.deployment.execution]).line
        leaves.setdefault(one.leaf, leaf(line))
        if isinstance(body.get("session"), str):
            heads[body["session"]] = (int(body["seq"]) if type(body.get("seq")) is int else 0, leaf(line))  # type: ignore[arg-type]
        lines.append(line)
    return lines


def _state_again(log: Log, body: Body) -> None:
    """The person signs what the statement says now."""
    statement = body.get("statement")
    inner = statement.get("body") if isinstance(statement, dict) else None
    if isinstance(inner, dict) and isinstance(inner.get("kind"), str) and isinstance(statement, dict) and len(statement) == 2:
        signers = inner.get("signers")
        keys = secrets(log)
        known = [keys[str(name)] for name in signers if str(name) in keys] if isinstance(signers, list) else []
        record = seal(copy.deepcopy(inner), known or [log.deployment.approval]).to_json()
        if isinstance(record["body"], dict) and record["body"]["signers"] == signers:
            body["statement"] = record


def _renamed(value: Json, leaves: Mapping[Digest, Digest]) -> Json:
    if isinstance(value, dict):
        return {name: _renamed(item, leaves) for name, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, leaves) for item in value]
    return leaves.get(Digest(value), value) if isinstance(value, str) else value


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
        log.lines, what = _insiders(draw, log)
    mutant = seen(draw, log, trust)
    return None if mutant is None else replace(mutant, what=f"{what}; {mutant.what}")
