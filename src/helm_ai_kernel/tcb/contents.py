"""What a pack holds beside its receipts, compared with what they name: policies, catalogues, attachments (V2, V12)."""

from collections.abc import Iterator

from . import fields
from .bundle import BYTES_MAX as POLICY_BYTES_MAX
from .bundle import PolicyManifest
from .codes import Finding
from .digest import PREFIX, SALT_BYTES, Digest, digest, text
from .errors import EvidenceError, Refused
from .ijson import parse, parse_evidence
from .jcs import canonical
from .pack import MANIFEST, Entries, Mentions

ARGS_BYTES_MAX = 1 << 22  # a request has at most 1 MiB; its numbers can be longer in canonical form (1e15), not four times


class Contents:
    """The entries of a pack beyond its fixed ones. `bound` are the whole policies and the catalogue that each names."""

    def __init__(self, entries: Entries) -> None:
        self.bound: dict[Digest, Digest] = {}
        self._entries = entries
        self._policies: dict[Digest, set[str]] = {}
        self._catalogs: set[Digest] = set()
        for path in entries.files:
            folder, _, rest = path.partition("/")
            hexes, _, name = rest.partition("/")
            if folder == "policy":
                self._policies.setdefault(Digest(PREFIX + hexes), set()).add(name)
            elif folder == "catalog":
                self._catalogs.add(Digest(PREFIX + hexes.removesuffix(".json")))

    def own_faults(self) -> Iterator[EvidenceError]:
        """Every catalogue has the digest that its name says; every policy is whole."""
        for name in sorted(self._catalogs):
            if self._entries.digest(f"catalog/{_hexes(name)}.json") != name:
                yield _mismatch("the content is not what the name says", f"catalogue {name}")
        for policy, names in sorted(self._policies.items()):
            try:
                self.bound[policy] = self._whole(policy, names)
            except EvidenceError as error:
                newer = error.finding is Finding.UNSUPPORTED
                yield EvidenceError(error.finding if newer else Finding.MANIFEST_MISMATCH, error.detail, where=f"policy {policy}")

    def faults(self, mentions: Mentions) -> Iterator[EvidenceError]:
        """The policies and catalogues that receipts name are here, and no others. Ask after `own_faults`."""
        catalogs = mentions.catalogs | set(self.bound.values())
        for kind, here, named in (
            ("policy", self._policies.keys(), mentions.policies),
            ("catalogue", self._catalogs, catalogs),
        ):
            for name in sorted(here ^ named):
                yield _mismatch(
                    "a receipt names it and it is not here" if name in named else "no receipt names it", f"{kind} {name}"
                )

    def attachment_faults(self, mentions: Mentions | None, withheld: int) -> Iterator[EvidenceError]:
        """Each attachment is what its name says, and what the receipts name is here or counted. None: they cannot be read."""
        here = 0
        for raw, path, size in self._entries.held():
            name = text(raw)
            where = f"attachment {name}"
            content = self._entries[path] if size <= SALT_BYTES + ARGS_BYTES_MAX else None
            if (self._entries.digest(path) if content is None else digest(content)) != name:
                yield _redaction("the content is not what the name says", where)
            if size < SALT_BYTES:
                yield _redaction(f"it is shorter than its salt of {SALT_BYTES} bytes", where)
            if mentions is None:
                continue
            place = mentions.attachments.find(raw)
            here += place >= 0
            if place < 0:
                yield _redaction("no receipt names it", where)
            elif mentions.arguments[place] and (content is None or not _is_arguments(content[SALT_BYTES:])):
                yield _redaction("it is no canonical object, and a decision names it as arguments", where)
        if mentions is not None and len(mentions.attachments) - here != withheld:
            absent = len(mentions.attachments) - here
            yield _redaction(f"`withheld` counts {withheld} attachments, and {absent} are named and absent", "manifest")

    def _whole(self, policy: Digest, names: set[str]) -> Digest:
        folder = f"policy/{_hexes(policy)}/"
        if MANIFEST not in names:
            raise fields.wrong("its manifest is missing, or has another digest")
        manifest = self._entries.small(folder + MANIFEST, POLICY_BYTES_MAX)
        if digest(manifest) != policy:
            raise fields.wrong("its manifest is missing, or has another digest")
        if canonical(parse_evidence(manifest, bytes_max=POLICY_BYTES_MAX)) != manifest:
            raise fields.wrong("its manifest is not the canonical form of what it says")
        bundle = PolicyManifest.from_bytes(manifest)
        if bundle.files.keys() != names - {MANIFEST}:
            raise fields.wrong("its files are not those that its manifest lists")
        for name, named in bundle.files.items():
            if self._entries.digest(folder + name) != named:
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
