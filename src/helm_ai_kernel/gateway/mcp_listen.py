"""`subscriptions/listen` (2026-07-28): a stream of the notices that a client asked for, and of no others."""

from collections.abc import Mapping

from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire import mcp_message
from helm_ai_kernel.wire.mcp_message import INVALID_PARAMS, Request, spliced

from .mcp_gate import Caller, Places
from .mcp_modern import SUBSCRIPTION_META
from .mcp_session import Exchange

LISTEN = "subscriptions/listen"
LISTENERS_MAX = 64  # of one principal
WANTED: Mapping[str, str] = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}


class Listeners:
    def __init__(self, places: Places) -> None:
        self._places = places
        self._open: dict[str, set[Exchange]] = {}

    async def listen(self, caller: Caller, request: Request, exchange: Exchange) -> None:
        """Begins with what is granted, and ends when the client gives it up, or the kernel stops."""
        mine, wanted = self._open.setdefault(caller.principal, set()), request.values.get("notifications")
        if type(wanted) is not dict:
            detail = "`notifications` says what is listened for"
            exchange.stream.end(mcp_message.error(request.id, INVALID_PARAMS, detail))
            return
        if len(mine) >= LISTENERS_MAX:
            exchange.stream.end(mcp_message.error(request.id, 429, "too many streams are open"))
            return
        granted = {method: name for method, name in WANTED.items() if wanted.get(name) is True}
        tag = spliced({SUBSCRIPTION_META: request.id})

        def heard(server: str, method: str, params: bytes) -> None:
            if method in granted and caller.only in (None, server):  # a server's own words with it are nobody's
                exchange.stream.put(mcp_message.notification(method, spliced({"_meta": tag})), notice=True)

        first = spliced({"_meta": tag, "notifications": canonical(dict.fromkeys(sorted(granted.values()), True))})
        exchange.stream.put(mcp_message.notification("notifications/subscriptions/acknowledged", first))
        unwatch = self._places.watch(caller, heard)
        mine.add(exchange)
        try:
            await exchange.cancelled.wait()
        finally:
            unwatch()
            mine.discard(exchange)
            exchange.stream.end(mcp_message.result(request.id, spliced({"_meta": tag, "resultType": b'"complete"'})))

    def close(self) -> None:
        for exchange in [one for mine in self._open.values() for one in mine]:
            exchange.cancel()
