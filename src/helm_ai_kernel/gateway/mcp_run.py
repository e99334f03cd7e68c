"""A request of a client from its first byte to its response, whichever era its client and its server are of.

A client with a session of its own is asked over its stream; a stateless one by a result that it answers with another request. A
server that asks while a call waits, and one whose result asks, are the same to both: the four pairs meet here, and nowhere else.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.wire import mcp_message
from helm_ai_kernel.wire.era import Era
from helm_ai_kernel.wire.mcp_message import Bad, Request, Said, spliced
from helm_ai_kernel.wire.span import members

from . import mcp_answers, mcp_approval
from .mcp_gate import Caller
from .mcp_methods import Serving, Work
from .mcp_questions import ASKED, Asking, Kept, Parked, Question, Table, of
from .mcp_session import Conversation, Exchange

ROUNDS_MAX = 16  # of questions in one call: a server that asks on and on gets no further answer


@dataclass(frozen=True, slots=True)
class Needed:
    """What a result asks for: the method and the parameters of each question by its name, and the server's own state."""

    questions: Mapping[str, tuple[str, bytes]]
    raw: bytes = field(repr=False)
    state: bytes | None = field(repr=False)


class Run:
    def __init__(self, serving: Serving, table: Table, counted: Callable[[Reason], None]) -> None:
        """`counted` is told of what has no receipt."""
        self._serving = serving
        self._table = table
        self._counted = counted

    async def legacy(self, request: Request, conversation: Conversation, exchange: Exchange) -> Said | None:
        """None where the client gave it up: nobody waits for a response."""
        try:
            said = await self._legacy(request, conversation, exchange)
        except (Refused, OutsideError) as error:
            said = self._refused(request, error, Era.LEGACY)
        return None if exchange.cancelled.is_set() else said

    async def modern(self, request: Request, caller: Caller, exchange: Exchange) -> Said:
        try:
            kept = self._table.take(caller, request)
            if kept is not None and kept.waiting is not None:
                return await self._resumed(request, caller, exchange, kept, kept.waiting)
            work = await self._serving.plain(request, caller, Era.MODERN)
            if isinstance(work, Said):
                return work
            return await self._begun(work, caller, exchange, None if kept is not None and kept.again else kept)
        except (Refused, OutsideError) as error:
            return self._refused(request, error, Era.MODERN)

    def _refused(self, request: Request, error: Refused | OutsideError, era: Era) -> Said:
        if isinstance(error, Bad):
            self._counted(error.reason)
        return mcp_answers.refused(request.id, request.method, error, era)

    async def _legacy(self, request: Request, conversation: Conversation, exchange: Exchange) -> Said:
        caller = conversation.caller
        work = await self._serving.plain(request, caller, Era.LEGACY)
        if isinstance(work, Said):
            return work

        def ask(question: Question) -> "asyncio.Future[bytes]":
            return asyncio.ensure_future(conversation.ask(exchange.stream, question.method, question.params))

        inputs: bytes | None = None
        causes: tuple[Receipt, ...] = ()
        for _ in range(ROUNDS_MAX):
            answer, relay = await self._serving.call(work, caller, exchange, ask, inputs=inputs, causes=causes)
            if await self._approved(work, conversation, exchange, answer):
                answer, relay = await self._serving.call(work, caller, exchange, ask, inputs=inputs, causes=causes)
            needed = _needed(answer)
            if needed is None:
                _follow(conversation, work, answer)
                return self._serving.told(work, caller, answer, Era.LEGACY)
            said = {name: await relay.asked(method, params) for name, (method, params) in needed.questions.items()}
            inputs, causes = _inputs(said, needed.state), (*_just(answer.outcome), *relay.answers)
        raise Refused(Reason.ERR_CONNECTOR_FAILED, f"the server asked {ROUNDS_MAX} times", sub="rounds")

    async def _approved(self, work: Work, conversation: Conversation, exchange: Exchange, answer: Answer) -> bool:
        """Whether the person at the client says that somebody approved what waits."""
        asked = mcp_approval.question(answer, work.tool, conversation.caller.capabilities)
        if asked is None:
            return False
        waits = asyncio.ensure_future(conversation.ask(exchange.stream, mcp_approval.METHOD, asked))
        given_up = asyncio.ensure_future(exchange.cancelled.wait())
        try:
            await asyncio.wait({waits, given_up}, return_when=asyncio.FIRST_COMPLETED)
            return waits.done() and not given_up.done() and mcp_approval.is_done(waits.result())
        except Refused:  # nobody says anything: the call waits, and its caller is told so
            return False
        finally:
            waits.cancel()
            given_up.cancel()

    async def _begun(self, work: Work, caller: Caller, exchange: Exchange, kept: Kept | None) -> Said:
        inputs: bytes | None = None
        causes: tuple[Receipt, ...] = ()
        if kept is not None:
            inputs, causes = await self._retried(work, caller, exchange, kept)
        parked = Parked(exchange)
        task = asyncio.ensure_future(self._serving.call(work, caller, exchange, parked.ask, inputs=inputs, causes=causes))
        parked.goes_on(task)
        return await self._until_asked(work, caller, parked)

    async def _resumed(self, request: Request, caller: Caller, exchange: Exchange, kept: Kept, parked: Parked) -> Said:
        """A call that waits goes on with what its client says now; what cannot be read is no answer, and the server learns so."""
        try:
            work, said = await self._serving.plain(request, caller, Era.MODERN), _responses(request)
        except BaseException:
            parked.forget()
            raise
        if isinstance(work, Said):
            parked.forget()
            return work
        parked.exchange.moved_to(exchange)
        parked.said(said)
        return await self._until_asked(work, caller, parked)

    async def _until_asked(self, work: Work, caller: Caller, parked: Parked) -> Said:
        question = await parked.question()
        if question is not None:
            asked = {ASKED: question}
            name = self._table.keep(Kept(caller, of(work.request), asked, self._table.until(), waiting=parked))
            return mcp_message.result(work.request.id, _required(_listed(asked), name))
        answer, relay = parked.over()
        asked_for = mcp_approval.question(answer, work.tool, caller.capabilities)
        if asked_for is not None:
            return self._until_approved(work, caller, answer, asked_for)
        needed = _needed(answer)
        if needed is None:
            return self._serving.told(work, caller, answer, Era.MODERN)
        return await self._required(work, caller, answer, relay, needed)

    def _until_approved(self, work: Work, caller: Caller, answer: Answer, params: bytes) -> Said:
        """The same request, made again with the handle, is decided again; whatever else is said with it is not looked at."""
        name = self._table.keep(Kept(caller, of(work.request), {}, self._table.until(), again=True))
        asked = spliced({mcp_approval.NAME: spliced({"method": canonical(mcp_approval.METHOD), "params": params})})
        result = _required(asked, name)
        return mcp_message.result(work.request.id, mcp_answers.with_receipt(result, members(result), answer, Era.MODERN))

    async def _required(self, work: Work, caller: Caller, answer: Answer, relay: Asking, needed: Needed) -> Said:
        """Each question of the result is decided before any of them is asked."""
        asked = {name: await relay.offered(method, params) for name, (method, params) in needed.questions.items()}
        kept = Kept(caller, of(work.request), asked, self._table.until(), answer.outcome, needed.state)
        result = _required(needed.raw, self._table.keep(kept))
        return mcp_message.result(work.request.id, mcp_answers.with_receipt(result, members(result), answer, Era.MODERN))

    async def _retried(
        self, work: Work, caller: Caller, exchange: Exchange, kept: Kept
    ) -> "tuple[bytes | None, tuple[Receipt, ...]]":  # fmt: skip
        """What the client says to the questions of a result, each recorded; what was not asked is not passed on."""
        relay = self._serving.relay(work, caller, exchange)
        said = _responses(work.request)
        given = {name: await relay.reported(question, said[name]) for name, question in kept.questions.items() if name in said}
        return _inputs(given, kept.state), (*_just(kept.first), *relay.answers)


