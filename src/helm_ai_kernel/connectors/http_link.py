"""The way to one MCP server over HTTP: the place that was pinned, what every request to it carries, and who is let in by it.

Nothing of an answer leads anywhere: redirects are not followed, cookies do not exist. A bearer token is asked for before the
first request, and again where the server says with 401 or 403 that it wants another one; it says so before it begins, so that the
request is sent again then, and only a few times.
"""

import os
from collections.abc import Callable, Mapping
from typing import Protocol

from helm_ai_kernel import __version__
from helm_ai_kernel.net.exchange import Lost, Streamed
from helm_ai_kernel.net.resolver import Resolver
from helm_ai_kernel.net.upstream import Upstream
from helm_ai_kernel.pep.service import Service
from helm_ai_kernel.tcb import fields
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.wire.posted import EVENTS, JSON
from helm_ai_kernel.wire.request import encode
from helm_ai_kernel.wire.response import ResponseHead

from .answer import echoes
from .secrets import secret_headers

TOKENS_MAX = 3  # of one request: the first, one that it wants instead, and one of a wider scope
STREAM_BYTES_MAX = 1 << 40  # of a stream that stays open; what one event may have is bounded where it is read
ANSWER_BYTES_MAX = 64 << 20  # of an answer with all that is said before it

_COMMON = {"accept-encoding": "identity", "user-agent": f"helm-ai-kernel/{__version__}"}


class Bearer(Protocol):
    """Who has tokens for a server. `challenge`: what its `WWW-Authenticate` said, None before the first request.

    None is returned where there is no token, or no other than before. Raises `Refused` or `OutsideError`.
    """

    async def token(self, challenge: str | None) -> str | None: ...


class Link:
    """`source` is that of the catalogue (`docs/spec/connector-mcp.md`); raises `EvidenceError`."""

    def __init__(
        self,
        source: Json,
        *,
        environ: Mapping[str, str] | None = None,
        resolver: Resolver | None = None,
        bearer: Bearer | None = None,
    ) -> None:
        self._service = Service.of_mcp(source)
        self._target = self._service.path or "/"
        self._environ = os.environ if environ is None else environ
        self._upstream = Upstream(self._service, resolver)
        self._bearer = bearer
        self._token: str | None = None
        self._first = True
        if bearer is not None and "authorization" in dict(self._service.secrets):
            raise fields.wrong("the header `authorization` is a secret, and a token too")

    async def send(
        self, method: str, headers: Mapping[str, str], body: bytes | None, until: float, sent: Callable[[], None]
    ) -> tuple[Streamed, ResponseHead | Lost]:
        """The answer's beginning; the stream has to be released. `sent` is called before the first byte leaves.

        `until` is a time of the loop, for all that comes before. Raises `Refused` or `OutsideError` only before it.
        """
        if self._bearer is not None and self._first:
            self._token = await self._bearer.token(None)
            self._first = False
        for attempt in range(TOKENS_MAX):
            stream, head = await self._once(method, headers, body, until, sent)
            challenge = None if isinstance(head, Lost) else _challenge(head)
            if challenge is None or self._bearer is None or attempt == TOKENS_MAX - 1:
                break
            token = await self._another(stream, challenge)
            if token is None:
                break
            self._token = token
        return stream, head

    async def _another(self, stream: Streamed, challenge: str) -> str | None:
        """Another token, and then the answer that asked for it is put away."""
        if self._bearer is None:
            return None
        try:
            token = await self._bearer.token(challenge)
        except BaseException:
            stream.release()
            raise
        if token is not None:
            stream.release()
        return token

    async def _once(
        self, method: str, headers: Mapping[str, str], body: bytes | None, until: float, sent: Callable[[], None]
    ) -> tuple[Streamed, ResponseHead | Lost]:
        said = (
            _COMMON
            | {"accept": EVENTS if method == "GET" else f"{JSON}, {EVENTS}"}
            | dict(headers)
            | secret_headers(self._service, self._environ)
        )
        if body is not None:
            said["content-type"] = JSON
        if self._token is not None:
            said["authorization"] = f"Bearer {self._token}"
        request = encode(method, self._target, self._service.authority, said.items(), body)
        stream = await self._upstream.open(until)
        try:
            sent()
            stream.send(request, body_bytes_max=STREAM_BYTES_MAX)
            return stream, await stream.head()
        except BaseException:  # also when the call is cancelled: the service sees that nobody waits
            stream.abort()
            raise

    def echoed(self, text: bytes) -> bool:
        """Whether something that lets us in stands in what a server said."""
        held = [self._environ.get(variable, "") for _, variable in self._service.secrets]
        return echoes(text, [*held, *([self._token] if self._token else [])])

    async def close(self) -> None:
        await self._upstream.close()


def _challenge(head: ResponseHead) -> str | None:
    """What the server wants of a token, where it says that it did not begin without."""
    said = head.fields.get("www-authenticate", "")
    wanted = head.status == 401 or (head.status == 403 and "insufficient_scope" in said)
    return said if wanted else None
