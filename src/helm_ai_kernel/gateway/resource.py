"""The kernel as an OAuth 2.1 resource server: what it says of itself, which tokens it looks at, and what it answers without one.

It is one resource, at one path, of one issuer; a token counts there only, in `Authorization` only, and stays here: the request
goes on without it (`identity.py`), and what goes to a server has an identity of the kernel's own.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.wire.head import Head
from helm_ai_kernel.wire.oauth_metadata import Url
from helm_ai_kernel.wire.reply import Fields, Reply

from .replies import document

WELL_KNOWN = "/.well-known/oauth-protected-resource"
INSUFFICIENT = "insufficient_scope"

_ONE = re.compile(r"/[a-z0-9][a-z0-9_-]{0,63}\Z")  # one server behind the MCP door
_SIGNED = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")

Verify = Callable[[str], tuple[str, frozenset[str]]]  # whose the token is, and its scopes; raises `Refused(ERR_UNAUTHENTICATED)`


@dataclass(frozen=True, slots=True)
class Resource:
    """`url`: what tokens name as their audience, and where clients find this kernel's `path`."""

    url: str
    issuer: str
    scopes: tuple[str, ...]  # each is needed
    verify: Verify

    @property
    def path(self) -> str:
        return Url.parse(self.url).path or "/"

    def is_at(self, path: str) -> bool:
        """Whether that is the resource, or one server of it: `/mcp`, `/mcp/shop`, and nothing below."""
        return path == self.path or (path.startswith(self.path) and _ONE.match(path[len(self.path) :]) is not None)

    @property
    def metadata_url(self) -> str:
        path = self.path if self.path != "/" else ""
        return f"{Url.parse(self.url).origin}{WELL_KNOWN}{path}"

    def taken(self, head: Head) -> tuple[str | None, Head]:
        """The signed token of a request to the resource, and the request without it."""
        scheme, _, token = head.fields.get("authorization", "").partition(" ")
        token = token.strip(" ")
        if not self.is_at(head.path) or scheme.lower() != "bearer" or not _SIGNED.match(token):
            return None, head
        return token, replace(head, fields={name: value for name, value in head.fields.items() if name != "authorization"})

    def check(self, granted: frozenset[str]) -> None:
        """Raises `Refused`: somebody who is known has to ask for more."""
        if not granted.issuperset(self.scopes):
            detail = f"the token has not each of the scopes {' '.join(self.scopes)}"
            raise Refused(Reason.ERR_UNAUTHENTICATED, detail, sub=INSUFFICIENT, hint="ask for a token with these scopes")

    def told(self, head: Head) -> Reply | None:
        """Its metadata (RFC 9728), for whoever asks; None where something else is asked for."""
        if head.path not in (WELL_KNOWN, f"{WELL_KNOWN}{self.path}") or head.method != "GET" or head.query:
            return None
        scopes: list[Json] = [*self.scopes]
        told: dict[str, Json] = {"resource": self.url, "authorization_servers": [self.issuer], "scopes_supported": scopes}
        return document({**told, "bearer_methods_supported": ["header"], "resource_name": "HELM AI Kernel"})

    def challenge(self, head: Head, error: Refused | OutsideError) -> tuple[int, Fields]:
        """Status and fields of the refusal of a request to the resource (RFC 6750 §3, RFC 9728 §5.1)."""
        insufficient = isinstance(error, Refused) and error.sub == INSUFFICIENT
        said = INSUFFICIENT if insufficient else "invalid_token" if "authorization" in head.fields else ""
        params = {"error": said, "scope": " ".join(self.scopes), "resource_metadata": self.metadata_url}
        text = ", ".join(f'{name}="{value}"' for name, value in params.items() if value)
        return 403 if insufficient else 401, (("WWW-Authenticate", f"Bearer {text}"),)
