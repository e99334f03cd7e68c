"""Functions as tools: what their ends prove, and what becomes of those that do not end in time."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pytest

from helm_ai_kernel.connectors.python import NotApplied, PythonConnector
from helm_ai_kernel.connectors.threads import Threads
from helm_ai_kernel.executor.host import Connector, Reply, ReplyKind
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.jcs import canonical

LONG_MS = 60_000
SHORT_MS = 50

Body = Callable[[PythonConnector], Coroutine[Any, Any, None]]


def serving(*functions: Callable[..., object], body: Body, **options: Any) -> None:
    async def main() -> None:
        connector = PythonConnector(functions, **options)
        try:
            await body(connector)
        finally:
            await connector.close()

    asyncio.run(main())


async def call(
    connector: Connector, name: str, args: bytes = b"{}", *, wall_ms: int = LONG_MS, output_bytes: int = 1 << 20
) -> Reply:
    return await connector.call(name, args, key=None, wall_ms=wall_ms, output_bytes=output_bytes)


def summary(reply: Reply) -> tuple[ReplyKind, Reason, str, bytes | None]:
    return reply.kind, reply.reason, reply.sub, reply.output


def add(a: int, b: int = 2) -> int:
    """Adds."""
    return a + b


async def add_async(a: int) -> dict[str, int]:
    return {"sum": a, "big": 2**70}


def test_functions_sync_and_async_are_called_with_their_arguments() -> None:
    async def body(connector: PythonConnector) -> None:
        assert summary(await call(connector, "add", b'{"a":1}')) == (ReplyKind.OUTPUT, Reason.OK, "", b"3")
        assert (await call(connector, "add", b'{"a":1,"b":4}')).output == b"5"
        assert (await call(connector, "add_async", b'{"a":1}')).output == b'{"big":1180591620717411303424,"sum":1}'
        assert connector.definitions["add"]["description"] == "Adds."

    serving(add, add_async, body=body)


def test_a_function_may_be_added_later_and_no_two_have_one_name() -> None:
    async def body(connector: PythonConnector) -> None:
        assert connector.add(add) == "add"
        assert (await call(connector, "add", b'{"a":1}')).output == b"3"
        with pytest.raises(Refused, match="two functions"):
            connector.add(add)

    serving(body=body)


def test_what_never_began_is_failed() -> None:
    async def body(connector: PythonConnector) -> None:
        failed = (ReplyKind.FAILED, Reason.ERR_CONNECTOR_FAILED)
        assert summary(await call(connector, "none")) == (*failed, "no_such_tool", None)
        violation = (ReplyKind.FAILED, Reason.ERR_SCHEMA_VIOLATION, "arguments", None)
        assert summary(await call(connector, "add", b'{"a":"1"}')) == violation
        assert summary(await call(connector, "add_async", b"{}")) == violation

    serving(add, add_async, body=body)


def test_a_function_that_changed_since_its_pin_is_not_run() -> None:
    async def body(connector: PythonConnector) -> None:
        connector.pins = {"add": digest(canonical(connector.definitions["add"]))}
        assert (await call(connector, "add", b'{"a":1}')).output == b"3"
        connector.pins = {"add": digest(b"another")}
        drift = (ReplyKind.FAILED, Reason.ERR_MCP_SCHEMA_DRIFT, "changed", None)
        assert summary(await call(connector, "add", b'{"a":1}')) == drift
        connector.pins = {}
        assert summary(await call(connector, "add", b'{"a":1}')) == drift

    serving(add, body=body)


class Custom(BaseException):
    pass


def raises(which: str) -> None:
    raise {"value": ValueError("secret"), "applied": NotApplied("nothing"), "exit": SystemExit(3), "base": Custom("x")}[which]


async def raises_async(which: str) -> None:
    if which == "cancelled":
        raise asyncio.CancelledError
    raises(which)


@pytest.mark.parametrize("function", ["raises", "raises_async"])
@pytest.mark.parametrize(
    ("which", "end"),
    [
        ("value", (ReplyKind.UNKNOWN, Reason.ERR_OUTCOME_UNKNOWN, "exception ValueError", None)),
        ("exit", (ReplyKind.UNKNOWN, Reason.ERR_OUTCOME_UNKNOWN, "exception SystemExit", None)),
        ("base", (ReplyKind.UNKNOWN, Reason.ERR_OUTCOME_UNKNOWN, "exception Custom", None)),
        ("applied", (ReplyKind.FAILED, Reason.ERR_CONNECTOR_FAILED, "not_applied", None)),
    ],
)
def test_an_exception_proves_nothing_but_the_one_that_promises(function: str, which: str, end: object) -> None:
    async def body(connector: PythonConnector) -> None:
        assert summary(await call(connector, function, b'{"which":"%s"}' % which.encode())) == end

    serving(raises, raises_async, body=body)


def test_a_function_that_cancels_itself_is_unknown() -> None:
    async def body(connector: PythonConnector) -> None:
        reply = await call(connector, "raises_async", b'{"which":"cancelled"}')
        assert (reply.kind, reply.sub) == (ReplyKind.UNKNOWN, "exception CancelledError")

    serving(raises_async, body=body)


def test_a_value_that_is_no_json_is_an_empty_output_that_keeps_no_contract() -> None:
    def gives(which: str) -> Any:
        return {"nan": float("nan"), "bytes": b"x", "object": object(), "surrogate": "\ud800"}[which]

    async def body(connector: PythonConnector) -> None:
        for which in (b"nan", b"bytes", b"object", b"surrogate"):
            end = summary(await call(connector, "gives", b'{"which":"%s"}' % which))
            assert end == (ReplyKind.OUTPUT, Reason.OK, "not_json", b"")

    serving(gives, body=body)


def test_a_large_output_is_cut_and_says_so() -> None:
    def large() -> str:
        return "x" * 1000

    async def body(connector: PythonConnector) -> None:
        reply = await call(connector, "large", output_bytes=10)
        assert (reply.kind, reply.output, reply.truncated) == (ReplyKind.OUTPUT, b'"xxxxxxxxx', True)
        exact = await call(connector, "large", output_bytes=1002)
        assert not exact.truncated and len(exact.output or b"") == 1002

    serving(large, body=body)


@dataclass
class Strict:
    a: int

    def __post_init__(self) -> None:
        raise RuntimeError("no")


def test_an_argument_class_that_raises_is_the_functions_own_exception() -> None:
    def takes(s: Strict) -> None: ...

    async def body(connector: PythonConnector) -> None:
        assert (await call(connector, "takes", b'{"s":{"a":1}}')).sub == "exception RuntimeError"

    serving(takes, body=body)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_deadline_is_unknown_the_function_goes_on_and_its_end_is_late(kind: str) -> None:
    which: ContextVar[str] = ContextVar("which")
    release = threading.Event()

    def slow() -> str:
        release.wait(60)
        return "done"

    async def slow_async() -> str:
        await asyncio.to_thread(release.wait, 60)
        return "done"

    async def body(connector: PythonConnector) -> None:
        late: asyncio.Queue[tuple[str, Reply]] = asyncio.Queue()
        connector.on_late = lambda reply: late.put_nowait((which.get(), reply))

        async def one() -> Reply:
            which.set("this call")
            return await call(connector, "slow" if kind == "sync" else "slow_async", wall_ms=SHORT_MS)

        reply = await asyncio.create_task(one())
        assert summary(reply) == (ReplyKind.UNKNOWN, Reason.ERR_OUTCOME_UNKNOWN, "timeout", None)
        release.set()
        name, end = await asyncio.wait_for(late.get(), 60)
        assert (name, summary(end)) == ("this call", (ReplyKind.OUTPUT, Reason.OK, "", b'"done"'))

    serving(slow, slow_async, body=body)


def test_an_async_function_runs_on_the_loop_that_was_given() -> None:
    other = asyncio.new_event_loop()
    thread = threading.Thread(target=other.run_forever)
    thread.start()

    async def where() -> bool:
        return threading.current_thread() is thread

    async def body(connector: PythonConnector) -> None:
        assert (await call(connector, "where")).output == b"true"

    try:
        serving(where, body=body, loop=other)
    finally:
        other.call_soon_threadsafe(other.stop)
        thread.join()
        other.close()


def test_a_call_that_found_no_thread_before_its_deadline_never_runs() -> None:
    release, ran = threading.Event(), []

    def blocks() -> None:
        release.wait(60)

    def marks() -> None:
        ran.append(1)

    async def body(connector: PythonConnector) -> None:
        first = asyncio.create_task(call(connector, "blocks"))
        await asyncio.sleep(0)
        assert summary(await call(connector, "marks", wall_ms=SHORT_MS)) == (
            ReplyKind.FAILED,
            Reason.ERR_CONNECTOR_FAILED,
            "busy",
            None,
        )
        release.set()
        assert (await first).kind is ReplyKind.OUTPUT
        assert (await call(connector, "blocks")).kind is ReplyKind.OUTPUT  # the same thread, after what was taken back
        assert not ran

    serving(blocks, marks, body=body, workers=1)


def test_many_calls_share_the_threads() -> None:
    seen: set[int] = set()

    def where() -> None:
        seen.add(threading.get_ident())

    async def body(connector: PythonConnector) -> None:
        replies = await asyncio.gather(*(call(connector, "where") for _ in range(50)))
        assert {reply.kind for reply in replies} == {ReplyKind.OUTPUT}
        assert 1 <= len(seen) <= 3 and threading.get_ident() not in seen

    serving(where, body=body, workers=3)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_closing_ends_calls_in_flight_as_unknown_and_tells_nobody_later(kind: str) -> None:
    release = threading.Event()
    late: list[Reply] = []

    def slow() -> None:
        release.wait(60)

    async def slow_async() -> None:
        await asyncio.Event().wait()

    async def body(connector: PythonConnector) -> None:
        name = "slow" if kind == "sync" else "slow_async"
        timed_out = await call(connector, name, wall_ms=SHORT_MS)
        running = asyncio.create_task(call(connector, name))
        await asyncio.sleep(0)
        await connector.close()
        assert {timed_out.kind, (await running).kind} == {ReplyKind.UNKNOWN}
        assert summary(await call(connector, name)) == (ReplyKind.FAILED, Reason.ERR_CONNECTOR_FAILED, "closed", None)
        release.set()

    serving(slow, slow_async, body=body, on_late=late.append)
    assert not late


def test_the_threads_are_no_reason_to_stay() -> None:
    pool, release = Threads(2), threading.Event()
    running = pool.submit(release.wait, 60)
    names = [thread for thread in threading.enumerate() if thread.name.startswith("helm-tool")]
    assert names and all(thread.daemon for thread in names)
    pool.shutdown(cancel_futures=True)
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(int)
    release.set()
    assert running.result(60) is True
