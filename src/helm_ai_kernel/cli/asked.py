"""A held call in words, from the bytes that would be dispatched: nothing hidden, nothing that a terminal could obey.

Every character that is not printable ASCII is shown by its number, and named: what looks like another character, or like nothing,
does not pass for it. What is too long to look at is cut, and says so.
"""

import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from helm_ai_kernel.app.asks import Unasked, Waiting
from helm_ai_kernel.guardian.fit import duration, words
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.ceremony import State
from helm_ai_kernel.tcb.findings import visible
from helm_ai_kernel.tcb.ijson import BYTES_MAX, parse
from helm_ai_kernel.tcb.statement import Allows

from .output import plain

VALUE_CHARS_MAX = 4000  # of one argument on a terminal: fifty lines
LINE_CHARS_MAX = 60
NAMED_MAX = 12  # unusual characters of one argument that are named; more are counted


def line(call: Waiting) -> str:
    """One line of a list."""
    ceremony = call.ceremony
    said = plain(parse(call.arguments, bytes_max=BYTES_MAX), LINE_CHARS_MAX)
    return f"#{ceremony.index:<6} {call.held.state.value:<10} {visible(ceremony.principal)} {visible(ceremony.tool)} {said}"


def unasked(call: Unasked) -> str:
    """One line of what was refused because nobody was there."""
    said = plain(parse(call.arguments, bytes_max=BYTES_MAX), LINE_CHARS_MAX)
    return f"#{call.decision.index:<6} unasked    {visible(call.principal)} {visible(call.tool)} {said}"


def whole(call: Waiting) -> Iterator[str]:
    """All that a person needs to decide."""
    ceremony, decision = call.ceremony, call.decision
    yield f"call #{ceremony.index}  {ceremony.call}"
    yield f"  {visible(ceremony.principal)} at {visible(call.door)} asks for {visible(ceremony.tool)}"
    if ceremony.by_client:
        yield "  its caller acts on it, not the kernel"
    yield f"  {decision.body['effect']}, pinned as {ceremony.pin[7:19]}, held by {', '.join(map(visible, decision.rules))}"
    yield f"  intent {ceremony.intent}"
    yield from _terms(call)
    yield f"  arguments, {len(call.arguments)} bytes:"
    arguments: Any = parse(call.arguments, bytes_max=BYTES_MAX)
    for name, value in arguments.items():
        yield from _argument(name, value)
    if not arguments:
        yield "    (none)"


def standing(call: Waiting) -> str:
    """How far it is."""
    held, ceremony = call.held, call.ceremony
    names = ", ".join(visible(voice.principal) for voice in ceremony.approvals if voice.statement in held.statements)
    if held.state is State.WAITING:
        so_far = f", so far by {names}" if names else ""
        return f"waits for {ceremony.requires.approvers} approval{'s' * (ceremony.requires.approvers > 1)}{so_far}"
    if held.state is State.COMPLETE:
        wait = ceremony.requires.timelock_ms
        when = f"in {duration(wait)} at the earliest, " if wait else ""
        return f"approved by {names}: {when}it goes on when the same call is made again"
    return f"{held.state.value}"


def _terms(call: Waiting) -> Iterator[str]:
    ceremony = call.ceremony
    requires = ceremony.requires
    until = datetime.fromtimestamp((ceremony.at.wall_ms + requires.expires_ms) / 1000, UTC)
    yield f"  {standing(call)}"
    if requires.timelock_ms:
        yield f"  {duration(requires.timelock_ms)} pass between the last approval and the dispatch"
    yield f"  silence denies it at {until:%Y-%m-%d %H:%M:%S} UTC; not by {', '.join(map(visible, requires.not_by))}"


def granted(allows: Allows, tool: str) -> Iterator[str]:
    """What a grant allows, whole or said to be cut."""
    for text in words(allows, tool):
        yield f"    {visible(text, VALUE_CHARS_MAX)}"
        if len(text) > VALUE_CHARS_MAX:
            yield _cut(text)
        yield from _unusual(text)


def _argument(name: str, value: Any) -> Iterator[str]:
    text = plain(value, VALUE_CHARS_MAX)
    yield f"    {visible(name, VALUE_CHARS_MAX)} = {text}"
    full = plain(value, 1 << 30)
    if len(full) > VALUE_CHARS_MAX or len(name) > VALUE_CHARS_MAX:
        yield _cut(full)
    yield from _unusual("".join(_texts(name, value)))


def _cut(full: str) -> str:
    return f"      CUT: {len(full)} characters in all, sha256 {hashes.digest(full.encode())[7:]}; --format json shows them"


def _unusual(text: str) -> Iterator[str]:
    unusual = sorted({char for char in text if not " " <= char <= "~"})
    for char in unusual[:NAMED_MAX]:
        yield f"      UNUSUAL: \\u{{{ord(char):x}}} {unicodedata.name(char, 'without a name')}"
    if len(unusual) > NAMED_MAX:
        yield f"      UNUSUAL: {len(unusual) - NAMED_MAX} more"


def _texts(name: str, value: Any) -> Iterator[str]:
    """Every character of it, however deep."""
    rest = [name, value]
    while rest:
        node = rest.pop()
        if isinstance(node, str):
            yield from node
        elif isinstance(node, dict):
            rest += [*node.keys(), *node.values()]
        elif isinstance(node, list):
            rest += node
