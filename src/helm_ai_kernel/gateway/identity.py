"""Who sends a request: each credential in it is looked up, all of them name the same one, and none goes any further.

An agent is known on the data plane only, an operator on the control plane only: neither table is ever asked for the other's.
What is refused is not said to be unknown, wrong or ended: whoever guesses learns nothing from the answer.
"""

import hmac
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from helm_ai_kernel.net.door import Peer
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.wire.head import Head

from .resource import Resource

TOKEN = re.compile(r"[A-Za-z0-9_-]{43}\Z")  # 256 random bits in base64url
IN_PATH = "/k/"  # before a token, for clients that can set nothing but a base URL
CONCURRENT = 64  # calls of one agent under way at once where nobody says otherwise: each holds a task and its arguments

_CARRIERS = ("authorization", "x-api-key")
_NO_TOKEN = digest(b"")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one agent may ask for. Without `per_s` only what is under way at once is bounded."""

    per_s: int | None = None  # calls a second, in the long run
    burst: int | None = None  # calls at once, after a rest; `per_s` where it is not said
    concurrent: int = CONCURRENT


@dataclass(frozen=True, slots=True)
class Agent:
    """A named principal, and what each of its credentials looks like from outside; no secret is here."""

    name: str
    token: Digest | None = None  # SHA-256 of the token
    uid: int | None = None
    certificate: Digest | None = None  # SHA-256 of the client certificate in DER
    owner: str | None = None  # the person's principal in the trust registry
    limits: Limits = field(default_factory=Limits)
    unattended: bool = False  # nobody is there who could be asked
    subject: str | None = None  # whose the access tokens of `[data.oauth]` are


class Agents:
    """All of them, found by what they send. No two have a credential in common: their reader refuses that."""

    def __init__(self, listed: Iterable[Agent]) -> None:
        self.by_name = {agent.name: agent for agent in listed}
        self._tokens = {agent.token: agent for agent in self.by_name.values() if agent.token is not None}
        self._uids = {agent.uid: agent for agent in self.by_name.values() if agent.uid is not None}
        self._certificates = {agent.certificate: agent for agent in self.by_name.values() if agent.certificate is not None}
        self._subjects = {agent.subject: agent for agent in self.by_name.values() if agent.subject is not None}

    def of_token(self, token: str) -> Agent | None:
        """How long this takes says something of digests at most, and those say nothing of tokens."""
        sent = digest(token.encode("latin-1"))
        found = self._tokens.get(sent)
        same = hmac.compare_digest(sent, _NO_TOKEN if found is None else found.token or _NO_TOKEN)
        return found if same else None

    def of_uid(self, uid: int) -> Agent | None:
        return self._uids.get(uid)

    def of_certificate(self, certificate: str) -> Agent | None:
        return self._certificates.get(Digest(certificate))

    def of_subject(self, subject: str) -> Agent | None:
        """`subject` is the word of an issuer that was verified."""
        return self._subjects.get(subject)


@dataclass(frozen=True, slots=True)
class DataIdentity:
    """Who may use the data plane. `agents` is asked anew for each request; `open_as` is whoever sends no credential at all."""

    agents: Callable[[], Agents]
    open_as: str | None = None  # `--insecure-open-loopback`
    resource: Resource | None = None  # access tokens of an authorization server count as well, there

    def who(self, head: Head, peer: Peer) -> tuple[Agent, Head]:
        """The agent, and the request without its credentials; raises `Refused(ERR_UNAUTHENTICATED)`."""
        signed, head = (None, head) if self.resource is None else self.resource.taken(head)
        agents, (tokens, bare) = self.agents(), carried(head, peer)
        found = [agents.of_token(token) for token in tokens]
        scopes: frozenset[str] = frozenset()
        if self.resource is not None and signed is not None:
            subject, scopes = self.resource.verify(signed)
            found.append(agents.of_subject(subject))
        if peer.certificate is not None:
            found.append(agents.of_certificate(peer.certificate))
        if peer.uid is not None and (local := agents.of_uid(peer.uid)) is not None:
            found.append(local)
        if not found and self.open_as is not None and is_local(peer) and self.open_as not in agents.by_name:
            return Agent(self.open_as), bare
        first = found[0] if found else None
        if first is None or any(one is not first for one in found):
            raise _unauthenticated("helm-ai-kernel agents add NAME")
        if self.resource is not None and signed is not None:
            self.resource.check(scopes)
        return first, bare


@dataclass(frozen=True, slots=True)
class ControlIdentity:
    """Who may use the control plane: the kernel's own user and root, on its socket, and whoever has the operator's token."""

    token: Digest
    uids: Collection[int]

    def admit(self, head: Head, peer: Peer) -> Head:
        """The request without its credentials; raises `Refused`. A wrong token beside the right user is wrong."""
        tokens, bare = carried(head, peer)
        right = [hmac.compare_digest(digest(token.encode("latin-1")), self.token) for token in tokens]
        if peer.uid is not None and not tokens:
            right.append(peer.uid in self.uids)
        if not right or not all(right):
            raise _unauthenticated("send the operator's token, or use the kernel's own control socket as its user")
        return bare


def carried(head: Head, peer: Peer) -> tuple[list[str], Head]:
    """Every token in the request, and the request without them. Raises `Refused` for a credential that is none of ours."""
    tokens = []
    if "authorization" in head.fields:
        scheme, _, token = head.fields["authorization"].partition(" ")
        tokens.append(token.strip(" ") if scheme.lower() == "bearer" else "")
    if "x-api-key" in head.fields:
        tokens.append(head.fields["x-api-key"])
    path = head.path
    if path.startswith(IN_PATH):
        token, slash, rest = path.removeprefix(IN_PATH).partition("/")
        path = slash + rest
        tokens.append(token if is_local(peer) and path else "")  # from elsewhere it would stand in the logs on the way
    if not all(TOKEN.match(token) for token in tokens):
        raise _unauthenticated("send the token as it was shown: `Authorization: Bearer TOKEN`")
    left = {name: value for name, value in head.fields.items() if name not in _CARRIERS}
    return tokens, replace(head, path=path or "/", fields=left)


def is_local(peer: Peer) -> bool:
    """On this machine, as its system says: a unix socket, or an address of the loopback."""
    if peer.uid is not None:
        return True
    host = peer.address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _unauthenticated(hint: str) -> Refused:
    return Refused(Reason.ERR_UNAUTHENTICATED, "no credential of this request is known here, or not all name the same", hint=hint)
