"""The answer to one request over HTTP: one JSON text, or a stream of events, which a legacy server may cut and go on with.

Each request has ids of its own on a connection of its own: an answer to another one is nobody's, a second one ends the exchange.
"""

from typing import TypeAlias

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import parse

from . import jsonrpc
from .jsonrpc import LINE_BYTES_MAX, Asked, Broken, Dropped, Failure, Notified, Peer, Result
from .span import members
from .sse import EventReader

JSON = "application/json"
EVENTS = "text/event-stream"
RETRY_MS = 1000  # before a stream is taken up again, where the server names no time
RETRY_MS_MAX = 30_000  # a server that names a longer one is asked before

Message: TypeAlias = Result | Failure | Asked | Notified | Dropped | Broken


class Posted:
    """`peer` has sent the one request. `begin` with each response, then `receive` what comes; `b""` is its end."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._kind = ""
        self._body = bytearray()
        self._reader = EventReader()
        self.last_id = ""

    @property
    def answered(self) -> bool:
        return self._peer.pending == 0

    @property
    def resumable(self) -> bool:
        """Where a legacy server gave an id, what follows it may be asked for."""
        return self.last_id != "" and not self.answered and self._peer.state is jsonrpc.State.OPEN

    @property
    def retry_ms(self) -> int:
        said = self._reader.retry_ms
        return RETRY_MS if said is None else min(said, RETRY_MS_MAX)

    def begin(self, kind: str) -> None:
        """`kind` is the content type. Raises `Refused(ERR_UPSTREAM_SHAPE)` for what is neither."""
        self._kind = media_type(kind)
        if self._kind not in (JSON, EVENTS):
            raise Refused(Reason.ERR_UPSTREAM_SHAPE, "the answer is neither JSON nor a stream of events", sub="content_type")
        self._body.clear()
        before, self._reader = self._reader, EventReader()
        self._reader.retry_ms = before.retry_ms

    def receive(self, data: bytes) -> list[Message]:
        """What these bytes complete."""
        if self._kind == JSON:
            return self._json(data)
        messages: list[Message] = []
        try:
            for event in self._reader.feed(data):
                if event.type == "message" and event.data:
                    messages.extend(self._message(event.data))
        except Refused as refused:
            if self._peer.state is jsonrpc.State.OPEN:
                messages.append(self._peer.fail(refused.sub, b""))
        self.last_id = self._reader.last_id or self.last_id
        return messages

    def _json(self, data: bytes) -> list[Message]:
        self._body += data
        if len(self._body) > LINE_BYTES_MAX:
            return [self._peer.fail("body_bytes", bytes(self._body[:LINE_BYTES_MAX]))]
        if data or not self._body:
            return []
        body = bytes(self._body)
        self._body.clear()
        return self._message(body)

    def _message(self, text: bytes) -> list[Message]:
        if self._peer.state is not jsonrpc.State.OPEN:
            return []
        message = self._peer.message(text)
        return [] if isinstance(message, jsonrpc.Ended) else [message]


def media_type(text: str) -> str:
    return text.partition(";")[0].strip().lower()


def error_of(body: bytes) -> tuple[int, bytes] | None:
    """The code and the text of the error that a refusal holds, whatever its id is: over HTTP there is one request it can mean."""
    try:
        value = parse(body, bytes_max=len(body) or 1, any_number=True)
    except Refused:
        return None
    if type(value) is not dict or "result" in value:
        return None
    found = value.get("error")
    code = found.get("code") if type(found) is dict else None
    if type(code) is not int or abs(code) >= 1 << 31:
        return None
    return code, members(body)["error"]


def is_answer(body: bytes) -> bool:
    """Whether it holds a result of JSON-RPC: then no status makes it a refusal."""
    try:
        value = parse(body, bytes_max=len(body) or 1, any_number=True)
    except Refused:
        return False
    return type(value) is dict and "result" in value
