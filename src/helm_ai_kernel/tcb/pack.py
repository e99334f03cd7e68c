"""The evidence pack: one file with everything that a verifier needs, and one byte string for one content.

A whole pack holds what its receipts name, or the admission that it is withheld, and nothing else: two honest exports of one
log at one size differ only in the attachments that they hold (`docs/spec/pack.md`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from . import container, fields
from .bundle import BYTES_MAX as POLICY_BYTES_MAX
from .bundle import PolicyManifest
from .checkpoint import Checkpoint
from .codes import Finding
from .digest import PREFIX, SALT_BYTES, Digest, digest, text
from .errors import EvidenceError, Refused
from .flows import statement_of
from .ijson import Json, parse, parse_evidence
from .jcs import canonical
from .receipt import Receipt

PACK_BYTES_MAX = 1 << 31  # a pack is read into memory whole; beyond two million receipts export a part
MANIFEST_BYTES_MAX = 1 << 28  # 150 bytes for each entry, and no pack within the bound has more than 1.8 million
ARGS_BYTES_MAX = 1 << 22  # a request has at most 1 MiB; its numbers can be longer in canonical form (1e15), not four times

MANIFEST = "manifest.json"
RECEIPTS = "receipts.jsonl"
CHECKPOINT = "checkpoint.txt"
TRUST = "trust.jsonl"
FIXED = frozenset({MANIFEST, RECEIPTS, CHECKPOINT, TRUST})

_HEX = "[0-9a-f]{64}"
_NAME = re.compile(
    rf"manifest\.json|receipts\.jsonl|checkpoint\.txt|trust\.jsonl|attachments/{_HEX}|catalog/{_HEX}\.json|policy/{_HEX}/.+"
)
_ATTACHMENTS = ("args_hash", "raw_hash", "key", "output_hash")  # fields that are names of attachments


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
    """What receipts name: attachments, policies, catalogues."""

    attachments: set[Digest] = field(default_factory=set)
    arguments: set[Digest] = field(default_factory=set)  # of these, those of a call
    policies: set[Digest] = field(default_factory=set)
    catalogs: set[Digest] = field(default_factory=set)

    def add(self, receipt: Receipt) -> None:
        body = receipt.body
        self.attachments.update(Digest(str(body[name])) for name in _ATTACHMENTS if name in body)
        if "args_hash" in body:
            self.arguments.add(Digest(str(body["args_hash"])))
        if body.get("policy") is not None:
            self.policies.add(Digest(str(body["policy"])))
        if body.get("catalog") is not None:
            self.catalogs.add(Digest(str(body["catalog"])))
        statement = statement_of(receipt)
        if statement is not None and statement.policy is not None and statement.catalog is not None:
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
    """The pack of a whole log. `policies` are the files of each policy, its `manifest.json` among them.

    What no receipt names is left out; an attachment that a receipt names and is not given is withheld. Raises `EvidenceError`
    for lines that are no receipts.
    """
    mentions = Mentions()
    for line in lines:
        mentions.add(Receipt.from_bytes(line))
    files = {RECEIPTS: joined(lines), CHECKPOINT: checkpoint, TRUST: joined(trust)}
    wanted = set(mentions.catalogs)
    for policy in mentions.policies & policies.keys():
        files |= {f"policy/{_hexes(policy)}/{name}": data for name, data in policies[policy].items()}
        wanted.add(PolicyManifest.from_bytes(policies[policy].get(MANIFEST, b"")).catalog)
    files |= {f"catalog/{_hexes(name)}.json": catalogs[name] for name in wanted & catalogs.keys()}
    given = mentions.attachments & attachments.keys()
    files |= {f"attachments/{_hexes(name)}": attachments[name] for name in given}
    head = Checkpoint.from_bytes(checkpoint)
    listed = {name: digest(data) for name, data in files.items()}
    withheld = tuple(sorted(mentions.attachments - given))
    manifest = Manifest(head.origin, head.size, text(head.root), listed, withheld)
    return container.write({**files, MANIFEST: manifest.to_bytes()})


def read(data: bytes) -> dict[str, bytes]:
    """V1: the entries of a pack; raises `EvidenceError(PACK_MALFORMED)`."""
    if len(data) > PACK_BYTES_MAX:
        raise fields.wrong(f"the pack is larger than {PACK_BYTES_MAX} bytes")
    files = container.read(data)
    for name in files:
        if not _NAME.fullmatch(name):
            raise fields.wrong(f"no pack has an entry `{name}`")
    if not files.keys() >= FIXED:
        raise fields.wrong(f"entry `{min(FIXED - files.keys())}` is missing")
    return files


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


class Contents:
    """The entries of a pack beyond the four that each has. `bound` are the whole policies and the catalogue that each names."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.bound: dict[Digest, Digest] = {}
        self._files = files
        self._policies: dict[Digest, set[str]] = {}
        self._catalogs: set[Digest] = set()
        self._attachments: set[Digest] = set()
        for path in files:
            folder, _, rest = path.partition("/")
            hexes, _, name = rest.partition("/")
            if folder == "policy":
                self._policies.setdefault(Digest(PREFIX + hexes), set()).add(name)
            elif folder == "catalog":
                self._catalogs.add(Digest(PREFIX + hexes.removesuffix(".json")))
            elif folder == "attachments":
                self._attachments.add(Digest(PREFIX + hexes))

    def own_faults(self) -> Iterator[EvidenceError]:
        """Everything whose name is its digest has that digest; every policy is whole."""
        for name in sorted(self._attachments):
            if digest(self._attachment(name)) != name:
                yield _redaction("the content is not what the name says", f"attachment {name}")
            if len(self._attachment(name)) < SALT_BYTES:
                yield _redaction(f"it is shorter than its salt of {SALT_BYTES} bytes", f"attachment {name}")
        for name in sorted(self._catalogs):
            if digest(self._files[f"catalog/{_hexes(name)}.json"]) != name:
                yield _mismatch("the content is not what the name says", f"catalogue {name}")
        for policy, names in sorted(self._policies.items()):
            try:
                self.bound[policy] = self._whole(policy, names)
            except EvidenceError as error:
                newer = error.finding is Finding.UNSUPPORTED
                yield EvidenceError(error.finding if newer else Finding.MANIFEST_MISMATCH, error.detail, where=f"policy {policy}")

    def faults(self, mentions: Mentions, withheld: tuple[Digest, ...]) -> Iterator[EvidenceError]:
        """What receipts name is here or withheld, and nothing else is. Ask after `own_faults`."""
        catalogs = mentions.catalogs | set(self.bound.values())
        for kind, here, named in (
            ("policy", self._policies.keys(), mentions.policies),
            ("catalogue", self._catalogs, catalogs),
        ):
            for name in sorted(here ^ named):
                yield _mismatch(
                    "a receipt names it and it is not here" if name in named else "no receipt names it", f"{kind} {name}"
                )
        for name in sorted(self._attachments - mentions.attachments):
            yield _redaction("no receipt names it", f"attachment {name}")
        for name in sorted(self._attachments & mentions.arguments):
            if not _is_arguments(self._attachment(name)[SALT_BYTES:]):
                yield _redaction("it is no canonical object, and a decision names it as arguments", f"attachment {name}")
        absent = tuple(sorted(mentions.attachments - self._attachments))
        if absent != withheld:
            detail = f"`withheld` lists {len(withheld)} attachments, and not exactly the {len(absent)} that are named and absent"
            yield _redaction(detail, "manifest")

    def _attachment(self, name: Digest) -> bytes:
        return self._files[f"attachments/{_hexes(name)}"]

    def _whole(self, policy: Digest, names: set[str]) -> Digest:
        folder = f"policy/{_hexes(policy)}/"
        manifest = self._files.get(folder + MANIFEST, b"")
        if digest(manifest) != policy:
            raise fields.wrong("its manifest is missing, or has another digest")
        if canonical(parse_evidence(manifest, bytes_max=POLICY_BYTES_MAX)) != manifest:
            raise fields.wrong("its manifest is not the canonical form of what it says")
        bundle = PolicyManifest.from_bytes(manifest)
        if bundle.files.keys() != names - {MANIFEST}:
            raise fields.wrong("its files are not those that its manifest lists")
        for name, named in bundle.files.items():
            if digest(self._files[folder + name]) != named:
                raise fields.wrong(f"file `{name}` has another digest than its manifest says")
        return bundle.catalog


def _is_arguments(content: bytes) -> bool:
    """One canonical object, as the kernel dispatches it."""
    try:
        value = parse(content, bytes_max=ARGS_BYTES_MAX)
        return type(value) is dict and canonical(value) == content
    except Refused:
        return False


def _hexes(name: Digest) -> str:
    return name.removeprefix(PREFIX)


def _mismatch(detail: str, where: str) -> EvidenceError:
    return EvidenceError(Finding.MANIFEST_MISMATCH, detail, where=where)


def _redaction(detail: str, where: str) -> EvidenceError:
    return EvidenceError(Finding.REDACTION_MISMATCH, detail, where=where)
