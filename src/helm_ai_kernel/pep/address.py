"""Which kind of place an address is, by one table of our own: a connection is made only to kinds that a person signed for.

The standard library's `is_global` and `is_private` changed with its versions, and know neither what an address embeds nor where
clouds keep their credentials (faults 9.15). `ipaddress` is used to parse, and for nothing else. What the table does not know is
reserved, and what cannot be parsed is refused.
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.findings import visible

NAME_CHARS_MAX = 253  # RFC 1035 §2.3.4, as text


class AddressClass(StrEnum):
    GLOBAL = "global"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    SHARED = "shared"  # RFC 6598: between a carrier and its customers, and what clouds and VPNs use inside
    LINK_LOCAL = "link-local"
    METADATA = "metadata"  # where clouds answer whoever asks with credentials of the machine
    MULTICAST = "multicast"
    UNSPECIFIED = "unspecified"  # "this host": a connection to it reaches this machine
    DOCUMENTATION = "documentation"
    RESERVED = "reserved"


# The others are nobody's API: no catalogue can name them.
DIALLED = frozenset(
    {AddressClass.GLOBAL, AddressClass.LOOPBACK, AddressClass.PRIVATE, AddressClass.SHARED, AddressClass.LINK_LOCAL}
)

# IANA IPv4 Special-Purpose Address Registry, multicast, and the addresses of metadata services. The narrowest range counts.
_FOUR = {
    "0.0.0.0/8": AddressClass.UNSPECIFIED,
    "10.0.0.0/8": AddressClass.PRIVATE,
    "100.64.0.0/10": AddressClass.SHARED,
    "100.100.100.200/32": AddressClass.METADATA,  # Alibaba Cloud
    "127.0.0.0/8": AddressClass.LOOPBACK,
    "168.63.129.16/32": AddressClass.METADATA,  # Azure's wire server, in public space
    "169.254.0.0/16": AddressClass.LINK_LOCAL,
    "169.254.42.42/32": AddressClass.METADATA,  # Scaleway
    "169.254.169.0/24": AddressClass.METADATA,  # .254 nearly everywhere; .253, .123 and others of AWS
    "169.254.170.0/24": AddressClass.METADATA,  # AWS ECS (.2) and EKS (.23)
    "169.254.0.23/32": AddressClass.METADATA,  # Tencent Cloud
    "172.16.0.0/12": AddressClass.PRIVATE,
    "192.0.0.0/24": AddressClass.RESERVED,
    "192.0.0.192/32": AddressClass.METADATA,  # Oracle Cloud, classic
    "192.0.2.0/24": AddressClass.DOCUMENTATION,
    "192.31.196.0/24": AddressClass.RESERVED,  # AS112
    "192.52.193.0/24": AddressClass.RESERVED,  # AMT
    "192.88.99.0/24": AddressClass.RESERVED,  # 6to4 relays, deprecated
    "192.168.0.0/16": AddressClass.PRIVATE,
    "192.175.48.0/24": AddressClass.RESERVED,  # AS112
    "198.18.0.0/15": AddressClass.RESERVED,  # benchmarks
    "198.51.100.0/24": AddressClass.DOCUMENTATION,
    "203.0.113.0/24": AddressClass.DOCUMENTATION,
    "224.0.0.0/4": AddressClass.MULTICAST,
    "240.0.0.0/4": AddressClass.RESERVED,  # with the limited broadcast
}
# IANA IPv6 Special-Purpose Address Registry. Only 2000::/3 is allocated as global unicast: all the rest is reserved.
_SIX = {
    "::/0": AddressClass.RESERVED,
    "2000::/3": AddressClass.GLOBAL,
    "::/128": AddressClass.UNSPECIFIED,
    "::1/128": AddressClass.LOOPBACK,
    "2001::/23": AddressClass.RESERVED,  # protocol assignments: ORCHID, benchmarks, AS112, AMT and others
    "2001:db8::/32": AddressClass.DOCUMENTATION,
    "2620:4f:8000::/48": AddressClass.RESERVED,  # AS112
    "3fff::/20": AddressClass.DOCUMENTATION,
    "fc00::/7": AddressClass.PRIVATE,
    "fd00:42::42/128": AddressClass.METADATA,  # Scaleway
    "fd00:c1::a9fe:a9fe/128": AddressClass.METADATA,  # Oracle Cloud
    "fd00:100::100:200/128": AddressClass.METADATA,  # Alibaba Cloud
    "fd00:a9fe:a9fe::1/128": AddressClass.METADATA,  # Akamai (Linode)
    "fd00:ec2::/32": AddressClass.METADATA,  # AWS (::254), EKS (::23)
    "fd20:ce::254/128": AddressClass.METADATA,  # Google Cloud
    "fe80::/10": AddressClass.LINK_LOCAL,
    "fec0::/10": AddressClass.PRIVATE,  # site-local, deprecated
    "ff00::/8": AddressClass.MULTICAST,
}
# Where an IPv6 address embeds an IPv4 one: its prefix, how far from the right, and whether its bits are inverted.
_EMBEDDED = (
    ("::ffff:0:0/96", 0, False),  # IPv4-mapped
    ("::ffff:0:0:0/96", 0, False),  # IPv4-translated, RFC 2765
    ("64:ff9b::/96", 0, False),  # NAT64, RFC 6052
    ("2002::/16", 80, False),  # 6to4
    ("2001::/32", 64, False),  # Teredo: the server
    ("2001::/32", 0, True),  # Teredo: the client
)
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})  # RFC 5214: above an embedded IPv4 address, whatever the prefix
_ALL_32 = (1 << 32) - 1

_FOUR_NETWORKS = sorted(((IPv4Network(net), kind) for net, kind in _FOUR.items()), key=lambda item: -item[0].prefixlen)
_SIX_NETWORKS = sorted(((IPv6Network(net), kind) for net, kind in _SIX.items()), key=lambda item: -item[0].prefixlen)
_EMBEDDED_NETWORKS = tuple((IPv6Network(net), shift, inverted) for net, shift, inverted in _EMBEDDED)

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_NUMBER = re.compile(r"([0-9]+|0x[0-9a-f]*)\Z")  # in the last label: some readers take the whole for an IPv4 address
_FOUR_LITERAL = re.compile(r"(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}\Z")


def classify(text: str) -> AddressClass:
    """The class of an address as a resolver writes it; raises `Refused(ERR_EGRESS_DENIED)` for what is not understood.

    An address with a scope (`fe80::1%eth0`) is refused: which network it means is this machine's affair. One that embeds
    another is of the class of that, and of the first that is not global where it embeds two.
    """
    address = _parsed(text)
    if isinstance(address, IPv4Address):
        return _of_four(address)
    embedded = _embedded(address)
    if any(address in network for network, _, _ in _EMBEDDED_NETWORKS):
        return _least(_of_four(inner) for inner in embedded)
    own = next(kind for network, kind in _SIX_NETWORKS if address in network)
    return _least([own, *(_of_four(inner) for inner in embedded)])


def check_host(text: str) -> str:
    """`text` as the one way to write that host: a DNS name in lower-case LDH, or an address in its canonical form.

    Everything that another reader could take for another place is refused: `127.1`, `0x7f.1`, `2130706433`, digits and dots
    beyond ASCII, a dot at the end, a percent sign, a user, a port. An IPv6 address stands here without brackets.
    """
    if ":" in text:
        address = _parsed(text)
        if text != address.compressed or address in _EMBEDDED_NETWORKS[0][0]:
            raise denied("host", f"write the address `{visible(text, 64)}` in its canonical form, an IPv4 address as such")
        return text
    if _FOUR_LITERAL.match(text):
        return str(_parsed(text))
    labels = text.split(".")
    if len(text) > NAME_CHARS_MAX or not all(_LABEL.match(label) for label in labels) or _NUMBER.match(labels[-1]):
        detail = "is neither a DNS name in lower-case letters, digits and `-` nor an address in its canonical form"
        raise denied("host", f"`{visible(text, 64)}` {detail}")
    return text


def is_literal(host: str) -> bool:
    """Whether a host that `check_host` accepts is an address already."""
    return ":" in host or bool(_FOUR_LITERAL.match(host))


def denied(sub: str, detail: str) -> Refused:
    hint = "classes that may be dialled are pinned with the server: `addresses`, see `docs/spec/connector-http.md`"
    return Refused(Reason.ERR_EGRESS_DENIED, detail, sub=sub, hint=hint)


def _parsed(text: str) -> IPv4Address | IPv6Address:
    try:
        if "%" in text or not text.isascii():
            raise ValueError(text)
        return ip_address(text)
    except ValueError:
        raise denied("address", f"`{visible(text, 64)}` is no address that is understood here") from None


def _of_four(address: IPv4Address) -> AddressClass:
    return next((kind for network, kind in _FOUR_NETWORKS if address in network), AddressClass.GLOBAL)


def _embedded(address: IPv6Address) -> list[IPv4Address]:
    value = int(address)
    found = [
        IPv4Address(((value >> shift) & _ALL_32) ^ (_ALL_32 if inverted else 0))
        for network, shift, inverted in _EMBEDDED_NETWORKS
        if address in network
    ]
    if (value >> 32) & _ALL_32 in _ISATAP:
        found.append(IPv4Address(value & _ALL_32))
    return found


def _least(kinds: Iterable[AddressClass]) -> AddressClass:
    return next((kind for kind in kinds if kind is not AddressClass.GLOBAL), AddressClass.GLOBAL)
