"""Signing through the ssh-agent: the secret stays with the agent, which may ask its person first.

The agent protocol (draft-ietf-sshm-ssh-agent §3) over a unix socket; only `ssh-ed25519`, whose signatures are over the raw
bytes. A signature that the agent returns is verified before it is believed.
"""

import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.keys import SIG_BYTES, PublicKey, Purpose

from . import openssh
from .files import unavailable

LIST_S = 5.0  # an agent answers this from memory
SIGN_S = 120.0  # a person may have to confirm
ANSWER_BYTES_MAX = 256 << 10  # OpenSSH's own bound on agent messages
_REQUEST_IDENTITIES, _IDENTITIES, _SIGN_REQUEST, _SIGN_RESPONSE = 11, 12, 13, 14
_HINT = "start one and add the key: eval $(ssh-agent); ssh-add FILE"


@dataclass(frozen=True, slots=True)
class Identity:
    """An Ed25519 key that the agent holds."""

    raw: bytes
    comment: str

    @property
    def fingerprint(self) -> str:
        return openssh.fingerprint(self.raw)


class Agent:
    """One agent. Each request is a connection of its own, with a deadline; all failures are `OutsideError`."""

    def __init__(self, path: str, *, list_s: float = LIST_S, sign_s: float = SIGN_S) -> None:
        self._path = path
        self._list_s = list_s
        self._sign_s = sign_s

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Agent":
        path = environ.get("SSH_AUTH_SOCK", "")
        if not path:
            raise unavailable("no ssh-agent: SSH_AUTH_SOCK is not set", _HINT)
        return cls(path)

    def identities(self) -> tuple[Identity, ...]:
        """The agent's Ed25519 keys, in its order; keys of other types are left out."""
        body = self._ask(bytes([_REQUEST_IDENTITIES]), _IDENTITIES, self._list_s)
        try:
            parts = list(openssh.strings(body[4:]))
        except ValueError:
            raise unavailable("the agent's list of keys is cut off", _HINT) from None
        if len(body) < 4 or len(parts) != 2 * int.from_bytes(body[:4], "big"):
            raise unavailable("the agent's list of keys has another length than it says", _HINT)
        pairs = zip(parts[::2], parts[1::2], strict=True)
        found = ((openssh.raw_public(blob), comment.decode("utf-8", "replace")) for blob, comment in pairs)
        return tuple(Identity(raw, comment) for raw, comment in found if raw is not None)

    def sign(self, public: PublicKey, message: bytes) -> bytes:
        """64 bytes that verify."""
        ask = bytes([_SIGN_REQUEST]) + openssh.string(openssh.blob(public.raw)) + openssh.string(message) + bytes(4)
        body = self._ask(ask, _SIGN_RESPONSE, self._sign_s)
        try:
            (answer,) = openssh.strings(body)
            kind, sig = openssh.strings(answer)
        except ValueError:
            raise unavailable("the agent's answer is no signature", _HINT) from None
        if kind != openssh.KEY_TYPE or len(sig) != SIG_BYTES:
            raise unavailable("the agent's answer is no Ed25519 signature", _HINT)
        try:
            public.verify(message, sig)
        except EvidenceError:
            raise unavailable("the agent's signature does not verify", "use another agent") from None
        return sig

    def _ask(self, request: bytes, answer: int, within_s: float) -> bytes:
        """The body of an answer of that type."""
        until = time.monotonic() + within_s
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(within_s)
                connection.connect(self._path)
                connection.sendall(openssh.string(request))
                size = int.from_bytes(_exactly(connection, 4, until), "big")
                if not 0 < size <= ANSWER_BYTES_MAX:
                    raise unavailable("the agent's answer has an impossible length", _HINT)
                body = _exactly(connection, size, until)
        except TimeoutError:
            raise unavailable("the agent did not answer in time", "confirm the request, or unlock the agent") from None
        except (OSError, ValueError) as error:  # ValueError: a path that is no path
            cause = (getattr(error, "strerror", None) or "not a socket").lower()
            raise unavailable(f"the agent at `{self._path}` cannot be reached: {cause}", _HINT) from None
        if body[0] != answer:
            raise unavailable("the agent refused", "unlock it (ssh-add -X), confirm the request, and look: ssh-add -l")
        return body[1:]


@dataclass(frozen=True, slots=True)
class AgentSigner:
    """A `Signer` whose secret is the agent's."""

    agent: Agent
    public: PublicKey

    def sign(self, message: bytes) -> bytes:
        """Raises `OutsideError(ERR_SIGNER_UNAVAILABLE)`."""
        return self.agent.sign(self.public, message)


def find(known: Sequence[PublicKey], agent: Agent | None = None) -> AgentSigner:
    """The first of these keys that the agent (by default that of the environment) holds."""
    agent = agent or Agent.from_environment(os.environ)
    held = {identity.raw for identity in agent.identities()}
    for public in known:
        if public.raw in held:
            return AgentSigner(agent, public)
    names = ", ".join(openssh.fingerprint(public.raw) for public in known) or "any key"
    raise unavailable(f"the agent does not hold {names}", "ssh-add FILE, then look: ssh-add -l")


def by_fingerprint(fingerprint: str, purpose: Purpose, agent: Agent | None = None) -> AgentSigner:
    """The key that `ssh-add -l` lists so (`SHA256:…`). Raises also `EvidenceError(KEY_WEAK)`."""
    agent = agent or Agent.from_environment(os.environ)
    for identity in agent.identities():
        if identity.fingerprint == fingerprint:
            return AgentSigner(agent, PublicKey.register(identity.raw, purpose))
    raise unavailable(f"the agent does not hold an Ed25519 key `{fingerprint[:64]}`", "ssh-add FILE, then look: ssh-add -l")


def _exactly(connection: socket.socket, size: int, until: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        connection.settimeout(max(until - time.monotonic(), 0.001))  # 0 would mean: do not wait at all
        piece = connection.recv(size - len(data))
        if not piece:
            raise unavailable("the agent closed the connection", _HINT)
        data += piece
    return bytes(data)
