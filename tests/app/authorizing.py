"""A server that wants a token and an authorization server beside it, on loopback: they do what a test says, and tell all."""

import asyncio
import base64
import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from helm_ai_kernel.app.identities import OAuthBearer
from helm_ai_kernel.app.oauth import Identity
from helm_ai_kernel.app.oauth_config import oauth_client
from helm_ai_kernel.app.oauth_issuers import fetcher
from helm_ai_kernel.app.oauth_place import Visit, by_following
from helm_ai_kernel.credentials.tokens import TokenFile

LOGIN = "log in: helm-ai-kernel mcp login shop"


@dataclass
class World:
    """Each member may be changed while it runs."""

    origin: str = ""
    asked: list[tuple[str, dict[str, str], str]] = field(default_factory=list)  # method and path; query or form; Authorization
    resource: dict[str, Any] = field(default_factory=dict)  # changes of the metadata
    issuer: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, Any] = field(default_factory=dict)
    callback: dict[str, str | None] = field(default_factory=dict)  # changes of the answer to the question
    token_status: int = 200
    tenant: str = ""
    made: int = 0
    heard: list[str] = field(default_factory=list)  # by the server itself: every word
    _challenge: str = ""
    _scope: str = ""

    @property
    def url(self) -> str:
        return f"{self.origin}/mcp"

    @property
    def at(self) -> str:
        return f"{self.origin}{self.tenant}"

    def paths(self, start: str = "") -> list[str]:
        return [path for path, _, _ in self.asked if path.startswith(start)]

    def said(self, path: str) -> list[dict[str, str]]:
        return [fields for one, fields, _ in self.asked if one == path]

    def answer(self, method: str, target: str, fields: dict[str, str], body: bytes) -> tuple[int, dict[str, str], Any]:
        url = urlsplit(target)
        sent = url.query or (body.decode() if "form" in fields.get("content-type", "") else "")
        said = {name: values[0] for name, values in parse_qs(sent).items()}
        self.asked.append((f"{method} {url.path}", said or (json.loads(body) if body else {}), fields.get("authorization", "")))
        if url.path == "/.well-known/oauth-protected-resource/mcp":
            return 200, {}, {"resource": self.url, "authorization_servers": [self.at], **self.resource}
        if url.path == f"/.well-known/oauth-authorization-server{self.tenant}":
            return 200, {}, self._metadata()
        if url.path == "/authorize":
            return self._authorize(said)
        if url.path == "/register":
            return 201, {}, {"client_id": f"client-at{self.tenant}", "token_endpoint_auth_method": "none"}
        if url.path == "/token":
            return self._token(said)
        if (method, url.path) == ("POST", "/mcp"):
            return self._mcp(fields, json.loads(body))
        return 404, {}, {}

    def _mcp(self, fields: dict[str, str], message: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        self.heard.append(f"{fields} {message}")
        if not self.made or fields.get("authorization") != f"Bearer token-{self.made}":
            return 401, {"www-authenticate": 'Bearer error="invalid_token", scope="read"'}, {}
        if "id" not in message:
            return 202, {}, None
        found = {"initialize": INITIALIZED, "tools/list": {"tools": [TOOL]}, "tools/call": {"content": []}}.get(message["method"])
        if found is None:
            error = {"code": -32000, "message": "no such version"}
            return 400, {}, {"jsonrpc": "2.0", "id": message["id"], "error": error}
        return 200, {}, {"jsonrpc": "2.0", "id": message["id"], "result": found}

    def _metadata(self) -> dict[str, Any]:
        ends = {f"{name}_endpoint": f"{self.origin}/{path}" for name, path in ENDPOINTS}
        return {"issuer": self.at, "code_challenge_methods_supported": ["S256"], **ends, **AUTHENTICATION, **self.issuer}

    def _authorize(self, said: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        self._challenge, self._scope = said["code_challenge"], said.get("scope", "")
        query = {"code": "the-code", "state": said["state"], "iss": self.at, **self.callback}
        text = "&".join(f"{name}={value}" for name, value in query.items() if value is not None)
        return 302, {"location": f"{said['redirect_uri']}?{text}"}, {}

    def _token(self, said: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        if self.token_status != 200:
            return self.token_status, {}, {"error": "invalid_grant"}
        if said["grant_type"] == "authorization_code":
            made = base64.urlsafe_b64encode(sha256(said["code_verifier"].encode()).digest()).decode().rstrip("=")
            assert made == self._challenge and said["code"] == "the-code"
        self.made += 1
        token = {"access_token": f"token-{self.made}", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "renew"}
        return 200, {}, {**token, **self.tokens}


TOOL = {"name": "look", "inputSchema": {"type": "object"}}
INITIALIZED = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "shop", "version": "1"},
}
ENDPOINTS = (("authorization", "authorize"), ("token", "token"), ("registration", "register"))
AUTHENTICATION = {"token_endpoint_auth_methods_supported": ["none"], "authorization_response_iss_parameter_supported": True}


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    made = World()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(fields.get("content-length", "0")))
            method, target, _ = first.split()
            status, more, value = made.answer(method, target, fields, body)
            data = b"" if value is None else json.dumps(value).encode()
            named = {"content-type": "application/json", "content-length": str(len(data)), **more}
            lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in named.items()), "", ""]
            writer.write("\r\n".join(lines).encode() + data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()


@contextmanager
def running() -> Iterator[World]:
    """`world` in a loop of its own: a command has another."""
    ready, ended = threading.Event(), asyncio.Event()
    made: list[World] = []
    loop = asyncio.new_event_loop()

    async def main() -> None:
        async with world() as place:
            made.append(place)
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    ready.wait(20)
    try:
        yield made[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(20)
        loop.close()


@dataclass
class Clock:
    at: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.at


class Ours(OAuthBearer):
    """One connection; `login` is the command's."""

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity)
        self.identity, self.login = identity, identity.login

    def other(self) -> "Ours":
        """Another connection to the same server."""
        return Ours(self.identity)


def bearer(
    place: World, folder: Path, *, asks: bool = True, clock: Clock | None = None, visit: Visit | None = None, **said: Any
) -> Ours:
    """`asks`: somebody is there, who agrees to everything at once."""
    client = oauth_client(folder, "shop", {"mcp": place.url, "addresses": ["loopback"], "oauth": said})
    shown = visit or (by_following(fetcher(client)) if asks else None)
    file = TokenFile(folder / "oauth/shop.json", place.url)
    environ = {"SECRET": "the-secret"}
    return Ours(Identity("shop", client, file, hint=LOGIN, visit=shown, environ=environ, now=clock or Clock(), person_s=20))


def names(url: str) -> re.Match[str] | None:
    return re.search(r"redirect_uri=([^&]+)&state=([^&]+)", url)
