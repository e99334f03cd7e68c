"""MCP over line-delimited JSON-RPC, the client's side, in both eras: the probe, the handshake, the tool list, requests.

A server is first asked in the modern way (`server/discover`); whatever is no sign of a modern server, also its silence, leads to
the handshake of the legacy one. The arguments of a call go out as the bytes that were decided on; results, notices and questions
come back as the bytes that stood on the wire. What a server asks is answered by the layer above or refused by it, but for `ping`;
a modern server has nothing to ask (faults 1.5, 1.11).
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.jcs import canonical

from . import jsonrpc
from .era import MODERN, REVISIONS, Era, Facts, Order, Pages, Speaker, discovered, supported, welcome
from .jsonrpc import LINE_BYTES_MAX, UNASKED_BYTES_MAX, Asked, Broken, Dropped, Ended, Failure, Notified, Peer, Result

PENDING_MAX = 1024  # calls without an answer; a server that is further behind is not working
PROBES_MAX = 2  # a server that refuses the probe and names the very revision is asked once more


class State(StrEnum):
    NEW = "new"
    PROBING = "probing"
    INITIALIZING = "initializing"
    READY = "ready"
    LISTING = "listing"  # ready, and a tool list is under way
    CLOSED = "closed"
    ERROR = "error"  # sticky


class Step(StrEnum):
    PROBE = "probe"  # we sent `server/discover`
    HELLO = "hello"  # we sent `initialize`
    WELCOME = "welcome"  # the answer to either was good
    LIST = "list"  # we asked for the first page
    LISTED = "listed"  # the last page was good
    END = "end"
    BREAK = "break"


_LIVING = (State.NEW, State.PROBING, State.INITIALIZING, State.READY, State.LISTING)

# Every transition there is; what is not here is a mistake of ours and raises.
NEXT: dict[tuple[State, Step], State] = {
    (State.NEW, Step.PROBE): State.PROBING,
    (State.PROBING, Step.PROBE): State.PROBING,
    (State.PROBING, Step.WELCOME): State.READY,
    (State.NEW, Step.HELLO): State.INITIALIZING,
    (State.PROBING, Step.HELLO): State.INITIALIZING,
    (State.INITIALIZING, Step.WELCOME): State.READY,
    (State.READY, Step.LIST): State.LISTING,
    (State.LISTING, Step.LISTED): State.READY,
    **{(state, Step.END): State.CLOSED for state in _LIVING},
    **{(state, Step.BREAK): State.ERROR for state in _LIVING},
}


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes that must be written now, before anything else."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Ready:
    facts: Facts


@dataclass(frozen=True, slots=True)
class Listed:
    """One page. Each definition as it stood; whether it is I-JSON, and what it says, is the reader's question."""

    tools: tuple[bytes, ...] = field(repr=False)
    whole: bool = True  # it was the last page


@dataclass(frozen=True, slots=True)
class ListChanged:
    """What was listed may not hold any more."""


Event: TypeAlias = Send | Ready | Listed | ListChanged | Result | Failure | Asked | Notified | Dropped | Ended | Broken


