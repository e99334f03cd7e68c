"""The library: governed functions from every kind of caller, every kind of end, and what is recorded of each."""

import asyncio
import dataclasses
import enum
import inspect
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import helm_ai_kernel
from app.kernels import OPEN, Place, limits
from helm_ai_kernel import Denied, Failed, Held, Kernel, NotApplied, NotReleased, Unknown, Withheld
from helm_ai_kernel.app import operate
from helm_ai_kernel.app.results import released
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.connectors.python import WORKERS
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import parse

ROUNDS = 5_000  # of the kernel's loop; what a test waits for comes after a few of them
LONG_S = 60.0  # never reached: a test that waits for it has failed


def until(kernel: Kernel, happened: Callable[[], bool]) -> None:
    """The kernel's loop goes round meanwhile."""

    async def turn(_: Runtime) -> None:
        await asyncio.sleep(0)

    assert any(happened() or kernel.run(turn) for _ in range(ROUNDS))


def test_functions_sync_and_async_are_governed_in_five_lines(place: Place) -> None:
    kernel = Kernel(config=place.config)

    @kernel.tool(effect="read")
    def add(a: int, b: int = 2) -> int:
        """Adds."""
        return a + b

    @kernel.tool(effect="read")
    async def greet(name: str) -> str:
        return f"hello {name}"

    with kernel:
        place.sign(kernel, kernel.proposal(), OPEN)
        assert (add(1), add(1, b=5)) == (3, 6)
        assert asyncio.run(greet("you")) == "hello you"
    told = ["decision ALLOW OK python/add", "outcome OK"] * 2 + ["decision ALLOW OK python/greet", "outcome OK"]
    assert place.told() == told
    place.check()


def test_the_package_has_the_library_and_its_exceptions(place: Place) -> None:
    ends = (Denied, Held, Failed, Withheld, Unknown)
    assert {"Kernel", "NotApplied", "NotReleased", *(end.__name__ for end in ends)} <= set(helm_ai_kernel.__all__)
    assert all(issubclass(end, NotReleased) for end in ends)
    with pytest.raises(AttributeError, match="`helm_ai_kernel` has no attribute `kernal`"):
        _ = helm_ai_kernel.kernal


def test_each_end_of_a_call_is_an_exception_of_its_own(place: Place) -> None:
    def drifts() -> int:
        return "one"  # type: ignore[return-value]

    def raises() -> int:
        raise ValueError("after who knows what")

    def refuses() -> int:
        raise NotApplied("it is closed")

    with place.program(drifts, raises, refuses) as program:
        for name, end, reason in (
            ("drifts", Withheld, Reason.ERR_CONNECTOR_CONTRACT_DRIFT),
            ("drifts", Denied, Reason.ERR_TOOL_HALTED),
            ("raises", Unknown, Reason.ERR_OUTCOME_UNKNOWN),
            ("refuses", Failed, Reason.ERR_CONNECTOR_FAILED),
        ):
            with pytest.raises(end, match=f"^{reason}: .*; receipt [0-9]+") as caught:
                program[name]()
            assert caught.value.reason is reason
            assert caught.value.answer.output is None
    place.check()


def test_a_destructive_function_is_held_for_a_person(place: Place) -> None:
    ran = []

    def wipe() -> None:
        ran.append(1)

    with place.program(wipe, effect="destructive") as program, pytest.raises(Held, match="ERR_APPROVAL_REQUIRED"):
        program["wipe"]()
    assert ran == []


def test_an_argument_is_sent_as_its_schema_says_and_what_json_has_not_is_not_sent(place: Place) -> None:
    class Colour(enum.Enum):
        RED = "red"

    @dataclasses.dataclass
    class Point:
        x: int
        colour: Colour

    def draw(point: Point, at: list[float]) -> str:
        return f"{point.x} {point.colour.value} {at}"

    draw.__annotations__ |= {"point": Point}
    with place.program(draw) as program:
        assert program["draw"](Point(1, Colour.RED), [0.5]) == "1 red [0.5]"
        before = len(place.receipts())
        for nothing in (float("nan"), float("inf"), object(), b"x"):
            with pytest.raises(Refused, match="ERR_JSON_NOT_IJSON"):
                program["draw"](Point(1, Colour.RED), [nothing])
        with pytest.raises(TypeError, match="missing a required argument"):
            program["draw"]()
        with pytest.raises(Denied, match="ERR_JSON_NOT_IJSON"):  # JSON, but two readers could read two numbers
            program["draw"](Point(2**70, Colour.RED), [])
        assert len(place.receipts()) == before + 1


