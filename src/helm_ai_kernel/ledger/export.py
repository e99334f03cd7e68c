"""The evidence pack of a log, or of a part of it, straight from the store: one snapshot, read twice, and never held.

First names and sizes, because entries are sorted and their headers say how large they are; then the contents. What is kept of an
attachment meanwhile is where it is (`docs/spec/pack.md`).
"""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence

from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.bundle import PolicyManifest
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.container import ENTRY_BYTES_MAX
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.pack import File, Mentions
from helm_ai_kernel.tcb.part import Inclusion
from helm_ai_kernel.tcb.receipt import Receipt

from . import witnessed
from .reader import Reader

Ranges = Sequence[tuple[int, int]]  # first index and count, in order
Progress = Callable[[int, int], None]  # how much is done, in receipts, and of how many; every receipt is met twice
ENTRY_COSTS = 1024  # at most: a header and padding
LISTED_COSTS = 80  # in a manifest, beside the name
TELL = 256  # receipts, or attachments, between two words about progress


def _silent(done: int, of: int) -> None:
    """Nobody watches."""


def whole(reader: Reader, *, attachments: bool = True, progress: Progress = _silent) -> Iterator[bytes]:
    """The pack of the log up to the stored checkpoint, in pieces, with or without contents; and the heads that witnesses saw."""
    head = Checkpoint.from_bytes(reader.checkpoint)
    last, first = witnessed.carried(reader.witnessed, head)
    files = {pack.CHECKPOINT: File.of(last.note)} | {f"cosigned/{size}.txt": File.of(one.note) for size, one in first.items()}
    ranges = [(0, head.size)] if head.size else []
    return _Pack(reader, ranges, progress).write(head, files, attachments)


def part(
    reader: Reader, ranges: Ranges, inclusion: Inclusion, *, attachments: bool = True, progress: Progress = _silent
) -> Iterator[bytes]:
    """The pack of these receipts, which `inclusion` proves to be a part of the log (`ledger/parts.py`)."""
    head = Checkpoint.from_bytes(reader.checkpoint)
    last, _ = witnessed.carried(reader.witnessed, head)
    files = {pack.CHECKPOINT: File.of(last.note), pack.INCLUSION: File.of(inclusion.to_bytes())}
    return _Pack(reader, ranges, progress).write(head, files, attachments)


class _Pack:
    """What is known of a pack before it is written: 32 bytes of each name, and 16 of where the content is."""

    def __init__(self, reader: Reader, ranges: Ranges, progress: Progress) -> None:
        self._reader = reader
        self._ranges = ranges
        self._progress = progress
        self._count = sum(count for _, count in ranges)
        self._mentions = Mentions()
        self._claims: set[int] = set()  # elsewhere in the log: where the key of a call here was claimed, and is kept
        self._bytes = 0  # of the lines
        self._at = array("Q")  # by place in the mentions: 1 + 4 * index + slot of what is held; 0 is withheld
        self._sizes = array("Q")

    def write(self, head: Checkpoint, files: dict[str, File], attachments: bool) -> Iterator[bytes]:
        digest = hashes.digest_of(self._first())
        if attachments:
            self._look()
        mentions, reader = self._mentions, self._reader
        policies = {name: reader.policy_files(name) for name in mentions.policies}
        bound = {PolicyManifest.from_bytes(files[pack.MANIFEST]).catalog for files in policies.values()}
        catalogs = {name: reader.document(name) for name in mentions.catalogs | bound}
        named = pack.boundaries(mentions, policies, catalogs) | {pack.TRUST: pack.joined(reader.trust().lines)}
        files = files | {name: File.of(data) for name, data in named.items()}
        files[pack.RECEIPTS] = File(self._bytes, digest, self._lines())
        withheld = len(mentions.attachments) - sum(map(bool, self._at))
        self._check_bounds(files)
        return self._told(pack.write(files, self._held(), head, withheld))

    def _check_bounds(self, files: Mapping[str, File]) -> None:
        """Those of whoever reads it; raises `OutsideError`."""
        total = sum(self._sizes) + sum(file.size for file in files.values())
        total += ENTRY_COSTS * (len(self._sizes) + len(files))
        listed = sum(len(name) + LISTED_COSTS for name in files)
        if total > pack.PACK_BYTES_MAX or listed > pack.MANIFEST_BYTES_MAX or self._bytes > ENTRY_BYTES_MAX:
            detail = "the pack would be larger, or have more policies, than anybody reads"
            hint = "export it in parts: helm-ai-kernel pack export --since TIME --until TIME"
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint=hint)

    def _first(self) -> Iterator[bytes]:
        for number, line in enumerate(self._lines()):
            receipt = Receipt.from_bytes(line[:-1])
            self._mentions.add(receipt)
            self._claimed(receipt)
            self._bytes += len(line)
            if not number % TELL:
                self._progress(number, 2 * self._count)
            yield line

    def _claimed(self, receipt: Receipt) -> None:
        """A key has one name, and is kept where it was claimed: in a part perhaps beside a receipt that is not here."""
        facts = receipt.body.get("facts")
        claim = facts.get("claim") if isinstance(facts, dict) else None
        if "key" in receipt.body and isinstance(claim, dict) and self._count < self._reader.size:
            index = self._reader.claimed(Digest(str(claim["decision"])))
            if index is not None:
                self._claims.add(index)

    def _look(self) -> None:
        """Where each content is that has the digest which a receipt names."""
        names = self._mentions.attachments
        self._at, self._sizes = (array("Q", bytes(8 * len(names))) for _ in range(2))
        for first, count in (*self._ranges, *((index, 1) for index in sorted(self._claims))):
            for index, slot, content in self._reader.kept(first, first + count):
                place = names.find(hashes.sha256(content))
                if place >= 0:
                    self._at[place], self._sizes[place] = 1 + 4 * index + slot, len(content)

    def _held(self) -> Iterator[tuple[bytes, int, Iterator[bytes]]]:
        """By name. By their first byte before: a sort of all of them would hold each as an object."""
        names, rooms = self._mentions.attachments, [array("I") for _ in range(256)]
        for place, raw in enumerate(names):
            if place < len(self._at) and self._at[place]:
                rooms[raw[0]].append(place)
        for room in rooms:
            for place in sorted(room, key=names.__getitem__):
                yield names[place], self._sizes[place], self._content(*divmod(self._at[place] - 1, 4))

    def _content(self, index: int, slot: int) -> Iterator[bytes]:
        content = self._reader.attachments(index)[slot]
        if content is None:
            detail = f"what is kept beside receipt {index} was erased while it was exported"
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint="helm-ai-kernel pack export")
        yield content

    def _lines(self) -> Iterator[bytes]:
        for first, count in self._ranges:
            for line in self._reader.lines(first, first + count):
                yield line + b"\n"

    def _told(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The second half of the progress: by bytes, for what is written is not all receipts."""
        total, written = max(1, self._bytes + sum(self._sizes)), 0
        for number, piece in enumerate(pieces):
            yield piece
            written += len(piece)
            if not number % TELL:
                self._progress(self._count + min(self._count, self._count * written // total), 2 * self._count)
        self._progress(2 * self._count, 2 * self._count)
