"""What a door is to whoever listens for it, and how much and how slowly may be sent to one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from helm_ai_kernel.guardian.reasons import hint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.wire.head import Head, Sizes, Wrong
from helm_ai_kernel.wire.reply import Reply, refusal


def _here() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as this machine's own system says it."""

    address: str  # "127.0.0.1:51234", "[::1]:51234"; "" on a unix socket
    uid: int | None = None  # of the process at the other end of a unix socket
    certificate: str | None = None  # "sha256:…" of the client's TLS certificate (DER), which was verified
    here: Callable[[], bool] = field(default=_here, compare=False, repr=False)  # whether somebody still waits for an answer


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of everything that somebody else decides."""

    sizes: Sizes = field(default_factory=Sizes)
    head_s: float = 10.0  # from the first byte of a request to the end of its header; also for TLS, and before a first byte
    body_s: float = 60.0  # from there to the end of its body
    body_rate: int = 1 << 10  # bytes a second, behind the first `head_s`: nobody holds a connection by sending slowly
    idle_s: float = 60.0  # between two requests on one connection
    write_s: float = 30.0  # until a client has taken what fills its buffer of 64 KiB
    linger_s: float = 2.0  # for the last answer to arrive while a client still sends what nobody reads
    linger_bytes: int = 1 << 20  # of that
    connections: int = 512  # by TCP, as at unix sockets; a process has 1,024 files, and a store needs some
    peer_connections: int = 256  # of one address, or of one user on a unix socket
    held_bytes: int = 64 << 20  # of requests that are not answered yet, over all of those connections


class Door(Protocol):
    """What answers. `admit` and `refused` are called in the listener's loop and must not wait."""

    def admit(self, head: Head, peer: Peer) -> Reply | None:
        """Before one byte of the body is read: a reply that ends it, or None to go on."""
        ...

    async def answer(self, head: Head, body: bytes, peer: Peer) -> Reply:
        """Its work is the kernel's, not the connection's: a client that goes away does not end it. Raises for nothing that
        a client can send."""
        ...

    def refused(self, reason: Reason, peer: Peer) -> None:
        """The listener itself said no."""
        ...


def shaped(wrong: Wrong) -> Reply:
    """The answer to what the listener refuses, in the form of all doors."""
    return refusal(wrong.reason, wrong.detail, hint=hint(wrong.reason), status=wrong.status)
