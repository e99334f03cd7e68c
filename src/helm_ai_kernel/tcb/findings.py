"""What a verification ends in: findings with stable codes, an exit code, five axes, and what is not proven.

Nothing of a pack's text reaches a reader as it is: `visible` escapes everything that a terminal could obey or that could pass
for something else (`docs/spec/verification.md`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from .codes import Finding
from .errors import EvidenceError
from .ijson import Json

DETAIL_CHARS_MAX = 300  # a finding is a sentence, not a copy of the pack
EACH_MAX = 20  # findings kept of each code; a pack with a million faults still has a short report that hides no code


class Exit(IntEnum):
    """The verdict's name and its exit code."""

    VALID = 0
    UNWITNESSED = 10
    INCOMPLETE = 12
    UNANCHORED = 20
    STALE = 25
    DIVERGED = 30
    INVALID = 40
    UNSUPPORTED = 50
    USAGE = 64


PRECEDENCE = (
    Exit.USAGE,
    Exit.INVALID,
    Exit.DIVERGED,
    Exit.UNSUPPORTED,
    Exit.STALE,
    Exit.UNANCHORED,
    Exit.INCOMPLETE,
    Exit.UNWITNESSED,
    Exit.VALID,
)


class Axis(StrEnum):
    INTEGRITY = "integrity"  # nothing was changed, added or moved
    SIGNERS = "signers"  # every key is one that the pinned registry gives for that purpose
    COMPLETENESS = "completeness"  # every intent has its outcome, and the log is there to its end
    FRESHNESS = "freshness"  # the pack is not older than what the verifier knows
    WITNESSES = "witnesses"


class Standing(StrEnum):
    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_ASKED = "not_asked"


CHECKPOINT = "checkpoint"  # where a finding about the pack's own head is
NOT_PROVEN = (
    "that an outcome is what happened: it is what the kernel saw",
    "times and clocks: they are the operator's word",
    "effects that never passed the kernel",
    "the content of attachments that are withheld",
    "that decisions follow from their policy, that outputs keep their contract, that a key has one name: replay it",
    "how many calls a budget had left: nobody signs helm.toml",
)
UNSEEN = "that nobody was shown another history of this log"
APART = "what the log holds beside these receipts: this is a part of it"

_EXITS = {
    Finding.UNSUPPORTED: Exit.UNSUPPORTED,
    Finding.UNANCHORED: Exit.UNANCHORED,
    Finding.OPEN_INTENT: Exit.INCOMPLETE,
    Finding.SPLIT_VIEW: Exit.DIVERGED,
    Finding.WITNESS_QUORUM: Exit.UNWITNESSED,
    Finding.STALE: Exit.STALE,
}  # every other finding makes the pack INVALID
_KEYS = {Finding.KEY_UNKNOWN, Finding.KEY_WEAK, Finding.KEY_ROLE, Finding.KEY_REVOKED, Finding.KEY_COMPROMISED_UNANCHORED}
_SIGNERS = frozenset({Finding.UNANCHORED, Finding.REGISTRY_INVALID, *_KEYS})
_COMPLETENESS = frozenset({Finding.OPEN_INTENT, Finding.TRUNCATED})
_OLDER = frozenset({Finding.ROLLBACK, Finding.SPLIT_VIEW})
_UNKNOWN = frozenset({Finding.UNANCHORED, Finding.UNSUPPORTED})  # these leave a question open; the others answer it