class Client:
    """One connection to one server. `receive` gives the same events for the same bytes, however they are cut.

    `capabilities` is the canonical JSON of what the client behind us can be asked, for the handshake of the legacy era.
    """

    def __init__(
        self,
        *,
        name: str,
        version: str,
        capabilities: bytes = b"{}",
        line_bytes_max: int = LINE_BYTES_MAX,
        unasked_bytes_max: int = UNASKED_BYTES_MAX,
    ) -> None:
        self.state = State.NEW
        self.greeted = False  # `initialize` was sent
        self.speaker = Speaker(name, version)
        self._capabilities = capabilities
        self._peer = Peer(line_bytes_max=line_bytes_max, unasked_bytes_max=unasked_bytes_max)
        self._asked: dict[int, Literal["server/discover", "initialize", "tools/list"]] = {}  # our own, answered to nobody
        self._pages = Pages()
        self._probes = 0
        self._modern: Facts | None = None  # what a probe said that was answered behind the handshake

    def probe(self) -> bytes:
        """Asks in the modern way; what is no modern answer leads to `initialize` by a `Send`."""
        self._step(Step.PROBE)
        self._probes += 1
        modern = Speaker(self.speaker.name, self.speaker.version, Era.MODERN)
        return self._ask("server/discover", modern.params(Order("server/discover", b"{}"), 0))

    def initialize(self) -> bytes:
        """The handshake of the legacy era, also when nobody waits for the answer to a probe any more."""
        self._step(Step.HELLO)
        self.greeted = True
        return self._ask("initialize", self.speaker.hello(self._capabilities))

    def list_tools(self) -> bytes:
        """Asks for the first page; the others follow by `Send`, each comes as `Listed`."""
        self._step(Step.LIST)
        self._pages = Pages()
        return self._ask("tools/list", self.speaker.params(Order("tools/list", b"{}"), 0))

    def call(self, order: Order) -> tuple[int, bytes]:
        """The id of the request, which is also its progress token, and the line to send. Raises `OutsideError` or `Refused`."""
        if self.state not in (State.READY, State.LISTING):
            raise OutsideError(Reason.ERR_CONNECTOR_FAILED, f"the connection is in state `{self.state}`")
        if self._peer.pending >= PENDING_MAX:
            raise OutsideError(Reason.ERR_CONNECTOR_FAILED, f"{PENDING_MAX} calls are without an answer")
        return self._peer.request(order.method, self.speaker.params(order, self._peer.next_id))

    def cancel(self, number: int, reason: str = "deadline") -> bytes:
        """Gives up a call; the answer, should it come, is late."""
        self._peer.abandon(number)
        return jsonrpc.notification("notifications/cancelled", canonical({"requestId": number, "reason": reason}))

    def receive(self, data: bytes) -> list[Event]:
        """What these bytes complete; `b""` is the end of the stream. After `Broken` or `Ended` there is nothing more."""
        events: list[Event] = []
        self._peer.feed(data)
        while (event := self._peer.next_event()) is not None:
            events.extend(self._events(event))
        return events

    def _events(self, event: jsonrpc.Event) -> list[Event]:
        match event:
            case Result(number, raw, _) if number in self._asked:
                return self._answered(self._asked.pop(number), raw)
            case Failure(number, _, raw, _) if number in self._asked:
                return self._refused(self._asked.pop(number), raw)
            case Asked(number, "ping"):
                return [Send(jsonrpc.answer(number, b"{}")), event]
            case Asked(number) if self.speaker.era is Era.MODERN:
                return [Send(jsonrpc.refuse(number, jsonrpc.NOT_FOUND, "method not found")), event]
            case Notified("notifications/tools/list_changed"):
                return [ListChanged()]
            case Ended():
                self._step(Step.END)
            case Broken():
                self._step(Step.BREAK)
        return [event]

    def _answered(self, method: str, raw: bytes) -> list[Event]:
        try:
            match method:
                case "tools/list":
                    return self._page(raw)
                case "initialize" if self.state is State.INITIALIZING:
                    return [Send(jsonrpc.notification("notifications/initialized")), *self._ready(welcome(raw))]
                case "server/discover":
                    return self._probed(discovered(raw))
        except Refused as refused:
            return self._broken(refused.sub, raw)
        return []

    def _probed(self, facts: Facts | None) -> list[Event]:
        if self.state is State.PROBING:
            return [Send(self.initialize())] if facts is None else self._ready(facts)
        self._modern = facts  # late: `initialize` is under way, and its answer decides
        return []

    def _refused(self, method: str, raw: bytes) -> list[Event]:
        if method == "initialize" and self._modern is not None:  # it speaks the modern way after all, and was only slow to say so
            return self._ready(self._modern)
        if method != "server/discover":
            return self._broken(f"{method} refused", raw)
        if self.state is not State.PROBING:
            return []
        named = supported(raw)
        if named is not None and MODERN in named and self._probes < PROBES_MAX:
            return [Send(self.probe())]
        if named is not None and not REVISIONS & set(named):
            return self._broken("revision", raw)
        return [Send(self.initialize())]

    def _ready(self, facts: Facts) -> list[Event]:
        self._step(Step.WELCOME)
        self.speaker = Speaker(self.speaker.name, self.speaker.version, facts.era)
        return [Ready(facts)]

    def _page(self, raw: bytes) -> list[Event]:
        listed, cursor = self._pages.take(raw)
        if cursor is not None:
            params = self.speaker.params(Order("tools/list", b'{"cursor":%s}' % cursor), 0)
            return [Listed(tuple(listed), whole=False), Send(self._ask("tools/list", params))]
        self._step(Step.LISTED)
        return [Listed(tuple(listed))]

    def _ask(self, method: Literal["server/discover", "initialize", "tools/list"], params: bytes) -> bytes:
        number, line = self._peer.request(method, params)
        self._asked[number] = method
        return line

    def _broken(self, sub: str, rest: bytes) -> list[Event]:
        self._step(Step.BREAK)
        return [self._peer.fail(sub, rest)]

    def _step(self, step: Step) -> None:
        if (self.state, step) not in NEXT:
            raise OutsideError(Reason.ERR_CONNECTOR_FAILED, f"`{step}` does not follow in state `{self.state}`")
        self.state = NEXT[self.state, step]
