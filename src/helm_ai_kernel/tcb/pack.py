"""The evidence pack: one file with everything that a verifier needs, and one byte string for one content.

The container is a ustar file whose every byte follows from the names and contents of its entries. Reading never extracts:
each header is built again from what was read and compared, so that links, paths that climb, devices, extensions, trailing
data and second versions of an entry have no form here (`docs/spec/pack.md`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from . import fields
from .checkpoint import Checkpoint
from .codes import Finding
from .digest import PREFIX, Digest, digest
from .digest import text as digest_text
from .envelope import Record
from .errors import EvidenceError
from .ijson import Json, parse_evidence
from .jcs import canonical
from .receipt import Kind, Receipt
from .statement import Statement

PACK_BYTES_MAX = 1 << 31  # a pack is read into memory whole; beyond two million receipts export a part
MANIFEST_BYTES_MAX = 1 << 28  # 150 bytes for each entry, and no pack within the bound has more than 1.8 million
POLICY_BYTES_MAX = 1 << 20  # a policy's manifest: one digest for each of its files

MANIFEST = "manifest.json"
RECEIPTS = "receipts.jsonl"
CHECKPOINT = "checkpoint.txt"
TRUST = "trust.jsonl"
FIXED = frozenset({MANIFEST, RECEIPTS, CHECKPOINT, TRUST})

_BLOCK = 512
_END = bytes(2 * _BLOCK)
_HEX = "[0-9a-f]{64}"
_PART = "[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"  # of a policy file's name: no dots in front, no spaces, nothing that a shell reads
_NAME = re.compile(
    rf"(?:manifest\.json|receipts\.jsonl|checkpoint\.txt|trust\.jsonl|attachments/{_HEX}|catalog/{_HEX}\.json"
    rf"|policy/{_HEX}/{_PART}(?:/{_PART}){{0,3}})\Z"
)
_NAME_BYTES = 100  # ustar: a longer name is split at a `/` over two fields
_SIZE = re.compile(rb"[0-7]{11}\x00\Z")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the pack says that it is. Nothing here is believed: each field is compared with what is there."""

    log: str
    size: int
    root: Digest
    files: Mapping[str, Digest]  # every other entry
    withheld: tuple[Digest, ...]  # attachments that receipts name and the pack does not hold, sorted

    @classmethod
    def from_bytes(cls, data: bytes) -> "Manifest":
        """Raises `EvidenceError`: PACK_MALFORMED, NON_CANONICAL or UNSUPPORTED."""
        value = parse_evidence(data, bytes_max=MANIFEST_BYTES_MAX)
        if type(value) is dict and (value.get("v") != 1 or type(value.get("v")) is not int or value.get("kind") != "pack"):
            raise EvidenceError(Finding.UNSUPPORTED, "this verifier reads packs of version 1 only")
        if canonical(value) != data:
            raise EvidenceError(Finding.NON_CANONICAL, "the manifest is not the canonical form of what it says")
        body = fields.exact(value, {"v", "kind", "log", "size", "root", "files", "withheld"})
        listed = fields.typed(body, "files", dict)
        withheld = fields.strings(body, "withheld")
        return cls(
            log=fields.text(body, "log", bytes_max=256),
            size=fields.count(body, "size"),
            root=fields.digest(body, "root"),
            files={name: fields.digest(listed, name) for name in listed},
            withheld=tuple(fields.digest({"withheld": name}, "withheld") for name in withheld),
        )

    def to_bytes(self) -> bytes:
        body: dict[str, Json] = {"v": 1, "kind": "pack", "log": self.log, "size": self.size, "root": self.root}
        return canonical({**body, "files": dict(self.files), "withheld": list(self.withheld)})

    def check(self, files: Mapping[str, bytes]) -> None:
        """The manifest lists exactly these entries; raises `EvidenceError(MANIFEST_MISMATCH)`."""
        there = files.keys() - {MANIFEST}
        if there != self.files.keys():
            name = min(there ^ self.files.keys())
            raise EvidenceError(Finding.MANIFEST_MISMATCH, f"entry `{name}` is not both listed and there")
        for name, listed in self.files.items():
            if digest(files[name]) != listed:
                raise EvidenceError(Finding.MANIFEST_MISMATCH, f"entry `{name}` has another digest than the manifest says")


@dataclass(slots=True)
class Mentions:
    """What receipts name and a whole pack therefore holds: attachments (unless withheld), policies and catalogues."""

    attachments: set[Digest]
    policies: set[Digest]
    catalogs: set[Digest]

    @classmethod
    def none(cls) -> "Mentions":
        return cls(set(), set(), set())

    def add(self, receipt: Receipt) -> None:
        body = receipt.body
        for name in ("args_hash", "raw_hash", "key", "output_hash"):
            if name in body:
                self.attachments.add(Digest(str(body[name])))
        if body.get("policy") is not None:
            self.policies.add(Digest(str(body["policy"])))
        if body.get("catalog") is not None:
            self.catalogs.add(Digest(str(body["catalog"])))
        if receipt.kind is Kind.STATEMENT:
            statement = Statement.from_record(Record.from_json(body["statement"]))
            if statement.policy is not None and statement.catalog is not None:
                self.policies.add(statement.policy.after)
                self.catalogs.add(statement.catalog.after)


