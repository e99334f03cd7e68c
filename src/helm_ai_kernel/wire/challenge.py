"""`WWW-Authenticate`: why a server wants a token, or another one (RFC 9110 §11.6.1, RFC 6750 §3, RFC 9728 §5.1).

What cannot be read is no challenge of `Bearer`; what stands there twice has no one meaning, and counts for nothing.
"""

import re
from dataclasses import dataclass

CHARS_MAX = 8 << 10
SCOPES_MAX = 64

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_SCHEME = re.compile(rf"[ \t,]*({_TOKEN})(?=[ \t,]|\Z)[ \t]*")
_PARAM = re.compile(rf'[ \t,]*({_TOKEN})[ \t]*=[ \t]*(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")(?=[ \t,]|\Z)')
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|\Z))")
_QUOTED = re.compile(r"\\(.)")
_SCOPE = re.compile(r"[!#-\[\]-~]{1,256}\Z")  # RFC 6749 §3.3


@dataclass(frozen=True, slots=True)
class Challenge:
    """`scopes` in the order in which they stand; "" where a parameter is not there."""

    error: str = ""
    scopes: tuple[str, ...] = ()
    metadata: str = ""  # `resource_metadata`

    @property
    def insufficient(self) -> bool:
        return self.error == "insufficient_scope"

    @classmethod
    def parse(cls, text: str) -> "Challenge | None":
        """The first challenge of the scheme Bearer; None where there is none."""
        at = 0
        if len(text) > CHARS_MAX:
            return None
        while (found := _SCHEME.match(text, at)) is not None:
            params, at = _params(text, found.end())
            if found[1].lower() == "bearer":
                return cls(params.get("error", ""), scopes(params.get("scope", "")), params.get("resource_metadata", ""))
        return None


def scopes(text: str) -> tuple[str, ...]:
    """The scopes of a list with blanks; none where one of them is none, for then nobody knows which were meant."""
    found = tuple(dict.fromkeys(text.split(" "))) if text else ()
    found = tuple(scope for scope in found if scope)
    return found if len(found) <= SCOPES_MAX and all(_SCOPE.match(scope) for scope in found) else ()


def is_scope(value: object) -> bool:
    return type(value) is str and _SCOPE.match(value) is not None


def _params(text: str, at: int) -> tuple[dict[str, str], int]:
    params: dict[str, str] = {}
    twice: set[str] = set()
    while (found := _PARAM.match(text, at)) is not None:
        name, at = found[1].lower(), found.end()
        twice |= {name} & params.keys()
        params[name] = found[2] if found[2] is not None else _QUOTED.sub(r"\1", found[3])
    if not params and (blob := _TOKEN68.match(text, at)) is not None:
        at = blob.end()
    return {name: value for name, value in params.items() if name not in twice}, at
