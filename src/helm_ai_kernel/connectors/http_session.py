"""One life of one MCP server over HTTP: its hello, its list, and every call as a request of its own.

In the legacy era a life is a session of the server's, which ends when the server does not know it any more (404): the next call
begins another one, the call that learned it was not begun. In the modern one there is no state but what the server said of
itself. A request is never sent twice, but for one that the server turned away for want of another token.
"""

import asyncio
import itertools
import re
from collections.abc import Coroutine, Mapping
from contextlib import suppress

from helm_ai_kernel import __version__
from helm_ai_kernel.net.exchange import Lost as Ended
from helm_ai_kernel.net.exchange import Streamed
from helm_ai_kernel.net.resolver import NotSent
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire import jsonrpc, mirror
from helm_ai_kernel.wire.era import MODERN, REVISIONS, Era, Facts, Order, Pages, Speaker, discovered, supported, welcome
from helm_ai_kernel.wire.jsonrpc import UNASKED_BYTES_MAX, Asked, Broken, Failure, Notified, Peer, Result
from helm_ai_kernel.wire.posted import EVENTS, Message, Posted, error_of, is_answer, media_type
from helm_ai_kernel.wire.response import ResponseHead

from .calls import Calls
from .deadline import Deadline
from .http_link import Link
from .listing import Tools
from .mcp import Ears
from .stdio_session import ASKING_BYTES_MAX, NOBODY, announces_tools
from .underway import Declined, Lost, Underway, Unsent

PROBE_S = 5.0  # for an answer to the probe, where there is a server at all
LATE_S = 60.0  # for the answer of a call that was given up, in the legacy era
FRESH_S = 60.0  # a list holds so long where nothing says that it changed
RESUMES_MAX = 8  # of a stream that gives nothing new each time
REFUSAL_BYTES_MAX = 64 << 10  # of the body of a refusal
GOODBYE_S = 2.0  # for the end of a session to be told
PROBES_MAX = 2

# Statuses by which HTTP or MCP says that a request was turned away at the door: its form, its place, who sent it, too many.
DECLINED = frozenset({400, 401, 403, 404, 405, 406, 413, 415, 429})

_SESSION_ID = re.compile(r"[!-~]{1,1024}\Z")


