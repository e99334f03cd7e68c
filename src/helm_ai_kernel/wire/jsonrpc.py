"""JSON-RPC 2.0, one message a line, from the client's end: bytes in, events out, and a result's bytes as they stood on the wire.

An answer belongs to a request only if its id is the very text that we sent (`1` is neither `"1"` nor `1.0`). What nobody
asked for is dropped. Whatever makes it doubtful which answer belongs to what (a second answer to one request, a line that
cannot be read) ends the connection for good: the error is sticky, and what is still open stays unknown (faults 1.11). So does
a large message that is no answer to a request of ours, unread: how much we read is bounded by how much we asked.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical

from .span import envelope, members

LINE_BYTES_MAX = 8 << 20  # several times the largest usual output; what a server that never ends its line can make us hold
UNASKED_BYTES_MAX = 64 << 10  # of all but answers: a notice has some hundred; these are read in milliseconds, 8 MiB in seconds
ABANDONED_MAX = 4096  # requests given up whose late answer is still recognised
METHOD_CHARS_MAX = 128  # of a server's method name in an event
NOT_FOUND = -32601  # JSON-RPC 2.0 §5.1

_OUR_ID = re.compile(rb"[1-9][0-9]{0,17}")


class State(StrEnum):
    OPEN = "open"
    CLOSED = "closed"  # the other end closed between two lines
    ERROR = "error"  # sticky


@dataclass(frozen=True, slots=True)
class Result:
    """`raw` is the text of `result` as it stood. `late`: the request had been given up."""

    id: int
    raw: bytes = field(repr=False)
    late: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """An error answer; `raw` is the text of `error` as it stood."""

    id: int
    code: int
    raw: bytes = field(repr=False)
    late: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """The other end wants an answer from us; `id` is its text, to be echoed, `params` the text of its parameters."""

    id: bytes
    method: str
    params: bytes = field(default=b"{}", repr=False)


@dataclass(frozen=True, slots=True)
class Notified:
    method: str
    params: bytes = field(default=b"{}", repr=False)


@dataclass(frozen=True, slots=True)
class Dropped:
    """An answer to nothing that we sent. `id` is its text, empty where there was none."""

    id: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The other end closed; nothing was cut off."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The last event there is. `sub` is a short machine word, `rest` the bytes that could not be read, as evidence."""

    sub: str
    rest: bytes = field(repr=False)


Event: TypeAlias = Result | Failure | Asked | Notified | Dropped | Ended | Broken


