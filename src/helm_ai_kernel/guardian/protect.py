"""Does a call's text name one of the kernel's own directories? Computed here, so that no policy can forget a spelling.

What is looked for is text, in every string of the arguments and in their keys: as it stands, with `%XX` decoded (also when it
was encoded several times), with backslashes as slashes, with `.`, `..` and `//` worked out, in any case of letters. What a
string means to the tool (a link on the disk, `~`, a variable, a shell's quoting) is not known here: that is what separate
user ids are for (`docs/spec/policy.md`).
"""

import unicodedata
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple
from urllib.parse import unquote

from helm_ai_kernel.tcb.ijson import Json

MARKS_MAX = 30  # combining marks in a row (UAX #15, stream-safe text); putting more of them in order takes quadratic time
DECODES_MAX = 8  # nobody writes %2525…; what is still encoded after so many rounds counts as naming the directory


class Seen(NamedTuple):
    touches_kernel: bool
    reserved_key: bool  # a key that begins with `__`: Cedar would read it as an entity or an extension value


class Protected:
    """The directories, prepared once per policy."""

    __slots__ = ("_names", "_texts")

    def __init__(self, paths: Sequence[str]) -> None:
        self._texts = tuple(_folded(path) for path in paths)
        self._names = tuple(text.split("/")[1:] for text in self._texts)

    def look(self, value: Json) -> Seen:
        """Once through the whole value, in a loop: every string and every key, however deep."""
        touches = reserved = False
        rest: list[Json] = [value]
        while rest:
            node = rest.pop()
            if type(node) is str:
                touches = touches or self._named(node)
            elif type(node) is dict:
                for key, item in node.items():
                    reserved = reserved or key.startswith("__")
                    rest.append(key)
                    rest.append(item)
            elif type(node) is list:
                rest.extend(node)
        return Seen(touches, reserved)

    def _named(self, text: str) -> bool:
        if "/" not in text and "\\" not in text and "%" not in text:
            return False  # no absolute path is spelt without one of them
        for _ in range(DECODES_MAX):
            if not text.isascii() and _marks(text) > MARKS_MAX:
                return True  # no name is written so; what it would become is not worked out
            text = _folded(text)
            if any(path in text for path in self._texts) or self._named_by_parts(text):
                return True
            decoded = unquote(text) if "%" in text else text
            if decoded == text:
                return False
            text = decoded
        return True

    def _named_by_parts(self, text: str) -> bool:
        """Walks the path as a file system would, and looks after every step: `..` may take away what was named before."""
        if "\\" not in text and "//" not in text and "/." not in text:
            return False  # nothing in it can be written in a shorter way
        if not any(names[-1] in text for names in self._names):
            return False  # a directory that is reached is named at the end
        at: list[str] = []
        for part in text.replace("\\", "/").split("/"):
            if part == "..":
                del at[-1:]
            elif part not in ("", "."):
                at.append(part)
                if any(part.startswith(names[-1]) and at[-len(names) : -1] == names[:-1] for names in self._names):
                    return True
        return False


def _marks(text: str) -> int:
    """The longest run of combining marks."""
    runs = groupby(text, lambda char: unicodedata.combining(char) != 0)
    return max((sum(1 for _ in run) for marked, run in runs if marked), default=0)


def _folded(text: str) -> str:
    """One spelling for what some file systems hold to be the same name (upper and lower case, composed and decomposed)."""
    return text.casefold() if text.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
