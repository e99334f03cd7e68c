"""Cases about those who saw the log: cosigned heads, quorums, ages, and stolen keys that they tell apart (V5, V8, V16, V17).

Also the heads of another log that a new one names where it takes its place.
"""

from dataclasses import replace

from helm_ai_kernel.tcb import checkpoint, pack
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.cosign import cosign
from helm_ai_kernel.tcb.digest import text
from helm_ai_kernel.tcb.envelope import seal
from helm_ai_kernel.tcb.events import End
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.keys import Purpose
from pack_case import Made, case, of
from pack_cases_trust import SECOND_LOG, again, before, rotated
from packs import Deployment, Log, key, policy, relined, repack, seed, short

FIRST, LATER = 1_767_400_000, 1_767_500_000  # 2026-01-03, 2026-01-04
BETWEEN, NOW = "2026-01-03T12:00:00.000Z", "2026-01-04T05:00:00.000Z"
TWO_OF_THREE = policy(2, "ann", "ben", "cem")


def seen(log: Log, *witnesses: tuple[str, int], cosigned: tuple[bytes, ...] = (), asked: bytes = TWO_OF_THREE) -> Made:
    """The pack under a head that these cosigned; the verifier asks for a quorum."""
    return of(log, log.pack(note=log.cosigned(*witnesses), cosigned=cosigned), witnesses=asked)


# quorums


@case(Exit.VALID)
def witnessed() -> Made:
    """Two of three witnesses cosigned the head, and two are asked for."""
    return seen(short(), ("ann", FIRST), ("cem", LATER))


@case(Exit.VALID)
def witnessed_beside_an_odd_name() -> Made:
    """A line of somebody whose name has characters that no screen shows: C2SP takes it, and it proves nothing."""
    log = short()
    odd = checkpoint.signature_line("odd\x7f\x9f", bytes(76)).encode()
    return of(log, log.pack(note=log.cosigned(("ann", FIRST), ("ben", FIRST)) + odd), witnesses=TWO_OF_THREE)


@case(Exit.VALID)
def witnessed_and_nobody_asks() -> Made:
    """Cosignatures prove nothing to a verifier that was given no policy, and do no harm."""
    made = seen(short(), ("ann", FIRST), ("ben", LATER))
    return Made(made.pack, made.genesis)


@case(Exit.VALID)
def part_witnessed() -> Made:
    """A part of a log whose head a quorum cosigned."""
    log = short()
    return of(log, log.part(3, 4, note=log.cosigned(("ann", FIRST), ("ben", FIRST))), witnesses=TWO_OF_THREE)


@case(Exit.UNWITNESSED, Finding.WITNESS_QUORUM)
def witnessed_by_too_few() -> Made:
    """One witness cosigned, and two are asked for."""
    return seen(short(), ("ann", FIRST))


@case(Exit.UNWITNESSED, Finding.WITNESS_QUORUM)
def witnessed_by_others() -> Made:
    """Two cosigned, and one of them is nobody whom the verifier believes."""
    return seen(short(), ("ann", FIRST), ("mallet", FIRST))


@case(Exit.UNWITNESSED, Finding.WITNESS_QUORUM)
def witnessed_up_to_here_only() -> Made:
    """A quorum cosigned an earlier head, and nobody the one of this pack."""
    log = short()
    return of(log, log.pack(cosigned=[log.cosigned(("ann", FIRST), ("ben", FIRST), size=3)]), witnesses=TWO_OF_THREE)


@case(Exit.INVALID, Finding.CHECKPOINT_SIG, Finding.WITNESS_QUORUM)
def cosignature_of_another_head() -> Made:
    """A witness's line from another checkpoint was put under this one."""
    log = short()
    stolen = log.cosigned(("ben", FIRST), size=3).splitlines(keepends=True)[-1]
    return of(log, log.pack(note=log.cosigned(("ann", FIRST)) + stolen), witnesses=TWO_OF_THREE)


@case(Exit.INVALID, Finding.CHECKPOINT_SIG, Finding.WITNESS_QUORUM)
def cosigned_twice_by_one() -> Made:
    """One witness's line stands there twice, with two times."""
    return seen(short(), ("ann", FIRST), ("ann", LATER))


@case(Exit.INVALID, Finding.CHECKPOINT_SIG, Finding.WITNESS_QUORUM)
def cosigned_at_no_time() -> Made:
    """A time beyond the year 9999."""
    log = short()
    line = log.cosigned(("ann", FIRST), ("ben", FIRST)).decode().splitlines()[-1]
    name, encoded = line.removeprefix("\N{EM DASH} ").split(" ")
    raw = checkpoint._base64(encoded)
    far = raw[:4] + (1 << 60).to_bytes(8, "big") + raw[12:]
    note = log.cosigned(("ann", FIRST)) + checkpoint.signature_line(name, far).encode()
    return of(log, log.pack(note=note), witnesses=TWO_OF_THREE)


