"""What is read of a server that wants a token: one meaning or none, and nothing that is not about that server."""

import base64
import json
from dataclasses import replace
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.wire import oauth
from helm_ai_kernel.wire.challenge import Challenge
from helm_ai_kernel.wire.form import decoded, encoded
from helm_ai_kernel.wire.oauth import Client, Question, Tokens
from helm_ai_kernel.wire.oauth_metadata import Issuer, Protected, Url, covers, issuer_places, resource_places

SERVER, AS = "https://shop.example/mcp", "https://as.example"
AT_AS = {
    "issuer": AS,
    "authorization_endpoint": f"{AS}/authorize",
    "token_endpoint": f"{AS}/token",
    "code_challenge_methods_supported": ["S256"],
}
ISSUER = Issuer.from_bytes(json.dumps(AT_AS).encode(), AS)
QUESTION = Question(Client("me"), "http://127.0.0.1:5/callback", SERVER, ("a", "b"), "s" * 43, "v" * 43)


def sub(refused: "pytest.ExceptionInfo[Refused]") -> str:
    return refused.value.sub


CHALLENGES = [
    ("Bearer", Challenge()),
    ('Bearer scope="a b", error="insufficient_scope"', Challenge("insufficient_scope", ("a", "b"))),
    ("bearer error=invalid_token", Challenge("invalid_token")),
    ('Basic realm="x", Bearer scope="a"', Challenge("", ("a",))),
    ('Negotiate YWJj==, BEARER resource_metadata = "https://a/b"', Challenge(metadata="https://a/b")),
    ('Bearer realm="a, Bearer scope=\\"x\\"", scope="b"', Challenge("", ("b",))),
    ('Bearer scope="a", scope="b"', Challenge()),  # two meanings: none
    ('Bearer scope="a\tb"', Challenge()),
    ('Basic realm="x"', None),
    ("", None),
    ("Bearerish scope=a", None),
    ("Bearer " + "x" * 9000, None),
]


@pytest.mark.parametrize(("text", "found"), CHALLENGES)
def test_a_challenge_has_one_meaning(text: str, found: Challenge | None) -> None:
    assert Challenge.parse(text) == found


@given(st.text())
def test_no_text_breaks_the_reader_of_challenges(text: str) -> None:
    Challenge.parse(text)
    Challenge.parse("Bearer " + text)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), min_size=1),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), max_size=20),
        max_size=5,
    )
)
def test_a_form_says_what_was_put_into_it(fields: dict[str, str]) -> None:  # fmt: skip
    assert decoded(encoded(fields.items())) == fields


@pytest.mark.parametrize("text", ["a=1&a=2", "a=1&%61=2", "=1", "a=%ff", "&" * 5, "a=" + "x" * (17 << 10)])
def test_a_form_with_two_meanings_has_none(text: str) -> None:
    assert decoded(text) is None


@pytest.mark.parametrize(
    ("resource", "server", "is_so"),
    [
        (SERVER, SERVER, True),
        ("https://shop.example", SERVER, True),
        ("https://shop.example/", SERVER, True),
        ("https://SHOP.example:443/mcp", SERVER, True),
        (SERVER, SERVER + "/", True),
        ("https://shop.example/mc", SERVER, False),
        ("https://shop.example/mcp/more", SERVER, False),
        ("https://evil.example/mcp", SERVER, False),
        ("https://shop.example.evil.example", SERVER, False),
        ("http://shop.example/mcp", SERVER, False),
        ("https://shop.example:8443/mcp", SERVER, False),
        (SERVER + "?a=1", SERVER, False),
        (SERVER + "#a", SERVER, False),
        ("https://user@shop.example/mcp", SERVER, False),
        ("", SERVER, False),
    ],
)
def test_a_resource_is_the_servers_own_or_above_it(resource: str, server: str, is_so: bool) -> None:
    assert covers(resource, server) is is_so


