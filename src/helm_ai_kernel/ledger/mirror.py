"""The newest signed head, kept outside the store: a store that is put back cannot take it along.

It is written after the commit that it is about: it may lag behind the store, and never leads. A start compares: the store must go
on from the head that is kept here. While a kernel runs nobody else writes here, so that a copy of the store that runs beside the
first one, under the same keys, is noticed by whichever of the two writes second (`docs/spec/log.md`).
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

from helm_ai_kernel.disk import durable
from helm_ai_kernel.tcb import fields
from helm_ai_kernel.tcb.checkpoint import NOTE_BYTES_MAX, Checkpoint, is_origin
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.ijson import parse_evidence
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.keys import PublicKey
from helm_ai_kernel.tcb.merkle import Frontier

from .signer import fitting

BYTES_MAX = 2 * NOTE_BYTES_MAX
GO_ON = "put the newer store back; where it is lost, go on in a new log that names both heads: helm-ai-kernel restore --here"
_FIELDS = frozenset({"v", "note", "frontier"})


def file_name(origin: str) -> str:
    """What a file or a folder of that log is called; raises `OutsideError` for what names no log, or would lead elsewhere."""
    name = origin.replace("/", "-")
    if not is_origin(origin) or name in (".", ".."):
        raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, f"`{origin}` names no log", hint="helm-ai-kernel checkpoint")
    return name


@dataclass(frozen=True, slots=True)
class Head:
    """A signed head, with what is needed to go on from it."""

    checkpoint: Checkpoint
    frontier: Frontier

    def to_bytes(self) -> bytes:
        return canonical({"v": 1, "note": self.checkpoint.note.decode(), "frontier": self.frontier.to_bytes().hex()}) + b"\n"

    def __str__(self) -> str:
        return f"size {self.checkpoint.size}, root {self.checkpoint.root.hex()}"


class Mirror:
    """One file for one log. `read` it once, before anything is written."""

    def __init__(self, folder: Path, origin: str, known: list[PublicKey]) -> None:
        """`known`: every log key that the registry ever named for that log."""
        self.path = folder / f"{file_name(origin)}.json"
        self._origin = origin
        self._known = known
        self._quoted = shlex.quote(str(self.path))
        self._mine: tuple[bytes | None, ...] = (None,)  # what may be there, as far as this process knows

    def read(self) -> Head | None:
        """None where no kernel of this log has run on this machine.

        Raises `OutsideError`: ERR_STORE_CORRUPT where it is no head of this log, ERR_STORE_ROLLBACK where a key signed it that
        the registry never named.
        """
        try:
            data = self._there()
        except OSError as e:
            cause = (e.strerror or type(e).__name__).lower()
            detail = f"the head that is kept outside the store cannot be read: `{self.path}`: {cause}"
            raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint=f"ls -l {self._quoted}") from None
        self._mine = (data,)
        if data is None:
            return None
        try:
            body = fields.exact(parse_evidence(data, bytes_max=BYTES_MAX), _FIELDS)
            if fields.count(body, "v") != 1:
                raise fields.wrong("it is of another version")
            frontier = Frontier.from_bytes(bytes.fromhex(fields.text(body, "frontier")))
            note = fields.text(body, "note", bytes_max=NOTE_BYTES_MAX).encode()
            head = Head(fitting(self._origin, frontier, note), frontier)
        except (EvidenceError, OutsideError, ValueError) as e:
            detail = f"`{self.path}` is no head of this log: {e}"
            raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint=f"mv {self._quoted} {self._quoted}.old") from None
        try:
            head.checkpoint.signer(self._known)
        except EvidenceError:  # a rotation of the log's key was put back with the store: it is newer than this registry
            detail = f"the head that was signed last, kept in `{self.path}`, is by a key that this registry does not name: {head}"
            raise OutsideError(Reason.ERR_STORE_ROLLBACK, detail, hint=GO_ON.replace(" that names both heads", "")) from None
        return head

    def write(self, head: Head) -> None:
        """Raises `OutsideError(ERR_STORE_ROLLBACK)` where somebody else wrote since; a disk that fails only makes it lag."""
        try:
            there = self._there()
            if there not in self._mine:
                detail = f"`{self.path}` was written by another kernel of the same log: a copy of the store runs beside this one"
                raise OutsideError(Reason.ERR_STORE_ROLLBACK, detail, hint="end both and keep both stores")
            data = head.to_bytes()
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._mine = (there, data)  # where the write fails it may have come into its place all the same
            durable.write(self.path, [data], mode=0o600)
            self._mine = (data,)
        except OSError:  # it lags
            pass

    def _there(self) -> bytes | None:
        """Raises `OSError`."""
        try:
            with self.path.open("rb") as file:
                return file.read(BYTES_MAX + 1)
        except FileNotFoundError:
            return None


def rolled_back(kept: Head, found: Frontier, path: Path) -> OutsideError:
    """Both heads are evidence: the log signed both, or somebody put one back."""
    detail = (
        f"the store does not go on from the head that was signed last: kept in `{path}`: {kept};"
        f" found in the store: size {found.size}, root {found.root().hex()}"
    )
    return OutsideError(Reason.ERR_STORE_ROLLBACK, detail, hint=GO_ON)
