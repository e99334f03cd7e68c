"""A name under which the kernel knows a server: made of the client's own, never the same for two that are not the same."""

import re
import unicodedata
from collections.abc import Mapping

from ..config import SERVER
from .tree import Words

CHARS_MAX = 64  # `config.SERVER`
RESERVED = frozenset({"python", "helm", "kernel"})  # what the kernel itself is called, and its functions


def slug(label: str) -> str:
    """`My Server!` is `my-server`."""
    ascii_only = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9_]+", "-", ascii_only).strip("-_")[:CHARS_MAX].rstrip("-_")
    return name or "server"


def name(label: str, what: Words, taken: Mapping[str, Words]) -> str:
    """A name that nobody has, or that this very server has."""
    wanted, number = slug(label), 1
    while True:
        end = f"-{number}" if number > 1 else ""
        found = wanted[: CHARS_MAX - len(end)] + end
        if found not in RESERVED and SERVER.match(found) and taken.get(found, what) == what:
            return found
        number += 1
