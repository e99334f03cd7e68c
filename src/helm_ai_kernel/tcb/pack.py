"""The evidence pack: one file with everything that a verifier needs, and one byte string for one content.

A whole pack holds what its receipts name, or says how much of that is withheld, and nothing else: two honest exports of one log
at one size differ only in the attachments and cosigned heads that they hold. Nothing of it is read whole but what is small
(`docs/spec/pack.md`).
"""

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from . import container, fields
from . import digest as hashes
from .bundle import PolicyManifest
from .checkpoint import Checkpoint
from .codes import Finding
from .container import Entry, Source
from .digest import PREFIX, Digest, digest, digest_of, text
from .digests import Digests
from .envelope import LINE_BYTES_MAX
from .errors import EvidenceError
from .flows import statement_of
from .ijson import Json
from .jcs import canonical
from .receipt import Receipt

PACK_BYTES_MAX = 1 << 35  # 32 GiB: receipts.jsonl has at most 8, by its header, and as much again for what they name
MANIFEST_BYTES_MAX = 1 << 22  # some policies and catalogues; attachments are not in it
COSIGNED_MAX = 4096  # heads that witnesses saw: one an hour for half a year, and each covers all before it
LINES_LEAST, LINE_BYTES_LEAST = 4096, 256  # no receipt is shorter: millions of empty lines want our memory
FILES_MAX = 1 << 16  # entries beside attachments: no manifest of 4 MiB has so many names

MANIFEST = "manifest.json"
RECEIPTS = "receipts.jsonl"
CHECKPOINT = "checkpoint.txt"
TRUST = "trust.jsonl"
INCLUSION = "proofs/inclusion.json"
FIXED = frozenset({MANIFEST, RECEIPTS, CHECKPOINT, TRUST})