# cosigned heads


@case(Exit.VALID)
def cosigned_heads() -> Made:
    """The pack carries earlier heads, one of them of its own size."""
    log = short()
    earlier = (log.cosigned(("ann", FIRST), size=3), log.cosigned(("ben", FIRST)))
    return seen(log, ("ann", LATER), ("ben", LATER), cosigned=earlier)


@case(Exit.INVALID, Finding.INCLUSION_FAIL)
def cosigned_head_of_another_history() -> Made:
    """An earlier head has a root that the log did not have: an insider's."""
    log = short()
    other = checkpoint.sign(log.deployment.origin, 3, seed("root"), log.deployment.log).note
    return of(log, log.pack(cosigned=[other]))


@case(Exit.INVALID, Finding.INCLUSION_FAIL)
def cosigned_head_beyond_the_end() -> Made:
    """A head that witnesses saw is larger than the pack: receipts were cut off."""
    log = short()
    end = log.checkpoint(5)
    files = dict(pack.read(log.pack(cosigned=[log.cosigned(("ann", FIRST))])))
    del log.lines[5:]
    shorter = dict(pack.read(log.pack(note=end)))
    shorter["cosigned/6.txt"] = files["cosigned/6.txt"]
    return of(log, repack(shorter))


@case(Exit.INVALID, Finding.CHECKPOINT_SIG)
def cosigned_head_misnamed() -> Made:
    """A head of size 3 under the name of size 4."""
    log = short()
    return of(log, repack({**log.files(), "cosigned/4.txt": log.checkpoint(3)}))


@case(Exit.INVALID, Finding.CHECKPOINT_SIG, Finding.INCLUSION_FAIL)
def cosigned_head_misnamed_of_another_history() -> Made:
    """A head under the name of another size is compared all the same: an insider's."""
    log = short()
    other = checkpoint.sign(log.deployment.origin, 3, seed("root"), log.deployment.log).note
    return of(log, repack({**log.files(), "cosigned/4.txt": other}))


@case(Exit.INVALID, Finding.INCLUSION_FAIL, Finding.KEY_UNKNOWN)
def cosigned_head_of_another_history_by_nobody_known() -> Made:
    """Nobody can say who signed it, and its root is compared: that needs no registry."""
    log = short()
    other = checkpoint.sign(log.deployment.origin, 3, seed("root"), log.deployment.log).note
    return Made(log.pack(cosigned=[other]), text(seed("another genesis")))


@case(Exit.INVALID, Finding.CHECKPOINT_SIG)
def cosigned_head_by_a_stranger() -> Made:
    """No key of this log signed an earlier head."""
    log = short()
    return of(log, log.pack(cosigned=[log.cosigned(("ann", FIRST), size=3, log=key("mallet", Purpose.LOG))]))


@case(Exit.INVALID, Finding.DOMAIN_MISMATCH)
def cosigned_head_of_another_log() -> Made:
    """An earlier head is of another log."""
    log, other = short(), short_of("other")
    return of(log, log.pack(cosigned=[other.cosigned(("ann", FIRST), size=3)]))


def short_of(name: str) -> Log:
    log = Log(Deployment(name))
    log.start_kernel()
    log.activate()
    log.start()
    return log


# known heads


@case(Exit.USAGE, Finding.CHECKPOINT_SIG)
def known_head_with_a_cosignature_that_lies() -> Made:
    """The head that the verifier kept has two lines of one witness."""
    log = short()
    kept = log.cosigned(("ann", FIRST), ("ann", LATER))
    return replace(seen(log, ("ann", FIRST), ("ben", FIRST)), known_head=kept)


@case(Exit.USAGE, Finding.CHECKPOINT_SIG, Finding.SPLIT_VIEW)
def known_head_of_another_history_with_a_cosignature_that_lies() -> Made:
    """The log signed it, whatever its witnesses did: it is compared."""
    log = short()
    other = checkpoint.sign(log.deployment.origin, 3, seed("root"), log.deployment.log)
    lines = [cosign(other, "ann.example", key("ann", Purpose.WITNESS), time) for time in (FIRST, LATER)]
    return replace(seen(log, ("ann", FIRST), ("ben", FIRST)), known_head=other.note + b"".join(lines))


@case(Exit.USAGE, Finding.CHECKPOINT_SIG, Finding.DOMAIN_MISMATCH)
def known_head_of_another_log_with_a_cosignature_that_lies() -> Made:
    """Its witnesses are asked about it also where it is of another log."""
    kept = short_of("other").cosigned(("ann", FIRST), ("ann", LATER))
    return replace(seen(short(), ("ann", FIRST), ("ben", FIRST)), known_head=kept)


