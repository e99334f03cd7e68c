"""What an MCP server and its authorization servers answer: which they are, who we are there, and the tokens that they give.

Each answer is somebody's word. What of it is believed says `wire/oauth_metadata.py`, and which places are asked the pin.
"""

from helm_ai_kernel.net.fetch import Fetcher
from helm_ai_kernel.net.resolver import Resolver
from helm_ai_kernel.pep.address import AddressClass
from helm_ai_kernel.wire import oauth
from helm_ai_kernel.wire.challenge import Challenge
from helm_ai_kernel.wire.oauth import Client, Tokens
from helm_ai_kernel.wire.oauth_metadata import Issuer, Protected, Url, issuer_places, refused, resource_places

from .oauth_config import OAuthClient

CLIENT_NAME = "HELM AI Kernel"  # as the issuer's page shows it to a person


class Issuers:
    """Those of one server. Everything here raises `Refused` and `NotSent`."""

    def __init__(self, name: str, client: OAuthClient, hint: str, resolver: Resolver | None) -> None:
        self._name, self._client, self._hint = name, client, hint
        self._fetch = fetcher(client, resolver)

    async def discovered(self, said: Challenge) -> tuple[Protected, Issuer]:
        """What the server says it is, and who makes tokens for it. Asked anew each time: servers move."""
        data = await self._fetch.first(resource_places(self._client.url, said.metadata))
        if data is None:
            raise refused("metadata", "the server wants a token and does not say whose", f"see to the server `{self._name}`")
        resource = Protected.from_bytes(data, self._client.url)
        wanted = self._client.issuer
        if wanted is not None and wanted not in resource.servers:
            raise refused("issuer", "the server names another issuer than helm.toml does", "correct `issuer`, if it moved")
        return resource, await self.issuer(wanted or resource.servers[0])

    async def issuer(self, issuer: str) -> Issuer:
        data = await self._fetch.first(issuer_places(issuer))
        if data is None:
            raise refused("metadata", f"`{Url.parse(issuer).origin}` does not say that it is an authorization server")
        return Issuer.from_bytes(data, issuer)

    async def client(self, known: Client | None, issuer: Issuer, redirect: str) -> Client:
        """Who we are there: `known`, if it may come back to `redirect`; else whoever is registered now."""
        if known is not None and known.redirect in (None, redirect):
            return known
        if issuer.register is None:
            hint = f"register a client there, and set `client_id` in [upstream.{self._name}.oauth]"
            raise refused("client", "the authorization server registers nobody by itself", hint)
        body = oauth.registration(issuer, redirect, CLIENT_NAME)
        found = await self._fetch.ask("POST", issuer.register, {"content-type": "application/json"}, body)
        if found.status not in (200, 201):
            raise refused("client", f"the registration was answered {found.status} {oauth.error_of(found.body)}".rstrip())
        return oauth.registered(found.body, issuer, redirect)

    async def tokens(self, issuer: Issuer, client: Client, fields: list[tuple[str, str]]) -> Tokens:
        headers, body = oauth.as_client(client, fields)
        found = await self._fetch.ask("POST", issuer.token, headers, body)
        if found.status != 200:
            raise refused(
                "token", f"the token endpoint answered {found.status} {oauth.error_of(found.body)}".rstrip(), self._hint
            )
        return Tokens.from_bytes(found.body)


def fetcher(client: OAuthClient, resolver: Resolver | None = None) -> Fetcher:
    """What may be asked for a server: addresses that were pinned for it, and public ones with TLS, never others."""
    named = {AddressClass(name) for name in client.addresses} | {AddressClass.GLOBAL}
    cas = dict(client.issuer_cas) | ({Url.parse(client.url).origin: client.ca} if client.ca else {})
    return Fetcher(frozenset(named), cas, resolver)
