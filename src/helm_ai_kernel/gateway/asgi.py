"""An ASGI application behind our own front: one request in, one answer out, whole or in pieces.

The front has refused what two readers could understand differently; here nothing is parsed again. An application that answers in
pieces is read as its client takes them, and ended when its client goes (`docs/decisions/0011`).
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from helm_ai_kernel.wire.head import Head
from helm_ai_kernel.wire.reply import Reply

Message = MutableMapping[str, Any]
Application = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
_FRONTS = frozenset({b"content-length", b"cache-control", b"x-content-type-options"})  # these the front writes by itself


class Exchange:
    """One request to an application, which runs in a task of its own until it has answered."""

    def __init__(self, app: Application, head: Head, body: bytes) -> None:
        self._body = body
        self._asked = False
        self._gone = asyncio.Event()
        self._said: asyncio.Queue[Message] = asyncio.Queue(maxsize=1)  # the next piece waits until the last one was taken
        self._task = asyncio.ensure_future(app(_scope(head), self._receive, self._said.put))

    async def reply(self) -> Reply:
        """Its answer; raises what the application raised, or `RuntimeError` where it answered nothing."""
        start = await self.next()
        fields = tuple(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"] if name.lower() not in _FRONTS
        )
        first = await self.next()
        if first.get("more_body", False):
            return Reply(start["status"], fields, _Pieces(self, first.get("body", b"")))
        await self.ended()
        return Reply(start["status"], fields, first.get("body", b""))

    async def next(self) -> Message:
        waits = asyncio.ensure_future(self._said.get())
        await asyncio.wait({waits, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if waits.done():
            return waits.result()
        waits.cancel()
        if not self._said.empty():
            return self._said.get_nowait()
        self._task.result()
        raise RuntimeError("the application ended without an answer")

    async def ended(self, *, early: bool = False) -> None:
        """Wait for the application to return. `early`: nobody listens any more, and how it ends is nobody's."""
        if not early:
            await self._task
            return
        self._gone.set()
        self._task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self._task

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}


class _Pieces:
    """The body of an answer in pieces. `aclose` ends the application, also where nobody has asked for the first one yet."""

    def __init__(self, exchange: Exchange, first: bytes) -> None:
        self._exchange = exchange
        self._first: bytes | None = first
        self._more = True

    def __aiter__(self) -> "_Pieces":
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            piece, self._first = self._first, None
            return piece
        if not self._more:
            await self._exchange.ended()
            raise StopAsyncIteration
        message = await self._exchange.next()
        self._more = message.get("more_body", False)
        piece = message.get("body", b"")
        return bytes(piece)

    async def aclose(self) -> None:
        await self._exchange.ended(early=True)


def _scope(head: Head) -> Message:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": head.method,
        "scheme": "http",
        "path": head.path,  # as sent: what is written with a `%` is no path of ours
        "raw_path": head.path.encode("ascii"),
        "query_string": head.query.encode("ascii"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.fields.items()],
        "client": None,
        "server": None,
        "state": {},
    }
