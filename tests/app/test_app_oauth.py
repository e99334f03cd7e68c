"""The kernel logs in at a server that wants a token: by a person's leave, for that one alone, no more often than it has to."""

import asyncio
import os
import stat
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from app.authorizing import LOGIN, Clock, World, bearer, names, world
from helm_ai_kernel.net.fetch import Fetcher
from helm_ai_kernel.pep.address import AddressClass
from helm_ai_kernel.tcb.errors import OutsideError, Refused

WANTS = 'Bearer error="invalid_token", scope="read"'
MORE = 'Bearer error="insufficient_scope", scope="write"'


def run(body: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with world() as place:
            await body(place)

    asyncio.run(main())


async def refused(asked: Coroutine[Any, Any, Any]) -> Refused:
    with pytest.raises(Refused) as caught:
        await asked
    return caught.value


def test_a_server_that_wants_a_token_gets_one_that_was_made_for_it(tmp_path: Path) -> None:
    async def body(place: World) -> None:
        ours = bearer(place, tmp_path)
        assert await ours.token(None) is None, "nobody is asked before the server wants it"
        assert place.asked == []
        assert await ours.token(WANTS) == "token-1"
        assert await ours.token(None) == "token-1"
        assert await bearer(place, tmp_path, asks=False).token(None) == "token-1", "another process has it, too"
        (question,), (exchange,) = place.said("GET /authorize"), place.said("POST /token")
        assert question["resource"] == exchange["resource"] == place.url
        assert (question["scope"], question["code_challenge_method"]) == ("read", "S256")
        assert question["redirect_uri"].startswith("http://127.0.0.1:")
        (registered,) = place.said("POST /register")
        assert registered["application_type"] == "native"
        file = tmp_path / "oauth/shop.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600 and "token-1" in file.read_text()

    run(body)


def test_a_second_login_uses_the_first_ones_registration(tmp_path: Path) -> None:
    async def body(place: World) -> None:
        assert await bearer(place, tmp_path).token(WANTS) == "token-1"
        assert (await bearer(place, tmp_path).login()).access == "token-2"
        assert len(place.said("POST /register")) == 1 and len(place.said("GET /authorize")) == 2
        assert len({fields["redirect_uri"] for fields in place.said("GET /authorize")}) == 1

    run(body)


def test_where_nobody_is_there_the_refusal_says_what_to_type_and_that_asks_for_what_was_wanted(tmp_path: Path) -> None:
    async def body(place: World) -> None:
        alone = bearer(place, tmp_path, asks=False)
        no = await refused(alone.token(WANTS))
        assert (no.sub, no.hint) == ("oauth_login", LOGIN)
        assert not place.said("GET /authorize") and not place.said("POST /register")
        assert (await bearer(place, tmp_path).login()).scopes == ("read",)
        assert await alone.token(WANTS) == "token-1", "the next call has it"

    run(body)


def test_a_token_whose_time_is_over_is_refreshed_without_anybody(tmp_path: Path) -> None:
    async def body(place: World) -> None:
        clock = Clock()
        await bearer(place, tmp_path, clock=clock).token(WANTS)
        alone = bearer(place, tmp_path, asks=False, clock=clock)
        clock.at += 3600 - 29
        place.tokens = {"refresh_token": "renew-2"}
        assert await alone.token(None) == "token-2"
        renewed = place.said("POST /token")[-1]
        assert (renewed["grant_type"], renewed["refresh_token"], renewed["resource"]) == ("refresh_token", "renew", place.url)
        clock.at += 3600
        place.token_status = 400
        assert await alone.token(None) is None
        no = await refused(alone.token(WANTS))
        assert no.sub == "oauth_login"

    run(body)


def test_a_token_that_the_server_does_not_take_is_refreshed_shown_again_and_then_somebody_is_asked(
    tmp_path: Path,
) -> None:
    async def body(place: World) -> None:
        ours = bearer(place, tmp_path)
        assert [await ours.token(WANTS) for _ in range(4)] == ["token-1", "token-2", "token-2", "token-3"]
        kinds = [fields["grant_type"] for fields in place.said("POST /token")]
        assert kinds == ["authorization_code", "refresh_token", "authorization_code"]

    run(body)


def test_callers_at_once_ask_one_time(tmp_path: Path) -> None:
    async def body(place: World) -> None:
        ours = bearer(place, tmp_path)
        assert set(await asyncio.gather(*(ours.token(WANTS) for _ in range(8)))) == {"token-1"}
        assert len(place.said("GET /authorize")) == 1

    run(body)


def test_connections_that_were_shown_another_token_take_the_newest_and_ask_for_none(tmp_path: Path) -> None:
    async def body(place: World) -> None:
        one = bearer(place, tmp_path)
        two = one.other()
        await one.token(WANTS)
        assert await two.token(None) == "token-1"
        assert await one.token(WANTS) == "token-2", "refreshed"
        assert await two.token(WANTS) == "token-2", "the server refused the first token, not this one"
        assert await one.token(WANTS) == "token-2", "an answer that came late asks nobody"
        assert len(place.said("GET /authorize")) == 1

    run(body)


def test_more_scopes_are_asked_for_beside_those_that_are_there(tmp_path: Path) -> None:
    async def body(place: World) -> None:
        ours = bearer(place, tmp_path)
        place.resource = {"scopes_supported": ["other"]}
        await ours.token(WANTS)
        assert await ours.token(MORE) == "token-2"
        assert [fields["scope"] for fields in place.said("GET /authorize")] == ["read", "read write"]
        no = await refused(ours.token(MORE))
        assert no.sub == "oauth_scope", "what was granted is not asked for a second time"
        assert len(place.said("GET /authorize")) == 2

    run(body)


def test_a_server_that_is_content_with_nothing_is_asked_for_only_so_often(tmp_path: Path) -> None:
    async def body(place: World) -> None:
        ours = bearer(place, tmp_path)
        place.tokens = {"refresh_token": None}
        for scope in range(3):
            await ours.token(f'Bearer error="insufficient_scope", scope="s{scope}"')
        no = await refused(ours.token('Bearer error="insufficient_scope", scope="s9"'))
        assert no.sub == "oauth_login" and len(place.said("GET /authorize")) == 3

    run(body)


@pytest.mark.parametrize(
    ("challenge", "supported", "scope"), [("Bearer", ["a", "b"], "a b"), ("Bearer", None, None), (WANTS, ["a"], "read")]
)
def test_scopes_are_the_challenges_else_the_resources_else_nobodys(
    tmp_path: Path, challenge: str, supported: list[str] | None, scope: str | None
) -> None:
    async def body(place: World) -> None:
        place.resource = {} if supported is None else {"scopes_supported": supported}
        await bearer(place, tmp_path).token(challenge)
        assert place.said("GET /authorize")[0].get("scope") == scope

    run(body)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("resource", {"resource": "https://evil.example/mcp"}, "oauth_resource"),
    ("resource", {"authorization_servers": ["http://169.254.169.254/"]}, "oauth_metadata"),
    ("resource", {"authorization_servers": ["https://10.0.0.1"]}, "place"),
    ("issuer", {"issuer": "https://attacker.example"}, "oauth_issuer"),
    ("issuer", {"code_challenge_methods_supported": []}, "oauth_pkce"),
    ("issuer", {"registration_endpoint": "https://10.0.0.1/register"}, "place"),
    ("issuer", {"token_endpoint": "https://10.0.0.1/token"}, "place"),
    ("callback", {"iss": "https://attacker.example"}, "oauth_iss"),
    ("callback", {"iss": None}, "oauth_iss"),
    ("callback", {"code": None, "error": "access_denied"}, "oauth_denied"),
    ("tokens", {"token_type": "mac"}, "oauth_token"),
    ("tokens", {"access_token": "a\nb"}, "oauth_token"),
]


