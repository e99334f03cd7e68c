"""The library's facade: `@kernel.tool` governs a Python function.

The kernel runs in a thread of its own with its own event loop, started by the first call; importing a module that
decorates functions takes no lock and starts nothing.
"""

import asyncio
import atexit
import functools
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar, overload

from helm_ai_kernel.connectors.output import encode
from helm_ai_kernel.connectors.python import CALLER, NotApplied, PythonConnector
from helm_ai_kernel.executor.host import Answer, Patience
from helm_ai_kernel.pep.catalog import entry, server_doc
from helm_ai_kernel.tcb.call import Effect
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json

from . import operate
from .config import SERVER, Config, load, paths
from .results import Denied, Failed, Held, NotReleased, Unknown, Withheld, released
from .runtime import Runtime, record_late
from .thread import Running, Work, process

__all__ = ["Denied", "Failed", "Held", "Kernel", "NotApplied", "NotReleased", "Unknown", "Withheld"]

P = ParamSpec("P")
T = TypeVar("T")
DOOR = "library"
_ENDED_BY_A_PERSON = frozenset({
    Reason.ERR_TOOL_NOT_ALLOWED, Reason.ERR_TOOL_HALTED, Reason.ERR_MCP_SCHEMA_DRIFT, Reason.ERR_CONNECTOR_CONTRACT_DRIFT,
})  # fmt: skip
EXIT_S = 5.0  # what the interpreter's exit waits for calls that nobody waits for any more; then they are UNKNOWN


