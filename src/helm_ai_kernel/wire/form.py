"""`application/x-www-form-urlencoded`, as queries and bodies of OAuth have it: one meaning for each name, or none at all."""

from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote

FIELDS_MAX = 32  # an authorization response has five
CHARS_MAX = 16 << 10  # a code may be a whole token


def encoded(fields: Iterable[tuple[str, str]]) -> str:
    """Blanks become `%20`, which every reader takes for a blank."""
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in fields)


def decoded(text: str) -> Mapping[str, str] | None:
    """None where a name stands twice, or a byte is no UTF-8: two readers could take different values."""
    if len(text) > CHARS_MAX:
        return None
    found: dict[str, str] = {}
    for part in text.split("&") if text else ():
        name, _, value = (unquote(piece.replace("+", " "), errors="replace") for piece in part.partition("="))
        if not name or name in found or "\ufffd" in name + value or len(found) == FIELDS_MAX:
            return None
        found[name] = value
    return found
