"""The data plane: what agents may ask of the kernel, and nothing that an operator may.

Who asks is settled before a byte of the body is read, and again before it is used: a credential that was taken away in between
opens nothing. The body goes on as the bytes it is: the PEP parses it, and nobody else.
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from helm_ai_kernel.executor.host import Answer, Patience
from helm_ai_kernel.net.door import Peer
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.wire.head import Head
from helm_ai_kernel.wire.reply import Fields, Reply, refusal

from .gaps import Gaps
from .identity import Agent, DataIdentity
from .limits import Limiter, Slot
from .mcp import METHODS as MCP_METHODS
from .mcp import McpDoor, leads_here
from .replies import answered, document, refused, says
from .streaming import Ending

EXECUTE, CAPABILITIES, EVALUATE = "/mcp/v1/execute", "/mcp/v1/capabilities", "/v1/evaluate"
NONE, CLIENT = "effect_by=none", "effect_by=client"  # who acts on a verdict: nobody, or whoever asked for it
METHODS: Mapping[str, str] = {EXECUTE: "POST", CAPABILITIES: "GET", EVALUATE: "POST"}
DOORS: Mapping[str, str] = {EXECUTE: "execute", CAPABILITIES: "execute", EVALUATE: "execute"}  # as receipts and policies name it

_TRACE = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")  # W3C Trace Context, version 00
_WAIT = re.compile(r"wait=([0-9]{1,4})\Z")  # RFC 7240 §4.3
WAIT_S_MAX = 300  # longer than this a connection that says nothing is dropped by something on its way
_SESSION = re.compile(r"[0-9a-f]{32}\Z")


class Gate(Protocol):
    """The one way to an effect. Each call runs to its end whoever waits for it; raises `Refused` and `OutsideError`."""

    async def execute(
        self, raw: bytes, principal: str, door: str, *, key: str | None, session: str | None, patience: Patience
    ) -> Answer: ...

    async def evaluate(self, raw: bytes, principal: str, door: str, *, key: str | None, session: str | None) -> Answer:
        """The verdict alone: it claims and consumes nothing, so that nobody can act on it twice or at all."""
        ...

    async def offer(
        self, raw: bytes, principal: str, door: str, *, key: str | None, session: str | None, patience: Patience
    ) -> Answer:
        """The verdict on which the caller acts, once: it claims and consumes what the call would."""
        ...

    def capabilities(self, principal: str) -> dict[str, Json]: ...


class DataDoor:
    """A `Door` of the listener for agents."""

    def __init__(self, gate: Gate, mcp: McpDoor, identity: DataIdentity, limiter: Limiter, gaps: Gaps) -> None:
        self._gate = gate
        self._mcp = mcp
        self._identity = identity
        self._limiter = limiter
        self._gaps = gaps
        self.answers: dict[int, int] = {}  # status -> how many, for the metrics

    def admit(self, head: Head, peer: Peer) -> Reply | None:
        """Known, within its rate, and at a door that is there; None where the body may come."""
        resource = self._identity.resource
        if resource is not None and (told := resource.told(head)) is not None:
            return self._told(told)  # before anybody is known: it says how to become so
        try:
            agent, bare = self._identity.who(head, peer)
        except (Refused, OutsideError) as error:
            return self._unknown(error, head)
        wait = self._limiter.take(agent)
        if wait:
            return self._limited(wait)
        return self._absent(bare)

    async def answer(self, head: Head, body: bytes, peer: Peer) -> Reply:
        try:
            agent, bare = self._identity.who(head, peer)
        except (Refused, OutsideError) as error:
            return self._unknown(error, head)
        if (absent := self._absent(bare)) is not None:
            return absent
        if not self._limiter.enter(agent):
            return self._limited(1)
        slot, streams = Slot(lambda: self._limiter.leave(agent)), False
        try:
            reply = await self._answer(agent, bare, body, lambda: peer.here() and self._knows(agent, head, peer), slot)
            if not isinstance(reply.body, bytes):  # under way until its stream ends; whoever is known no more hears no more
                over = (lambda: None) if slot.kept else slot.leave
                streams, reply = True, replace(reply, body=Ending(reply.body, over, lambda: self._knows(agent, head, peer)))
            return self._told(reply)
        except (Refused, OutsideError) as error:
            return self._told(refused(error, _trace(bare)))
        except Exception as error:  # the door: our own bug fails this one request, closed, and says no word of it outside
            sys.stderr.write(f"error: the data plane failed: {type(error).__name__}\n")
            return self._told(refusal(Reason.ERR_EVIDENCE_UNAVAILABLE, "internal failure", status=500))
        finally:
            if not slot.kept and not streams:
                slot.leave()

    def refused(self, reason: Reason, peer: Peer) -> None:
        """The front said no by itself."""
        self._gaps.count(reason)

    async def _answer(self, agent: Agent, head: Head, body: bytes, here: Callable[[], bool], slot: Slot) -> Reply:
        """`here`: whether it is still the same agent, and waits."""
        if leads_here(head.path) and not head.query:
            return await self._mcp.answer(agent, head, body, slot)
        if head.query and (head.path != EVALUATE or head.query not in (NONE, CLIENT)):
            raise Refused(Reason.ERR_UPSTREAM_SHAPE, "nothing is asked for in a query here", hint=head.path)
        if head.path == CAPABILITIES:
            return document(self._gate.capabilities(agent.name), fields=_trace(head))
        key, session = head.fields.get("idempotency-key"), head.fields.get("helm-session")
        if session is not None and not _SESSION.match(session):
            raise Refused(Reason.ERR_SESSION_ENDED, "no session has such a name", hint="leave `Helm-Session` out")
        if head.path == EVALUATE and head.query != CLIENT:
            return answered(await self._gate.evaluate(body, agent.name, DOORS[EVALUATE], key=key, session=session), _trace(head))
        through = self._gate.offer if head.path == EVALUATE else self._gate.execute
        patience = Patience(_seconds(head), here)
        answer = await through(body, agent.name, DOORS[head.path], key=key, session=session, patience=patience)
        return answered(answer, _trace(head))

    def _knows(self, agent: Agent, head: Head, peer: Peer) -> bool:
        """Whether these credentials still name that agent."""
        try:
            return self._identity.who(head, peer)[0].name == agent.name
        except (Refused, OutsideError):
            return False

    def _unknown(self, error: Refused | OutsideError, head: Head) -> Reply:
        """Whoever was not known, or not for this; at the resource they learn where tokens for it are made."""
        resource = self._identity.resource
        if resource is None or error.reason is not Reason.ERR_UNAUTHENTICATED or not resource.is_at(head.path):
            return self._no(refused(error, _challenge(error)), error.reason)
        status, fields = resource.challenge(head, error)
        return self._no(refused(error, fields, status=status), error.reason)

    def _absent(self, head: Head) -> Reply | None:
        """What is no door of ours."""
        method, reason = METHODS.get(head.path), Reason.ERR_UNMEDIATED_TRANSPORT
        if leads_here(head.path):
            if head.method in MCP_METHODS:
                return None
            method = ", ".join(MCP_METHODS)
        if method is None:
            return self._no(refusal(reason, "there is no such path here", status=404, hint=f"POST {EXECUTE}"), reason)
        if head.method != method:
            return self._no(refusal(reason, f"this path takes {method}", status=405, fields=(("Allow", method),)), reason)
        return None

    def _limited(self, wait: int) -> Reply:
        reason = Reason.ERR_RATE_LIMITED
        fields = (("Retry-After", str(wait)),)
        return self._no(refusal(reason, says(reason), hint=f"try again in {wait} s", fields=fields), reason)

    def _no(self, reply: Reply, reason: Reason) -> Reply:
        """A refusal that has no receipt of its own."""
        self._gaps.count(reason)
        return self._told(reply)

    def _told(self, reply: Reply) -> Reply:
        self.answers[reply.status] = self.answers.get(reply.status, 0) + 1
        return reply


def _challenge(error: Refused | OutsideError) -> Fields:
    return (("WWW-Authenticate", "Bearer"),) if error.reason is Reason.ERR_UNAUTHENTICATED else ()


def _trace(head: Head) -> Fields:
    """What the caller follows its request by, where it is what it says."""
    sent = head.fields.get("traceparent", "")
    return (("traceparent", sent),) if _TRACE.match(sent) else ()


def _seconds(head: Head) -> float:
    """How long the caller would rather wait for a person than come again. Whoever went away must find the call held then."""
    found = _WAIT.match(head.fields.get("prefer", ""))
    return float(min(int(found[1]), WAIT_S_MAX)) if found else 0.0
