"""Access tokens at the doors of a resident kernel: who gets in, what they are told, and that no token goes on to a server."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.authorizing import running
from app.kernels import OPEN, Place
from app.residents import HERE, up
from app.test_app_http import definitions, pin
from credentials.issuing import ISSUER, Signing
from helm_ai_kernel.app import agents, operate
from helm_ai_kernel.app.identities import Identities, identity
from helm_ai_kernel.app.oauth_issuers import fetcher
from helm_ai_kernel.app.oauth_place import by_following
from helm_ai_kernel.app.oauth_resource import AGAIN_S, FRESH_S, STALE_S, Door, IssuerKeys, door
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.gateway.identity import Agent
from helm_ai_kernel.ledger.export import whole
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.pep.address import AddressClass
from helm_ai_kernel.tcb.errors import OutsideError
from net.loopback import answer, loopback

SIGNING = Signing()
RESOURCE = "https://kernel.example/mcp/v1/execute"  # any path of the data plane can be it
OAUTH = f'[data.oauth]\nresource = "{RESOURCE}"\nissuer = "{ISSUER}"\njwks = "issuer.json"\nscopes = ["mcp:tools"]\n'


@contextmanager
def spy() -> Iterator[tuple[int, list[str]]]:
    """A server that keeps every word that reaches it."""
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            heard.append(f"{self.requestline}\n{self.headers}")
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def token(**claims: Any) -> str:
    now = int(time.time())
    return SIGNING.token(**{"aud": RESOURCE, "iat": now, "exp": now + 300, **claims})


def prepared(place: Place, port: int) -> None:
    home = place.paths.home
    (home / "shop.json").write_text(json.dumps(definitions({})), encoding="ascii")
    (home / "issuer.json").write_bytes(SIGNING.document)
    shop = f'url = "http://127.0.0.1:{port}/v1"\noperations = "shop.json"\naddresses = ["loopback"]\n'
    place.configure(f'{HERE}{OAUTH}[upstream.shop]\n{shop}secrets = {{ authorization = "SHOP" }}\n')

    async def pinned() -> None:
        runtime = await Runtime.open(place.config)
        try:
            await pin(place, runtime)
        finally:
            await runtime.close()

    asyncio.run(pinned())
    agents.add(place.paths, Agent("ann", subject="agent-7"), token=False)


def test_a_token_opens_the_resource_for_its_agent_and_reaches_neither_server_nor_record(place: Place) -> None:
    call = {"tool": "shop/get", "arguments": {"id": "1"}}
    with spy() as (port, heard):
        prepared(place, port)
        with up(place, env={"SHOP": "Bearer the-kernels-own"}) as kernel:

            def execute(shown: str | None, path: str = "/mcp/v1/execute") -> Any:
                return kernel.ask("data", "POST", path, call, token=shown)

            good = token(jti="canary-4711")
            answered = execute(good)
            assert (answered.status, answered.value["helm"]["outcome"]["status"]) == (200, "OK")
            assert len(heard) == 1 and "the-kernels-own" in heard[0]
            told = kernel.ask("data", "GET", "/.well-known/oauth-protected-resource/mcp/v1/execute")
            assert (told.status, told.value["resource"], told.value["authorization_servers"]) == (200, RESOURCE, [ISSUER])
            bad = {
                "another audience": token(aud="https://other.example"),
                "expired": token(exp=int(time.time()) - 400),
                "unknown": token(sub="agent-8"),
                "forged": Signing().token(aud=RESOURCE),
            }
            for name, shown in bad.items():
                no = execute(shown)
                assert (no.status, no.code) == (401, "ERR_UNAUTHENTICATED"), name
                assert 'error="invalid_token"' in no.fields["www-authenticate"]
            nothing = execute(None)
            assert nothing.fields["www-authenticate"] == (
                'Bearer scope="mcp:tools", resource_metadata='
                '"https://kernel.example/.well-known/oauth-protected-resource/mcp/v1/execute"'
            )
            little = execute(token(scope="mcp:read"))
            assert (little.status, 'error="insufficient_scope"' in little.fields["www-authenticate"]) == (403, True)
            elsewhere = kernel.ask("data", "GET", "/mcp/v1/capabilities", token=good)
            assert (elsewhere.status, elsewhere.fields["www-authenticate"]) == (401, "Bearer")
            agents.remove(place.paths, "ann")
            assert execute(good).status == 401, "an agent that is removed has no token any more"
            code, said = kernel.end()
        assert (code, said, len(heard)) == (0, "", 1)
        with Reader(place.paths.store, vault=Subjects(place.paths.subjects)) as reader:
            kept = b"".join(whole(reader))
        for part in good.split("."):
            assert part.encode() not in kept and not any(part in one for one in heard)
        assert b"canary-4711" not in kept and b"the-kernels-own" not in kept


def test_an_agents_token_ends_at_the_door_and_the_servers_token_behind_it(place: Place) -> None:
    """The confused deputy of MCP: the same request has a token on each side, and neither is ever on the other."""
    resource = "https://kernel.example/mcp"
    accepts = {"accept": "application/json, text/event-stream"}
    with running() as shop:
        (place.paths.home / "issuer.json").write_bytes(SIGNING.document)
        place.configure(
            f'{HERE}{OAUTH.replace(RESOURCE, resource)}[upstream.shop]\nmcp = "{shop.url}"\naddresses = ["loopback"]\n'
        )

        async def pinned() -> None:
            config = place.config
            visit = by_following(fetcher(config.oauth["shop"]))
            await identity(config, "shop", config.oauth["shop"], visit=visit).login()
            doc, _ = await operate.ask("shop", config.upstreams["shop"], Identities(config))
            operate.classify(doc, ["read"], [])
            runtime = await Runtime.open(config)
            try:
                await place.signing(doc, OPEN)(runtime)
            finally:
                await runtime.close()

        asyncio.run(pinned())
        agents.add(place.paths, Agent("ann", subject="agent-7"), token=False)
        good = token(aud=resource)
        with up(place) as kernel:

            def rpc(method: str, shown: str | None = good, path: str = "/mcp", **more: Any) -> Any:
                message = {"jsonrpc": "2.0", "id": 1, "method": method, **more}
                return kernel.ask("data", "POST", path, message, token=shown, **accepts)

            client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
            assert rpc("initialize", None, params=client).status == 401
            assert rpc("initialize", token(aud=resource, scope=None), params=client).status == 403
            began = rpc("initialize", params=client)
            assert began.status == 200, began.data
            accepts["mcp-session-id"] = began.fields["mcp-session-id"]
            accepts["mcp-protocol-version"] = "2025-06-18"
            assert b'"look"' in rpc("tools/list").data
            called = rpc("tools/call", params={"name": "look", "arguments": {}})
            assert b'"content":[]' in called.data.replace(b" ", b"")
            answers = b"".join(repr(one).encode() for one in (began, called))
            code, said = kernel.end()
        assert (code, said) == (0, "")
        calls = [one for one in shop.heard if "tools/call" in one]
        assert len(calls) == 1 and "Bearer token-1" in calls[0]
        assert not any(part in one for part in good.split(".") for one in shop.heard)
        with Reader(place.paths.store, vault=Subjects(place.paths.subjects)) as reader:
            kept = b"".join(whole(reader)) + answers
        assert b"token-1" not in kept and b"renew" not in kept and not any(part.encode() in kept for part in good.split("."))


def test_keys_in_a_file_count_as_they_stand_there_now(tmp_path: Path) -> None:
    known = IssuerKeys(door(tmp_path, {"resource": RESOURCE, "issuer": ISSUER, "jwks": "keys.json"}))
    assert known.now() == {}, "no file, nobody"
    (tmp_path / "keys.json").write_bytes(SIGNING.document)
    assert known.now().keys() == {"RS256", "ES256", "EdDSA"}
    (tmp_path / "keys.json").write_bytes(b'{"keys":[]}')
    assert known.now() == {}
    (tmp_path / "keys.json").write_bytes(b"no json")
    assert known.now() == {}


def test_keys_at_a_url_are_asked_for_again_but_not_for_everybody_who_says_so() -> None:
    at = [0.0]

    async def main() -> None:
        refusal = answer(b"", status=b"503 Service Unavailable")
        async with loopback(answer(SIGNING.document), answer(b'{"keys":[]}'), refusal) as server:
            said = {
                "resource": RESOURCE,
                "issuer": ISSUER,
                "jwks": f"http://127.0.0.1:{server.port}/k",
                "addresses": ["loopback"],
            }
            known = IssuerKeys(door(Path("/"), said), clock=lambda: at[0])

            async def again() -> int:
                task = known._task
                if task is not None:
                    await task
                return len(server.requests)

            await known.load()
            assert len(known.now()) == 3
            for _ in range(5):
                known.missed()
            assert await again() == 1, "so soon after the last time they are not asked for"
            at[0] += AGAIN_S
            for _ in range(5):
                known.missed()
            assert await again() == 2 and known.now() == {}, "a key that was withdrawn is gone"
            at[0] += FRESH_S + 1
            known.now()
            assert await again() == 3
            await known.close()

    asyncio.run(main())


def test_keys_that_cannot_be_had_for_a_day_are_nobodys() -> None:
    at = [0.0]

    async def main() -> None:
        async with loopback(answer(SIGNING.document), answer(b"", status=b"503 Service Unavailable")) as server:
            place = f"http://127.0.0.1:{server.port}/k"
            terms = door(Path("/"), {"resource": RESOURCE, "issuer": ISSUER, "jwks": place}).terms
            known = IssuerKeys(Door(terms, place, addresses=frozenset({AddressClass.LOOPBACK})), clock=lambda: at[0])
            await known.load()
            at[0] = STALE_S
            assert len(known.now()) == 3
            at[0] += 1
            assert known.now() == {}
            await known.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "wrong",
    [
        {"resource": None},
        {"resource": "http://kernel.example/mcp"},
        {"resource": f"{RESOURCE}?a=b"},
        {"issuer": "issuer"},
        {"jwks": 5},
        {"jwks": "http://issuer.example/keys"},
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"algorithms": []},
        {"types": ["id_token"]},
        {"skew_s": 3600},
        {"skew_s": True},
        {"scopes": ["a b"]},
        {"addresses": ["metadata"]},
        {"algorithm": ["ES256"]},
    ],
)
def test_a_section_that_would_weaken_what_a_token_is_is_refused(wrong: dict[str, Any]) -> None:
    said = {"resource": RESOURCE, "issuer": ISSUER, "jwks": "keys.json", **wrong}
    with pytest.raises(OutsideError):
        door(Path("/"), {name: value for name, value in said.items() if value is not None})
