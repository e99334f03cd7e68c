"""The one way in which JSON enters the kernel: a strict profile of I-JSON (RFC 7493), so that no two readers differ.

Size, encoding and depth are checked before the parser sees a byte, and a number is accepted only where every reader gets the
same value. `docs/spec/json.md` is the specification.
"""

import re
from itertools import accumulate
from math import isfinite
from typing import Any, NoReturn, TypeAlias

import jiter
import orjson

from .codes import Finding, Reason
from .errors import EvidenceError, Refused

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

DEPTH_MAX = 64  # deeper than any tool's arguments; far below what any recursive reader survives
BYTES_MAX = 1 << 20  # a call is a few hundred bytes; doors that need more say so
NUMBER_CHARS_MAX = 512  # without padding zeros, nothing inside the number rule is longer than 350
INTEGER_MAX = 2**53 - 1  # beyond it readers that use doubles disagree (RFC 7493 §2.2)

# A number with a point or an exponent in so few characters has at most 15 digits, and every normal double keeps those (DBL_DIG).
_SURE_CHARS = 16
_SURE_ABOVE = 1e-300

HINTS = {
    "bom": "send the document without a byte order mark",
    "depth": f"nest at most {DEPTH_MAX} levels",
    "dup_key": "send each key once",
    "encoding": "send utf-8",
    "number_precision": "send the number as a string, or with the digits that a double holds",
    "number_range": "send the number as a string",
    "size": "send less, or by reference",
    "surrogate": "send characters whole, as utf-8 or as both halves of the escape",
    "syntax": "send one json document",
    "type": "use only null, bool, int, float, str, list and dict",
}

# The end of the input closes a string too, so that no quote is scanned twice: linear whatever comes in.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_MINUS_ZERO = re.compile(rb"-0(?![.eE])(?<![^\[:, \t\n\r]-0)")  # where a value may start, as far as three bytes can tell
_NUMBER = re.compile(r"-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?\Z", re.ASCII)
_STEPS = bytes(255 if byte in b"]}" else 1 for byte in range(256))  # as signed bytes: -1 and +1
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def parse(data: bytes, *, bytes_max: int = BYTES_MAX, any_number: bool = False) -> Json:
    """The value of one strict document; raises `Refused(ERR_JSON_NOT_IJSON)` with a sub-reason, one of `HINTS`.

    `any_number` is the profile of connector outputs: integers of up to 4,300 digits stay exact, fractions are rounded to doubles.
    """
    _check_bytes(data, bytes_max)
    try:
        value: Json = jiter.from_json(
            data,
            allow_inf_nan=False,
            cache_mode="none",  # no faster with one, and strings (secrets among them) must not outlive the call in a cache
            catch_duplicate_keys=True,
            float_mode="lossless-float",
        )
    except ValueError as error:
        _explain(data, str(error))
    if not any_number and b"-0" in data:
        _refuse_minus_zero(data)
    try:
        # A probe in C: orjson refuses exactly the numbers to look at, jiter's lossless floats and integers beyond 53 (64) bits.
        orjson.dumps(value, option=None if any_number else orjson.OPT_STRICT_INTEGER)
    except TypeError:
        value = _settled(value, any_number)
    return value


def parse_evidence(data: bytes, *, bytes_max: int) -> Json:
    """`parse` for what others signed; raises `EvidenceError(PACK_MALFORMED)`."""
    try:
        return parse(data, bytes_max=bytes_max)
    except Refused as refused:
        raise EvidenceError(Finding.PACK_MALFORMED, f"not strict json ({refused.sub}): {refused.detail}") from None


def not_ijson(sub: str, detail: str) -> Refused:
    return Refused(Reason.ERR_JSON_NOT_IJSON, detail, sub=sub, hint=HINTS[sub])


def _check_bytes(data: bytes, bytes_max: int) -> None:
    if len(data) > bytes_max:
        raise not_ijson("size", f"longer than {bytes_max} bytes")
    if not data.isascii():
        if data.startswith(b"\xef\xbb\xbf"):
            raise not_ijson("bom", "starts with a byte order mark")
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise not_ijson("encoding", f"not utf-8 at byte {error.start}") from None
    if data.count(b"[") + data.count(b"{") > DEPTH_MAX and _depth(data) > DEPTH_MAX:
        raise not_ijson("depth", f"nested deeper than {DEPTH_MAX}")


