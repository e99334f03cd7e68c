"""The resident kernel: every configured door in one process, from the lock to the end of its sessions.

It is ready when all of its listeners are, and says so once. The first signal ends it in order: no new requests, the calls under
way to their end or their time, then every session. A second one ends it at once, as a crash would: the next start says the rest.
"""

import asyncio
import functools
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from helm_ai_kernel.gateway.control import BODY_BYTES_MAX, ControlDoor, application
from helm_ai_kernel.gateway.data import DataDoor
from helm_ai_kernel.gateway.gaps import Gaps
from helm_ai_kernel.gateway.identity import ControlIdentity, DataIdentity
from helm_ai_kernel.gateway.limits import Limiter
from helm_ai_kernel.gateway.mcp import McpDoor
from helm_ai_kernel.gateway.mcp_line import LineDoor
from helm_ai_kernel.net.bind import written
from helm_ai_kernel.net.door import Bounds
from helm_ai_kernel.net.lines import Line, Lines
from helm_ai_kernel.net.listener import Listener
from helm_ai_kernel.net.tls import server_context
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.wire.head import Sizes

from .agents import Watched, operator_token
from .config import Asked as Terms
from .config import Config
from .doors import Labels, RuntimeDesk, RuntimeGaps, RuntimeGate, RuntimeRecords
from .mcp import sessions, starter
from .oauth_resource import IssuerKeys, resource
from .planes import Plane
from .runtime import Runtime
from .wraps import RuntimeWraps

WITHIN_S = 10.0  # for the calls under way at the end: what supervisors grant before they kill, and a bit less
WAIT_S = 5.0  # for a kernel before this one to let go of the store
TRY_S = 0.1
SWEEP_S = 60.0  # between two looks for sessions that are still
OPEN_LOOPBACK = "--insecure-open-loopback"


@dataclass(frozen=True, slots=True)
class Asked:
    """How it was started."""

    page: bytes  # the verifier's
    within_s: float = WITHIN_S
    wait_s: float = WAIT_S
    ready_fd: int | None = None
    open_loopback: bool = False
    idle_s: float | None = None  # it ends when no wrapped client was there for so long; None: it stays


@dataclass(frozen=True, slots=True)
class Listening:
    """One listener that is ready."""

    plane: str  # "data" or "control"
    at: str  # a URL, or unix: and a path


async def serve(config: Config, asked: Asked, tell: Callable[[list[Listening]], None]) -> None:
    """Until a signal says so; raises `OutsideError` where it cannot begin."""
    ended = _signals()
    if asked.open_loopback:
        config = replace(config, insecure=(OPEN_LOOPBACK,))
    runtime = await _opened(config, asked.wait_s, ended)
    if runtime is None:
        return
    doors: Doors | None = None
    try:
        doors = Doors(runtime, asked)
        _on_signal(signal.SIGHUP, doors.agents.reload)
        tell(await doors.start())
        _ready(asked.ready_fd)
        step_s = SWEEP_S if asked.idle_s is None else min(SWEEP_S, asked.idle_s / 2)
        while not await _within(ended, step_s) and not doors.idle(asked.idle_s):
            runtime.sessions.sweep()
            doors.sweep()
        _notify(b"STOPPING=1")
    finally:
        until = time.monotonic() + asked.within_s
        await runtime.waiting.close()  # whoever waits for a person is told to come again
        if doors is not None:
            await doors.close(asked.within_s)
        await runtime.close(within_s=max(0.0, until - time.monotonic()))


