"""The shape that each answer of MCP must have: required members and their types. Unknown members are open, and pass.

What is wrong is said in a word of ours, never of the answer's.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from helm_ai_kernel.tcb.ijson import Json

from .methods import ASKING, METHODS, QUESTIONS

VALUES_MAX = 100  # completion values, as the protocol says
REQUESTS_MAX = 16  # questions in one result: more than a person answers

# MCP 2025-11-25, `ContentBlock`: what each type must have. A type that is not here is refused.
_CONTENT: Mapping[str, Mapping[str, type]] = {
    "text": {"text": str},
    "image": {"data": str, "mimeType": str},
    "audio": {"data": str, "mimeType": str},
    "resource": {"resource": dict},
    "resource_link": {"uri": str, "name": str},
}
# `SamplingMessageContentBlock`
_SAMPLED: Mapping[str, Mapping[str, type]] = {
    **{kind: _CONTENT[kind] for kind in ("text", "image", "audio")},
    "tool_use": {"id": str, "name": str, "input": dict},
    "tool_result": {"toolUseId": str, "content": list},
}
_LISTS: Mapping[str, tuple[str, Mapping[str, type]]] = {
    "resources/list": ("resources", {"uri": str, "name": str}),
    "resources/templates/list": ("resourceTemplates", {"uriTemplate": str, "name": str}),
    "prompts/list": ("prompts", {"name": str}),
    "roots/list": ("roots", {"uri": str}),
}


def fault(method: str, value: dict[str, Json]) -> str:
    """What is wrong with the result of a method tool, in a word; nothing where it keeps its shape."""
    if type(value.get("_meta", {})) is not dict:
        return "_meta"
    if method in _LISTS:
        return _list(value, *_LISTS[method])
    check = _CHECKS.get(method)
    return "" if check is None else check(value)


def question_fault(method: str, value: dict[str, Json]) -> str:
    """Of a result that is a question to the caller (2026-07-28, `InputRequiredResult`). Here nothing is open."""
    if method not in ASKING or not {"inputRequests", "requestState"} & value.keys():
        return "resultType"
    if value.keys() - {"resultType", "inputRequests", "requestState", "_meta"} or type(value.get("_meta", {})) is not dict:
        return "question"
    if type(value.get("requestState", "")) is not str:
        return "requestState"
    asked = value.get("inputRequests", {})
    if type(asked) is not dict or len(asked) > REQUESTS_MAX or not all(map(_is_request, asked.values())):
        return "inputRequests"
    return ""


def _is_request(value: Json) -> bool:
    if type(value) is not dict or not {"method"} <= value.keys() <= {"method", "params"}:
        return False
    return value["method"] in QUESTIONS and type(value.get("params", {})) is dict


def error_fault(error: Json) -> str:
    """What is wrong with an answer that is an error of JSON-RPC (2.0 §5.1); nothing where it keeps its shape."""
    if type(error) is not dict or type(error.get("code")) is not int or type(error.get("message")) is not str:
        return "error"
    return ""


def block_fault(block: Json, kinds: Mapping[str, Mapping[str, type]] = _CONTENT) -> str:
    kind = block.get("type") if type(block) is dict else None
    if type(block) is not dict or type(kind) is not str or kind not in kinds:
        return "content type"
    if not _has(block, kinds[kind]) or (kind == "resource" and _contents_fault(block["resource"])):
        return f"content {kind}"
    return ""


def _contents_fault(held: Json) -> bool:
    """`ResourceContents`: a text or a blob, and never both."""
    if type(held) is not dict or ("text" in held) == ("blob" in held):
        return True
    return not _has(held, {"uri": str, "text" if "text" in held else "blob": str})


def _has(value: Mapping[str, Json], members: Mapping[str, type]) -> bool:
    return all(type(value.get(name)) is kind for name, kind in members.items())


def _list(value: dict[str, Json], member: str, needs: Mapping[str, type]) -> str:
    items = value.get(member)
    if type(items) is not list or not all(type(item) is dict and _has(item, needs) for item in items):
        return member
    cursor = value.get("nextCursor")  # null is taken for its absence: several servers write it
    return "" if cursor is None or type(cursor) is str else "nextCursor"


def _read(value: dict[str, Json]) -> str:
    contents = value.get("contents")
    return "contents" if type(contents) is not list or any(map(_contents_fault, contents)) else ""


def _prompt(value: dict[str, Json]) -> str:
    messages = value.get("messages")
    if type(messages) is not list:
        return "messages"
    for message in messages:
        if type(message) is not dict or message.get("role") not in ("user", "assistant"):
            return "role"
        wrong = block_fault(message.get("content"))
        if wrong:
            return wrong
    return ""


def _completion(value: dict[str, Json]) -> str:
    held = value.get("completion")
    values = held.get("values") if type(held) is dict else None
    known = type(values) is list and len(values) <= VALUES_MAX and all(type(item) is str for item in values)
    return "" if known else "completion"


def _sampled(value: dict[str, Json]) -> str:
    if not _has(value, {"model": str}) or value.get("role") not in ("user", "assistant"):
        return "role"
    content = value.get("content")
    return next(filter(None, (block_fault(one, _SAMPLED) for one in (content if type(content) is list else [content]))), "")


def _elicited(value: dict[str, Json]) -> str:
    if value.get("action") not in ("accept", "decline", "cancel"):
        return "action"
    return "" if type(value.get("content", {})) in (dict, type(None)) else "content"


_CHECKS: Mapping[str, Callable[[dict[str, Json]], str]] = MappingProxyType(
    {
        "resources/read": _read,
        "prompts/get": _prompt,
        "completion/complete": _completion,
        "sampling/createMessage": _sampled,
        "elicitation/create": _elicited,
    }
)
EMPTY = METHODS.keys() - _LISTS.keys() - _CHECKS.keys()  # of whose results nothing is required
