"""The pieces of an answer whose end is told once, whoever ends it: its last piece, its reader, or that it may not go on.

A generator that nobody began has no end of its own; a reader that went away before the first piece would otherwise be waited for.
"""

from collections.abc import AsyncIterator, Callable


def always() -> bool:
    return True


class Ending:
    def __init__(self, pieces: AsyncIterator[bytes], over: Callable[[], None], may_go_on: Callable[[], bool] = always) -> None:
        """`may_go_on` is asked before each piece leaves."""
        self._pieces = pieces
        self._over: Callable[[], None] | None = over
        self._may_go_on = may_go_on

    def __aiter__(self) -> "Ending":
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await anext(self._pieces)
            if not self._may_go_on():
                raise StopAsyncIteration
        except BaseException:  # its end, its reader's, or our own bug
            await self.aclose()
            raise
        return piece

    async def aclose(self) -> None:
        over, self._over = self._over, None
        if over is not None:
            over()
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()
