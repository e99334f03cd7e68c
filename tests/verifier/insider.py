"""What a log would say if somebody with all its keys told it otherwise: behind a change each receipt names the new leaves."""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random

from faults.tamper import places, put
from helm_ai_kernel.tcb.ceremony import Act, Requirement, confirmation, intent
from helm_ai_kernel.tcb.digest import Digest, leaf
from helm_ai_kernel.tcb.digest import text as digest_text
from helm_ai_kernel.tcb.envelope import seal
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.merkle import leaf_hash, root
from helm_ai_kernel.tcb.receipt import Kind
from packs import Body, Log, key
from verifier.bases import secrets
from verifier.mutant import another


@dataclass
class Told:
    """A receipt that can be told again: what it said, and what will be done to its body before it is signed."""

    leaf: Digest
    body: Body
    edits: tuple[Callable[[Body], object], ...] = ()
    signer: SecretKey | None = None


def tell(draw: Random, log: Log) -> tuple[list[bytes], str]:
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
        (*("edit",) * 4, "gone", "doubled", "swapped", "moved", "cut", "session", "signer", "told again", "clock", "clock")
    )
    one = told[at]
    if how == "edit" and not one.edits:  # of two faults in one receipt a verifier tells one
        found = list(places(one.body))
        place, old = draw.choice(found)
        new = another(draw, place, old, found)
        one.edits += (lambda body: put(body, place, copy.deepcopy(new)),)
        return f"{at} {place} {old!r} -> {new!r}"
    if how == "clock" and (clocks := [value for one in told for place, value in places(one.body) if place[-1] == "clock"]):
        return _retimed(draw, told, draw.choice(clocks))
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


def _retimed(draw: Random, told: Sequence[Told], clock: Json) -> str:
    """Wherever a clock is named, another one: as it was set, or as it is by another boot."""
    assert isinstance(clock, dict)
    by = draw.choice((1, -1, 5, -10, 100, -1000, 60_000, 3_600_000, -3_600_000))
    moved = draw.choice((("wall_ms",), ("boot_ms",), ("wall_ms", "boot_ms")))
    new = {name: max(0, int(str(value)) + by) if name in moved else value for name, value in clock.items()}
    if draw.random() < 0.2:
        new["boot"] = "0" * 32
    for one in told:
        for place, value in list(places(one.body)):
            if value == clock:
                put(one.body, place, dict(new))
    return f"clock {clock} -> {new}"


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
        _ask_again(log, one.body, body, leaves)
        _state_again(log, body)
        if not isinstance(body.get("kind"), str):
            body["kind"] = one.body["kind"]
        line = seal(body, [one.signer or log.deployment.execution]).line
        leaves.setdefault(one.leaf, leaf(line))
        if isinstance(body.get("session"), str):
            heads[body["session"]] = (int(body["seq"]) if type(body.get("seq")) is int else 0, leaf(line))  # type: ignore[arg-type]
        lines.append(line)
    return lines


def _ask_again(log: Log, before: Body, body: Body, names: dict[Digest, Digest]) -> None:
    """People sign for a held call as it is told now, and confirm what they say now."""
    with suppress(EvidenceError, KeyError):
        old, new = (_intent(log, one) for one in (before, body))
        names.setdefault(old, new)
    said, now = _inner(before), _inner(body)
    if "confirmation" in now and now["confirmation"] == said.get("confirmation"):
        with suppress(KeyError, IndexError, TypeError, ValueError):
            act, key_id = Act(str(now["decision"])), str(now["signers"][0])  # type: ignore[index]
            now["confirmation"] = confirmation(Digest(str(now["intent"])), str(now["nonce"]), key_id, act)


def _intent(log: Log, body: Body) -> Digest:
    requires = Requirement.from_json(body["requires"])
    principal = log.principals[str(body["session"])]
    deployment = str(body["log"]).rpartition("/")[0]
    return intent(deployment, principal, str(body["tool"]), Digest(str(body["pin"])), Digest(str(body["args_hash"])), requires)


def _inner(body: Body) -> Body:
    """Of a statement, what a person signed."""
    statement = body.get("statement")
    inner = statement.get("body") if isinstance(statement, dict) else None
    return inner if isinstance(inner, dict) else {}


def _state_again(log: Log, body: Body) -> None:
    """The person signs what the statement says now."""
    statement, inner = body.get("statement"), _inner(body)
    if isinstance(inner.get("kind"), str) and isinstance(statement, dict) and len(statement) == 2:
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