def build(
    lines: Sequence[bytes],
    checkpoint: bytes,
    trust: Sequence[bytes],
    policies: Mapping[Digest, Mapping[str, bytes]],
    catalogs: Mapping[Digest, bytes],
    attachments: Mapping[Digest, bytes],
) -> bytes:
    """The pack of a whole log. `policies` are the files of each policy, its `manifest.json` among them; what of
    `attachments` no receipt names is left out, and what receipts name and is not given is withheld.
    """
    mentions = Mentions.none()
    for line in lines:
        mentions.add(Receipt.from_bytes(line))
    files = {RECEIPTS: joined(lines), CHECKPOINT: checkpoint, TRUST: joined(trust)}
    files |= {f"policy/{name.removeprefix(PREFIX)}/{file}": data for name, held in policies.items() for file, data in held.items()}
    files |= {f"catalog/{name.removeprefix(PREFIX)}.json": document for name, document in catalogs.items()}
    given = mentions.attachments & attachments.keys()
    files |= {f"attachments/{name.removeprefix(PREFIX)}": attachments[name] for name in given}
    head = Checkpoint.from_bytes(checkpoint)
    listed = {name: digest(data) for name, data in files.items()}
    withheld = tuple(sorted(mentions.attachments - given))
    manifest = Manifest(head.origin, head.size, digest_text(head.root), listed, withheld)
    return write({**files, MANIFEST: manifest.to_bytes()})


def joined(lines: Iterable[bytes]) -> bytes:
    """Each line ends with a newline, the last one too."""
    return b"".join(line + b"\n" for line in lines)


def lines(data: bytes) -> list[bytes]:
    """The inverse of `joined`; raises `EvidenceError(PACK_MALFORMED)` for a torn last line."""
    if not data:
        return []
    if not data.endswith(b"\n"):
        raise fields.wrong("the last line is torn: it has no newline")
    return data[:-1].split(b"\n")


def write(files: Mapping[str, bytes]) -> bytes:
    """The container; raises `ValueError` for names that no pack has (ours to get right)."""
    parts: list[bytes] = []
    for name in sorted(files):
        if not _NAME.match(name):
            raise ValueError(f"no pack has an entry `{name}`")
        parts += (header(name, len(files[name])), files[name], bytes(-len(files[name]) % _BLOCK))
    return b"".join((*parts, _END))


def read(data: bytes) -> dict[str, bytes]:
    """V1: the entries by name; raises `EvidenceError(PACK_MALFORMED)` unless `write` gives these bytes for what is returned."""
    if len(data) > PACK_BYTES_MAX:
        raise fields.wrong(f"the pack is larger than {PACK_BYTES_MAX} bytes")
    files: dict[str, bytes] = {}
    at, last = 0, ""
    while data[at : at + _BLOCK] != bytes(_BLOCK):
        name, size = _entry(data[at : at + _BLOCK])
        if name <= last:
            raise fields.wrong("entries are not sorted, or one occurs twice")
        at, last = at + _BLOCK, name
        padded = size + -size % _BLOCK
        if len(data) - at < padded or data[at + size : at + padded].strip(b"\0"):
            raise fields.wrong(f"entry `{name}` is cut off, or not padded with zeros")
        files[name] = data[at : at + size]
        at += padded
    if data[at:] != _END:
        raise fields.wrong("the end is not two empty blocks and nothing more")
    _check_names(files)
    return files


def header(name: str, size: int) -> bytes:
    """The one header that an entry can have: POSIX ustar, regular file, mode 0644, no owner, no time."""
    short, prefix = name, ""
    while len(short) > _NAME_BYTES:
        part, _, short = short.partition("/")
        prefix = f"{prefix}/{part}" if prefix else part
    fixed = b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"0" * 11 + b"\0"
    tail = b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2 + prefix.encode().ljust(155, b"\0") + bytes(12)
    start = short.encode().ljust(_NAME_BYTES, b"\0") + fixed
    checksum = sum(start) + 8 * ord(" ") + sum(tail)
    return start + b"%06o\0 " % checksum + tail


def _entry(block: bytes) -> tuple[str, int]:
    """Name and size, read by position; every other byte is then compared with the header that these two determine."""
    size_field = block[124:136]
    name, prefix = block[:100].rstrip(b"\0"), block[345:500].rstrip(b"\0")
    full = (prefix + b"/" + name if prefix else name).decode("ascii", "replace")
    if len(block) != _BLOCK or not _SIZE.match(size_field) or not _NAME.match(full):
        raise fields.wrong("an entry that no pack has: another name, kind or size than the format allows")
    size = int(size_field[:11], 8)
    if header(full, size) != block:
        raise fields.wrong(f"the header of entry `{full}` is not the one that its name and size have")
    return full, size


def _check_names(files: Mapping[str, bytes]) -> None:
    if not files.keys() >= FIXED:
        raise fields.wrong(f"entry `{min(FIXED - files.keys())}` is missing")
    folded = {name.casefold() for name in files}
    if len(folded) != len(files):
        raise fields.wrong("two names differ only in case")
    for name in folded:
        parts = name.split("/")
        if any("/".join(parts[:n]) in folded for n in range(1, len(parts))):
            raise fields.wrong(f"entry `{name}` lies in another entry, which is a file")
