"""What a request becomes at the PEP: a `Call` that cannot be wrong any more, or the `Refusal` that it is."""

from dataclasses import dataclass, field
from enum import StrEnum

from .codes import Reason
from .digest import Digest
from .ijson import Json


class Effect(StrEnum):
    """What a tool may do to the world; set by the person who pins it, never by the upstream."""

    READ = "read"
    WRITE = "write"
    DESTRUCTIVE = "destructive"
    NETWORK = "network"
    PAYMENT = "payment"


@dataclass(frozen=True, slots=True)
class Call:
    """An admitted call. `args` are the canonical bytes: what was hashed is what is decided is what is dispatched.

    `view` is the parsed form of the same bytes, for the policy's eyes only; nothing dispatches it.
    """

    tool: str  # "server/tool"
    pin: Digest
    effect: Effect
    args: bytes = field(repr=False)  # contents are in no `repr`, and so in no log line and no traceback
    view: dict[str, Json] = field(repr=False)
    key: str | None = field(default=None, repr=False)  # the caller's idempotency key
    subject: str | None = field(default=None, repr=False)  # whom its content is about, as the caller names them
    key_required: bool = False
    labels: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    wall_ms: int = 30_000
    output_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is no call. Before the arguments are canonical only `raw` is known; afterwards `tool` and `args`."""

    reason: Reason
    sub: str
    raw: bytes = field(repr=False)
    tool: str | None = None
    pin: Digest | None = None
    args: bytes | None = field(default=None, repr=False)
    effect: Effect | None = None
    subject: str | None = field(default=None, repr=False)
    hint: str = ""


Admitted = Call | Refusal