@dataclass(frozen=True, slots=True)
class Found:
    """One finding. `detail` is plain ASCII whatever the pack says."""

    code: Finding
    step: str  # V1 to V17
    where: str
    detail: str

    def to_json(self) -> dict[str, Json]:
        return {"code": self.code.value, "step": self.step, "where": self.where, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Report:
    exit: Exit
    axes: Mapping[Axis, Standing]
    receipts: int
    sessions: int
    findings: tuple[Found, ...]
    omitted: int  # findings beyond `EACH_MAX` of a code
    log: str | None  # None: the pack could not be read so far
    size: int | None
    root: str | None
    part: bool  # of a log, not a whole one
    witnessed: str | None  # the time by which a quorum had cosigned the checkpoint

    @property
    def not_proven(self) -> tuple[str, ...]:
        more = [] if self.axes[Axis.WITNESSES] is Standing.OK else [UNSEEN]
        more += [APART] if self.part else []
        more += [] if self.size is None else [f"anything after size {self.size}"]
        return (*NOT_PROVEN, *more)

    def to_json(self) -> dict[str, Json]:
        return {
            "verdict": self.exit.name,
            "exit": int(self.exit),
            "axes": {axis.value: self.axes[axis].value for axis in Axis},
            "receipts": self.receipts,
            "sessions": self.sessions,
            "findings": [found.to_json() for found in self.findings],
            "omitted": self.omitted,
            "log": self.log,
            "size": self.size,
            "root": self.root,
            "part": self.part,
            "witnessed": self.witnessed,
            "not_proven": list(self.not_proven),
        }

    def to_text(self) -> str:
        """For a terminal; each line ends with a newline."""
        out = [f"{self.exit.name} (exit {int(self.exit)})"]
        if self.log is not None:
            out += [f"  log       {self.log}", f"  as of     size {self.size}, root {self.root}"]
        if self.witnessed is not None:
            out.append(f"  witnessed {self.witnessed}")
        out.append(f"  receipts  {self.receipts} in {self.sessions} sessions" + (", a part of the log" if self.part else ""))
        out += [f"  {axis.value:<13} {self.axes[axis].value}" for axis in Axis]
        for found in self.findings:
            out.append(f"{found.code.value} ({found.step}, {found.where}): {found.detail}")
        if self.omitted:
            out.append(f"and {self.omitted} more findings with these codes")
        out.append("not proven:")
        out += [f"  - {sentence}" for sentence in self.not_proven]
        return "".join(line + "\n" for line in out)


class Findings:
    """Collects. The worst finding counts for the exit code even where its code has had its share of lines."""

    def __init__(self, *, witnesses: bool = False) -> None:
        self.axes = dict.fromkeys(Axis, Standing.OK)
        self.axes[Axis.FRESHNESS] = Standing.UNKNOWN  # nobody brought a head to compare with
        self.axes[Axis.WITNESSES] = Standing.UNKNOWN if witnesses else Standing.NOT_ASKED
        self._exits = {Exit.VALID}
        self._counts: dict[Finding, int] = {}
        self._kept: list[tuple[int, Found]] = []

    def add(self, step: int, code: Finding, detail: str, where: str = "pack", exit: Exit | None = None) -> None:
        self._exits.add(exit if exit is not None else _EXITS.get(code, Exit.INVALID))
        self._mark(step, code, where)
        self._counts[code] = self._counts.get(code, 0) + 1
        if self._counts[code] <= EACH_MAX:
            self._kept.append((step, Found(code, f"V{step}", visible(where), visible(detail, DETAIL_CHARS_MAX))))

    def error(self, step: int, error: EvidenceError, where: str = "pack") -> None:
        self.add(step, error.finding, error.detail, error.where or where)

    def leave_open(self, *axes: Axis) -> None:
        """What could not be looked at is unknown, unless it is known to have failed."""
        for axis in axes:
            if self.axes[axis] is Standing.OK:
                self.axes[axis] = Standing.UNKNOWN

    def close(self, *axes: Axis) -> None:
        """It could be looked at after all, and nothing was wrong."""
        for axis in axes:
            if self.axes[axis] is Standing.UNKNOWN:
                self.axes[axis] = Standing.OK

    def report(
        self,
        *,
        log: str | None = None,
        size: int | None = None,
        root: str | None = None,
        receipts: int = 0,
        sessions: int = 0,
        part: bool = False,
        witnessed: str | None = None,
    ) -> Report:
        kept = tuple(found for _, found in sorted(self._kept, key=lambda item: item[0]))
        return Report(
            exit=next(exit for exit in PRECEDENCE if exit in self._exits),
            axes=self.axes,
            receipts=receipts,
            sessions=sessions,
            findings=kept,
            omitted=sum(self._counts.values()) - len(kept),
            log=None if log is None else visible(log),
            size=size,
            root=root,
            part=part,
            witnessed=witnessed,
        )

    def _mark(self, step: int, code: Finding, where: str) -> None:
        axis = Axis.INTEGRITY
        if step == 16 and where == CHECKPOINT:
            axis = Axis.WITNESSES
        elif code is Finding.STALE:
            axis = Axis.FRESHNESS
        elif step == 14:
            axis = Axis.FRESHNESS
            if code not in _OLDER:  # the head could not be compared
                return
        elif code in _SIGNERS:
            axis = Axis.SIGNERS
        elif code in _COMPLETENESS:
            axis = Axis.COMPLETENESS
        if code in _UNKNOWN:
            self.leave_open(axis)
            return
        self.axes[axis] = Standing.FAILED
        if axis is Axis.SIGNERS:
            self.leave_open(Axis.INTEGRITY)  # what nobody we know signed may be whole, and proves nothing


def visible(text: str, chars_max: int = 256) -> str:
    """`text` in printable ASCII, one line: everything else, and the backslash, as `\\u{hex}`; cut at `chars_max`."""
    cut = text[:chars_max] + "..." if len(text) > chars_max else text
    if cut.isascii() and cut.isprintable() and "\\" not in cut:
        return cut
    return "".join(char if " " <= char <= "~" and char != "\\" else f"\\u{{{ord(char):x}}}" for char in cut)
