"""The two eras of MCP from the client's end: how each says hello, what a request of each carries, and what its results mean.

Legacy is the handshake `initialize` (up to 2025-11-25), modern is without state (2026-07-28): every request says its revision and
what its caller can be asked. What a caller decided on is spliced in as it stands and never written again; of `_meta` only what is
the connection's own is ours: what says who asks, how, and under which token.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical

from .span import elements, members

REVISION = "2025-11-25"  # the one that we offer in the handshake
REVISIONS = frozenset({REVISION, "2025-06-18", "2025-03-26", "2024-11-05"})  # list and call are the same in all of them
MODERN = "2026-07-28"
KEY_META = "ai.helm/idempotency-key"
META = "io.modelcontextprotocol/"
SUBSCRIPTION_META = META + "subscriptionId"
TEXT_CHARS_MAX = 256  # of what a server calls itself
PAGES_MAX = 64  # of a tool list: a server may otherwise send pages for ever
TOOLS_MAX = 4096
LIST_BYTES_MAX = 16 << 20  # all pages together
UNSUPPORTED = -32022  # 2026-07-28: not this revision; `data.supported` says which

# The methods beside `tools/call` that are forwarded; everything else is the kernel's own to ask, or nobody's.
METHODS = frozenset(
    {
        "completion/complete", "logging/setLevel", "prompts/get", "prompts/list", "resources/list", "resources/read",
        "resources/subscribe", "resources/templates/list", "resources/unsubscribe", "subscriptions/listen",
    }
)  # fmt: skip

_OURS = frozenset({"progressToken", KEY_META, *(META + name for name in ("protocolVersion", "clientCapabilities", "clientInfo"))})
_OURS |= {META + "logLevel"}
_RESULTS = frozenset({"complete", "input_required"})


class Era(StrEnum):
    LEGACY = "legacy"
    MODERN = "modern"


# By definition of the protocol these say that the request was not begun: JSON-RPC 2.0 §5.1 (method not found, invalid params),
# and 2026-07-28 (headers differ from the body, a capability of the client is missing, no such revision).
_REJECTED = frozenset({-32601, -32602})
NOT_BEGUN = {Era.LEGACY: _REJECTED, Era.MODERN: _REJECTED | {-32020, -32021, UNSUPPORTED}}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of itself; nothing of it is a reason to trust it."""

    name: str
    version: str
    capabilities: dict[str, Json] = field(repr=False)
    instructions: str = field(repr=False)  # "" where it gives none
    era: Era
    revision: str


