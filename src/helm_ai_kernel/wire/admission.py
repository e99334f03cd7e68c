"""Who may knock: the names of a door, the origins of pages that may use it, and the types of what is sent to it.

A page in a browser can send requests to this machine. It cannot choose its `Host` and `Origin`, and without asking first it
cannot send JSON as JSON: so exact lists of these end it before one byte of a body is read (rebinding, cross-site requests).
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from helm_ai_kernel.tcb.codes import Reason

from .head import WITH_BODY, Head, Wrong

JSON_TYPES = frozenset({"application/json"})

_TYPE = re.compile(r"([a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+)(?:[ \t]*;[ \t]*charset=(?:utf-8|\"utf-8\"))?")


@dataclass(frozen=True, slots=True)
class Admission:
    """`hosts`, `origins` and `types` are compared exactly, in lower case. No `types`: the door judges them itself."""

    hosts: frozenset[str]
    origins: frozenset[str] = frozenset()
    types: frozenset[str] = JSON_TYPES

    def check(self, head: Head) -> None:
        """Raises `Wrong`."""
        if head.host not in self.hosts:
            raise Wrong(Reason.ERR_HOST_FORBIDDEN, "the `Host` is no name of this door")
        if "origin" in head.fields and head.fields["origin"].lower() not in self.origins:
            raise Wrong(Reason.ERR_ORIGIN_FORBIDDEN, "the `Origin` is not this door's own")
        if self.types and head.method in WITH_BODY and head.has_body:
            kind = _TYPE.fullmatch(head.fields.get("content-type", "").lower())
            if kind is None or kind[1] not in self.types:
                listed = ", ".join(sorted(self.types))
                raise Wrong(Reason.ERR_BODY_ENCODING, f"the `Content-Type` is not {listed}, in UTF-8")


def names(host: str, port: int, more: Collection[str] = (), *, tls: bool = False) -> frozenset[str]:
    """What `Host` may be at an address: itself, `localhost` where it is this machine's own, and `more`, with its port or without.

    `host` as it is written in a URL. The port of the scheme may be left out, as browsers do.
    """
    loopback = host.startswith("127.") or host == "[::1]"
    own = [host, *(["localhost"] if loopback else [])]
    named = {f"{name}:{port}" for name in own} | {name.lower() for name in more}
    named |= {f"{name.lower()}:{port}" for name in more if not re.search(r":[0-9]+\Z", name)}
    return frozenset(named | (set(own) if port == (443 if tls else 80) else set()))


def origins(hosts: Collection[str], *, tls: bool = False) -> frozenset[str]:
    """The origins of pages that come from these hosts themselves."""
    return frozenset(f"{'https' if tls else 'http'}://{host}" for host in hosts)
