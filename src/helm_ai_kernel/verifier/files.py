"""What the verifier reads: a pack, a pinned digest, a head that was kept. Every file is bounded before it is read."""

import os
from pathlib import Path

from helm_ai_kernel.tcb import checklist
from helm_ai_kernel.tcb.checkpoint import NOTE_BYTES_MAX
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest, is_digest
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.findings import Report
from helm_ai_kernel.tcb.pack import PACK_BYTES_MAX


def check(pack: Path, *, genesis: Digest | None = None, known_head: Path | None = None, require_resolved: bool = False) -> Report:
    """The report on a pack file; raises `OutsideError` where a file cannot be read."""
    head = None if known_head is None else _read(known_head, NOTE_BYTES_MAX)
    return checklist.verify(_read(pack, PACK_BYTES_MAX), genesis=genesis, known_head=head, require_resolved=require_resolved)


def pinned(text: str) -> Digest:
    """A genesis digest as a person pins it; raises `ValueError`."""
    if not is_digest(text):
        raise ValueError("not `sha256:` and 64 lowercase hex digits")
    return Digest(text)


def _read(path: Path, bytes_max: int) -> bytes:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size <= bytes_max:
                data = file.read(bytes_max + 1)
                if len(data) <= bytes_max:
                    return data
    except OSError as error:
        raise OutsideError(
            Reason.ERR_EVIDENCE_UNAVAILABLE, f"`{path}` cannot be read: {error.strerror}", hint="name a file that you may read"
        ) from error
    raise OutsideError(
        Reason.ERR_EVIDENCE_UNAVAILABLE, f"`{path}` is larger than {bytes_max} bytes", hint="name the file that was exported"
    )
