"""One life of one MCP server as a process, with any number of calls in flight. What failed is not revived."""

import asyncio
import shlex
import signal
from collections.abc import Mapping, Sequence
from typing import TypeVar

from helm_ai_kernel import __version__
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.wire import mcp
from helm_ai_kernel.wire.era import MODERN, REVISIONS, Era, Facts, Order
from helm_ai_kernel.wire.jsonrpc import LINE_BYTES_MAX, UNASKED_BYTES_MAX, Asked, Broken, Ended, Failure, Notified, Result

from .calls import Calls
from .listing import Tools
from .mcp import Ears
from .process import Process
from .underway import Lost, Underway

T = TypeVar("T")

PROBE_S = 5.0  # for an answer to the probe; a legacy server may ignore it, and a package runner has not started it yet
ASKING_BYTES_MAX = 1 << 20  # of a question or notice where somebody can be asked: a picture to look at is a part of it
NOBODY = b"{}"
LISTENS_MAX = 8  # subscriptions of ours to changes of the list; a server that ends more of them is not asked again

LISTEN = Order("subscriptions/listen", b'{"notifications":{"toolsListChanged":true}}')

_STOPPED = frozenset({"process_lost", "cut_off"})  # it ended, or only stopped talking
_WORDS_CHARS_MAX = 200  # of what a server wrote, in a message
# What a person is told of the ends that are not a line which cannot be read.
_SAYS = {
    "closed": "it was ended",
    "id_conflict": "it answered the same request twice",
    "line_bytes": f"it wrote a line of more than {LINE_BYTES_MAX >> 20} MiB",
    "revision": f"it offers none of the revisions of MCP that are spoken here: {', '.join(sorted({MODERN, *REVISIONS}))}",
    "tool_list": "its list of tools has another shape",
    "tool_list_size": "its list of tools is too long",
    "unasked_bytes": f"it wrote more than {UNASKED_BYTES_MAX >> 10} KiB that answers nothing",
    "welcome": "its answer to the handshake has another shape",
}


