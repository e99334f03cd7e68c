"""What passes between a server and the caller's client while a call is under way: counted, hashed, and nothing behind its end.

What was released before an outcome is in that outcome (`docs/spec/receipt.md`, Interim output). So a message is counted before it
is let through, and one that comes when the outcome is being written is not let through any more.
"""

import re
from contextlib import suppress

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.interim import Interim

from .host import Relay

METHOD = re.compile(r"[!-~]{1,128}\Z")  # one word: where it ends and the params begin is never in doubt


def message(method: str, params: bytes) -> bytes:
    """A notification as it is hashed: its method, a newline, and its params, byte for byte as they were released."""
    return method.encode() + b"\n" + params


class Counted:
    """A `Relay` in front of another one, for one dispatch."""

    def __init__(self, sink: Relay) -> None:
        self._sink = sink
        self._interim = Interim()
        self._ended = False

    @property
    def capabilities(self) -> bytes:
        return self._sink.capabilities

    @property
    def level(self) -> str | None:
        return self._sink.level

    def said(self, method: str, params: bytes) -> None:
        """Behind the end, and of what is no method, nothing passes. The server learns neither that nor that a client is gone."""
        if self._ended or not METHOD.match(method):
            return
        self._interim = self._interim.next(message(method, params))  # also of what then fails: it may have left
        with suppress(OutsideError):
            self._sink.said(method, params)

    async def asked(self, method: str, params: bytes) -> bytes:
        """What the client answers. It is a call of its own, with receipts of its own, and so not counted here."""
        self._look()
        answer = await self._sink.asked(method, params)
        self._look()
        return answer

    def end(self) -> Interim | None:
        """Nothing passes from now on. What did; None: nothing."""
        self._ended = True
        return self._interim if self._interim.count else None

    def _look(self) -> None:
        if self._ended:
            raise OutsideError(Reason.ERR_OUTCOME_UNKNOWN, "the call has ended, and nothing is released behind that")
