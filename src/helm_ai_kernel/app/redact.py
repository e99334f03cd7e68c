"""A pack without some of its attachments: what it proves stays proven, and what it said is not in it any more.

Everything else stays as it is, byte for byte, but for the manifest, which counts what is withheld.
"""

from collections.abc import Callable, Iterator

from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb import fields, pack
from helm_ai_kernel.tcb.checkpoint import NOTE_BYTES_MAX, Checkpoint
from helm_ai_kernel.tcb.container import Source
from helm_ai_kernel.tcb.digest import Digest, text
from helm_ai_kernel.tcb.pack import Entries, File, Manifest, Mentions
from helm_ai_kernel.tcb.receipt import Receipt

Progress = Callable[[int, int], None]


class Redaction:
    """A pack that is well formed, with what is known of its attachments. Raises `EvidenceError` where it is not."""

    def __init__(self, source: Source, progress: Progress) -> None:
        self.entries = Entries(source)
        self.manifest = Manifest.from_bytes(self.entries.small(pack.MANIFEST, pack.MANIFEST_BYTES_MAX))
        self.manifest.check(self.entries)
        self.head = Checkpoint.from_bytes(self.entries.small(pack.CHECKPOINT, NOTE_BYTES_MAX))
        if (self.head.origin, self.head.size, text(self.head.root)) != (
            self.manifest.log,
            self.manifest.size,
            self.manifest.root,
        ):
            raise fields.wrong("its manifest says another log, size or root than its checkpoint")
        self.mentions = Mentions()
        self._progress = progress
        for number, line in enumerate(self.entries.lines(pack.RECEIPTS)):
            self.mentions.add(Receipt.from_bytes(line))
            progress(number, 0)
        for raw in self.entries.attachments:
            if self.mentions.attachments.find(raw) < 0:
                raise fields.wrong(f"no receipt names the attachment `{text(raw)}`")
        if self.withheld(len(self.entries.attachments)) != self.manifest.withheld:
            raise fields.wrong(f"it says that {self.manifest.withheld} attachments are withheld, which is not so")

    def withheld(self, held: int) -> int:
        return len(self.mentions.attachments) - held

    def named_by(self, leaves: set[Digest]) -> set[bytes]:
        """The attachments that these receipts name; raises `EvidenceError` where one is not in the pack."""
        found, left = Mentions(), set(leaves)
        for line in self.entries.lines(pack.RECEIPTS):
            leaf = hashes.leaf(line)
            if leaf in left:
                left.discard(leaf)
                found.add(Receipt.from_bytes(line))
        if left:
            raise fields.wrong(f"no receipt `{min(left)}` is in the pack")
        return set(found.attachments)

    def without(self, dropped: Callable[[bytes], bool]) -> Iterator[bytes]:
        """The pack again, in pieces, but for the attachments of which `dropped` is true."""
        kept = sum(not dropped(raw) for raw in self.entries.attachments)
        files = {name: self._file(name) for name in self.entries.files if name != pack.MANIFEST}
        held = ((raw, size, self.entries.parts(name)) for raw, name, size in self.entries.held() if not dropped(raw))
        return pack.write(files, held, self.head, self.withheld(kept))

    def _file(self, name: str) -> File:
        return File(self.entries.size(name), self.manifest.files[name], self.entries.parts(name))