class StdioSession:
    """`probe`: whether it is asked in the modern way first. `capabilities`: what its client says that it can be asked."""

    def __init__(
        self,
        argv: Sequence[str],
        ears: Ears,
        *,
        env: Mapping[str, str],
        cwd: str | None,
        step_s: float,
        probe: bool = True,
        capabilities: bytes = NOBODY,
    ) -> None:
        self._argv, self._env, self._cwd, self._step_s = argv, env, cwd, step_s
        self._ears, self._probe, self._capabilities = ears, probe, capabilities
        self._calls = Calls(ears.notice)
        self._lost: Lost | None = None
        self._stale = True
        self.tools = Tools()
        self.facts = Facts("", "", {}, "", Era.LEGACY, "")
        self._listening = self._listened = 0  # the number of our subscription, and how many there were
        self._begin()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        largest = UNASKED_BYTES_MAX if self._capabilities == NOBODY else ASKING_BYTES_MAX
        self._client = mcp.Client(
            name="helm-ai-kernel", version=__version__, capabilities=self._capabilities, unasked_bytes_max=largest
        )  # fmt: skip
        self._process = Process(self._on_data)
        self._ready: asyncio.Future[None] = loop.create_future()
        self._listed: asyncio.Future[None] = loop.create_future()

    @property
    def usable(self) -> bool:
        return self._lost is None and self._process.alive and self._client.state in (mcp.State.READY, mcp.State.LISTING)

    @property
    def fresh(self) -> bool:
        """No change was announced since the list was asked for, and the list has come."""
        return not self._stale and self._client.state is mcp.State.READY

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stderr_tail(self) -> bytes:
        return self._process.stderr_tail

    async def start(self) -> None:
        """Process and hello; raises `OutsideError(ERR_CONNECTOR_FAILED)`. One that ends at the probe is asked again."""
        await self._hello(probe=self._probe)
        if self._lost is not None and self._lost.sub in _STOPPED and self._probe and not self._client.greeted:
            await self._process.stop()
            self._lost = None
            self._begin()
            await self._hello(probe=False)
        await self._check(self._ready, "did not finish the handshake")

    async def _hello(self, *, probe: bool) -> None:
        await self._process.start(self._argv, env=self._env, cwd=self._cwd)
        if self._lost is not None:  # it ended at once
            return
        self._write(self._client.probe() if probe else self._client.initialize())
        if probe:
            await asyncio.wait({self._ready}, timeout=min(PROBE_S, self._step_s))
            if not self._ready.done() and self._client.state is mcp.State.PROBING:
                self._write(self._client.initialize())
        await asyncio.wait({self._ready}, timeout=self._step_s)

    async def list_tools(self) -> None:
        """The whole list, again. A server that is busy with a call may take as long as that call."""
        self._stale = False  # a change that is announced from here on makes it stale again
        self._listed = asyncio.get_running_loop().create_future()
        self._taking = Tools()
        if not has_tools(self.facts):
            self.tools = self._taking
            return
        self._write(self._client.list_tools())
        busy = True
        while busy and not self._listed.done():
            busy = bool(self._calls.open)
            await asyncio.wait({self._listed}, timeout=self._step_s)
        await self._check(self._listed, "did not list its tools")

    def call(self, call: Underway) -> None:
        """Raises `OutsideError` or `Refused` exactly when no byte of the call has left."""
        call.number, line = self._client.call(call.order)
        if not self._process.write(line):
            self._client.cancel(call.number)
            raise OutsideError(Reason.ERR_CONNECTOR_FAILED, "the call could not be written: the server is gone or does not read")
        call.sent = True
        self._calls.add(call)

    def give_up(self, call: Underway) -> None:
        """Tells the server so. The future still takes the answer, should it come."""
        call.give_up()
        self._process.write(self._client.cancel(call.number))

    async def stop(self) -> None:
        self._lose(Lost("closed"), kill=False)
        await self._process.stop()

    def _on_data(self, data: bytes) -> None:
        for event in self._client.receive(data):
            self._on_event(event)

    def _on_event(self, event: mcp.Event) -> None:
        match event:
            case mcp.Send(line):
                self._write(line)
            case Result() | Failure() if event.id == self._listening:
                self._stale = True  # what changes from here on is not told
                if isinstance(event, Result) and self._listened < LISTENS_MAX:
                    self._subscribe()
            case Result() | Failure():
                self._calls.settle(event.id, event)
            case Asked(method=method) if method != "ping" and self._client.speaker.era is Era.LEGACY:
                self._calls.asked(event, self._write)
            case Notified():
                tired = self._calls.notified(event)
                if tired is not None:
                    self._process.write(self._client.cancel(tired.number, "refused"))
            case mcp.Ready(facts):
                self.facts = facts
                self._subscribe()
                _settle(self._ready, None)
            case mcp.Listed(listed, whole):
                self._take(listed, whole=whole)
            case mcp.ListChanged():
                self._stale = True
                self._ears.stale()
            case Ended():
                self._lose(Lost("process_lost"))
            case Broken(sub, rest):
                self._lose(Lost(sub, rest))

    def _subscribe(self) -> None:
        """A modern server says that its list changed only to whoever listens. The answer comes when it stops saying so."""
        if self.facts.era is Era.MODERN and announces_tools(self.facts):
            self._listened += 1
            self._listening, line = self._client.call(
                Order("subscriptions/listen", b'{"notifications":{"toolsListChanged":true}}')
            )
            self._write(line)

    def _take(self, listed: Sequence[bytes], *, whole: bool) -> None:
        self._taking.add(listed)
        if whole:
            self.tools = self._taking
        self._ears.page(self._taking)
        if whole:
            _settle(self._listed, None)

    def _write(self, line: bytes) -> None:
        if not self._process.write(line):
            self._lose(Lost("process_lost"))

    def _lose(self, lost: Lost, *, kill: bool = True) -> None:
        """The end of this life. Every call in flight learns it; nobody learns it twice."""
        if self._lost is not None:
            return
        self._lost = lost
        if lost.sub in _STOPPED:
            self._process.expire()
        elif kill:
            self._process.kill()
        self._calls.lose(lost)
        _settle(self._ready, None)
        _settle(self._listed, None)

    async def _check(self, done: asyncio.Future[None], what: str) -> None:
        if self._lost is None and done.done():
            return
        how = f" within {self._step_s:g} s" if self._lost is None else f": {await self._why(self._lost)}"
        said = words(self._process.stderr_tail)
        detail = f"the server {what}{how}" + (f", and last said `{said}`" if said else "")
        raise OutsideError(Reason.ERR_CONNECTOR_FAILED, detail, hint=f"run it by hand: {shlex.join(self._argv)}")

    async def _why(self, lost: Lost) -> str:
        """What happened, for a person."""
        if lost.sub not in _STOPPED:
            line = words(lost.rest)
            what = "it refused" if lost.sub.endswith(" refused") else f"it wrote a line that is no message ({lost.sub})"
            return _SAYS.get(lost.sub) or (f"{what}: `{line}`" if line else what)
        await self._process.gone()
        status = self._process.status
        if status is None:
            return "it stopped talking"
        return f"it ended with status {status}" if status >= 0 else f"it was ended by {_signal(-status)}"


def has_tools(facts: Facts) -> bool:
    """Whether the server says that it has tools; one that does not is not asked for them."""
    return "tools" in facts.capabilities


def announces_tools(facts: Facts) -> bool:
    """Whether the server says that it tells when its list of tools changes."""
    tools: Json = facts.capabilities.get("tools")
    return type(tools) is dict and tools.get("listChanged") is True


def words(data: bytes) -> str:
    """The last line of what a server wrote, for a person: printable characters only."""
    lines = data[-4 * _WORDS_CHARS_MAX :].decode("utf-8", "replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    return "".join(char if char.isprintable() else "?" for char in last)[-_WORDS_CHARS_MAX:]


def _signal(number: int) -> str:
    return signal.Signals(number).name if number in tuple(signal.Signals) else f"signal {number}"


def _settle(future: asyncio.Future[T] | None, value: T) -> None:
    if future is not None and not future.done():
        future.set_result(value)
