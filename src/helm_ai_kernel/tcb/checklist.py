"""The numbered checklist: everything that a pack must pass, each step cited where it is done (`docs/spec/verification.md`).

Two passes over the receipts, in log order, none of which holds them; nothing is taken on trust from the pack. Keys come from the
registry that the pinned genesis begins, heads and witnesses from the verifier. A step that cannot be done leaves its axis open;
none is skipped silently.
"""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeVarTuple

from . import digest as hashes
from . import fields, pack
from .chain import Chains
from .checkpoint import Checkpoint
from .codes import Finding
from .container import Held, Source
from .contents import Contents
from .cosign import WitnessPolicy
from .digest import Digest, text
from .digests import Digests
from .errors import EvidenceError
from .findings import CHECKPOINT, Axis, Exit, Findings, Report
from .flows import Flows
from .graph import check_causes
from .heads import KNOWN, Heads, check_left
from .merkle import Frontier, leaf_hash
from .pack import Entries, Manifest, Mentions
from .part import INCLUSION_BYTES_MAX, Inclusion, Outcomes, Places
from .process import Processes
from .receipt import Kind, Receipt
from .registry import Registry
from .vetting import Vet, Vetted, Vetter, vet_here

_Args = TypeVarTuple("_Args")
Progress = Callable[[int, int], None]  # lines that were read, of so many times two


@dataclass(frozen=True, slots=True)
class Question:
    """What a verifier brings from outside the pack."""

    genesis: Digest | None = None  # pins the registry
    known_heads: Sequence[bytes] = ()  # signed notes that it kept
    witnesses: WitnessPolicy | None = None
    oldest: str | None = None  # RFC 3339: the pack must not be older
    require_resolved: bool = False


def verify(
    evidence: bytes | Source | Entries, question: Question, *, vet: Vet = vet_here, progress: Progress = lambda done, of: None
) -> Report:
    """Judge a pack. Raises nothing of its own, whatever the pack: what is wrong with it is in the report."""
    found, at = Findings(witnesses=question.witnesses is not None), 1
    try:
        source = Held(evidence) if isinstance(evidence, bytes) else evidence
        entries = source if isinstance(source, Entries) else Entries(source)  # V1
        at = 2
        manifest = Manifest.from_bytes(entries.small(pack.MANIFEST, pack.MANIFEST_BYTES_MAX))  # V2
        leaves = Digests()
        for line in entries.lines(pack.RECEIPTS):  # V2
            leaves.append(leaf_hash(line))
            progress(len(leaves), 0)
    except EvidenceError as error:
        found.error(at, error)
        found.leave_open(Axis.SIGNERS, Axis.COMPLETENESS)
        return found.report()
    return _Checklist(entries, manifest, leaves, found).run(question, vet, progress)


