"""`subscriptions/listen` (2026-07-28): a stream of the notices that a client asked for, and of no others."""

from collections.abc import Callable, Mapping

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire import mcp_message
from helm_ai_kernel.wire.mcp_message import INVALID_PARAMS, Bad, Request, spliced
from helm_ai_kernel.wire.span import members

from .mcp_gate import Caller, Places
from .mcp_modern import SUBSCRIPTION_META
from .mcp_session import Exchange

LISTENERS_MAX = 64  # of one principal
WANTED: Mapping[str, str] = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}


class Listeners:
    def __init__(self, places: Places) -> None:
        self._places = places
        self._open: dict[int, tuple[str, Exchange]] = {}
        self._count = 0

    def open(self, caller: Caller, request: Request, exchange: Exchange) -> Callable[[], None]:
        """Begins with what is granted; the result ends it. Raises `Bad`."""
        filter_ = request.values.get("notifications")
        if type(filter_) is not dict:
            detail = "`notifications` says what is listened for"
            raise Bad(Reason.ERR_UPSTREAM_SHAPE, INVALID_PARAMS, detail, number=request.id)
        if sum(principal == caller.principal for principal, _ in self._open.values()) >= LISTENERS_MAX:
            raise Bad(Reason.ERR_RATE_LIMITED, 429, "too many streams are open", number=request.id)
        wanted = {method for method, name in WANTED.items() if filter_.get(name) is True}
        tag = spliced({SUBSCRIPTION_META: request.id})

        def heard(server: str, method: str, params: bytes) -> None:
            if method in wanted:
                parts = members(params)
                meta = spliced({**members(parts.get("_meta", b"{}")), SUBSCRIPTION_META: request.id})
                exchange.stream.put(mcp_message.notification(method, spliced({**parts, "_meta": meta})), notice=True)

        granted = canonical({WANTED[method]: True for method in sorted(wanted)})
        first = spliced({"_meta": tag, "notifications": granted})
        exchange.stream.put(mcp_message.notification("notifications/subscriptions/acknowledged", first))
        self._count += 1
        number = self._count
        self._open[number] = (caller.principal, exchange)
        unwatch = self._places.watch(caller, heard)
        ended = mcp_message.result(request.id, spliced({"_meta": tag, "resultType": b'"complete"'}))

        def stop() -> None:
            unwatch()
            self._open.pop(number, None)
            exchange.stream.end(ended)

        exchange.stop = stop
        return stop

    def close(self) -> None:
        for _, exchange in tuple(self._open.values()):
            exchange.stop()
