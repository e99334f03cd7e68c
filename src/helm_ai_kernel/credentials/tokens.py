"""What the kernel holds of OAuth for one server: who it is at which issuer, and the tokens that were given for it.

One file of mode 0600 for each server. It is bound to the server's URL: under another one nothing in it counts. Its words are in
no receipt, no log and no argument of a program, and `repr` shows none of them.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from helm_ai_kernel.disk import durable
from helm_ai_kernel.tcb import fields
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire.oauth import Client

from .files import read, unavailable

BYTES_MAX = 256 << 10  # a token has at most 8 KiB, and a server seldom a second issuer
ISSUERS_MAX = 16  # a server that sends us to more of them wants something else


@dataclass(frozen=True, slots=True)
class Grant:
    """A token, and what it is for."""

    issuer: str
    client: str
    resource: str
    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    expires: int | None  # seconds since 1970
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """`clients` by issuer: what one issuer gave is shown to no other. `wanted`, `challenge`: what a person is to agree to."""

    url: str
    grant: Grant | None = None
    clients: Mapping[str, Client] = field(default_factory=dict)
    wanted: tuple[str, ...] = ()
    challenge: str = ""

    @classmethod
    def from_bytes(cls, data: bytes) -> "Held":
        """Raises `EvidenceError`."""
        named = {"url", "grant", "clients", "wanted", "challenge"}
        body = fields.document(data.removesuffix(b"\n"), "oauth", named, bytes_max=BYTES_MAX)
        clients = {issuer: _client(value) for issuer, value in fields.typed(body, "clients", dict).items()}
        grant = None if body["grant"] is None else _grant(body["grant"])
        url, challenge = fields.text(body, "url"), fields.text(body, "challenge", bytes_max=8 << 10)
        return cls(url, grant, clients, fields.strings(body, "wanted"), challenge)

    def to_bytes(self) -> bytes:
        clients: dict[str, Json] = {issuer: _client_json(client) for issuer, client in self.clients.items()}
        grant = None if self.grant is None else _grant_json(self.grant)
        body: dict[str, Json] = {"v": 1, "kind": "oauth", "url": self.url, "grant": grant, "clients": clients}
        return canonical({**body, "wanted": list(self.wanted), "challenge": self.challenge}) + b"\n"


@dataclass(frozen=True, slots=True)
class TokenFile:
    """Read anew each time: another process of this kernel's user may have asked a person meanwhile."""

    path: Path
    url: str

    def read(self) -> Held:
        """Nothing where there is no file, or one for another URL; raises `OutsideError` where others can read it."""
        if not self.path.exists() and not self.path.is_symlink():
            return Held(self.url)
        try:
            held = Held.from_bytes(read(self.path, bytes_max=BYTES_MAX))
        except EvidenceError as error:
            raise unavailable(
                f"`{self.path}` is not as it was written: {error.detail}", f"rm {self.path}, and log in again"
            ) from None
        return held if held.url == self.url else Held(self.url)

    def write(self, held: Held) -> None:
        """Whole and durable, in the place of what was there; raises `OutsideError`."""
        try:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            durable.write(self.path, [held.to_bytes()], mode=0o600)
        except OSError as error:
            cause = os.strerror(error.errno or 0).lower()
            raise unavailable(f"`{self.path}` could not be written: {cause}", "check the folder and its space") from None

    def forget(self) -> bool:
        """Whether there was something."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        durable.sync_directory(self.path.parent)
        return True


def _client(value: Json) -> Client:
    body = fields.exact(value, {"id", "secret", "method", "redirect", "expires"})
    secret, redirect = (_text_or_null(body, name) for name in ("secret", "redirect"))
    return Client(fields.text(body, "id"), secret, fields.text(body, "method"), redirect, _count_or_null(body, "expires"))


def _client_json(client: Client) -> Json:
    told: dict[str, Json] = {"id": client.id, "secret": client.secret, "method": client.method, "redirect": client.redirect}
    return {**told, "expires": client.expires}


def _grant(value: Json) -> Grant:
    body = fields.exact(value, {"issuer", "client", "resource", "access", "refresh", "expires", "scopes"})
    issuer, client, resource = (fields.text(body, name) for name in ("issuer", "client", "resource"))
    access, refresh = fields.text(body, "access", bytes_max=8 << 10), _text_or_null(body, "refresh")
    return Grant(issuer, client, resource, access, refresh, _count_or_null(body, "expires"), fields.strings(body, "scopes"))


def _grant_json(grant: Grant) -> Json:
    told: dict[str, Json] = {"issuer": grant.issuer, "client": grant.client, "resource": grant.resource, "access": grant.access}
    return {**told, "refresh": grant.refresh, "expires": grant.expires, "scopes": list(grant.scopes)}


def _text_or_null(body: Mapping[str, Json], name: str) -> str | None:
    return None if body[name] is None else fields.text(body, name, bytes_max=8 << 10)


def _count_or_null(body: Mapping[str, Json], name: str) -> int | None:
    return None if body[name] is None else fields.count(body, name)
