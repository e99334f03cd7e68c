"""One life of one MCP server, from its start to its end, with any number of calls in flight. What failed is not revived."""

import asyncio
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from helm_ai_kernel import __version__
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire import mcp
from helm_ai_kernel.wire.era import Facts
from helm_ai_kernel.wire.jsonrpc import LINE_BYTES_MAX, UNASKED_BYTES_MAX, Broken, Ended, Failure, Result

from .process import Process

T = TypeVar("T")

_STOPPED = frozenset({"process_lost", "cut_off"})  # it ended, or only stopped talking
_WORDS_CHARS_MAX = 200  # of what a server wrote, in a message
# What a person is told of the ends that are not a line which cannot be read.
_SAYS = {
    "closed": "it was ended",
    "id_conflict": "it answered the same request twice",
    "line_bytes": f"it wrote a line of more than {LINE_BYTES_MAX >> 20} MiB",
    "revision": f"it offers none of the revisions of MCP that are spoken here: {', '.join(sorted(mcp.REVISIONS))}",
    "tool_list": "its list of tools has another shape",
    "tool_list_size": "its list of tools is too long",
    "unasked_bytes": f"it wrote more than {UNASKED_BYTES_MAX >> 10} KiB that answers nothing",
}


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection ended with a call in flight. `rest`: what could not be read, if only this call can be meant."""

    sub: str
    rest: bytes = field(default=b"", repr=False)


Ending: TypeAlias = Result | Failure | Lost


@dataclass(frozen=True, slots=True)
class Tools:
    """What a server listed: the definitions that have one meaning, their digests, and those that were refused, by name."""

    definitions: dict[str, dict[str, Json]] = field(default_factory=dict)
    pins: dict[str, Digest] = field(default_factory=dict)
    refused: dict[str, Refused] = field(default_factory=dict)

    @classmethod
    def read(cls, listed: Sequence[bytes]) -> "Tools":
        """One bad definition does not take the others with it; a name that occurs twice is nobody's."""
        tools = cls()
        for index, raw in enumerate(listed):
            name = _name(raw)
            try:
                value = parse(raw, bytes_max=len(raw))
                if type(value) is not dict or not name:
                    name = f"#{index}"
                    raise Refused(Reason.ERR_UPSTREAM_SHAPE, "a tool definition without a name", sub="tool_definition")
                if name in tools.definitions or name in tools.refused:
                    raise Refused(Reason.ERR_MCP_SCHEMA_DRIFT, f"`{name}` is listed twice", sub="listed_twice")
                tools.pins[name] = digest(canonical(value))
                tools.definitions[name] = value
            except Refused as refused:
                tools.pins.pop(name, None)
                tools.definitions.pop(name, None)
                tools.refused[name] = refused
        return tools


def _name(raw: bytes) -> str:
    value = parse(raw, bytes_max=len(raw), any_number=True)
    name = value.get("name") if type(value) is dict else None
    return name if type(name) is str else ""


