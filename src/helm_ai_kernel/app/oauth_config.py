"""`[upstream.NAME.oauth]`: how the kernel logs in at a server that wants a token, as far as a person says it.

Nothing has to be said: a server names its authorization server, and that registers whoever asks. What is said here binds: a
client that was registered beforehand is shown to its own issuer only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.wire.challenge import is_scope
from helm_ai_kernel.wire.oauth_metadata import Url

from .planes import wrong

KEYS = frozenset({"client_id", "client_secret", "issuer", "client_metadata", "scopes", "redirect_port", "opener", "ca"})


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """`url` and `addresses` are those of the server."""

    url: str
    addresses: tuple[str, ...] = ("global",)
    ca: str | None = None  # of the server
    client_id: str | None = None
    client_secret: str | None = None  # the name of a variable of the kernel
    issuer: str | None = None  # no other one is asked
    client_metadata: str | None = None  # the URL of a document that says who we are (CIMD)
    scopes: tuple[str, ...] = ()  # asked for whatever the server says
    redirect_port: int = 0  # 0: any that is free
    opener: tuple[str, ...] = ()  # a command that shows a person the URL that it reads from its input
    issuer_cas: Mapping[str, str] = field(default_factory=dict)


def oauth_client(home: Path, name: str, upstream: Mapping[str, Any]) -> OAuthClient:
    """Of `[upstream.NAME]`, an MCP server with a URL; raises `OutsideError`."""
    said, where = upstream.get("oauth", {}), f"upstream.{name}.oauth"
    if not isinstance(said, dict) or not said.keys() <= KEYS:
        raise wrong(f"{where} is not a table of {', '.join(sorted(KEYS))}")
    texts = {key: said.get(key) for key in ("client_id", "client_secret", "issuer", "client_metadata", "ca")}
    for key, value in texts.items():
        if value is not None and (not isinstance(value, str) or not value or "\0" in value):
            raise wrong(f"{where}.{key} is not a string")
    _check(where, texts)
    scopes, opener, port = said.get("scopes", []), said.get("opener", []), said.get("redirect_port", 0)
    if not isinstance(scopes, list) or not all(is_scope(item) for item in scopes):
        raise wrong(f"{where}.scopes is not a list of scopes", 'scopes = ["mcp:tools"]')
    if not isinstance(opener, list) or not all(isinstance(item, str) for item in opener):
        raise wrong(f"{where}.opener is not a command", 'opener = ["my-opener"]')
    if type(port) is not int or not 0 <= port <= 65535:
        raise wrong(f"{where}.redirect_port is no port", "redirect_port = 8799")
    ca, issuer_ca = upstream.get("ca"), texts.pop("ca")
    cas = {_origin(texts["issuer"]): str(home / issuer_ca)} if issuer_ca and texts["issuer"] else {}
    return OAuthClient(
        upstream["mcp"],
        tuple(upstream.get("addresses", ["global"])),
        str(home / ca) if ca else None,
        **texts,
        scopes=tuple(scopes),
        opener=tuple(opener),
        redirect_port=port,
        issuer_cas=cas,
    )


def _check(where: str, texts: Mapping[str, str | None]) -> None:
    for key in ("issuer", "client_metadata"):
        try:
            url = None if texts[key] is None else Url.parse(texts[key])
        except Refused as refused:
            raise wrong(f"{where}.{key}: {refused.detail}") from None
        if key == "client_metadata" and url is not None and (url.scheme != "https" or url.path in ("", "/")):
            raise wrong(f"{where}.client_metadata is no URL of https with a path", "host the document, and name it here")
    if texts["client_id"] and not texts["issuer"]:
        raise wrong(f"{where}.client_id without `issuer`: it would be shown to whomever the server names", 'issuer = "https://…"')
    if texts["client_secret"] and not texts["client_id"]:
        raise wrong(f"{where}.client_secret without `client_id`")
    if texts["ca"] and not texts["issuer"]:
        raise wrong(f"{where}.ca without `issuer`: it counts for that one", 'issuer = "https://…"')


def _origin(url: str | None) -> str:
    return Url.parse(url).origin
