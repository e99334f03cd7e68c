"""An MCP server as a connector, whatever leads to it: what is checked before a call leaves, and what is told when it does not.

A call leaves only if the server's own definition of the tool, as listed last, is the one that was pinned, and its instructions
are those that were pinned; a server that says that its list changed is asked again first (faults 1.9). What is answered to the
executor is only what can be proven; `docs/spec/connector-mcp.md` has the table:

- FAILED: no byte of the call left (not started, drifted, not written), or the server said in a word of the protocol that it did
  not begin. That is the server's word, as every result is.
- UNKNOWN: everything else that is no result. A deadline, a lost process, a message that cannot be read and any other error answer
  do not prove that nothing was applied.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from helm_ai_kernel.executor.host import Relay, Reply, ReplyKind
from helm_ai_kernel.net.resolver import NotSent
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.wire.era import Era, Facts, Order

from .deadline import Deadline
from .listing import Tools
from .underway import Ending, Underway, reply

RELISTS_MAX = 4  # starts and lists in a row before one call: a server that changes faster is refused
STARTS_MAX = 10  # of one server within a minute; one that dies faster is not started again by calls
STARTS_S = 60.0
RELIST_S = 0.5  # between lists that a server's notices cause: a storm of them costs two lists a second


@dataclass(frozen=True, slots=True)
class Ears:
    """What a session tells while no call asks for it."""

    page: Callable[[Tools], None]  # a page of the list came; what is listed so far
    stale: Callable[[], None]  # the list changed
    notice: Callable[[str, bytes], None]  # what belongs to no call


class Session(Protocol):
    """One life of a server: `usable` from a good `start` until anything goes wrong, `fresh` while `tools` is what it said."""

    @property
    def tools(self) -> Tools: ...

    @property
    def facts(self) -> Facts: ...

    @property
    def usable(self) -> bool: ...

    @property
    def fresh(self) -> bool: ...

    async def start(self) -> None: ...

    async def list_tools(self) -> None: ...

    def call(self, call: Underway) -> None:
        """Raises `OutsideError` or `Refused` only when no byte of the call has left."""
        ...

    def give_up(self, call: Underway) -> None: ...

    async def stop(self) -> None: ...


class McpConnector:
    """Implements `Connector` for one server, for one principal. Names are the server's own, without `server/`.

    `pins` may be replaced at any time; a tool that is not in it is never called. `instructions` are those that were pinned, ""
    where there were none, None where nobody looked. `on_late` gets an answer that comes after its call was answered with UNKNOWN;
    it runs in the context (contextvars) of that call. `on_drift` gets a tool that is not what was pinned, or None and a word for
    what concerns the server as a whole.
    """

    def __init__(
        self,
        *,
        pins: Mapping[str, Digest] | None = None,
        instructions: str | None = None,
        on_late: Callable[[Reply], None] | None = None,
        on_drift: Callable[[str | None, str], None] | None = None,
        on_changed: Callable[[], None] | None = None,
        on_notice: Callable[[str, bytes], None] | None = None,
        prefers: Era | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`prefers`: the era of the client behind it, in which a server of both is spoken to; one of the other era is, too."""
        self._clock = clock
        self.prefers = prefers
        self._instructions = instructions
        self._life: Session | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._relisting: asyncio.TimerHandle | None = None
        self._listed_at = float("-inf")
        self._starts: deque[float] = deque(maxlen=STARTS_MAX)
        self._tools = Tools()
        self._closed = False
        self.pins: Mapping[str, Digest] = dict(pins or {})
        self.on_late, self.on_drift, self.on_changed, self.on_notice = on_late, on_drift, on_changed, on_notice
        self.ears = Ears(self._page, self._stale, self._notice)

    def _open(self, relay: Relay | None) -> Session:
        """A life that has not begun. `relay`: of the call that it begins for."""
        raise NotImplementedError

    @property
    def definitions(self) -> dict[str, dict[str, Json]]:
        """The raw definitions of the last list, by name."""
        return self._tools.definitions

    @property
    def refused(self) -> dict[str, Refused]:
        """What was listed and cannot be pinned or called, by name, and why."""
        return self._tools.refused

    async def start(self) -> None:
        """Ready, and its list read; raises `OutsideError` or `Refused`. `call` does the same when it has to."""
        await self._borrow(None, None)

    async def facts(self) -> Facts:
        """What the server says of itself; raises as `start` does."""
        return (await self._borrow(None, None)).facts

    async def listed(self) -> Tools:
        """The whole list as it stands now; raises as `start` does."""
        return (await self._borrow(None, None)).tools

    async def call(
        self,
        name: str,
        args: bytes,
        *,
        key: str | None,
        wall_ms: int,
        output_bytes: int,
        relay: Relay | None = None,
        inputs: bytes | None = None,
    ) -> Reply:
        """`args` are canonical bytes and are sent as they are. The deadline covers a start too."""
        began, deadline = self._clock(), Deadline(wall_ms / 1000, self._clock)
        said = Order(name, args, key, inputs) if relay is None else _relayed(name, args, key, inputs, relay)
        call = Underway(said, relay, deadline)
        try:
            life = await self._borrow(deadline, relay)
            self._check(life, name)
            if deadline.left() <= 0:
                raise NotSent("not_sent", "the server was not ready before the deadline")
            life.call(call)
        except (OutsideError, Refused) as error:
            sub = error.sub if isinstance(error, Refused | NotSent) else "not_sent"
            return Reply(ReplyKind.FAILED, self._ms(began), reason=error.reason, sub=sub)
        era = life.facts.era
        try:
            await deadline.wait(call.ending)
        finally:  # also when the caller is cancelled
            if not call.ending.done():
                life.give_up(call)
        if call.ending.done() and not call.ending.cancelled():
            return reply(call.ending.result(), self._ms(began), output_bytes, era, method="/" in name)
        if not call.sent:
            return Reply(ReplyKind.FAILED, self._ms(began), reason=Reason.ERR_CONNECTOR_FAILED, sub="not_sent")
        call.ending.add_done_callback(
            lambda done: self._late(done, lambda end: reply(end, self._ms(began), output_bytes, era, method="/" in name))
        )
        return Reply(ReplyKind.UNKNOWN, self._ms(began), reason=Reason.ERR_OUTCOME_UNKNOWN, sub="timeout")

    async def close(self) -> None:
        """Ends the server's life, each step with a bounded wait. Calls in flight end as UNKNOWN."""
        self._closed = True
        if self._relisting is not None:
            self._relisting.cancel()
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.wait({self._preparing})
        if self._life is not None:
            await self._life.stop()

    async def _borrow(self, deadline: Deadline | None, relay: Relay | None) -> Session:
        """A live session with a fresh list. Callers share one preparation; giving up waiting does not end it."""
        for _ in range(RELISTS_MAX):
            if self._closed:
                raise NotSent("closed", "the connector is closed")
            life = self._life
            if life is not None and life.usable and life.fresh:
                return life
            if self._preparing is None:
                self._preparing = asyncio.create_task(self._prepare(relay))
                self._preparing.add_done_callback(self._prepared)
            task = self._preparing
            await asyncio.wait({task}, timeout=None if deadline is None else deadline.left())
            if not task.done():
                raise NotSent("not_sent", "the server was not ready before the deadline")
            if not task.cancelled():
                task.result()  # raises what went wrong
        raise Refused(Reason.ERR_MCP_SCHEMA_DRIFT, "the tool list changes faster than it can be read", sub="list_storm")

    async def _prepare(self, relay: Relay | None) -> None:
        """What is missing of: a life, a hello, a list."""
        life = self._life
        if life is not None and not life.usable:
            await life.stop()
            life = None
        try:
            if life is None:
                self._life = life = await self._begun(relay)
                if self._instructions is not None and life.facts.instructions != self._instructions:
                    self._drifted(None, "instructions")
            self._listed_at = self._clock()
            await life.list_tools()
        except BaseException:  # also when `close` cancels this: no process without an owner
            if life is not None:
                await life.stop()
            raise
        self._tools = life.tools

    async def _begun(self, relay: Relay | None) -> Session:
        """A life that has said hello; where the server does not know the era that is preferred, in the other one."""
        self._count_start()
        try:
            return await self._started(relay)
        except OutsideError:
            if self.prefers is None:
                raise
            self.prefers = None
            return await self._started(relay)

    async def _started(self, relay: Relay | None) -> Session:
        self._life = life = self._open(relay)
        try:
            await life.start()
        except BaseException:  # no process without an owner
            await life.stop()
            raise
        return life

    def _count_start(self) -> None:
        now = self._clock()
        if len(self._starts) == STARTS_MAX and now - self._starts[0] < STARTS_S:
            raise NotSent("restarts", f"the server was started {STARTS_MAX} times within a minute, and ended each time")
        self._starts.append(now)

    def _prepared(self, task: asyncio.Task[None]) -> None:
        self._preparing = None
        if not task.cancelled():
            task.exception()  # all who waited may have given up

    def _check(self, life: Session, name: str) -> None:
        """Raises `Refused(ERR_MCP_SCHEMA_DRIFT)` unless what the server listed last is what was pinned."""
        if self._instructions is not None and life.facts.instructions != self._instructions:
            self._drifted(None, "instructions")
            raise Refused(
                Reason.ERR_MCP_SCHEMA_DRIFT, "the server's instructions are not those that were pinned", sub="instructions"
            )
        sub = life.tools.why_not(name, self.pins.get(name))
        if sub:
            if name in life.tools.drifted({name: self.pins[name]} if name in self.pins else {}):
                self._drifted(name, sub)
            raise Refused(Reason.ERR_MCP_SCHEMA_DRIFT, f"`{name[:64]}` is not the tool that was pinned", sub=sub)

    def _page(self, tools: Tools) -> None:
        for name, sub in tools.drifted(self.pins).items():
            self._drifted(name, sub)

    def _stale(self) -> None:
        """The list changed: it is read before anybody is told, where somebody listens."""
        if self._closed or self._relisting is not None or (self.on_changed is None and self.on_drift is None):
            return
        wait_s = max(0.0, self._listed_at + RELIST_S - self._clock())
        self._relisting = asyncio.get_running_loop().call_later(wait_s, self._relist)

    def _relist(self) -> None:
        self._relisting = None
        if not self._closed and self._preparing is None and self._life is not None and self._life.usable:
            self._preparing = asyncio.create_task(self._prepare(None))
            self._preparing.add_done_callback(self._prepared)
        if self._preparing is not None:
            self._preparing.add_done_callback(lambda _: self._tell_changed())

    def _tell_changed(self) -> None:
        if self.on_changed is not None and not self._closed:
            self.on_changed()

    def _notice(self, method: str, params: bytes) -> None:
        if self.on_notice is not None and not self._closed:
            self.on_notice(method, params)

    def _drifted(self, tool: str | None, sub: str) -> None:
        if self.on_drift is not None:
            self.on_drift(tool, sub)

    def _late(self, done: "asyncio.Future[Ending]", told: Callable[[Ending], Reply]) -> None:
        if self.on_late is not None and not done.cancelled():
            self.on_late(told(done.result()))

    def _ms(self, began: float) -> int:
        return int((self._clock() - began) * 1000)


def _relayed(name: str, args: bytes, key: str | None, inputs: bytes | None, relay: Relay) -> Order:
    return Order(name, args, key, inputs, relayed=True, capabilities=relay.capabilities, level=relay.level)