def test_metadata_is_looked_for_at_these_places_in_this_order() -> None:
    known = "https://shop.example/.well-known/oauth-protected-resource"
    assert resource_places(SERVER, "") == (f"{known}/mcp", known)
    assert resource_places("https://shop.example/", "") == (known,)
    assert resource_places(SERVER, "https://shop.example/custom") == ("https://shop.example/custom",)
    assert issuer_places(AS) == (f"{AS}/.well-known/oauth-authorization-server", f"{AS}/.well-known/openid-configuration")
    assert issuer_places(f"{AS}/one") == (
        f"{AS}/.well-known/oauth-authorization-server/one",
        f"{AS}/.well-known/openid-configuration/one",
        f"{AS}/one/.well-known/openid-configuration",
    )


@pytest.mark.parametrize(
    "text", ["", "file:///etc/passwd", "javascript:alert(1)", "http://as.example", "https://a b", "https://a\n", "//a"]
)
def test_a_url_that_is_not_https_is_none(text: str) -> None:
    with pytest.raises(Refused):
        Url.parse(text)
    with pytest.raises(Refused):
        Protected.from_bytes(json.dumps({"resource": SERVER, "authorization_servers": [text]}).encode(), SERVER)
    with pytest.raises(Refused):
        Issuer.from_bytes(json.dumps({**AT_AS, "authorization_endpoint": text}).encode(), AS)


def test_the_resource_says_which_it_is_and_who_makes_tokens_for_it() -> None:
    said: dict[str, Any] = {"resource": SERVER, "authorization_servers": [AS], "scopes_supported": ["a", "b c", 'd"']}
    assert Protected.from_bytes(json.dumps(said).encode(), SERVER) == Protected(SERVER, (AS,), ("a",))
    for wrong, why in [
        ({"resource": "https://evil.example/mcp"}, "oauth_resource"),
        ({"resource": None}, "oauth_metadata"),
        ({"authorization_servers": []}, "oauth_metadata"),
        ({"authorization_servers": AS}, "oauth_metadata"),
    ]:
        with pytest.raises(Refused) as refused:
            Protected.from_bytes(json.dumps(said | wrong).encode(), SERVER)
        assert sub(refused) == why


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"issuer": "https://attacker.example"}, "oauth_issuer"),
        ({"issuer": f"{AS}/"}, "oauth_issuer"),
        ({"issuer": None}, "oauth_metadata"),
        ({"code_challenge_methods_supported": ["plain"]}, "oauth_pkce"),
        ({"code_challenge_methods_supported": None}, "oauth_pkce"),
        ({"response_types_supported": ["token"]}, "oauth_metadata"),
        ({"token_endpoint": None}, "oauth_metadata"),
        ({"token_endpoint": "http://as.example/token"}, "oauth_metadata"),
        ({"registration_endpoint": "ftp://as.example"}, "oauth_metadata"),
    ],
)
def test_an_issuer_that_is_another_one_or_has_no_pkce_is_not_used(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused) as refused:
        Issuer.from_bytes(json.dumps(AT_AS | wrong).encode(), AS)
    assert sub(refused) == why


def test_metadata_with_a_name_twice_is_none() -> None:
    with pytest.raises(Refused):
        Issuer.from_bytes(json.dumps(AT_AS).encode().replace(b"{", b'{"issuer":"https://evil.example",', 1), AS)


def test_the_question_names_the_resource_the_challenge_and_where_to_come_back_to() -> None:
    url = urlsplit(QUESTION.url(ISSUER))
    assert {name: value for name, (value,) in parse_qs(url.query).items()} == {
        "response_type": "code",
        "client_id": "me",
        "redirect_uri": QUESTION.redirect,
        "state": "s" * 43,
        "code_challenge": base64.urlsafe_b64encode(sha256(b"v" * 43).digest()).decode().rstrip("="),
        "code_challenge_method": "S256",
        "resource": SERVER,
        "scope": "a b",
    }
    assert "scope" not in parse_qs(urlsplit(replace(QUESTION, scopes=()).url(ISSUER)).query)
    assert "v" * 43 not in url.query
    assert "v" * 43 not in repr(QUESTION) and "s" * 43 not in repr(QUESTION)


NAMES = replace(ISSUER, names_itself=True)
ANSWER = f"code=c&state={'s' * 43}"
WITH_ISS = f"{ANSWER}&iss=https%3A%2F%2Fas.example"


