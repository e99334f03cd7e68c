"""What an MCP server and its authorization server say of themselves, where they say it, and which of it is believed.

All of it is written by whoever runs the server: a resource that is not the server's, an issuer that is not the one that was asked
for, an endpoint without TLS or one without PKCE ends the matter (RFC 9728 §3.3, RFC 8414 §3.3, RFC 9700 §2.1.1).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json, parse

from .challenge import is_scope

BYTES_MAX = 128 << 10  # a large provider's document has 10 KiB
URL_CHARS_MAX = 2048
ITEMS_MAX = 256  # scopes of a large provider
METHODS = ("none", "client_secret_basic", "client_secret_post")  # how a client says who it is; those that are spoken here

_URL = re.compile(
    r"(https?)://([A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?(/[!-\"$->@-~]*)?(\?[!-\"$-~]*)?\Z"
)
_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
_PORTS = {"http": 80, "https": 443}
_RESOURCE, _SERVER, _OPENID = (
    f"/.well-known/{name}" for name in ("oauth-protected-resource", "oauth-authorization-server", "openid-configuration")
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute URL of `https`, or of `http` on this machine; no user, no fragment."""

    scheme: str
    host: str  # in lower case, with brackets where it has any
    port: int
    path: str  # "" or from `/`
    query: str  # "" or from `?`

    @classmethod
    def parse(cls, text: object) -> "Url":
        """Raises `Refused`."""
        found = _URL.match(text) if isinstance(text, str) and len(text) <= URL_CHARS_MAX else None
        if found is None:
            raise refused("metadata", "a URL is not absolute, or has a user, a fragment or another scheme than https")
        url = cls(found[1], found[2].lower(), int(found[3] or _PORTS[found[1]]), found[4] or "", found[5] or "")
        if url.scheme == "http" and url.host not in _LOCAL:
            raise refused("metadata", f"`{url.origin}` has no TLS: whoever is on the way could read and write")
        return url

    @property
    def origin(self) -> str:
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


@dataclass(frozen=True, slots=True)
class Protected:
    """Protected resource metadata."""

    resource: str  # as it stands: it is sent as it stands
    servers: tuple[str, ...]
    scopes: tuple[str, ...]

    @classmethod
    def from_bytes(cls, data: bytes, server: str) -> "Protected":
        """What the server at the URL `server` says; raises `Refused` where it is of another resource."""
        body = _document(data)
        resource = _one(body, "resource", str)
        if not covers(resource, server):
            raise refused("resource", "the metadata is of another resource than the server: its tokens would be for that one")
        servers = _list(body, "authorization_servers")
        for issuer in servers:
            Url.parse(issuer)
        if not servers:
            raise refused("metadata", "the resource names no authorization server")
        return cls(resource, servers, _scopes(body))


@dataclass(frozen=True, slots=True)
class Issuer:
    """Authorization server metadata."""

    issuer: str
    authorize: str
    token: str
    register: str | None
    methods: tuple[str, ...]  # of authentication at the token endpoint
    scopes: tuple[str, ...]
    names_itself: bool  # it says `iss` in each answer (RFC 9207)
    takes_documents: bool  # a URL is the id of a client

    @classmethod
    def from_bytes(cls, data: bytes, issuer: str) -> "Issuer":
        """What was found where the metadata of `issuer` is; raises `Refused` where it is of another one, or has no PKCE."""
        body = _document(data)
        if _one(body, "issuer", str) != issuer:  # RFC 8414 §3.3: compared as they stand
            raise refused("issuer", "the metadata is of another issuer than the one that was asked for")
        if "S256" not in _list(body, "code_challenge_methods_supported"):
            raise refused("pkce", "the authorization server does not say that it takes PKCE with S256")
        if "code" not in _list(body, "response_types_supported", ("code",)):
            raise refused("metadata", "the authorization server gives no codes")
        authorize, token = (_one(body, f"{name}_endpoint", str) for name in ("authorization", "token"))
        register = _one(body, "registration_endpoint", str) if "registration_endpoint" in body else None
        for endpoint in (authorize, token, *([register] if register else [])):
            Url.parse(endpoint)
        names_itself = body.get("authorization_response_iss_parameter_supported") is True
        takes_documents = body.get("client_id_metadata_document_supported") is True
        methods = _list(body, "token_endpoint_auth_methods_supported", ("client_secret_basic",))
        return cls(issuer, authorize, token, register, methods, _scopes(body), names_itself, takes_documents)


def covers(resource: str, server: str) -> bool:
    """Whether `server` is that resource, or below it on the same origin (RFC 9728 §3.3, and MCP's root form)."""
    try:
        of, at = Url.parse(resource), Url.parse(server)
    except Refused:
        return False
    if of.origin != at.origin or (of.query and of.query != at.query):
        return False
    path = of.path.rstrip("/")
    return at.path.rstrip("/") == path or at.path.startswith(path + "/")


def resource_places(server: str, said: str) -> tuple[str, ...]:
    """Where the metadata of the resource is: where the challenge says, else at the well-known places, in this order."""
    if said:
        Url.parse(said)
        return (said,)
    at = Url.parse(server)
    path = at.path.rstrip("/")
    return tuple(dict.fromkeys((f"{at.origin}{_RESOURCE}{path}{at.query}", f"{at.origin}{_RESOURCE}")))


def issuer_places(issuer: str) -> tuple[str, ...]:
    """Where the metadata of an issuer is, in the order of MCP: RFC 8414, OpenID with the path inserted, and appended."""
    at = Url.parse(issuer)
    path = at.path.rstrip("/")
    if at.query:
        raise refused("metadata", "an issuer has no query")
    if not path:
        return f"{at.origin}{_SERVER}", f"{at.origin}{_OPENID}"
    return f"{at.origin}{_SERVER}{path}", f"{at.origin}{_OPENID}{path}", f"{at.origin}{path}{_OPENID}"


def refused(sub: str, detail: str, hint: str = "") -> Refused:
    return Refused(Reason.ERR_CONNECTOR_FAILED, detail, sub=f"oauth_{sub}", hint=hint)


def document(data: bytes, what: str) -> dict[str, Json]:
    """A JSON object; raises `Refused`."""
    try:
        value = parse(data, bytes_max=BYTES_MAX, any_number=True)
    except Refused as error:
        raise refused(what, f"what the authorization server says is not strict json ({error.sub})") from None
    if type(value) is not dict:
        raise refused(what, "what the authorization server says is no json object")
    return value


def _document(data: bytes) -> dict[str, Json]:
    return document(data, "metadata")


def _one(body: Mapping[str, Json], name: str, kind: Callable[..., T]) -> T:
    value = body.get(name)
    if type(value) is not kind:
        raise refused("metadata", f"`{name}` is missing, or of another type")
    return value  # type: ignore[return-value]  # its type is `kind`


def _list(body: Mapping[str, Json], name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
    value = body.get(name)
    if value is None:
        return default
    if type(value) is not list or len(value) > ITEMS_MAX or not all(type(item) is str for item in value):
        raise refused("metadata", f"`{name}` is no short list of strings")
    return tuple(str(item) for item in value)


def _scopes(body: Mapping[str, Json]) -> tuple[str, ...]:
    return tuple(scope for scope in _list(body, "scopes_supported") if is_scope(scope))
