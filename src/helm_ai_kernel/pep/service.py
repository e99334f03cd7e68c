"""The source kinds `http` and `mcp-http`: where they are, and which addresses may be dialled. All of it is pinned, none guessed.

An operation can change neither scheme, host, port nor base path. Values of secrets are no part of it: it names environment
variables of the kernel. `docs/spec/connector-http.md` is the specification.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from helm_ai_kernel.tcb import fields
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json

from .address import DIALLED, AddressClass, check_host, classify, is_literal

BASE_CHARS_MAX = 1024
SECRETS_MAX = 8
WELL_KNOWN = 1024  # below it only HTTP's own ports: what is sent to an SMTP or SSH server is no request
PORTS = {"http": 80, "https": 443}
_COMMON = ("addresses", "secrets", "ca")

_BASE = re.compile(r"(https?)://(\[[0-9a-f:.]{2,45}\]|[^/:@?#\[\]\\%]{1,253})(?::([1-9][0-9]{0,4}))?((?:/[A-Za-z0-9._~-]+)*)\Z")
_ENDED = re.compile(r"(.*[^/])/\Z", re.DOTALL)
_HEADER = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_FILE = re.compile(r"/[^\0\r\n]{1,1023}\Z")
# What frames a message, names its place or says how it is encoded is the kernel's alone; nothing is cached or remembered.
_OURS = frozenset(
    {
        "host", "content-length", "content-encoding", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade",
        "expect", "accept-encoding", "cookie", "range", "via", "forwarded", "http2-settings",
    }
)  # fmt: skip
_MCPS = frozenset({"accept", "last-event-id", "traceparent", "tracestate"})
_OURS_PREFIXES = ("proxy-", "sec-", "if-", "x-forwarded-")


@dataclass(frozen=True, slots=True)
class Service:
    """`path` is empty or begins with `/`, and of an API does not end with one. `secrets`: names of headers and of variables."""

    scheme: str
    host: str  # without brackets
    port: int
    path: str
    addresses: frozenset[AddressClass]
    secrets: tuple[tuple[str, str], ...]
    ca: str | None
    tls_key: str | None = None  # the digest of the server's public key (SPKI), where it is pinned

    @property
    def authority(self) -> str:
        """What `Host` says."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return shown if self.port == PORTS[self.scheme] else f"{shown}:{self.port}"

    @classmethod
    def from_json(cls, value: Json) -> "Service":
        """Of kind `http`: `base` and what is common. Raises `EvidenceError`."""
        body = fields.exact(value, {"kind", "base", *_COMMON})
        return cls._of(body, "base", None)

    @classmethod
    def of_mcp(cls, value: Json) -> "Service":
        """Of kind `mcp-http`: `url` is the one place that messages go to, and `tls_key` perhaps whose key is there."""
        body = fields.exact(value, {"kind", "url", *_COMMON}, {"instructions", "tls_key"})
        service = cls._of(body, "url", fields.digest(body, "tls_key") if "tls_key" in body else None)
        if any(name in _MCPS or name.startswith("mcp-") for name, _ in service.secrets):
            raise fields.wrong("a secret is sent in a header that is MCP's own")
        return service

    @classmethod
    def _of(cls, body: Mapping[str, Json], where: str, tls_key: str | None) -> "Service":
        said = fields.text(body, where, bytes_max=BASE_CHARS_MAX)
        ended = _ENDED.match(said) if where == "url" else None  # an endpoint is taken as it is, also with a `/` at its end
        scheme, host, port, path = _base(ended[1] if ended else said, where)
        path += "/" if ended else ""
        addresses = _addresses(fields.strings(body, "addresses"))
        if scheme == "http" and AddressClass.GLOBAL in addresses:
            raise fields.wrong(f"`{where}` is not https: across the internet anybody on the way could read secrets and answer")
        if is_literal(host) and classify(host) not in addresses:
            raise fields.wrong(f"`{where}` is a {classify(host)} address, and `addresses` does not name that class")
        ca = body["ca"]
        if ca is not None and not (type(ca) is str and _FILE.match(ca) and scheme == "https"):
            raise fields.wrong("field `ca` is neither null nor, with https, the absolute path of a file of certificates")
        if tls_key is not None and scheme != "https":
            raise fields.wrong("field `tls_key` is of https only")
        secrets = _secrets(fields.typed(body, "secrets", dict))
        return cls(scheme, host, port, path, addresses, secrets, ca, tls_key)


def check_header(name: str) -> str:
    """`name` as a header field that a pin may set; raises `EvidenceError`."""
    if not _HEADER.match(name) or name in _OURS or name.startswith(_OURS_PREFIXES):
        raise fields.wrong(f"`{name[:64]}` is no header that a pin may set: lower case, and none that frames or routes a message")
    return name


def _base(text: str, where: str) -> tuple[str, str, int, str]:
    found = _BASE.match(text)
    if found is None:
        raise fields.wrong(
            f"field `{where}` is not `https://host[:port][/path]`, without user, query, fragment and a `/` at the end"
        )
    scheme, host, written, path = found.groups()
    port = int(written or PORTS[scheme])
    if written and port == PORTS[scheme]:
        raise fields.wrong(f"field `{where}` names the port that it has anyway")
    if port > 65535 or (port < WELL_KNOWN and port not in PORTS.values()):
        raise fields.wrong(f"port {port} is not HTTP's: 80, 443, or {WELL_KNOWN} and above")
    if any(segment in (".", "..") for segment in path.split("/")):
        raise fields.wrong(f"field `{where}` has `.` or `..` in its path")
    if host.startswith("[") != (":" in host):
        raise fields.wrong("an IPv6 address stands in brackets, and nothing else does")
    try:
        return scheme, check_host(host.strip("[]")), port, path
    except Refused as refused:
        raise fields.wrong(f"field `{where}`: {refused.detail}") from None


def _addresses(names: tuple[str, ...]) -> frozenset[AddressClass]:
    allowed = {kind.value for kind in DIALLED}
    if not names or list(names) != sorted(set(names)) or not set(names) <= allowed:
        raise fields.wrong(f"field `addresses` is not a sorted list of some of {', '.join(sorted(allowed))}")
    return frozenset(AddressClass(name) for name in names)


def _secrets(value: dict[str, Json]) -> tuple[tuple[str, str], ...]:
    if len(value) > SECRETS_MAX:
        raise fields.wrong(f"field `secrets` has more than {SECRETS_MAX} members")
    for name in value:
        if check_header(name) == "content-type" or not _VARIABLE.match(fields.text(value, name)):
            raise fields.wrong(f"the secret `{name[:64]}` does not name an environment variable")
    return tuple(sorted((name, str(variable)) for name, variable in value.items()))