@pytest.mark.parametrize(
    ("query", "issuer", "why"),
    [
        (ANSWER, ISSUER, ""),
        (WITH_ISS, ISSUER, ""),
        (WITH_ISS, NAMES, ""),
        (ANSWER, NAMES, "oauth_iss"),
        (f"{WITH_ISS}%2F", NAMES, "oauth_iss"),
        (f"{ANSWER}&iss=https%3A%2F%2Fevil.example", ISSUER, "oauth_iss"),
        (f"{WITH_ISS}&iss=https%3A%2F%2Fevil.example", NAMES, "oauth_state"),
        (f"error=access_denied&state={'s' * 43}", NAMES, "oauth_iss"),
        (f"error=access_denied&state={'s' * 43}", ISSUER, "oauth_denied"),
        (f"state={'s' * 43}", ISSUER, "oauth_state"),
        ("code=c&state=other", ISSUER, "oauth_state"),
        ("code=c", ISSUER, "oauth_state"),
        (f"code=c&code=d&state={'s' * 43}", ISSUER, "oauth_state"),
    ],
)
def test_a_code_counts_only_in_the_answer_of_whoever_was_asked(query: str, issuer: Issuer, why: str) -> None:
    if not why:
        assert QUESTION.code(query, issuer) == "c"
        return
    with pytest.raises(Refused) as refused:
        QUESTION.code(query, issuer)
    assert sub(refused) == why


def test_a_client_says_who_it_is_in_exactly_one_way() -> None:
    said = {
        how: oauth.as_client(Client("a:b", "s&t", how), [("grant_type", "x")])
        for how in ("none", "client_secret_basic", "client_secret_post")
    }
    assert said["none"][1] == b"grant_type=x&client_id=a%3Ab"
    assert said["client_secret_post"][1] == b"grant_type=x&client_id=a%3Ab&client_secret=s%26t"
    assert said["client_secret_basic"][1] == b"grant_type=x"
    assert said["client_secret_basic"][0]["authorization"] == "Basic YSUzQWI6cyUyNnQ="  # RFC 6749 §2.3.1
    assert ["authorization" in headers for headers, _ in said.values()] == [False, True, False]


@pytest.mark.parametrize(
    "wrong",
    [
        {"access_token": "a b"},
        {"access_token": "a\r\nx-evil: 1"},
        {"access_token": None},
        {"access_token": ""},
        {"access_token": "x" * 9000},
        {"token_type": "DPoP"},
        {"token_type": None},
        {"refresh_token": 5},
    ],
)
def test_a_token_that_cannot_stand_in_a_header_is_none(wrong: dict[str, Any]) -> None:
    good = {"access_token": "abc", "token_type": "bearer", "expires_in": 60, "scope": "a b", "refresh_token": "r"}
    assert Tokens.from_bytes(json.dumps(good).encode()) == Tokens("abc", "r", 60, ("a", "b"))
    assert "abc" not in repr(Tokens.from_bytes(json.dumps(good).encode()))
    with pytest.raises(Refused) as refused:
        Tokens.from_bytes(json.dumps(good | wrong).encode())
    assert sub(refused) == "oauth_token"


def test_a_registration_asks_for_a_way_that_the_issuer_takes_and_is_kept_to_it() -> None:
    posts = replace(ISSUER, methods=("private_key_jwt", "client_secret_post"))
    assert json.loads(oauth.registration(posts, QUESTION.redirect, "x"))["token_endpoint_auth_method"] == "client_secret_post"
    made = oauth.registered(b'{"client_id":"c","client_secret":"s"}', posts, QUESTION.redirect)
    assert made == Client("c", "s", "client_secret_post", QUESTION.redirect) and "'s'" not in repr(made)
    public = oauth.registered(b'{"client_id":"c","client_secret":"s","token_endpoint_auth_method":"none"}', posts, "r")
    assert public.secret is None
    for data in (
        b"{}",
        b'{"client_id":5}',
        b'{"client_id":"c","token_endpoint_auth_method":"private_key_jwt"}',
        b"[]",
        b"<html>",
    ):
        with pytest.raises(Refused):
            oauth.registered(data, posts, "r")
    with pytest.raises(Refused):
        oauth.registration(replace(ISSUER, methods=("tls_client_auth",)), "r", "x")
