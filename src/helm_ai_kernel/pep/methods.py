"""The methods of MCP as tools: what besides `tools/call` reaches a server, or comes from one, is a governed call, too.

A method tool is `server/<method>`; a tool's own name has no `/`, so the two never meet. Its definition is ours, not the server's,
and constant for good: catalogues that are in force hold it, so a changed one would be a new method. What may be asked is open
where the protocol is open (MCP 2025-11-25 and 2026-07-28), and closed everywhere else. `docs/spec/catalog.md` has the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from helm_ai_kernel.tcb import fields
from helm_ai_kernel.tcb.call import Effect
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical

KINDS = frozenset({"mcp-stdio", "mcp-http"})  # sources that speak MCP
QUESTIONS = ("elicitation/create", "roots/list", "sampling/createMessage")  # what a server may ask of a client
ASKING = frozenset({"tools/call", "prompts/get", "resources/read"})  # whose result may be a question (2026-07-28, MRTR)

_TEXT: Json = {"type": "string"}
_FLAG: Json = {"type": "boolean"}
_OPEN: Json = {"type": "object"}
_PAGE: Json = {"type": "object", "properties": {"cursor": _TEXT}}
_URI: Json = {"type": "object", "properties": {"uri": {"type": "string", "minLength": 1}}, "required": ["uri"]}
_WORDS: Json = {"type": "object", "additionalProperties": _TEXT}
_LEVELS: Json = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the table. `asks` is who asks whom: `server` (of the client's requests) or `client` (of the server's)."""

    name: str
    asks: str
    effect: Effect  # what is proposed; a person says what counts
    document: bytes  # the definition, canonical

    @property
    def raw(self) -> dict[str, Json]:
        """The definition as it stands in a catalogue: a new one each time."""
        value = parse(self.document)
        if type(value) is not dict:
            raise fields.wrong("the definition of a method is no object")
        return value


def _object(required: tuple[str, ...], **properties: Json) -> dict[str, Json]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _method(name: str, description: str, schema: Json) -> Method:
    asks, effect = ("client", Effect.NETWORK) if name in QUESTIONS else ("server", Effect.READ)
    return Method(name, asks, effect, canonical({"name": name, "description": description, "inputSchema": schema}))


_REFERENCE: Json = {
    "oneOf": [
        _object(("type", "name"), type={"const": "ref/prompt"}, name=_TEXT, title=_TEXT),
        _object(("type", "uri"), type={"const": "ref/resource"}, uri=_TEXT),
    ]
}
_COMPLETION = _object(
    ("ref", "argument"),
    ref=_REFERENCE,
    argument=_object(("name", "value"), name=_TEXT, value=_TEXT),
    context=_object((), arguments=_WORDS),
)
_FILTER = _object(
    (),
    toolsListChanged=_FLAG,
    promptsListChanged=_FLAG,
    resourcesListChanged=_FLAG,
    resourceSubscriptions={"type": "array", "items": _TEXT},
)
_SAMPLING = _object(
    ("messages", "maxTokens"),
    messages={"type": "array", "items": _OPEN},
    maxTokens={"type": "integer", "minimum": 1},
    systemPrompt=_TEXT,
    includeContext={"enum": ["none", "thisServer", "allServers"]},
    temperature={"type": "number"},
    stopSequences={"type": "array", "items": _TEXT},
    modelPreferences=_OPEN,
    metadata=_OPEN,
    tools={"type": "array", "items": _OPEN},
    toolChoice=_OPEN,
    _meta=_OPEN,
)
_ELICITATION: Json = {
    **_object(
        ("message",),
        mode={"enum": ["form", "url"]},
        message=_TEXT,
        requestedSchema=_OPEN,
        url=_TEXT,
        elicitationId=_TEXT,
        _meta=_OPEN,
    ),
    "if": {"properties": {"mode": {"const": "url"}}, "required": ["mode"]},
    "then": {"required": ["url"]},
    "else": {"required": ["requestedSchema"]},
}

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            _method("completion/complete", "Suggest values for an argument of a prompt or resource template.", _COMPLETION),
            _method("elicitation/create", "The server asks the person at the client for something.", _ELICITATION),
            _method("logging/setLevel", "Say which log messages the server sends.", _object(("level",), level={"enum": _LEVELS})),
            _method("prompts/get", "Get a prompt of the server.", _object(("name",), name=_TEXT, arguments=_WORDS)),
            _method("prompts/list", "List the prompts of the server.", _PAGE),
            _method("resources/list", "List the resources of the server.", _PAGE),
            _method("resources/read", "Read a resource of the server.", _URI),
            _method("resources/subscribe", "Be told when a resource changes.", _URI),
            _method("resources/templates/list", "List the resource templates of the server.", _PAGE),
            _method("resources/unsubscribe", "Be told no more when a resource changes.", _URI),
            _method("roots/list", "The server asks which folders the client works in.", _object((), _meta=_OPEN)),
            _method("sampling/createMessage", "The server asks the client's model for a message.", _SAMPLING),
            _method("subscriptions/listen", "Be told of changes.", _object(("notifications",), notifications=_FILTER)),
        )
    }
)


def implied(capabilities: Mapping[str, object], *, modern: bool = False) -> list[str]:
    """The method tools of a server that says this of itself, sorted; `modern`: it speaks 2026-07-28.

    What it may ask of the client is always there: it says nowhere what it will ask.
    """
    resources = capabilities.get("resources")
    names = set(QUESTIONS)
    if isinstance(resources, Mapping):
        names |= {"resources/list", "resources/templates/list", "resources/read"}
        if resources.get("subscribe") is True and not modern:
            names |= {"resources/subscribe", "resources/unsubscribe"}
    if isinstance(capabilities.get("prompts"), Mapping):
        names |= {"prompts/list", "prompts/get"}
    if isinstance(capabilities.get("completions"), Mapping):
        names.add("completion/complete")
    if isinstance(capabilities.get("logging"), Mapping) and not modern:
        names.add("logging/setLevel")
    if modern:
        names.add("subscriptions/listen")
    return sorted(names)