def test_a_governed_function_looks_like_its_own_and_offers_no_way_around_the_kernel(place: Place) -> None:
    ran = []

    def note(text: str) -> None:
        """Write it down."""
        ran.append(text)

    governed = Kernel(config=place.config).tool(note)
    assert (governed.__name__, governed.__doc__) == ("note", "Write it down.")
    assert inspect.signature(governed) == inspect.signature(note)
    assert inspect.unwrap(governed) is governed


def test_an_async_function_runs_on_the_loop_that_awaits_it_and_else_on_the_kernels(place: Place) -> None:
    async def where() -> str:
        return threading.current_thread().name

    async def mine(program: Any) -> tuple[str, bool]:
        lock = asyncio.Lock()  # belongs to this loop

        async def task() -> str:
            async with lock:
                return str(await program["where"]())

        names = await asyncio.gather(*(task() for _ in range(3)))
        return names[0], len(set(names)) == 1

    with place.program(where) as program:
        assert asyncio.run(mine(program)) == ("MainThread", True)
        with ThreadPoolExecutor(1, "other") as pool:
            assert pool.submit(lambda: asyncio.run(mine(program))).result(LONG_S) == ("other_0", True)
        assert parse(program.kernel.call("python/where", {}).output or b"") == "helm-kernel"
    place.check()


def test_an_async_function_whose_loop_is_closed_before_it_began_has_failed(place: Place) -> None:
    ran = []

    async def note() -> None:
        ran.append(1)

    with place.program(note) as program:
        program.kernel.call("python/note", {})
        gate = threading.Event()

        async def hold(_: Runtime) -> None:
            gate.wait(LONG_S)

        holder = threading.Thread(target=program.kernel.run, args=(hold,))
        holder.start()
        loop = asyncio.new_event_loop()
        asked = loop.create_task(program["note"]())
        loop.run_until_complete(asyncio.sleep(0))
        asked._log_destroy_pending = False  # type: ignore[attr-defined]  # this loop is closed with work to do, on purpose
        loop.close()
        gate.set()
        holder.join()
    assert place.told()[2:] == ["decision ALLOW OK python/note", "outcome FAILED ERR_CONNECTOR_FAILED loop_closed"]
    assert ran == [1]
    place.check()


def test_an_async_function_whose_loop_is_busy_past_the_deadline_has_failed_and_never_runs(place: Place) -> None:
    ran = []

    async def note() -> None:
        ran.append(1)

    with place.program(note, limits=limits(20)) as program:
        loop = asyncio.new_event_loop()
        asked = loop.create_task(program["note"]())
        loop.run_until_complete(asyncio.sleep(0))
        until(program.kernel, lambda: place.told()[1:] == ["outcome FAILED ERR_CONNECTOR_FAILED busy"])
        with pytest.raises(Failed):
            loop.run_until_complete(asked)
        loop.close()
    assert ran == []


def test_cancelling_the_caller_undoes_nothing(place: Place) -> None:
    began, release, ran = threading.Event(), threading.Event(), []

    def slow() -> str:
        began.set()
        release.wait(LONG_S)
        ran.append(1)
        return "done"

    async def main(kernel: Kernel) -> None:
        asked = asyncio.create_task(kernel.acall("python/slow", {}))
        await asyncio.to_thread(began.wait, LONG_S)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    with place.program(slow) as program:
        asyncio.run(main(program.kernel))
        release.set()
    assert (ran, place.told()) == ([1], ["decision ALLOW OK python/slow", "outcome OK"])
    place.check()


def test_governed_functions_call_one_another_however_many_at_once(place: Place) -> None:
    def inner(n: int) -> int:
        return n + 1

    def middle(n: int) -> int:
        return int(program["inner"](n)) + 1

    def outer(n: int) -> int:
        together.wait(LONG_S)  # every place of the pool is taken by one that waits
        return int(program["middle"](n)) + 1

    callers = WORKERS
    together = threading.Barrier(callers)
    with place.program(inner, middle, outer) as program, ThreadPoolExecutor(callers) as pool:
        assert sorted(pool.map(program["outer"], range(callers), timeout=LONG_S)) == [n + 3 for n in range(callers)]
    assert sorted(place.told("outcome")) == ["outcome OK"] * 3 * callers
    place.check()


