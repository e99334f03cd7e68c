"""Server-sent events, read strictly and as they come: bytes in, events out, the same ones however the bytes are cut.

The grammar is that of WHATWG HTML §9.2.6: lines end in CR, LF or CR LF, a first byte order mark is skipped, a line that begins
with a colon says nothing, and what no blank line closes is no event. Beyond it: UTF-8 is not repaired, and lines and events are
bounded.
"""

import re
from dataclasses import dataclass, field

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused

EVENT_BYTES_MAX = 8 << 20  # of one event's data, as of one line over stdio
LINE_BYTES_MAX = EVENT_BYTES_MAX + 64
TEXT_BYTES_MAX = 1024  # of an id or a type; an id goes back in a header
RETRY_DIGITS_MAX = 9

_BOM = b"\xef\xbb\xbf"
_END = re.compile(rb"\r\n|\n|\r")
_RETRY = re.compile(rb"[0-9]{1,%d}\Z" % RETRY_DIGITS_MAX)


@dataclass(frozen=True, slots=True)
class Event:
    """`data` without the last line end; `id` is the one that holds since it was given, also in an earlier event."""

    type: str
    data: bytes = field(repr=False)
    id: str


class EventReader:
    """What it refused it refuses for ever. `last_id` and `retry_ms` hold for whoever takes the stream up again."""

    def __init__(self, *, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self.last_id = ""
        self.retry_ms: int | None = None
        self._event_bytes_max = event_bytes_max
        self._line_bytes_max = event_bytes_max + 64
        self._buffer = bytearray()
        self._searched = 0
        self._first = True  # nothing was read: a byte order mark may come
        self._after_cr = False  # an LF that comes now belongs to the CR before it
        self._broken = False
        self._id = ""  # takes effect when its event ends
        self._type = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete; raises `Refused(ERR_UPSTREAM_SHAPE)`."""
        if self._broken:
            raise _refused("sse_broken", "what came before was no stream of events")
        self._buffer += data
        events: list[Event] = []
        try:
            self._read(events)
        except Refused:
            self._broken = True
            self._buffer.clear()
            raise
        return events

    def _read(self, events: list[Event]) -> None:
        start = self._skip()
        while start >= 0 and (end := _END.search(self._buffer, max(start, self._searched))) is not None:
            event = self._line(bytes(self._buffer[start : end.start()]))
            if event is not None:
                events.append(event)
            start = self._searched = end.end()
            self._after_cr = end[0] == b"\r"
            if self._after_cr and start < len(self._buffer):  # no LF follows: the pattern would have taken it
                self._after_cr = False
        if start < 0:
            return
        del self._buffer[:start]
        self._searched = len(self._buffer)
        if len(self._buffer) > self._line_bytes_max:
            raise _refused("sse_line_bytes", f"a line has more than {self._line_bytes_max} bytes")

    def _skip(self) -> int:
        """How many bytes at the front are none of a line; -1 where more have to come before that is known."""
        if self._after_cr and self._buffer:
            self._after_cr = False
            if self._buffer[:1] == b"\n":
                return 1
        if self._first:
            if len(self._buffer) < len(_BOM) and _BOM.startswith(bytes(self._buffer)):
                return -1
            self._first = False
            return len(_BOM) if self._buffer.startswith(_BOM) else 0
        return 0

    def _line(self, line: bytes) -> Event | None:
        if len(line) > self._line_bytes_max:
            raise _refused("sse_line_bytes", f"a line has more than {self._line_bytes_max} bytes")
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._size += len(value) + 1
            if self._size > self._event_bytes_max + 1:
                raise _refused("sse_event_bytes", f"an event has more than {self._event_bytes_max} bytes")
            self._data.append(value)
        elif name == b"event":
            self._type = _short(value)
        elif name == b"id" and b"\0" not in value:
            self._id = _text(_short(value))
        elif name == b"retry" and _RETRY.match(value):
            self.retry_ms = int(value)
        return None  # a comment, or a field that nobody knows

    def _dispatch(self) -> Event | None:
        self.last_id = self._id
        data, kind = self._data, self._type
        self._data, self._type, self._size = [], b"", 0
        if not data:
            return None
        body = b"\n".join(data)
        _text(body)  # JSON text is judged again where it is read; here it only has to be text
        return Event(_text(kind) or "message", body, self.last_id)


def _short(value: bytes) -> bytes:
    if len(value) > TEXT_BYTES_MAX:
        raise _refused("sse_field_bytes", f"an id or a type has more than {TEXT_BYTES_MAX} bytes")
    return value


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise _refused("sse_encoding", "a stream of events is not UTF-8") from None


def _refused(sub: str, detail: str) -> Refused:
    return Refused(Reason.ERR_UPSTREAM_SHAPE, detail, sub=sub)
