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
from app.kernels import OPEN, Place
from helm_ai_kernel import Denied, Failed, Held, Kernel, NotApplied, NotReleased, Unknown, Withheld
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Verdict
from helm_ai_kernel.tcb.errors import OutsideError, Refused

ROUNDS = 100_000  # of the kernel's loop; what a test waits for comes after a few of them


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

    @kernel.tool
    async def greet(name: str) -> str:
        return f"hello {name}"

    with kernel:
        place.sign(kernel, kernel.proposal() | {"tools": [{**t, "effect": "read"} for t in kernel.proposal()["tools"]]}, OPEN)
        assert (add(1), add(1, b=5)) == (3, 6)
        assert asyncio.run(greet("you")) == "hello you"  # type: ignore[arg-type]
    assert place.told() == [
        "decision ALLOW OK python/add", "outcome OK", "decision ALLOW OK python/add", "outcome OK",
        "decision ALLOW OK python/greet", "outcome OK",
    ]  # fmt: skip
    place.check()


def test_the_package_gives_the_library_only_when_it_is_asked_for() -> None:
    assert {"Kernel", "NotApplied", *(kind.__name__ for kind in (Denied, Held, Failed, Withheld, Unknown))} <= set(
        helm_ai_kernel.__all__
    )
    assert all(issubclass(kind, NotReleased) for kind in (Denied, Held, Failed, Withheld, Unknown))
    with pytest.raises(AttributeError, match="`helm_ai_kernel` has no attribute `kernal`"):
        _ = helm_ai_kernel.kernal  # type: ignore[attr-defined]


def test_each_end_of_a_call_is_an_exception_of_its_own(place: Place) -> None:
    def good() -> int:
        return 1

    def drifts() -> int:
        return "one"  # type: ignore[return-value]

    def raises() -> int:
        raise ValueError("after who knows what")

    def refuses() -> int:
        raise NotApplied("it is closed")

    with place.kernel(good, drifts, raises, refuses) as kernel:
        calls = {f.__name__: kernel.tool(effect="read")(f) for f in ()} or {}
        ends: dict[str, tuple[type[NotReleased], Reason]] = {
            "drifts": (Withheld, Reason.ERR_CONNECTOR_CONTRACT_DRIFT),
            "raises": (Unknown, Reason.ERR_OUTCOME_UNKNOWN),
            "refuses": (Failed, Reason.ERR_CONNECTOR_FAILED),
        }
        assert calls == {}
        for name, (kind, reason) in ends.items():
            with pytest.raises(kind) as caught:
                helm_ai_kernel.app.results.released(kernel.call(f"python/{name}", {}))
            assert caught.value.reason is reason
            assert str(caught.value).startswith(f"{reason}: ")
    place.check()
