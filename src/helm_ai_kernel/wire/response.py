"""One answer to one HTTP/1.1 request, read strictly: it has exactly one end, known from its head, or it is no answer.

Where two readers could see two different answers, or one answer and the beginning of another, nothing is released and the
connection is not used again (faults 9.6, 9.12): lengths that contradict each other, a body that ends with the connection, bytes
behind the end, bodies where none can be. `docs/spec/connector-http.md` is the specification.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused

HEAD_BYTES_MAX = 64 << 10  # of all heads of one answer together; a usual one has 500
CHUNKS_MAX = 4 << 10  # of a body, as of a request's (`Sizes.chunks`): one of one byte costs as much as a large one
INTERIM_MAX = 8  # answers 1xx before the answer; servers send one
CHUNK_LINE_BYTES_MAX = 18  # 16 digits and the end of the line

# One way to match each: who answers chooses how much is matched.
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t -~\x80-\xff]*)?\Z")
_FIELD = re.compile(rb"([A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}):[ \t]*([\t -~\x80-\xff]*)\Z")
_LENGTH = re.compile(rb"(0|[1-9][0-9]{0,15})\Z")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,16})\Z")  # no extensions: nobody sends them but to be read differently
_ONCE = frozenset({"content-length", "transfer-encoding", "content-encoding", "content-type", "connection", "location"})
_BODILESS = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    type: str  # of the content, "" where the answer does not say
    body: bytes = field(repr=False)
    reusable: bool  # both sides may use the connection for another request
    location: str = field(default="", repr=False, compare=False)  # where a redirect leads; nothing here follows it


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """`fields`: names in lower case; what stood there more than once is joined by `, `, as one list."""

    status: int
    type: str
    fields: Mapping[str, str] = field(repr=False)


class _At(Enum):
    HEAD = auto()
    LENGTH = auto()  # in a body of known length
    CHUNK_LINE = auto()
    CHUNK = auto()
    CHUNK_END = auto()
    TRAILER = auto()
    DONE = auto()
    BROKEN = auto()


class ResponseReader:
    """Feed it what comes; it says when the answer is whole. What it refused it refuses for ever.

    Where the body is taken piece by piece, what was taken before the answer is whole may be the beginning of none; the whole
    one then has an empty body.
    """

    def __init__(self, *, body_bytes_max: int, chunks_max: int = CHUNKS_MAX) -> None:
        self.head: ResponseHead | None = None  # once it has come
        self._body_bytes_max = body_bytes_max
        self._chunks_max = chunks_max
        self._at = _At.HEAD
        self._data = bytearray()
        self._parts: list[bytes] = []
        self._size = self._left = self._heads = self._interim = self._chunks = 0
        self._status, self._type, self._reusable = 0, "", False
        self._location = ""

    @property
    def begun(self) -> bool:
        """Whether anything came at all."""
        return bool(self._heads or self._data or self._at is not _At.HEAD)

    def feed(self, data: bytes) -> Response | None:
        """The answer, once it is whole; raises `Refused`: ERR_UPSTREAM_SHAPE with a sub-reason, or ERR_BODY_ENCODING."""
        try:
            self._data += data
            while self._step():
                pass
            if self._at is not _At.DONE:
                return None
            if self._data:
                raise shape("extra_bytes", "there are bytes behind the end of the answer")
        except Refused:
            self._at = _At.BROKEN
            self._data.clear()
            raise
        return Response(self._status, self._type, b"".join(self._parts), self._reusable, self._location)

    def take(self) -> bytes:
        """What has come of the body since the last time."""
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken

    def end(self) -> Refused:
        """Why the end of the connection is no end of an answer."""
        return shape("early_end" if self.begun else "no_answer", "the connection ended before the answer did")

    def _step(self) -> bool:
        """One step on; False where there is nothing more to be done with what came."""
        match self._at:
            case _At.HEAD:
                return self._head()
            case _At.LENGTH | _At.CHUNK:
                return self._content()
            case _At.CHUNK_LINE:
                return self._chunk_line()
            case _At.CHUNK_END | _At.TRAILER:
                line = self._line(2)
                if line:
                    raise shape("chunk", "a chunk has another length than it says, or there are trailers")
                self._at = self._at if line is None else _At.CHUNK_LINE if self._at is _At.CHUNK_END else _At.DONE
                return line is not None
            case _At.DONE:
                return False
            case _At.BROKEN:
                raise shape("broken", "what came before was no answer")

    def _head(self) -> bool:
        end = self._data.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX - self._heads)
        if end < 0:
            if len(self._data) + self._heads > HEAD_BYTES_MAX:
                raise shape("head_bytes", f"an answer has more than {HEAD_BYTES_MAX} bytes of header")
            return False
        first, *lines = bytes(self._data[:end]).split(b"\r\n")
        del self._data[: end + 4]
        self._heads += end + 4
        found = _STATUS.match(first)
        if found is None:
            raise shape("status_line", "the first line is not HTTP/1.1 and a status")
        version, self._status = int(found[1]), int(found[2])
        fields = _joined(lines)
        if self._status < 200:
            return self._pass_interim(fields)
        self._type = fields.get("content-type", "")
        said = {word.strip() for word in fields.get("connection", "").lower().split(",")}
        self._reusable = version == 1 and "close" not in said
        self._location = fields.get("location", "")
        self._begin(version, fields)
        self.head = ResponseHead(self._status, self._type, fields)
        return True

    def _pass_interim(self, fields: dict[str, str]) -> bool:
        self._interim += 1
        if self._status == 101 or self._interim > INTERIM_MAX or {"content-length", "transfer-encoding"} & fields.keys():
            raise shape("interim", "there is an upgrade, a body, or no end of answers 1xx")
        return True

    def _begin(self, version: int, fields: dict[str, str]) -> None:
        """How the body ends, from the head alone (RFC 9112 §6.3, without the cases that leave it open)."""
        length, coding = fields.get("content-length"), fields.get("transfer-encoding")
        if length is not None and (coding is not None or not _LENGTH.match(length.encode("latin-1"))):
            raise shape("length", "Content-Length is not one decimal number, or stands beside Transfer-Encoding")
        if coding is not None and (coding.lower() != "chunked" or version == 0):
            raise shape("transfer_encoding", "Transfer-Encoding is not `chunked`, or the answer is HTTP/1.0")
        if self._status in _BODILESS:
            if coding is not None or (self._status == 204 and length not in (None, "0")):
                raise shape("body", f"an answer {self._status} has no body, and this one announces one")
            self._at = _At.DONE
            return
        if length is None and coding is None:
            raise shape("length", "the answer does not say where it ends")
        if fields.get("content-encoding", "identity").lower() != "identity":
            raise Refused(Reason.ERR_BODY_ENCODING, "the body is encoded, and `identity` was asked for", sub="content_encoding")
        if coding is None:
            self._left, self._at = int(length or 0), _At.LENGTH
            self._count(self._left)
        else:
            self._at = _At.CHUNK_LINE

    def _content(self) -> bool:
        part = bytes(self._data[: self._left])
        del self._data[: len(part)]
        self._left -= len(part)
        if part:
            self._parts.append(part)
        if not self._left:
            self._at = _At.DONE if self._at is _At.LENGTH else _At.CHUNK_END
        return not self._left

    def _chunk_line(self) -> bool:
        line = self._line(CHUNK_LINE_BYTES_MAX)
        if line is None:
            return False
        found = _CHUNK.match(line)
        if found is None:
            raise shape("chunk", "the length of a chunk is not one hexadecimal number")
        self._left = int(found[1], 16)
        self._chunks += bool(self._left)  # the last one ends them
        if self._chunks > self._chunks_max:
            raise shape("chunks", f"the body has more than {self._chunks_max} chunks")
        self._count(self._left)
        self._at = _At.CHUNK if self._left else _At.TRAILER
        return True

    def _line(self, bytes_max: int) -> bytes | None:
        """The next line, which has no more bytes with its end; None where it has not come yet."""
        end = self._data.find(b"\r\n", 0, bytes_max)
        if end < 0:
            if len(self._data) >= bytes_max:
                raise shape("chunk", "a line between chunks is too long, or does not end in CR LF")
            return None
        line = bytes(self._data[:end])
        del self._data[: end + 2]
        return line

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > self._body_bytes_max:
            raise shape("body_bytes", f"the body has more than {self._body_bytes_max} bytes")


def _joined(lines: list[bytes]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in _fields(lines):
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def _fields(lines: list[bytes]) -> Iterator[tuple[str, str]]:
    """Names in lower case; raises for folded lines, blanks in names, and what may stand there once standing there twice."""
    seen: set[str] = set()
    for line in lines:
        found = _FIELD.match(line)
        name = found[1].decode("ascii").lower() if found else ""
        if found is None or (name in seen and name in _ONCE):
            raise shape("header", "a header field has no one meaning")
        seen.add(name)
        yield name, found[2].decode("latin-1").rstrip(" \t")


def shape(sub: str, detail: str) -> Refused:
    return Refused(Reason.ERR_UPSTREAM_SHAPE, detail, sub=sub)
