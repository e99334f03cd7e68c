"""One life of one MCP server over HTTP: its hello, its list, its calls, and what it says by itself.

In the legacy era a life is a session of the server's, which ends when the server does not know it any more (404): the next call
begins another one, the call that learned it was not begun. In the modern one there is no state but what the server said of
itself.
"""

import asyncio
import itertools
from collections.abc import Mapping
from contextlib import suppress

from helm_ai_kernel.net.exchange import Lost as Ended
from helm_ai_kernel.net.exchange import Streamed
from helm_ai_kernel.net.resolver import NotSent
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire import jsonrpc, mirror
from helm_ai_kernel.wire.era import MODERN, REVISIONS, Era, Facts, Order, Pages, Speaker, discovered, supported, welcome
from helm_ai_kernel.wire.jsonrpc import UNASKED_BYTES_MAX, Broken, Failure, Result
from helm_ai_kernel.wire.posted import EVENTS, Posted, media_type

from .calls import Calls
from .deadline import Deadline
from .http_link import Link
from .http_requests import RESUMES_MAX, Requests
from .listing import Tools
from .mcp import Ears
from .stdio_session import ASKING_BYTES_MAX, LISTEN, NOBODY, announces_tools, has_tools, words
from .underway import Declined, Ending, Lost, Underway, Unsent

PROBE_S = 5.0  # for an answer to the probe, where there is a server at all
PROBES_MAX = 2  # a server that refuses the probe and names the very revision is asked once more
LATE_S = 60.0  # for the answer of a call that was given up, in the legacy era
FRESH_S = 60.0  # a list holds so long where nothing says that it changed
AGAIN_S_MAX = 30.0  # between two attempts to listen
GOODBYE_S = 2.0  # for the end of a session to be told