@dataclass(frozen=True, slots=True)
class Order:
    """One request as it was decided on. `name` is a tool, or with a `/` a method, whose params `args` are.

    `inputs` is an object whose members stand beside the name and the arguments. `relayed`: somebody listens and may be asked.
    """

    name: str
    args: bytes = field(repr=False)
    key: str | None = None
    inputs: bytes | None = field(default=None, repr=False)
    relayed: bool = False
    capabilities: bytes = b"{}"
    level: str | None = None
    handshake: bool = False  # `initialize`, the one method whose name could be a tool's

    @property
    def method(self) -> str:
        return self.name if "/" in self.name or self.handshake else "tools/call"


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who asks: the kernel, by name and version, in one era."""

    name: str
    version: str
    era: Era = Era.LEGACY

    @property
    def info(self) -> bytes:
        return canonical({"name": self.name, "version": self.version})

    def hello(self, capabilities: bytes) -> bytes:
        """The params of `initialize`."""
        return b'{"protocolVersion":"%s","capabilities":%s,"clientInfo":%s}' % (REVISION.encode(), capabilities, self.info)

    def params(self, order: Order, token: int) -> bytes:
        """The params of a request; raises `Refused` where two members would have one name."""
        said = order.args
        if "/" not in order.name:
            said = b'{"name":%s,"arguments":%s}' % (canonical(order.name), order.args)
        meta = list(self._meta(order, token))
        if b'"_meta"' in said and "/" in order.name:
            said, theirs = _without_meta(said)
            meta = [*theirs, *meta]
        if order.inputs is not None:
            said = joined(said, order.inputs)
        return joined(said, b'{"_meta":{%s}}' % b",".join(meta)) if meta else said

    def _meta(self, order: Order, token: int) -> Iterable[bytes]:
        if order.key is not None:
            yield _member(KEY_META, canonical(order.key))
        if order.relayed:
            yield _member("progressToken", b"%d" % token)
        if self.era is Era.MODERN:
            yield _member(META + "protocolVersion", canonical(MODERN))
            yield _member(META + "clientCapabilities", order.capabilities)
            yield _member(META + "clientInfo", self.info)
            if order.level is not None:
                yield _member(META + "logLevel", canonical(order.level))


def joined(first: bytes, second: bytes) -> bytes:
    """The members of two objects, as they stand, in one; raises `Refused` where one name is in both."""
    a, b = first.strip(), second.strip()
    mine, theirs = members(a), members(b)
    if mine.keys() & theirs.keys():
        raise _shape("member", "a member of a request would stand there twice")
    if not mine or not theirs:
        return a if mine else b
    return a[:-1].rstrip() + b"," + b[1:].lstrip()


def welcome(raw: bytes) -> Facts:
    """What the result of `initialize` says; raises `Refused(ERR_UPSTREAM_SHAPE)`, `revision` where we do not speak its own."""
    result = _object(raw)
    revision = result.get("protocolVersion")
    if type(revision) is not str or revision not in REVISIONS:
        raise _shape("revision", "it offers no revision that is spoken here")
    return _facts(result, result.get("serverInfo"), Era.LEGACY, revision)


def discovered(raw: bytes) -> Facts | None:
    """What the result of `server/discover` says; None where it is no sign that the server speaks our modern revision."""
    try:
        result = _object(raw)
    except Refused:
        return None
    supported = result.get("supportedVersions")
    if type(supported) is not list or MODERN not in supported or type(result.get("capabilities")) is not dict:
        return None
    meta = result.get("_meta")
    return _facts(result, meta.get(META + "serverInfo") if type(meta) is dict else None, Era.MODERN, MODERN)


def supported(error: bytes) -> tuple[str, ...] | None:
    """The revisions that a server names which does not support the one it was asked in; None where it names none."""
    try:
        value = parse(error, bytes_max=len(error), any_number=True)
    except Refused:  # over HTTP a refusal may be any text
        return None
    if type(value) is not dict or value.get("code") != UNSUPPORTED:
        return None
    data = value.get("data")
    named = data.get("supported") if type(data) is dict else None
    return tuple(str(item) for item in named) if type(named) is list else None


def is_result(raw: bytes) -> bool:
    """Whether a modern result says what it is in a word that is known here; no word says that it is complete."""
    if b"resultType" not in raw and b"\\u" not in raw:
        return raw.lstrip()[:1] == b"{"
    value = parse(raw, bytes_max=len(raw), any_number=True)
    return type(value) is dict and value.get("resultType", "complete") in _RESULTS


class Pages:
    """One whole list of tools, page by page."""

    def __init__(self) -> None:
        self._pages = self._bytes = self._tools = 0

    def take(self, raw: bytes) -> tuple[list[bytes], bytes | None]:
        """The definitions on this page as they stand, and the text of the next cursor. Raises `Refused(ERR_UPSTREAM_SHAPE)`."""
        page = parse(raw, bytes_max=len(raw), any_number=True)
        listed = page.get("tools") if type(page) is dict else None
        cursor = page.get("nextCursor") if type(page) is dict else None  # null is taken for its absence: several servers write it
        if type(listed) is not list or (cursor is not None and type(cursor) is not str):
            raise _shape("tool_list", "a page of the list of tools has another shape")
        self._pages += 1
        self._bytes += len(raw)
        self._tools += len(listed)
        if self._tools > TOOLS_MAX or self._bytes > LIST_BYTES_MAX or (cursor is not None and self._pages == PAGES_MAX):
            raise _shape("tool_list_size", "the list of tools is too long")
        parts = members(raw)
        return elements(parts["tools"]), parts["nextCursor"] if cursor is not None else None


def subscription(params: bytes) -> int | None:
    """The number of our `subscriptions/listen` that a notice of 2026-07-28 belongs to."""
    value = parse(params, bytes_max=len(params), any_number=True) if SUBSCRIPTION_META.encode() in params else None
    meta = value.get("_meta") if type(value) is dict else None
    number = meta.get(SUBSCRIPTION_META) if type(meta) is dict else None
    return number if type(number) is int else None


def progress_token(params: bytes) -> int | None:
    """The token of ours under which a server reports progress."""
    value = parse(params, bytes_max=len(params), any_number=True)
    token = value.get("progressToken") if type(value) is dict else None
    return token if type(token) is int else None


def _facts(result: dict[str, Json], info: Json, era: Era, revision: str) -> Facts:
    said = info if type(info) is dict else {}
    capabilities, instructions = result.get("capabilities"), result.get("instructions")
    if instructions is not None and type(instructions) is not str:
        raise _shape("welcome", "its instructions are no text")
    return Facts(
        str(said.get("name", ""))[:TEXT_CHARS_MAX], str(said.get("version", ""))[:TEXT_CHARS_MAX],
        capabilities if type(capabilities) is dict else {}, instructions or "", era, revision,
    )  # fmt: skip


def _object(raw: bytes) -> dict[str, Json]:
    value = parse(raw, bytes_max=len(raw), any_number=True)
    if type(value) is not dict:
        raise _shape("welcome", "it answers with something that is no object")
    return value


def _without_meta(params: bytes) -> tuple[bytes, list[bytes]]:
    """The params without their `_meta`, and what of that is the caller's to say."""
    parts = members(params)
    meta = parts.pop("_meta", b"{}")
    if meta[:1] != b"{":
        raise _shape("meta", "`_meta` of a request is no object")
    theirs = [_member(name, value) for name, value in members(meta).items() if name not in _OURS]
    return b"{" + b",".join(_member(name, value) for name, value in parts.items()) + b"}", theirs


def _member(name: str, value: bytes) -> bytes:
    return canonical(name) + b":" + value


def _shape(sub: str, detail: str) -> Refused:
    return Refused(Reason.ERR_UPSTREAM_SHAPE, detail, sub=sub)