class Kernel:
    """A kernel in this process. Use it as a context manager, or let the interpreter's exit close it.

    Safe to call from any thread and any event loop. After a fork it stays the parent's: the child's copy refuses.
    """

    def __init__(
        self, home: str | None = None, *, server: str = "python", config: Config | None = None, wait_s: float = 0.0
    ) -> None:  # fmt: skip
        """`home` as for the command line; `server` is the name under which this program's functions are pinned.

        `wait_s`: how long a call that a person must approve waits for that; a call may say otherwise.
        """
        if not SERVER.match(server):
            raise ValueError(f"`{server}` is no name of a server: 1 to 64 lower case letters, digits, `_` and `-`")
        self.config = config or _explained(lambda: load(paths(home)))
        self.server = server
        self._wait_s = wait_s
        self._hands = PythonConnector((), on_late=record_late)
        self._effects: dict[str, Effect] = {}
        self._lock = threading.Lock()
        self._running: Running | None = None
        self._process: tuple[int, int] | None = None  # the one that opened the store
        self._closed = False

    @overload
    def tool(self, function: Callable[P, T], /) -> Callable[P, T]: ...
    @overload
    def tool(self, function: None = None, /, *, effect: str = ...) -> Callable[[Callable[P, T]], Callable[P, T]]: ...

    def tool(self, function: Any = None, /, *, effect: str = "destructive") -> Any:
        """Govern a function, sync or async; its schema comes from its signature.

        `effect` (`read`, `write`, `destructive`, `network`, `payment`) is what you propose; the person who pins it decides.
        """
        if effect not in tuple(Effect):
            raise ValueError(f"`{effect}` is no effect class: {', '.join(Effect)}")
        if function is None:
            return lambda inner: self._govern(inner, Effect(effect))
        return self._govern(function, Effect(effect))

    def call(
        self,
        tool: str,
        arguments: dict[str, Json],
        *,
        key: str | None = None,
        subject: str | None = None,
        wait_s: float | None = None,
    ) -> Answer:
        """Execute one call and wait for its answer. `tool` is `server/tool`; `key` makes retries safe.

        Where a person must approve it, it waits `wait_s` for that; afterwards the same call, made again, goes on with it.

        `subject` names whom it is about: what is kept about them can be erased by itself (`docs/spec/erasure.md`).
        """
        self._refuse_own_loop()
        return self._answered(tool, self._wait(self._send(_request(tool, arguments, key, subject), None, wait_s)))

    async def acall(
        self,
        tool: str,
        arguments: dict[str, Json],
        *,
        key: str | None = None,
        subject: str | None = None,
        wait_s: float | None = None,
    ) -> Answer:
        """`call` for asynchronous programs. An async function of this program runs on the loop that awaits this.

        Cancelling it undoes nothing: the outcome is recorded all the same.
        """
        if self._running is None:
            await asyncio.to_thread(self._submit, _nothing)  # opening reads the disk, and this loop has others to serve
        sent = self._send(_request(tool, arguments, key, subject), asyncio.get_running_loop(), wait_s)
        return self._answered(tool, await asyncio.wrap_future(sent))

    def run(self, work: Work[T]) -> T:
        """Run a coroutine on the kernel's own loop and wait for it."""
        self._refuse_own_loop()
        return self._wait(self._submit(work))

    def proposal(self) -> dict[str, Any]:
        """The catalogue document of this program's functions, as `tools pin` would pin it."""
        entries = [entry(name, raw, effect=self._effects[name]) for name, raw in self._hands.definitions.items()]
        return server_doc(self.server, {"kind": "python"}, entries)

    def close(self, *, within_s: float | None = None) -> None:
        """Wait for the calls under way (each to its deadline, or so long), end every session, let go of the store.

        Closing twice is fine. In a forked child it does nothing: store and threads are the parent's.
        """
        if self._process not in (None, process()):
            return
        self._refuse_own_loop()
        with self._lock:
            running, self._running, self._closed = self._running, None, True
        if running is None:
            return
        atexit.unregister(self._exit)
        running.close(within_s)

    def __enter__(self) -> "Kernel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _exit(self) -> None:
        self.close(within_s=EXIT_S)

    def _govern(self, function: Callable[..., Any], effect: Effect) -> Callable[..., Any]:
        name = _explained(lambda: self._hands.add(function))
        self._effects[name] = effect
        tool, signature = f"{self.server}/{name}", inspect.signature(function)

        def arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
            return dict(signature.bind(*args, **kwargs).arguments)

        async def governed_async(*args: Any, **kwargs: Any) -> Any:
            return released(await self.acall(tool, arguments(args, kwargs)))

        def governed(*args: Any, **kwargs: Any) -> Any:
            return released(self.call(tool, arguments(args, kwargs)))

        made: Any = functools.wraps(function)(governed_async if inspect.iscoroutinefunction(function) else governed)
        made.__signature__ = signature
        del made.__wrapped__  # the way around the kernel that `inspect.unwrap` takes
        return made  # type: ignore[no-any-return]

    def _send(self, raw: bytes, caller: asyncio.AbstractEventLoop | None, wait_s: float | None) -> "Future[Answer]":
        token = CALLER.set(caller)  # the call's task copies this context
        patience = Patience(self._wait_s if wait_s is None else wait_s)
        try:
            return self._submit(lambda runtime: runtime.call(raw, principal=self.config.agent, door=DOOR, patience=patience))
        finally:
            CALLER.reset(token)

    def _submit(self, work: Work[T]) -> "Future[T]":
        """Start `work` on the kernel's loop, which the first call opens."""
        if self._process is not None and self._process != process():  # before the lock, which a fork may have copied in any state
            raise OutsideError(
                Reason.ERR_STORE_LOCKED,
                f"this kernel is open in process {self._process[0]}, of which this one is a fork",
                hint="make the first call after the fork, and in one process only",
            )
        with self._lock:
            running = self._running or self._open()
            return running.submit(work)

    def _wait(self, future: "Future[T]") -> T:
        with self._hands.waiting():
            return future.result()

    def _refuse_own_loop(self) -> None:
        if self._running is not None and self._running.here:
            raise RuntimeError("an async function waits for the kernel on the kernel's own loop: make it sync, or use `acall`")

    def _answered(self, tool: str, answer: Answer) -> Answer:
        """The answer; where a person ends such refusals of this program's functions, its hint is what that person types."""
        server, _, name = tool.partition("/")
        if answer.reason not in _ENDED_BY_A_PERSON or server != self.server or name not in self._hands.definitions:
            return answer
        home = self.config.paths
        if self._running is not None and name in self._propose(self._running.runtime):
            return replace(answer, hint=home.typed(f"tools pin {server}"))
        if answer.reason is not Reason.ERR_TOOL_NOT_ALLOWED:
            return replace(answer, hint=home.typed(f"tools release {tool}"))
        return replace(answer, hint=f"permit `{tool}` in {home.policy / 'main.cedar'}, then: {home.typed('policy apply')}")

    def _open(self) -> Running:
        if self._closed:
            raise OutsideError(Reason.ERR_SEALED, "this kernel was closed", hint="make a new Kernel()")
        self._process = process()
        opening = functools.partial(Runtime.open, self.config, connectors={self.server: self._hands}, client="python library")
        try:
            self._running = running = _explained(lambda: Running.start(opening))
        except BaseException:
            self._process = None
            raise
        atexit.register(self._exit)
        self._propose(running.runtime)
        return running

    def _propose(self, runtime: Runtime) -> set[str]:
        """The functions that differ from their pins; what could be pinned is left for `tools pin`. Nothing changes by itself."""
        pins, proposal = runtime.boundary.catalog.tools, self.proposal()
        pinned = {name: pins.get(f"{self.server}/{name}") for name in self._effects}
        differ = {str(t["name"]) for t in proposal["tools"] if getattr(pinned[t["name"]], "pin", None) != t["pin"]}
        if differ:
            with suppress(OSError):  # the answer does not depend on it
                operate.save_catalog(self.config.paths, operate.as_said_before(proposal, runtime.boundary.catalog))
        return differ


def _request(tool: str, arguments: dict[str, Any], key: str | None, subject: str | None) -> bytes:
    named = {name: value for name, value in (("idempotency_key", key), ("subject", subject)) if value is not None}
    raw = encode({"tool": tool, "arguments": arguments, **named})
    if raw is None:
        raise Refused(Reason.ERR_JSON_NOT_IJSON, f"the arguments of `{tool}` are no JSON", hint="pass what its signature says")
    return raw


async def _nothing(_: Runtime) -> None:
    pass


def _explained(work: Callable[[], T]) -> T:
    """A traceback ends with what to do next."""
    try:
        return work()
    except (OutsideError, Refused) as e:
        if e.hint:
            e.add_note(f"hint: {e.hint}")
        raise