class Session:
    """`usable` from a good `start` until anything goes wrong; `fresh` while `tools` is what the server said last."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._client = mcp.Client(name="helm-ai-kernel", version=__version__)
        self._process = Process(self._on_data)
        self._calls: dict[int, asyncio.Future[Ending]] = {}
        self._given_up: set[int] = set()
        self._lost: Lost | None = None
        self._argv: Sequence[str] = ()
        self._ready: asyncio.Future[None] = loop.create_future()
        self._listed: asyncio.Future[None] = loop.create_future()
        self.tools = Tools()
        self._stale = True

    @property
    def usable(self) -> bool:
        return self._lost is None and self._process.alive and self._client.state in (mcp.State.READY, mcp.State.LISTING)

    @property
    def fresh(self) -> bool:
        """No change was announced since the list was asked for, and the list has come."""
        return not self._stale and self._client.state is mcp.State.READY

    @property
    def facts(self) -> Facts:
        return self._client.facts

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stderr_tail(self) -> bytes:
        return self._process.stderr_tail

    async def start(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str | None, step_s: float) -> None:
        """Process and handshake; raises `OutsideError(ERR_CONNECTOR_FAILED)`."""
        self._argv = argv
        await self._process.start(argv, env=env, cwd=cwd)
        if self._lost is None:  # it may have ended at once
            self._write(self._client.initialize())
            await asyncio.wait({self._ready}, timeout=step_s)
        await self._check(self._ready, "did not finish the handshake", step_s)

    async def list_tools(self, *, step_s: float) -> None:
        """The whole list, again. A server that is busy with a call may take as long as that call."""
        self._stale = False  # a change that is announced from here on makes it stale again
        self._listed = asyncio.get_running_loop().create_future()
        self._write(self._client.list_tools())
        busy = True
        while busy and not self._listed.done():
            busy = bool(self._open())
            await asyncio.wait({self._listed}, timeout=step_s)
        await self._check(self._listed, "did not list its tools", step_s)

    def call(self, name: str, args: bytes, key: str | None) -> tuple[int, asyncio.Future[Ending]]:
        """Raises `OutsideError` or `Refused` exactly when no byte of the call has left."""
        number, line = self._client.call(name, args, key)
        if not self._process.write(line):
            self._client.cancel(number)
            raise OutsideError(Reason.ERR_CONNECTOR_FAILED, "the call could not be written: the server is gone or does not read")
        future: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._calls[number] = future
        return number, future

    def give_up(self, number: int) -> None:
        """Tells the server so. The future still takes the answer, should it come."""
        if number in self._calls:
            self._given_up.add(number)
            self._process.write(self._client.cancel(number))

    async def stop(self) -> None:
        self._lose(Lost("closed"), kill=False)
        await self._process.stop()

    def _on_data(self, data: bytes) -> None:
        for event in self._client.receive(data):
            match event:
                case mcp.Send(line):
                    self._write(line)
                case Result() | Failure():
                    self._given_up.discard(event.id)
                    _settle(self._calls.pop(event.id, None), event)
                case mcp.Ready():
                    _settle(self._ready, None)
                case mcp.Listed(listed):
                    self.tools = Tools.read(listed)
                    _settle(self._listed, None)
                case mcp.ListChanged():
                    self._stale = True
                case Ended():
                    self._lose(Lost("process_lost"))
                case Broken(sub, rest):
                    self._lose(Lost(sub, rest))

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
        own = lost if len(self._open()) == 1 else Lost(lost.sub)
        for number, future in self._calls.items():
            if number in self._given_up:
                future.cancel()  # it has its UNKNOWN; there will be no late answer
            else:
                _settle(future, own)
        self._calls.clear()
        _settle(self._ready, None)
        _settle(self._listed, None)

    def _open(self) -> set[int]:
        return self._calls.keys() - self._given_up

    async def _check(self, done: asyncio.Future[None], what: str, step_s: float) -> None:
        if self._lost is None and done.done():
            return
        how = f" within {step_s:g} s" if self._lost is None else f": {await self._why(self._lost)}"
        said = _words(self._process.stderr_tail)
        detail = f"the server {what}{how}" + (f", and last said `{said}`" if said else "")
        raise OutsideError(Reason.ERR_CONNECTOR_FAILED, detail, hint=f"run it by hand: {shlex.join(self._argv)}")

    async def _why(self, lost: Lost) -> str:
        """What happened, for a person."""
        if lost.sub not in _STOPPED:
            line = _words(lost.rest)
            what = "it refused" if lost.sub.endswith(" refused") else f"it wrote a line that is no message ({lost.sub})"
            return _SAYS.get(lost.sub) or (f"{what}: `{line}`" if line else what)
        await self._process.gone()
        status = self._process.status
        if status is None:
            return "it stopped talking"
        return f"it ended with status {status}" if status >= 0 else f"it was ended by {_signal(-status)}"


def _words(data: bytes) -> str:
    """The last line of what a server wrote, for a person: printable characters only."""
    lines = data[-4 * _WORDS_CHARS_MAX :].decode("utf-8", "replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    return "".join(char if char.isprintable() else "?" for char in last)[-_WORDS_CHARS_MAX:]


def _signal(number: int) -> str:
    return signal.Signals(number).name if number in tuple(signal.Signals) else f"signal {number}"


def _settle(future: asyncio.Future[T] | None, value: T) -> None:
    if future is not None and not future.done():
        future.set_result(value)
