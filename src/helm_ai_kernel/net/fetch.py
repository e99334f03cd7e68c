"""Asking a place that somebody else named: one request, one whole answer, and only of addresses of allowed kinds.

For URLs out of other people's documents (metadata, keys, endpoints of authorization servers). Everything that `upstream.py` does
for a pinned service counts here for a place that is not: vetted addresses, names looked up once, no redirect, no cookie, no proxy
of the environment. Without TLS only this machine is asked.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from helm_ai_kernel import __version__
from helm_ai_kernel.pep.address import AddressClass
from helm_ai_kernel.pep.service import Service
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import EvidenceError, Refused
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.wire.oauth_metadata import Url
from helm_ai_kernel.wire.request import encode
from helm_ai_kernel.wire.response import Response

from .exchange import Lost
from .resolver import NotSent, Resolver
from .upstream import Upstream

WITHIN_S = 10.0  # for one request and its answer: somebody waits for a tool behind it
BYTES_MAX = 128 << 10

_ALWAYS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": f"helm-ai-kernel/{__version__}"}


@dataclass(frozen=True, slots=True)
class Fetcher:
    """`addresses`: the kinds that may be dialled. `cas`: files of certificates that count instead of the system's, by origin."""

    addresses: Collection[AddressClass]
    cas: Mapping[str, str] = field(default_factory=dict)
    resolver: Resolver | None = None
    within_s: float = WITHIN_S

    async def ask(self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> Response:
        """Raises `Refused` and `NotSent`; no word of either holds a query, a header or a body."""
        at = Url.parse(url)
        upstream = Upstream(self._service(at), self.resolver)
        fields = (_ALWAYS | {**(headers or {})} | {"connection": "close"}).items()
        request = encode(method, (at.path or "/") + at.query, at.origin.partition("://")[2], fields, body)
        until = asyncio.get_running_loop().time() + self.within_s
        try:
            found = await upstream.ask(request, body_bytes_max=BYTES_MAX, until=until, again=False)
        finally:
            await upstream.close()
        if isinstance(found, Lost):
            raise Refused(found.reason, f"`{at.origin}` gave no whole answer ({found.sub})", sub=found.sub)
        return found

    async def first(self, places: Collection[str]) -> bytes | None:
        """The first document at these places, in their order: one that is not there, or is no JSON, is not the last word."""
        for place in places:
            found = await self.ask("GET", place)
            if found.status == 200 and "json" in found.type.lower():
                return found.body
            if not 200 <= found.status < 500:
                raise NotSent("status", f"`{Url.parse(place).origin}` answered {found.status} where it tells of itself")
        return None

    def _service(self, at: Url) -> Service:
        kinds = set(self.addresses) & {AddressClass.LOOPBACK} if at.scheme == "http" else set(self.addresses)
        named: list[Json] = [*sorted(kind.value for kind in kinds)]
        source: dict[str, Json] = {"kind": "http", "base": at.origin, "addresses": named}
        try:
            return Service.from_json({**source, "secrets": {}, "ca": self.cas.get(at.origin)})
        except EvidenceError as error:
            raise Refused(Reason.ERR_EGRESS_DENIED, f"`{at.origin}` may not be asked: {error.detail}", sub="place") from None
