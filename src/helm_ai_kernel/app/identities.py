"""Who the kernel is at the servers of one process: of each server one identity, however many are connected to it.

Where a server is says its pin, not the configuration: a token goes nowhere that a person did not sign for.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from helm_ai_kernel.credentials.tokens import TokenFile

from .config import Config
from .oauth import Identity
from .oauth_config import OAuthClient
from .oauth_place import Visit


class OAuthBearer:
    """`Bearer` of one connection: it knows which token the server has seen."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._shown: str | None = None

    async def token(self, challenge: str | None) -> str | None:
        self._shown = await self._identity.token(challenge, self._shown)
        return self._shown


class Identities:
    """Those of one process: of each server one, however many are connected to it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._made: dict[tuple[str, str], Identity] = {}

    def bearer(self, server: str, source: Mapping[str, Any]) -> OAuthBearer | None:
        """For a connection to the place of `source`, a pinned one or what would be; None where a pin says who we are there."""
        if "authorization" in source["secrets"]:
            return None
        key = (server, str(source["url"]))
        if key not in self._made:
            said = self._config.oauth.get(server) or OAuthClient(key[1])
            client = replace(said, url=key[1], addresses=tuple(source["addresses"]), ca=source["ca"])
            self._made[key] = identity(self._config, server, client)
        return OAuthBearer(self._made[key])


def identity(config: Config, name: str, client: OAuthClient, *, visit: Visit | None = None) -> Identity:
    """The kernel's at that server."""
    hint = config.paths.typed(f"mcp login {name}")
    return Identity(name, client, TokenFile(config.paths.oauth(name), client.url), hint=hint, visit=visit)
