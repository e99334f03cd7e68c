"""The keys of subjects: each encrypts what was kept about one person or thing, and is destroyed when that is to be erased.

A folder of small files. `<id>` holds a subject's name and key; `<hash>`, a link to it, is found by the name: a keyed hash, so
that a listing of the folder says no names. `secret` is the key of these hashes and of the marks of idempotency keys. Who
destroys a key holds the store's lock (`docs/spec/erasure.md`).
"""

import base64
import binascii
import errno
import hmac
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from helm_ai_kernel.disk import durable
from helm_ai_kernel.tcb import fields
from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical

from . import files

SECRET = "secret"
ID_BYTES, KEY_BYTES = 16, 32
NONCE_BYTES = 12  # random: of 2^32 records under one key two have the same one with a chance below 2^-32 (SP 800-38D, 8.3)
CACHED_MAX = 4096  # keys in memory, about 2 KB each; reading one again takes some 50 us

_ID = re.compile(rf"[0-9a-f]{{{2 * ID_BYTES}}}\Z")  # what a key is called; the rest are the secret, links, and copies
_IDS = re.compile(rb'"id"\s*:\s*"([0-9a-f]{%d})"' % (2 * ID_BYTES))  # of keys, also of many in one file; a name is escaped
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Subject:
    """One subject, whose key is here."""

    id: bytes
    name: str = field(repr=False)
    _cipher: AESGCM = field(repr=False)

    def seal(self, content: bytes, place: bytes) -> bytes:
        """What only this key opens, and only at this place."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """The inverse of `seal`; raises `EvidenceError` for everything else."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)
        except (InvalidTag, ValueError):
            raise EvidenceError(Finding.REDACTION_MISMATCH, "it does not open with the key of its subject") from None


def make(folder: Path) -> None:
    """The folder of a new kernel, durable; raises `OutsideError` where one is there."""
    folder.mkdir(mode=0o700)
    files.create(folder / SECRET, os.urandom(KEY_BYTES))
    durable.sync_directory(folder.parent)