def test_async_governed_functions_call_one_another_on_their_callers_loop(place: Place) -> None:
    async def inner(n: int) -> int:
        return n + 1

    def sync(n: int) -> int:
        return n + 1

    async def outer(n: int) -> int:
        return int(await program["inner"](n)) + int(program["sync"](n))

    with place.program(inner, sync, outer) as program:
        assert asyncio.run(program["outer"](1)) == 4
    place.check()


def test_an_async_function_cannot_wait_for_the_kernel_on_the_kernels_own_loop(place: Place) -> None:
    ran = []

    def inner() -> None:
        ran.append(1)

    async def outer() -> str:
        try:
            program["inner"]()
        except RuntimeError as error:
            return str(error)
        return "it waited"

    with place.program(inner, outer) as program:
        answer = program.kernel.call("python/outer", {})
        assert "make it sync, or use `acall`" in str(parse(answer.output or b""))
    assert (ran, place.told("decision")) == ([], ["decision ALLOW OK python/outer"])


def test_threads_may_call_at_once_and_each_gets_its_own_answer(place: Place) -> None:
    effects = []

    def note(n: int) -> int:
        effects.append(n)
        return n

    with place.program(note) as program, ThreadPoolExecutor(16) as pool:
        numbers = list(range(320))
        assert list(pool.map(program["note"], numbers, timeout=LONG_S)) == numbers
    assert sorted(effects) == numbers
    assert len(place.told("outcome")) == 320
    place.check()


def test_a_closed_kernel_refuses_and_closing_waits_for_what_was_let_in(place: Place) -> None:
    began, release = threading.Event(), threading.Event()

    def slow() -> str:
        began.set()
        release.wait(LONG_S)
        return "done"

    def quick() -> None:
        pass

    def refused() -> bool:
        try:
            program["quick"]()
        except OutsideError as error:
            return error.reason is Reason.ERR_SEALED
        return False

    with ThreadPoolExecutor(2) as pool, place.program(slow, quick) as program:
        asked = pool.submit(program["slow"])
        began.wait(LONG_S)
        closing = pool.submit(program.kernel.close)
        assert any(refused() for _ in range(ROUNDS))
        assert not closing.done()
        release.set()
        closing.result(LONG_S)
        assert asked.result(LONG_S) == "done"
        program.kernel.close()  # twice is fine
    assert "outcome OK" in place.told()
    place.check()


def test_a_call_past_its_deadline_is_unknown_and_its_late_answer_is_kept(place: Place) -> None:
    release = threading.Event()

    def slow() -> str:
        release.wait(LONG_S)
        return "done"

    with place.program(slow, limits=limits(20)) as program:
        with pytest.raises(Unknown, match="ERR_OUTCOME_UNKNOWN"):
            released(program.kernel.call("python/slow", {}, key="k"))
        with pytest.raises(Denied, match="ERR_OUTCOME_UNKNOWN"):
            released(program.kernel.call("python/slow", {}, key="k"))
        release.set()
        until(program.kernel, lambda: len(place.told("outcome")) == 2)
        with pytest.raises(Denied, match="ERR_OUTCOME_UNKNOWN"):
            released(program.kernel.call("python/slow", {}, key="k"))
    assert place.told()[1:4] == [
        "outcome UNKNOWN ERR_OUTCOME_UNKNOWN timeout", "decision DENY ERR_OUTCOME_UNKNOWN python/slow", "outcome LATE",
    ]  # fmt: skip
    place.check()


def test_an_interrupt_reaches_the_program_and_the_outcome_is_recorded(place: Place) -> None:
    release = threading.Event()

    def interrupts() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        release.wait(LONG_S)
        return "done"

    with place.program(interrupts) as program:
        with pytest.raises(KeyboardInterrupt):
            program["interrupts"]()
        release.set()
    assert place.told() == ["decision ALLOW OK python/interrupts", "outcome OK"]
    place.check()