class HttpSession:
    """`capabilities`: what its client says that it can be asked, in the handshake of the legacy era."""

    def __init__(self, link: Link, ears: Ears, *, step_s: float, probe: bool = True, capabilities: bytes = NOBODY) -> None:
        self._link, self._ears, self._step_s = link, ears, step_s
        self._probe, self._capabilities = probe, capabilities
        self._unasked_bytes_max = UNASKED_BYTES_MAX if capabilities == NOBODY else ASKING_BYTES_MAX
        self._loop = asyncio.get_running_loop()
        self._calls = Calls(ears.notice)
        self._numbers = itertools.count(1)
        self._speaker = Speaker("helm-ai-kernel", __version__)
        self._session = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: dict[int, asyncio.Task[None]] = {}
        self._over = self._ready = self._listens = False
        self._stale = True
        self._listed_at = float("-inf")
        self.tools = Tools()
        self.facts = Facts("", "", {}, "", Era.LEGACY, "")

    @property
    def usable(self) -> bool:
        return self._ready and not self._over

    @property
    def fresh(self) -> bool:
        return not self._stale and (self._listens or self._loop.time() - self._listed_at < FRESH_S)

    async def start(self) -> None:
        """Hello; raises `OutsideError` or `Refused`."""
        facts = await self._discover() if self._probe else None
        self.facts = facts if facts is not None else await self._initialize()
        self._speaker = Speaker(self._speaker.name, self._speaker.version, self.facts.era)
        self._ready = True
        if self.facts.era is Era.LEGACY:
            await self._post_quietly(jsonrpc.notification("notifications/initialized"))
            self._spawn(self._listen_legacy())
        elif announces_tools(self.facts):
            self._spawn(self._listen_modern())

    async def list_tools(self) -> None:
        """The whole list, again."""
        self._stale = False  # a change that is announced from here on makes it stale again
        pages, tools = Pages(), Tools()
        cursor: bytes | None = b""
        vet = mirror.vet if self.facts.era is Era.MODERN else None
        while cursor is not None:
            raw = await self._own(Order("tools/list", b'{"cursor":%s}' % cursor if cursor else b"{}"))
            listed, cursor = pages.take(raw)
            tools.add(listed, vet)
            self._ears.page(tools)
        self.tools, self._listed_at = tools, self._loop.time()

    def call(self, call: Underway) -> None:
        call.number = next(self._numbers)
        self._calls.add(call)
        task = self._spawn(self._run(call))
        self._running[call.number] = task
        task.add_done_callback(lambda _: self._running.pop(call.number, None))

    def give_up(self, call: Underway) -> None:
        """A legacy server is told; a modern one sees that nobody waits."""
        call.give_up()
        task = self._running.get(call.number)
        if task is None:
            return
        if self.facts.era is Era.MODERN or not call.sent:
            task.cancel()
            return
        params = canonical({"requestId": call.number, "reason": "deadline"})
        self._spawn(self._post_quietly(jsonrpc.notification("notifications/cancelled", params)))
        self._loop.call_later(LATE_S, task.cancel)

    async def stop(self) -> None:
        """Every call in flight learns it; a session of the server's is ended, as far as it answers in time."""
        ended, self._over = self._over, True
        self._calls.lose(Lost("closed"))
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._session and not ended:
            with suppress(OutsideError, Refused, TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    stream, _ = await self._link.send("DELETE", self._headers(), None, self._loop.time() + GOODBYE_S, _nothing)
                    stream.release()

    # The hello

    async def _discover(self) -> Facts | None:
        """What a modern server says of itself; None where there is no sign that it is one."""
        speaker = Speaker(self._speaker.name, self._speaker.version, Era.MODERN)
        order = Order("server/discover", b"{}")
        for _ in range(PROBES_MAX):
            call = self._underway(order, min(PROBE_S, self._step_s))
            answer = await self._exchange(call, speaker.params(order, 0), mirror.headers(order))
            match answer:
                case Unsent():
                    raise self._unsent(answer)
                case Result(_, raw):
                    return discovered(raw)
                case Failure(_, _, raw) if (named := supported(raw)) is not None:
                    if MODERN not in named and not REVISIONS & set(named):
                        raise self._failed("revision", "it offers none of the revisions of MCP that are spoken here")
                    if MODERN not in named:
                        return None
                case Declined(sub) if sub in ("status 401", "status 403"):
                    raise self._failed(sub, "it lets nobody in without another token")
                case _:
                    return None
        raise self._failed("revision", "it refuses the very revision that it names")

    async def _initialize(self) -> Facts:
        order = Order("initialize", b"{}", handshake=True)
        call = self._underway(order, self._step_s)
        answer = await self._exchange(call, self._speaker.hello(self._capabilities), {})
        return welcome(self._good(answer, "did not finish the handshake"))

    async def _own(self, order: Order) -> bytes:
        """The result of a request of ours."""
        call = self._underway(order, self._step_s)
        answer = await self._exchange(call, self._speaker.params(order, 0), self._headers(order))
        return self._good(answer, "did not list its tools")

    def _underway(self, order: Order, seconds: float) -> Underway:
        call = Underway(order, None, Deadline(seconds, self._loop.time))
        call.number = next(self._numbers)
        return call

    async def _exchange(self, call: Underway, params: bytes, headers: Mapping[str, str]) -> object:
        """The ending of a request of ours, in its time."""
        task = self._spawn(self._ask(call, params, headers))
        try:
            await call.deadline.wait(call.ending)
        finally:
            task.cancel()
        return call.ending.result() if call.ending.done() and not call.ending.cancelled() else Lost("timeout")

    def _good(self, answer: object, what: str) -> bytes:
        match answer:
            case Result(_, raw):
                return raw
            case Unsent():
                raise self._unsent(answer)
            case Failure(_, code):
                raise self._failed(f"rpc {code}", f"{what}: it refused")
            case Declined(sub) | Lost(sub):
                raise self._failed(sub, f"{what}: {sub}")
        raise self._failed("closed", what)

    def _failed(self, sub: str, what: str) -> NotSent:
        return NotSent(sub, f"the server {what}")

    def _unsent(self, answer: Unsent) -> OutsideError | Refused:
        if answer.reason is Reason.ERR_CONNECTOR_FAILED:
            return NotSent(answer.sub, answer.detail)
        return Refused(answer.reason, answer.detail, sub=answer.sub)

    # A call

    async def _run(self, call: Underway) -> None:
        try:
            schema = self.tools.definitions.get(call.order.name, {}).get("inputSchema")
            params = self._speaker.params(call.order, call.number)
            headers = self._headers(call.order, schema)
        except Refused as refused:
            self._calls.settle(call.number, Unsent(refused.sub, refused.reason, refused.detail))
            return
        try:
            await self._ask(call, params, headers)
        finally:
            if not call.ending.done():  # cancelled: it was given up, or the end of everything
                call.ending.cancel()
            self._calls.drop(call.number)

    async def _ask(self, call: Underway, params: bytes, headers: Mapping[str, str]) -> None:
        """One request, up to its answer. Whatever becomes of it is the ending of the call."""
        peer = Peer(first=call.number, unasked_bytes_max=self._unasked_bytes_max)
        posted = Posted(peer)
        until = self._loop.time() + call.deadline.left()
        try:
            _, line = peer.request(call.order.method, params)
            stream, head = await self._link.send("POST", headers, line[:-1], until, lambda: _sent(call))
        except (Refused, OutsideError) as error:
            sub = error.sub if isinstance(error, Refused | NotSent) else "not_sent"
            call.settle(Unsent(sub, error.reason, error.detail))
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

    async def _resume(self, call: Underway, posted: Posted) -> Lost | None:
        """What follows the last event of a stream that ended."""
        headers = self._headers() | {"last-event-id": posted.last_id}
        try:
            stream, head = await self._link.send("GET", headers, None, self._loop.time() + self._step_s, _nothing)
        except (Refused, OutsideError):
            return Lost("no_answer")
        if not isinstance(head, Ended) and (head.status != 200 or media_type(head.type) != EVENTS):
            stream.release()
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
                kept = b'{"withheld":"secret"}' if self._link.echoed(raw) else raw
                call.settle(Result(number, kept, late))
            case Failure():
                call.settle(message)
            case Asked(number, "ping") if self.facts.era is Era.LEGACY:
                self._answer(jsonrpc.answer(number, b"{}"))
            case Asked() if self.facts.era is Era.LEGACY and not self._link.echoed(message.params):
                call.asked(message, self._answer)
            case Notified("notifications/tools/list_changed"):
                self._changed()
                if self.facts.era is Era.MODERN:
                    self._calls.notified(message, call)
            case Notified() if not self._link.echoed(message.params):
                self._calls.notified(message, call)
            case Broken(sub, rest):
                call.settle(Lost(sub, rest))

    async def _refusal(self, head: ResponseHead, stream: Streamed) -> Declined | Lost | Failure:
        """What another status than 200 says."""
        body = bytearray()
        while len(body) <= REFUSAL_BYTES_MAX:
            data = await stream.read()
            if isinstance(data, Ended) or not data:
                break
            body += data
        said = bytes(body[:REFUSAL_BYTES_MAX])
        if self._link.echoed(said):
            said = b""
        if head.status == 404 and self._session:
            self._over = True  # the server does not know the session any more
        error = error_of(said)
        if head.status in DECLINED and not is_answer(said):
            by_code = error is not None and head.status not in (401, 403)
            return Declined(f"rpc {error[0]}" if error and by_code else f"status {head.status}", error[1] if error else said)
        return Failure(0, error[0], error[1], late=False) if error else Lost(f"status {head.status}", said)

    # What the server says by itself

    async def _listen_legacy(self) -> None:
        """The stream of what belongs to no call, where the server has one."""
        posted, failures = Posted(Peer(unasked_bytes_max=self._unasked_bytes_max)), 0
        while not self._over and failures < RESUMES_MAX:
            headers = self._headers() | ({"last-event-id": posted.last_id} if posted.last_id else {})
            failures += 1
            with suppress(Refused, OutsideError):
                stream, head = await self._link.send("GET", headers, None, self._loop.time() + self._step_s, _nothing)
                try:
                    if isinstance(head, Ended):
                        continue
                    if head.status != 200 or media_type(head.type) != EVENTS:
                        return
                    posted.begin(head.type)
                    self._listens, failures = True, 0
                    await self._hear(posted, stream)
                finally:
                    self._listens, self._stale = False, self._stale or (isinstance(head, ResponseHead) and head.status == 200)
                    stream.abort()
            await asyncio.sleep(posted.retry_ms / 1000)

    async def _hear(self, posted: Posted, stream: Streamed) -> None:
        while isinstance(data := await stream.read(), bytes) and data:
            for message in posted.receive(data):
                match message:
                    case Broken():
                        return
                    case Asked(number, "ping"):
                        self._answer(jsonrpc.answer(number, b"{}"))
                    case Asked() if not self._link.echoed(message.params):
                        self._calls.asked(message, self._answer)
                    case Notified("notifications/tools/list_changed"):
                        self._changed()
                    case Notified() if not self._link.echoed(message.params):
                        self._calls.notified(message)

    async def _listen_modern(self) -> None:
        """A subscription of our own to changes of the list, taken up again when it ends."""
        order = Order("subscriptions/listen", b'{"notifications":{"toolsListChanged":true}}')
        for failures in itertools.count():
            if self._over or failures >= RESUMES_MAX:
                return
            call = self._underway(order, float("inf"))
            self._listens = True
            try:
                await self._ask(call, self._speaker.params(order, call.number), self._headers(order))
            finally:
                self._listens, self._stale = False, True
            await asyncio.sleep(min(30.0, 2.0**failures))

    def _changed(self) -> None:
        self._stale = True
        self._ears.stale()

    # What goes out

    def _headers(self, order: Order | None = None, schema: object = None) -> dict[str, str]:
        if self.facts.era is Era.MODERN and order is not None:
            return mirror.headers(order, schema)  # type: ignore[arg-type]
        found = {"mcp-protocol-version": self.facts.revision} if self.facts.revision else {}
        return found | ({"mcp-session-id": self._session} if self._session else {})

    def _take_session(self, head: ResponseHead) -> None:
        said = head.fields.get("mcp-session-id", "")
        if said and not _SESSION_ID.match(said):
            raise Refused(Reason.ERR_UPSTREAM_SHAPE, "the id of the session is not made of visible ASCII", sub="session_id")
        self._session = said

    def _answer(self, line: bytes) -> None:
        self._spawn(self._post_quietly(line))

    async def _post_quietly(self, line: bytes) -> None:
        """What nobody answers: what becomes of it, the server knows."""
        with suppress(Refused, OutsideError):
            until = self._loop.time() + self._step_s
            stream, _ = await self._link.send("POST", self._headers(), line[:-1], until, _nothing)
            stream.release()

    def _spawn(self, work: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _sent(call: Underway) -> None:
    call.sent = True


def _nothing() -> None:
    pass