@pytest.mark.parametrize(("what", "wrong", "why"), REFUSED)
def test_what_is_about_another_server_ends_the_matter(tmp_path: Path, what: str, wrong: dict[str, Any], why: str) -> None:
    async def body(place: World) -> None:
        setattr(place, what, wrong)
        no = await refused(bearer(place, tmp_path).token(WANTS))
        assert no.sub == why
        asked = len(place.said("POST /token"))
        assert asked == (what == "tokens"), "a code is shown only where it belongs"

    run(body)


def test_when_the_server_moves_to_another_issuer_nothing_of_the_first_is_shown_there(tmp_path: Path) -> None:
    async def body(place: World) -> None:
        ours = bearer(place, tmp_path)
        await ours.token(WANTS)
        place.tenant = "/second"
        assert await ours.token(WANTS) == "token-2"
        assert [fields["client_id"] for fields in place.said("GET /authorize")] == ["client-at", "client-at/second"]
        assert "refresh_token" not in [fields["grant_type"] for fields in place.said("POST /token")]
        assert len(place.said("POST /register")) == 2

    run(body)


def test_an_issuer_that_a_person_named_is_the_only_one(tmp_path: Path) -> None:
    async def body(place: World) -> None:
        no = await refused(bearer(place, tmp_path, issuer="https://as.example").token(WANTS))
        assert no.sub == "oauth_issuer" and not place.paths("GET /.well-known/oauth-auth")

    run(body)


