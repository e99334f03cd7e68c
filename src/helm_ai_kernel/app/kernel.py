"""The library's facade: `@kernel.tool` governs a Python function.

The kernel runs in a thread of its own with its own event loop, started by the first call; importing a module that
decorates functions takes no lock and starts nothing.
"""

import asyncio
import atexit
import functools
import inspect
import threading
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, overload

from helm_ai_kernel.connectors.python import PythonConnector
from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.pep.catalog import entry, server_doc
from helm_ai_kernel.tcb.call import Effect
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical

from . import operate
from .config import Config, load, paths
from .results import released
from .runtime import Runtime, record_late

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
DOOR = "library"


class Kernel:
    """A kernel in this process. Use it as a context manager, or let the interpreter's exit close it."""

    def __init__(self, home: str | None = None, *, server: str = "python", config: Config | None = None) -> None:
        """`home` as for the command line; `server` is the name under which this program's functions are pinned."""
        self.config = config or load(paths(home))
        self.server = server
        self._hands = PythonConnector((), on_late=record_late)
        self._effects: dict[str, Effect] = {}
        self._lock = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, threading.Thread, Runtime] | None = None
        self._closed = False

    @overload
    def tool(self, function: Callable[P, R], /) -> Callable[P, R]: ...
    @overload
    def tool(self, function: None = None, /, *, effect: str = ...) -> Callable[[Callable[P, R]], Callable[P, R]]: ...

    def tool(self, function: Any = None, /, *, effect: str = "destructive") -> Any:
        """Govern a function, sync or async; its schema comes from its signature.

        `effect` (`read`, `write`, `destructive`, `network`, `payment`) is what you propose; the person who pins it decides.
        """
        if function is None:
            return lambda inner: self._govern(inner, Effect(effect))
        return self._govern(function, Effect(effect))

    def call(self, tool: str, arguments: dict[str, Json], *, key: str | None = None) -> Answer:
        """Execute one call and wait for its answer. `tool` is `server/tool`; `key` makes retries safe."""
        return self.run(lambda runtime: runtime.call(_request(tool, arguments, key), principal=self.config.agent, door=DOOR))

    async def acall(self, tool: str, arguments: dict[str, Json], *, key: str | None = None) -> Answer:
        """`call` for asynchronous programs. Cancelling it undoes nothing: the outcome is recorded all the same."""
        loop, _, runtime = await asyncio.to_thread(self._open)
        raw = _request(tool, arguments, key)
        work = runtime.call(raw, principal=self.config.agent, door=DOOR)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

    def run(self, work: Callable[[Runtime], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the kernel's own loop and wait for it."""
        loop, thread, runtime = self._open()
        if threading.current_thread() is thread:
            raise RuntimeError("a governed function calls the kernel from the kernel's own loop: make it sync, or use `acall`")
        return asyncio.run_coroutine_threadsafe(work(runtime), loop).result()

    def proposal(self) -> dict[str, Any]:
        """The catalogue document of this program's functions, as `tools pin` would pin it."""
        entries = [entry(name, raw, effect=self._effects[name]) for name, raw in self._hands.definitions.items()]
        return server_doc(self.server, {"kind": "python"}, entries)

    def close(self) -> None:
        """Wait for the calls under way, end every session, let go of the store. Closing twice is fine."""
        with self._lock:
            running, self._running, self._closed = self._running, None, True
        if running is None:
            return
        loop, thread, runtime = running
        atexit.unregister(self.close)
        try:
            asyncio.run_coroutine_threadsafe(runtime.close(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def __enter__(self) -> "Kernel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _govern(self, function: Callable[..., Any], effect: Effect) -> Callable[..., Any]:
        name = self._hands.add(function)
        self._effects[name] = effect
        tool, signature = f"{self.server}/{name}", inspect.signature(function)

        def arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Json]:
            return dict(signature.bind(*args, **kwargs).arguments)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def governed_async(*args: Any, **kwargs: Any) -> Any:
                return released(await self.acall(tool, arguments(args, kwargs)))

            return governed_async

        @functools.wraps(function)
        def governed(*args: Any, **kwargs: Any) -> Any:
            return released(self.call(tool, arguments(args, kwargs)))

        return governed

    def _open(self) -> tuple[asyncio.AbstractEventLoop, threading.Thread, Runtime]:
        with self._lock:
            if self._running is not None:
                return self._running
            if self._closed:
                raise OutsideError(Reason.ERR_SEALED, "this kernel was closed", hint="make a new Kernel()")
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="helm-kernel", daemon=True)
            thread.start()
            try:
                opening = Runtime.open(self.config, connectors={self.server: self._hands}, client="python library")
                runtime = asyncio.run_coroutine_threadsafe(opening, loop).result()
                self._propose(runtime)
            except BaseException:
                loop.call_soon_threadsafe(loop.stop)
                thread.join()
                loop.close()
                raise
            self._running = (loop, thread, runtime)
            atexit.register(self.close)
            return self._running

    def _propose(self, runtime: Runtime) -> None:
        """Where functions differ from their pins, leave what could be pinned for `tools pin`; it changes nothing by itself."""
        pins = runtime.boundary.catalog.tools
        proposal = self.proposal() if self._hands.definitions else {"tools": []}
        if any(getattr(pins.get(f"{self.server}/{item['name']}"), "pin", None) != item["pin"] for item in proposal["tools"]):
            operate.save_catalog(self.config.paths, proposal)


def _request(tool: str, arguments: dict[str, Json], key: str | None) -> bytes:
    body: dict[str, Json] = {"tool": tool, "arguments": arguments}
    return canonical(body if key is None else {**body, "idempotency_key": key})
