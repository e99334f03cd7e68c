"""`mcp login` and `mcp logout`: a person sees the page, or says that nobody has to; and no token is printed."""

import pytest

from app.authorizing import running
from cli.terminal import Terminal


def test_a_login_without_anybody_says_who_gave_what_and_never_the_token(terminal: Terminal) -> None:
    with running() as place:
        place.resource = {"scopes_supported": ["read"]}
        terminal.place.configure(f'[upstream.shop]\nmcp = "{place.url}"\naddresses = ["loopback"]\n')
        said = terminal("mcp", "login", "shop", "--follow", "--format", "json")
        assert said.code == 0 and said.json["server"] == "shop"
        assert (said.json["issuer"], said.json["scopes"]) == (place.origin, ["read"])
        assert "token-1" not in said.out + said.err
        assert "token-1" in terminal.place.paths.oauth("shop").read_text()
        text = terminal("mcp", "login", "shop", "--follow")
        assert text.code == 0 and "scopes   read" in text.out and "token-2" not in text.out + text.err
        assert terminal("mcp", "logout", "shop", "--format", "json").json["forgotten"] is True
        assert not terminal.place.paths.oauth("shop").exists()
        assert terminal("mcp", "logout", "shop").code == 0


def test_an_issuer_that_wants_a_person_is_not_followed(terminal: Terminal) -> None:
    with running() as place:
        place.issuer = {"authorization_endpoint": f"{place.origin}/login-page"}
        terminal.place.configure(f'[upstream.shop]\nmcp = "{place.url}"\naddresses = ["loopback"]\n')
        said = terminal("mcp", "login", "shop", "--follow")
        assert (said.code, "it wants a person" in said.error) == (1, True)


@pytest.mark.parametrize("command", ["login", "logout"])
def test_a_server_without_a_url_has_no_login(terminal: Terminal, command: str) -> None:
    said = terminal("mcp", command, "nobody")
    assert (said.code, "[upstream.nobody]" in said.error) == (1, True)
    assert terminal(*said.hint.split()[1:]).code == 0


def test_whoever_inspects_a_server_that_wants_a_token_is_told_what_to_type_and_that_works(terminal: Terminal) -> None:
    with running() as place:
        terminal.place.configure(f'[upstream.shop]\nmcp = "{place.url}"\naddresses = ["loopback"]\n')
        said = terminal("tools", "inspect", "shop")
        assert said.code != 0 and "wants somebody to log in" in said.error
        assert terminal(*said.hint.split()[1:], "--follow").code == 0
        assert [fields["scope"] for fields in place.said("GET /authorize")] == ["read"], "what the server asked for is remembered"
        assert "look" in terminal("tools", "inspect", "shop").out
