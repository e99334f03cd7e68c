"""One entry of a bundle's archive: a plain file, whose name means one place below one folder on every disk.

Links, devices, encryption, names that climb, that differ only in case, or that one system reads otherwise than another have no
place in a bundle. `docs/spec/mcpb.md` is the specification.
"""

import re
import struct
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused

NAME_BYTES_MAX, STEP_BYTES_MAX, STEPS_MAX = 1024, 255, 32  # what disks can hold

_CENTRAL = struct.Struct("<4s6H3L5H2L")
_MARK = b"PK\x01\x02"
_STORED, _DEFLATED = 0, 8
_FLAGS = 0x0806 | 0x08  # the level of compression, sizes behind the content, names in UTF-8; nothing else has a meaning here
_UTF8 = 0x0800
_NEEDED_MAX = 20  # 2.0: folders and deflate; above are 64-bit sizes, encryption, other methods
_FILE, _FOLDER, _TYPE, _SPECIAL = 0o100000, 0o040000, 0o170000, 0o007000
_DOS_FOLDER, _DOS_LABEL = 0x10, 0x08
# 64-bit sizes; PKWARE's unix field (links); ASi's (links); another name; another comment; AES.
_EXTRA_NEVER = frozenset({0x0001, 0x000D, 0x756E, 0x7075, 0x6375, 0x9901})
_BAD = re.compile(r"[\\:\x00-\x1f\x7f]")
_HINT = "helm-ai-kernel explain ERR_BUNDLE_MALFORMED"


def malformed(sub: str, detail: str) -> NoReturn:
    raise Refused(Reason.ERR_BUNDLE_MALFORMED, detail, sub=sub, hint=_HINT)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file. `packed` is its content as it stands in the archive, deflated or as it is."""

    name: str
    executable: bool
    deflated: bool
    crc: int
    size: int
    packed: bytes


class Central(NamedTuple):
    """What the central directory says of an entry."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    mode: int
    offset: int

    @property
    def deflated(self) -> bool:
        return self.method == _DEFLATED

    @property
    def executable(self) -> bool:
        return bool(self.mode & 0o111)

    def check_extra(self, extra: bytes) -> None:
        """Well-formed, and nothing in it that gives the entry another name, size or kind."""
        while extra:
            kind, length = int.from_bytes(extra[:2], "little"), int.from_bytes(extra[2:4], "little")
            if len(extra) < 4 + length or kind in _EXTRA_NEVER:
                malformed("kind", f"`{self.name}` has an extra field that is broken, or makes it something else")
            extra = extra[4 + length :]


class _Fixed(NamedTuple):
    mark: bytes
    made: int
    needed: int
    flags: int
    method: int
    time: int
    date: int
    crc: int
    packed: int
    size: int
    name: int
    extra: int
    comment: int
    disk: int
    internal: int
    external: int
    offset: int


def of_central(data: bytes, at: int, end: int) -> tuple[Central, int]:
    """The entry there and where the next one is; raises `Refused`."""
    if end - at < _CENTRAL.size:
        malformed("archive", "the central directory is cut off")
    fixed = _Fixed._make(_CENTRAL.unpack_from(data, at))
    start = at + _CENTRAL.size
    stop = start + fixed.name + fixed.extra
    if fixed.mark != _MARK or fixed.disk or fixed.comment or stop > end:
        malformed("archive", "the central directory holds something that is no entry of this archive, or a comment")
    raw = data[start : start + fixed.name]
    name = _name(raw, fixed.flags)
    _check_kind(name, fixed)
    mode = fixed.external >> 16
    item = Central(name, raw, fixed.flags, fixed.method, fixed.crc, fixed.packed, fixed.size, mode, fixed.offset)
    item.check_extra(data[start + fixed.name : stop])
    return item, stop


def _check_kind(name: str, fixed: _Fixed) -> None:
    if fixed.flags & ~_FLAGS or fixed.needed > _NEEDED_MAX:
        malformed("encrypted", f"`{name}` is encrypted, or in a form that is not read here")
    if fixed.method not in (_STORED, _DEFLATED) or (fixed.method == _STORED and fixed.packed != fixed.size):
        malformed("method", f"`{name}` is packed in a way that is not read here")
    mode, folder = fixed.external >> 16, name.endswith("/")
    kinds = (0, _FOLDER) if folder else (0, _FILE)
    said_folder = bool(fixed.external & _DOS_FOLDER)
    if mode & _TYPE not in kinds or mode & _SPECIAL or fixed.external & _DOS_LABEL or (said_folder and not folder):
        malformed("kind", f"`{name}` is no plain file and no folder")
    if folder and fixed.size:
        malformed("kind", f"`{name}` is a folder with a content")


def _name(raw: bytes, flags: int) -> str:
    try:
        name = raw.decode("utf-8" if flags & _UTF8 else "ascii")
    except UnicodeDecodeError:
        malformed("name", "a name that is not UTF-8, or does not say so")
    steps = name.removesuffix("/").split("/")
    if len(raw) > NAME_BYTES_MAX or len(steps) > STEPS_MAX or any(len(step.encode()) > STEP_BYTES_MAX for step in steps):
        malformed("name", f"a name of more than {NAME_BYTES_MAX} bytes or {STEPS_MAX} steps")
    if any(step.strip(".") == "" or step.endswith((".", " ")) for step in steps):
        malformed("name", f"`{name}` leaves its folder, or names another place on another system")
    if _BAD.search(name) or any(unicodedata.category(char) in ("Cf", "Zl", "Zp", "Cn", "Co", "Cs") for char in name):
        malformed("name", f"`{name}` holds a character that no name in a bundle has")
    return name


def check_names(names: Iterable[str]) -> None:
    """Some disk would mix them up: twice, differing in case or in the form of a letter, or below what is a file."""
    files: set[str] = set()
    folders: dict[str, str] = {}
    names = list(names)
    if len(set(names)) != len(names):
        malformed("twin", "a name is there twice")
    for name in names:
        steps = name.removesuffix("/").split("/")
        parents = ["/".join(steps[:n]) for n in range(1, len(steps))]
        if name.endswith("/"):
            parents.append(name.removesuffix("/"))
        elif (key := _folded(name)) in files:
            malformed("twin", f"`{name}` differs from another name only in case or form")
        else:
            files.add(key)
        for parent in parents:
            if folders.setdefault(_folded(parent), parent) != parent:
                malformed("twin", f"the folder `{parent}` differs from another one only in case or form")
    if both := files & folders.keys():
        malformed("twin", f"`{min(both)}` is a file and a folder")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
