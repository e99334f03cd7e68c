"""One call of an MCP server while it is under way: who listens, who may be asked, what has become of it.

What a server asks reaches only the caller of the call that it asks in. A question is answered once, one of a call that ended is
not answered at all, and everything that goes wrong with it is an error for the server, not a guess.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from helm_ai_kernel.executor.host import Relay, Reply, ReplyKind
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.wire import jsonrpc
from helm_ai_kernel.wire.era import NOT_BEGUN, Era, Order, is_result
from helm_ai_kernel.wire.jsonrpc import Asked, Failure, Result

from .deadline import Deadline

ASKABLE = frozenset({"sampling/createMessage", "elicitation/create", "roots/list"})
ASKED_MAX = 256  # questions of one call, all together, also those that are refused: each has receipts
ASKS_MAX = 16  # open questions of one call; a server that asks more at once is answered with an error
NOBODY = (jsonrpc.NOT_FOUND, "method not found")
AMBIGUOUS = (1, "more than one call is under way, and it is not known in which of them this is asked")
TOO_MANY = (1, "too many questions are open")
CODE_REFUSED = 1  # outside of what JSON-RPC and MCP reserve


@dataclass(frozen=True, slots=True)
class Lost:
    """The call left, and there is no answer. `rest`: what could not be read, if only this call can be meant."""

    sub: str
    rest: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Declined:
    """The server says that it did not begin, in other words than an error of JSON-RPC."""

    sub: str
    rest: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Unsent:
    """No byte of the call left, or the server turned away what left; `cause` says why."""

    sub: str
    cause: Refused | OutsideError = field(repr=False)


Ending: TypeAlias = Result | Failure | Lost | Declined | Unsent


class Underway:
    """`sent`: a byte may have left. `ending` is cancelled where there will be no answer to a call that was given up."""

    def __init__(self, order: Order, relay: Relay | None, deadline: Deadline) -> None:
        self.order, self.relay, self.deadline = order, relay, deadline
        self.number = 0
        self.sent = self.given_up = False
        self.ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._asks: dict[bytes, asyncio.Task[None]] = {}
        self._asked = 0

    @property
    def open(self) -> bool:
        return not self.given_up and not self.ending.done()

    @property
    def askable(self) -> bool:
        return self.open and self.relay is not None

    def said(self, method: str, params: bytes) -> None:
        """A notice that belongs to this call. Raises what the relay raises: it may have had enough."""
        if self.open and self.relay is not None:
            self.relay.said(method, params)

    def asked(self, question: Asked, send: Callable[[bytes], None]) -> None:
        """`send` gets the answer, one line, later; nothing where the call has ended by then."""
        if question.method not in ASKABLE or not self.askable:
            send(jsonrpc.refuse(question.id, *NOBODY))
        elif question.id in self._asks or len(self._asks) >= ASKS_MAX or self._asked >= ASKED_MAX:
            send(jsonrpc.refuse(question.id, *TOO_MANY))
        else:
            self._asked += 1
            task = asyncio.get_running_loop().create_task(self._answer(question, send))
            self._asks[question.id] = task
            task.add_done_callback(lambda _: self._asks.pop(question.id, None))

    def unasked(self, number: bytes) -> None:
        """The server does not wait for the answer to its question any more."""
        task = self._asks.get(number)
        if task is not None:
            task.cancel()

    def settle(self, ending: Ending) -> None:
        self.hush()
        if not self.ending.done():
            self.ending.set_result(ending)

    def give_up(self) -> None:
        self.given_up = True
        self.hush()

    def hush(self) -> None:
        for task in self._asks.values():
            task.cancel()

    async def _answer(self, question: Asked, send: Callable[[bytes], None]) -> None:
        relay = self.relay
        if relay is None:
            return
        try:
            with self.deadline.still():
                answer = await relay.asked(question.method, question.params)
            line = jsonrpc.answer(question.id, answer)
        except (Refused, OutsideError) as error:
            line = jsonrpc.refuse(question.id, CODE_REFUSED, f"{error.reason}")
        if self.open:
            send(line)


def reply(ending: Ending, ms: int, output_bytes: int, era: Era, *, method: bool) -> Reply:
    """What can be proven of a call: `docs/spec/connector-mcp.md` has the table. `method`: it was none of a tool's."""
    match ending:
        case Result(_, raw) if era is Era.LEGACY or is_result(raw):
            return Reply(ReplyKind.OUTPUT, ms, output=raw[:output_bytes], truncated=len(raw) > output_bytes)
        case Result(_, rest):
            sub = "result_type"
        case Failure(_, code, raw) if method or code in NOT_BEGUN[era]:  # an answer, which says that it was refused
            return _error(raw, ms, output_bytes)
        case Failure(_, code, rest):
            sub = f"rpc {code}"[:32]
        case Declined(sub, raw) if sub.startswith("rpc ") and raw:
            return _error(raw, ms, output_bytes)
        case Declined(sub, rest):
            return _failed(sub, rest, ms, output_bytes)
        case Unsent(sub, cause):
            return Reply(ReplyKind.FAILED, ms, reason=cause.reason, sub=sub)
        case Lost(sub, rest):
            pass
    return Reply(
        ReplyKind.UNKNOWN, ms, output=rest[:output_bytes] or None, reason=Reason.ERR_OUTCOME_UNKNOWN, sub=sub,
        truncated=len(rest) > output_bytes or sub == "line_bytes",
    )  # fmt: skip


def _error(raw: bytes, ms: int, output_bytes: int) -> Reply:
    """`raw` is the text of `error`."""
    said = b'{"error":%b}' % raw
    return Reply(ReplyKind.OUTPUT, ms, output=said[:output_bytes], truncated=len(said) > output_bytes)


def _failed(sub: str, rest: bytes, ms: int, output_bytes: int) -> Reply:
    """`rest`, the server's own words, is evidence of nothing: the executor does not keep it."""
    said, cut = rest[:output_bytes] or None, len(rest) > output_bytes
    return Reply(ReplyKind.FAILED, ms, output=said, reason=Reason.ERR_CONNECTOR_FAILED, sub=sub, truncated=cut)
