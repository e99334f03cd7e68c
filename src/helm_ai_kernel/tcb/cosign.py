"""What witnesses say of a checkpoint, and which of them are enough: a second history must fool all who would have to agree to it.

A cosignature says: at this time this was the largest tree of that log that I had seen, and every earlier one is a part of it.
The bytes are those of C2SP: tlog-cosignature (Ed25519), tlog-policy, verifier keys of signed-note (`docs/spec/witness.md`).
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from .checkpoint import KEY_HASH_BYTES, NAME, SIGS_MAX, TYPES, Checkpoint, key_hash, signature_line
from .codes import Finding, Reason
from .errors import EvidenceError, Refused
from .keys import RAW_BYTES, SIG_BYTES, PublicKey, Purpose, Signer

POLICY_BYTES_MAX = 1 << 16  # 63 witnesses and 64 groups, with names of 256 characters and room for comments
WITNESSES_MAX = SIGS_MAX - 1  # all of them fit into one note, beside the log's own line; C2SP asks for 32
LISTED_MAX = 64  # groups and logs each; C2SP asks for 32
TIME_MAX = 253_402_300_799  # the last second of the year 9999: RFC 3339 has no later one

_TIME_BYTES = 8
_BLANKS = re.compile(r"[ \t]+")
_UNSIGNABLE = re.compile("[\x00-\x1f\ud800-\udfff]")  # what no note can have in a name
_CONTROLS = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_COUNT = re.compile(r"[1-9][0-9]{0,2}\Z")  # a group has at most all witnesses and groups as its members
_NONE = "none"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A name and a key, in one line: `<name>+<hash>+<base64>`; the key's purpose is its type, `log` or `witness`."""

    name: str
    key: PublicKey

    @classmethod
    def from_text(cls, text: str) -> "VerifierKey":
        """Raises `EvidenceError`: KEY_WEAK for a key that nobody should believe, otherwise UNSUPPORTED or PACK_MALFORMED."""
        parts = text.split("+", 2)  # the last part may have more of them: it is base64
        if len(parts) != 3 or not NAME.match(parts[0]) or _UNSIGNABLE.search(parts[0]):
            raise _malformed("a verifier key is a name, a hash and a key, with `+` between")
        try:
            data = base64.b64decode(parts[2], validate=True)
        except (binascii.Error, ValueError):
            raise _malformed("the key of a verifier key is not base64") from None
        purpose = next((purpose for purpose, kind in TYPES.items() if data[:1] == kind), None)
        if purpose is None:
            raise EvidenceError(Finding.UNSUPPORTED, "the type of a verifier key is neither 0x01 (log) nor 0x04 (witness)")
        if len(data) != 1 + RAW_BYTES:
            raise _malformed("an Ed25519 key has 32 bytes")
        found = cls(parts[0], PublicKey.register(data[1:], purpose))
        if str(found) != text:
            raise _malformed("the verifier key is not the one form of what it says, or its hash is another's")
        return found

    @property
    def hash(self) -> bytes:
        """How a signature line names it."""
        return key_hash(self.name, self.key)

    def __str__(self) -> str:
        data = base64.b64encode(TYPES[self.key.purpose] + self.key.raw).decode()
        return f"{self.name}+{self.hash.hex()}+{data}"


def cosign(checkpoint: Checkpoint, name: str, signer: Signer, timestamp: int) -> bytes:
    """One signature line. That this is the largest consistent tree seen by `timestamp` (seconds) is the caller's to know."""
    if signer.public.purpose is not Purpose.WITNESS or not NAME.match(name) or not 0 < timestamp <= TIME_MAX:
        raise ValueError("a cosignature is by a named witness key, at a time")
    sig = signer.sign(_message(checkpoint, timestamp))
    if len(sig) != SIG_BYTES:
        raise ValueError("an Ed25519 signature has 64 bytes")
    stamped = VerifierKey(name, signer.public).hash + timestamp.to_bytes(_TIME_BYTES, "big") + sig
    return signature_line(name, stamped).encode()


