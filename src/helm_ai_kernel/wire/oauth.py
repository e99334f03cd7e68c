"""The messages of an OAuth 2.1 client: what is asked for, and which answers count.

A code is taken only from the answer to our own question (`state`), from the server that was asked (`iss`, RFC 9207), for whoever
asked (PKCE with S256), and a token is asked for one resource only (RFC 8707).
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from helm_ai_kernel.tcb.digest import sha256
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.findings import visible
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical

from .challenge import is_scope, scopes
from .form import decoded, encoded
from .oauth_metadata import METHODS, Issuer, Url, document, refused

SECONDS_MAX = 10 * 366 * 86_400  # a token that says it lives longer says nothing
TOKEN_CHARS_MAX = 8 << 10  # it stands in a header

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*\Z")  # RFC 6750 §2.1
_TEXT = re.compile(r"[ -~]{1,8192}\Z")  # RFC 6749, appendix A: ids, secrets, codes, refresh tokens


@dataclass(frozen=True, slots=True)
class Client:
    """Who we are at one issuer."""

    id: str
    secret: str | None = field(default=None, repr=False)
    method: str = "none"
    redirect: str | None = None  # as it was registered; None: any port of the loopback
    expires: int | None = None  # seconds since 1970


@dataclass(frozen=True, slots=True)
class Question:
    """One authorization request. `state` and `verifier`: 43 characters each, drawn for it alone."""

    client: Client
    redirect: str
    resource: str
    scopes: tuple[str, ...]
    state: str = field(repr=False)
    verifier: str = field(repr=False)

    def url(self, issuer: Issuer) -> str:
        challenge = base64.urlsafe_b64encode(sha256(self.verifier.encode())).decode().rstrip("=")
        fields = [
            ("response_type", "code"),
            ("client_id", self.client.id),
            ("redirect_uri", self.redirect),
            ("state", self.state),
        ]
        fields += [("code_challenge", challenge), ("code_challenge_method", "S256"), ("resource", self.resource)]
        fields += [("scope", " ".join(self.scopes))] if self.scopes else []
        return issuer.authorize + ("&" if Url.parse(issuer.authorize).query else "?") + encoded(fields)

    def is_answer(self, query: str) -> bool:
        """Whether somebody answers this question, and not another one."""
        said = (decoded(query) or {}).get("state", "")
        return sha256(said.encode()) == sha256(self.state.encode())  # how long it takes says nothing of either

    def code(self, query: str, issuer: Issuer) -> str:
        """The code in an answer; raises `Refused`."""
        fields = decoded(query)
        if fields is None or not self.is_answer(query):
            raise refused("state", "an answer that nobody asked for, or one with two meanings")
        said = fields.get("iss")  # RFC 9207 §2.4: compared as it stands, before anything else in it counts
        if (said is None and issuer.names_itself) or (said is not None and said != issuer.issuer):
            raise refused("iss", "the answer is not of the authorization server that was asked")
        if "error" in fields:
            raise refused("denied", f"the authorization server said no: {visible(fields['error'], 64)}", "ask again, and agree")
        if not _TEXT.match(fields.get("code", "")):
            raise refused("state", "the answer has no code")
        return fields["code"]

    def exchange(self, code: str) -> list[tuple[str, str]]:
        """The fields that make a token of a code."""
        fields = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", self.redirect)]
        return [*fields, ("code_verifier", self.verifier), ("resource", self.resource)]


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a token endpoint gave. `scopes`: None where it does not say, and then they are those that were asked for."""

    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    seconds: int | None
    scopes: tuple[str, ...] | None

    @classmethod
    def from_bytes(cls, data: bytes) -> "Tokens":
        """Raises `Refused`; no word of it holds what was sent."""
        body = document(data, "token")
        access, refresh, kind = body.get("access_token"), body.get("refresh_token"), body.get("token_type")
        if type(access) is not str or len(access) > TOKEN_CHARS_MAX or not _TOKEN.match(access):
            raise refused("token", "the authorization server gave no token that can stand in a header")
        if type(kind) is not str or kind.lower() != "bearer":
            raise refused("token", "the authorization server gave a token of another type than Bearer")
        if refresh is not None and (type(refresh) is not str or not _TEXT.match(refresh)):
            raise refused("token", "the refresh token is none")
        seconds, scope = body.get("expires_in"), body.get("scope")
        lives = seconds if type(seconds) is int and 0 < seconds <= SECONDS_MAX else None
        return cls(access, refresh, lives, scopes(scope) if type(scope) is str and scope else None)


def refreshed(refresh: str, resource: str) -> list[tuple[str, str]]:
    return [("grant_type", "refresh_token"), ("refresh_token", refresh), ("resource", resource)]


def as_client(client: Client, fields: Sequence[tuple[str, str]]) -> tuple[dict[str, str], bytes]:
    """Header fields and the body of a request to the token endpoint: exactly one way to say who we are (RFC 6749 §2.3)."""
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    sent = list(fields)
    if client.method == "client_secret_basic" and client.secret is not None:
        pair = f"{quote(client.id, safe='')}:{quote(client.secret, safe='')}"
        headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    elif client.method == "client_secret_post" and client.secret is not None:
        sent += [("client_id", client.id), ("client_secret", client.secret)]
    else:
        sent += [("client_id", client.id)]
    return headers, encoded(sent).encode()


def method(issuer: Issuer, *, has_secret: bool) -> str:
    """How a client says who it is there; raises `Refused` where there is no way."""
    if not has_secret:
        return "none"
    found = next((name for name in METHODS[1:] if name in issuer.methods), None)
    if found is None:
        raise refused("client", "the authorization server takes a client's secret in no way that is spoken here")
    return found


def registration(issuer: Issuer, redirect: str, name: str) -> bytes:
    """The body of a dynamic registration (RFC 7591 §2)."""
    wanted = next((one for one in METHODS if one in issuer.methods), None)
    if wanted is None:
        raise refused("client", "the authorization server takes no client in any way that is spoken here")
    body: dict[str, Json] = {"client_name": name, "redirect_uris": [redirect], "response_types": ["code"]}
    body |= {"grant_types": ["authorization_code", "refresh_token"], "application_type": "native"}
    return canonical({**body, "token_endpoint_auth_method": wanted})


def registered(data: bytes, issuer: Issuer, redirect: str) -> Client:
    """The client in the answer; raises `Refused`."""
    body = document(data, "client")
    name, secret, until = body.get("client_id"), body.get("client_secret"), body.get("client_secret_expires_at")
    if type(name) is not str or not _TEXT.match(name):
        raise refused("client", "the registration gave no client id")
    if secret is not None and (type(secret) is not str or not _TEXT.match(secret)):
        raise refused("client", "the registration gave a secret that is none")
    how = body.get("token_endpoint_auth_method", next((one for one in METHODS if one in issuer.methods), "none"))
    if how not in METHODS or (how != "none" and secret is None):
        raise refused("client", "the registration wants a way to say who we are that is not spoken here")
    kept = None if how == "none" else secret
    return Client(name, kept, str(how), redirect, until if kept and type(until) is int and until > 0 else None)


def error_of(data: bytes) -> str:
    """The error code in an answer of a token or registration endpoint, for a person; "" where there is none."""
    try:
        said = document(data, "token").get("error")
    except Refused:
        return ""
    return visible(said, 64) if is_scope(said) and isinstance(said, str) else ""
