"""Where a door may listen. This machine's own addresses are open to its users; every other one to whoever is near.

The rule is about the address that is bound, as it is written: nothing is resolved, and an address that only leads back to this
machine by way of another one (`0.0.0.0`, `::`, `::ffff:127.0.0.1`, a bridge) is none of its own.
"""

import errno
import ipaddress
import os
import socket

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

BACKLOG = 256  # connections that the system keeps until they are accepted
LOCALHOST = "127.0.0.1"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    address = ipaddress.ip_address(host)
    return address.is_loopback and getattr(address, "ipv4_mapped", None) is None


def checked(host: str, *, tls: bool, authenticates: bool) -> str:
    """The address to bind, without brackets; raises `OutsideError` where it may not be or is none."""
    bare = LOCALHOST if host.lower() == "localhost" else host.removeprefix("[").removesuffix("]")
    try:
        loopback = is_loopback(bare)
    except ValueError:
        detail = f"`{host}` is no address: names are not looked up to listen at them"
        raise OutsideError(Reason.ERR_POLICY_NOT_READY, detail, hint=f"listen at {LOCALHOST}") from None
    if not loopback and not (tls and authenticates):
        missing = " and ".join(word for word, there in (("TLS", tls), ("authentication", authenticates)) if not there)
        detail = f"other machines can reach `{host}`, and there is no {missing}"
        raise OutsideError(Reason.ERR_UNAUTHENTICATED, detail, hint=f"listen at {LOCALHOST}, or configure {missing}")
    return bare


def written(host: str) -> str:
    """An address as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; raises `OutsideError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # said: or asyncio waits 40 ms before a second answer
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # `::` is not `0.0.0.0`, too
        sock.setblocking(False)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        where = f"{written(host)}:{port}"
        if error.errno == errno.EADDRINUSE:
            detail = f"another process listens at `{where}`"
            raise OutsideError(Reason.ERR_STORE_LOCKED, detail, hint="stop that one, or listen at another port") from None
        detail = f"cannot listen at `{where}`: {os.strerror(error.errno or 0).lower()}"
        raise OutsideError(Reason.ERR_POLICY_NOT_READY, detail, hint="name an address of this machine") from None
    except BaseException:
        sock.close()
        raise
    return sock
