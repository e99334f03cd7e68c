"""The calls that are under way on one connection, and which of them a notice or a question belongs to.

A notice belongs to its call by our token, by the number of its subscription, by the stream that it came on, or because there is
only one that it can belong to; what belongs to the server as a whole belongs to no call. A question that could be two calls' is
refused: the wrong caller would be asked.
"""

from collections.abc import Callable, Iterator

from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.wire import jsonrpc
from helm_ai_kernel.wire.era import progress_token, subscription
from helm_ai_kernel.wire.jsonrpc import Asked, Notified
from helm_ai_kernel.wire.span import members

from .underway import AMBIGUOUS, NOBODY, Ending, Lost, Underway

# Of the server as a whole, unless it says of which subscription.
_OF_THE_SERVER = frozenset(
    {"notifications/resources/updated", "notifications/resources/list_changed", "notifications/prompts/list_changed"}
)


class Calls:
    def __init__(self, notice: Callable[[str, bytes], None]) -> None:
        self._notice = notice
        self._calls: dict[int, Underway] = {}

    def __iter__(self) -> Iterator[Underway]:
        return iter(tuple(self._calls.values()))

    @property
    def open(self) -> int:
        return sum(call.open for call in self._calls.values())

    def add(self, call: Underway) -> None:
        self._calls[call.number] = call

    def settle(self, number: int, ending: Ending) -> None:
        call = self._calls.pop(number, None)
        if call is not None:
            call.settle(ending)

    def drop(self, number: int) -> None:
        """It has its ending."""
        self._calls.pop(number, None)

    def lose(self, lost: Lost) -> None:
        """The end of all of them. What could not be read is kept where only one call can be meant."""
        own = lost if self.open == 1 else Lost(lost.sub)
        for call in self._calls.values():
            if call.given_up:
                call.ending.cancel()  # it has its UNKNOWN; there will be no late answer
            else:
                call.settle(own)
        self._calls.clear()

    def asked(self, question: Asked, send: Callable[[bytes], None]) -> None:
        """A question that came on the connection as a whole."""
        askable = [call for call in self._calls.values() if call.askable]
        if len(askable) == 1:
            askable[0].asked(question, send)
        else:
            send(jsonrpc.refuse(question.id, *(AMBIGUOUS if askable else NOBODY)))

    def notified(self, event: Notified, own: Underway | None = None) -> Underway | None:
        """`own`: the call on whose stream it came. A call whose caller has had enough of it is settled, and returned."""
        if not event.params.lstrip().startswith(b"{"):  # what is no object says nothing
            return None
        if event.method == "notifications/cancelled":
            self._cancelled(event.params)
            return None
        call = self._of(event, own)
        if call is None:
            if event.method != "notifications/progress":  # of a call that ended
                self._notice(event.method, event.params)
            return None
        try:
            call.said(event.method, event.params)
        except (Refused, OutsideError) as error:
            call.settle(Lost((error.sub if isinstance(error, Refused) else "") or "relay"))
            return call
        return None

    def _of(self, event: Notified, own: Underway | None) -> Underway | None:
        if event.method == "notifications/progress":
            call = self._calls.get(progress_token(event.params) or 0)
            return call if call is not None and call.askable and own in (None, call) else None
        if own is not None:
            return own
        number = subscription(event.params)
        if number is not None:
            return self._calls.get(number)
        askable = [call for call in self._calls.values() if call.askable]
        return askable[0] if len(askable) == 1 and event.method not in _OF_THE_SERVER else None

    def _cancelled(self, params: bytes) -> None:
        """The server withdraws a question: its id, exactly as it was asked with."""
        value = parse(params, bytes_max=len(params), any_number=True)
        if type(value) is dict and "requestId" in value:
            for call in self._calls.values():
                call.unasked(members(params)["requestId"])
