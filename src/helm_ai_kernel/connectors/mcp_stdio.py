"""An MCP server as a child process: the connector of kind `mcp-stdio`.

A call leaves only if the server's own definition of the tool, as listed last, is the one that was pinned; a server that says
that its list changed is asked again first (faults 1.9). What is answered to the executor is only what can be proven:

- FAILED: no byte of the call left (not started, drifted, not written), or the server refused it with "method not found" or
  "invalid params", by which JSON-RPC says that it did not begin. That is the server's word, as every result is.
- UNKNOWN: everything else that is no result. A deadline, a lost process, a line that cannot be read and any other error
  answer do not prove that nothing was applied.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence

from helm_ai_kernel.executor.host import Reply, ReplyKind
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.wire.era import Facts
from helm_ai_kernel.wire.jsonrpc import Failure, Result

from .process import environment
from .stdio_session import Ending, Session, Tools

START_MS = 30_000  # each of handshake and tool list; package runners fetch what they run at the first start
RELISTS_MAX = 4  # starts and lists in a row before one call: a server that changes faster is refused
NOT_BEGUN = frozenset({-32601, -32602})  # JSON-RPC 2.0 §5.1: method not found, invalid params


class McpStdioConnector:
    """Implements `Connector` for one server. Names are the server's own, without `server/`.

    `argv` is never given to a shell. The child gets PATH, HOME, LANG, LC_* and TMPDIR of `environ`, and what `named` names.
    `pins` may be replaced at any time; a tool that is not in it is never called. `on_late` gets an answer that comes after
    its call was answered with UNKNOWN; it runs in the context (contextvars) of that call. `instructions` are those that were
    pinned, "" where there were none, None where nobody looked. `on_drift` gets a tool that is not what was pinned, or None for
    the server, and how, in a word.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        pins: Mapping[str, Digest] | None = None,
        named: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        cwd: str | None = None,
        start_ms: int = START_MS,
        instructions: str | None = None,
        on_late: Callable[[Reply], None] | None = None,
        on_drift: Callable[[str | None, str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not argv:
            raise Refused(Reason.ERR_UPSTREAM_SHAPE, "a server without a command", sub="argv")
        self._argv = tuple(argv)
        self._env = environment(os.environ if environ is None else environ, named)
        self._cwd = cwd
        self._step_s = start_ms / 1000
        self._clock = clock
        self._session: Session | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._tools = Tools()
        self._closed = False
        self._instructions = instructions
        self.pins: Mapping[str, Digest] = dict(pins or {})
        self.on_late, self.on_drift = on_late, on_drift

    @property
    def definitions(self) -> dict[str, dict[str, Json]]:
        """The raw definitions of the last list, by name."""
        return self._tools.definitions

    @property
    def refused(self) -> dict[str, Refused]:
        """What was listed and cannot be pinned or called, by name, and why."""
        return self._tools.refused

    @property
    def pid(self) -> int:
        return self._session.pid if self._session is not None else 0

    @property
    def stderr_tail(self) -> bytes:
        """The server's last words, untrusted."""
        return self._session.stderr_tail if self._session is not None else b""

    async def start(self) -> None:
        """Running, and its list read; raises `OutsideError` or `Refused`. `call` does the same when it has to."""
        await self._borrow(None)

    async def facts(self) -> Facts:
        """What the server says of itself; raises as `start` does."""
        return (await self._borrow(None)).facts

    async def call(self, name: str, args: bytes, *, key: str | None, wall_ms: int, output_bytes: int) -> Reply:
        """`args` are canonical bytes and are sent as they are. The deadline covers a start too."""
        began = self._clock()
        try:
            session = await self._borrow(wall_ms / 1000)
            self._check_pin(session, name)
            if self._clock() - began >= wall_ms / 1000:
                raise OutsideError(Reason.ERR_CONNECTOR_FAILED, "the server was not ready before the deadline")
            number, answer = session.call(name, args, key)
        except (OutsideError, Refused) as error:
            sub = error.sub if isinstance(error, Refused) else "not_sent"
            return Reply(ReplyKind.FAILED, self._ms(began), reason=error.reason, sub=sub)
        try:
            await asyncio.wait({answer}, timeout=max(0.0, wall_ms / 1000 - (self._clock() - began)))
        finally:  # also when the caller is cancelled
            if not answer.done():
                session.give_up(number)
        if answer.done():
            return _reply(answer.result(), self._ms(began), output_bytes)
        answer.add_done_callback(lambda done: self._late(done, began, output_bytes))
        return Reply(ReplyKind.UNKNOWN, self._ms(began), reason=Reason.ERR_OUTCOME_UNKNOWN, sub="timeout")

    async def close(self) -> None:
        """End of input, TERM, KILL, each with a bounded wait, to the whole process group. Calls in flight end as UNKNOWN."""
        self._closed = True
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.wait({self._preparing})
        if self._session is not None:
            await self._session.stop()

    async def _borrow(self, within_s: float | None) -> Session:
        """A live session with a fresh list. Callers share one preparation; giving up waiting does not end it."""
        until = None if within_s is None else self._clock() + within_s
        for _ in range(RELISTS_MAX):
            if self._closed:
                raise OutsideError(Reason.ERR_CONNECTOR_FAILED, "the connector is closed")
            session = self._session
            if session is not None and session.usable and session.fresh:
                return session
            if self._preparing is None:
                self._preparing = asyncio.create_task(self._prepare())
                self._preparing.add_done_callback(self._prepared)
            task = self._preparing
            await asyncio.wait({task}, timeout=None if until is None else max(0.0, until - self._clock()))
            if not task.done():
                raise OutsideError(Reason.ERR_CONNECTOR_FAILED, "the server was not ready before the deadline")
            if not task.cancelled():
                task.result()  # raises what went wrong
        raise Refused(Reason.ERR_MCP_SCHEMA_DRIFT, "the tool list changes faster than it can be read", sub="list_storm")

    async def _prepare(self) -> None:
        """What is missing of: a process, a handshake, a list."""
        session = self._session
        if session is not None and not session.usable:
            await session.stop()
            session = None
        try:
            if session is None:
                self._session = session = Session()
                await session.start(self._argv, env=self._env, cwd=self._cwd, step_s=self._step_s)
            await session.list_tools(step_s=self._step_s)
        except BaseException:  # also when `close` cancels this: no process without an owner
            if session is not None:
                await session.stop()
            raise
        self._tools = session.tools
        self._tell(session)

    def _tell(self, session: Session) -> None:
        """What of the pinned is not what was pinned. A tool that is not listed is not there, and no drift."""
        if self.on_drift is None:
            return
        if self._instructions is not None and session.facts.instructions != self._instructions:
            self.on_drift(None, "instructions")
        for name, pin in self.pins.items():
            if name in session.tools.refused:
                self.on_drift(name, session.tools.refused[name].sub)
            elif session.tools.pins.get(name, pin) != pin:
                self.on_drift(name, "changed")

    def _prepared(self, task: asyncio.Task[None]) -> None:
        self._preparing = None
        if not task.cancelled():
            task.exception()  # all who waited may have given up

    def _check_pin(self, session: Session, name: str) -> None:
        """Raises `Refused(ERR_MCP_SCHEMA_DRIFT)` unless what the server listed last is what was pinned."""
        tools = session.tools
        if self._instructions is not None and session.facts.instructions != self._instructions:
            detail = "the server's instructions are not those that were pinned"
            raise Refused(Reason.ERR_MCP_SCHEMA_DRIFT, detail, sub="instructions")
        pinned, listed = self.pins.get(name), tools.pins.get(name)
        if pinned is not None and pinned == listed:
            return
        if pinned is None:
            sub = "not_pinned"
        elif listed is None:
            sub = tools.refused[name].sub if name in tools.refused else "not_listed"
        else:
            sub = "changed"
        raise Refused(Reason.ERR_MCP_SCHEMA_DRIFT, f"`{name[:64]}` is not the tool that was pinned", sub=sub)

    def _late(self, done: asyncio.Future[Ending], began: float, output_bytes: int) -> None:
        if self.on_late is not None and not done.cancelled():
            self.on_late(_reply(done.result(), self._ms(began), output_bytes))

    def _ms(self, began: float) -> int:
        return int((self._clock() - began) * 1000)


def _reply(ending: Ending, ms: int, output_bytes: int) -> Reply:
    match ending:
        case Result(_, raw):
            return Reply(ReplyKind.OUTPUT, ms, output=raw[:output_bytes], truncated=len(raw) > output_bytes)
        case Failure(_, code) if code in NOT_BEGUN:
            return Reply(ReplyKind.FAILED, ms, reason=Reason.ERR_CONNECTOR_FAILED, sub=f"rpc {code}")
        case Failure(_, code, rest):
            sub = f"rpc {code}"[:32]
        case _:
            sub, rest = ending.sub, ending.rest
    return Reply(
        ReplyKind.UNKNOWN, ms, output=rest[:output_bytes] or None, reason=Reason.ERR_OUTCOME_UNKNOWN, sub=sub,
        truncated=len(rest) > output_bytes or sub == "line_bytes",
    )  # fmt: skip