def cosigned_at(checkpoint: Checkpoint, witness: VerifierKey) -> int | None:
    """When that witness cosigned this, in seconds; None where it did not. A line that lies is `EvidenceError(CHECKPOINT_SIG)`."""
    mine = checkpoint.lines_of(witness.name, witness.hash)
    if not mine:
        return None
    stamp, sig = mine[0][KEY_HASH_BYTES:][:_TIME_BYTES], mine[0][KEY_HASH_BYTES + _TIME_BYTES :]
    timestamp = int.from_bytes(stamp, "big")
    if len(mine) != 1:
        raise _wrong(f"witness `{witness.name}` cosigned {len(mine)} times, not once")
    if not 0 < timestamp <= TIME_MAX:
        raise _wrong(f"the cosignature of witness `{witness.name}` has no time before the year 10000")
    try:
        witness.key.verify(_message(checkpoint, timestamp), sig)
    except EvidenceError as error:
        raise _wrong(f"the cosignature of witness `{witness.name}`: {error.detail}") from None
    return timestamp


@dataclass(frozen=True, slots=True)
class Witness:
    """One that is listed: `label` is its name within the policy, `url` the prefix of its `add-checkpoint` (or nothing)."""

    label: str
    vkey: VerifierKey
    url: str


@dataclass(frozen=True, slots=True)
class WitnessPolicy:
    """Whose cosignatures count, and how many. `groups` are (label, threshold, members), each after its members."""

    logs: tuple[VerifierKey, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[tuple[str, int, tuple[str, ...]], ...]
    quorum: str

    @classmethod
    def from_bytes(cls, data: bytes) -> "WitnessPolicy":
        """A C2SP tlog-policy that has a quorum; raises `Refused(ERR_POLICY_NOT_READY)` with the number of the line."""
        reader = _Reader()
        for number, words in _lines(data):
            reader.read(number, words)
        if not reader.quorum:
            raise _refused(0, "there is no `quorum` line")
        return cls(tuple(reader.logs), tuple(reader.witnesses), tuple(reader.groups), reader.quorum)

    def seen(self, checkpoint: Checkpoint) -> dict[str, int]:
        """When each listed witness that cosigned this did so (label to seconds). Lines of nobody listed prove nothing.

        Raises `EvidenceError(CHECKPOINT_SIG)` where a line in a listed witness's name does not verify, or is there twice.
        """
        times = ((witness.label, cosigned_at(checkpoint, witness.vkey)) for witness in self.witnesses)
        return {label: time for label, time in times if time is not None}

    def since(self, seen: Mapping[str, int]) -> str | None:
        """The earliest time (RFC 3339) by which a quorum had cosigned; None where none has."""
        reached = self._reached(seen, latest=False)
        return None if reached is None else rfc3339(reached)

    def until(self, seen: Mapping[str, int]) -> str | None:
        """The latest time at or after which a quorum cosigned; None where none has."""
        reached = self._reached(seen, latest=True)
        return None if reached is None else rfc3339(reached)

    def _reached(self, seen: Mapping[str, int], *, latest: bool) -> int | None:
        """A group has the time of the member that completes its threshold, counted from the first or from the last."""
        times = dict(seen)
        for label, threshold, members in self.groups:
            reached = sorted((times[member] for member in members if member in times), reverse=latest)
            if len(reached) >= threshold:
                times[label] = reached[threshold - 1]
        return times.get(self.quorum)


def rfc3339(seconds: int) -> str:
    """The time of a cosignature as records have it."""
    return (datetime(1970, 1, 1) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds") + "Z"


def log_keys(data: bytes) -> tuple[VerifierKey, ...]:
    """The logs of a file in the form of a policy; what else it says is for others. Raises as `WitnessPolicy.from_bytes`."""
    reader = _Reader()
    for number, words in _lines(data):
        if words[0] == "log":
            reader.read(number, words)
    return tuple(reader.logs)


def _lines(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """The words of each line that says something; those are text, where a comment can have any bytes."""
    if len(data) > POLICY_BYTES_MAX:
        raise _refused(0, f"it has more than {POLICY_BYTES_MAX} bytes")
    for number, line in enumerate(data.split(b"\n"), 1):
        if _CONTROLS.search(line):
            raise _refused(number, "a control character")
        said = line.strip(b" \t")
        if not said or said.startswith(b"#"):
            continue
        try:
            yield number, _BLANKS.split(said.decode())
        except UnicodeDecodeError:
            raise _refused(number, "it is not UTF-8") from None


class _Reader:
    """What the lines said so far."""

    def __init__(self) -> None:
        self.logs: list[VerifierKey] = []
        self.witnesses: list[Witness] = []
        self.groups: list[tuple[str, int, tuple[str, ...]]] = []
        self.quorum = ""
        self._free: dict[str, bool] = {}  # by label: whether it is in no group yet
        self._keys: set[bytes] = set()

    def read(self, number: int, words: list[str]) -> None:
        match words:
            case ["log", vkey] | ["log", vkey, _]:
                self.logs.append(self._vkey(number, vkey, Purpose.LOG, len(self.logs)))
            case ["witness", label, vkey, *url] if len(url) <= 1:
                self._define(number, label)
                key = self._vkey(number, vkey, Purpose.WITNESS, len(self.witnesses))
                self.witnesses.append(Witness(label, key, "".join(url)))
            case ["group", label, threshold, *members] if members:
                self._group(number, label, threshold, members)
            case ["quorum", label]:
                self._quorum(number, label)
            case _:
                raise _refused(number, f"`{_shown(words[0])}` is not a line of a policy, or has too few or too many words")

    def _vkey(self, number: int, text: str, purpose: Purpose, count: int) -> VerifierKey:
        try:
            vkey = VerifierKey.from_text(text)
        except EvidenceError as error:
            raise _refused(number, error.detail) from None
        if vkey.key.purpose is not purpose:
            raise _refused(number, f"the key of `{_shown(vkey.name)}` is of a {vkey.key.purpose}, not of a {purpose}")
        if vkey.key.raw in self._keys:
            raise _refused(number, f"the key of `{_shown(vkey.name)}` is there twice")
        most = WITNESSES_MAX if purpose is Purpose.WITNESS else LISTED_MAX
        if count >= most:
            raise _refused(number, f"there are more than {most}")
        self._keys.add(vkey.key.raw)
        return vkey

    def _define(self, number: int, label: str) -> None:
        if label == _NONE or label in self._free:
            raise _refused(number, f"the name `{_shown(label)}` is taken")
        self._free[label] = True

    def _group(self, number: int, label: str, threshold: str, members: list[str]) -> None:
        for member in members:
            if not self._free.get(member, False):
                raise _refused(number, f"`{_shown(member)}` is no witness or group of a line before, or is in a group already")
            self._free[member] = False
        self._define(number, label)
        known = {"any": 1, "all": len(members)}
        count = known.get(threshold) or (int(threshold) if _COUNT.match(threshold) else 0)
        if not 1 <= count <= len(members):
            raise _refused(number, f"`{_shown(threshold)}` is not `any`, `all` or a number from 1 to {len(members)}")
        if len(self.groups) >= LISTED_MAX:
            raise _refused(number, f"there are more than {LISTED_MAX}")
        self.groups.append((label, count, tuple(members)))

    def _quorum(self, number: int, label: str) -> None:
        if self.quorum:
            raise _refused(number, "a second `quorum` line")
        if label == _NONE:
            raise _refused(number, "`quorum none` asks nobody, and so proves nothing: name a witness or a group")
        if label not in self._free:
            raise _refused(number, f"`{_shown(label)}` is no witness or group of a line before")
        self.quorum = label


def _message(checkpoint: Checkpoint, timestamp: int) -> bytes:
    """What is signed: neither a checkpoint nor a record begins like this."""
    return b"cosignature/v1\ntime %d\n" % timestamp + checkpoint.text


def _shown(word: str) -> str:
    return word[:64].encode("ascii", "backslashreplace").decode()


def _refused(number: int, cause: str) -> Refused:
    where = f"line {number}: " if number else ""
    return Refused(Reason.ERR_POLICY_NOT_READY, f"witness policy: {where}{cause}", hint="correct the file: docs/spec/witness.md")


def _malformed(detail: str) -> EvidenceError:
    return EvidenceError(Finding.PACK_MALFORMED, detail)


def _wrong(detail: str) -> EvidenceError:
    return EvidenceError(Finding.CHECKPOINT_SIG, detail)
