"""The one way in which JSON leaves the kernel: RFC 8785 (JCS), so that one value has one byte string and one hash.

orjson writes. It differs from the RFC about floats (its own notation, NaN becomes `null`) and about the order of keys beyond
the Basic Multilingual Plane, so a value that may hold either is laid out here first. `docs/spec/json.md` is the specification.
"""

from collections.abc import Iterable
from math import isfinite
from types import NoneType

import orjson

from .errors import Refused
from .ijson import DEPTH_MAX, Json, not_ijson

_WRITE = (
    orjson.OPT_STRICT_INTEGER  # raises beyond ±(2^53-1)
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_WRITE_SORTED = _WRITE | orjson.OPT_SORT_KEYS
_PLAIN = frozenset({str, int, bool, NoneType})
_FOUR_BYTE_LEADS = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4")


def canonical(value: Json) -> bytes:
    """The RFC 8785 bytes of `value`; raises `Refused(ERR_JSON_NOT_IJSON)` for what has none.

    Exact types only: a subclass, an enum member, a tuple, bytes or a date is refused, and so is nesting that `parse` would
    not read back. `-0.0` is written `0`, as the RFC says; `parse` never returns it.
    """
    if _is_plain((value,), DEPTH_MAX):
        line = _write(value, _WRITE_SORTED)
        if line.isascii() or not any(lead in line for lead in _FOUR_BYTE_LEADS):
            return line
    return _write(_laid_out(value, DEPTH_MAX), _WRITE)


def _is_plain(node: Iterable[Json], left: int) -> bool:
    """Whether everything in `node` is of a type that orjson writes as the RFC does, at most `left` levels deep."""
    for item in node:
        kind = type(item)
        if kind is str or kind is int:
            continue
        if kind is dict:
            if not left or not _is_plain(item.values(), left - 1):  # type: ignore[union-attr]  # a cast costs as much as the check
                return False
        elif kind is list:
            if not left or not _is_plain(item, left - 1):  # type: ignore[arg-type]
                return False
        elif kind not in _PLAIN:
            return False
    return True


def _write(value: object, option: int) -> bytes:
    try:
        return orjson.dumps(value, option=option)
    except TypeError as error:  # a lone surrogate, an integer out of range, a key that is no string
        raise _refused(str(error)) from None


def _refused(message: str) -> Refused:
    if "surrogates" in message:
        return not_ijson("surrogate", "a lone surrogate has no canonical form")
    if "Integer" in message:
        return not_ijson("number_range", "an integer beyond 2^53-1 has no canonical form")
    return not_ijson("type", "a key that is no string has no canonical form")


def _laid_out(node: object, left: int) -> object:
    """`node` with its floats already written and its keys in UTF-16 order (RFC 8785 §3.2.3); says what is foreign in it."""
    if type(node) in _PLAIN:
        return node
    if type(node) is float:
        return orjson.Fragment(es6(node))
    if type(node) is not dict and type(node) is not list:
        raise not_ijson("type", f"`{type(node).__name__}` has no canonical form")
    if not left:
        raise not_ijson("depth", f"nested deeper than {DEPTH_MAX}")
    if type(node) is list:
        return [_laid_out(item, left - 1) for item in node]
    keys = node if len(node) == 1 else sorted(node, key=_utf16)
    return {key: _laid_out(node[key], left - 1) for key in keys}


def _utf16(key: object) -> bytes:
    if type(key) is not str:
        raise not_ijson("type", "a key that is no string has no canonical form")
    try:
        return key.encode("utf-16-be")
    except UnicodeEncodeError:
        raise not_ijson("surrogate", "a lone surrogate has no canonical form") from None


def es6(number: float) -> str:
    """ECMAScript's `Number::toString` (RFC 8785 §3.2.2.3). `repr` finds the same shortest digits and differs in notation only."""
    if not isfinite(number):
        raise not_ijson("number_range", "NaN and Infinity have no canonical form")
    mantissa, _, exponent = repr(number).partition("e")
    mantissa = mantissa.removesuffix(".0")
    if not exponent:
        return "0" if number == 0 else mantissa
    power = int(exponent)
    if power >= 21 or power < -6:
        return f"{mantissa}e{power:+d}"
    sign = "-" if number < 0 else ""
    digits = mantissa.removeprefix("-").replace(".", "")
    if power > 0:
        return sign + digits.ljust(power + 1, "0")
    return f"{sign}0.{'0' * (-power - 1)}{digits}"
