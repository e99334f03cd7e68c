"""The kernel's own identity at an MCP server: a token for that server alone, got by a person's leave and kept by the kernel.

An agent's credential is never shown to a server, and a server's token to no agent: each is made for one resource. What a server
says of where to log in is believed only as far as `wire/oauth_metadata.py` says, and asked only at addresses that were pinned.
"""

import asyncio
import base64
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from helm_ai_kernel.credentials.tokens import ISSUERS_MAX, Grant, Held, TokenFile
from helm_ai_kernel.net.resolver import NotSent, Resolver
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.wire import oauth
from helm_ai_kernel.wire.challenge import CHARS_MAX, Challenge
from helm_ai_kernel.wire.oauth import Client, Question, Tokens
from helm_ai_kernel.wire.oauth_metadata import Issuer, Protected, Url, refused

from .oauth_config import OAuthClient
from .oauth_issuers import Issuers
from .oauth_place import Place, Visit, by_command, place

PERSON_S = 300.0  # to log in and agree
EARLY_S = 30  # before its end a token is not used any more: a request takes time, and clocks differ
LOGINS_MAX = 3  # in `WINDOW_S`: a server that is content with no token gets no more of them
WINDOW_S = 600.0
LATE_S = 10.0  # for the answer to a request that left with the token before


