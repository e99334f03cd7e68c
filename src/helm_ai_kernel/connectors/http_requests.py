"""Single requests to one MCP server over HTTP: each has an answer of its own, and what becomes of it is the ending of its call.

A request is never sent twice, but for one that the server turned away for want of another token. A legacy server may cut its
stream of events and have the rest asked for, by the id of the last one.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress

from helm_ai_kernel import __version__
from helm_ai_kernel.net.exchange import Lost as Ended
from helm_ai_kernel.net.exchange import Streamed
from helm_ai_kernel.net.resolver import NotSent
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.wire import jsonrpc, mirror
from helm_ai_kernel.wire.era import Era, Facts, Order, Speaker
from helm_ai_kernel.wire.jsonrpc import UNASKED_BYTES_MAX, Asked, Broken, Failure, Notified, Peer, Result
from helm_ai_kernel.wire.posted import EVENTS, Message, Posted, error_of, is_answer, media_type
from helm_ai_kernel.wire.response import ResponseHead

from .calls import Calls
from .http_link import Link
from .underway import Declined, Lost, Underway, Unsent

RESUMES_MAX = 8  # of a stream that gives nothing new each time
REFUSAL_BYTES_MAX = 64 << 10  # of the body of a refusal
WITHHELD = b'{"withheld":"secret"}'  # instead of a result in which something stands that lets us in

# Statuses by which HTTP or MCP says that a request was turned away at the door: its form, its place, who sent it, too many.
DECLINED = frozenset({400, 401, 403, 404, 405, 406, 413, 415, 429})

_SESSION_ID = re.compile(r"[!-~]{1,1024}\Z")


class Requests:
    """`facts` is what the server said of itself so far, `session` the id of its session, `over` whether it forgot it."""

    def __init__(self, link: Link, calls: Calls, changed: Callable[[], None], *, step_s: float, unasked_bytes_max: int) -> None:
        self.link, self.calls = link, calls
        self.facts = Facts("", "", {}, "", Era.LEGACY, "")
        self.session = ""
        self.over = False
        self.tasks: set[asyncio.Task[None]] = set()
        self._changed = changed
        self._step_s = step_s
        self._unasked_bytes_max = unasked_bytes_max or UNASKED_BYTES_MAX
        self._loop = asyncio.get_running_loop()

    @property
    def speaker(self) -> Speaker:
        return Speaker("helm-ai-kernel", __version__, self.facts.era)

    def headers(self, order: Order | None = None, schema: Json = None) -> dict[str, str]:
        if self.facts.era is Era.MODERN and order is not None:
            return mirror.headers(order, schema)
        found = {"mcp-protocol-version": self.facts.revision} if self.facts.revision else {}
        return found | ({"mcp-session-id": self.session} if self.session else {})

    def posted(self, first: int = 1) -> tuple[Peer, Posted]:
        peer = Peer(first=first, unasked_bytes_max=self._unasked_bytes_max)
        return peer, Posted(peer)

    async def ask(self, call: Underway, params: bytes, headers: Mapping[str, str]) -> None:
        """One request, up to its answer. Whatever becomes of it is the ending of the call."""
        peer, posted = self.posted(call.number)
        until = self._loop.time() + call.deadline.left()
        try:
            _, line = peer.request(call.order.method, params)
            stream, head = await self.link.send("POST", headers, line[:-1], until, lambda: _sent(call))
        except (Refused, OutsideError) as error:
            sub = error.sub if isinstance(error, Refused | NotSent) else "not_sent"
            call.settle(Unsent(sub, error))
            return
        lost = await self._read(call, posted, stream, head)
        resumes = 0
        while lost is not None and self.facts.era is Era.LEGACY and posted.resumable and resumes < RESUMES_MAX:
            before, resumes = posted.last_id, resumes + 1
            await asyncio.sleep(posted.retry_ms / 1000)
            lost = await self._resume(call, posted)
            resumes = 0 if posted.last_id != before else resumes
        if lost is not None:
            call.settle(lost)

    async def open(self, posted: Posted) -> tuple[Streamed, ResponseHead | Ended]:
        """What a legacy server says by itself, or, behind the last event of a stream, what it would have said there."""
        headers = self.headers() | ({"last-event-id": posted.last_id} if posted.last_id else {})
        return await self.link.send("GET", headers, None, self._loop.time() + self._step_s, _nothing)

    def event(self, message: Message, call: Underway | None) -> None:
        """What is no answer. `call`: the one on whose stream it came."""
        legacy = self.facts.era is Era.LEGACY
        match message:
            case Asked(number, "ping") if legacy:
                self.answer(jsonrpc.answer(number, b"{}"))
            case Asked() if legacy and not self.link.echoed(message.params):
                (self.calls if call is None else call).asked(message, self.answer)
            case Notified("notifications/tools/list_changed"):
                self._changed()
                if not legacy and call is not None:
                    self._notify(message, call)
            case Notified() if not self.link.echoed(message.params):
                self._notify(message, call)

    def answer(self, line: bytes) -> None:
        self.spawn(self.tell(line))

    async def tell(self, line: bytes) -> None:
        """What nobody answers: what becomes of it, the server knows."""
        with suppress(Refused, OutsideError):
            stream, _ = await self.link.send("POST", self.headers(), line[:-1], self._loop.time() + self._step_s, _nothing)
            stream.release()

    async def leave(self, seconds: float) -> None:
        """The end of the server's session, as far as it listens in time."""
        if self.session and not self.over:
            with suppress(OutsideError, Refused, TimeoutError):
                async with asyncio.timeout(seconds):
                    stream, _ = await self.link.send("DELETE", self.headers(), None, self._loop.time() + seconds, _nothing)
                    stream.release()

    def spawn(self, work: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _notify(self, event: Notified, call: Underway | None) -> None:
        tired = self.calls.notified(event, call)
        if tired is not None and self.facts.era is Era.LEGACY:
            self.answer(jsonrpc.notification("notifications/cancelled", b'{"requestId":%d,"reason":"refused"}' % tired.number))

    async def _resume(self, call: Underway, posted: Posted) -> Lost | None:
        """What follows the last event of a stream that ended."""
        try:
            stream, head = await self.open(posted)
        except (Refused, OutsideError):
            return Lost("no_answer")
        if not isinstance(head, Ended) and (head.status != 200 or media_type(head.type) != EVENTS):
            stream.release()
            posted.last_id = ""
            return Lost("not_resumed")
        return await self._read(call, posted, stream, head)

    async def _read(self, call: Underway, posted: Posted, stream: Streamed, head: ResponseHead | Ended) -> Lost | None:
        """Reads one response; None where the call has its ending."""
        try:
            if isinstance(head, Ended):
                return Lost(head.sub)
            if head.status != 200:
                call.settle(await self._refusal(head, stream))
                return None
            if call.order.handshake:
                self._take_session(head)
            posted.begin(head.type)
            while not call.ending.done():
                data = await stream.read()
                if isinstance(data, Ended):
                    return Lost(data.sub)
                for message in posted.receive(data):
                    self._message(call, message)
                if not data and not call.ending.done():
                    return Lost("no_answer")
            return None
        except Refused as refused:
            return Lost(refused.sub)
        finally:
            if call.ending.done() and not call.ending.cancelled():
                stream.release()
            else:
                stream.abort()

    def _message(self, call: Underway, message: Message) -> None:
        match message:
            case Result(number, raw, late):
                call.settle(Result(number, WITHHELD if self.link.echoed(raw) else raw, late))
            case Failure(number, code, raw, late):
                call.settle(Failure(number, code, b"" if self.link.echoed(raw) else raw, late))
            case Broken(sub, rest):
                call.settle(Lost(sub, b"" if self.link.echoed(rest) else rest))
            case _:
                self.event(message, call)

    async def _refusal(self, head: ResponseHead, stream: Streamed) -> Declined | Lost | Failure:
        """What another status than 200 says."""
        body = bytearray()
        while len(body) <= REFUSAL_BYTES_MAX:
            data = await stream.read()
            if isinstance(data, Ended) or not data:
                break
            body += data
        said = bytes(body[:REFUSAL_BYTES_MAX])
        if head.status == 404 and self.session:
            self.over = True  # the server does not know the session any more
        error, answered = error_of(said), is_answer(said)
        if self.link.echoed(said):
            said, error = b"", None if error is None else (error[0], b"")
        if head.status not in DECLINED or answered:
            return Failure(0, error[0], error[1], late=False) if error else Lost(f"status {head.status}", said)
        by_code = error is not None and head.status not in (401, 403)
        return Declined(f"rpc {error[0]}" if error and by_code else f"status {head.status}", error[1] if error else said)

    def _take_session(self, head: ResponseHead) -> None:
        said = head.fields.get("mcp-session-id", "")
        if said and not _SESSION_ID.match(said):
            raise Refused(Reason.ERR_UPSTREAM_SHAPE, "the id of the session is not made of visible ASCII", sub="session_id")
        self.session = said


def _sent(call: Underway) -> None:
    call.sent = True


def _nothing() -> None:
    pass