def _depth(data: bytes) -> int:
    """The deepest nesting outside strings, in C: brackets become steps up and down, and the running sum is taken."""
    steps = _STRING.sub(b"", data).translate(_STEPS, _NOT_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0)


def _refuse_minus_zero(data: bytes) -> None:
    """jiter returns 0 for `-0`, so the text is looked at. (`-0.0` keeps its text and is refused with the floats.)"""
    if _MINUS_ZERO.search(data) and _MINUS_ZERO.search(_STRING.sub(b'""', data)):
        raise not_ijson("number_precision", "`-0` is not a number here")


def _settled(node: Any, any_number: bool) -> Any:
    """`node` with every number held to the rule; never deeper than `DEPTH_MAX`."""
    kind = type(node)
    if kind is dict:
        return {key: _settled(item, any_number) for key, item in node.items()}
    if kind is list:
        return [_settled(item, any_number) for item in node]
    if kind is jiter.LosslessFloat:
        text = str(node)
        return _rounded(text) if any_number else _exact(text)
    if kind is int and not any_number and not -INTEGER_MAX <= node <= INTEGER_MAX:
        raise not_ijson("number_range", "an integer beyond 2^53-1")
    return node


def _exact(text: str) -> int | float:
    """The number rule: accept iff Decimal(text) == Decimal(repr(float(text))) and, if integral, within ±(2^53-1)."""
    number = _rounded(text)
    if type(number) is float and number.is_integer():
        raise not_ijson("number_range", "an integer beyond 2^53-1")
    if len(text) <= _SURE_CHARS and abs(number) > _SURE_ABOVE:
        return number
    if number == 0 and text.startswith("-"):
        raise not_ijson("number_precision", "`-0` is not a number here")
    if _decimal(text) != _decimal(repr(number)):
        raise not_ijson("number_precision", "a number that a double does not hold")
    return number


def _rounded(text: str) -> int | float:
    """The nearest double, as an int where it is one within ±(2^53-1): `1.0` is `1`."""
    if len(text) > NUMBER_CHARS_MAX:
        raise not_ijson("number_precision", f"a number of more than {NUMBER_CHARS_MAX} characters")
    number = float(text)
    if number.is_integer():
        return int(number) if -INTEGER_MAX <= number <= INTEGER_MAX else number
    if not isfinite(number):
        raise not_ijson("number_range", "a number beyond the range of a double")
    return number


def _decimal(text: str) -> tuple[str, int]:
    """The magnitude as (digits, exponent), exactly; `decimal.Decimal` has a context, traps and limits of its own."""
    match = _NUMBER.match(text)
    if match is None:
        raise not_ijson("syntax", "not a json number")
    whole, fraction, exponent = match.groups(default="")
    digits = (whole + fraction).lstrip("0")
    significant = digits.rstrip("0")
    if not significant:
        return "", 0
    return significant, int(exponent or "0") - len(fraction) + len(digits) - len(significant)


def _explain(data: bytes, message: str) -> NoReturn:
    """Our word for what jiter said. Its text may quote a key, so only the place is passed on."""
    if b"\0" in (data[:1], data[1:2]):  # RFC 4627 §3
        raise not_ijson("encoding", "utf-16 or utf-32")
    sub = _word(message)
    if sub == "syntax":
        try:
            jiter.from_json(data, allow_inf_nan=True, cache_mode="none", float_mode="lossless-float")
            sub = "number_range"  # nothing but NaN or Infinity was wrong with it
        except ValueError as error:
            message = str(error)
            sub = _word(message)
    raise not_ijson(sub, f"{_WORDS[sub]} at {message.rpartition(' at ')[2]}")


_WORDS = {
    "dup_key": "a key for the second time",
    "surrogate": "half of a surrogate pair",
    "number_range": "NaN, Infinity or an integer of more than 4,300 digits",
    "syntax": "not json",
}


def _word(message: str) -> str:
    if message.startswith("Detected duplicate key"):
        return "dup_key"
    if "surrogate" in message or "end of hex escape" in message:
        return "surrogate"
    return "number_range" if message.startswith("number out of range") else "syntax"
