"""`[data.oauth]`: whose access tokens open this kernel's own resource, and the keys by which they are known.

Keys come from a file, or from a URL that a person wrote down: nothing is discovered, and no token says where its key is. While
keys cannot be had nobody is known by a token; other credentials of agents count as before.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helm_ai_kernel.credentials.access import SKEW_S_MAX, Terms, access
from helm_ai_kernel.credentials.jws import ALGORITHMS, KEYS_BYTES_MAX, Keys, keys
from helm_ai_kernel.gateway.resource import Resource
from helm_ai_kernel.net.fetch import Fetcher
from helm_ai_kernel.net.resolver import NotSent, Resolver
from helm_ai_kernel.pep.address import DIALLED, AddressClass
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.wire.challenge import is_scope
from helm_ai_kernel.wire.oauth_metadata import Url

from .planes import wrong

KEYS = frozenset({"resource", "issuer", "jwks", "scopes", "algorithms", "types", "claim", "skew_s", "addresses", "ca"})
FRESH_S = 3600.0  # then they are asked for again: a key that was withdrawn goes
STALE_S = 86_400.0  # then they are nobody's, however often they were asked for
AGAIN_S = 30.0  # between two questions: whoever sends unknown keys decides nothing


@dataclass(frozen=True, slots=True)
class Door:
    """What `[data.oauth]` says."""

    terms: Terms
    jwks: Path | str  # a file, or a URL
    scopes: tuple[str, ...] = ()
    addresses: frozenset[AddressClass] = frozenset({AddressClass.GLOBAL})
    ca: str | None = None


def door(home: Path, said: Any) -> Door:
    """Of the table; raises `OutsideError`."""
    if not isinstance(said, dict) or not said.keys() <= KEYS:
        raise wrong(f"data.oauth is not a table of {', '.join(sorted(KEYS))}")
    resource, issuer = _url(said, "resource"), _url(said, "issuer")
    if Url.parse(resource).query:
        raise wrong("data.oauth.resource has a query", 'resource = "https://kernel.example/mcp"')
    jwks, ca = said.get("jwks"), said.get("ca")
    for name, value in (("jwks", jwks), *([("ca", ca)] if ca is not None else [])):
        if not isinstance(value, str) or not value or "\0" in value:
            raise wrong(f"data.oauth.{name} is neither a file nor a URL", 'jwks = "issuer-keys.json"')
    remote = isinstance(jwks, str) and "://" in jwks
    scopes, claim, skew = _strings(said, "scopes", ()), said.get("claim", "sub"), said.get("skew_s", 30)
    algorithms = frozenset(_strings(said, "algorithms", ALGORITHMS))
    types = frozenset(kind.lower() for kind in _strings(said, "types", ("at+jwt",)))
    addresses = _strings(said, "addresses", ("global",))
    if not algorithms or not algorithms <= frozenset(ALGORITHMS):
        raise wrong(f"data.oauth.algorithms is not a list of {', '.join(ALGORITHMS)}", 'algorithms = ["ES256"]')
    if not types or not types <= {"at+jwt", "jwt"}:
        raise wrong("data.oauth.types is not a list of `at+jwt` and `jwt`", 'types = ["at+jwt"]')
    if not all(is_scope(scope) for scope in scopes) or not isinstance(claim, str) or not claim:
        raise wrong("data.oauth: `scopes` is a list of scopes, and `claim` the name of one claim")
    if type(skew) is not int or not 0 <= skew <= SKEW_S_MAX:
        raise wrong(f"data.oauth.skew_s is no number of seconds up to {SKEW_S_MAX}", "skew_s = 30")
    if not set(addresses) <= {kind.value for kind in DIALLED}:
        raise wrong("data.oauth.addresses names a kind of address that is not dialled", 'addresses = ["global"]')
    place: Path | str = _url(said, "jwks") if remote else home / str(jwks)
    kinds = frozenset(AddressClass(name) for name in addresses)
    return Door(Terms(issuer, resource, algorithms, types, claim, skew), place, scopes, kinds, str(home / ca) if ca else None)


def _url(said: Mapping[str, Any], name: str) -> str:
    try:
        Url.parse(said.get(name))
    except Refused as refused:
        raise wrong(f"data.oauth.{name}: {refused.detail}", f'{name} = "https://…"') from None
    return str(said[name])


def _strings(said: Mapping[str, Any], name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = said.get(name, list(default))
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise wrong(f"data.oauth.{name} is not a list of strings")
    return tuple(value)


class IssuerKeys:
    """The issuer's keys as they are now. Nobody waits for them: whoever comes too early comes again."""

    def __init__(self, door: Door, *, resolver: Resolver | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._place, self._clock = door.jwks, clock
        cas = {Url.parse(door.jwks).origin: door.ca} if door.ca and isinstance(door.jwks, str) else {}
        self._fetch = Fetcher(door.addresses, cas, resolver)
        self._keys: Keys = {}
        self._got, self._tried = float("-inf"), float("-inf")
        self._seen: tuple[int, int, int] | None = None
        self._task: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Once; where it fails, nobody is known yet."""
        self._tried = self._clock()
        if isinstance(self._place, Path):
            return
        with suppress(Refused, NotSent):
            found = await self._fetch.ask("GET", self._place)
            if found.status == 200:
                self._keys, self._got = keys(found.body), self._clock()

    def now(self) -> Keys:
        """Those that count. A file is read again where it is another one; one that cannot be read has none."""
        if isinstance(self._place, Path):
            return self._of_file(self._place)
        age = self._clock() - self._got
        if age > FRESH_S:
            self.missed()
        return self._keys if age <= STALE_S else {}

    def missed(self) -> None:
        """A key was not there: perhaps it is new. They are asked for again, not for every one who says so."""
        if isinstance(self._place, Path) or self._clock() - self._tried < AGAIN_S:
            return
        if self._task is None or self._task.done():
            self._tried = self._clock()
            self._task = asyncio.get_running_loop().create_task(self.load())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _of_file(self, path: Path) -> Keys:
        try:
            found = os.stat(path)
            seen = (found.st_ino, found.st_size, found.st_mtime_ns)
            if seen != self._seen:
                with path.open("rb") as file:
                    self._keys = keys(file.read(KEYS_BYTES_MAX + 1))
                self._seen = seen
        except (OSError, Refused):
            self._keys, self._seen = {}, None
        return self._keys


def resource(door: Door, known: IssuerKeys, now: Callable[[], float] = time.time) -> Resource:
    """What the gateway is given: whose a token is, and nothing of how that is known."""

    def verify(token: str) -> tuple[str, frozenset[str]]:
        try:
            found = access(token, known.now(), door.terms, now())
        except Refused as refused:
            if refused.sub == "jwt_kid":
                known.missed()
            raise
        return found.subject, found.scopes

    return Resource(door.terms.resource, door.terms.issuer, door.scopes, verify)
