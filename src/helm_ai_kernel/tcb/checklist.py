"""The numbered checklist: everything that a pack must pass, each step cited where it is done (`docs/spec/verification.md`).

One pass over the receipts, in log order; nothing is taken on trust from the pack. Keys come from the registry that the pinned
genesis begins, heads from the verifier's own memory. A step that cannot be done leaves its axis open; none is skipped silently.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import TypeVarTuple

from . import fields, pack
from .chain import Chains
from .checkpoint import Checkpoint
from .codes import Finding
from .digest import Digest, text
from .envelope import Record
from .errors import EvidenceError
from .findings import Axis, Exit, Findings, Report
from .flows import Flows, statement_of
from .graph import check_causes
from .keys import Purpose
from .merkle import Frontier, leaf_hash
from .pack import Contents, Manifest, Mentions
from .process import Processes
from .receipt import Kind, Receipt
from .registry import Registry
from .statement import Statement, authorise

_Args = TypeVarTuple("_Args")


def verify(pack_bytes: bytes, *, genesis: Digest | None, known_head: bytes | None, require_resolved: bool = False) -> Report:
    """Judge a pack. `genesis` pins its registry, `known_head` is a signed note that the verifier kept; both come from outside.

    Raises nothing, whatever the pack: what is wrong with it is in the report.
    """
    found = Findings()
    try:
        files = pack.read(pack_bytes)  # V1
    except EvidenceError as error:
        found.error(1, error)
        found.leave_open(Axis.SIGNERS, Axis.COMPLETENESS)
        return found.report()
    try:
        manifest = Manifest.from_bytes(files[pack.MANIFEST])  # V2
        lines = pack.lines(files[pack.RECEIPTS])
    except EvidenceError as error:
        found.error(2, error)
        found.leave_open(Axis.SIGNERS, Axis.COMPLETENESS)
        return found.report()
    return _Checklist(files, manifest, lines, found).run(genesis, known_head, require_resolved)


class _Checklist:
    """What is known so far of one pack."""

    def __init__(self, files: Mapping[str, bytes], manifest: Manifest, lines: Sequence[bytes], found: Findings) -> None:
        self.files = files
        self.manifest = manifest
        self.lines = lines
        self.found = found
        self.leaves = [leaf_hash(line) for line in lines]
        self.index_of: dict[Digest, int] = {}
        for index, leaf in enumerate(self.leaves):
            self.index_of.setdefault(text(leaf), index)
        self.registry: Registry | None = None
        self.readable = True  # so far: behind a line that cannot be read there is no story to judge
        self.trusted = [0]  # by number of receipts: the largest registry size that one of them relies on
        self.recoveries: list[tuple[int, int, Digest]] = []  # index, and the size and root that it states
        self.mentions = Mentions()
        self.contents = Contents(files)
        self.chains = Chains(self.index_of)
        self.processes = Processes()
        self.flows = Flows(self.contents.bound)

    def run(self, genesis: Digest | None, known_head: bytes | None, require_resolved: bool) -> Report:
        self._step(2, "manifest", self.manifest.check, self.files)  # V2
        for error in self.contents.own_faults():
            self._content(error)
        self._step(3, "registry", self._replay, genesis)  # V3
        if self.registry is None:
            self.found.leave_open(Axis.SIGNERS, Axis.INTEGRITY)  # no signature can be checked
        for index, line in enumerate(self.lines):
            self.trusted.append(self.trusted[-1])
            self._receipt(index, line)
        checkpoint = self._read_note(8, "checkpoint", self.files[pack.CHECKPOINT], Exit.INVALID)
        head = None if known_head is None else self._read_note(14, "known head", known_head, Exit.USAGE)
        self._tree(checkpoint, head)
        self._whole(require_resolved)
        return self.found.report(
            log=self.manifest.log,
            size=self.manifest.size,
            root=self.manifest.root,
            receipts=len(self.lines),
            sessions=len(self.chains.heads),
        )

    def _step(self, step: int, where: str, check: Callable[[*_Args], None], *args: *_Args) -> None:
        try:
            check(*args)
        except EvidenceError as error:
            self.found.error(step, error, where)

    def _receipt(self, index: int, line: bytes) -> None:
        where = f"receipt {index}"
        try:
            record = Record.from_bytes(line)  # V4: canonical bytes of a known version
            receipt = Receipt.from_record(record, index)  # V4: the exact fields of a known kind
            statement = statement_of(receipt)
        except EvidenceError as error:
            self.found.error(4, error, where)
            self.readable = False
            return
        self._step(5, where, self._signed, record, receipt)  # V5
        if receipt.log != self.manifest.log:  # V6
            self.found.add(6, Finding.DOMAIN_MISMATCH, f"is of log `{receipt.log}`", where)
        if self.readable:
            self._step(7, where, self.chains.append, receipt)  # V7
            self._step(9, where, check_causes, receipt, self.index_of)  # V9
            self._step(10, where, self.processes.append, receipt)  # V10
            self._step(10 if statement is None else 11, where, self.flows.append, receipt)  # V10, V11
            self.mentions.add(receipt)
        if statement is not None:
            self._step(11, where, self._stated, statement, receipt)  # V11
        if receipt.kind is Kind.RECOVERY:
            self.recoveries.append((index, fields.count(receipt.body, "size"), fields.digest(receipt.body, "root")))
        self._step(13, where, self._relies, receipt)  # V13

    def _replay(self, genesis: Digest | None) -> None:
        """V3: the registry, replayed from its genesis, which is the pinned one: another is not worth the work of its events."""
        lines = pack.lines(self.files[pack.TRUST])
        first = Registry.replay(lines[:1])
        if genesis is not None and first.genesis != genesis:
            raise EvidenceError(Finding.KEY_UNKNOWN, f"its genesis is {first.genesis}, and {genesis} is pinned")
        self.registry = reduce(Registry.fold, lines[1:], first)
        if genesis is None:
            raise EvidenceError(Finding.UNANCHORED, f"nothing pins this registry, whose genesis is {first.genesis}")

    def _signed(self, record: Record, receipt: Receipt) -> None:
        """V5: by one key, which the registry gives for receipts of this log at the size that the receipt relies on."""
        if self.registry is None:
            return
        if len(record.sigs) != 1:
            raise EvidenceError(Finding.SIG_INVALID, "is signed by more than one key")
        entry = self.registry.key(record.sigs[0][0], at_size=receipt.trust.size)
        record.verify(lambda _: entry.key)
        if entry.key.purpose is not Purpose.EXECUTION:
            raise EvidenceError(Finding.KEY_ROLE, f"is signed by a key for `{entry.key.purpose.value}`")
        if entry.log != receipt.log:
            raise EvidenceError(Finding.DOMAIN_MISMATCH, f"is signed by a key of log `{entry.log}`")

    def _stated(self, statement: Statement, receipt: Receipt) -> None:
        """V11: a person signed this statement, for this log, with a key that the registry gives for it."""
        if statement.log != receipt.log:
            raise EvidenceError(Finding.DOMAIN_MISMATCH, f"holds a statement for log `{statement.log}`")
        if self.registry is not None:
            authorise(statement, self.registry, receipt.trust.size)

    def _relies(self, receipt: Receipt) -> None:
        """V13: on a prefix of the registry in the pack, and never on less than a receipt before it."""
        trust, registry = receipt.trust, self.registry
        before = self.trusted[-1]
        self.trusted[-1] = max(before, trust.size)
        if trust.size < before:
            raise EvidenceError(Finding.ROLLBACK, f"relies on registry size {trust.size}, after one that relies on {before}")
        if registry is None:
            return
        if trust.size > registry.size:
            raise EvidenceError(Finding.ROLLBACK, f"relies on registry size {trust.size}, and the pack has {registry.size}")
        if registry.head_at(trust.size) != trust.head:
            raise EvidenceError(Finding.REGISTRY_INVALID, "relies on another registry than the pack's")

    def _read_note(self, step: int, where: str, note: bytes, exit: Exit) -> Checkpoint | None:
        """A checkpoint of this log, signed by its key (V8; V14 for the known head, where a wrong file is a wrong question)."""
        try:
            checkpoint = Checkpoint.from_bytes(note)
        except EvidenceError as error:
            self.found.add(step, error.finding, error.detail, where, exit)
            return None
        if checkpoint.origin != self.manifest.log:  # V6
            detail = f"is of log `{checkpoint.origin}`, and the pack says `{self.manifest.log}`"
            self.found.add(6 if step == 8 else step, Finding.DOMAIN_MISMATCH, detail, where, exit)
            return None
        if self.registry is None:
            return checkpoint if step == 8 else None
        if step == 8 and not checkpoint.origin.startswith(self.registry.deployment + "/"):  # V6
            detail = f"log `{checkpoint.origin}` is not of deployment `{self.registry.deployment}`"
            self.found.add(6, Finding.DOMAIN_MISMATCH, detail, where)
        try:
            self._signed_by_log(checkpoint, self.registry)
        except EvidenceError as error:
            self.found.error(step, error, where)
            return None
        return checkpoint

    def _signed_by_log(self, checkpoint: Checkpoint, registry: Registry) -> None:
        """By a key that the registry names for this log, and that was in force still at the size that the last receipt relies on.

        Who takes over a log signs for all of it: a key may be younger than the receipts, and than those behind the pack's end.
        """
        signer = checkpoint.signer(registry.log_keys(checkpoint.origin))
        relied = self.trusted[min(checkpoint.size, len(self.lines))]
        registry.key(signer.id, at_size=max(relied, registry.keys[signer.id].since))

    def _tree(self, checkpoint: Checkpoint | None, head: Checkpoint | None) -> None:
        """V8: the receipts are the leaves that the checkpoint signs, and recoveries state roots that the log had."""
        count = len(self.leaves)
        roots = self._roots_at({count, 0 if head is None else head.size, *(size for _, size, _ in self.recoveries)})
        for index, size, stated in self.recoveries:
            if size > index or text(roots[size]) != stated:
                detail = f"states a root of size {size} that the log before it does not have"
                self.found.add(8, Finding.INCLUSION_FAIL, detail, f"receipt {index}")
        if checkpoint is not None:
            self._covers(checkpoint, roots[count])
        if head is not None:
            self._step(14, "known head", self._extends, head, roots)

    def _covers(self, checkpoint: Checkpoint, root: bytes) -> None:
        count = len(self.leaves)
        if (checkpoint.size, text(checkpoint.root)) != (self.manifest.size, self.manifest.root):  # V2
            self.found.add(2, Finding.MANIFEST_MISMATCH, "size and root are not those of the checkpoint", "manifest")
        if checkpoint.size > count:
            self.found.add(8, Finding.TRUNCATED, f"the checkpoint signs {checkpoint.size} receipts, and {count} are here")
        if (checkpoint.size, checkpoint.root) != (count, root):
            detail = f"{count} receipts have root {text(root)}; signed is size {checkpoint.size}, root {text(checkpoint.root)}"
            self.found.add(8, Finding.INCLUSION_FAIL, detail)

    def _extends(self, head: Checkpoint, roots: Mapping[int, bytes]) -> None:
        """V14: the pack is an extension of the head that the verifier knows; where it is not, both are printed."""
        count = len(self.leaves)
        if head.size > count:
            detail = f"you know size {head.size}, root {text(head.root)}, and the pack ends at size {count}: ask for a newer one"
            self.found.add(14, Finding.ROLLBACK, detail, "known head", Exit.STALE)
        elif roots[head.size] != head.root:
            here = text(roots[head.size])
            detail = f"you know size {head.size}, root {text(head.root)}; at that size the pack has root {here}"
            raise EvidenceError(Finding.SPLIT_VIEW, detail)
        elif head.size:  # every log has a head of size 0: it proves nothing
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
        """V12 and V15, which need the story to its end."""
        if not self.readable:
            self.found.leave_open(Axis.COMPLETENESS)
            return
        for error in self.contents.faults(self.mentions, self.manifest.withheld):
            self._content(error)  # V12
        for leaf, index in self.flows.open.items():  # V15
            self.found.add(15, Finding.OPEN_INTENT, f"intent `{leaf}` has no outcome", f"receipt {index}")
        for leaf, index in self.flows.unknown.items() if require_resolved else ():
            self.found.add(15, Finding.OPEN_INTENT, f"the outcome of intent `{leaf}` is UNKNOWN", f"receipt {index}")

    def _content(self, error: EvidenceError) -> None:
        self.found.error(12 if error.finding is Finding.REDACTION_MISMATCH else 2, error)