def _needed(answer: Answer) -> Needed | None:
    """Only what was judged and released is looked at; its shape is that of the contract. A word may be written with escapes."""
    if answer.output is None or (b"input_required" not in answer.output and b"\\u" not in answer.output):
        return None
    value: Json = parse(answer.output, bytes_max=len(answer.output), any_number=True)
    if type(value) is not dict or value.get("resultType") != "input_required":
        return None
    parts = members(answer.output)
    raw = parts.get("inputRequests", b"{}")
    listed = value.get("inputRequests", {})
    questions: dict[str, tuple[str, bytes]] = {}
    for name, question in members(raw).items():
        method = listed[name].get("method") if type(listed) is dict and type(listed[name]) is dict else None  # type: ignore[union-attr]
        questions[name] = (str(method), members(question).get("params", b"{}"))
    return Needed(questions, raw, parts.get("requestState"))


def _follow(conversation: Conversation, work: Work, answer: Answer) -> None:
    """What a client hears of outside of calls is what a call of it subscribed to."""
    uri, method = work.request.text("uri"), work.request.method
    done = answer.output is not None and members(answer.output).keys() != {"error"}
    if uri is not None and done and method in ("resources/subscribe", "resources/unsubscribe"):
        conversation.follows(work.server, uri, on=method == "resources/subscribe")


def _just(receipt: Receipt | None) -> tuple[Receipt, ...]:
    return () if receipt is None else (receipt,)


def _required(requests: bytes, name: str) -> bytes:
    return spliced({"resultType": b'"input_required"', "inputRequests": requests, "requestState": canonical(name)})


def _listed(asked: Mapping[str, Question]) -> bytes:
    return spliced({
        name: spliced({"method": canonical(one.method), "params": one.params}) for name, one in asked.items()
    })  # fmt: skip


def _inputs(said: Mapping[str, bytes], state: bytes | None) -> bytes:
    return spliced({"inputResponses": spliced(said), **({} if state is None else {"requestState": state})})


def _responses(request: Request) -> dict[str, bytes]:
    said = request.values.get("inputResponses", {})
    if type(said) is not dict or not all(type(one) is dict for one in said.values()):
        detail = "`inputResponses` is an object of results"
        raise Bad(Reason.ERR_UPSTREAM_SHAPE, mcp_message.INVALID_PARAMS, detail, number=request.id)
    return members(request.params["inputResponses"]) if said else {}