class Peer:
    """One connection. The same bytes give the same events, however they are cut.

    `first` is the id of the first request: where each request has a connection of its own, ids still differ.
    """

    def __init__(
        self, *, line_bytes_max: int = LINE_BYTES_MAX, unasked_bytes_max: int = UNASKED_BYTES_MAX, first: int = 1
    ) -> None:
        self.state = State.OPEN
        self._line_bytes_max = line_bytes_max
        self._unasked_bytes_max = unasked_bytes_max
        self._buffer = bytearray()
        self._searched = 0  # bytes of the buffer that are known to hold no newline
        self._ended = False
        self._next = first
        self._pending: set[int] = set()
        self._abandoned: dict[int, None] = {}  # in order of giving up
        self._forgotten = 0  # ids up to here may be late answers that are not recognised any more

    def request(self, method: str, params: bytes) -> tuple[int, bytes]:
        """A fresh id and the line to send; `params` goes in as it is. Raises `OutsideError` when no request can be made."""
        if self.state is not State.OPEN:
            raise OutsideError(Reason.ERR_CONNECTOR_FAILED, f"the connection is in state `{self.state}`")
        line = b'{"jsonrpc":"2.0","id":%d,"method":%s,"params":%s}\n' % (self._next, canonical(method), _one_line(params))
        number = self._next
        self._next += 1
        self._pending.add(number)
        return number, line

    @property
    def next_id(self) -> int:
        """That of the next request."""
        return self._next

    @property
    def pending(self) -> int:
        return len(self._pending)

    def abandon(self, number: int) -> None:
        """Nobody waits for this answer any more; should it come, it is late, and it is not a surprise."""
        if number not in self._pending:
            return
        self._pending.remove(number)
        self._abandoned[number] = None
        if len(self._abandoned) > ABANDONED_MAX:
            oldest = next(iter(self._abandoned))
            del self._abandoned[oldest]
            self._forgotten = max(self._forgotten, oldest)

    def feed(self, data: bytes) -> None:
        """Bytes as they came; `b""` is the end of the stream."""
        if self.state is State.OPEN:
            self._buffer += data
            self._ended = self._ended or not data

    def next_event(self) -> Event | None:
        """The next event that the bytes so far complete. After `Broken` or `Ended` there is none."""
        if self.state is not State.OPEN:
            return None
        cut = self._buffer.find(b"\n", self._searched)
        self._searched = len(self._buffer) if cut < 0 else 0
        if (len(self._buffer) if cut < 0 else cut) > self._line_bytes_max:
            return self.fail("line_bytes", bytes(self._buffer[: self._line_bytes_max]))
        if cut < 0:
            return self._end() if self._ended else None
        line = bytes(self._buffer[:cut])
        del self._buffer[: cut + 1]
        return self.message(line)

    def fail(self, sub: str, rest: bytes) -> Broken:
        """The sticky end; also for the layer above, when it cannot read what an answer means."""
        self.state = State.ERROR
        self._buffer.clear()
        return Broken(sub, rest)

    def _end(self) -> Event:
        if self._buffer:
            return self.fail("cut_off", bytes(self._buffer))
        self.state = State.CLOSED
        return Ended()

    def message(self, line: bytes) -> Event:
        """One whole message, where something else than lines says what is one."""
        if self.state is not State.OPEN:
            raise OutsideError(Reason.ERR_CONNECTOR_FAILED, f"the connection is in state `{self.state}`")
        if len(line) > self._line_bytes_max:
            return self.fail("line_bytes", line[: self._line_bytes_max])
        answer = envelope(line) if len(line) > self._unasked_bytes_max else None
        if len(line) > self._unasked_bytes_max and (answer is None or not self._awaits(answer["id"])):
            return self.fail("unasked_bytes", line)
        try:
            value = parse(line, bytes_max=self._line_bytes_max, any_number=True)
        except Refused as refused:
            return self.fail(f"json {refused.sub}", line)
        if type(value) is list:
            return self.fail("batch", line)  # removed in revision 2025-06-18
        if type(value) is not dict:
            return self.fail("shape", line)
        if value.get("jsonrpc") != "2.0":
            return self.fail("version", line)
        keys = value.keys() - {"jsonrpc"}
        if "method" in keys:
            return self._call(value, keys, line)
        if {"result", "error"} <= keys:
            return self.fail("result_and_error", line)
        if keys == {"id", "result"}:
            return self._answer(line, answer or members(line))
        code = _code(value.get("error"))
        if code is not None and keys in ({"id", "error"}, {"error"}):  # since 2025-11-25 an error may come without an id
            return self._answer(line, answer or members(line), code)
        return self.fail("shape", line)

    def _call(self, value: dict[str, Json], keys: set[str], line: bytes) -> Event:
        method = value["method"]
        if type(method) is not str or not keys <= {"id", "method", "params"}:
            return self.fail("shape", line)
        if type(value.get("params", {})) not in (dict, list):
            return self.fail("shape", line)
        parts = members(line)
        params = parts.get("params", b"{}")
        if "id" not in keys:
            return Notified(method[:METHOD_CHARS_MAX], params)
        if type(value["id"]) not in (int, str):
            return self.fail("id", line)
        return Asked(parts["id"], method[:METHOD_CHARS_MAX], params)

    def _answer(self, line: bytes, raw: Mapping[str, bytes], code: int | None = None) -> Event:
        number, found = self._claim(raw.get("id", b""))
        if found is _Found.TWICE:
            return self.fail("id_conflict", line)
        if found is _Found.NOTHING:
            return Dropped(raw.get("id", b""))
        late = found is _Found.LATE
        return Result(number, raw["result"], late) if code is None else Failure(number, code, raw["error"], late)

    def _awaits(self, text: bytes) -> bool:
        """Whether an answer with this id would be taken."""
        return int(text) in self._pending or int(text) in self._abandoned

    def _claim(self, text: bytes) -> tuple[int, "_Found"]:
        """Which of our requests has exactly this text as its id. An answer is taken once."""
        number = int(text) if _OUR_ID.fullmatch(text) else 0
        if number in self._pending:
            self._pending.remove(number)
            return number, _Found.WAITING
        if number in self._abandoned:
            del self._abandoned[number]
            return number, _Found.LATE
        return number, _Found.TWICE if self._forgotten < number < self._next else _Found.NOTHING


class _Found(StrEnum):
    WAITING = "waiting"
    LATE = "late"
    TWICE = "twice"  # we sent it, and it has had its answer
    NOTHING = "nothing"


def _code(error: Json) -> int | None:
    """The code of a well-formed error object (JSON-RPC 2.0 §5.1)."""
    if type(error) is not dict or not error.keys() <= {"code", "message", "data"} or type(error.get("message")) is not str:
        return None
    code = error.get("code")
    return code if type(code) is int and abs(code) < 1 << 31 else None


def notification(method: str, params: bytes | None = None) -> bytes:
    if params is None:
        return b'{"jsonrpc":"2.0","method":%s}\n' % canonical(method)
    return b'{"jsonrpc":"2.0","method":%s,"params":%s}\n' % (canonical(method), _one_line(params))


def answer(number: bytes, result: bytes) -> bytes:
    """`number` is the text of the id that was asked with."""
    return b'{"jsonrpc":"2.0","id":%s,"result":%s}\n' % (number, _one_line(result))


def refuse(number: bytes, code: int, message: str) -> bytes:
    return b'{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":%s}}\n' % (number, code, canonical(message))


def _one_line(text: bytes) -> bytes:
    """A newline would end the message and begin another one that nobody decided on."""
    if b"\n" in text or b"\r" in text:
        raise Refused(Reason.ERR_UPSTREAM_SHAPE, "a message part with a line break", sub="line_break")
    return text
