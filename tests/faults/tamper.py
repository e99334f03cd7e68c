"""Every small change of a document: each place of it × another type, one more, one less, empty, the value of another place."""

from collections.abc import Callable, Iterator

from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical

Path = tuple[str | int, ...]
HOWS: dict[str, Callable[[Json], Json]] = {
    "type": lambda old: 7 if isinstance(old, str) else "7",
    "null": lambda old: 0 if old is None else None,
    "more": lambda old: stepped(old, 1),
    "less": lambda old: stepped(old, -1),
    "empty": lambda old: type(old)() if old else [old],
}


def places(value: Json, at: Path = ()) -> Iterator[tuple[Path, Json]]:
    """Every JSON pointer but the root's, with what stands there."""
    if at:
        yield at, value
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*at, key))


def edits(line: bytes, *, whole: bool) -> Iterator[tuple[str, bytes]]:
    """What was done where, and the canonical line with it. `whole`: swaps with every other place, not only with the next."""
    found = list(places(parse(line)))
    seen = {line}
    for number, (at, old) in enumerate(found):
        changes = [(name, how(old)) for name, how in HOWS.items()]
        others = [(there, value) for there, value in found[number:] + found[:number] if type(value) is type(old) and value != old]
        changes += [(f"value of {there}", value) for there, value in others[: None if whole else 1]]
        for name, new in changes:
            edited = canonical(put(parse(line), at, new))
            if edited not in seen:
                seen.add(edited)
                yield f"{at}: {name}", edited
        yield f"{at}: gone", canonical(put(parse(line), at, None, gone=True))


def put(value: Json, at: Path, new: Json, *, gone: bool = False) -> Json:
    """`value`, changed at that place."""
    holder: Json = value
    for key in at[:-1]:
        holder = holder[key]  # type: ignore[index, call-overload]
    if gone:
        del holder[at[-1]]  # type: ignore[union-attr, arg-type]
    else:
        holder[at[-1]] = new  # type: ignore[index, call-overload]
    return value


def stepped(old: Json, by: int) -> Json:
    """The next value of the same type, or the one before."""
    if isinstance(old, bool) or old is None:
        return not old
    if isinstance(old, int):
        return old + by
    if isinstance(old, str):
        return old[:-1] + chr(max(ord(old[-1]) + by, 33)) if old else "x"
    if isinstance(old, list):
        return [*old, "x"] if by > 0 else old[:-1]
    return {**old, "x": "x"} if by > 0 else dict(list(old.items())[1:])


def flips(data: bytes, *, stride: int) -> Iterator[tuple[int, bytes]]:
    """`data` with one bit turned, for every `stride`th bit: a stride of 9 reaches all bit positions, one or none per byte."""
    for bit in range(0, len(data) * 8, stride):
        at = bit // 8
        yield bit, data[:at] + bytes([data[at] ^ 1 << bit % 8]) + data[at + 1 :]
