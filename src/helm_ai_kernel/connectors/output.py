"""What a function returned, as JSON: the canonical form, except that integers may be of any size, as connector outputs may."""

import dataclasses
import enum
from typing import Any

from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import DEPTH_MAX, Json
from helm_ai_kernel.tcb.jcs import canonical


def encode(value: object) -> bytes | None:
    """None for what JSON does not have: NaN, bytes, dates, lone surrogates, keys that are no strings, a value inside itself."""
    try:
        plain = _plain(value, DEPTH_MAX)
        try:
            return canonical(plain)
        except Refused:
            return _written(plain)
    except (Refused, ValueError):  # ValueError: an integer of more digits than Python writes
        return None


def _plain(value: Any, depth: int) -> Json:
    """Dataclasses, enum members and tuples become what they look like in the derived schema."""
    if depth < 0:
        raise ValueError("nested too deep")
    if isinstance(value, enum.Enum):
        return _plain(value.value, depth)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (field.name for field in dataclasses.fields(value) if field.init)
        return {name: _plain(getattr(value, name), depth - 1) for name in fields}
    if type(value) in (list, tuple):
        return [_plain(item, depth - 1) for item in value]
    if type(value) is dict and all(type(key) is str for key in value):
        return {key: _plain(item, depth - 1) for key, item in value.items()}
    if value is None or type(value) in (bool, int, float, str):
        return value  # type: ignore[no-any-return]
    raise ValueError("not json")


def _written(value: Json) -> bytes:
    """Like `canonical`, but for the size of integers."""
    if type(value) is int:
        return str(value).encode()
    if type(value) is list:
        return b"[" + b",".join(_written(item) for item in value) + b"]"
    if type(value) is dict:
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))  # a lone surrogate is a ValueError
        return b"{" + b",".join(canonical(key) + b":" + _written(value[key]) for key in keys) + b"}"
    return canonical(value)
