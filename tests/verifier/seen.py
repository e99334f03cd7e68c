"""What others saw of a log, and what a verifier asks: parts, cosigned and known heads, policies, ages (V8, V14 to V17).

Heads, proofs and notes are mostly true; what is done to them is what a thief of the log's key, or somebody without one, can do.
"""

from collections.abc import Sequence
from random import Random

from helm_ai_kernel.tcb import checkpoint, pack
from helm_ai_kernel.tcb.cosign import VerifierKey, cosign
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.keys import Purpose
from helm_ai_kernel.tcb.merkle import leaf_hash
from helm_ai_kernel.tcb.part import Inclusion
from pack_case import Made
from packs import Log, key, policy, repack
from verifier.mutant import Mutant, edited, flipped_somewhere

NAMES = ("ann", "ben", "cem", "mallet")  # no policy lists the last one
TIMES = (1_767_139_200, 1_767_225_600, 1_767_323_045, 1_767_400_000)  # the second is that of `SINCE`, the third of `AT`
CEM = f"witness cem {VerifierKey('cem.example', key('cem', Purpose.WITNESS).public)}\n".encode()
NESTED = policy(2, "ann", "ben").replace(b"quorum all-of-them", CEM + b"group top any all-of-them cem\nquorum top")
POLICIES = (policy(1, "ann"), policy(2, "ann", "ben", "cem"), NESTED)
AGES = (
    (0, "2026-01-02T03:04:05.678Z"),
    (1, "2026-01-02T03:04:06.678Z"),
    (1, "2026-01-02T03:04:06.679Z"),
    (86_400, "2026-01-02T00:00:00.000Z"),
    (86_400 * 365, "2026-01-03T00:00:00.000Z"),
)
CHANGES = ("note", "moved", "receipts", "proof", "trust")
FALSE = ("ahead", "other root", "other log", "other key", "bit", "line gone", "line twice", "line cut", "empty")


def head(draw: Random, log: Log, size: int, how: str) -> bytes:
    """The log's checkpoint of that size, by whom it was cosigned, and what is wrong with it."""
    other = {"other key": "nobody", "first key": f"{log.deployment.name} log"}
    signer = key(other[how], Purpose.LOG) if how in other else log.deployment.log
    origin = log.deployment.origin + ("x" if how == "other log" else "")
    size, tree = size + (how == "ahead"), leaf_hash(b"x") if how == "other root" else log.root(size)
    note = checkpoint.sign(origin, size, tree, signer)
    who = draw.sample(NAMES, draw.randrange(len(NAMES) + 1))
    lines = [cosign(note, f"{name}.example", key(name, Purpose.WITNESS), draw.choice(TIMES)) for name in who]
    if how == "empty":
        return b""
    if how == "bit":
        return flipped_somewhere(draw, note.note + b"".join(lines))
    if lines and how.startswith("line"):
        at = draw.randrange(len(lines))
        lines[at : at + 1] = {"line gone": [], "line twice": [lines[at]] * 2, "line cut": [lines[at][:-13] + b"=\n"]}[how]
    return note.note + b"".join(lines)


def any_head(draw: Random, log: Log) -> tuple[str, bytes]:
    how = draw.choice((*("true",) * 10, "older", "first key", "first key", *FALSE))
    size = draw.randrange(len(log.lines) + 1) if how == "older" or draw.random() < 0.2 else len(log.lines)
    return f"{how} at {size}", head(draw, log, size, how)


def seen(draw: Random, log: Log, trust: Sequence[bytes]) -> Mutant | None:
    """The log or a part of it, with heads and something that was done to them, before a verifier that asks for much."""
    what, note = any_head(draw, log)
    try:
        data = _part(draw, log, note) if draw.random() < 0.5 else log.pack(draw.random() < 0.5, note)
    except EvidenceError:
        return None  # a head that is none, or a line that is no receipt: nobody could write that
    files = {**pack.read(data), pack.TRUST: pack.joined(trust)}
    for _ in range(draw.choice((0, 0, 1, 2))):
        if pack.INCLUSION not in files or draw.random() < 0.03:
            how, earlier = any_head(draw, log)
            named = draw.choice((*_sizes(earlier) * 9, draw.randrange(len(log.lines) + 2)))
            files[f"cosigned/{named}.txt"] = earlier
            what += f", cosigned {named}: {how}"
    for how in draw.sample(CHANGES, draw.choice((0, 1, 1, 2))):
        what += ", " + _changed(draw, files, how)
    manifest = pack.Manifest.from_bytes(files[pack.MANIFEST])
    other = {"size": max(0, manifest.size + draw.choice((-1, 1, 2)))} if draw.random() < 0.08 else {}
    return Mutant(f"{what}, {other}", question(draw, log, repack(files, relist=draw.random() < 0.95, **other)))


def question(draw: Random, log: Log, data: bytes) -> Made:
    """The question of somebody who has read the manual."""
    pinned = draw.choice((log.genesis,) * 9 + (None,))
    known = any_head(draw, log)[1] if draw.random() < 0.5 else None
    policy = draw.choice((*POLICIES, None))
    age = draw.choice(AGES) if draw.random() < 0.4 else None
    return Made(data, pinned, known, draw.random() < 0.3, policy, age)


def _part(draw: Random, log: Log, note: bytes) -> bytes:
    size = len(log.lines)
    return log.part(*sorted(draw.sample(range(size), draw.randrange(1, size + 1))), withhold=draw.random() < 0.5, note=note)


def _sizes(note: bytes) -> tuple[int, ...]:
    try:
        return (checkpoint.Checkpoint.from_bytes(note).size,)
    except EvidenceError:
        return ()


def _changed(draw: Random, files: dict[str, bytes], how: str) -> str:
    """One thing that is done to these entries; says which one it was done to."""
    earlier = [name for name in files if name.startswith("cosigned/")]
    named = {"receipts": pack.RECEIPTS, "trust": pack.TRUST, "proof": pack.INCLUSION}
    name = named.get(how) or draw.choice([*earlier, pack.CHECKPOINT])
    if how == "receipts":
        files[name] = pack.joined(_lines(draw, pack.lines(files[name])))
    elif how == "trust":
        files[name] = pack.joined(pack.lines(files[name])[:-1])
    elif how == "note":
        files[name] = flipped_somewhere(draw, files[name])
    elif how == "moved":
        files[name] = files[draw.choice([*earlier, pack.CHECKPOINT])]
    elif name not in files:  # a whole log is a part of itself
        files[name] = Inclusion(((0, len(pack.lines(files[pack.RECEIPTS]))),), ()).to_bytes()
        for one in earlier if draw.random() < 0.9 else ():
            del files[one]
    elif draw.random() < 0.1:
        del files[name]
    else:
        files[name] = edited(draw, files[name]) + (b" " if draw.random() < 0.05 else b"")
    return f"{how} {name}"


def _lines(draw: Random, lines: list[bytes]) -> list[bytes]:
    if lines:
        at, to = draw.randrange(len(lines)), draw.randrange(len(lines))
        how = draw.choice(("gone", "doubled", "swapped", "bit"))
        if how == "gone":
            del lines[at]
        elif how == "doubled":
            lines.insert(to, lines[at])
        elif how == "swapped":
            lines[at], lines[to] = lines[to], lines[at]
        else:
            lines[at] = flipped_somewhere(draw, lines[at])
    return lines