def test_an_interrupt_while_the_kernel_opens_leaves_no_lock_behind(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Runtime.open

    async def interrupted(*args: Any, **kwargs: Any) -> Runtime:
        os.kill(os.getpid(), signal.SIGINT)
        return await real(*args, **kwargs)

    monkeypatch.setattr(Runtime, "open", interrupted)
    kernel = Kernel(config=place.config)
    with pytest.raises(KeyboardInterrupt):
        kernel.call("python/note", {})
    assert "helm-kernel" not in [thread.name for thread in threading.enumerate()]
    monkeypatch.setattr(Runtime, "open", real)
    with kernel:
        assert kernel.call("python/note", {}).reason is Reason.ERR_TOOL_NOT_ALLOWED
    place.check()


def test_an_unpinned_function_says_what_a_person_types(place: Place) -> None:
    def note() -> None:
        raise AssertionError("it ran")

    home = f" --home {place.paths.home}"
    with Kernel(config=place.config) as kernel:
        first = kernel.tool(note)
        with pytest.raises(Denied, match="hint: helm-ai-kernel tools pin python" + home):
            first()
        assert (place.paths.catalog / "python.json").exists()

        @kernel.tool(effect="read")
        def later() -> None:
            raise AssertionError("it ran")

        with pytest.raises(Denied, match="tools pin python"):
            later()
        assert '"name": "later"' in (place.paths.catalog / "python.json").read_text()
        place.sign(kernel, kernel.proposal(), None)
        with pytest.raises(Denied, match=f"permit `python/later` in .*main.cedar, then: helm-ai-kernel policy apply{home}"):
            later()
        answer = kernel.call("other/later", {})
        assert "tools pin" not in answer.hint  # it is none of this program's


def test_a_function_that_changed_says_so_and_then_that_it_is_held(place: Place) -> None:
    def note(text: str) -> str:
        return text

    with place.program(note):
        pass

    def changed(text: str, more: str = "") -> str:
        raise AssertionError("it ran")

    changed.__name__ = "note"
    with Kernel(config=place.config) as kernel:
        governed = kernel.tool(changed)
        with pytest.raises(Failed, match=r"ERR_MCP_SCHEMA_DRIFT.*\nhint: helm-ai-kernel tools pin python"):
            governed("a")
        with pytest.raises(Denied, match=r"ERR_TOOL_HALTED.*\nhint: helm-ai-kernel tools pin python"):
            governed("a")
    with Kernel(config=place.config) as kernel:
        governed = kernel.tool(note)
        with pytest.raises(Denied, match=r"ERR_TOOL_HALTED.*\nhint: helm-ai-kernel tools release python/note"):
            governed("a")


def test_what_a_person_said_of_a_pinned_function_outlives_the_programs_next_proposal(place: Place) -> None:
    def pay() -> None:
        pass

    def other() -> None:
        pass

    with place.program(pay, effect="write", require_key=True, labels=["money"]) as program:
        program.kernel.tool(effect="read")(other)
        program.kernel.call("python/other", {})
    proposed = {tool["name"]: tool for tool in operate.read_catalog(place.config, "python")["tools"]}
    assert (proposed["pay"]["require_key"], proposed["pay"]["labels"]) == (True, ["money"])
    assert proposed["other"]["require_key"] is False


def test_there_is_one_kernel_of_a_home_at_a_time_and_the_second_says_so(place: Place) -> None:
    def note() -> int:
        return 1

    with place.program(note) as first:
        second = Kernel(config=place.config)
        governed = second.tool(note)
        with pytest.raises(OutsideError, match="ERR_STORE_LOCKED") as caught:
            governed()
        assert any("hint: " in line for line in caught.value.__notes__)
        assert first["note"]() == 1
    with second:
        assert governed() == 1  # what failed to open can be opened later
    place.check()


def test_a_kernel_that_cannot_be_opened_leaves_no_lock_and_no_thread(place: Place) -> None:
    key = place.paths.keys / "execution"
    secret = key.read_bytes()
    key.write_bytes(b"{}")
    kernel = Kernel(config=place.config)
    with pytest.raises(OutsideError, match="ERR_SIGNER_UNAVAILABLE"):
        kernel.call("python/note", {})
    assert "helm-kernel" not in [thread.name for thread in threading.enumerate()]
    key.write_bytes(secret)
    with kernel:
        assert kernel.call("python/note", {}).reason is Reason.ERR_TOOL_NOT_ALLOWED
    place.check()


def test_names_and_classes_that_cannot_be_are_refused_at_once(place: Place) -> None:
    kernel = Kernel(config=place.config)
    with pytest.raises(ValueError, match=r"`\.\./x` is no name of a server"):
        Kernel(config=place.config, server="../x")
    with pytest.raises(ValueError, match="`reed` is no effect class: read, write"):
        kernel.tool(effect="reed")

    def untyped(a) -> None:  # type: ignore[no-untyped-def]
        pass

    with pytest.raises(Refused, match="ERR_SCHEMA_UNSAFE") as caught:
        kernel.tool(untyped)
    assert any("annotate it" in line for line in caught.value.__notes__)
    with pytest.raises(OutsideError, match="there is no kernel") as missing:
        Kernel(str(place.folder / "nowhere"))
    assert f"helm-ai-kernel init --home {place.folder / 'nowhere'}" in missing.value.__notes__[0]