@pytest.mark.parametrize("how", ["client_secret_basic", "client_secret_post"])
def test_a_client_that_was_registered_beforehand_shows_its_secret_in_the_issuers_way(tmp_path: Path, how: str) -> None:
    async def body(place: World) -> None:
        place.issuer = {"token_endpoint_auth_methods_supported": [how]}
        ours = bearer(place, tmp_path, client_id="known", client_secret="SECRET", issuer=place.at)
        await ours.token(WANTS)
        (exchange,), (shown,) = place.said("POST /token"), [by for path, _, by in place.asked if path == "POST /token"]
        assert (exchange.get("client_secret"), shown[:6]) == (("the-secret", "") if how.endswith("post") else (None, "Basic "))
        assert not place.said("POST /register")
        assert "the-secret" not in (tmp_path / "oauth/shop.json").read_text()

    run(body)


def test_a_document_says_who_we_are_where_the_issuer_reads_such(tmp_path: Path) -> None:
    async def body(place: World) -> None:
        place.issuer = {"client_id_metadata_document_supported": True}
        await bearer(place, tmp_path, client_metadata="https://kernel.example/client.json").token(WANTS)
        assert place.said("GET /authorize")[0]["client_id"] == "https://kernel.example/client.json"
        assert not place.said("POST /register")

    run(body)


def test_an_answer_that_nobody_asked_for_ends_no_login(tmp_path: Path) -> None:
    """Somebody else on this machine knows the port, and not the state."""
    here = Fetcher(frozenset({AddressClass.LOOPBACK}))
    statuses: list[int] = []

    async def body(place: World) -> None:
        async def visit(url: str) -> None:
            found = names(url)
            assert found is not None
            back = unquote(found[1])
            for target in (f"{back}?code=evil&state=guess", f"{back}?code=evil", f"{back}/other?state={found[2]}"):
                statuses.append((await here.ask("GET", target)).status)
            await here.ask("GET", (await here.ask("GET", url)).location)

        assert await bearer(place, tmp_path, visit=visit).token(WANTS) == "token-1"
        assert statuses == [400, 400, 404]

    run(body)


def test_an_opener_reads_the_url_from_its_input_and_sees_no_secret_of_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "canary")
    program = (
        "import os, sys, urllib.request as r\nurl = sys.stdin.readline().strip()\n"
        f"open({str(tmp_path / 'seen')!r}, 'w').write(repr(sys.argv) + repr(dict(os.environ)))\nr.urlopen(url).read()\n"
    )

    async def body(place: World) -> None:
        ours = bearer(place, tmp_path, asks=False, opener=[sys.executable, "-I", "-c", program])
        assert await ours.token(WANTS) == "token-1"
        seen = (tmp_path / "seen").read_text()
        assert "canary" not in seen and "code_challenge" not in seen
        no = bearer(place, tmp_path, asks=False, opener=["/no/such/program"])
        with pytest.raises(OutsideError):
            await no.login()

    run(body)


def test_nobody_waits_for_a_person_for_ever(tmp_path: Path) -> None:
    async def body(place: World) -> None:
        async def visit(url: str) -> None:
            """They look at it, and do nothing."""

        ours = bearer(place, tmp_path, visit=visit)
        ours.identity._person_s = 0.05
        no = await refused(ours.token(WANTS))
        assert no.sub == "oauth_login" and not place.said("POST /token")

    run(body)


def test_no_word_of_a_refusal_holds_a_token_or_a_code(tmp_path: Path) -> None:
    async def body(place: World) -> None:
        ours = bearer(place, tmp_path)
        place.token_status = 400
        no = await refused(ours.token(WANTS))
        place.tokens = {"access_token": "canary token"}
        place.token_status = 200
        other = await refused(ours.token(WANTS))
        for error in (no, other):
            assert not any(word in str(error) + error.hint for word in ("canary", "the-code", "renew", os.sep + "authorize"))

    run(body)