# ages


@case(Exit.VALID)
def fresh() -> Made:
    """A quorum cosigned within the age that is asked for."""
    made = seen(short(), ("ann", FIRST), ("ben", LATER), ("cem", LATER))
    return Made(made.pack, made.genesis, witnesses=made.witnesses, max_age=(3600 * 24, NOW))


@case(Exit.STALE, Finding.STALE)
def stale() -> Made:
    """Only one of the two that are asked for cosigned lately."""
    made = seen(short(), ("ann", FIRST), ("ben", LATER))
    return Made(made.pack, made.genesis, witnesses=made.witnesses, max_age=(3600, NOW))


@case(Exit.STALE, Finding.STALE, Finding.WITNESS_QUORUM)
def stale_and_unwitnessed() -> Made:
    """Nobody cosigned: nothing that the verifier believes tells how old this is."""
    return of(short(), witnesses=TWO_OF_THREE, max_age=(3600, "2026-01-02T03:04:06.000Z"))


@case(Exit.VALID)
def fresh_by_the_operators_word() -> Made:
    """The last receipt says that it is a second old; no policy is given."""
    return of(short(), max_age=(1, "2026-01-02T03:04:06.678Z"))


@case(Exit.STALE, Finding.STALE)
def stale_by_the_operators_word() -> Made:
    """The last receipt says that it is a second and a millisecond old."""
    return of(short(), max_age=(1, "2026-01-02T03:04:06.679Z"))


# stolen keys


def stolen(log: Log, since: str = BETWEEN) -> Log:
    """The execution key in use is replaced, and known to be stolen since then."""
    old = log.deployment.execution
    rotated(log)
    log.deployment.revoke(old, End.COMPROMISE, since)
    return log


@case(Exit.VALID)
def stolen_key_that_witnesses_saw_before() -> Made:
    """A quorum saw all that the key signed before it was stolen; the log goes on with another key."""
    log = before()
    earlier = log.cosigned(("ann", FIRST), ("ben", FIRST))
    stolen(log)
    again(log)
    return seen(log, ("ann", LATER), ("ben", LATER), cosigned=(earlier,))


@case(Exit.INVALID, Finding.INCLUSION_FAIL, Finding.MANIFEST_MISMATCH)
def stolen_key_in_a_part_of_more_than_witnesses_saw() -> Made:
    """The head is smaller than the part says: what witnesses saw of it counts for all that is in the part."""
    log = before()
    head = log.cosigned(("ann", FIRST), ("ben", FIRST), size=3)
    files = {**pack.read(log.part(3, 4)), pack.CHECKPOINT: head}
    stolen(log)
    files[pack.TRUST] = pack.joined(log.deployment.registry.lines)
    return of(log, repack(files), witnesses=TWO_OF_THREE)


@case(Exit.INVALID, Finding.KEY_COMPROMISED_UNANCHORED)
def stolen_key_that_witnesses_saw_later() -> Made:
    """The quorum was there only after the theft."""
    log = before()
    earlier = log.cosigned(("ann", FIRST), ("ben", LATER))
    stolen(log)
    again(log)
    return seen(log, ("ann", LATER), ("ben", LATER), cosigned=(earlier,))


@case(Exit.INVALID, Finding.KEY_COMPROMISED_UNANCHORED)
def stolen_key_and_nobody_asks() -> Made:
    """Without a policy nobody saw anything."""
    made = stolen_key_that_witnesses_saw_before()
    return Made(made.pack, made.genesis)


@case(Exit.INVALID, Finding.KEY_COMPROMISED_UNANCHORED)
def stolen_key_behind_what_witnesses_saw() -> Made:
    """The thief's receipts look old, and stand behind the last head that was seen before the theft."""
    log = short()
    earlier = log.cosigned(("ann", FIRST), ("ben", FIRST))
    log.end(log.kernel)
    stolen(log)
    again(log)
    return seen(log, ("ann", LATER), ("ben", LATER), cosigned=(earlier,))


@case(Exit.VALID)
def stolen_log_key_that_witnesses_saw_before() -> Made:
    """The head of the pack is by a log key that was stolen later."""
    log = before()
    note = log.cosigned(("ann", FIRST), ("ben", FIRST))
    log.deployment.rotate(log.deployment.log, SECOND_LOG)
    log.deployment.revoke(log.deployment.log, End.COMPROMISE, BETWEEN)
    return of(log, log.pack(note=note), witnesses=TWO_OF_THREE)


@case(Exit.INVALID, Finding.KEY_COMPROMISED_UNANCHORED)
def stolen_log_key_that_witnesses_saw_later() -> Made:
    """The head of the pack is by a log key that was stolen before anybody saw it."""
    log = before()
    note = log.cosigned(("ann", LATER), ("ben", LATER))
    log.deployment.rotate(log.deployment.log, SECOND_LOG)
    log.deployment.revoke(log.deployment.log, End.COMPROMISE, BETWEEN)
    return of(log, log.pack(note=note), witnesses=TWO_OF_THREE)


