"""Reading a record: exact keys, exact types, no coercion, no unknown fields. Every `from_json` in this room goes through here."""

import re
from collections.abc import Mapping
from typing import TypeVar

from .codes import Finding
from .digest import Digest, is_digest
from .errors import EvidenceError
from .ijson import Json, parse_evidence
from .jcs import canonical

T = TypeVar("T")

TIME = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z\Z", re.ASCII)
HEX32 = re.compile(r"[0-9a-f]{32}\Z")


def wrong(detail: str) -> EvidenceError:
    return EvidenceError(Finding.PACK_MALFORMED, detail)


def exact(value: Json, required: set[str] | frozenset[str], optional: set[str] | frozenset[str] = frozenset()) -> dict[str, Json]:
    """`value` as an object with all of `required` and nothing beyond `optional`."""
    if type(value) is not dict:
        raise wrong("not an object")
    keys = value.keys()
    if keys == required:
        return value
    if not required <= keys:
        raise wrong(f"field `{min(required - keys)}` is missing")
    if not keys - required <= optional:
        raise wrong(f"field `{min(keys - required - optional)}` is unknown")
    return value


def document(data: bytes, kind: str, names: set[str] | frozenset[str], *, bytes_max: int) -> dict[str, Json]:
    """The canonical document of version 1 and this kind, with these fields more.

    Raises `EvidenceError`: PACK_MALFORMED, NON_CANONICAL or UNSUPPORTED.
    """
    value = parse_evidence(data, bytes_max=bytes_max)
    if type(value) is dict and (value.get("v") != 1 or type(value.get("v")) is not int or value.get("kind") != kind):
        raise EvidenceError(Finding.UNSUPPORTED, f"this is read as a `{kind}` of version 1, and it is none")
    if canonical(value) != data:
        raise EvidenceError(Finding.NON_CANONICAL, f"the `{kind}` is not the canonical form of what it says")
    return exact(value, {"v", "kind", *names})


def typed(body: Mapping[str, Json], name: str, kind: type[T]) -> T:
    """The field `name`, whose type is exactly `kind` (`bool` is not `int`)."""
    value = body.get(name)
    if type(value) is not kind:
        raise wrong(f"field `{name}` is not {kind.__name__}")
    return value


def text(body: Mapping[str, Json], name: str, *, bytes_max: int = 4096) -> str:
    value = typed(body, name, str)
    if len(value) > bytes_max:
        raise wrong(f"field `{name}` is too long")
    return value


def count(body: Mapping[str, Json], name: str) -> int:
    """A whole number from 0."""
    value = typed(body, name, int)
    if value < 0:
        raise wrong(f"field `{name}` is negative")
    return value


def digest(body: Mapping[str, Json], name: str) -> Digest:
    value = body.get(name)
    if not is_digest(value):
        raise wrong(f"field `{name}` is not a digest")
    return Digest(str(value))


def digest_or_null(body: Mapping[str, Json], name: str) -> Digest | None:
    return None if body.get(name, "") is None else digest(body, name)


def time(body: Mapping[str, Json], name: str) -> str:
    value = typed(body, name, str)
    if not TIME.match(value):
        raise wrong(f"field `{name}` is not an RFC 3339 time in UTC with milliseconds")
    return value


def hex32(body: Mapping[str, Json], name: str) -> str:
    value = typed(body, name, str)
    if not HEX32.match(value):
        raise wrong(f"field `{name}` is not 32 hex digits")
    return value


def strings(body: Mapping[str, Json], name: str) -> tuple[str, ...]:
    value = typed(body, name, list)
    if not all(type(item) is str for item in value):
        raise wrong(f"field `{name}` is not a list of strings")
    return tuple(value)


def names(body: Mapping[str, Json], name: str, most: int) -> tuple[str, ...]:
    """From 1 to `most` of them, sorted, none twice."""
    value = strings(body, name)
    if not 0 < len(value) <= most or list(value) != sorted(set(value)):
        raise wrong(f"field `{name}` is not a short sorted list without repeats")
    return value


def one_of(body: Mapping[str, Json], name: str, kind: type[T]) -> T:
    """The member of the enum `kind` with that value."""
    value = typed(body, name, str)
    try:
        return kind(value)  # type: ignore[call-arg]  # enums look members up by value
    except ValueError:
        raise EvidenceError(Finding.UNSUPPORTED, f"field `{name}`: `{value[:64]}` is not known here") from None


def digests(body: Mapping[str, Json], name: str, most: int) -> tuple[Digest, ...]:
    """A list of at most so many digests, none twice."""
    found = tuple(digest({name: item}, name) for item in typed(body, name, list))
    if len(found) > most or len(set(found)) != len(found):
        raise wrong(f"field `{name}` is too long or names one twice")
    return found
