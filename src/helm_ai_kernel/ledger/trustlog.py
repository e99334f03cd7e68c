"""The trust registry on disk: one canonical line per event, replayed and fully verified from genesis at every start."""

import os
from pathlib import Path

from helm_ai_kernel.disk import durable
from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.registry import Registry

BYTES_MAX = 16 << 20  # thousands of key events


def load(path: Path) -> Registry:
    """Raises `EvidenceError` where any event does not verify, `OutsideError` where there is no registry."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise OutsideError(
            Reason.ERR_EVIDENCE_UNAVAILABLE, f"there is no registry at `{path}`", hint="helm-ai-kernel init"
        ) from None
    except OSError as e:
        detail = f"the registry `{path}` cannot be read: {(e.strerror or '').lower()}"
        raise OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint="helm-ai-kernel fsck") from None
    if len(data) > BYTES_MAX or not data.endswith(b"\n"):
        raise EvidenceError(Finding.REGISTRY_INVALID, "too large, empty or cut in the middle of an event", where=str(path))
    return Registry.replay(data[:-1].split(b"\n"))


def create(path: Path, registry: Registry) -> None:
    """Write a new registry file, durable with its directory; refuses to overwrite one."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(b"".join(line + b"\n" for line in registry.lines))
        file.flush()
        os.fsync(file.fileno())
    durable.sync_directory(path.parent)


def append(path: Path, line: bytes) -> Registry:
    """One event more, durable when it returns; the caller holds the store's lock. Raises `EvidenceError` where it may not stand.

    The file is written whole beside its place: after a power cut it is the old one or the new one, which begins with the old one.
    """
    after = load(path).fold(line)
    durable.write(path, [event + b"\n" for event in after.lines], mode=0o600)
    return after
