"""From the name of a host to the addresses that may be dialled: one lookup for a connection, and every answer judged.

One denied address among the answers denies the name: who can add it to an answer chooses which one is used (faults 9.16). What
comes out is dialled as it is, by its number: nobody looks the name up a second time.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from helm_ai_kernel.pep.address import AddressClass, classify, denied, is_literal
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

LOOKUP_S = 5.0  # a resolver of the system asks twice in that time
LOOKUPS_MAX = 8  # threads that wait for the system's resolver, which nothing can interrupt
ADDRESSES_MAX = 8  # of one answer; the rest is judged and not dialled

Lookup = Callable[[str, int], Sequence[str]]


class NotSent(OutsideError):
    """No byte of the request was handed to the system. `sub` is a short word for a receipt."""

    def __init__(self, sub: str, detail: str, *, hint: str = "look whether it runs and is reachable") -> None:
        super().__init__(Reason.ERR_CONNECTOR_FAILED, detail, hint=hint)
        self.sub = sub


def system(host: str, port: int) -> Sequence[str]:
    """What the system's resolver says, `/etc/hosts` included; raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(place[0]) + ("%" if len(place) == 4 and place[3] and "%" not in str(place[0]) else "") for *_, place in found]


class Resolver:
    """`lookup` runs in a daemon thread of its own: one that hangs keeps neither the loop nor the process."""

    def __init__(self, lookup: Lookup = system, *, within_s: float = LOOKUP_S) -> None:
        self._lookup = lookup
        self._within_s = within_s
        self._lock = threading.Lock()
        self._running = 0

    async def resolve(self, host: str, port: int, allowed: Collection[AddressClass]) -> tuple[str, ...]:
        """Addresses of allowed classes only; raises `Refused(ERR_EGRESS_DENIED)` and `NotSent`."""
        answers = [host] if is_literal(host) else await self._answers(host, port)
        for answer in answers:
            check(host, answer, allowed)
        return tuple(dict.fromkeys(answers))[:ADDRESSES_MAX]

    async def _answers(self, host: str, port: int) -> Sequence[str]:
        with self._lock:
            if self._running >= LOOKUPS_MAX:
                raise _failed(host, f"{LOOKUPS_MAX} lookups of names hang already")
            self._running += 1
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Sequence[str] | str] = loop.create_future()
        threading.Thread(target=self._run, args=(host, port, loop, found), name="helm-lookup", daemon=True).start()
        try:
            async with asyncio.timeout(self._within_s):
                answers = await found
        except TimeoutError:
            raise _failed(host, f"it was not found within {self._within_s:g} s") from None
        if isinstance(answers, str) or not answers:
            raise _failed(host, answers if isinstance(answers, str) and answers else "it has no address")
        return answers

    def _run(self, host: str, port: int, loop: asyncio.AbstractEventLoop, found: "asyncio.Future[Sequence[str] | str]") -> None:
        answers: Sequence[str] | str
        try:
            answers = self._lookup(host, port)
        except (OSError, ValueError) as error:  # ValueError: a name that IDNA does not take
            answers = str(getattr(error, "strerror", "") or "it cannot be looked up").lower()
        finally:
            with self._lock:
                self._running -= 1
        with suppress(RuntimeError):  # the loop ended meanwhile; nobody waits
            loop.call_soon_threadsafe(_settle, found, answers)


def check(host: str, address: str, allowed: Collection[AddressClass]) -> None:
    """Raises `Refused(ERR_EGRESS_DENIED)` unless the address is of an allowed class."""
    kind = classify(address)
    if kind not in allowed:
        raise denied(kind.value, f"`{host}` is at a {kind} address")


def check_peer(host: str, sock: socket.socket, address: str, allowed: Collection[AddressClass]) -> None:
    """Raises `Refused(ERR_EGRESS_DENIED)` unless the other end of the connection is the address that was vetted."""
    peer = str(sock.getpeername()[0])
    check(host, peer, allowed)
    if _number(peer) != _number(address):
        raise denied("peer", f"the connection to `{host}` is to another address than the one that was dialled")


def _number(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _settle(found: "asyncio.Future[Sequence[str] | str]", answers: Sequence[str] | str) -> None:
    if not found.done():
        found.set_result(answers)


def _failed(host: str, cause: str) -> NotSent:
    return NotSent("name", f"`{host}`: {cause}", hint=f"look what the name says: getent ahosts {host}")
