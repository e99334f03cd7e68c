"""What servers ask of clients: decided first, asked then, and the answer recorded before it goes to the server.

A question that stands in a result (revision 2026-07-28), or that a server of an older revision asks while its call waits, reaches
a stateless client as `input_required` with a handle. The handle is a random name for what is kept here: it is good once, for
whoever was asked, for the same request, for a while; what is not known here is refused, and nothing is resumed.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Verdict
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.wire.era import Era
from helm_ai_kernel.wire.mcp_message import INVALID_PARAMS, Bad, Request
from helm_ai_kernel.wire.mediation import QUESTIONS, How, how
from helm_ai_kernel.wire.span import members

from .mcp_gate import Caller, McpGate
from .mcp_session import Exchange

KEPT_S = 600.0  # for a person to answer
ASKED = "question"  # the name of what a server asked while its call waits
KEPT_MAX = 64  # questions of one principal that wait; the oldest is forgotten
_RETRY = frozenset({"_meta", "inputResponses", "requestState"})  # what differs between a request and its retry


@dataclass(frozen=True, slots=True)
class Question:
    method: str
    params: bytes = field(repr=False)
    decision: Receipt  # the ALLOW by which it is asked
    began: float


@dataclass(slots=True)
class Kept:
    """Questions that a client was sent. `state` is the server's own; `waiting` is a call of ours that goes on with the answer."""

    caller: Caller
    request: Digest
    questions: Mapping[str, Question]
    until: float
    first: Receipt | None = None  # the outcome that asked
    state: bytes | None = None
    waiting: "Parked | None" = None
    again: bool = False  # a call that waits for a person: it is decided anew


class Parked:
    """A call under way for a stateless client, and the question at which it waits, if it does."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._task: asyncio.Future[tuple[Answer, Asking]] | None = None
        self._asked: asyncio.Queue[tuple[Question, asyncio.Future[bytes]]] = asyncio.Queue()
        self._answer: asyncio.Future[bytes] | None = None

    def goes_on(self, task: "asyncio.Future[tuple[Answer, Asking]]") -> None:
        self._task = task

    def ask(self, question: Question) -> "asyncio.Future[bytes]":
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked.put_nowait((question, answer))
        return answer

    async def question(self) -> Question | None:
        """The next one; None where the call ended instead."""
        asked = asyncio.ensure_future(self._asked.get())
        waiting: set[asyncio.Future[Any]] = {asked} if self._task is None else {asked, self._task}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            asked.cancel()
            return None
        question, self._answer = asked.result()
        return question

    def said(self, responses: Mapping[str, bytes]) -> None:
        """The client's answer; without one the server learns that there is none."""
        if self._answer is None or self._answer.done():
            return
        if ASKED not in responses:
            self.forget()
        else:
            self._answer.set_result(responses[ASKED])

    def forget(self) -> None:
        """Nobody answers any more."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Refused(Reason.ERR_CONNECTOR_FAILED, "the client did not answer", sub="client_silent"))

    def over(self) -> "tuple[Answer, Asking]":
        """What became of the call; raises what it raised."""
        if self._task is None:
            raise RuntimeError("a call is over that did not begin")
        return self._task.result()


class Table:
    """Everything that waits for an answer of a stateless client. Nothing of it survives the process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, Kept] = {}

    def keep(self, kept: Kept) -> str:
        self.sweep()
        mine = [name for name, one in self._kept.items() if one.caller.principal == kept.caller.principal]
        for name in mine[: max(0, len(mine) + 1 - KEPT_MAX)]:
            self._forget(name)
        name = secrets.token_urlsafe(24)
        self._kept[name] = kept
        return name

    def until(self) -> float:
        return self._clock() + KEPT_S

    def take(self, caller: Caller, request: Request) -> Kept | None:
        """What this request goes on with. None where it is a first one: answers without a handle answer nothing that was asked,
        and are not passed on. Raises `Bad` for a handle that opens nothing."""
        if "requestState" not in request.values:
            return None
        name = request.text("requestState")
        self.sweep()
        kept = self._kept.get(name or "")
        if kept is None or _who(kept.caller) != _who(caller) or kept.request != of(request):
            detail = "`requestState` is unknown, used, over, or of another request"
            raise Bad(Reason.ERR_UPSTREAM_SHAPE, INVALID_PARAMS, detail, number=request.id, sub="request_state")
        del self._kept[name or ""]
        return kept

    def sweep(self) -> None:
        now = self._clock()
        for name in [name for name, kept in self._kept.items() if kept.until <= now]:
            self._forget(name)

    def _forget(self, name: str) -> None:
        kept = self._kept.pop(name)
        if kept.waiting is not None:
            kept.waiting.forget()


def _who(caller: Caller) -> tuple[str, str, str | None]:
    """Whom a handle is for, and at which door: the same request at another one is for another server."""
    return caller.principal, caller.door, caller.only


def of(request: Request) -> Digest:
    """What a retry has in common with the request that it repeats."""
    return digest(canonical([request.method, {name: value for name, value in request.values.items() if name not in _RETRY}]))


class Asking:
    """The executor's `Relay` of one call: notices go to the exchange, questions are decided first."""

    def __init__(
        self, gate: McpGate, caller: Caller, exchange: Exchange, server: str, ask: Callable[[Question], "asyncio.Future[bytes]"]
    ) -> None:
        self.capabilities = caller.capabilities
        self.level = exchange.level
        self.cancelled = exchange.cancelled
        self.answers: list[Receipt] = []  # the outcomes of what was asked
        self._gate = gate
        self._caller = caller
        self._exchange = exchange
        self._server = server
        self._ask = ask

    def said(self, method: str, params: bytes) -> None:
        self._exchange.said(method, params)

    async def asked(self, method: str, params: bytes) -> bytes:
        """The client's answer, as it is recorded; raises `Refused`."""
        question = await self.offered(method, params)
        said = await self._ask(question)
        return await self.reported(question, said)

    async def offered(self, method: str, params: bytes) -> Question:
        if how(QUESTIONS, method, Era.LEGACY) is not How.QUESTION:
            raise Refused(Reason.ERR_UNMEDIATED_TRANSPORT, "no client is asked that", sub="question")
        if method.partition("/")[0] not in members(self.capabilities):
            detail = f"the client did not say that it can be asked that ({method})"
            raise Refused(Reason.ERR_CONNECTOR_FAILED, detail, sub="capability")
        answer = await self._gate.offer(self._caller, f"{self._server}/{method}", params)
        if answer.verdict is not Verdict.ALLOW:
            raise Refused(answer.reason, f"the server may not ask that ({method})", sub="question", hint=answer.hint)
        return Question(method, params, answer.decision, time.monotonic())

    async def reported(self, question: Question, said: bytes) -> bytes:
        ms = int((time.monotonic() - question.began) * 1000)
        said = said.replace(b"\r", b" ").replace(b"\n", b" ")  # between members, where blanks mean the same: a server reads lines
        answer = await self._gate.report(self._caller, question.decision, said, ms)
        if answer.output is None or answer.outcome is None:
            raise Refused(answer.reason, "the client's answer has another shape than the protocol says", sub="client_answer")
        self.answers.append(answer.outcome)
        return answer.output