@case(Exit.VALID)
def cosigned_head_by_a_log_key_that_was_stolen_later() -> Made:
    """Each head by its own time: an earlier one by the stolen key was seen before, that of the pack by the new key later."""
    log = before()
    earlier = log.cosigned(("ann", FIRST), ("ben", FIRST))
    new_log_key(log)
    again(log)
    return seen(log, ("ann", LATER), ("ben", LATER), cosigned=(earlier,))


@case(Exit.INVALID, Finding.KEY_COMPROMISED_UNANCHORED)
def cosigned_head_by_a_log_key_that_was_stolen_before() -> Made:
    """The earlier head was seen only after the theft of the key that signed it, whenever the pack's own was."""
    log = before()
    earlier = log.cosigned(("ann", LATER), ("ben", LATER))
    new_log_key(log)
    again(log)
    return seen(log, ("ann", FIRST), ("ben", FIRST), cosigned=(earlier,))


@case(Exit.VALID)
def known_head_by_a_log_key_that_was_stolen_later() -> Made:
    """What the verifier kept itself needs no witness: it is compared, whatever became of the key."""
    log = before()
    kept = log.checkpoint()
    new_log_key(log)
    again(log)
    return of(log, known_head=kept)


def new_log_key(log: Log) -> None:
    """The log key in use is replaced, and known to be stolen since then."""
    old = log.deployment.log
    log.deployment.rotate(old, SECOND_LOG)
    log.deployment.log = SECOND_LOG
    log.deployment.revoke(old, End.COMPROMISE, BETWEEN)


# a log in the place of another


def elsewhere(*heads: str) -> Log:
    """The first process of a new log, which names the heads of another one of the deployment."""
    log = Log()
    log.start_kernel()
    log.recover(0, heads=heads)
    return log


def left(size: int, signer: str = "left log") -> str:
    """A head of a log that ended, whose key `with_left` enrols."""
    deployment = Deployment()
    origin = f"{deployment.registry.deployment}/{'0' * 32}"
    return checkpoint.sign(origin, size, seed(f"root {size}"), key(signer, Purpose.LOG)).note.decode()


def with_left(log: Log) -> Made:
    """The registry names the key of the log that ended, also."""
    origin = f"{log.deployment.registry.deployment}/{'0' * 32}"
    log.deployment.enrol(key("left log", Purpose.LOG), "kernel", origin)
    return of(log)


@case(Exit.VALID)
def log_goes_on_elsewhere() -> Made:
    """Both heads of the log that ended are named, the found one and the kept one."""
    return with_left(elsewhere(left(3), left(7)))


@case(Exit.INVALID, Finding.CHECKPOINT_SIG)
def left_head_by_a_stranger() -> Made:
    """Nobody whom the registry names signed the head of the log that ended."""
    return with_left(elsewhere(left(3, "mallet")))


@case(Exit.INVALID, Finding.CHECKPOINT_SIG)
def left_head_that_is_none() -> Made:
    """What the recovery names is no checkpoint."""
    return with_left(elsewhere("size 3\n"))


@case(Exit.INVALID, Finding.DOMAIN_MISMATCH)
def left_head_of_the_same_log() -> Made:
    """A log does not go on in its own place."""
    return with_left(elsewhere(short().checkpoint(1).decode()))


@case(Exit.INVALID, Finding.DOMAIN_MISMATCH)
def left_head_of_another_deployment() -> Made:
    """A head of somebody else's log."""
    return with_left(elsewhere(short_of("other").checkpoint().decode()))


@case(Exit.INVALID, Finding.DOMAIN_MISMATCH, Finding.KEY_UNKNOWN)
def left_head_of_the_same_log_by_nobody_known() -> Made:
    """Nobody can say who signed it; that it is of this log needs no registry."""
    return replace(with_left(elsewhere(short().checkpoint(1).decode())), genesis=text(seed("another genesis")))


@case(Exit.INVALID, Finding.CHECKPOINT_SIG)
def left_head_by_a_stranger_and_another_root() -> Made:
    """Of a recovery the first fault counts: the heads come before the root that it states."""
    log = Log()
    log.start_kernel()
    log.recover(0, heads=[left(3, "mallet")], change=lambda body: body.update(root=text(seed("root"))))
    return with_left(log)


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def left_head_named_twice() -> Made:
    """One head, twice."""
    log = elsewhere(left(3))
    twice = seal({**log.receipts[1].body, "heads": [left(3), left(3)]}, [log.deployment.execution]).line
    return of(log, relined(log, [log.lines[0], twice]))
