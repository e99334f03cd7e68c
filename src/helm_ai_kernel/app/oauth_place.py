"""Where a browser comes back to: a listener on this machine for one answer, and how a person gets to see the question.

It is the kernel's own front with one path. What answers another question than ours is refused and changes nothing: whoever sends
such ends no login.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from helm_ai_kernel.net.door import Bounds, Peer
from helm_ai_kernel.net.fetch import Fetcher
from helm_ai_kernel.net.listener import Listener
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.wire.head import Head
from helm_ai_kernel.wire.oauth_metadata import Url, refused
from helm_ai_kernel.wire.reply import Reply

PATH = "/callback"
HOST = "127.0.0.1"
HOPS_MAX = 8  # redirects between a question and its answer, where nobody but a program follows them
CLOSE_S = 1.0
TEXT = (("Content-Type", "text/plain; charset=utf-8"),)

Visit = Callable[[str], Awaitable[None]]  # shows a person the question; may return before they have answered

_ENVIRONMENT = ("PATH", "HOME", "LANG", "USER", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR")


class Place:
    """A `Door`: the first answer to our question counts, and no other is looked at."""

    def __init__(self) -> None:
        self.redirect = ""
        self.is_answer: Callable[[str], bool] = lambda query: False
        self.query: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def admit(self, head: Head, peer: Peer) -> Reply | None:
        return None if (head.method, head.path) == ("GET", PATH) else Reply(404, TEXT, b"not here\n")

    async def answer(self, head: Head, body: bytes, peer: Peer) -> Reply:
        if self.query.done() or not self.is_answer(head.query):
            return Reply(400, TEXT, b"nobody asked for this\n")
        self.query.set_result(head.query)
        return Reply(200, TEXT, b"The kernel has its answer. You can close this window.\n")

    def refused(self, reason: Reason, peer: Peer) -> None:
        """Nothing that anybody sends here is counted."""


@asynccontextmanager
async def place(port: int) -> AsyncIterator[Place]:
    """At that port, or at a free one where it is 0; raises `OutsideError` where it is taken."""
    door = Place()
    listener = Listener(door, Bounds(connections=16, peer_connections=16), types=frozenset())
    host, port = await listener.start_tcp(HOST, port)
    door.redirect = f"http://{host}:{port}{PATH}"
    try:
        yield door
    finally:
        await listener.close(within_s=CLOSE_S)


def by_command(command: Sequence[str]) -> Visit:
    """The command reads the URL from its input. It sees no variable that could hold a secret of the kernel's."""

    async def visit(url: str) -> None:
        environ = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        quiet = asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=quiet, stderr=quiet, env=environ, start_new_session=True
            )
        except OSError as error:
            detail = f"the opener `{command[0]}` does not start: {(error.strerror or '').lower()}"
            raise OutsideError(Reason.ERR_CONNECTOR_FAILED, detail, hint="correct `opener` in helm.toml") from None
        try:
            with suppress(ConnectionError):
                await process.communicate(url.encode() + b"\n")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    return visit


def by_following(fetcher: Fetcher) -> Visit:
    """Nobody is asked: what the authorization server answers at once is taken for the answer. For tests of a server."""

    async def visit(url: str) -> None:
        for _ in range(HOPS_MAX):
            found = await fetcher.ask("GET", url, {"accept": "*/*"})
            if found.status not in (301, 302, 303, 307, 308):
                break
            url = found.location
            if Url.parse(url).path == PATH and url.startswith(f"http://{HOST}:"):
                await fetcher.ask("GET", url, {"accept": "*/*"})
                return
        raise refused("login", "the authorization server does not answer at once: it wants a person", "leave `--follow` out")

    return visit
