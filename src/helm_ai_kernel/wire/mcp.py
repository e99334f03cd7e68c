"""MCP over line-delimited JSON-RPC, the client's side, up to revision 2025-11-25: handshake, tool list, tool calls.

The arguments of a call go out as the bytes that were decided on, spliced in and never written again; results and tool
definitions come back as the bytes that stood on the wire. The server asks nothing of us but `ping`: every other request
is answered with "method not found", so that nothing it starts by itself happens unmediated (faults 1.5, 1.11).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical

from . import jsonrpc
from .era import Era, Facts
from .jsonrpc import LINE_BYTES_MAX, Asked, Broken, Dropped, Ended, Failure, Notified, Peer, Result
from .span import elements, members

REVISION = "2025-11-25"  # the one we offer
REVISIONS = frozenset({REVISION, "2025-06-18", "2025-03-26", "2024-11-05"})  # list and call are the same in all of them
KEY_META = "ai.helm/idempotency-key"
PENDING_MAX = 1024  # calls without an answer; a server that is further behind is not working
PAGES_MAX = 64  # of a tool list: a server may otherwise send pages for ever
TOOLS_MAX = 4096
LIST_BYTES_MAX = 16 << 20  # all pages together


class State(StrEnum):
    NEW = "new"
    INITIALIZING = "initializing"
    READY = "ready"
    LISTING = "listing"  # ready, and a tool list is under way
    CLOSED = "closed"
    ERROR = "error"  # sticky


class Step(StrEnum):
    HELLO = "hello"  # we sent `initialize`
    WELCOME = "welcome"  # its answer was good
    LIST = "list"  # we asked for the first page
    LISTED = "listed"  # the last page was good
    END = "end"
    BREAK = "break"


# Every transition there is; what is not here is a mistake of ours and raises KeyError.
NEXT: dict[tuple[State, Step], State] = {
    (State.NEW, Step.HELLO): State.INITIALIZING,
    (State.INITIALIZING, Step.WELCOME): State.READY,
    (State.READY, Step.LIST): State.LISTING,
    (State.LISTING, Step.LISTED): State.READY,
    **{(state, Step.END): State.CLOSED for state in (State.NEW, State.INITIALIZING, State.READY, State.LISTING)},
    **{(state, Step.BREAK): State.ERROR for state in (State.NEW, State.INITIALIZING, State.READY, State.LISTING)},
}


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes that must be written now, before anything else."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Ready:
    revision: str


@dataclass(frozen=True, slots=True)
class Listed:
    """All pages. Each definition as it stood; whether it is I-JSON, and what it says, is the reader's question."""

    tools: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ListChanged:
    """What was listed may not hold any more."""


Event: TypeAlias = Send | Ready | Listed | ListChanged | Result | Failure | Asked | Notified | Dropped | Ended | Broken


class Client:
    """One connection to one server. `receive` gives the same events for the same bytes, however they are cut."""

    def __init__(self, *, name: str, version: str, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self.state = State.NEW
        self._info: dict[str, Json] = {"name": name, "version": version}
        self.facts = Facts("", "", {}, "", Era.LEGACY, "")  # until it has said them
        self._peer = Peer(line_bytes_max=line_bytes_max)
        self._asked: dict[int, Literal["initialize", "tools/list"]] = {}  # our own requests, answered to nobody
        self._tools: list[bytes] = []
        self._pages = self._list_bytes = 0

    def initialize(self) -> bytes:
        self._step(Step.HELLO)
        hello: Json = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": self._info}
        return self._ask("initialize", canonical(hello))

    def list_tools(self) -> bytes:
        """Asks for the first page; the others follow by `Send`, the whole comes as `Listed`."""
        self._step(Step.LIST)
        self._tools, self._pages, self._list_bytes = [], 0, 0
        return self._ask("tools/list", b"{}")

    def call(self, name: str, args: bytes, key: str | None = None) -> tuple[int, bytes]:
        """The id of the call and the line to send. `args` are canonical bytes and go out as they are."""
        if self.state not in (State.READY, State.LISTING):
            raise OutsideError(Reason.ERR_CONNECTOR_FAILED, f"the connection is in state `{self.state}`")
        if self._peer.pending >= PENDING_MAX:
            raise OutsideError(Reason.ERR_CONNECTOR_FAILED, f"{PENDING_MAX} calls are without an answer")
        meta = b"" if key is None else b',"_meta":' + canonical({KEY_META: key})
        return self._peer.request("tools/call", b'{"name":%s,"arguments":%s%s}' % (canonical(name), args, meta))

    def cancel(self, number: int) -> bytes:
        """Gives up a call; the answer, should it come, is late."""
        self._peer.abandon(number)
        return jsonrpc.notification("notifications/cancelled", canonical({"requestId": number, "reason": "deadline"}))

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
                return self._welcome(raw) if self._asked.pop(number) == "initialize" else self._page(raw)
            case Failure(number, _, raw, _) if number in self._asked:
                return self._broken(f"{self._asked.pop(number)} refused", raw)
            case Asked(number, "ping"):
                return [Send(jsonrpc.answer(number, b"{}")), event]
            case Asked(number, _):
                return [Send(jsonrpc.refuse(number, jsonrpc.NOT_FOUND, "method not found")), event]
            case Notified("notifications/tools/list_changed"):
                return [ListChanged()]
            case Ended():
                self._step(Step.END)
            case Broken():
                self._step(Step.BREAK)
        return [event]

    def _welcome(self, raw: bytes) -> list[Event]:
        result = parse(raw, bytes_max=len(raw), any_number=True)
        revision = result.get("protocolVersion") if type(result) is dict else None
        if type(result) is not dict or type(revision) is not str or revision not in REVISIONS:
            return self._broken("revision", raw)
        self.facts = Facts.of_welcome(result, revision)
        self._step(Step.WELCOME)
        return [Send(jsonrpc.notification("notifications/initialized")), Ready(revision)]

    def _page(self, raw: bytes) -> list[Event]:
        page = parse(raw, bytes_max=len(raw), any_number=True)
        listed = page.get("tools") if type(page) is dict else None
        if type(page) is not dict or type(listed) is not list:
            return self._broken("tool_list", raw)
        cursor = page.get("nextCursor")  # null is taken for its absence: several servers write it
        if cursor is not None and type(cursor) is not str:
            return self._broken("tool_list", raw)
        self._pages += 1
        self._list_bytes += len(raw)
        count = len(self._tools) + len(listed)
        if count > TOOLS_MAX or self._list_bytes > LIST_BYTES_MAX or (cursor is not None and self._pages == PAGES_MAX):
            return self._broken("tool_list_size", raw)
        parts = members(raw)
        self._tools += elements(parts["tools"])
        if cursor is not None:
            return [Send(self._ask("tools/list", b'{"cursor":%s}' % parts["nextCursor"]))]
        self._step(Step.LISTED)
        return [Listed(tuple(self._tools))]

    def _ask(self, method: Literal["initialize", "tools/list"], params: bytes) -> bytes:
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