class Doors:
    """Both planes of one kernel, each with its listener."""

    def __init__(self, runtime: Runtime, asked: Asked) -> None:
        config = runtime.config
        paths = config.paths
        self.agents = Watched(paths)
        self._config, self._runtime = config, runtime
        runtime.terms = self._terms
        self._ending = asyncio.Event()
        self._gaps = {name: Gaps(name, RuntimeGaps(runtime), runtime.keep) for name in ("data", "control")}
        self._issuer = None if config.resource is None else IssuerKeys(config.resource)
        own = None if config.resource is None or self._issuer is None else resource(config.resource, self._issuer)
        identity = DataIdentity(self.agents, config.agent if asked.open_loopback else None, own)
        self._sessions, self._start = sessions(runtime, self._gaps["data"].count), starter(runtime)
        self._used = time.monotonic()  # when a wrapped client was seen last
        limiter = Limiter(time.monotonic_ns)
        self._wraps = RuntimeWraps(runtime, self.agents, limiter)
        self._lines = Lines(self._line)
        door = McpDoor(self._sessions, self._start)
        self._data = DataDoor(RuntimeGate(runtime), door, identity, limiter, self._gaps["data"])
        operator = ControlIdentity(digest(operator_token(paths).encode()), (0, os.geteuid()))
        records, desk = RuntimeRecords(runtime, self._ending), RuntimeDesk(runtime, self._counters)
        self._control = ControlDoor(application(records, desk, asked.page), operator, self._gaps["control"])
        self._listeners = {
            "data": Listener(
                self._data, Bounds(), hosts=config.data.hosts, tls=_tls(config.data), authenticates=not asked.open_loopback
            ),
            "control": Listener(
                self._control,
                Bounds(sizes=Sizes(body=BODY_BYTES_MAX)),
                hosts=config.control.hosts,
                tls=_tls(config.control),
                authenticates=True,
            ),
        }

    def idle(self, seconds: float | None) -> bool:
        """Whether no wrapped client was there for so long; never where nobody asks."""
        now = time.monotonic()
        self._used = now if self._lines.open else self._used
        return seconds is not None and now - self._used >= seconds

    def sweep(self) -> None:
        """Forget who has said nothing for long."""
        self._sessions.sweep()
        self._runtime.hands.sweep()

    async def start(self) -> list[Listening]:
        """Listen everywhere; raises `OutsideError`."""
        ready = []
        if self._issuer is not None:
            await self._issuer.load()
        for name, plane, path in self._planes():
            listener = self._listeners[name]
            if plane.address is not None:
                host, port = await listener.start_tcp(*plane.address)
                scheme = "http" if plane.certificate is None else "https"
                ready.append(Listening(name, f"{scheme}://{written(host)}:{port}"))
            for place, others in ((path if plane.unix else None, False), (plane.socket, True)):
                if place is not None:
                    await listener.start_unix(place, others=others)
                    ready.append(Listening(name, f"unix:{place}"))
        await self._lines.start(self._config.paths.wrap_socket)
        return ready

    def _line(self, line: Line) -> LineDoor:
        return LineDoor(self._sessions, self._wraps, self._start, line.send, line.end)

    async def close(self, within_s: float) -> None:
        """No new requests; those that are there to their end, or so long. What was counted is written."""
        self._ending.set()
        self._sessions.close()
        await self._lines.close()
        await asyncio.gather(*(listener.close(within_s=within_s) for listener in self._listeners.values()))
        if self._issuer is not None:
            await self._issuer.close()
        for gaps in self._gaps.values():
            await gaps.flush()

    def _terms(self, principal: str) -> Terms:
        """Who may not approve the calls of that agent, and whether anybody is there to be asked."""
        agent = self.agents().by_name.get(principal)
        if agent is None:
            return self._config.asked
        owner = agent.owner or self._config.owner
        return Terms((owner,) if self._config.four_eyes else (), agent.unattended or self._config.asked.alone)

    def _planes(self) -> Iterator[tuple[str, Plane, Path]]:
        yield "control", self._config.control, self._config.paths.control_socket
        yield "data", self._config.data, self._config.paths.data_socket

    def _counters(self) -> Mapping[str, Mapping[Labels, int]]:
        answers: dict[Labels, int] = {}
        refused: dict[Labels, int] = {}
        for name, door in (("data", self._data), ("control", self._control)):
            answers |= {(("plane", name), ("status", str(status))): count for status, count in door.answers.items()}
            refused |= {(("plane", name), ("reason", reason)): count for reason, count in self._gaps[name].total.items()}
        return {"helm_answers_total": answers, "helm_refused_total": refused}


async def _opened(config: Config, wait_s: float, ended: asyncio.Event) -> Runtime | None:
    """The kernel, once the one before it has let go of the store; None where it is to end before that."""
    until = time.monotonic() + wait_s
    while True:
        try:
            return await Runtime.open(config, client="up")
        except OutsideError as error:
            if error.reason is not Reason.ERR_STORE_LOCKED or time.monotonic() >= until:
                raise
        if await _within(ended, TRY_S):
            return None


async def _within(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


def _tls(plane: Plane) -> ssl.SSLContext | None:
    if plane.certificate is None or plane.key is None:
        return None
    return server_context(plane.certificate, plane.key, plane.client_ca, required=False)  # an agent may have a token instead


def _signals() -> asyncio.Event:
    """Set by the first of them; the second ends the process, as nothing else would if it hangs."""
    ended = asyncio.Event()

    def end(number: int) -> None:
        if ended.is_set():
            os._exit(128 + number)
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        _on_signal(number, functools.partial(end, number))
    _on_signal(signal.SIGHUP, lambda: None)  # until there is something to read again
    return ended


def _on_signal(number: signal.Signals, work: Callable[[], None]) -> None:
    asyncio.get_running_loop().add_signal_handler(number, work)


def _ready(fd: int | None) -> None:
    """Tell whoever supervises, in both ways that there are."""
    if fd is not None:
        with suppress(OSError):  # nobody reads: then nobody waits
            os.write(fd, b"READY=1\n")
            os.close(fd)
    _notify(b"READY=1")


def _notify(what: bytes) -> None:
    """`sd_notify(3)`."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.sendto(what, "\0" + address[1:] if address.startswith("@") else address)