class Subjects:
    """The ledger's `Vault`, and what people ask of it besides.

    A key that was read stays in memory, and counts while its file is there: another process may destroy it.
    """

    def __init__(self, folder: Path) -> None:
        """Raises `OutsideError` where the secret is not there: with another one, no repeated call would be known as one."""
        self._folder = folder
        self._prefix = f"{folder}{os.sep}"  # of what is looked for at every use of a key
        self._named: dict[str, Subject] = {}
        self._known: dict[bytes, Subject] = {}
        self._destroyed: set[bytes] = set()  # here: another thread may be about to remember one of them
        self._secret = files.read(folder / SECRET)
        if len(self._secret) != KEY_BYTES:
            raise files.unavailable(f"`{folder / SECRET}` is not a secret as it was written", "restore the file")

    def named(self, name: str) -> Subject:
        """The subject of that name; one that is met for the first time gets an id and a key, durable when this returns."""
        found = self._named.get(name)
        if found is None or found.id in self._destroyed or not self._is_there(found.id):
            found = self._cached(self.find(name) or self._new(name))
        return found

    def of(self, id: bytes) -> Subject | None:
        """The subject with that id; None where its key is not here."""
        if id in self._destroyed:
            return None
        found = self._known.get(id)
        if found is not None and self._is_there(id):
            return found
        self._forget(id)
        found = self._read(id)
        return None if found is None else self._cached(found)

    def mark(self, text: str) -> bytes:
        """What only this kernel computes of a text, always the same: to find a text again that is not kept."""
        return hmac.digest(self._secret, b"mark\0" + text.encode("utf-8", "surrogatepass"), "sha256")

    def destroy(self, *ids: bytes) -> None:
        """The keys are gone when this returns, with names and copies; twice is as good as once. Raises `OutsideError`."""
        self._destroyed.update(ids)
        for id in ids:
            self._forget(id)
        if ids:
            _of_disk("a key could not be destroyed", lambda: self._wipe({id.hex() for id in ids}))

    def find(self, name: str) -> Subject | None:
        """The subject of that name, if there is one."""
        link = self._link(name)
        if not link.is_symlink():
            if link.exists():
                detail = f"`{link}` was a link and is a copy of a key: this home was copied with its links followed"
                raise files.unavailable(f"{detail}; name subjects by their ids, or copy it anew", "helm-ai-kernel subjects")
            return None
        found = self._read(bytes.fromhex(os.readlink(link)))
        if found is not None and found.name != name:
            raise _damaged(link)
        return found

    def listed(self) -> Iterator[Subject]:
        """Every subject whose key is here, in the order of their ids."""
        for path in sorted(self._folder.iterdir()):
            found = self._read(bytes.fromhex(path.name)) if _is_key(path) else None
            if found is not None:
                yield found

    def sweep(self) -> None:
        """What a process that died left half made: a key may be in it. For whoever holds the store's lock."""

        def work() -> None:
            left = list(self._folder.glob(".*"))
            for path in left:
                if path.lstat().st_nlink == 1:  # else it is another name of a key that is in its place
                    _overwrite(path)
                path.unlink()
            if left:
                durable.sync_directory(self._folder)

        _of_disk("what is left of a key could not be destroyed", work)

    def _new(self, name: str) -> Subject:
        """The link first, of which nothing depends until the key is there: then one sync of the folder makes both durable."""
        id, key, link = os.urandom(ID_BYTES), os.urandom(KEY_BYTES), self._link(name)

        def work() -> None:
            link.unlink(missing_ok=True)  # to nothing: of a key that was never made, or was destroyed
            os.symlink(id.hex(), link)
            files.put(self._folder / id.hex(), _line(id, name, key))

        _of_disk("a key could not be made", work)
        return Subject(id, name, AESGCM(key))

    def _is_there(self, id: bytes) -> bool:
        return os.path.exists(self._prefix + id.hex())  # half of what a `Path` costs that is built each time

    def _cached(self, found: Subject) -> Subject:
        if len(self._known) >= CACHED_MAX:
            self._known.clear()
            self._named.clear()
        self._known[found.id] = self._named[found.name] = found
        if found.id in self._destroyed:
            self._forget(found.id)
        return found

    def _forget(self, id: bytes) -> None:
        found = self._known.pop(id, None)
        if found is not None:
            self._named.pop(found.name, None)

    def _read(self, id: bytes) -> Subject | None:
        """As it was written, in one form; None where it is not there. Raises `OutsideError` for anything else."""
        path = self._folder / id.hex()
        try:
            return _parsed(id, path)
        except OutsideError:
            if path.exists():
                raise
            return None  # not there, or destroyed while it was read

    def _link(self, name: str) -> Path:
        return self._folder / hmac.digest(self._secret, b"name\0" + name.encode("utf-8", "surrogatepass"), "sha256").hex()

    def _wipe(self, ids: set[str]) -> None:
        """Links and copies first: whoever is interrupted here finds the key again by its id, which the log has."""
        there = {id for id in ids if (self._folder / id).exists()}
        with os.scandir(self._folder) as entries:  # which says of each what it is: a start with an erasure looks at them all
            for entry in list(entries):
                path = Path(entry.path)
                if entry.is_symlink():
                    if there and os.readlink(path) in there:
                        path.unlink()
                elif entry.is_file(follow_symlinks=False) and (_named_in(path) - {entry.name}) & ids:
                    _destroy(path)  # a copy, as one makes it that follows links
        for id in sorted(there):  # out of its place first: who reads it meanwhile (a scrub) must not take it for a damaged one
            path = self._folder / id
            _destroy(path.rename(path.with_name(f".{id}")))
        durable.sync_directory(self._folder)


def _parsed(id: bytes, path: Path) -> Subject:
    data = files.read(path)
    try:
        body = fields.exact(parse(data), {"v", "kind", "id", "name", "key"})
        key = base64.b64decode(fields.text(body, "key", bytes_max=44), validate=True)
        name = fields.text(body, "name")
    except (EvidenceError, Refused, binascii.Error):
        raise _damaged(path) from None
    if len(key) != KEY_BYTES or data != _line(id, name, key):
        raise _damaged(path)
    return Subject(id, name, AESGCM(key))


def _named_in(path: Path) -> set[str]:
    """The ids of the keys in a file, whatever else is in it."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        return {id.decode() for id in _IDS.findall(file.read())}


def _destroy(path: Path) -> None:
    _overwrite(path)
    path.unlink()


def _overwrite(path: Path) -> None:
    """In place, as far as the disk does it there: what journals, snapshots and flash keep is out of reach."""
    with open(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "wb") as file:
        file.write(os.urandom(os.fstat(file.fileno()).st_size))
        file.flush()
        os.fsync(file.fileno())


def _is_key(path: Path) -> bool:
    return _ID.match(path.name) is not None and stat.S_ISREG(path.lstat().st_mode)


def _line(id: bytes, name: str, key: bytes) -> bytes:
    body: dict[str, Json] = {"v": 1, "kind": "subject-key", "id": id.hex(), "name": name}
    return canonical({**body, "key": base64.b64encode(key).decode()}) + b"\n"


def _of_disk(what: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except OSError as error:
        reason = Reason.ERR_EVIDENCE_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else Reason.ERR_EVIDENCE_UNAVAILABLE
        cause = (error.strerror or type(error).__name__).lower()
        raise OutsideError(reason, f"{what}: {cause}", hint="check the disk of keys/subjects") from None


def _damaged(path: Path) -> OutsideError:
    return files.unavailable(
        f"`{path}` is not a subject's key as it was written", "restore keys/ and store/ from the same backup"
    )