class _Checklist:
    """What is known so far of one pack."""

    def __init__(self, entries: Entries, manifest: Manifest, leaves: Digests, found: Findings) -> None:
        self.entries = entries
        self.manifest = manifest
        self.leaves = leaves
        self.found = found
        self.is_part = pack.INCLUSION in entries.files
        self.inclusion: Inclusion | None = None  # of a part, if it has its form
        self.places: Places | None = None
        self.registry: Registry | None = None
        self.readable = True  # so far: behind a line that cannot be read there is no story to judge
        self.trusted = array("Q", [0])  # by number of receipts: the largest registry size that one of them relies on
        self.recoveries: list[tuple[int, int, Digest]] = []  # place, and the size and root that it states
        self.last_at: str | None = None  # of the last receipt, if it can be read
        self.mentions = Mentions()
        self.contents = Contents(entries)
        self.chains = Chains(leaves, part=self.is_part)
        self.processes = Processes(leaves)
        self.flows: Flows | Outcomes = Outcomes() if self.is_part else Flows(self.contents.bound, leaves)

    def run(self, question: Question, vet: Vet, progress: Progress) -> Report:
        self._step(2, "manifest", self.manifest.check, self.entries)  # V2
        if self.is_part:
            self._step(2, pack.INCLUSION, self._place)
        for error in self.contents.own_faults():
            self.found.error(2, error)
        self._step(3, "registry", self._replay, question.genesis)  # V3
        if self.registry is None:
            self.found.leave_open(Axis.SIGNERS, Axis.INTEGRITY)  # no signature can be checked
        heads = Heads(self.entries, question.known_heads, self.manifest.log, question.witnesses, self.found)
        vetter = Vetter(self.manifest.log, self.registry, heads.seen(part=self.is_part))
        self._step(2, pack.RECEIPTS, self._receipts, vet(vetter, self.entries.lines(pack.RECEIPTS)), progress)
        heads.judge(self.registry, self._relied)
        self._tree(heads)
        self._whole(question.require_resolved)
        self._seen(heads, question)
        return self.found.report(
            log=self.manifest.log,
            size=self.manifest.size,
            root=self.manifest.root,
            receipts=len(self.leaves),
            sessions=len(self.chains.heads),
            part=self.is_part,
            witnessed=heads.checkpoint.since,
        )

    def _step(self, step: int, where: str, check: Callable[[*_Args], None], *args: *_Args) -> None:
        try:
            check(*args)
        except EvidenceError as error:
            self.found.error(step, error, where)

    def _receipts(self, vetted: Iterator[Vetted], progress: Progress) -> None:
        """The second pass: it must find what the first one hashed, or somebody changes the file while it is read."""
        place = 0
        for place, one in enumerate(vetted, 1):
            if place > len(self.leaves) or (one.receipt and hashes.raw(one.receipt.leaf) != self.leaves[place - 1]):
                place -= 1
                break
            self.trusted.append(self.trusted[-1])
            self._receipt(place - 1, one)
            progress(place, len(self.leaves))
        if place != len(self.leaves):
            self.readable = False
            raise fields.wrong("it is not what it was a moment ago")

    def _receipt(self, place: int, vetted: Vetted) -> None:
        where, receipt = self._where(place), vetted.receipt
        for fault in vetted.faults:  # V4, V5, V6, V11
            self.found.add(fault.step, fault.code, fault.detail, where)
        self.last_at = None if receipt is None else str(receipt.body["at"])
        if receipt is None:
            self.readable = False
            return
        if self.readable:
            self._step(7, where, self.chains.append, receipt)  # V7
            self._step(9, where, self._causes, receipt)  # V9
            if not self.is_part:
                self._step(10, where, self.processes.append, receipt)  # V10
            self._step(11 if receipt.kind is Kind.STATEMENT else 10, where, self.flows.append, receipt)  # V10, V11
            self.mentions.add(receipt)
        if receipt.kind is Kind.RECOVERY:
            self._step(8, where, self._recovery, place, receipt)  # V8
        self._step(13, where, self._relies, receipt)  # V13

    def _causes(self, receipt: Receipt) -> None:
        check_causes(receipt, self.leaves, part=self.is_part)

    def _recovery(self, line: int, receipt: Receipt) -> None:
        """V8, as far as it needs no tree."""
        body = receipt.body
        if "heads" in body:
            check_left(fields.strings(body, "heads"), self.manifest.log, self.registry)
        size, is_placed = fields.count(body, "size"), self.places is not None or not self.is_part
        if is_placed and size > self._place_of(line):
            raise EvidenceError(Finding.INCLUSION_FAIL, f"states a root of size {size}, and fewer receipts come before it")
        self.recoveries.append((line, size, fields.digest(body, "root")))

    def _place(self) -> None:
        """V2: where the receipts of a part stand."""
        found = Inclusion.from_bytes(self.entries.small(pack.INCLUSION, INCLUSION_BYTES_MAX), len(self.leaves))
        found.check(len(self.leaves), self.manifest.size)
        self.inclusion, self.places = found, Places(found.ranges)

    def _replay(self, genesis: Digest | None) -> None:
        """V3: the registry, replayed from its genesis, which is the pinned one: another is not worth the work of its events."""
        lines = self.entries.lines(pack.TRUST)
        first = Registry.replay([line for line in (next(lines, None),) if line is not None])
        if genesis is not None and first.genesis != genesis:
            raise EvidenceError(Finding.KEY_UNKNOWN, f"its genesis is {first.genesis}, and {genesis} is pinned")
        self.registry = reduce(Registry.fold, lines, first)
        if isinstance(self.flows, Flows):
            self.flows.registry = self.registry
        if genesis is None:
            raise EvidenceError(Finding.UNANCHORED, f"nothing pins this registry, whose genesis is {first.genesis}")

    def _relies(self, receipt: Receipt) -> None:
        """V13: on a prefix of the registry in the pack, and never on less than a receipt before it."""
        trust, registry = receipt.trust, self.registry
        before = self.trusted[-1]
        if trust.size > before:
            self.trusted[-1] = trust.size
        if trust.size < before:
            raise EvidenceError(Finding.ROLLBACK, f"relies on registry size {trust.size}, after one that relies on {before}")
        if registry is None:
            return
        if trust.size > registry.size:
            raise EvidenceError(Finding.ROLLBACK, f"relies on registry size {trust.size}, and the pack has {registry.size}")
        if registry.head_at(trust.size) != trust.head:
            raise EvidenceError(Finding.REGISTRY_INVALID, "relies on another registry than the pack's")

    def _relied(self, size: int) -> int:
        """The largest registry size that a receipt of the log up to that size relies on."""
        count = size if self.places is None else self.places.below(size)
        return self.trusted[min(count, len(self.trusted) - 1)]

    def _where(self, place: int) -> str:
        return f"receipt {self._place_of(place)}"

    def _place_of(self, line: int) -> int:
        return line if self.places is None else self.places[line]

    def _tree(self, heads: Heads) -> None:
        """V8: the receipts are the leaves that the checkpoint signs, and recoveries state roots that the log had."""
        notes = [head.note for head in (*heads.cosigned, *heads.known) if head.note is not None]
        if self.is_part:
            self._part(heads.checkpoint.note)
        else:
            roots = self._roots_at({len(self.leaves), *(note.size for note in notes), *(size for _, size, _ in self.recoveries)})
            for place, size, stated in self.recoveries:
                if text(roots[size]) != stated:
                    detail = f"states a root of size {size} that the log before it does not have"
                    self.found.add(8, Finding.INCLUSION_FAIL, detail, f"receipt {place}")
            if heads.checkpoint.note is not None:
                self._covers(heads.checkpoint.note, roots[len(self.leaves)])
            for head in heads.cosigned:
                if head.note is not None and roots.get(head.note.size) != head.note.root:
                    detail = f"the log does not have root {text(head.note.root)} at size {head.note.size}"
                    self.found.add(8, Finding.INCLUSION_FAIL, detail, head.where)
        for head in heads.known:
            if head.note is not None:
                self._step(14, KNOWN, self._extends, head.note, {} if self.is_part else roots)

    def _part(self, checkpoint: Checkpoint | None) -> None:
        """V8 in a part: the proof leads from its receipts to the checkpoint."""
        if checkpoint is None:
            return
        self._same(checkpoint)
        if self.inclusion is not None:
            try:
                root = self.inclusion.root(checkpoint.size, self.leaves)
                if root != checkpoint.root:
                    raise EvidenceError(
                        Finding.INCLUSION_FAIL, f"the proof leads to {text(root)}, not to the root that is signed"
                    )
            except EvidenceError as error:
                self.found.error(8, error)

    def _same(self, checkpoint: Checkpoint) -> None:
        if (checkpoint.size, text(checkpoint.root)) != (self.manifest.size, self.manifest.root):  # V2
            self.found.add(2, Finding.MANIFEST_MISMATCH, "size and root are not those of the checkpoint", "manifest")

    def _covers(self, checkpoint: Checkpoint, root: bytes) -> None:
        count = len(self.leaves)
        self._same(checkpoint)
        if checkpoint.size > count:
            self.found.add(8, Finding.TRUNCATED, f"the checkpoint signs {checkpoint.size} receipts, and {count} are here")
        if (checkpoint.size, checkpoint.root) != (count, root):
            detail = f"{count} receipts have root {text(root)}; signed is size {checkpoint.size}, root {text(checkpoint.root)}"
            self.found.add(8, Finding.INCLUSION_FAIL, detail)

    def _extends(self, head: Checkpoint, roots: Mapping[int, bytes]) -> None:
        """V14: the pack is an extension of the head that the verifier knows; where it is not, both are printed."""
        size = self.manifest.size if self.is_part else len(self.leaves)
        here = hashes.raw(self.manifest.root) if self.is_part and head.size == size else roots.get(head.size)
        if head.size > size:
            detail = f"you know size {head.size}, root {text(head.root)}, and the pack ends at size {size}: ask for a newer one"
            self.found.add(14, Finding.ROLLBACK, detail, KNOWN, Exit.STALE)
        elif here is not None and here != head.root:
            detail = f"you know size {head.size}, root {text(head.root)}; at that size the pack has root {text(here)}"
            raise EvidenceError(Finding.SPLIT_VIEW, detail)
        elif here is not None and head.size:  # every log has a head of size 0: it proves nothing
            self.found.close(Axis.FRESHNESS)

    def _roots_at(self, sizes: set[int]) -> dict[int, bytes]:
        """The root at each of these sizes that the log had."""
        frontier = Frontier()
        roots = {0: frontier.root()}
        for leaf in self.leaves:
            frontier = frontier.append(leaf)
            if frontier.size in sizes:
                roots[frontier.size] = frontier.root()
        return roots

    def _whole(self, require_resolved: bool) -> None:
        """V2, V12 and V15, which need the story to its end."""
        for error in self._held():
            self.found.error(12 if error.finding is Finding.REDACTION_MISMATCH else 2, error)
        if self.is_part or not self.readable:
            self.found.leave_open(Axis.COMPLETENESS)
        if not self.readable:
            return
        for leaf, intent in self.flows.open.items():  # V15
            self.found.add(15, Finding.OPEN_INTENT, f"intent `{leaf}` has no outcome", self._where(intent.place))
        for leaf, intent in self.flows.unknown.items() if require_resolved else ():
            self.found.add(15, Finding.OPEN_INTENT, f"the outcome of intent `{leaf}` is UNKNOWN", self._where(intent.place))

    def _held(self) -> Iterator[EvidenceError]:
        if self.readable:
            yield from self.contents.faults(self.mentions)
        yield from self.contents.attachment_faults(self.mentions if self.readable else None, self.manifest.withheld)

    def _seen(self, heads: Heads, question: Question) -> None:
        """V16 and V17: by those whom the verifier believes, and lately."""
        if question.witnesses is not None:
            self._step(16, CHECKPOINT, heads.quorum)
            self.found.close(Axis.WITNESSES)
        if question.oldest is None:
            return
        said = None if self.is_part else self.last_at
        time = said if question.witnesses is None else heads.latest()
        if time is None or time < question.oldest:
            told = "nothing tells how old it is" if time is None else f"it is of {time}"
            self.found.add(17, Finding.STALE, f"{told}, and older than {question.oldest} is too old")
        else:
            self.found.close(Axis.FRESHNESS)
