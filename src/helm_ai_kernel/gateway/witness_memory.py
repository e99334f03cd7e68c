"""What a witness remembers: of each log the newest note that it cosigned, and notes of those that may show two histories.

A file is replaced whole and durably. One process has the folder: two with one key and two memories would vouch for anything.
"""

import fcntl
import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from helm_ai_kernel.disk import durable
from helm_ai_kernel.tcb.checkpoint import NOTE_BYTES_MAX, Checkpoint
from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.cosign import VerifierKey, cosigned_at
from helm_ai_kernel.tcb.digest import sha256
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError

KEPT_MAX = 64  # files of each kind for each log: two notes are the proof, and whoever has the log's key can sign any number

_NOTES, _LOCK = "logs", "lock"


class Kind(StrEnum):
    """What two notes by one log say against it; also the name of the folder. The one cannot use up the room of the other."""

    EVIDENCE = "evidence"  # two roots for one size: proof
    SUSPECTED = "suspected"  # came with a proof that does not hold: anybody can send a genuine note like that


class Memory:
    """Open it with `Memory.open`, which takes the folder; `close` lets go of it."""

    def __init__(self, folder: Path, notes: dict[str, Checkpoint], lock: int) -> None:
        self._folder = folder
        self._notes = notes
        self._lock = lock

    @classmethod
    def open(cls, folder: Path, vkey: VerifierKey) -> "Memory":
        """Raises `OutsideError` where another process has it, or where a note is not as this witness (`vkey`) wrote it."""
        for part in (_NOTES, *Kind):
            (folder / part).mkdir(mode=0o700, exist_ok=True)
        durable.sync_directory(folder)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                detail = f"another witness has `{folder}`"
                raise OutsideError(Reason.ERR_STORE_LOCKED, detail, hint="end that one, or take another --dir") from None
            return cls(folder, {note.origin: note for note in remembered(folder, vkey)}, lock)
        except BaseException:
            os.close(lock)
            raise

    def last(self, origin: str) -> Checkpoint | None:
        """The newest note of that log that was cosigned, with the cosignature."""
        return self._notes.get(origin)

    def remember(self, note: Checkpoint) -> None:
        """Durable when it returns; raises `OSError`, and then nothing that leaves may rest on it."""
        durable.write(self._folder / _NOTES / _name(note.origin), [note.note], mode=0o600)
        self._notes[note.origin] = note

    def keep(self, kind: Kind, *notes: Checkpoint) -> bool:
        """Put these notes, all of them or none, into the `place` of their log; whether anything is new. Raises `OSError`."""
        folder = self.place(kind, notes[0].origin)
        folder.mkdir(mode=0o700, exist_ok=True)
        durable.sync_directory(folder.parent)
        paths = {folder / f"{note.size:016}-{note.root.hex()[:16]}.txt": note for note in notes}
        new = [path for path in paths if not path.exists()]
        if len(os.listdir(folder)) + len(new) > KEPT_MAX:
            return False
        for path in new:
            durable.write(path, [paths[path].note], mode=0o600)
        return bool(new)

    def place(self, kind: Kind, origin: str) -> Path:
        return self._folder / kind / _name(origin).removesuffix(".txt")

    def close(self) -> None:
        os.close(self._lock)


def remembered(folder: Path, vkey: VerifierKey) -> Iterator[Checkpoint]:
    """Every note in the folder, by log; raises `OutsideError(ERR_STORE_CORRUPT)` where one is not as this witness wrote it."""
    for path in sorted((folder / _NOTES).glob("[!.]*")):
        try:
            with path.open("rb") as file:
                note = Checkpoint.from_bytes(file.read(NOTE_BYTES_MAX + 1))
            if path.name != _name(note.origin) or cosigned_at(note, vkey) is None:
                raise EvidenceError(Finding.CHECKPOINT_SIG, "it is of another log or by another witness")
        except EvidenceError as error:
            detail = f"`{path}` is not as this witness wrote it: {error.detail}"
            raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint="restore the file: never cosign without it") from None
        yield note


def evidence(folder: Path) -> list[Path]:
    """The files of proof, against whatever log."""
    return sorted((folder / Kind.EVIDENCE).glob("*/[!.]*.txt"))


def suspected(folder: Path) -> list[Path]:
    """The files of what proves nothing by itself."""
    return sorted((folder / Kind.SUSPECTED).glob("*/[!.]*.txt"))


def _name(origin: str) -> str:
    """An origin can have a slash, and more characters than a file name."""
    return f"{sha256(origin.encode()).hex()[:32]}.txt"