_HEX = "[0-9a-f]{64}"
_NAME = re.compile(
    rf"manifest\.json|receipts\.jsonl|checkpoint\.txt|trust\.jsonl|proofs/inclusion\.json|cosigned/(?:0|[1-9][0-9]{{0,15}})\.txt"
    rf"|attachments/{_HEX}|catalog/{_HEX}\.json|policy/{_HEX}/.+"
)
_FOLDER = "attachments/"
_ATTACHMENTS = ("args_hash", "raw_hash", "key", "output_hash")  # fields that are names of attachments


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the pack says that it is. Nothing here is believed: each field is compared with what is there."""

    log: str
    size: int
    root: Digest
    files: Mapping[str, Digest]  # every other entry but attachments, whose names are their digests
    withheld: int  # attachments that receipts name and the pack does not hold

    @classmethod
    def from_bytes(cls, data: bytes) -> "Manifest":
        """Raises `EvidenceError`: PACK_MALFORMED, NON_CANONICAL or UNSUPPORTED."""
        body = fields.document(data, "pack", {"log", "size", "root", "files", "withheld"}, bytes_max=MANIFEST_BYTES_MAX)
        listed = fields.typed(body, "files", dict)
        return cls(
            log=fields.text(body, "log", bytes_max=256),
            size=fields.count(body, "size"),
            root=fields.digest(body, "root"),
            files={name: fields.digest(listed, name) for name in listed},
            withheld=fields.count(body, "withheld"),
        )

    def to_bytes(self) -> bytes:
        body: dict[str, Json] = {"v": 1, "kind": "pack", "log": self.log, "size": self.size, "root": self.root}
        return canonical({**body, "files": dict(self.files), "withheld": self.withheld})

    def check(self, entries: "Entries") -> None:
        """The manifest lists exactly these entries; raises `EvidenceError(MANIFEST_MISMATCH)`."""
        there = entries.files.keys() - {MANIFEST}
        if there != self.files.keys():
            name = min(there ^ self.files.keys())
            raise EvidenceError(Finding.MANIFEST_MISMATCH, f"entry `{name}` is not both listed and there")
        for name, listed in self.files.items():
            if entries.digest(name) != listed:
                raise EvidenceError(Finding.MANIFEST_MISMATCH, f"entry `{name}` has another digest than the manifest says")


@dataclass(slots=True)
class Mentions:
    """What receipts name: attachments, policies, catalogues."""

    attachments: Digests = field(default_factory=Digests)  # each once
    arguments: bytearray = field(default_factory=bytearray)  # by place in these: 1 for those of a call
    policies: set[Digest] = field(default_factory=set)
    catalogs: set[Digest] = field(default_factory=set)

    def add(self, receipt: Receipt) -> None:
        body = receipt.body
        for name in _ATTACHMENTS:
            if name in body:
                self._attachment(hashes.raw(Digest(str(body[name]))), name == "args_hash")
        if body.get("policy") is not None:
            self.policies.add(Digest(str(body["policy"])))
        if body.get("catalog") is not None:
            self.catalogs.add(Digest(str(body["catalog"])))
        statement = statement_of(receipt)
        if statement is not None and statement.policy is not None and statement.catalog is not None:
            self.policies.add(statement.policy.after)
            self.catalogs.add(statement.catalog.after)

    def _attachment(self, raw: bytes, arguments: bool) -> None:
        place = self.attachments.find(raw)
        if place < 0:
            place = self.attachments.append(raw)
            self.arguments.append(0)
        self.arguments[place] |= arguments


class Entries(Mapping[str, bytes]):
    """V1: what is in a pack, by name; raises `EvidenceError(PACK_MALFORMED)`. Contents are read when they are asked for."""

    def __init__(self, source: Source) -> None:
        if source.size > PACK_BYTES_MAX:
            raise fields.wrong(f"the pack is larger than {PACK_BYTES_MAX} bytes")
        self.files: dict[str, Entry] = {}  # all but attachments
        self.attachments = Digests()  # by name, in order
        self._source = source
        self._ats, self._sizes = array("Q"), array("Q")  # of each attachment
        for entry in container.entries(source):
            if not _NAME.fullmatch(entry.name):
                raise fields.wrong(f"no pack has an entry `{entry.name}`")
            if not entry.name.startswith(_FOLDER):
                self.files[entry.name] = entry
                if len(self.files) > FILES_MAX:
                    raise fields.wrong(f"more than {FILES_MAX} entries that are no attachments")
                continue
            self.attachments.append(bytes.fromhex(entry.name[len(_FOLDER) :]))
            self._ats.append(entry.at)
            self._sizes.append(entry.size)
        container.check_names(self.files)
        if not self.files.keys() >= FIXED:
            raise fields.wrong(f"entry `{min(FIXED - self.files.keys())}` is missing")
        if len(self.cosigned) > (COSIGNED_MAX if INCLUSION not in self.files else 0):
            raise fields.wrong("more cosigned heads than a pack, or any in a part of a log")

    def __len__(self) -> int:
        return len(self.files) + len(self.attachments)

    def __iter__(self) -> Iterator[str]:
        yield from (_FOLDER + raw.hex() for raw in self.attachments)
        yield from self.files

    def __getitem__(self, name: str) -> bytes:
        """The content, whole: for what is small, or whoever has the memory."""
        entry = self._entry(name)
        return self._source.read(entry.at, entry.size)

    @property
    def cosigned(self) -> list[str]:
        """The names of the heads that witnesses saw."""
        return [name for name in self.files if name.startswith("cosigned/")]

    def held(self) -> Iterator[tuple[bytes, str, int]]:
        """Raw digest, name and size of each attachment, in order."""
        for raw, size in zip(self.attachments, self._sizes, strict=True):
            yield raw, _FOLDER + raw.hex(), size

    def size(self, name: str) -> int:
        return self._entry(name).size

    def parts(self, name: str) -> Iterator[bytes]:
        return container.content(self._source, self._entry(name))

    def digest(self, name: str) -> Digest:
        return digest_of(self.parts(name))

    def small(self, name: str, bytes_max: int) -> bytes:
        """The content of what has a bound; raises `EvidenceError(PACK_MALFORMED)` beyond it."""
        if self.size(name) > bytes_max:
            raise fields.wrong(f"entry `{name}` is larger than {bytes_max} bytes")
        return self[name]

    def lines(self, name: str) -> Iterator[bytes]:
        """Without their newlines; raises `EvidenceError(PACK_MALFORMED)` for a torn last line, or what no line of ours is."""
        left, rest = LINES_LEAST + self.size(name) // LINE_BYTES_LEAST, b""
        for part in self.parts(name):
            *whole, rest = (rest + part).split(b"\n")
            left -= len(whole)
            if left < 0 or len(rest) > LINE_BYTES_MAX or any(len(line) > LINE_BYTES_MAX for line in whole):
                raise fields.wrong(f"`{name}` has more lines than it can hold, or longer ones than a record has")
            yield from whole
        if rest:
            raise fields.wrong("the last line is torn: it has no newline")

    def _entry(self, name: str) -> Entry:
        entry = self.files.get(name)
        if entry is not None:
            return entry
        place = -1
        if re.fullmatch(_FOLDER + _HEX, name):
            place = self.attachments.find(bytes.fromhex(name[len(_FOLDER) :]))
        if place < 0:
            raise KeyError(name)
        return Entry(name, self._ats[place], self._sizes[place])


def read(data: bytes) -> Entries:
    """The entries of a pack that is in memory."""
    return Entries(container.Held(data))


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


class File(NamedTuple):
    """An entry that is written: its content may be made meanwhile, and is then announced."""

    size: int
    digest: Digest
    content: Iterable[bytes]

    @classmethod
    def of(cls, data: bytes) -> "File":
        return cls(len(data), digest(data), (data,))


def write(
    files: Mapping[str, File], attachments: Iterable[tuple[bytes, int, Iterable[bytes]]], head: Checkpoint, withheld: int
) -> Iterator[bytes]:
    """A pack in pieces. `attachments` are raw name, size and content, in order; `files` every other entry but the manifest."""
    listed = {name: file.digest for name, file in files.items()}
    manifest = Manifest(head.origin, head.size, text(head.root), listed, withheld).to_bytes()
    named = {name: (name, file.size, file.content) for name, file in files.items()}
    named[MANIFEST] = (MANIFEST, len(manifest), (manifest,))
    held = ((_FOLDER + raw.hex(), size, content) for raw, size, content in attachments)
    return container.stream(_chained(held, (named[name] for name in sorted(named))))


def _chained(
    first: Iterable[tuple[str, int, Iterable[bytes]]], then: Iterable[tuple[str, int, Iterable[bytes]]]
) -> Iterator[tuple[str, int, Iterable[bytes]]]:
    """Attachments stand before every other entry, by name."""
    yield from first
    yield from then


def build(
    lines: Sequence[bytes],
    checkpoint: bytes,
    trust: Sequence[bytes],
    policies: Mapping[Digest, Mapping[str, bytes]],
    catalogs: Mapping[Digest, bytes],
    attachments: Mapping[Digest, bytes],
    others: Mapping[str, bytes] | None = None,
) -> bytes:
    """The pack of these lines, of what is in memory. `policies` are the files of each policy, its `manifest.json` among them.

    What no receipt names is left out; an attachment that a receipt names and is not given is withheld. `others` are entries by
    name: cosigned heads, or the proof that makes it a part. Raises `EvidenceError` for lines that are no receipts.
    """
    mentions = Mentions()
    for line in lines:
        mentions.add(Receipt.from_bytes(line))
    files = {RECEIPTS: joined(lines), CHECKPOINT: checkpoint, TRUST: joined(trust), **(others or {})}
    files |= boundaries(mentions, policies, catalogs)
    given = [(raw, attachments[text(raw)]) for raw in sorted(mentions.attachments) if text(raw) in attachments]
    held = ((raw, len(content), (content,)) for raw, content in given)
    written = {name: File.of(data) for name, data in files.items()}
    return b"".join(write(written, held, Checkpoint.from_bytes(checkpoint), len(mentions.attachments) - len(given)))


def boundaries(
    mentions: Mentions, policies: Mapping[Digest, Mapping[str, bytes]], catalogs: Mapping[Digest, bytes]
) -> dict[str, bytes]:
    """The entries of the policies and catalogues that are named, and of the catalogues that these policies name."""
    files: dict[str, bytes] = {}
    wanted = set(mentions.catalogs)
    for policy in mentions.policies & policies.keys():
        files |= {f"policy/{_hexes(policy)}/{name}": data for name, data in policies[policy].items()}
        wanted.add(PolicyManifest.from_bytes(policies[policy].get(MANIFEST, b"")).catalog)
    return files | {f"catalog/{_hexes(name)}.json": catalogs[name] for name in wanted & catalogs.keys()}


def _hexes(name: Digest) -> str:
    return name.removeprefix(PREFIX)
