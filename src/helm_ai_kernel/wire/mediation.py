"""Every method of MCP, in both eras and both directions, and what becomes of it here: what is not in this table is refused.

`docs/spec/mcp.md` is drawn from it, and a test compares it with the published schemas: a method that a later revision adds does
not pass because nobody thought of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from .era import Era

LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26")  # with a handshake; newest first
MODERN = ("2026-07-28",)  # stateless


class How(StrEnum):
    ANSWERED = "answered"  # by the kernel, from the pins and what it knows itself; nothing reaches a server
    CALLED = "called"  # a call of `server/tool`
    GOVERNED = "governed"  # a call of the method tool `server/method`
    QUESTION = "question"  # a server's: decided as a call of its method tool, then the client is asked
    RELAYED = "relayed"  # while a call is under way, counted and hashed into its outcome; else only what was subscribed to
    TAKEN = "taken"  # a notice that the kernel acts on itself; nothing is passed on
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Row:
    how: How
    eras: frozenset[Era]
    why: str = ""


_BOTH, _OLD, _NEW = frozenset(Era), frozenset({Era.LEGACY}), frozenset({Era.MODERN})
_TASKS = "a task outlives its call, and no receipt would say how it ended"

# Requests of clients.
REQUESTS: Mapping[str, Row] = MappingProxyType({
    "initialize": Row(How.ANSWERED, _OLD),
    "server/discover": Row(How.ANSWERED, _NEW),
    "ping": Row(How.ANSWERED, _OLD),
    "tools/list": Row(How.ANSWERED, _BOTH),
    "tools/call": Row(How.CALLED, _BOTH),
    "resources/list": Row(How.GOVERNED, _BOTH),
    "resources/templates/list": Row(How.GOVERNED, _BOTH),
    "resources/read": Row(How.GOVERNED, _BOTH),
    "resources/subscribe": Row(How.GOVERNED, _OLD),
    "resources/unsubscribe": Row(How.GOVERNED, _OLD),
    "prompts/list": Row(How.GOVERNED, _BOTH),
    "prompts/get": Row(How.GOVERNED, _BOTH),
    "completion/complete": Row(How.GOVERNED, _BOTH),
    "logging/setLevel": Row(How.GOVERNED, _OLD),
    "subscriptions/listen": Row(How.ANSWERED, _NEW),
    "tasks/get": Row(How.REFUSED, _BOTH, _TASKS),
    "tasks/result": Row(How.REFUSED, _BOTH, _TASKS),
    "tasks/list": Row(How.REFUSED, _BOTH, _TASKS),
    "tasks/cancel": Row(How.REFUSED, _BOTH, _TASKS),
    "tasks/update": Row(How.REFUSED, _BOTH, _TASKS),
})  # fmt: skip

# Notices of clients.
NOTICES: Mapping[str, Row] = MappingProxyType({
    "notifications/initialized": Row(How.TAKEN, _OLD),
    "notifications/cancelled": Row(How.TAKEN, _BOTH),
    "notifications/progress": Row(How.REFUSED, _OLD, "no server was told a token to hear of it"),
    "notifications/roots/list_changed": Row(How.TAKEN, _OLD, "a server asks for roots when it needs them"),
    "notifications/tasks/status": Row(How.REFUSED, _BOTH, _TASKS),
})  # fmt: skip

# Requests of servers; in the modern era they stand in a result.
QUESTIONS: Mapping[str, Row] = MappingProxyType({
    "ping": Row(How.ANSWERED, _OLD),
    "sampling/createMessage": Row(How.QUESTION, _BOTH),
    "elicitation/create": Row(How.QUESTION, _BOTH),
    "roots/list": Row(How.QUESTION, _BOTH),
    "tasks/get": Row(How.REFUSED, _BOTH, _TASKS),
    "tasks/result": Row(How.REFUSED, _BOTH, _TASKS),
    "tasks/list": Row(How.REFUSED, _BOTH, _TASKS),
    "tasks/cancel": Row(How.REFUSED, _BOTH, _TASKS),
})  # fmt: skip

# Notices of servers.
SAID: Mapping[str, Row] = MappingProxyType({
    "notifications/progress": Row(How.RELAYED, _BOTH),
    "notifications/message": Row(How.RELAYED, _BOTH),
    "notifications/cancelled": Row(How.TAKEN, _BOTH),
    "notifications/tools/list_changed": Row(How.TAKEN, _BOTH, "the list is compared with the pins again, and clients are told"),
    "notifications/resources/list_changed": Row(How.RELAYED, _BOTH),
    "notifications/resources/updated": Row(How.RELAYED, _BOTH),
    "notifications/prompts/list_changed": Row(How.RELAYED, _BOTH),
    "notifications/elicitation/complete": Row(How.RELAYED, _OLD),
    "notifications/subscriptions/acknowledged": Row(How.TAKEN, _NEW),
    "notifications/tasks/status": Row(How.REFUSED, _BOTH, _TASKS),
})  # fmt: skip


def how(table: Mapping[str, Row], method: str, era: Era) -> How:
    """What becomes of it; what is not listed, or not of that era, is refused."""
    row = table.get(method)
    return row.how if row is not None and era in row.eras else How.REFUSED
