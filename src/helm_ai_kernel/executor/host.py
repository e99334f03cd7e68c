"""The executor's whole view of the world: what it may ask for, and what it gets back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from helm_ai_kernel.tcb.call import Admitted, Call
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Decision, Facts, Outcome, Verdict
from helm_ai_kernel.tcb.interim import Interim
from helm_ai_kernel.tcb.receipt import EffectBy, Receipt

Decide = Callable[[Admitted, Facts], Decision]


class ReplyKind(StrEnum):
    OUTPUT = "output"  # the connector answered; whether the answer keeps its contract is not yet known
    FAILED = "failed"  # the connector proves that nothing was applied
    UNKNOWN = "unknown"  # it may have been applied: timeout, lost process, broken framing


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back from a dispatch. `output` are raw bytes; with UNKNOWN they are the readable rest, as evidence."""

    kind: ReplyKind
    ms: int
    output: bytes | None = field(default=None, repr=False)
    reason: Reason = Reason.OK
    sub: str = ""
    truncated: bool = False
    interim: Interim | None = None  # what was released while the call was under way; None: nothing
    questions: bool = False  # the caller can be asked: a result that is a question to them may be released


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a caller waits for a person where its call is held, and whether it still does."""

    seconds: float = 0.0
    here: Callable[[], bool] = _always


class Relay(Protocol):
    """The caller's client, for a server that speaks or asks while a call is under way. `relay.Counted` stands in front of it."""

    @property
    def capabilities(self) -> bytes:
        """Canonical JSON of what the client can be asked (MCP's ClientCapabilities); `{}` where nobody can be."""
        ...

    @property
    def level(self) -> str | None:
        """The log level that the client asked for, where it says so with each call."""
        ...

    def said(self, method: str, params: bytes) -> None:
        """A notification of the server about this call, in order. One that goes nowhere is nobody's fault."""
        ...

    async def asked(self, method: str, params: bytes) -> bytes:
        """A question of the server: the client's result, raw JSON; raises `Refused` or `OutsideError`."""
        ...


class Connector(Protocol):
    """The hands. `args` are the canonical bytes of the receipt; a connector never sees anything else of the request.

    `relay`: the client, where there is one that can be told and asked. `inputs`: canonical JSON of what goes with the arguments
    because the server asked for it. Whoever has no use for them leaves them alone.
    """

    async def call(
        self, name: str, args: bytes, *, key: str | None, wall_ms: int, output_bytes: int,
        relay: Relay | None = None, inputs: bytes | None = None,
    ) -> Reply: ...  # fmt: skip

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller gets: the verdict, its evidence and, when released, the output bytes that were hashed."""

    verdict: Verdict
    reason: Reason
    decision: Receipt
    outcome: Receipt | None
    output: bytes | None = field(repr=False)  # None: refused, withheld, or unknown
    output_salt: bytes | None = field(repr=False)
    args_salt: bytes | None = field(repr=False)
    checkpoint: bytes  # signed note that covers the last receipt named here
    hint: str = ""


class Host(Protocol):
    """One session's access to the log and the connectors. Everything here is durable when it returns."""

    async def commit(self, admitted: Admitted, decide: Decide, effect_by: EffectBy = EffectBy.KERNEL) -> Receipt: ...

    async def dispatch(self, call: Call, intent: Receipt) -> Reply: ...

    async def settle(self, intent: Receipt, outcome: Outcome) -> Receipt: ...

    async def report(self, offer: Receipt, outcome: Outcome) -> Receipt: ...

    async def answer(self, decision: Receipt, outcome: Receipt | None, output: bytes | None) -> Answer: ...