class Identity:
    """The kernel's at one server, in one loop: one object, whoever calls and however many connections there are.

    `visit` shows a person where to log in; without one, and without an `opener`, nobody is asked: the refusal says what to type.
    """

    def __init__(
        self,
        name: str,
        client: OAuthClient,
        file: TokenFile,
        *,
        hint: str,
        visit: Visit | None = None,
        environ: Mapping[str, str] = os.environ,
        resolver: Resolver | None = None,
        now: Callable[[], float] = time.time,
        person_s: float = PERSON_S,
    ) -> None:
        """`hint`: what a person types to log in."""
        self._name, self._client, self._file, self._hint = name, client, file, hint
        self._visit = visit or (by_command(client.opener) if client.opener else None)
        self._environ, self._now, self._person_s = environ, now, person_s
        self._issuers = Issuers(name, client, hint, resolver)
        self._lock = asyncio.Lock()
        self._got: tuple[str, float] = ("", float("-inf"))  # the last token that was got here, and when
        self._renewed: str | None = None  # the token that a refresh gave
        self._spared: str | None = None  # the token that was given a second time
        self._logins: deque[float] = deque(maxlen=LOGINS_MAX)

    async def token(self, challenge: str | None, shown: str | None) -> str | None:
        """The token to send; None where there is none and the server has not asked for one yet.

        `challenge`: what the server says to a request with the token `shown`, or without. Raises `Refused` and `OutsideError`.
        """
        async with self._lock:
            held = self._file.read()
            grant = held.grant
            if challenge is None:
                found = await self._current(held)
                return None if found is None else found.access
            if grant is not None and grant.access != shown and not self._over(grant):
                return grant.access  # somebody got another one meanwhile
            challenge = challenge if len(challenge) <= CHARS_MAX else ""
            said = Challenge.parse(challenge) or Challenge()
            if said.insufficient and grant is not None:
                return (await self._step_up(held, grant, said, challenge)).access
            return (await self._anew(held, said, challenge)).access

    async def login(self) -> Grant:
        """Ask a person now, whatever is held; what a server wanted and nobody was there for is asked for too."""
        async with self._lock:
            held = self._file.read()
            said = Challenge.parse(held.challenge) or Challenge()
            resource, issuer = await self._issuers.discovered(said)
            own = held.grant.scopes if held.grant is not None and held.grant.issuer == issuer.issuer else ()
            return await self._ask(held, resource, issuer, _union(own, held.wanted, self._first_scopes(said, resource)), "")

    def _over(self, grant: Grant) -> bool:
        return grant.expires is not None and grant.expires - EARLY_S <= self._now()

    async def _current(self, held: Held) -> Grant | None:
        """What is held, refreshed where its time is over; what cannot be is left for the server to ask for."""
        grant = held.grant
        if grant is None or not self._over(grant):
            return grant
        if grant.refresh is None:
            return None
        try:
            return await self._refresh(held, grant, await self._issuers.issuer(grant.issuer))
        except (Refused, NotSent):
            return None

    async def _step_up(self, held: Held, grant: Grant, said: Challenge, challenge: str) -> Grant:
        """More scopes, once for each that is new: a server that wants what it was given is not asked a second time."""
        if not set(said.scopes) - set(grant.scopes):
            raise refused("scope", "the server refuses the scopes that it asked for and that were granted", "see to the server")
        resource, issuer = await self._issuers.discovered(said)
        own = grant.scopes if grant.issuer == issuer.issuer else ()
        return await self._ask(held, resource, issuer, _union(own, said.scopes), challenge)

    async def _anew(self, held: Held, said: Challenge, challenge: str) -> Grant:
        """The server takes no token, or not this one: where to log in is asked anew, for it may have moved."""
        resource, issuer = await self._issuers.discovered(said)
        grant, scopes = held.grant, self._first_scopes(said, resource)
        if grant is not None and (grant.issuer, grant.resource) == (issuer.issuer, resource.resource):
            new = set(said.scopes) - set(grant.scopes)
            if grant.refresh is not None and not new and grant.access != self._renewed:
                with suppress(Refused):  # its time may be over, too
                    return await self._refresh(held, grant, issuer)
            if not new and self._once_more(grant):
                return grant
            scopes = _union(scopes, grant.scopes)
        return await self._ask(held, resource, issuer, scopes, challenge)

    def _once_more(self, grant: Grant) -> bool:
        """Whether that token is so new that the request may have left before it was there: it is shown again, once."""
        token, at = self._got
        late = asyncio.get_running_loop().time() - at > LATE_S
        if grant.access != token or grant.access == self._spared or late or self._over(grant):
            return False
        self._spared = token
        return True

    def _first_scopes(self, said: Challenge, resource: Protected) -> tuple[str, ...]:
        return _union(said.scopes or resource.scopes, self._client.scopes)

    async def _refresh(self, held: Held, grant: Grant, issuer: Issuer) -> Grant:
        known = self._known(held, issuer)
        if known is None or known.id != grant.client or grant.refresh is None:
            raise refused("client", "the client that the token was given to is not known any more", self._hint)
        tokens = await self._issuers.tokens(issuer, known, oauth.refreshed(grant.refresh, grant.resource))
        made = self._grant(issuer, known, grant.resource, grant.scopes, replace(tokens, refresh=tokens.refresh or grant.refresh))
        self._keep(replace(held, grant=made))
        self._renewed = made.access
        return made

    async def _ask(self, held: Held, resource: Protected, issuer: Issuer, scopes: tuple[str, ...], challenge: str) -> Grant:
        """A person is asked. Where nobody is there it is remembered what they would be asked for."""
        if "offline_access" in issuer.scopes and scopes:
            scopes = _union(scopes, ("offline_access",))
        if self._visit is None:
            self._file.write(replace(held, wanted=scopes, challenge=challenge or held.challenge))
            raise refused("login", f"`{self._name}` wants somebody to log in", self._hint)
        moment = asyncio.get_running_loop().time()
        if len(self._logins) == LOGINS_MAX and moment - self._logins[0] < WINDOW_S:
            raise refused("login", f"`{self._name}` took none of {LOGINS_MAX} tokens", f"see to the server, then {self._hint}")
        self._logins.append(moment)
        known = self._known(held, issuer)
        async with _back(self._client.redirect_port, known) as here:
            client = await self._issuers.client(known, issuer, here.redirect)
            question = Question(client, here.redirect, resource.resource, scopes, _drawn(), _drawn())
            code = await self._answered(question, issuer, here, self._visit)
        tokens = await self._issuers.tokens(issuer, client, question.exchange(code))
        made = self._grant(issuer, client, resource.resource, scopes, tokens)
        kept = {**held.clients, issuer.issuer: client} if client.redirect is not None else held.clients
        self._keep(Held(self._client.url, made, dict(list(kept.items())[-ISSUERS_MAX:]), challenge=challenge or held.challenge))
        return made

    async def _answered(self, question: Question, issuer: Issuer, here: Place, visit: Visit) -> str:
        here.is_answer = question.is_answer
        shown = asyncio.ensure_future(visit(question.url(issuer)))
        try:
            async with asyncio.timeout(self._person_s):
                either: set[asyncio.Future[Any]] = {shown, here.query}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if shown.done() and not here.query.done():
                    shown.result()  # what went wrong with showing it, now
                return question.code(await here.query, issuer)
        except TimeoutError:
            raise refused("login", f"nobody logged in within {self._person_s:g} s", self._hint) from None
        finally:
            shown.cancel()
            await asyncio.gather(shown, return_exceptions=True)

    def _known(self, held: Held, issuer: Issuer) -> Client | None:
        """Who we are there already: registered beforehand, by a document, or by the issuer, in this order."""
        own = self._client
        if own.client_id is not None and own.issuer == issuer.issuer:
            secret = self._secret()
            return Client(own.client_id, secret, oauth.method(issuer, has_secret=secret is not None))
        if own.client_metadata is not None and issuer.takes_documents:
            return Client(own.client_metadata)
        found = held.clients.get(issuer.issuer)
        return None if found is None or (found.expires is not None and found.expires <= self._now()) else found

    def _grant(self, issuer: Issuer, client: Client, resource: str, asked: tuple[str, ...], tokens: Tokens) -> Grant:
        expires = None if tokens.seconds is None else int(self._now()) + tokens.seconds
        scopes = asked if tokens.scopes is None else tokens.scopes
        return Grant(issuer.issuer, client.id, resource, tokens.access, tokens.refresh, expires, scopes)

    def _keep(self, held: Held) -> None:
        self._file.write(held)
        if held.grant is not None:
            self._got = (held.grant.access, asyncio.get_running_loop().time())

    def _secret(self) -> str | None:
        variable = self._client.client_secret
        if variable is None:
            return None
        if not self._environ.get(variable):
            raise refused("client", f"the variable `{variable}` is not set; it holds the client's secret", f"export {variable}=…")
        return self._environ[variable]


@asynccontextmanager
async def _back(port: int, known: Client | None) -> AsyncIterator[Place]:
    """Where the browser comes back to: where it was registered if that is free, for a registration names it whole."""
    registered = Url.parse(known.redirect).port if known is not None and known.redirect else 0
    async with AsyncExitStack() as stack:
        try:
            here = await stack.enter_async_context(place(port or registered))
        except OutsideError:
            if port:
                raise
            here = await stack.enter_async_context(place(0))
        yield here


def _union(*lists: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(scope for listed in lists for scope in listed))


def _drawn() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
