"""Whether a connector's bytes keep the contract that was pinned; what does not is withheld as `ERR_CONNECTOR_CONTRACT_DRIFT`.

An output is data: nothing in it is ever read as control. What is released are the bytes that were judged, never a rendering.
"""

from collections.abc import Mapping

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Contract
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json, parse

from .catalog import Tool
from .schema import Schema

# MCP 2025-11-25, `ContentBlock`: what each type must have. A type that is not here is refused.
_CONTENT: Mapping[str, Mapping[str, type]] = {
    "text": {"text": str},
    "image": {"data": str, "mimeType": str},
    "audio": {"data": str, "mimeType": str},
    "resource": {"resource": dict},
    "resource_link": {"uri": str, "name": str},
}


def release(tool: Tool, output: bytes) -> tuple[Contract, bool]:
    """Which contract `output` keeps, and whether the tool itself says that it failed.

    Raises `Refused(ERR_CONNECTOR_CONTRACT_DRIFT)`; its sub-reason never holds anything of the output.
    """
    strict = tool.output is not None and tool.output.strict_numbers
    try:
        value = parse(output, bytes_max=tool.output_bytes, any_number=not strict)
    except Refused as refused:
        raise _drift(f"json {refused.sub}") from None
    if tool.kind == "mcp-stdio":
        return _call_tool_result(tool, value, len(output))
    if tool.kind == "http":
        return _http_answer(tool, value, len(output))
    if tool.output is None:
        return Contract.SHAPE, False
    _check(tool.output, value, len(output))
    return Contract.SCHEMA, False


def _call_tool_result(tool: Tool, value: Json, size: int) -> tuple[Contract, bool]:
    """MCP's `CallToolResult`. Its other members are open by the specification, so they are passed on."""
    if type(value) is not dict:
        raise _drift("result")
    content = value.get("content")
    if type(content) is not list:
        raise _drift("content")
    for block in content:
        _check_block(block)
    for name, kind in (("structuredContent", dict), ("isError", bool), ("_meta", dict)):
        if name in value and type(value[name]) is not kind:
            raise _drift(name)
    if value.get("resultType", "complete") != "complete":  # 2026-07-28: a question to the client, whom nobody can ask here
        raise _drift("resultType")
    tool_error = value.get("isError") is True
    if tool.output is None or (tool_error and "structuredContent" not in value):
        return Contract.SHAPE, tool_error
    if "structuredContent" not in value:
        raise _drift("structuredContent")
    _check(tool.output, value["structuredContent"], size)  # an error's too: a flag of the server's is no way around the pin
    return Contract.SCHEMA, tool_error


def _http_answer(tool: Tool, value: Json, size: int) -> tuple[Contract, bool]:
    """`{"status","body"?}`. An `outputSchema` is that of the body of a 2xx, and no other status is a way around it."""
    if type(value) is not dict or not {"status"} <= value.keys() <= {"status", "body"}:
        raise _drift("answer")
    status = value["status"]
    if type(status) is not int or not 200 <= status <= 599:
        raise _drift("status")
    tool_error = status >= 300
    if tool.output is None:
        return Contract.SHAPE, tool_error
    if ("body" in value) is tool_error:
        raise _drift("body")
    if tool_error:
        return Contract.SHAPE, True
    _check(tool.output, value["body"], size)
    return Contract.SCHEMA, False


def _check_block(block: Json) -> None:
    kind = block.get("type") if type(block) is dict else None
    if type(block) is not dict or type(kind) is not str or kind not in _CONTENT:
        raise _drift("content type")
    _check_members(block, _CONTENT[kind], f"content {kind}")
    if kind == "resource":
        held = block["resource"]
        if type(held) is not dict or type(held.get("uri")) is not str or not ("text" in held) ^ ("blob" in held):
            raise _drift("content resource")
        _check_members(held, {"text" if "text" in held else "blob": str}, "content resource")


def _check_members(value: Mapping[str, Json], members: Mapping[str, type], sub: str) -> None:
    if any(type(value.get(name)) is not kind for name, kind in members.items()):
        raise _drift(sub)


def _check(schema: Schema, value: Json, size: int) -> None:
    violation = schema.violation(value, size)
    if violation is not None:
        raise _drift(violation.sub if violation.reason is Reason.ERR_SCHEMA_VIOLATION else "budget")


def _drift(sub: str) -> Refused:
    hint = "the output is withheld and the tool held; compare it with the pin, then release the tool or pin it again"
    return Refused(Reason.ERR_CONNECTOR_CONTRACT_DRIFT, f"the output breaks its pinned contract: {sub}", sub=sub, hint=hint)
