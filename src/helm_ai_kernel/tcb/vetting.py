"""What one receipt must be by itself, wherever it stands: its form, its signature, its log, and a person's (V4, V5, V6, V11).

Nothing here depends on another receipt, and it is most of the work: so it may be done elsewhere, on several cores at once.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from .codes import Finding
from .envelope import Record
from .errors import EvidenceError
from .flows import statement_of
from .keys import Purpose
from .receipt import Receipt
from .registry import Registry
from .statement import authorise


class Fault(NamedTuple):
    step: int
    code: Finding
    detail: str

    @classmethod
    def of(cls, step: int, error: EvidenceError) -> "Fault":
        return cls(step, error.finding, error.detail)


class Vetted(NamedTuple):
    """A line, and what is wrong with it."""

    receipt: Receipt | None  # None: it cannot be read (V4)
    faults: Sequence[Fault]


class Vetter:
    """What is known before the first receipt: the registry, and which heads witnesses saw when."""

    def __init__(self, log: str, registry: Registry | None, seen: Iterable[tuple[int, str]]) -> None:
        """`seen` are the size and time of each head that a quorum cosigned."""
        self.log = log
        self.registry = registry
        self.seen = sorted(seen)
        self._sizes = [size for size, _ in self.seen]
        self._earliest = [min(time for _, time in self.seen[at:]) for at in range(len(self.seen))]

    def vet(self, place: int, line: bytes) -> Vetted:
        faults: list[Fault] = []
        try:
            record = Record.from_bytes(line)  # V4: canonical bytes of a known version
            receipt = Receipt.from_record(record, place)  # V4: the exact fields of a known kind
            statement = statement_of(receipt)
        except EvidenceError as error:
            return Vetted(None, [Fault.of(4, error)])
        cosigned = self._cosigned(place)
        try:
            self._signed(record, receipt, cosigned)  # V5
        except EvidenceError as error:
            faults.append(Fault.of(5, error))
        if receipt.log != self.log:
            faults.append(Fault(6, Finding.DOMAIN_MISMATCH, f"is of log `{receipt.log}`"))  # V6
        if statement is not None:
            try:
                if statement.log != receipt.log:
                    raise EvidenceError(Finding.DOMAIN_MISMATCH, f"holds a statement for log `{statement.log}`")
                if self.registry is not None:
                    authorise(statement, self.registry, receipt.trust.size, cosigned)  # V11: a person signed this
            except EvidenceError as error:
                faults.append(Fault.of(11, error))
        return Vetted(receipt, faults)

    def again(self, place: int, line: bytes, faults: Sequence[Fault]) -> Vetted:
        """What `vet` gave for this line in another process."""
        if any(fault.step == 4 for fault in faults):
            return Vetted(None, faults)
        return Vetted(Receipt.from_record(Record.unsafe_from_vetted(line), place), faults)

    def _signed(self, record: Record, receipt: Receipt, cosigned: str | None) -> None:
        """V5: by one key, which the registry gives for receipts of this log at the size that the receipt relies on."""
        if self.registry is None:
            return
        if len(record.sigs) != 1:
            raise EvidenceError(Finding.SIG_INVALID, "is signed by more than one key")
        entry = self.registry.key(record.sigs[0][0], at_size=receipt.trust.size, cosigned=cosigned)
        record.verify(lambda _: entry.key)
        if entry.key.purpose is not Purpose.EXECUTION:
            raise EvidenceError(Finding.KEY_ROLE, f"is signed by a key for `{entry.key.purpose.value}`")
        if entry.log != receipt.log:
            raise EvidenceError(Finding.DOMAIN_MISMATCH, f"is signed by a key of log `{entry.log}`")

    def _cosigned(self, place: int) -> str | None:
        """When a quorum had seen the log with this receipt in it."""
        first = bisect_right(self._sizes, place)
        return self._earliest[first] if first < len(self._sizes) else None


Vet = Callable[[Vetter, Iterable[bytes]], Iterator[Vetted]]  # one line after the other; where and on how many cores is its own


def vet_here(vetter: Vetter, lines: Iterable[bytes]) -> Iterator[Vetted]:
    for place, line in enumerate(lines):
        yield vetter.vet(place, line)
