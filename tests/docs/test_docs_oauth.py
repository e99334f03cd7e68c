"""The page about OAuth is true: its examples are read by the product, its keys and numbers are the code's."""

import json
import re
import tomllib
from pathlib import Path

from helm_ai_kernel.app import oauth, oauth_config, oauth_resource
from helm_ai_kernel.credentials import access, jws
from helm_ai_kernel.gateway.resource import Resource
from helm_ai_kernel.net import fetch
from helm_ai_kernel.wire.head import Head

PAGE = (Path(__file__).resolve().parents[2] / "docs/spec/oauth.md").read_text(encoding="utf-8")
DOOR, CLIENT = (tomllib.loads(text) for text in re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
(METADATA,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def keys(heading: str) -> set[str]:
    part = PAGE.partition(f"## {heading}")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", part, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_the_resource_of_the_page_says_of_itself_what_the_page_says() -> None:
    made = oauth_resource.door(Path("/"), DOOR["data"]["oauth"])

    def verify(token: str) -> tuple[str, frozenset[str]]:
        return token, frozenset()

    own = Resource(made.terms.resource, made.terms.issuer, made.scopes, verify)
    for path in ("", "/mcp"):
        told = own.told(Head("GET", f"/.well-known/oauth-protected-resource{path}", "", "kernel.example", {}))
        assert told is not None and told.body == METADATA.strip().encode() and json.loads(METADATA)
    assert f'WWW-Authenticate: Bearer scope="mcp:tools", resource_metadata="{own.metadata_url}"' in PAGE


def test_the_client_of_the_page_is_read() -> None:
    said = {"mcp": "https://shop.example/mcp", **CLIENT["upstream"]["shop"]}
    made = oauth_config.oauth_client(Path("/"), "shop", said)
    assert (made.client_id, made.client_secret, made.issuer) == ("helm", "SHOP_CLIENT_SECRET", "https://login.shop.example")


def test_the_keys_of_the_page_are_the_codes() -> None:
    assert keys("The kernel as a resource") == oauth_resource.KEYS
    assert keys("The kernel as a client") == oauth_config.KEYS


def test_the_numbers_of_the_page_are_the_codes() -> None:
    assert f"at most {jws.TOKEN_CHARS_MAX} characters" in PAGE
    assert f"some of {', '.join(jws.ALGORITHMS)} |" in PAGE
    assert f"up to {access.SKEW_S_MAX} | {access.Terms('', '', frozenset()).skew_s} |" in PAGE
    assert f"at most every {oauth_resource.AGAIN_S:g} s" in PAGE
    assert (oauth_resource.FRESH_S, oauth_resource.STALE_S) == (3600, 86_400)
    assert f"At most {oauth.LOGINS_MAX} logins in {oauth.WINDOW_S:g} s" in PAGE
    assert f"{oauth.EARLY_S} s before its end" in PAGE
    assert f"at most {fetch.BYTES_MAX} bytes" in PAGE
