"""HTTP/1.1 requests, bytes in and events out: a strict guard, and llhttp (`httptools`) behind it.

However it is cut, it gives the same head, the same body or the same refusal. Two readers see every byte and must agree:

- The *guard* looks at bytes and splits nothing. Line by line it lets through only `METHOD /target HTTP/1.1` and `name: value`,
  each ended by CR LF, of visible ASCII, blanks and tabs: so bare CR, bare LF, NUL, folded lines, a blank before the colon,
  methods in lower case, absolute and authority targets, fragments, HTTP/0.9, 1.0 and 2 end here, and so does what exceeds
  `Sizes`. Before each chunk it lets through only its length, of one to eight hexadecimal digits, and behind the last one only an
  empty line: no extensions, no trailers. It hands on one message, to its last byte.
- *llhttp*, with all its leniencies off, reads what is left: it takes the line and the fields apart, refuses a length beside
  a transfer coding, finds the body, and refuses a chunk that does not end with CR LF.
- `head.py` says what the fields mean together: each once, one `Host`, one length, no other protocol.

The guard counts where the message ends, llhttp says so: where they differ, the request is refused.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import httptools

from .head import METHODS, Head, Sizes, Wrong, ambiguous, keeps_open, too_much, understood, unmediated

__all__ = ["END", "End", "Event", "Head", "Reader", "Sizes", "Wrong"]

# Possessive, as all that repeats without end: whoever sends chooses how much is matched, and each byte is looked at once.
_REST = rb"(?!//)/[A-Za-z0-9/?:@!$&'()*+,;=._~%-]*+ HTTP/1\.1\r\n"  # the characters of RFC 3986 §3.3, §3.4
_LINE = re.compile(b"(?:%b) %b" % ("|".join(sorted(METHODS)).encode(), _REST))
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~]*+\r\n")  # RFC 9110 §5, without obs-text
_WHOLE = re.compile(b"(%b)(?:%b)++\r\n" % (_LINE.pattern, _FIELD.pattern))
_OTHER = re.compile(rb"([A-Z]{1,20}+) [!-~]++ HTTP/([0-9])\.[0-9]\r\n")  # what is a request line, but none of ours
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}+\r\n")
_SIZE_BYTES = 10  # of the longest such line


@dataclass(frozen=True, slots=True)
class End:
    """The request is complete. `Reader.again` goes on to the next one."""


END = End()
Event = Head | bytes | End


class _Said:
    """What llhttp has said about the message that it is fed."""

    def __init__(self) -> None:
        self.target, self.complete = b"", False
        self.fields: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_body(self, piece: bytes) -> None:
        self.body.append(piece)

    def on_message_complete(self) -> None:
        self.complete = True


class Reader:
    """`receive` what arrives, then take events with `next` until it has none; after `END` comes nothing before `again`.

    `next` raises `Wrong`, and whoever asks again gets the same: the connection is dead.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._buffer = bytearray()
        self._said = _Said()
        self._llhttp = httptools.HttpRequestParser(self._said)
        self._wrong: Wrong | None = None
        self.keeps_open = True  # of the last head
        self._begin()

    def _begin(self) -> None:
        self._next: Callable[[], Event | None] = self._read_head
        self._line, self._looked = 0, 0  # where the line begins; how far it was looked at
        self._lines = 0  # how many were let through
        self._left, self._total, self._chunks = 0, 0, 0  # bytes that follow before the next line; bytes of the body; chunks

    @property
    def held(self) -> int:
        """Bytes that were received and are not read yet."""
        return len(self._buffer)

    def receive(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> Event | None:
        """The next event; None where more must arrive first."""
        if self._wrong is not None:
            raise self._wrong
        try:
            return self._next()
        except Wrong as wrong:
            self._wrong = wrong
            raise

    def again(self) -> None:
        """Go on behind `END`."""
        said = self._said
        said.target, said.complete = b"", False
        said.fields.clear()
        self._begin()

    # -- the head

    def _read_head(self) -> Event | None:
        size = self._guarded()
        if size is None:
            return None
        self._feed(size)
        said = self._said
        if len(said.fields) != self._lines - 1:
            raise _differ()
        head = understood(self._llhttp.get_method().decode("ascii"), said.target.decode("ascii"), said.fields)
        if said.complete == head.has_body:
            raise _differ()
        self._next = self._end
        self.keeps_open = keeps_open(head)
        if head.has_body:
            self._expect_body(head)
        return head

    def _guarded(self) -> int | None:
        """The size of the head, when it is there. Lines are judged in order: how they arrived makes no difference."""
        buffer, sizes = self._buffer, self._sizes
        whole = None if self._looked else _WHOLE.match(buffer)
        if whole and whole.end(1) <= sizes.line and whole.end() <= sizes.head:  # a shorter way to the same end
            self._lines = buffer.count(b"\n", 0, whole.end()) - 1
            if self._lines <= sizes.fields + 1:
                return whole.end()
            self._lines = 0
        if not self._lines and buffer and not 65 <= buffer[0] <= 90:
            raise ambiguous("the first byte is not of a method in upper case")
        while True:
            end = buffer.find(b"\n", self._looked) + 1
            stop = end or len(buffer)
            if not self._lines and stop > sizes.line:
                raise too_much(f"more than {sizes.line} bytes of request line", 414)
            if stop > sizes.head:
                raise too_much(f"more than {sizes.head} bytes of header", 431)
            self._looked = stop
            if not end:
                return None
            line, self._line = buffer[self._line : end], end
            if self._lines and line == b"\r\n":
                return end
            self._judge(line)
            self._lines += 1

    def _judge(self, line: bytearray) -> None:
        if self._lines > self._sizes.fields:
            raise too_much(f"more than {self._sizes.fields} header fields", 431)
        if self._lines:
            if not _FIELD.fullmatch(line):
                raise ambiguous(f"line {self._lines} of the header is not `name: value` in visible ASCII, ended by CR LF")
            return
        if _LINE.fullmatch(line):
            return
        other = _OTHER.fullmatch(line)
        if other and (other[1].decode() not in METHODS or int(other[2]) > 1):
            raise unmediated("the method or the version of HTTP is not governed here")
        raise ambiguous("the first line is not a method in upper case, a path and HTTP/1.1")

    # -- the body

    def _expect_body(self, head: Head) -> None:
        length = head.fields.get("content-length")
        if length is None:
            self._next = self._read_size
        else:
            self._count(int(length))
            self._left, self._next = int(length), self._read_whole

    def _count(self, more: int) -> None:
        self._total += more
        if self._total > self._sizes.body:
            raise too_much(f"more than {self._sizes.body} bytes of body")

    def _read_whole(self) -> Event | None:
        if not self._buffer:
            return None
        piece = self._piece()
        if not self._left:
            self._ended()
        return piece

    def _read_size(self) -> Event | None:
        """The line before a chunk."""
        end = self._buffer.find(b"\n", 0, _SIZE_BYTES) + 1
        if not end and len(self._buffer) < _SIZE_BYTES:
            return None
        if not end or not _SIZE.fullmatch(self._buffer, 0, end):
            raise ambiguous("a chunk does not begin with its length in hexadecimal digits alone")
        size = int(self._buffer[: end - 2], 16)
        self._chunks += 1
        if self._chunks > self._sizes.chunks:
            raise too_much(f"more than {self._sizes.chunks} chunks")
        self._count(size)
        self._feed(end)
        self._left = size + 2  # with the line end behind it
        self._next = self._read_chunk if size else self._read_last
        return self._next()

    def _read_chunk(self) -> Event | None:
        if not self._buffer:
            return None
        piece = self._piece()
        if not self._left:
            self._next = self._read_size
        return piece or self._next()  # a line end is no piece

    def _read_last(self) -> Event | None:
        """The empty line behind the last chunk; llhttp would read trailers."""
        if self._buffer[:2] != b"\r\n"[: len(self._buffer)]:
            raise ambiguous("something follows the last chunk")
        if len(self._buffer) < 2:
            return None
        self._feed(2)
        self._ended()
        return self._end()

    def _piece(self) -> bytes:
        """What is there of the bytes that are left, without line ends."""
        size = min(self._left, len(self._buffer))
        self._left -= size
        self._feed(size)
        pieces = self._said.body
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return piece

    def _ended(self) -> None:
        if not self._said.complete:
            raise _differ()
        self._next = self._end

    def _end(self) -> Event | None:
        self._next = self._nothing
        return END

    def _nothing(self) -> Event | None:
        return None

    def _feed(self, size: int) -> None:
        """Hand the first `size` bytes to llhttp, and let go of them."""
        early = self._said.complete
        try:
            self._llhttp.feed_data(self._buffer if size == len(self._buffer) else self._buffer[:size])
        except httptools.HttpParserUpgrade:  # `head.py` refuses it, in its words
            pass
        except httptools.HttpParserError as error:
            raise ambiguous(f"it cannot be read: {str(error)[:200].lower()}") from None
        if early:
            raise _differ()
        del self._buffer[:size]


def _differ() -> Wrong:
    return ambiguous("two readers do not agree where it ends")