class HttpSession:
    """`capabilities`: what its client says that it can be asked, in the handshake of the legacy era."""

    def __init__(self, link: Link, ears: Ears, *, step_s: float, probe: bool = True, capabilities: bytes = NOBODY) -> None:
        largest = UNASKED_BYTES_MAX if capabilities == NOBODY else ASKING_BYTES_MAX
        self._calls = Calls(ears.notice)
        self._out = Requests(link, self._calls, self._changed, step_s=step_s, unasked_bytes_max=largest)
        self._ears, self._step_s = ears, step_s
        self._probe, self._capabilities = probe, capabilities
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._running: dict[int, asyncio.Task[None]] = {}
        self._ready = self._listens = False
        self._stale = True
        self._listed_at = float("-inf")
        self.tools = Tools()

    @property
    def facts(self) -> Facts:
        return self._out.facts

    @property
    def usable(self) -> bool:
        return self._ready and not self._out.over

    @property
    def fresh(self) -> bool:
        told = self._listens and announces_tools(self.facts)
        return not self._stale and (told or self._loop.time() - self._listed_at < FRESH_S)

    async def start(self) -> None:
        """Hello; raises `OutsideError` or `Refused`."""
        facts = await self._discover() if self._probe else None
        self._out.facts = facts if facts is not None else await self._initialize()
        if self.facts.era is Era.LEGACY:
            await self._out.tell(jsonrpc.notification("notifications/initialized"))
            self._out.spawn(self._listen_legacy())
        elif announces_tools(self.facts):
            self._out.spawn(self._listen_modern())
        self._ready = True

    async def list_tools(self) -> None:
        """The whole list, again."""
        self._stale = False  # a change that is announced from here on makes it stale again
        pages, tools = Pages(), Tools()
        vet = mirror.vet if self.facts.era is Era.MODERN else None
        cursor: bytes | None = b"" if has_tools(self.facts) else None
        while cursor is not None:
            order = Order("tools/list", b'{"cursor":%s}' % cursor if cursor else b"{}")
            answer = await self._exchange(order, self._out.speaker.params(order, 0), self._out.headers(order), self._step_s)
            listed, cursor = pages.take(_good(answer, "did not list its tools"))
            tools.add(listed, vet)
            self._ears.page(tools)
        self.tools, self._listed_at = tools, self._loop.time()

    def call(self, call: Underway) -> None:
        call.number = next(self._numbers)
        self._calls.add(call)
        task = self._out.spawn(self._run(call))
        self._running[call.number] = task
        task.add_done_callback(lambda _: self._running.pop(call.number, None))

    def give_up(self, call: Underway) -> None:
        """A legacy server is told, and its late answer still read; a modern one sees that nobody waits."""
        call.give_up()
        task = self._running.get(call.number)
        if task is None:
            return
        if self.facts.era is Era.MODERN or not call.sent:
            task.cancel()
            return
        params = canonical({"requestId": call.number, "reason": "deadline"})
        self._out.answer(jsonrpc.notification("notifications/cancelled", params))
        self._loop.call_later(LATE_S, task.cancel)

    async def stop(self) -> None:
        """Every call in flight learns it; a session of the server's is ended, as far as it listens in time."""
        self._ready = False
        self._calls.lose(Lost("closed"))
        for task in tuple(self._out.tasks):
            task.cancel()
        if self._out.tasks:
            await asyncio.wait(self._out.tasks)
        await self._out.leave(GOODBYE_S)
        self._out.over = True

    async def _run(self, call: Underway) -> None:
        try:
            schema = self.tools.definitions.get(call.order.name, {}).get("inputSchema")
            params, headers = self._out.speaker.params(call.order, call.number), self._out.headers(call.order, schema)
            await self._out.ask(call, params, headers)
        except Refused as refused:  # where the request is made
            call.settle(Unsent(refused.sub, refused))
        finally:
            if not call.ending.done():  # cancelled: it was given up, or the end of everything
                call.ending.cancel()
            self._calls.drop(call.number)

    async def _discover(self) -> Facts | None:
        """What a modern server says of itself; None where there is no sign that it is one."""
        order = Order("server/discover", b"{}")
        params = Speaker(self._out.speaker.name, self._out.speaker.version, Era.MODERN).params(order, 0)
        for _ in range(PROBES_MAX):
            answer = await self._exchange(order, params, mirror.headers(order), min(PROBE_S, self._step_s))
            match answer:
                case Result(_, raw):
                    return discovered(raw)
                case Failure(_, _, raw) | Declined(_, raw) if (named := supported(raw)) is not None:
                    if MODERN not in named and not REVISIONS & set(named):
                        raise NotSent("revision", "the server offers none of the revisions of MCP that are spoken here")
                    if MODERN not in named:
                        return None
                case Unsent() | Declined("status 401" | "status 403"):
                    _good(answer, "did not let us in")
                case _:
                    return None
        raise NotSent("revision", "the server refuses the very revision that it names")

    async def _initialize(self) -> Facts:
        order = Order("initialize", b"{}", handshake=True)
        answer = await self._exchange(order, self._out.speaker.hello(self._capabilities), {}, self._step_s)
        return welcome(_good(answer, "did not finish the handshake"))

    async def _exchange(self, order: Order, params: bytes, headers: Mapping[str, str], seconds: float) -> Ending:
        """The ending of a request of ours, in its time."""
        call = Underway(order, None, Deadline(seconds, self._loop.time))
        call.number = next(self._numbers)
        task = self._out.spawn(self._out.ask(call, params, headers))
        try:
            in_time = await call.deadline.wait(call.ending)
        finally:
            task.cancel()
        return call.ending.result() if in_time and not call.ending.cancelled() else Lost("timeout")

    async def _listen_legacy(self) -> None:
        """The stream of what belongs to no call, where the server has one."""
        _, posted = self._out.posted()
        failures = 0
        while not self._out.over and failures < RESUMES_MAX:
            failures += 1
            with suppress(Refused, OutsideError):
                stream, head = await self._out.open(posted)
                try:
                    if not isinstance(head, Ended):
                        if head.status != 200 or media_type(head.type) != EVENTS:
                            return
                        posted.begin(head.type)
                        self._listens, failures = True, 0
                        await self._hear(posted, stream)
                        self._stale = True
                finally:
                    self._listens = False
                    stream.abort()
            await asyncio.sleep(min(AGAIN_S_MAX, max(posted.retry_ms / 1000, 2.0**failures / 2)))

    async def _hear(self, posted: Posted, stream: Streamed) -> None:
        while isinstance(data := await stream.read(), bytes) and data:
            for message in posted.receive(data):
                if isinstance(message, Broken):
                    return
                self._out.event(message, None)

    async def _listen_modern(self) -> None:
        """A subscription of our own to changes of the list, taken up again when it ends."""
        for failures in range(RESUMES_MAX):
            call = Underway(LISTEN, None, Deadline(float("inf"), self._loop.time))
            call.number = next(self._numbers)
            self._listens = True
            try:
                await self._out.ask(call, self._out.speaker.params(LISTEN, call.number), self._out.headers(LISTEN))
            finally:
                self._listens, self._stale = False, True
            await asyncio.sleep(min(AGAIN_S_MAX, 2.0**failures))

    def _changed(self) -> None:
        self._stale = True
        self._ears.stale()


def _good(answer: Ending, what: str) -> bytes:
    """The result of a request of ours; raises what says why there is none."""
    match answer:
        case Result(_, raw):
            return raw
        case Unsent(_, cause):
            raise cause
        case Failure(_, code, raw):
            raise NotSent(f"rpc {code}", f"the server {what}: it refused: `{words(raw)}`")
        case Declined(sub, rest) | Lost(sub, rest):
            raise NotSent(sub, f"the server {what}: {sub}" + (f": `{words(rest)}`" if rest else ""))
